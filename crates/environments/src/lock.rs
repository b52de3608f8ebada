//! Locks: `uv.lock` and `pnpm-lock.yaml`, as their installers write them. One that comes with a run is somebody's text: it is read far enough to know
//! that everything in it comes from a registry by its hash, and refused otherwise.

mod pnpm;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::printable::printable;
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
    /// The hashes of the files of each package, any of which may be installed. Of `PyPI` only.
    #[serde(default)]
    pub hashes: BTreeMap<String, Vec<String>>,
    /// Whether all of its packages are installed wherever it is. Of `PyPI` only.
    #[serde(default)]
    pub installs_all: bool,
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

/// Whose word a lock is.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Author {
    /// Somebody's: whoever gave it with a run.
    Anybody,
    /// An installer's, that has asked the configured indexes only. Where those keep their files is theirs to say.
    Installer,
}

impl Lock {
    /// Reads a lock of either form that came with a run. `indexes` are the addresses that packages of Python may come from.
    pub fn parse(text: &str, indexes: &[String]) -> Result<Self, LockError> {
        Self::read(text, indexes, Author::Anybody)
    }

    /// Reads a lock that an installer has just written.
    pub(crate) fn written(text: &str, indexes: &[String]) -> Result<Self, LockError> {
        Self::read(text, indexes, Author::Installer)
    }

