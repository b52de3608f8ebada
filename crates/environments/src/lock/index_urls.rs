//! The URLs of a Python lock: the indexes that packages come from, and the files that belong to
//! them.

use std::path::Path;

use super::canonical;

/// The URL at which `PyPI` keeps its files. Other indexes have them next to their pages.
const PYPI_FILES: &str = "https://files.pythonhosted.org/";
pub(super) const PYPI_INDEX: &str = "https://pypi.org/simple";

/// The author of a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Author {
    /// Anyone who submitted it with a run.
    Anybody,
    /// An installer that queried only the configured indexes, which decide where they keep their
    /// files.
    Installer,
}

/// Returns whether a text consists of characters that names, versions and files of packages have.
pub(super) fn is_plain(text: &str) -> bool {
    text.len() <= 256
        && !text.is_empty()
        && text
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || "._-+!".contains(character))
}

/// Returns whether the last part of a URL is a file name of this package. The index has the file
/// under that name, whatever a lock says about it.
pub(super) fn is_file_of(url: &str, package: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let file = path
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .replace("%2B", "+")
        .replace("%2b", "+")
        .replace("%21", "!");
    if file.contains('%') || !is_plain(&file) {
        return false;
    }
    if Path::new(&file).extension().is_some_and(|end| end == "whl") {
        return file.split('-').next().is_some_and(|name| canonical(name) == package);
    }
    canonical(&file)
        .strip_prefix(package)
        .and_then(|rest| rest.strip_prefix('-'))
        .is_some_and(|rest| rest.starts_with(|first: char| first.is_ascii_digit()))
}

/// Returns whether a registry is one of the configured indexes.
pub(super) fn is_among(indexes: &[String], registry: &str) -> bool {
    let is_same = |index: &String| index.trim_end_matches('/') == registry.trim_end_matches('/');
    origin(registry).is_some() && indexes.iter().any(is_same)
}

/// Returns whether a file is at a place where an index keeps its packages.
pub(super) fn is_near(url: &str, registry: &str, author: Author) -> bool {
    let Some(own) = origin(url) else { return false };
    let is_pypi = registry.trim_end_matches('/') == PYPI_INDEX;
    author == Author::Installer
        || origin(registry) == Some(own) && is_in_index_folder(url, registry)
        || is_pypi && url.starts_with(PYPI_FILES)
}

/// Returns whether a file is in the folder of an index or beneath it. Other folders of the same
/// host may belong to anyone.
fn is_in_index_folder(url: &str, registry: &str) -> bool {
    let registry = registry.trim_end_matches('/');
    let folder = match registry.rsplit_once('/') {
        Some((folder, _)) if !folder.ends_with('/') => folder,
        _ => registry,
    };
    let is_plain = !url.contains("/../")
        && !url.contains("/./")
        && !url.to_ascii_lowercase().contains("%2e")
        && !url.to_ascii_lowercase().contains("%2f");
    is_plain && url.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

/// Returns the scheme, host and port of a URL without a login, or `None` if two parsers could find
/// different hosts in it.
fn origin(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    if url
        .chars()
        .any(|character| character.is_control() || character.is_whitespace() || character == '\\')
    {
        return None;
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let is_host = !authority.is_empty()
        && authority
            .chars()
            .all(|character| character.is_ascii_alphanumeric() || ".-_:[]".contains(character));
    is_host.then(|| &url[..url.len() - rest.len() + authority.len()])
}
