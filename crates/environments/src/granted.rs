//! The names in the folders that a run may read, because a program can import modules from there.
//! Only names are read, and nothing is opened by a path that a run could have changed: each step
//! goes from one open folder to the next, and follows no link.

use std::collections::BTreeSet;
use std::os::fd::OwnedFd;

use rustix::fs::{Dir, FileType, Mode, OFlags, openat};

/// The maximum number of entries that are read in all folders.
const MAX_ENTRIES: usize = 20_000;
const MAX_DEPTH: usize = 6;
const FLAGS: OFlags =
    OFlags::DIRECTORY.union(OFlags::NOFOLLOW).union(OFlags::RDONLY).union(OFlags::CLOEXEC);

/// Returns the names of modules and folders in these folders, without file extensions.
pub(crate) fn names_in(folders: &[&str]) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    let mut room = MAX_ENTRIES;
    for folder in folders {
        if let Ok(open) = rustix::fs::open(*folder, FLAGS, Mode::empty()) {
            read(&open, 0, &mut room, &mut names);
        }
    }
    names
}

fn read(folder: &OwnedFd, depth: usize, room: &mut usize, names: &mut BTreeSet<String>) {
    let Ok(entries) = Dir::read_from(folder) else { return };
    let mut below = Vec::new();
    for entry in entries.map_while(Result::ok) {
        let name = entry.file_name();
        let Ok(text) = name.to_str() else { continue };
        if text.starts_with('.') {
            continue;
        }
        if *room == 0 {
            return;
        }
        *room -= 1;
        names.insert(text.split('.').next().unwrap_or(text).to_owned());
        if entry.file_type() == FileType::Directory && depth < MAX_DEPTH {
            below.push(name.to_owned());
        }
    }
    for name in below {
        if let Ok(open) = openat(folder, &name, FLAGS, Mode::empty()) {
            read(&open, depth + 1, room, names);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn names_are_those_of_modules_and_folders_and_no_link_is_followed() {
        let root = tempfile::tempdir().unwrap();
        let elsewhere = tempfile::tempdir().unwrap();
        fs::write(elsewhere.path().join("hidden.py"), "").unwrap();
        fs::create_dir_all(root.path().join("libs/pkg")).unwrap();
        fs::write(root.path().join("libs/one.py"), "").unwrap();
        std::os::unix::fs::symlink(elsewhere.path(), root.path().join("link")).unwrap();
        let names = names_in(&[root.path().to_str().unwrap(), "/nonexistent"]);
        assert_eq!(
            names.iter().map(String::as_str).collect::<Vec<_>>(),
            ["libs", "link", "one", "pkg"]
        );
    }
}
