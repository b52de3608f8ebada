//! Bind mounts of a root: source, target, access and mount attributes.

use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use belljar_access::Exec;

use crate::sys::device_and_mode;

/// The access to a bind mount.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindAccess {
    /// Files can be read and, if the mount is executable, executed.
    Read,
    /// Files can also be written.
    Write,
    /// The mount is a device node: like `Write`, but without `nodev`.
    Device,
}

/// The owner that the files in a bind mount have in the sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BindOwner {
    /// The owner on the host, who is nobody in the sandbox: it has the access of "others".
    Host,
    /// The sandbox's user, if the caller of belljar owns the files on the host. This is meant for a
    /// caller's own paths. It needs root and a file system that supports it; otherwise the sandbox
    /// has the access of "others".
    Sandbox,
}

/// The source of a bind mount.
#[derive(Clone, Debug)]
pub enum BindSource {
    /// A canonical path of the installation or the system, without symbolic links.
    Path(PathBuf),
    /// A descriptor that was opened when a name was resolved, whatever that name leads to by now.
    Opened(Arc<OwnedFd>),
}

/// A bind mount of a file or folder of the host.
#[derive(Clone, Debug)]
pub struct Bind {
    /// File or folder of the host.
    pub source: BindSource,
    /// Absolute path in the sandbox.
    pub target: PathBuf,
    /// Access to the mount.
    pub access: BindAccess,
    /// Right to execute its files.
    pub exec: Exec,
    /// Owner that its files have in the sandbox.
    pub owner: BindOwner,
}

impl BindSource {
    /// Returns whether the source is a folder.
    pub fn is_folder(&self) -> bool {
        match self {
            Self::Path(path) => path.is_dir(),
            Self::Opened(opened) => is_folder(opened.as_fd()).unwrap_or(false),
        }
    }
}

/// Returns the attributes of every mount in a bind mount's tree.
pub(crate) fn attributes(access: BindAccess, exec: Exec) -> u64 {
    let mut attributes = libc::MOUNT_ATTR_NOSUID;
    if access != BindAccess::Device {
        attributes |= libc::MOUNT_ATTR_NODEV;
    }
    if access == BindAccess::Read {
        attributes |= libc::MOUNT_ATTR_RDONLY;
    }
    if exec == Exec::Denied {
        attributes |= libc::MOUNT_ATTR_NOEXEC;
    }
    attributes
}

/// Returns whether an opened file is a folder.
pub(crate) fn is_folder(source: BorrowedFd<'_>) -> io::Result<bool> {
    Ok(device_and_mode(source)?.1 & libc::S_IFMT == libc::S_IFDIR)
}
