//! Python version managers: the interpreters behind pyenv's shims, and installed Pythons that are
//! not on PATH.
//!
//! pyenv's shims are shell scripts that take 50 ms and more. Their logic is reimplemented here and
//! takes microseconds.

use std::fs;
use std::path::{Path, PathBuf};

use crate::config::PythonVersions;
use crate::interpreter;
use crate::request::PythonRequest;
use crate::version::Version;

/// Returns the interpreters that a shim of pyenv selects, in pyenv's order. Empty if the path is
/// not such a shim, or if pyenv selects the system's Python.
pub(super) fn behind_shim(shim: &Path, setup: &PythonVersions) -> Vec<PathBuf> {
    let Some(root) =
        shim.parent().filter(|folder| folder.ends_with("shims")).and_then(Path::parent)
    else {
        return Vec::new();
    };
    let versions = root.join("versions");
    if !versions.is_dir() || interpreter::is_elf(shim) {
        return Vec::new();
    }
    let chosen = chosen_versions(root, setup);
    let program = |folder: PathBuf| {
        let named = shim
            .file_name()
            .map(|name| folder.join("bin").join(name))
            .filter(|path| interpreter::is_executable(path));
        named.or_else(|| {
            Some(folder.join("bin/python3")).filter(|path| interpreter::is_executable(path))
        })
    };
    chosen.iter().filter_map(|name| folder_of(&versions, name)).filter_map(program).collect()
}

/// Returns the versions that pyenv reads, in its order: the variable, the nearest `.python-version`
/// upwards, the global choice.
fn chosen_versions(root: &Path, setup: &PythonVersions) -> Vec<String> {
    if let Some(chosen) = &setup.pyenv_version {
        return chosen.split(':').map(str::to_owned).collect();
    }
    let of_folder = setup
        .directory
        .iter()
        .flat_map(|folder| folder.ancestors())
        .map(|folder| folder.join(".python-version"));
    of_folder
        .chain([root.join("version")])
        .find_map(|file| fs::read_to_string(file).ok())
        .map(|text| {
            let lines = text.lines().map(|line| line.split('#').next().unwrap_or_default());
            lines.flat_map(str::split_ascii_whitespace).map(str::to_owned).collect()
        })
        .unwrap_or_default()
}

/// Returns the folder of a selected version: the one with its name, otherwise the newest that
/// begins with it (`3.11` is `3.11.7`). A name is never a path.
fn folder_of(versions: &Path, name: &str) -> Option<PathBuf> {
    let name = name.strip_prefix("python-").unwrap_or(name);
    if name.is_empty() || name.contains('/') || name.starts_with('.') {
        return None;
    }
    let exact = versions.join(name);
    if exact.is_dir() {
        return Some(exact);
    }
    let beginning = format!("{name}.");
    let (_, newest) = folders(versions)
        .into_iter()
        .filter(|(version, _)| version.to_string().starts_with(&beginning))
        .max()?;
    Some(newest)
}

/// Returns the interpreters in these folders of installations that meet a request by their name,
/// the newest first.
pub(super) fn installed(installations: &[PathBuf], request: &PythonRequest) -> Vec<PathBuf> {
    let mut found: Vec<_> = installations
        .iter()
        .flat_map(|folder| folders(folder))
        .filter(|(version, _)| request.accepts(*version))
        .collect();
    found.sort_by(|a, b| b.cmp(a));
    found
        .into_iter()
        .map(|(_, folder)| folder.join("bin/python3"))
        .filter(|path| interpreter::is_executable(path))
        .collect()
}

/// Returns the folders that are named after a version: `3.11.7`, or
/// `cpython-3.11.7-linux-x86_64-gnu` as uv names them.
fn folders(installations: &Path) -> Vec<(Version, PathBuf)> {
    let entries = fs::read_dir(installations).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| {
            let name = entry.file_name().into_string().ok()?;
            let version = match name.strip_prefix("cpython-") {
                Some(rest) => rest.split('-').next()?.parse().ok()?,
                None => name.parse().ok()?,
            };
            Some((version, entry.path()))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    /// Returns a pyenv with two versions and a shim. The "interpreters" are never run.
    fn pyenv() -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        for program in [
            "shims/python3",
            "versions/3.11.7/bin/python3",
            "versions/3.11.10/bin/python3",
            "versions/3.9.18/bin/python3",
        ] {
            let path = root.path().join(program);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(&path, "#!/bin/sh\n").unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        }
        fs::write(root.path().join("version"), "3.9.18\n3.11.7 # two\n").unwrap();
        root
    }

    fn behind(root: &Path, setup: &PythonVersions) -> Vec<String> {
        let found = behind_shim(&root.join("shims/python3"), setup);
        found
            .iter()
            .map(|path| {
                path.strip_prefix(root.join("versions"))
                    .unwrap()
                    .iter()
                    .next()
                    .unwrap()
                    .to_str()
                    .unwrap()
                    .to_owned()
            })
            .collect()
    }

    #[test]
    fn a_shim_is_resolved_to_the_choice_of_pyenv() {
        let root = pyenv();
        let mut setup = PythonVersions::default();
        assert_eq!(behind(root.path(), &setup), ["3.9.18", "3.11.7"]);
        let project = root.path().join("project/deep");
        fs::create_dir_all(&project).unwrap();
        fs::write(root.path().join("project/.python-version"), "3.11\n").unwrap();
        setup.directory = Some(project);
        assert_eq!(behind(root.path(), &setup), ["3.11.10"]);
        setup.pyenv_version = Some("3.11.7:3.9.18".to_owned());
        assert_eq!(behind(root.path(), &setup), ["3.11.7", "3.9.18"]);
        for other in ["system", "../../etc", "/etc", "..", ".", "", "9.9"] {
            setup.pyenv_version = Some(other.to_owned());
            assert!(behind(root.path(), &setup).is_empty(), "{other:?}");
        }
    }

    #[test]
    fn a_program_outside_of_a_folder_of_shims_is_no_shim() {
        let root = pyenv();
        assert!(
            behind_shim(
                &root.path().join("versions/3.11.7/bin/python3"),
                &PythonVersions::default()
            )
            .is_empty()
        );
        assert!(behind_shim(Path::new("/usr/bin/python3"), &PythonVersions::default()).is_empty());
    }

    #[test]
    fn matching_installations_are_returned_newest_first() {
        let root = pyenv();
        let folders = [root.path().join("nonexistent"), root.path().join("versions")];
        let names = |text: &str| -> Vec<String> {
            let found = installed(&folders, &text.parse().unwrap());
            found
                .iter()
                .map(|path| {
                    path.parent()
                        .unwrap()
                        .parent()
                        .unwrap()
                        .file_name()
                        .unwrap()
                        .to_str()
                        .unwrap()
                        .to_owned()
                })
                .collect()
        };
        assert_eq!(names("3.11"), ["3.11.10", "3.11.7"]);
        assert_eq!(names("3.11.7"), ["3.11.7"]);
        assert!(names("3.12").is_empty());
    }
}
