//! Reading of `uv.lock`.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::index_urls::{Author, is_among, is_file_of, is_near, is_plain};
use super::{Lock, LockError, LockedPackage, canonical};
use crate::requirement::Ecosystem;
use crate::sanitize::sanitize;

#[derive(Deserialize)]
struct UvLock {
    version: u32,
    #[serde(rename = "package", default)]
    packages: Vec<UvPackage>,
    /// A section that `uv` also reads as packages.
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

/// A dependency of a package.
#[derive(Deserialize)]
struct UvDependency {
    name: String,
    #[serde(default)]
    extra: Vec<String>,
    /// The condition under which it is needed.
    #[serde(default)]
    marker: Option<String>,
}

/// Returns whether all packages of a lock are installed on every machine: its project needs all of
/// them, and none only under a condition.
fn is_needed_everywhere(project: &str, packages: &[UvPackage]) -> bool {
    let by_name: BTreeMap<&str, &UvPackage> =
        packages.iter().map(|package| (package.name.as_str(), package)).collect();
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
    /// A file of this machine.
    #[serde(default)]
    path: Option<toml::Value>,
}

/// Reads a `uv.lock`.
pub(super) fn read(text: &str, indexes: &[String], author: Author) -> Result<Lock, LockError> {
    let unreadable = |why: String| LockError::Unreadable { why: sanitize(&why) };
    let lock: UvLock =
        toml::from_str(text).map_err(|error| unreadable(error.message().to_owned()))?;
    if lock.version != 1 {
        return Err(unreadable(format!(
            "its version is {}, but only 1 is supported",
            lock.version
        )));
    }
    if lock.distribution.is_some() {
        return Err(unreadable("it has a section of an outdated format".to_owned()));
    }
    let project_name = lock
        .packages
        .iter()
        .find(|package| is_project(package))
        .map(|package| package.name.clone());
    let installs_all =
        project_name.is_some_and(|project| is_needed_everywhere(&project, &lock.packages));
    let mut project = None;
    let (mut packages, mut hashes) = (Vec::new(), BTreeMap::new());
    for package in lock.packages {
        let found = LockedPackage {
            name: package.name.clone(),
            version: package.version.clone().unwrap_or_default(),
        };
        // The name must have uv's spelling, so that a policy that names the package in another
        // spelling means this one.
        if !is_plain(&found.name)
            || canonical(&found.name) != found.name
            || !(found.version.is_empty() || is_plain(&found.version))
        {
            return Err(unreadable("it contains an invalid name or version".to_owned()));
        }
        if is_project(&package) {
            project = Some(found);
            continue;
        }
        let refused = || LockError::NotFromRegistry { what: package.name.clone() };
        let registry = package
            .source
            .get("registry")
            .and_then(toml::Value::as_str)
            .filter(|_| package.source.len() == 1);
        let Some(registry) = registry.filter(|registry| is_among(indexes, registry)) else {
            return Err(refused());
        };
        for file in package.wheels.iter().chain(&package.sdist) {
            let is_hashed = file.hash.as_deref().is_some_and(is_sha256);
            let is_of_it = file
                .url
                .as_deref()
                .is_some_and(|url| is_file_of(url, &found.name) && is_near(url, registry, author));
            if !is_hashed || !is_of_it || file.path.is_some() {
                return Err(refused());
            }
        }
        let files =
            package.wheels.iter().chain(&package.sdist).filter_map(|file| file.hash.clone());
        hashes.entry(found.name.clone()).or_insert_with(Vec::<String>::new).extend(files);
        packages.push(found);
    }
    for hashes in hashes.values_mut() {
        hashes.sort();
    }
    let project = project.ok_or_else(|| unreadable("it has no project".to_owned()))?;
    Ok(Lock {
        ecosystem: Ecosystem::PyPi,
        text: text.to_owned(),
        project,
        specifiers: BTreeMap::new(),
        packages,
        hashes,
        installs_all,
    })
}

/// Returns whether a hash has the form that `uv` writes. Hashes are part of the identity of
/// environments, joined by spaces: a hash with a space could stand for two others.
fn is_sha256(hash: &str) -> bool {
    let digits = hash.strip_prefix("sha256:").unwrap_or_default();
    digits.len() == 64 && digits.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_project(package: &UvPackage) -> bool {
    let is_here =
        |kind: &&str| package.source.get(*kind).and_then(toml::Value::as_str) == Some(".");
    package.source.len() == 1 && ["virtual", "editable"].iter().any(is_here)
}
