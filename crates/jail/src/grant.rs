//! Granted paths of one sandbox: the supervisor makes a detached mount of each for that sandbox alone, in which the granting user's files belong to
//! the sandbox's own user; the sandbox attaches them while it confines itself.
//!
//! A detached mount may be handed to a process in another user namespace, which may attach it in a mount namespace of its own (Linux 5.2,
//! `open_tree(2)`, `move_mount(2)`). That process could change what is not locked while it has `CAP_SYS_ADMIN`; it is trusted until it has given
//! that up, and the seal takes the calls away as well.

use std::ffi::{CString, OsStr};
use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;

use crate::error::{At, SetupError, Step};
use crate::root::{BindAccess, Exec, attributes};
use crate::sys::{self, attach_tree, c_path, clone_tree, device_and_mode, make_entry, make_tree_private, open_entry, set_tree_attributes};
use crate::writable::device_of_space;

/// The place of a grant inside.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantPoint {
    /// Where it is: absolute.
    pub target: PathBuf,
    /// Whether a folder is granted, and not a file.
    pub is_folder: bool,
}

/// The grants that a forked sandbox puts into place for itself.
#[derive(Clone, Debug, Default)]
pub struct GrantPlan {
    /// Mounts that the supervisor has made for it, and where they belong: the outer before the inner.
    pub mounts: Vec<(GrantPoint, Arc<OwnedFd>)>,
    /// Mounts of the zygote's root that stay visible where a grant would cover them.
    pub kept: Vec<GrantPoint>,
    /// Grants that the zygote's root has already, as an ordinary user's does: nothing in them is to be executed.
    pub not_executable: Vec<PathBuf>,
}

/// A detached mount of what was granted, for one sandbox. `owner` is a namespace of [`owner_namespace`].
pub fn grant_mount(source: BorrowedFd<'_>, access: BindAccess, exec: Exec, owner: Option<BorrowedFd<'_>>) -> io::Result<OwnedFd> {
    let tree = clone_tree(source)?;
    make_tree_private(tree.as_fd())?;
    set_tree_attributes(tree.as_fd(), attributes(access, exec), None, true)?;
    if owner.is_some() {
        // A file system that cannot map ids leaves the access of "others"; doctor tells.
        let _ = set_tree_attributes(tree.as_fd(), 0, owner, false);
    }
    Ok(tree)
}

/// A user namespace in which the caller's own user and group outside stand for `host_id`: a mount with it shows the caller's files as those of the
/// sandbox's user (`mount_setattr(2)`, "ID-mapped mounts").
pub fn owner_namespace(host_id: u32) -> io::Result<OwnedFd> {
    // SAFETY: these calls cannot fail and touch no memory.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let (read, mut write) = sys::pipe()?;
    // The child makes two system calls and nothing else, so it does not matter which locks other threads held.
    let holder = sys::clone_process(libc::CLONE_NEWUSER)?;
    if holder == 0 {
        // Until the namespace has been opened, or the caller is gone. Its copy of the writing end is closed first, for that to be noticed.
        drop(write);
        let _ = (&read).read(&mut [0]);
        sys::exit_now(0);
    }
    let namespace = (|| {
        std::fs::write(format!("/proc/{holder}/gid_map"), format!("{gid} {host_id} 1"))?;
        std::fs::write(format!("/proc/{holder}/uid_map"), format!("{uid} {host_id} 1"))?;
        File::open(format!("/proc/{holder}/ns/user")).map(OwnedFd::from)
    })();
    let _ = write.write_all(&[1]);
    // SAFETY: a null status is allowed; the holder is our child.
    unsafe { libc::waitpid(holder, std::ptr::null_mut(), 0) };
    namespace
}

/// Puts the grants into place, in the caller's own mount namespace and with its own space mounted.
pub(crate) fn place(plan: &GrantPlan, exec: Exec) -> Result<(), SetupError> {
    if plan.mounts.is_empty() && plan.not_executable.is_empty() {
        return Ok(());
    }
    let root = open_root().at(Step::BindTarget)?;
    let root = root.as_fd();
    let kept = plan
        .kept
        .iter()
        .filter(|kept| plan.mounts.iter().any(|(grant, _)| kept.target.starts_with(&grant.target)))
        .map(|kept| Ok((kept, clone_tree(open_existing(root, &kept.target)?.as_fd())?)))
        .collect::<io::Result<Vec<_>>>()
        .at(Step::BindSource)?;
    let space = device_of_space(root).at(Step::BindTarget)?;
    for (point, tree) in &plan.mounts {
        let target = open_target(root, &point.target, point.is_folder, space).at(Step::BindTarget)?;
        attach_tree(tree.as_fd(), target.as_fd()).at(Step::BindTarget)?;
    }
    for (point, tree) in kept {
        // What was granted need not have a folder of that name: then nothing of the runtime's is expected there.
        if let Ok(target) = open_target(root, &point.target, point.is_folder, space) {
            attach_tree(tree.as_fd(), target.as_fd()).at(Step::BindTarget)?;
        }
    }
    if exec == Exec::Refused {
        for path in &plan.not_executable {
            let granted = open_existing(root, path).at(Step::BindAttributes)?;
            set_tree_attributes(granted.as_fd(), libc::MOUNT_ATTR_NOEXEC, None, true).at(Step::BindAttributes)?;
        }
    }
    Ok(())
}

