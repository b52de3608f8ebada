//! Locks: `uv.lock` and `pnpm-lock.yaml`, as their installers write them. One that comes with a run is somebody's text: it is read far enough to know
//! that everything in it comes from a registry by its hash, and refused otherwise.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::requirement::Ecosystem;

/// More than the lock of any program.
pub const MOST_LOCK_BYTES: usize = 8 << 20;
/// Where `PyPI` keeps its files. An index of one's own has them beside itself.
const PYPI_FILES: &str = "https://files.pythonhosted.org/";
const PYPI_INDEX: &str = "https://pypi.org/simple";

/// A package at a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedPackage {
    /// Its name in its registry.
    pub name: String,
    /// Its version.
    pub version: String,
}

/// A lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Whose form it has.
    pub ecosystem: Ecosystem,
    /// As the installer wrote it: `uv.lock` or `pnpm-lock.yaml`.
    pub text: String,
    /// The project that it is the lock of.
    pub project: LockedPackage,
    /// What its project asks for, as the form has it: name and range. Of npm only; `uv` has it in the lock itself.
    pub specifiers: BTreeMap<String, String>,
    /// Everything that it may install. For other machines there may be more in it than is installed here.
    pub packages: Vec<LockedPackage>,
}

/// Why a text is not a lock to install from.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// Too long.
    #[error("the lock has {bytes} bytes, and at most {MOST_LOCK_BYTES} are taken")]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// Neither form.
    #[error("the lock is neither a uv.lock nor a pnpm-lock.yaml: {why}; make one with `belljar env lock FILE`")]
    Unreadable {
        /// What was expected.
        why: String,
    },
    /// Something in it does not come from a registry.
    #[error("the lock is refused: {what} does not come from the registry by its hash; make one with `belljar env lock FILE`")]
    NotFromRegistry {
        /// What.
        what: String,
    },
    /// It is of the other language.
    #[error("the lock is one of {found}, and the program needs one of {wanted}")]
    OtherEcosystem {
        /// What it is of.
        found: Ecosystem,
        /// What is needed.
        wanted: Ecosystem,
    },
}

impl Lock {
    /// Reads a lock of either form. `indexes` are the addresses that packages may come from besides the public registries.
    pub fn parse(text: &str, indexes: &[String]) -> Result<Self, LockError> {
        if text.len() > MOST_LOCK_BYTES {
            return Err(LockError::TooLong { bytes: text.len() });
        }
        if text.trim_start().starts_with("lockfileVersion:") { pnpm(text) } else { uv(text, indexes) }
    }

    /// The hash of its text, hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.text))
    }
}

#[derive(Deserialize)]
struct UvLock {
    version: u32,
    #[serde(rename = "package", default)]
    packages: Vec<UvPackage>,
}

#[derive(Deserialize)]
struct UvPackage {
    name: String,
    #[serde(default)]
    version: Option<String>,
    source: BTreeMap<String, toml::Value>,
    #[serde(default)]
    wheels: Vec<UvFile>,
    #[serde(default)]
    sdist: Option<UvFile>,
}

#[derive(Deserialize)]
struct UvFile {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    hash: Option<String>,
}

fn uv(text: &str, indexes: &[String]) -> Result<Lock, LockError> {
    let unreadable = |why: String| LockError::Unreadable { why };
    let lock: UvLock = toml::from_str(text).map_err(|error| unreadable(error.message().to_owned()))?;
    if lock.version != 1 {
        return Err(unreadable(format!("its version is {}, and this Belljar knows 1", lock.version)));
    }
    let mut project = None;
    let mut packages = Vec::new();
    for package in lock.packages {
        let found = LockedPackage { name: package.name.clone(), version: package.version.clone().unwrap_or_default() };
        if !is_plain(&found.name) || !(found.version.is_empty() || is_plain(&found.version)) {
            return Err(unreadable("a name or version in it has characters that none has".to_owned()));
        }
        let is_project = ["virtual", "editable"].iter().any(|kind| package.source.get(*kind).and_then(toml::Value::as_str) == Some("."));
        if is_project {
            project = Some(found);
            continue;
        }
        let refused = || LockError::NotFromRegistry { what: package.name.clone() };
        let registry = package.source.get("registry").and_then(toml::Value::as_str).filter(|_| package.source.len() == 1);
        let allowed = registry.is_some_and(|registry| registry == PYPI_INDEX || indexes.iter().any(|index| same_place(index, registry)));
        if !allowed {
            return Err(refused());
        }
        for file in package.wheels.iter().chain(&package.sdist) {
            let is_hashed = file.hash.as_deref().is_some_and(|hash| hash.starts_with("sha256:"));
            let is_near = file.url.as_deref().is_some_and(|url| url.starts_with(PYPI_FILES) || indexes.iter().any(|index| same_host(index, url)));
            if !is_hashed || !is_near {
                return Err(refused());
            }
        }
        packages.push(found);
    }
    let project = project.ok_or_else(|| unreadable("there is no project in it".to_owned()))?;
    Ok(Lock { ecosystem: Ecosystem::PyPi, text: text.to_owned(), project, specifiers: BTreeMap::new(), packages })
}

