//! The modules of an environment that are worth importing in advance: the program's imports if they
//! are known, otherwise the main module of each requested package.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use rustix::fs::{Mode, OFlags};

use crate::lock::{Lock, canonical};
use crate::requirement::{Ecosystem, Requirement};

/// The maximum number of modules that are imported in advance.
pub(crate) const MAX_MODULES: usize = 32;
/// The maximum size of a package's list of files that is read.
const MAX_RECORD_BYTES: u64 = 4 << 20;

/// Returns at most `max` modules. `root` is an installation, of which only names are read and
/// nothing is trusted.
pub(crate) fn preload_modules(
    lock: &Lock,
    root: &Path,
    requirements: &[String],
    imported: &[String],
    max: usize,
) -> Vec<String> {
    let mut modules: Vec<String> = match lock.ecosystem {
        _ if !imported.is_empty() => imported.to_vec(),
        Ecosystem::PyPi => {
            let asked = requirements
                .iter()
                .filter_map(|text| Requirement::parse(Ecosystem::PyPi, text).ok());
            asked.filter_map(|requirement| main_module(lock, root, requirement.name())).collect()
        }
        Ecosystem::Npm => lock.specifiers.keys().cloned().collect(),
    };
    // All programs with the same packages get these modules, regardless of which one was the first.
    // So they must be public modules of the packages, and not private ones or programs.
    modules.retain(|module| {
        is_module(lock.ecosystem, module) && belongs_to(lock.ecosystem, root, module)
    });
    modules.dedup();
    modules.truncate(max);
    modules
}

/// Returns whether a name can be passed to `import` or `require` and means nothing else.
fn is_module(ecosystem: Ecosystem, name: &str) -> bool {
    let allowed = |character: char| match ecosystem {
        Ecosystem::PyPi => character.is_ascii_alphanumeric() || "_.".contains(character),
        Ecosystem::Npm => character.is_ascii_alphanumeric() || "@/._-".contains(character),
    };
    !name.is_empty()
        && name.len() <= 214
        && !name.starts_with(['.', '/'])
        && !name.contains("..")
        && name.chars().all(allowed)
}

/// Returns whether a module belongs to the packages.
fn belongs_to(ecosystem: Ecosystem, root: &Path, module: &str) -> bool {
    match ecosystem {
        Ecosystem::Npm => {
            let parts = if module.starts_with('@') { 2 } else { 1 };
            let package: Vec<&str> = module.split('/').take(parts).collect();
            package.len() == parts && root.join(package.join("/")).is_dir()
        }
        Ecosystem::PyPi => {
            let first = module.split('.').next().unwrap_or_default();
            let names = site_packages(root)
                .and_then(|folder| std::fs::read_dir(folder).ok())
                .into_iter()
                .flatten()
                .flatten();
            let mut names = names.map(|entry| entry.file_name().to_string_lossy().into_owned());
            !module.split('.').any(|part| part.starts_with('_'))
                && names.any(|name| name.split('.').next() == Some(first))
        }
    }
}

fn site_packages(root: &Path) -> Option<PathBuf> {
    let lib = std::fs::read_dir(root.join("lib"))
        .ok()?
        .flatten()
        .find(|entry| entry.file_name().to_string_lossy().starts_with("python3."))?;
    Some(lib.path().join("site-packages"))
}