/// The caller's root folder.
pub(crate) fn open_root() -> io::Result<OwnedFd> {
    sys::open_folder(c"/")
}

/// Opens a path beneath `root` without following any link. `openat2`, which could do so by itself, is not there for a zygote: see the base filter.
pub(crate) fn open_existing(root: BorrowedFd<'_>, path: &Path) -> io::Result<OwnedFd> {
    let mut at = root.try_clone_to_owned()?;
    for name in names(path) {
        at = open_entry(at.as_fd(), &name?)?;
    }
    Ok(at)
}

/// The same for the place of a mount: what is missing is made, but only in the file system `own`. A granted folder belongs to others, who may exchange
/// what is in it at any moment: nothing is made there, and a link in the way is an error.
pub(crate) fn open_target(root: BorrowedFd<'_>, path: &Path, is_folder: bool, own: libc::dev_t) -> io::Result<OwnedFd> {
    let mut at = root.try_clone_to_owned()?;
    let mut names = names(path).peekable();
    while let Some(name) = names.next() {
        let (name, is_last) = (name?, names.peek().is_none());
        let found = match open_entry(at.as_fd(), &name) {
            Err(error) if error.kind() == io::ErrorKind::NotFound && device_and_mode(at.as_fd())?.0 == own => {
                make_entry(at.as_fd(), &name, is_folder || !is_last)?;
                open_entry(at.as_fd(), &name)?
            }
            found => found?,
        };
        let (_, mode) = device_and_mode(found.as_fd())?;
        let expected = if is_folder || !is_last { mode & libc::S_IFMT == libc::S_IFDIR } else { mode & libc::S_IFMT == libc::S_IFREG };
        // A file's place may also be one of the devices that a root binds.
        if !expected && (is_folder || !is_last || mode & libc::S_IFMT == libc::S_IFLNK) {
            return Err(io::Error::from_raw_os_error(if is_folder { libc::ENOTDIR } else { libc::ELOOP }));
        }
        at = found;
    }
    Ok(at)
}

/// The names of a path, one by one: plain ones only.
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

    use super::*;

    /// A folder of its own: these tests run as any user.
    fn place(name: &str) -> PathBuf {
        let place = std::env::temp_dir().join(format!("belljar-{name}-{}", std::process::id()));
        fs::create_dir_all(&place).unwrap();
        place
    }

    fn open(folder: &Path) -> OwnedFd {
        sys::open_folder(&c_path(folder).unwrap()).unwrap()
    }

    #[test]
    fn the_place_of_a_mount_is_made_only_in_the_roots_own_file_system_and_found_through_no_link() {
        let place = place("targets");
        let root = open(&place);
        let (own, _) = device_and_mode(root.as_fd()).unwrap();
        fs::create_dir(place.join("granted")).unwrap();
        fs::write(place.join("file"), "").unwrap();
        symlink("granted", place.join("link")).unwrap();
        symlink(place.join("made-by-a-link"), place.join("dangling")).unwrap();
        let target =
            |path: &str, is_folder, own| open_target(root.as_fd(), Path::new(path), is_folder, own).map_err(|error| error.raw_os_error());
        assert!(target("/a/b/folder", true, own).is_ok() && place.join("a/b/folder").is_dir());
        assert!(target("/a/b/file", false, own).is_ok() && place.join("a/b/file").is_file());
        for path in ["/link", "/link/within", "/dangling", "/dangling/within"] {
            for is_folder in [true, false] {
                assert!(target(path, is_folder, own).is_err(), "{path}");
            }
        }
        assert_eq!(target("/file", true, own).err(), Some(Some(libc::ENOTDIR)));
        // As in a granted folder, which lies in another file system than the root.
        assert_eq!(target("/granted/missing", true, own + 1).err(), Some(Some(libc::ENOENT)));
        assert_eq!(target("/granted/missing", false, own + 1).err(), Some(Some(libc::ENOENT)));
        assert!(!place.join("granted/missing").exists() && !place.join("made-by-a-link").exists());
        assert!(open_existing(root.as_fd(), Path::new("/granted/../granted")).is_err());
        fs::remove_dir_all(&place).unwrap();
    }
}
