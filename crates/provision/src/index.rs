//! The sources of Python packages as uv and pip are configured: the default index, additional ones,
//! and folders of files.
//!
//! Only variables and the user's own files are read. A cloned project must not choose where
//! packages come from.

mod pip;
pub(crate) mod simple;

use std::path::{Path, PathBuf};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use url::Url;

use crate::credential::{Credential, Login, Secret};

/// The index that pip and uv use by default.
pub const DEFAULT_INDEX: &str = "https://pypi.org/simple";

/// The characters that a login in a URL may contain unencoded (RFC 3986, section 2.3).
const ENCODED: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');

/// The sources of Python packages.
///
/// Each setting is read from uv's variables, otherwise from pip's variable, otherwise from pip's
/// configuration. They are not combined, as neither program combines them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PythonIndex {
    default: PackageIndex,
    extra: Vec<PackageIndex>,
    find_links: Vec<PathBuf>,
    ca_file: Option<PathBuf>,
    passed_over: Vec<String>,
}

/// An index with the URL of its Simple API. A login in the configured URL is stored separately.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PackageIndex {
    name: Option<String>,
    url: String,
    login: Option<Login>,
}

impl Default for PythonIndex {
    fn default() -> Self {
        Self::at(PackageIndex { name: None, url: DEFAULT_INDEX.to_owned(), login: None })
    }
}

impl PythonIndex {
    /// Returns the configuration of a single index.
    pub fn at(default: PackageIndex) -> Self {
        Self {
            default,
            extra: Vec::new(),
            find_links: Vec::new(),
            ca_file: None,
            passed_over: Vec::new(),
        }
    }

    /// Reads the configuration that uv and pip would use.
    pub(crate) fn from_variables(
        variable: &dyn Fn(&str) -> Option<String>,
        home: Option<&Path>,
    ) -> Self {
        let pip = pip::Settings::read(variable, home);
        let mut index = Self::default();
        let defaults = ["UV_DEFAULT_INDEX", "UV_INDEX_URL"].map(|name| (name, variable(name)));
        let chosen = defaults
            .into_iter()
            .chain([("pip's index-url", pip.value("index-url"))])
            .find_map(|(name, value)| Some((name, value?)));
        if let Some((name, value)) = chosen {
            match PackageIndex::parse(&value) {
                Some(default) => index.default = default,
                None => index.passed_over.push(name.to_owned()),
            }
        }
        for (name, value) in
            own_or_pips(variable, &["UV_INDEX", "UV_EXTRA_INDEX_URL"], "extra-index-url", &pip)
        {
            for entry in value.split_ascii_whitespace() {
                match PackageIndex::parse(entry) {
                    Some(extra) if !index.all().any(|known| *known == extra) => {
                        index.extra.push(extra);
                    }
                    Some(_) => {}
                    None => index.passed_over.push(name.clone()),
                }
            }
        }
        for (name, value) in own_or_pips(variable, &["UV_FIND_LINKS"], "find-links", &pip) {
            // uv separates them by commas, so that a path may contain spaces, and pip by white
            // space.
            let entries: Vec<&str> = if name.starts_with("UV_") {
                value.split(',').collect()
            } else {
                value.split_whitespace().collect()
            };
            for entry in entries.into_iter().map(str::trim).filter(|entry| !entry.is_empty()) {
                match local_folder(entry) {
                    Some(folder) => index.find_links.push(folder),
                    None => index.passed_over.push(name.clone()),
                }
            }
        }
        index.ca_file = pip.value("cert").map(PathBuf::from);
        index.passed_over.dedup();
        index
    }

    /// Returns the index for packages that no other index has: `UV_DEFAULT_INDEX`, otherwise
    /// `UV_INDEX_URL`, otherwise pip's `index-url`, otherwise [`DEFAULT_INDEX`].
    pub fn default_index(&self) -> &PackageIndex {
        &self.default
    }

    /// Returns the additional indexes in order: `UV_INDEX` and `UV_EXTRA_INDEX_URL`, otherwise
    /// pip's `extra-index-url`. uv queries them before the default one.
    pub fn extra_indexes(&self) -> &[PackageIndex] {
        &self.extra
    }

