//! Profiles: the servers and tokens that `belljar login` saves in a file that only this user can
//! read.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};

use anyhow::Context;
use serde::{Deserialize, Serialize};

use crate::hint::{WithHint, hinted};
use crate::service_arguments::ProfileName;
use crate::show;

/// The name of the profile that is used if none is given.
pub const DEFAULT: &str = "default";

/// All profiles, by name.
#[derive(Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profiles {
    #[serde(default)]
    profiles: BTreeMap<String, Profile>,
}

/// A server and a token for it.
#[derive(Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Profile {
    /// The URL of the server.
    pub url: String,
    /// The token for the server.
    pub token: String,
}

/// Returns the path of the profiles: `$XDG_CONFIG_HOME/belljar/profiles.toml`, by default in
/// `~/.config`.
pub fn path() -> anyhow::Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let config = set("XDG_CONFIG_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".config")));
    let config = config
        .context("cannot locate the profiles: HOME is not set")
        .hint("set XDG_CONFIG_HOME to a folder")?;
    Ok(config.join("belljar").join("profiles.toml"))
}

impl Profiles {
    /// Reads all profiles. A missing file, or a missing place for it, means no profiles.
    pub fn read() -> anyhow::Result<Self> {
        let Ok(path) = path() else { return Ok(Self::default()) };
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Self::default()),
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot read the profiles in `{}`", path.display()));
            }
        };
        if fs::metadata(&path).is_ok_and(|metadata| metadata.permissions().mode() & 0o077 != 0) {
            show::note(&format!(
                "other users can read the tokens in {0}: run `chmod 600 {0}`",
                path.display()
            ));
        }
        // The full message of the parser would show the line, and with it the token.
        toml::from_str(&text).map_err(|error: toml::de::Error| {
            hinted(
                format!("the profiles in `{}` are invalid: {}", path.display(), error.message()),
                "fix or remove the file",
            )
        })
    }

    /// Writes all profiles.
    pub fn write(&self) -> anyhow::Result<()> {
        let path = path()?;
        let text = toml::to_string(self).context("cannot write the profiles as TOML")?;
        write_private(&path, text.as_bytes())
            .with_context(|| format!("cannot save the profile in `{}`", path.display()))
    }

    /// Returns a profile by name.
    pub fn get(&self, name: &str) -> Option<&Profile> {
        self.profiles.get(name)
    }

    /// Returns the first profile for the URL of a server.
    pub fn of_url(&self, url: &str) -> Option<&Profile> {
        let plain = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
        self.profiles.values().find(|profile| plain(&profile.url) == plain(url))
    }

    /// Adds or replaces a profile.
    pub fn set(&mut self, name: &ProfileName, profile: Profile) {
        self.profiles.insert(name.0.clone(), profile);
    }

    /// Removes a profile and returns it.
    pub fn remove(&mut self, name: &ProfileName) -> Option<Profile> {
        self.profiles.remove(&name.0)
    }

    /// Returns the names of all profiles, for a message.
    pub fn names(&self) -> String {
        if self.profiles.is_empty() {
            "none".to_owned()
        } else {
            self.profiles.keys().cloned().collect::<Vec<_>>().join(", ")
        }
    }
}

/// Writes a file that only this user can read. The file is replaced atomically: readers see the old
/// or the new content.
fn write_private(path: &Path, content: &[u8]) -> std::io::Result<()> {
    let folder = path.parent().unwrap_or(Path::new("."));
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    let partial = folder.join(format!(".profiles-{}.toml", std::process::id()));
    let _ = fs::remove_file(&partial);
    let mut file =
        fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(&partial)?;
    let written = file
        .write_all(content)
        .and_then(|()| file.sync_all())
        .and_then(|()| fs::rename(&partial, path));
    if written.is_err() {
        let _ = fs::remove_file(&partial);
    }
    written
}