/// Returns the main module of a distribution: the one with its name, otherwise the first that it
/// lists.
fn main_module(lock: &Lock, root: &Path, name: &str) -> Option<String> {
    lock.packages.iter().find(|package| package.name == name)?;
    let folder = site_packages(root)?;
    // The folder has the author's spelling of the name: `PyYAML-6.0.3.dist-info`.
    let of_name = |entry: &std::fs::DirEntry| {
        let folder = entry.file_name();
        let distribution =
            folder.to_str().and_then(|folder| folder.strip_suffix(".dist-info")?.rsplit_once('-'));
        distribution.is_some_and(|(distribution, _)| canonical(distribution) == name)
    };
    let about = std::fs::read_dir(&folder).ok()?.flatten().find(of_name)?;
    let record = about.path().join("RECORD");
    let file = rustix::fs::open(
        &record,
        OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC,
        Mode::empty(),
    )
    .ok()?;
    let mut first = None;
    for line in
        BufReader::new(File::from(file).take(MAX_RECORD_BYTES)).lines().map_while(Result::ok)
    {
        let path = line.split(',').next().unwrap_or_default();
        let module = match path.split_once('/') {
            Some((module, "__init__.py")) => module,
            None => match path.strip_suffix(".py") {
                Some(module) => module,
                None => continue,
            },
            Some(_) => continue,
        };
        if canonical(module) == name {
            return Some(module.to_owned());
        }
        if !module.starts_with('_') && first.is_none() {
            first = Some(module.to_owned());
        }
    }
    first
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::fs;

    use super::*;
    use crate::lock::LockedPackage;

    #[test]
    fn the_main_module_is_found_however_its_distribution_is_spelled() {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join("lib/python3.11/site-packages");
        for (about, record) in [
            (
                "PyYAML-6.0.3.dist-info",
                "_yaml/__init__.py,,\nyaml/__init__.py,,\nyaml/nodes.py,,\n",
            ),
            ("zope.interface-8.0.dist-info", "zope/interface/__init__.py,,\n"),
            ("typing_extensions-4.15.0.dist-info", "typing_extensions.py,,\n"),
        ] {
            fs::create_dir_all(site.join(about)).unwrap();
            fs::write(site.join(about).join("RECORD"), record).unwrap();
        }
        for package in ["yaml", "typing_extensions.py"] {
            fs::write(site.join(package), "").unwrap();
        }
        let package = |name: &str| LockedPackage { name: name.into(), version: "1".into() };
        let packages = ["pyyaml", "zope-interface", "typing-extensions"].map(package).into();
        let lock = Lock {
            ecosystem: Ecosystem::PyPi,
            text: String::new(),
            project: package("environment"),
            specifiers: BTreeMap::new(),
            hashes: BTreeMap::new(),
            installs_all: false,
            packages,
        };
        let asked =
            ["pyyaml", "zope-interface", "typing-extensions==4.15.0", "another"].map(str::to_owned);
        assert_eq!(
            preload_modules(&lock, root.path(), &asked, &[], 8),
            ["yaml", "typing_extensions"]
        );
    }

    #[test]
    fn only_modules_of_the_packages_are_preloaded() {
        let root = tempfile::tempdir().unwrap();
        let site = root.path().join("lib/python3.11/site-packages");
        fs::create_dir_all(site.join("pandas/core")).unwrap();
        fs::write(site.join("six.py"), "").unwrap();
        fs::write(site.join("fast.cpython-311-x86_64-linux-gnu.so"), "").unwrap();
        fs::create_dir_all(root.path().join("@scope/name")).unwrap();
        fs::create_dir_all(root.path().join("plain")).unwrap();
        let preloaded = |ecosystem, imported: &[&str]| {
            let project = LockedPackage { name: "environment".into(), version: "0".into() };
            let lock = Lock {
                ecosystem,
                text: String::new(),
                project,
                specifiers: BTreeMap::new(),
                hashes: BTreeMap::new(),
                installs_all: false,
                packages: Vec::new(),
            };
            let imported: Vec<String> = imported.iter().map(|&name| name.to_owned()).collect();
            preload_modules(&lock, root.path(), &[], &imported, 8)
        };
        let asked = [
            "pandas",
            "pandas.core",
            "six",
            "fast",
            "this",
            "unittest.__main__",
            "pandas.__main__",
            "..",
            "os;x",
            "idlelib.run",
        ];
        assert_eq!(preloaded(Ecosystem::PyPi, &asked), ["pandas", "pandas.core", "six", "fast"]);
        assert_eq!(
            preloaded(
                Ecosystem::Npm,
                &["plain/x", "@scope/name/y", "fs", "../lib", "/etc", "@scope"]
            ),
            ["plain/x", "@scope/name/y"]
        );
    }
}
