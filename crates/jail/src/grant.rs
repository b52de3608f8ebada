//! The granted paths of a sandbox. The supervisor creates a detached mount of each path for one
//! sandbox only, in which the granting user's files belong to the sandbox's own user. The sandbox
//! attaches the mounts while it confines itself.
//!
//! A detached mount can be passed to a process in another user namespace, which can attach it in a
//! mount namespace of its own (Linux 5.2, `open_tree(2)`, `move_mount(2)`). That process could
//! change everything that is not locked as long as it has `CAP_SYS_ADMIN`. It is trusted until it
//! has dropped the capability, and the seal also removes the system calls.

use std::fs::File;
use std::io::{self, Read, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::PathBuf;
use std::sync::Arc;

use belljar_access::Exec;

use crate::bind::{BindAccess, attributes};
use crate::error::{At, SetupError, Step};
use crate::mount_point::{open_existing, open_root, open_target};
use crate::sys::{
    self, TreeScope, attach_tree, clone_tree, make_tree_private, set_tree_attributes,
};
use crate::writable::device_of_space;

/// The mount point of a grant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrantPoint {
    /// Absolute path in the sandbox.
    pub target: PathBuf,
    /// True for a folder, false for a file.
    pub is_folder: bool,
}

/// The grants that a forked sandbox mounts for itself.
#[derive(Clone, Debug, Default)]
pub struct GrantPlan {
    /// Mounts from the supervisor with their mount points, outer paths before inner ones.
    pub mounts: Vec<(GrantPoint, Arc<OwnedFd>)>,
    /// Mounts of the zygote's root that must stay visible although a grant covers them.
    pub kept: Vec<GrantPoint>,
    /// Grants that are already part of the zygote's root, as for an ordinary user. They are made
    /// non-executable.
    pub not_executable: Vec<PathBuf>,
}

/// Returns a detached mount of a granted path for one sandbox. `owner` is a namespace from
/// [`owner_namespace`].
pub fn grant_mount(
    source: BorrowedFd<'_>,
    access: BindAccess,
    exec: Exec,
    owner: Option<BorrowedFd<'_>>,
) -> io::Result<OwnedFd> {
    let tree = clone_tree(source)?;
    make_tree_private(tree.as_fd())?;
    set_tree_attributes(tree.as_fd(), attributes(access, exec), None, TreeScope::AllMounts)?;
    if owner.is_some() {
        // If the file system cannot map ids, the sandbox has the access of "others". `belljar
        // doctor` reports it.
        let _ = set_tree_attributes(tree.as_fd(), 0, owner, TreeScope::TopMount);
    }
    Ok(tree)
}

/// Returns a user namespace that maps the caller's own user and group to `host_id`. A mount with it
/// shows the caller's files as those of the sandbox's user (`mount_setattr(2)`, "ID-mapped
/// mounts").
pub fn owner_namespace(host_id: u32) -> io::Result<OwnedFd> {
    // SAFETY: these calls cannot fail and touch no memory.
    let (uid, gid) = unsafe { (libc::geteuid(), libc::getegid()) };
    let (read, mut write) = sys::pipe()?;
    // The child only makes two system calls, so locks that other threads held are harmless.
    let holder = sys::clone_process(libc::CLONE_NEWUSER)?;
    if holder == 0 {
        // Waits until the namespace has been opened, or the caller is gone. It has to close its own
        // copy of the writing end first, in order to notice the latter.
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

/// Mounts the grants in the caller's own mount namespace, in which its own space is mounted
/// already.
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
        let target =
            open_target(root, &point.target, point.is_folder, space).at(Step::BindTarget)?;
        attach_tree(tree.as_fd(), target.as_fd()).at(Step::BindTarget)?;
    }
    for (point, tree) in kept {
        // The granted folder may have no entry of that name. In that case the runtime does not
        // expect anything there.
        if let Ok(target) = open_target(root, &point.target, point.is_folder, space) {
            attach_tree(tree.as_fd(), target.as_fd()).at(Step::BindTarget)?;
        }
    }
    if exec == Exec::Denied {
        for path in &plan.not_executable {
            let granted = open_existing(root, path).at(Step::BindAttributes)?;
            set_tree_attributes(
                granted.as_fd(),
                libc::MOUNT_ATTR_NOEXEC,
                None,
                TreeScope::AllMounts,
            )
            .at(Step::BindAttributes)?;
        }
    }
    Ok(())
}
