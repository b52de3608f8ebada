//! Places for packages to write to while a zygote imports them, as they have in a sandbox: some want a folder for temporary files or for a cache and fail
//! without. They are gone before the first fork.

use std::ffi::CStr;
use std::fs;
use std::sync::{Mutex, PoisonError};

const PLACES: [&CStr; 2] = [c"/tmp", c"/home/user"];
/// For each of them.
const OPTIONS: &CStr = c"mode=1777,size=16m,nr_inodes=1000";

static MOUNTED: Mutex<Vec<&CStr>> = Mutex::new(Vec::new());

/// Makes them, where nothing is: a runtime may be installed, and a folder granted, beneath one.
pub fn make() {
    let is_empty = |place: &&CStr| place.to_str().is_ok_and(|place| fs::read_dir(place).is_ok_and(|mut folder| folder.next().is_none()));
    let mount = |place: &&CStr| {
        let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
        // SAFETY: NUL-terminated texts.
        unsafe { libc::mount(c"scratch".as_ptr(), place.as_ptr(), c"tmpfs".as_ptr(), flags, OPTIONS.as_ptr().cast()) == 0 }
    };
    let mounted: Vec<&CStr> = PLACES.into_iter().filter(is_empty).filter(mount).collect();
    *MOUNTED.lock().unwrap_or_else(PoisonError::into_inner) = mounted;
}

/// Takes them away again. What is still open of them stays until it is closed.
pub fn remove() {
    for place in std::mem::take(&mut *MOUNTED.lock().unwrap_or_else(PoisonError::into_inner)) {
        // SAFETY: a NUL-terminated path, on which this process has mounted.
        unsafe { libc::umount2(place.as_ptr(), libc::MNT_DETACH) };
    }
}
