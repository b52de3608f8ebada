//! Paths beneath a root, opened without following symbolic links: the mount points of grants and of
//! other bind mounts, and files that must exist.

use std::ffi::{CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path};

use crate::sys::{self, c_path, device_and_mode, make_entry, open_entry};

/// Opens the caller's root folder.
pub(crate) fn open_root() -> io::Result<OwnedFd> {
    sys::open_folder(c"/")
}

/// Opens a path beneath `root` without following symbolic links. `openat2`, which could do this by
/// itself, is not available in a zygote: see the base filter.
pub(crate) fn open_existing(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let mut at = root.try_clone_to_owned()?;
    for name in names(path) {
        at = open_entry(at.as_fd(), &name?)?;
    }
    Ok(at)
}

/// Opens a mount point without following symbolic links. Missing folders and files are
/// created, but only in the file system `own`. A granted folder belongs to others, who may replace
/// its content at any time: nothing is created there, and a symbolic link on the path is an error.
pub(crate) fn open_target(
    root: BorrowedFd<'_>,
    path: &Path,
    is_folder: bool,
    own: libc::dev_t,
) -> io::Result<OwnedFd> {
    let mut at = root.try_clone_to_owned()?;
    let mut names = names(path).peekable();
    while let Some(name) = names.next() {
        let (name, is_last) = (name?, names.peek().is_none());
        let found = match open_entry(at.as_fd(), &name) {
            Err(error)
                if error.kind() == io::ErrorKind::NotFound
                    && device_and_mode(at.as_fd())?.0 == own =>
            {
                make_entry(at.as_fd(), &name, is_folder || !is_last)?;
                open_entry(at.as_fd(), &name)?
            }
            found => found?,
        };
        let (_, mode) = device_and_mode(found.as_fd())?;
        let expected = if is_folder || !is_last {
            mode & libc::S_IFMT == libc::S_IFDIR
        } else {
            mode & libc::S_IFMT == libc::S_IFREG
        };
        // The mount point of a file may also be one of the devices in a root.
        if !expected && (is_folder || !is_last || mode & libc::S_IFMT == libc::S_IFLNK) {
            return Err(io::Error::from_raw_os_error(if is_folder {
                libc::ENOTDIR
            } else {
                libc::ELOOP
            }));
        }
        at = found;
    }
    Ok(at)
}

/// Returns the names of a path one by one. Only plain names are valid.
fn names(path: &Path) -> impl Iterator<Item = io::Result<CString>> {
    path.components().filter(|part| *part != Component::RootDir).map(|part| match part {
        Component::Normal(name) => c_path(Path::new(name as &OsStr)),
        _ => Err(io::Error::from_raw_os_error(libc::EINVAL)),
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;
    use std::path::PathBuf;

    use super::*;

    /// Returns a separate folder, because these tests run as any user.
    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("belljar-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        place
    }

    fn open(folder: &Path) -> OwnedFd {
        sys::open_folder(&c_path(folder).unwrap()).unwrap()
    }

    #[test]
    fn a_mount_point_is_created_only_in_the_roots_own_file_system_and_reached_through_no_link() {
        let place = place("targets");
        let root = open(&place);
        let (own, _) = device_and_mode(root.as_fd()).unwrap();
        fs::create_dir(place.join("granted")).unwrap();
        fs::write(place.join("file"), "").unwrap();
        symlink("granted", place.join("link")).unwrap();
        symlink(place.join("made-by-a-link"), place.join("dangling")).unwrap();
        let target = |path: &str, is_folder, own| {
            open_target(root.as_fd(), Path::new(path), is_folder, own)
                .map_err(|error| error.raw_os_error())
        };
        assert!(target("/a/b/folder", true, own).is_ok() && place.join("a/b/folder").is_dir());
        assert!(target("/a/b/file", false, own).is_ok() && place.join("a/b/file").is_file());
        for path in ["/link", "/link/within", "/dangling", "/dangling/within"] {
            for is_folder in [true, false] {
                assert!(target(path, is_folder, own).is_err(), "{path}");
            }
        }
        assert_eq!(target("/file", true, own).err(), Some(Some(libc::ENOTDIR)));
        // As in a granted folder, which is on another file system than the root.
        assert_eq!(target("/granted/missing", true, own + 1).err(), Some(Some(libc::ENOENT)));
        assert_eq!(target("/granted/missing", false, own + 1).err(), Some(Some(libc::ENOENT)));
        assert!(!place.join("granted/missing").exists() && !place.join("made-by-a-link").exists());
        assert!(open_existing(root.as_fd(), Path::new("/granted/../granted")).is_err());
        fs::remove_dir_all(&place).unwrap();
    }
}