    /// Returns the absolute paths of configured folders with packages: `UV_FIND_LINKS`, otherwise
    /// pip's `find-links`. Nothing is installed from them, and callers should report that.
    pub fn find_links(&self) -> &[PathBuf] {
        &self.find_links
    }

    /// Returns a PEM file with additional certificate authorities for the indexes: pip's `cert`.
    pub fn ca_file(&self) -> Option<&Path> {
        self.ca_file.as_deref()
    }

    /// Returns the names of settings that were not understood, such as an index that is neither
    /// `http://` nor `https://`, or a page of links. A caller that must not query any other index
    /// than the configured one has to refuse if there are any.
    pub fn passed_over(&self) -> &[String] {
        &self.passed_over
    }

    /// Returns each index once, the default one first.
    pub(crate) fn all(&self) -> impl Iterator<Item = &PackageIndex> {
        std::iter::once(&self.default).chain(&self.extra)
    }
}

impl PackageIndex {
    /// Reads a URL, which may contain a login and, as uv allows, be preceded by a name:
    /// `name=https://user:password@host/simple`. Returns `None` if it is neither HTTP nor HTTPS.
    pub fn parse(text: &str) -> Option<Self> {
        let text = text.trim();
        let is_name = |name: &str| {
            !name.is_empty()
                && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte))
        };
        let (name, address) = match text.split_once('=') {
            Some((name, address)) if is_name(name) => (Some(name.to_owned()), address),
            _ => (None, text),
        };
        let parsed = Url::parse(address)
            .ok()
            .filter(|url| matches!(url.scheme(), "http" | "https") && url.has_host())?;
        // The parser's text is used, so that characters that it skips, such as white space, are in
        // neither part.
        let (url, login) = Login::split(parsed.as_str());
        Some(Self { name, url: url.trim_end_matches('/').to_owned(), login })
    }

    /// Returns the configured name.
    pub fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// Returns the URL without a login and without a slash at its end.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Returns the login, if the URL had one.
    pub fn login(&self) -> Option<&Login> {
        self.login.as_ref()
    }

    /// Returns the URL with the login, as uv expects it in `UV_DEFAULT_INDEX` and `UV_INDEX`.
    pub fn authenticated_url(&self) -> Secret {
        let encoded = |part: &Secret| utf8_percent_encode(part.expose(), ENCODED).to_string();
        Secret::new(match (&self.login, self.url.split_once("://")) {
            (Some(login), Some((scheme, rest))) => {
                format!(
                    "{scheme}://{}:{}@{rest}",
                    encoded(login.username()),
                    encoded(login.password())
                )
            }
            _ => self.url.clone(),
        })
    }

    /// Returns the URL of a project's page.
    pub(crate) fn project_url(&self, project: &str) -> String {
        format!("{}/{project}/", self.url)
    }

    /// Returns the login if a URL has the same scheme, host and port as the index.
    pub(crate) fn credential_for(&self, url: &str) -> Option<Credential> {
        let (own, other) = (Url::parse(&self.url).ok()?, Url::parse(url).ok()?);
        if own.origin() == other.origin() { self.login.as_ref()?.credential() } else { None }
    }
}

/// Returns the values of uv's variables, or of pip's setting if uv has none.
fn own_or_pips(
    variable: &dyn Fn(&str) -> Option<String>,
    own: &[&str],
    pips: &str,
    pip: &pip::Settings<'_>,
) -> Vec<(String, String)> {
    let own: Vec<_> =
        own.iter().filter_map(|name| Some(((*name).to_owned(), variable(name)?))).collect();
    if own.is_empty() {
        pip.value(pips).map(|value| (format!("pip's {pips}"), value)).into_iter().collect()
    } else {
        own
    }
}

/// Returns a folder that is given as a path or as a `file://` URL.
fn local_folder(entry: &str) -> Option<PathBuf> {
    let path = match Url::parse(entry) {
        Ok(url) if url.scheme() == "file" => url.to_file_path().ok()?,
        _ => PathBuf::from(entry),
    };
    path.is_absolute().then_some(path)
}

#[cfg(test)]
mod tests;