fn is_plain(text: &str) -> bool {
    text.len() <= 256 && !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "._-+!".contains(character))
}

fn same_place(one: &str, other: &str) -> bool {
    without_user(one).trim_end_matches('/') == without_user(other).trim_end_matches('/')
}

fn same_host(one: &str, other: &str) -> bool {
    let origin = |url: &str| without_user(url).splitn(4, '/').take(3).collect::<Vec<_>>().join("/");
    one.contains("://") && origin(one) == origin(other)
}

/// An address without the user and password in it.
fn without_user(url: &str) -> String {
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let end = rest.find('/').unwrap_or(rest.len());
            let host = rest[..end].rsplit_once('@').map_or(&rest[..end], |(_, host)| host);
            format!("{scheme}://{host}{}", &rest[end..])
        }
        None => url.to_owned(),
    }
}

/// The keys that say that something comes from elsewhere than the registry.
const ELSEWHERE: [&str; 8] = ["tarball", "repo", "commit", "directory", "type", "path", "url", "gitHosted"];
/// Top-level sections that change nothing about where packages come from.
const KNOWN_SECTIONS: [&str; 6] = ["lockfileVersion", "settings", "importers", "packages", "snapshots", "time"];

/// Reads the lines that pnpm writes, and only those: another spelling of the same YAML is refused, so that nothing in it is read otherwise by pnpm.
fn pnpm(text: &str) -> Result<Lock, LockError> {
    let unreadable = |why: String| LockError::Unreadable { why };
    let from_elsewhere = |what: &str| LockError::NotFromRegistry { what: what.chars().take(120).collect() };
    let (mut section, mut importer, mut dependency) = (String::new(), String::new(), String::new());
    let mut specifiers = BTreeMap::new();
    let mut packages = Vec::new();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let indent = line.len() - line.trim_start_matches(' ').len();
        let content = &line[indent..];
        if content.starts_with('-') || content.starts_with(['#']) {
            // Items of lists name systems and peers; comments name nothing.
            if content == "---" {
                return Err(unreadable("it has several documents".to_owned()));
            }
            continue;
        }
        if content.contains('\t') || content.starts_with(['&', '*', '!', '?', '{', '[', '|', '>', '"', '%', '@']) {
            return Err(unreadable("it is not written as pnpm writes it".to_owned()));
        }
        let Some((key, value)) = key_and_value(content) else { return Err(unreadable(format!("a line in it is no setting: {:.60}", content))) };
        if value.starts_with(['&', '*', '!', '|', '>']) {
            return Err(unreadable("it is not written as pnpm writes it".to_owned()));
        }
        if indent == 0 {
            if !KNOWN_SECTIONS.contains(&key) {
                return Err(from_elsewhere(key));
            }
            key.clone_into(&mut section);
            if key == "lockfileVersion" && value.trim_matches('\'') != "9.0" {
                return Err(unreadable(format!("its version is {value}, and this Belljar knows 9.0")));
            }
            continue;
        }
        match (section.as_str(), indent) {
            ("importers", 2) => key.clone_into(&mut importer),
            ("importers", 6) => key.clone_into(&mut dependency),
            ("importers", 8) => {
                let is_plain = !["link:", "file:", "http", "git", "workspace:", "portal:"].iter().any(|start| value.trim_matches('\'').starts_with(start));
                if importer != "." || !is_plain || !["specifier", "version"].contains(&key) {
                    return Err(from_elsewhere(&dependency));
                }
                if key == "specifier" {
                    specifiers.insert(dependency.clone(), value.trim_matches('\'').to_owned());
                }
            }
            ("packages", 2) => {
                let (name, version) = key.rsplit_once('@').filter(|(name, _)| !name.is_empty()).ok_or_else(|| from_elsewhere(key))?;
                let is_version = version.starts_with(|first: char| first.is_ascii_digit());
                if !is_version || !version.chars().all(|character| character.is_ascii_alphanumeric() || ".-+_".contains(character)) {
                    return Err(from_elsewhere(key));
                }
                packages.push(LockedPackage { name: name.to_owned(), version: version.to_owned() });
            }
            ("packages" | "snapshots", _) if ELSEWHERE.contains(&key) => return Err(from_elsewhere(key)),
            ("packages", 4) if key == "resolution" => {
                let hash = value.strip_prefix("{integrity: ").and_then(|rest| rest.strip_suffix('}'));
                let is_hash = hash.is_some_and(|hash| {
                    hash.starts_with("sha") && hash.chars().all(|character| character.is_ascii_alphanumeric() || "+/=-".contains(character))
                });
                if !is_hash {
                    return Err(from_elsewhere(packages.last().map_or("", |package| package.name.as_str())));
                }
            }
            _ => {}
        }
    }
    if !text.contains("importers:") {
        return Err(unreadable("there is no project in it".to_owned()));
    }
    let project = LockedPackage { name: "environment".to_owned(), version: "0.0.0".to_owned() };
    Ok(Lock { ecosystem: Ecosystem::Npm, text: text.to_owned(), project, specifiers, packages })
}