    fn read(text: &str, indexes: &[String], author: Author) -> Result<Self, LockError> {
        if text.len() > MOST_LOCK_BYTES {
            return Err(LockError::TooLong { bytes: text.len() });
        }
        if text.trim_start().starts_with("lockfileVersion:") { pnpm::read(text) } else { uv(text, indexes, author) }
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
    /// What `uv` also reads as packages.
    #[serde(default)]
    distribution: Option<toml::Value>,
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
    #[serde(default)]
    dependencies: Vec<UvDependency>,
    #[serde(default, rename = "optional-dependencies")]
    extras: BTreeMap<String, Vec<UvDependency>>,
}

/// What a package needs.
#[derive(Deserialize)]
struct UvDependency {
    name: String,
    #[serde(default)]
    extra: Vec<String>,
    /// Where it is needed; everywhere without.
    #[serde(default)]
    marker: Option<String>,
}

/// Whether everything in a lock is installed wherever it is: its project needs all of it, and nothing of it only somewhere.
fn is_needed_everywhere(project: &str, packages: &[UvPackage]) -> bool {
    let by_name: BTreeMap<&str, &UvPackage> = packages.iter().map(|package| (package.name.as_str(), package)).collect();
    if by_name.len() != packages.len() {
        return false;
    }
    let mut seen = BTreeSet::from([(project, None)]);
    let mut waiting = vec![(project, None)];
    while let Some((name, extra)) = waiting.pop() {
        let Some(package) = by_name.get(name) else { return false };
        let needed = match extra {
            None => &package.dependencies,
            Some(extra) => package.extras.get(extra).unwrap_or(const { &Vec::new() }),
        };
        for dependency in needed.iter().filter(|dependency| dependency.marker.is_none()) {
            let extras = dependency.extra.iter().map(|extra| Some(extra.as_str()));
            for needed in extras.chain([None]).map(|extra| (dependency.name.as_str(), extra)) {
                if seen.insert(needed) {
                    waiting.push(needed);
                }
            }
        }
    }
    packages.iter().all(|package| seen.contains(&(package.name.as_str(), None)))
}

#[derive(Deserialize)]
struct UvFile {
    #[serde(default)]
    url: Option<String>,
    #[serde(default)]
    hash: Option<String>,
    /// Files of this machine.
    #[serde(default)]
    path: Option<toml::Value>,
}

fn uv(text: &str, indexes: &[String], author: Author) -> Result<Lock, LockError> {
    let unreadable = |why: String| LockError::Unreadable { why: printable(&why) };
    let lock: UvLock = toml::from_str(text).map_err(|error| unreadable(error.message().to_owned()))?;
    if lock.version != 1 {
        return Err(unreadable(format!("its version is {}, and this Belljar knows 1", lock.version)));
    }
    if lock.distribution.is_some() {
        return Err(unreadable("it has a section of an old form".to_owned()));
    }
    let project_name = lock.packages.iter().find(|package| is_project(package)).map(|package| package.name.clone());
    let installs_all = project_name.is_some_and(|project| is_needed_everywhere(&project, &lock.packages));
    let mut project = None;
    let (mut packages, mut hashes) = (Vec::new(), BTreeMap::new());
    for package in lock.packages {
        let found = LockedPackage { name: package.name.clone(), version: package.version.clone().unwrap_or_default() };
        // Spelled as uv spells it, so that a policy that names it in any other way means this one.
        if !is_plain(&found.name) || canonical(&found.name) != found.name || !(found.version.is_empty() || is_plain(&found.version)) {
            return Err(unreadable("a name or version in it has characters that none has".to_owned()));
        }
        if is_project(&package) {
            project = Some(found);
            continue;
        }
        let refused = || LockError::NotFromRegistry { what: package.name.clone() };
        let registry = package.source.get("registry").and_then(toml::Value::as_str).filter(|_| package.source.len() == 1);
        let Some(registry) = registry.filter(|registry| is_among(indexes, registry)) else { return Err(refused()) };
        for file in package.wheels.iter().chain(&package.sdist) {
            let is_hashed = file.hash.as_deref().is_some_and(is_sha256);
            let is_of_it = file.url.as_deref().is_some_and(|url| is_file_of(url, &found.name) && is_near(url, registry, author));
            if !is_hashed || !is_of_it || file.path.is_some() {
                return Err(refused());
            }
        }
        let files = package.wheels.iter().chain(&package.sdist).filter_map(|file| file.hash.clone());
        hashes.entry(found.name.clone()).or_insert_with(Vec::<String>::new).extend(files);
        packages.push(found);
    }
    for hashes in hashes.values_mut() {
        hashes.sort();
    }
    let project = project.ok_or_else(|| unreadable("there is no project in it".to_owned()))?;
    Ok(Lock { ecosystem: Ecosystem::PyPi, text: text.to_owned(), project, specifiers: BTreeMap::new(), packages, hashes, installs_all })
}

/// Whether a hash is one that `uv` writes. Hashes are part of what tells environments apart, joined by blanks: one with a blank
/// in it could stand for two others.
fn is_sha256(hash: &str) -> bool {
    let digits = hash.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_project(package: &UvPackage) -> bool {
    let is_here = |kind: &&str| package.source.get(*kind).and_then(toml::Value::as_str) == Some(".");
    package.source.len() == 1 && ["virtual", "editable"].iter().any(is_here)
}

fn is_plain(text: &str) -> bool {
    text.len() <= 256 && !text.is_empty() && text.chars().all(|character| character.is_ascii_alphanumeric() || "._-+!".contains(character))
}

/// A name of a Python package in its one spelling (PEP 503).
pub(crate) fn canonical(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

/// Whether the last part of an address names a file of this package. By that name the index has it, whatever a lock says that it is.
fn is_file_of(url: &str, package: &str) -> bool {
    let path = url.split(['?', '#']).next().unwrap_or_default();
    let file = path.rsplit('/').next().unwrap_or_default().replace("%2B", "+").replace("%2b", "+").replace("%21", "!");
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

fn is_among(indexes: &[String], registry: &str) -> bool {
    let is_same = |index: &String| index.trim_end_matches('/') == registry.trim_end_matches('/');
    origin(registry).is_some() && indexes.iter().any(is_same)
}

/// Whether a file is where the packages of this index are.
fn is_near(url: &str, registry: &str, author: Author) -> bool {
    let Some(own) = origin(url) else { return false };
    let is_pypi = registry.trim_end_matches('/') == PYPI_INDEX;
    author == Author::Installer || origin(registry) == Some(own) && is_beside(url, registry) || is_pypi && url.starts_with(PYPI_FILES)
}

/// Whether a file is in the folder that an index is in, or beneath: other folders of the same host may be anybody's.
fn is_beside(url: &str, registry: &str) -> bool {
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

/// Scheme, host and port of an address without a login. `None` where two readers could find different hosts in it.
fn origin(url: &str) -> Option<&str> {
    let rest = url.strip_prefix("https://").or_else(|| url.strip_prefix("http://"))?;
    if url.chars().any(|character| character.is_control() || character.is_whitespace() || character == '\\') {
        return None;
    }
    let authority = &rest[..rest.find(['/', '?', '#']).unwrap_or(rest.len())];
    let is_host =
        !authority.is_empty() && authority.chars().all(|character| character.is_ascii_alphanumeric() || ".-_:[]".contains(character));
    is_host.then(|| &url[..url.len() - rest.len() + authority.len()])
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PNPM: &str = "lockfileVersion: '9.0'\n\nsettings:\n  autoInstallPeers: true\n\nimporters:\n\n  .:\n    dependencies:\n      '@scope/x':\n        specifier: ^1.0.0\n        version: 1.2.3\n\npackages:\n\n  '@scope/x@1.2.3':\n    resolution: {integrity: sha512-AAAA+/==}\n    engines: {node: '>=18'}\n    os: [linux]\n\nsnapshots:\n\n  '@scope/x@1.2.3': {}\n";
    const HASH: &str = "sha256:4721000000000000000000000000000000000000000000000000000000000000";
    const UV: &str = "version = 1\nrevision = 3\nrequires-python = \"==3.11.*\"\n\n[[package]]\nname = \"environment\"\nversion = \"0\"\nsource = { virtual = \".\" }\n\n[[package]]\nname = \"six\"\nversion = \"1.17.0\"\nsource = { registry = \"https://pypi.org/simple\" }\nwheels = [\n    { url = \"https://files.pythonhosted.org/packages/six-1.17.0-py2.py3-none-any.whl\", hash = \"sha256:4721000000000000000000000000000000000000000000000000000000000000\", size = 11050 },\n]\n";

    fn pypi() -> [String; 1] {
        [PYPI_INDEX.to_owned()]
    }

    #[test]
    fn what_the_installers_write_is_read() {
        let lock = Lock::parse(PNPM, &[]).unwrap();
        assert_eq!(lock.packages, [LockedPackage { name: "@scope/x".into(), version: "1.2.3".into() }]);
        assert_eq!(lock.specifiers["@scope/x"], "^1.0.0");
        let lock = Lock::parse(UV, &pypi()).unwrap();
        assert_eq!((lock.project.name.as_str(), lock.packages[0].name.as_str()), ("environment", "six"));
    }

    #[test]
    fn a_lock_installs_all_that_its_project_needs_everywhere() {
        let package = |name: &str, needs: &str| {
            format!("[[package]]\nname = \"{name}\"\nversion = \"1\"\nsource = {{ registry = \"https://pypi.org/simple\" }}\n{needs}\n")
        };
        let lock = |needs: &str, others: &[String]| {
            let project = format!(
                "version = 1\n[[package]]\nname = \"environment\"\nversion = \"0\"\nsource = {{ virtual = \".\" }}\ndependencies = [{needs}]\n"
            );
            Lock::parse(&format!("{project}{}", others.join("")), &pypi()).unwrap().installs_all
        };
        let chain = [package("a", "dependencies = [{ name = \"b\" }]"), package("b", "")];
        assert!(lock("{ name = \"a\" }", &chain));
        assert!(!lock("{ name = \"b\" }", &chain), "a is not needed");
        assert!(!lock("{ name = \"a\", marker = \"sys_platform == 'win32'\" }", &chain));
        let extra = [package("a", "[package.optional-dependencies]\nx = [{ name = \"b\" }]"), package("b", "")];
        assert!(lock("{ name = \"a\", extra = [\"x\"] }", &extra) && !lock("{ name = \"a\" }", &extra));
        assert!(!lock("{ name = \"a\" }, { name = \"c\" }", &chain), "what is needed is not there");
        assert!(lock("", &[]));
    }

    #[test]
    fn all_that_pnpm_knows_of_a_package_is_read() {
        let more = "    engines: {node: '>=18'}\n    cpu: [x64]\n    libc: [glibc]\n    os: ['!win32']\n    hasBin: true\n    deprecated: |-\n      Moved.\n\n      tarball: nowhere\n    peerDependencies:\n      react: '*'\n    peerDependenciesMeta:\n      react:\n        optional: true\n    bundledDependencies:\n      - inner\n";
        let snapshots = "  '@scope/x@1.2.3(react@18.0.0)':\n    dependencies:\n      '@scope/x': 1.2.3(react@18.0.0)\n      other: '@scope/x@1.2.3'\n    transitivePeerDependencies:\n      - supports-color\n    optional: true\n";
        let text = PNPM
            .replace("    engines: {node: '>=18'}\n    os: [linux]\n", more)
            .replace("  '@scope/x@1.2.3': {}\n", snapshots)
            .replace("specifier: ^1.0.0", "specifier: npm:@scope/y@>=1 <2 || ~3");
        assert_eq!(Lock::parse(&text, &[]).unwrap().specifiers["@scope/x"], "npm:@scope/y@>=1 <2 || ~3", "{text}");
    }

    #[test]
    fn a_lock_that_leads_elsewhere_is_refused() {
        for (from, to) in [
            ("{integrity: sha512-AAAA+/==}", "{tarball: http://127.0.0.1/x.tgz}"),
            ("{integrity: sha512-AAAA+/==}", "{integrity: sha512-AAAA, tarball: http://127.0.0.1/x.tgz}"),
            ("    resolution: {integrity: sha512-AAAA+/==}", "    resolution:\n      tarball: http://127.0.0.1/x.tgz"),
            ("    resolution: {integrity: sha512-AAAA+/==}", "    resolution: &x\n      integrity: sha512-AAAA"),
            ("version: 1.2.3", "version: link:../../etc"),
            ("version: 1.2.3", "version: https://127.0.0.1/x.tgz"),
            ("specifier: ^1.0.0", "specifier: someone/their-fork"),
            ("specifier: ^1.0.0", "specifier: ssh://127.0.0.1/x"),
            ("'@scope/x@1.2.3':\n", "'@scope/x@https://127.0.0.1/x.tgz':\n"),
            // A name that means another.
            ("'@scope/x@1.2.3':\n", "'x@npm:@scope/x@1.2.3':\n"),
            ("settings:", "overrides:"),
            ("settings:", "\"packages\":"),
            ("settings:", "packages:\nsettings:"),
            ("  .:", "  ../other:"),
            // The same YAML in another form: on one line, further in, by a line end that only YAML knows, in a second document.
            ("'@scope/x@1.2.3':\n", "'@scope/x@1.2.3': {resolution: {tarball: 'http://127.0.0.1/x.tgz'}}\n"),
            ("packages:\n", "packages: {x@1.0.0: {resolution: {tarball: 'http://127.0.0.1/x.tgz'}}}\n"),
            ("  '@scope/x@1.2.3':\n    resolution:", "   '@scope/x@1.2.3':\n      resolution:"),
            ("    os: [linux]\n", "    os: [linux]\n   x@1.0.0:\n      resolution: {tarball: 'http://127.0.0.1/x.tgz'}\n"),
            ("    os: [linux]\n", "    # no comment\r    name: y\n"),
            ("    os: [linux]\n", "    # no comment\u{85}    name: y\n"),
            ("    os: [linux]\n", "    # no comment\u{2028}    name: y\n"),
            ("snapshots:", "--- {packages: {}}\nsnapshots:"),
            ("snapshots:", "- x\nsnapshots:"),
            ("    os: [linux]\n", "    os: 'a\n    tarball'\n"),
            ("    os: [linux]\n", "    os: \"a\n    b\"\n"),
            ("    os: [linux]\n", "    name: y\n    version: 1.0.0\n"),
            // What is installed without being listed.
            ("  '@scope/x@1.2.3': {}\n", "  'evil@1.0.0': {}\n"),
            ("  '@scope/x@1.2.3': {}\n", "  '@scope/x@1.2.3':\n    dependencies:\n      y: file:/etc\n"),
        ] {
            let text = PNPM.replacen(from, to, 1);
            assert_ne!(text, PNPM, "{from}");
            assert!(Lock::parse(&text, &[]).is_err(), "{text}");
        }
        for (from, to) in [
            ("https://files.pythonhosted.org/packages", "http://127.0.0.1/packages"),
            ("https://files.pythonhosted.org/packages", "https://files.pythonhosted.org.evil.example/packages"),
            ("https://files.pythonhosted.org/packages", "https://127.0.0.1\\\\@files.pythonhosted.org/packages"),
            ("{ registry = \"https://pypi.org/simple\" }", "{ registry = \"http://127.0.0.1/simple\" }"),
            ("{ registry = \"https://pypi.org/simple\" }", "{ registry = \"https://me@pypi.org/simple\" }"),
            ("{ registry = \"https://pypi.org/simple\" }", "{ git = \"https://example.com/six\" }"),
            ("{ registry = \"https://pypi.org/simple\" }", "{ path = \"/etc\" }"),
            (", hash = \"sha256:4721000000000000000000000000000000000000000000000000000000000000\"", ""),
            // Hashes that stand for others once they are joined, or that nobody writes.
            (&*format!("{HASH}\""), &*format!("{HASH} sha256:{}\"", "0".repeat(64))),
            (HASH, "sha256:4721"),
            (HASH, &HASH.to_uppercase()),
            (HASH, &HASH.replace('4', "g")),
            ("url = ", "path = \"/etc/passwd\", url = "),
            ("name = \"six\"", "name = \"six\\\"\\n[x]\""),
            ("version = 1\n", "version = 2\n"),
            // Another package under the name of an allowed one; a blocked one under another spelling.
            ("packages/six-", "packages/evil-"),
            ("packages/six-", "packages/%65vil-"),
            ("name = \"six\"", "name = \"Six\""),
            ("name = \"six\"", "name = \"six--x\""),
            ("version = 1\n", "version = 1\ndistribution = []\n"),
        ] {
            let text = UV.replacen(from, to, 1);
            assert_ne!(text, UV, "{from}");
            assert!(Lock::parse(&text, &pypi()).is_err(), "{text}");
        }
    }

    #[test]
    fn an_index_of_ones_own_is_a_registry_and_then_the_only_one() {
        let own = ["https://index.example/simple/".to_owned()];
        let text = UV
            .replace("https://pypi.org/simple", "https://index.example/simple")
            .replace("https://files.pythonhosted.org", "https://index.example");
        assert!(Lock::parse(&text, &pypi()).is_err());
        assert!(Lock::parse(&text, &own).is_ok());
        assert!(Lock::parse(&text, &["https://index.example.evil/simple/".to_owned()]).is_err());
        assert!(Lock::parse(UV, &own).is_err(), "the public index is not asked where another is configured");
        let mixed = text.replace("https://index.example/packages", "https://files.pythonhosted.org/packages");
        assert!(Lock::parse(&mixed, &own).is_err(), "nor are its files had by naming another index");
        assert!(Lock::written(&mixed, &own).is_ok(), "where an index keeps its files is its own to say");
        for host in [
            "https://127.0.0.1\\\\@index.example",
            "https://127.0.0.1?@index.example",
            "https://127.0.0.1#@index.example",
            "https://index.example@127.0.0.1",
            "https://index.example:81",
        ] {
            let text = text.replace("https://index.example/packages", &format!("{host}/packages"));
            assert!(Lock::parse(&text, &own).is_err(), "{host}");
        }
    }

    #[test]
    fn files_are_beside_their_index_and_not_anywhere_on_its_host() {
        let own = ["https://host.example/group/project/simple".to_owned()];
        let lock = |place: &str| {
            let text = UV.replace("https://pypi.org/simple", own[0].as_str()).replace("https://files.pythonhosted.org/packages", place);
            Lock::parse(&text, &own)
        };
        for place in ["https://host.example/group/project/files", "https://host.example/group/project/simple/six"] {
            assert!(lock(place).is_ok(), "{place}");
        }
        for place in [
            "https://host.example/stranger/project/files",
            "https://host.example/group/project-of-a-stranger/files",
            "https://host.example/group/project/../../stranger",
            "https://host.example/group/project/%2E%2e/%2e%2e/stranger",
            "https://host.example/group/project%2f..%2f..%2fstranger",
        ] {
            assert!(lock(place).is_err(), "{place}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "(lockfileVersion: '9.0'\n)?(\\PC|\n|  |: |importers:\n|packages:\n|resolution: |@1|'){0,60}") {
            let _ = Lock::parse(&text, &[]);
        }

        /// Whatever is put into a lock of pnpm's: if it is still read, every address in it was refused.
        #[test]
        fn no_line_brings_an_address_in(line in " {0,8}('|\"|\\? |- |\\{|\\[|resolution: |tarball: |x@1.0.0: |version: |integrity: ){0,5}http://127.0.0.1/x.tgz('|\"|\\}|\\]|,){0,3}", at in 0_usize..20) {
            let mut lines: Vec<&str> = PNPM.lines().collect();
            lines.insert(at.min(lines.len()), &line);
            prop_assert!(Lock::parse(&lines.join("\n"), &[]).is_err(), "{}", lines.join("\n"));
        }
    }
}
