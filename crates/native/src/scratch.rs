//! Temporary file systems that packages may write to while a zygote imports them, as in a sandbox:
//! some packages need a folder for temporary files or for a cache, and fail without one. They are
//! removed before the first fork.

use std::ffi::CStr;
use std::fs;
use std::sync::{Mutex, PoisonError};

const PLACES: [&CStr; 2] = [c"/tmp", c"/home/user"];
/// Mount options of each file system.
const OPTIONS: &CStr = c"mode=1777,size=16m,nr_inodes=1000";

static MOUNTED: Mutex<Vec<&CStr>> = Mutex::new(Vec::new());

/// Mounts a file system on each place that is empty. A place is not empty if a runtime is installed
/// or a folder granted beneath it.
pub fn make() {
    let is_empty = |place: &&CStr| {
        place
            .to_str()
            .is_ok_and(|place| fs::read_dir(place).is_ok_and(|mut folder| folder.next().is_none()))
    };
    let mount = |place: &&CStr| {
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        // SAFETY: NUL-terminated strings.
        unsafe {
            libc::mount(
                c"scratch".as_ptr(),
                place.as_ptr(),
                c"tmpfs".as_ptr(),
                flags,
                OPTIONS.as_ptr().cast(),
            ) == 0
        }
    };
    let mounted: Vec<&CStr> = PLACES.into_iter().filter(is_empty).filter(mount).collect();
    *MOUNTED.lock().unwrap_or_else(PoisonError::into_inner) = mounted;
}

/// Detaches the file systems. Open files in them remain until they are closed.
pub fn remove() {
    for place in std::mem::take(&mut *MOUNTED.lock().unwrap_or_else(PoisonError::into_inner)) {
        // SAFETY: a NUL-terminated path, on which this process has mounted a file system.
        unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) };
    }
}
