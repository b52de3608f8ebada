//! npm packages whose install scripts were not run, so that the files that these create, such as
//! native bindings, are missing.

use std::fs::File;
use std::io::Read;
use std::path::Path;

use rustix::fs::{Mode, OFlags};
use serde::Deserialize;

/// The maximum number of packages that are examined, and of bytes of a `package.json`.
const MAX_PACKAGES: usize = 5000;
const MAX_FILE_BYTES: u64 = 1 << 20;
/// The file that describes native code of a package, which npm builds without a script.
const BINDING: &str = "binding.gyp";

/// Returns the packages in a `node_modules` that have an install script. Only names and one small
/// file of each are read, and no link is followed.
pub(crate) fn with_install_scripts(node_modules: &Path) -> Vec<String> {
    let mut found: Vec<String> = packages(node_modules)
        .into_iter()
        .take(MAX_PACKAGES)
        .filter(|name| has_script(&node_modules.join(name)))
        .collect();
    found.sort();
    found
}

/// Returns the names of the packages at the top: `name` and `@scope/name`.
fn packages(node_modules: &Path) -> Vec<String> {
    let names = |folder: &Path| -> Vec<String> {
        let entries = std::fs::read_dir(folder).into_iter().flatten().flatten();
        entries
            .filter_map(|entry| entry.file_name().into_string().ok())
            .filter(|name| !name.starts_with('.'))
            .collect()
    };
    let all = names(node_modules).into_iter().flat_map(|name| {
        if name.starts_with('@') {
            names(&node_modules.join(&name))
                .into_iter()
                .map(|inner| format!("{name}/{inner}"))
                .collect()
        } else {
            vec![name]
        }
    });
    all.collect()
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct PackageFile {
    scripts: Scripts,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Scripts {
    preinstall: Option<serde::de::IgnoredAny>,
    install: Option<serde::de::IgnoredAny>,
    postinstall: Option<serde::de::IgnoredAny>,
}

fn has_script(package: &Path) -> bool {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    let Ok(file) = rustix::fs::open(package.join("package.json"), flags, Mode::empty()) else {
        return false;
    };
    let mut text = Vec::new();
    if File::from(file).take(MAX_FILE_BYTES).read_to_end(&mut text).is_err() {
        return false;
    }
    let PackageFile { scripts } = serde_json::from_slice(&text).unwrap_or_default();
    scripts.preinstall.is_some()
        || scripts.install.is_some()
        || scripts.postinstall.is_some()
        || package.join(BINDING).is_file()
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn packages_with_install_scripts_or_native_code_are_found() {
        let root = tempfile::tempdir().unwrap();
        for (name, file) in [
            ("plain", r#"{"scripts": {"test": "x", "prepare": "y"}}"#),
            ("sqlite3", r#"{"scripts": {"install": "prebuild-install"}}"#),
            ("@scope/native", r#"{"scripts": {"postinstall": "node x.js"}}"#),
            ("broken", "{"),
            ("gyp", "{}"),
        ] {
            fs::create_dir_all(root.path().join(name)).unwrap();
            fs::write(root.path().join(name).join("package.json"), file).unwrap();
        }
        fs::write(root.path().join("gyp/binding.gyp"), "").unwrap();
        assert_eq!(with_install_scripts(root.path()), ["@scope/native", "gyp", "sqlite3"]);
    }
}
