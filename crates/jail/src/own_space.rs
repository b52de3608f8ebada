//! A descriptor of the sandbox's own space. The only information about a file system that a sandbox
//! may query is the free space of its own.
//!
//! The number of the descriptor is the first one beyond the limit on open files, so that no other
//! file can ever have it: no system call returns such a number, or accepts it as the target of a
//! duplication. The filter allows `fstatfs` of that number only. A program may close the
//! descriptor; then the number refers to nothing.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::error::{At, SetupError, Step};
use crate::limits::ResourceLimits;
use crate::sys::{check, duplicate_onto};

const PLACE: &CStr = c"/tmp";

/// Opens the descriptor, and returns the limits under which no system call can return its number
/// again.
pub(crate) fn keep(limits: ResourceLimits) -> Result<ResourceLimits, SetupError> {
    open_beyond(limits).at(Step::ResourceLimits)
}

fn open_beyond(limits: ResourceLimits) -> io::Result<ResourceLimits> {
    let hard = open_files()?.rlim_max;
    let all = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: readable and of the right type.
    check(i64::from(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const all) }))?;
    let number = limits.open_files.min(hard.saturating_sub(1));
    // SAFETY: NUL-terminated path.
    let opened = check(i64::from(unsafe {
        libc::open(PLACE.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC)
    }))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    let opened = unsafe { OwnedFd::from_raw_fd(opened as RawFd) };
    // A sandbox that still has to execute its runtime must keep it across `execve`.
    duplicate_onto(opened.as_raw_fd(), RawFd::try_from(number).map_err(io::Error::other)?, 0)?;
    Ok(ResourceLimits { open_files: number, ..limits })
}

/// Returns the number of the descriptor in a confined process, which is the limit on open files.
pub fn number() -> io::Result<RawFd> {
    RawFd::try_from(open_files()?.rlim_max).or(Ok(RawFd::MAX))
}

fn open_files() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writable and of the right type.
    check(i64::from(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }))?;
    Ok(limit)
}
