//! What the kernel counts for each user of a user namespace (`ucounts`), with limits that each namespace has for itself: `/proc/sys/user`.
//!
//! A count is kept for the user inside, and once more for the namespace's owner outside. The limits here are for the user inside, so that one sandbox
//! cannot take all that the owner may have, which is what its siblings have too.

use std::fs::File;
use std::io::{self, ErrorKind, Write};

use crate::error::{At, SetupError, Step};
use crate::identity::IdMap;

/// The most of each that one user of a new namespace may have. Those of namespaces stay as they are: each fork of a zygote makes some.
const LIMITS: [(&str, u32); 5] = [
    // The owner has `fs.inotify.max_user_instances`, 128 as a rule: sixteen sandboxes of one zygote can take them all, and one cannot. libuv takes one an
    // event loop.
    ("max_inotify_instances", 8),
    // The kernel gives the owner 8192 on the smallest machine.
    ("max_inotify_watches", 1024),
    // No sandbox can make any.
    ("max_fanotify_groups", 0),
    ("max_fanotify_marks", 0),
    ("max_user_namespaces", 0),
];

/// Where one id is mapped, all sandboxes of a zygote are one user, who may have as much as eight.
const SANDBOXES_OF_ONE_ID: u32 = 8;

/// Sets the limits of the caller's own user namespace. Needs the capabilities that a process has in a namespace it was cloned into.
///
/// Where `/proc/sys` cannot be written (a container's is read-only) or does not know one, the owner's limits alone hold.
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
    File::options().write(true).open(format!("/proc/sys/user/{name}"))?.write_all(most.to_string().as_bytes())
}

fn is_closed(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ReadOnlyFilesystem | ErrorKind::PermissionDenied)
}