/// The key of a line, without quotes, and what follows it.
fn key_and_value(line: &str) -> Option<(&str, &str)> {
    if let Some(rest) = line.strip_prefix('\'') {
        let (key, rest) = rest.split_once('\'')?;
        return Some((key, rest.strip_prefix(':')?.trim()));
    }
    match line.split_once(": ") {
        Some((key, value)) => Some((key, value.trim())),
        None => Some((line.strip_suffix(':')?, "")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PNPM: &str = "lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n\nimporters:\n\n  .:\n    dependencies:\n      '@scope/x':\n        specifier: ^1.0.0\n        version: 1.2.3\n\npackages:\n\n  '@scope/x@1.2.3':\n    resolution: {integrity: sha512-AAAA+/==}\n    engines: {node: '>=18'}\n    os: [linux]\n\nsnapshots:\n\n  '@scope/x@1.2.3': {}\n";
    const UV: &str = "version = 1\nrevision = 3\nrequires-python = \"==3.11.*\"\n\n[[package]]\nname = \"environment\"\nversion = \"0\"\nsource = { virtual = \".\" }\n\n[[package]]\nname = \"six\"\nversion = \"1.17.0\"\nsource = { registry = \"https://pypi.org/simple\" }\nwheels = [\n    { url = \"https://files.pythonhosted.org/packages/six.whl\", hash = \"sha256:4721\", size = 11050 },\n]\n";

    #[test]
    fn what_the_installers_write_is_read() {
        let lock = Lock::parse(PNPM, &[]).unwrap();
        assert_eq!(lock.packages, [LockedPackage { name: "@scope/x".into(), version: "1.2.3".into() }]);
        assert_eq!(lock.specifiers["@scope/x"], "^1.0.0");
        let lock = Lock::parse(UV, &[]).unwrap();
        assert_eq!((lock.project.name.as_str(), lock.packages[0].name.as_str()), ("environment", "six"));
    }

    #[test]
    fn a_lock_that_leads_elsewhere_is_refused() {
        for (from, to) in [
            ("{integrity: sha512-AAAA+/==}", "{tarball: http://127.0.0.1/x.tgz}"),
            ("{integrity: sha512-AAAA+/==}", "{integrity: sha512-AAAA, tarball: http://127.0.0.1/x.tgz}"),
            ("    resolution: {integrity: sha512-AAAA+/==}", "    resolution:\n      tarball: http://127.0.0.1/x.tgz"),
            ("    resolution: {integrity: sha512-AAAA+/==}", "    resolution: &x\n      integrity: sha512-AAAA"),
            ("version: 1.2.3", "version: link:../../etc"),
            ("'@scope/x@1.2.3':\n", "'@scope/x@https://127.0.0.1/x.tgz':\n"),
            ("settings:", "overrides:"),
            ("settings:", "\"packages\":"),
            ("  .:", "  ../other:"),
        ] {
            let text = PNPM.replacen(from, to, 1);
            assert_ne!(text, PNPM, "{from}");
            assert!(Lock::parse(&text, &[]).is_err(), "{text}");
        }
        for (from, to) in [
            ("https://files.pythonhosted.org/packages", "http://127.0.0.1/packages"),
            ("{ registry = \"https://pypi.org/simple\" }", "{ registry = \"http://127.0.0.1/simple\" }"),
            ("{ registry = \"https://pypi.org/simple\" }", "{ git = \"https://example.com/six\" }"),
            ("{ registry = \"https://pypi.org/simple\" }", "{ path = \"/etc\" }"),
            (", hash = \"sha256:4721\"", ""),
            ("name = \"six\"", "name = \"six\\\"\\n[x]\""),
            ("version = 1\n", "version = 2\n"),
        ] {
            let text = UV.replacen(from, to, 1);
            assert_ne!(text, UV, "{from}");
            assert!(Lock::parse(&text, &[]).is_err(), "{text}");
        }
    }

    #[test]
    fn an_index_of_ones_own_is_a_registry_too() {
        let text = UV.replace("https://pypi.org/simple", "https://index.example/simple").replace("https://files.pythonhosted.org", "https://index.example");
        assert!(Lock::parse(&text, &[]).is_err());
        assert!(Lock::parse(&text, &["https://me:secret@index.example/simple/".to_owned()]).is_ok());
        assert!(Lock::parse(&text, &["https://index.example.evil/simple/".to_owned()]).is_err());
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(lockfileVersion: '9.0'\n)?(\\PC|\n|  |: |importers:\n|packages:\n|resolution: |@1|'){0,60}") {
            let _ = Lock::parse(&text, &[]);
        }
    }
}
