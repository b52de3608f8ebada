//! The home: the folder with the database, objects, keys and socket of a server.

use std::env;
use std::path::{Path, PathBuf};

use anyhow::Context;
use belljar_engine::Protected;

use crate::hint::WithHint;

/// Returns the path of the home: `$BELLJAR_HOME`, or else `/var/lib/belljar` for root, or else
/// `belljar` in `$XDG_DATA_HOME`, which is `~/.local/share` by default.
pub fn home() -> anyhow::Result<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    if let Some(home) = set("BELLJAR_HOME") {
        return Ok(home);
    }
    if rustix::process::geteuid().is_root() {
        return Ok(PathBuf::from("/var/lib/belljar"));
    }
    let data = set("XDG_DATA_HOME")
        .filter(|path| path.is_absolute())
        .or_else(|| set("HOME").map(|home| home.join(".local/share")));
    data.map(|data| data.join("belljar"))
        .context("cannot locate the home: HOME is not set")
        .hint("set BELLJAR_HOME to a folder")
}

/// Returns the folders and files that no run may be granted: the home with the runs, tokens and
/// keys of all projects, the tokens that `belljar login` saves, and the configuration, which may
/// contain credentials. The engine itself protects the cache.
pub fn protected() -> Vec<Protected> {
    let logins = crate::profile::path().ok().and_then(|path| path.parent().map(Path::to_owned));
    let home = home().ok().map(|path| Protected { what: "the server's home", path });
    let configuration =
        env::var_os("BELLJAR_CONFIG").filter(|value| !value.is_empty()).map(PathBuf::from);
    let mut protected =
        vec![Protected { what: "belljar's configuration", path: "/etc/belljar".into() }];
    protected.extend(home);
    protected.extend(logins.map(|path| Protected { what: "the folder of belljar's logins", path }));
    protected.extend(configuration.map(|path| Protected { what: "belljar's configuration", path }));
    protected
}

/// Returns the path of the server's socket in the home.
pub fn socket() -> anyhow::Result<PathBuf> {
    Ok(home()?.join("server.sock"))
}
