//! The identities of requests, environments and packages. Equal identities share a resolution, an
//! environment or a package.

use std::collections::BTreeSet;

use belljar_engine::Runtime;

use crate::digest::digest;
use crate::environment_record::SCHEMA;
use crate::installers::{Part, Rules};
use crate::lock::{Lock, LockedPackage};
use crate::requirement::{Ecosystem, Requirement};
use crate::wanted::Wanted;

/// The version of the resolver. It changes if the same request may lead to another lock than
/// before, so that older resolutions are not reused.
const RESOLVER: u32 = 2;

/// Returns the hash that identifies a request, under which its resolution is cached.
pub(crate) fn request_sha256(
    requirements: &[Requirement],
    wanted: &Wanted,
    runtime: &Runtime,
    rules: Rules,
    sources: &[String],
) -> String {
    let list: Vec<String> = requirements.iter().map(ToString::to_string).collect();
    let rules = format!(
        "{SCHEMA} {RESOLVER} {} {} {}",
        rules.minimum_release_age_days,
        rules.allow_build,
        std::env::consts::ARCH
    );
    let names =
        |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let (list, sources, ecosystem) = (list.join("\n"), sources.join("\n"), wanted.ecosystem.name());
    let (may_be_missing, optional) = (names(&wanted.may_be_missing), names(&wanted.optional));
    let parts =
        [&rules, ecosystem, &runtime_line(runtime), &list, &sources, &may_be_missing, &optional];
    digest(&parts.map(str::as_bytes))
}

/// The origin of a lock.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The lock was made here, or states itself that all of its packages are installed.
    Here,
    /// The lock was submitted with a run. Only its whole text determines which packages are
    /// installed.
    Given,
}

/// Returns the identity of an environment in hexadecimal: the installed packages, the runtime and
/// the rules. Two locks that install the same packages have the same identity.
pub(crate) fn identity(lock: &Lock, origin: Origin, runtime: &Runtime, rules: Rules) -> String {
    // pnpm checks the release age of what it installs, regardless of who made the lock, so the
    // checked age is part of the identity.
    let age = if lock.ecosystem == Ecosystem::Npm { rules.minimum_release_age_days } else { 0 };
    let form = format!("{SCHEMA} {} {age} {}", rules.allow_build, std::env::consts::ARCH);
    // A virtual environment contains a link to its interpreter.
    let interpreter = if lock.ecosystem == Ecosystem::PyPi {
        runtime.executable.as_os_str().as_encoded_bytes()
    } else {
        b""
    };
    let installed = match (origin, lock.ecosystem) {
        (Origin::Given, _) => lock.text.clone(),
        (Origin::Here, Ecosystem::PyPi) => {
            let mut packages: Vec<String> =
                lock.packages.iter().map(|package| package_line(lock, package)).collect();
            packages.sort();
            // The prefix separates these environments from those that an earlier Belljar installed
            // as a whole.
            format!("linked\n{}", packages.join("\n"))
        }
        // The range that led to a version does not affect what is installed.
        (Origin::Here, Ecosystem::Npm) => lock
            .text
            .lines()
            .filter(|line| !line.starts_with("        specifier: "))
            .collect::<Vec<_>>()
            .join("\n"),
    };
    digest(&[form.as_bytes(), runtime_line(runtime).as_bytes(), interpreter, installed.as_bytes()])
}

/// Returns a Python package with the hashes of its files.
fn package_line(lock: &Lock, package: &LockedPackage) -> String {
    let hashes = lock.hashes.get(&package.name).map(|hashes| hashes.join(" ")).unwrap_or_default();
    format!("{}=={} {hashes}", package.name, package.version)
}

/// Returns the key of an environment: the beginning of its identity, short enough to be read.
pub(crate) fn key(ecosystem: Ecosystem, identity: &str) -> String {
    format!("{}-{}", ecosystem.name(), &identity[..24])
}

/// Returns the packages of a lock as parts that are stored for all environments, or `None` if they
/// are not installed one by one.
pub(crate) fn parts(
    lock: &Lock,
    origin: Origin,
    runtime: &Runtime,
    rules: Rules,
) -> Option<Vec<Part>> {
    if origin == Origin::Given || lock.ecosystem == Ecosystem::Npm || rules.allow_build {
        return None;
    }
    let installed_for = format!(
        "{SCHEMA} {} {} {}",
        runtime_line(runtime),
        runtime.executable.display(),
        std::env::consts::ARCH
    );
    let part = |package: &LockedPackage| {
        let line = package_line(lock, package);
        let is_single =
            lock.packages.iter().filter(|other| other.name == package.name).count() == 1;
        // A plain hash is safe in a line of an installer's input, even if the lock is untrusted.
        let is_plain = |hash: &String| {
            hash.strip_prefix("sha256:").is_some_and(|digits| {
                !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit())
            })
        };
        let hashes = lock
            .hashes
            .get(&package.name)
            .filter(|hashes| !hashes.is_empty() && hashes.iter().all(is_plain) && is_single)?;
        let requirement = format!(
            "{}=={} {}",
            package.name,
            package.version,
            hashes.iter().map(|hash| format!("--hash={hash}")).collect::<Vec<_>>().join(" ")
        );
        let key = format!(
            "pypi-{}-{}",
            package.name,
            &digest(&[installed_for.as_bytes(), line.as_bytes()])[..24]
        );
        Some(Part { key, requirement, package: Some(package.clone()) })
    };
    let mut all = lock.packages.iter().map(part).collect::<Option<Vec<_>>>()?;
    all.sort_by(|one, other| one.key.cmp(&other.key));
    // The interpreter and the other files that every environment has.
    let key = format!("venv-{}", &digest(&[installed_for.as_bytes()])[..24]);
    all.insert(0, Part { key, requirement: String::new(), package: None });
    Some(all)
}

/// Returns the runtime without the part of its version that does not matter to packages.
pub(crate) fn runtime_line(runtime: &Runtime) -> String {
    let (language, version) = runtime.name.split_once('@').unwrap_or((&runtime.name, ""));
    let parts = if language == "node" { 1 } else { 2 };
    format!("{language}@{}", version.split('.').take(parts).collect::<Vec<_>>().join("."))
}

/// Returns whether a text has the form of a key, which becomes part of a path.
pub(crate) fn is_key(key: &str) -> bool {
    key.len() <= 80
        && !key.is_empty()
        && key
            .bytes()
            .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}
