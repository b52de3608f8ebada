//! The only writable places of a sandbox: a tmpfs of limited size and number of files, mounted at
//! `/tmp`, the home folder and `/dev/shm`.

use std::ffi::{CStr, CString, OsStr};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use belljar_access::Exec;

use crate::error::{At, SetupError, Step};
use crate::mount_point::{open_existing, open_root, open_target};
use crate::sys::{self, attach_tree, clone_tree, device_and_mode, mount};

/// The working folder and home of a sandbox.
pub const HOME: &str = "/home/user";

/// The writable file system of a sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WritableSpace {
    /// Maximum bytes in all three places together.
    pub disk_bytes: u64,
    /// Maximum number of files and folders in all three places together.
    pub files: u64,
    /// Right to execute files in it.
    pub exec: Exec,
    /// Grants beneath one of the three places, where the tmpfs covers the root: folder in the
    /// root's stage, path, and whether it is a folder.
    pub staged: Vec<(CString, CString, bool)>,
}

/// The folders of the tmpfs, and the place where each is mounted.
const PLACES: [(&CStr, &CStr, u32); 3] = [
    (c"/tmp/home", c"/home/user", 0o755),
    (c"/tmp/shm", c"/dev/shm", 0o1777),
    (c"/tmp/tmp", c"/tmp", 0o1777),
];

/// The number of files that the tmpfs has from the start: its root, the three folders and
/// `outputs/`.
pub const OWN_FILES: u64 = 5;
/// The folder of the files that are returned. It exists from the start, so that a program can
/// simply write to it.
const OUTPUTS: &CStr = c"/home/user/outputs";

impl WritableSpace {
    /// Mounts the file system in the caller's own mount namespace. The caller's user owns it.
    pub(crate) fn mount(&self) -> Result<(), SetupError> {
        let mut flags = libc::MS_NOSUID | libc::MS_NODEV;
        if self.exec == Exec::Denied {
            flags |= libc::MS_NOEXEC;
        }
        let data = CString::new(format!(
            "size={},nr_inodes={},mode=755",
            self.disk_bytes,
            self.files.saturating_add(OWN_FILES)
        ))
        .map_err(io::Error::other)
        .at(Step::WritableSpace)?;
        mount(Some(c"space"), c"/tmp", Some(c"tmpfs"), flags, Some(&data))
            .at(Step::WritableSpace)?;
        for (folder, place, mode) in PLACES {
            make_folder(folder, mode).at(Step::WritableSpace)?;
            mount(Some(folder), place, None, libc::MS_BIND, None).at(Step::WritableSpace)?;
        }
        make_folder(OUTPUTS, 0o755).at(Step::WritableSpace)?;
        for (stage, target, is_folder) in &self.staged {
            attach_staged(stage, target, *is_folder).at(Step::BindTarget)?;
        }
        Ok(())
    }
}

/// Returns whether a path is in a sandbox's own space, which covers everything in the root there.
pub(crate) fn is_in_writable_space(path: &Path) -> bool {
    ["/tmp", HOME, "/dev/shm"].iter().any(|place| path.starts_with(place))
}

fn as_path(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
}

fn attach_staged(stage: &CStr, target: &CStr, is_folder: bool) -> io::Result<()> {
    let root = open_root()?;
    let tree = clone_tree(open_existing(root.as_fd(), as_path(stage))?.as_fd())?;
    let target =
        open_target(root.as_fd(), as_path(target), is_folder, device_of_space(root.as_fd())?)?;
    attach_tree(tree.as_fd(), target.as_fd())
}

/// Returns the device of a sandbox's own space. A mount point may be created only there.
pub(crate) fn device_of_space(root: BorrowedFd<'_>) -> io::Result<libc::dev_t> {
    Ok(device_and_mode(open_existing(root, Path::new("/tmp"))?.as_fd())?.0)
}

fn make_folder(path: &CStr, mode: u32) -> io::Result<()> {
    // SAFETY: NUL-terminated path.
    sys::check(i64::from(unsafe { libc::mkdir(path.as_ptr(), mode) }))?;
    // The umask has reduced the mode.
    // SAFETY: NUL-terminated path.
    sys::check(i64::from(unsafe { libc::chmod(path.as_ptr(), mode) })).map(drop)
}

/// Mounts a new `/proc` that shows only the processes of the caller's PID namespace, and nothing of
/// the machine.
pub(crate) fn mount_proc(target: &CStr) -> Result<(), SetupError> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(c"proc"), target, Some(c"proc"), flags, Some(c"subset=pid,hidepid=invisible"))
        .at(Step::Proc)
}
