//! The kernel's counters for each user of a user namespace (`ucounts`), whose limits are separate
//! for each namespace: `/proc/sys/user`.
//!
//! The kernel counts for the user inside, and again for the namespace's owner outside. The limits
//! here apply to the user inside, so that one sandbox cannot use up the owner's limit, which its
//! siblings share.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use crate::error::{At, SetupError, Step};
use crate::identity::IdMap;

/// The limits of a user of a new namespace. The limits of namespaces are unchanged, because each
/// fork of a zygote creates some.
const LIMITS: [(&str, u32); 5] = [
    // The owner's limit is `fs.inotify.max_user_instances`, usually 128: it takes sixteen sandboxes
    // of one zygote to use it up. libuv needs one instance per event loop.
    ("max_inotify_instances", 8),
    // The owner's limit is 8192 on the smallest machine.
    ("max_inotify_watches", 1024),
    // A sandbox cannot create any of these.
    ("max_fanotify_groups", 0),
    ("max_fanotify_marks", 0),
    ("max_user_namespaces", 0),
];

/// The factor of the limits if a single id is mapped: then all sandboxes of a zygote are the same
/// user.
const SANDBOXES_OF_ONE_ID: u32 = 8;

/// Sets the limits of the caller's own user namespace. This needs the capabilities of a process
/// that was cloned into it.
///
/// If `/proc/sys` is not writable (in a container it is read-only) or has no such limit, only the
/// owner's limits apply.
pub(crate) fn limit(ids: IdMap) -> Result<(), SetupError> {
    let sandboxes = if ids.leasable() == 1 { SANDBOXES_OF_ONE_ID } else { 1 };
    for (name, most) in LIMITS {
        match set(name, most * sandboxes) {
            Err(error) if !is_closed(&error) => return Err(error).at(Step::UserCounts),
            _ => {}
        }
    }
    Ok(())
}

fn set(name: &str, most: u32) -> io::Result<()> {
    File::options()
        .write(true)
        .open(format!("/proc/sys/user/{name}"))?
        .write_all(most.to_string().as_bytes())
}

fn is_closed(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        ErrorKind::NotFound | ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied
    )
}
