//! A descriptor of the sandbox's own space, for the one question about a file system that a sandbox may ask the kernel: how full that space is.
//!
//! Its number is the first one past the limit of open files, so that nothing else can ever have it: no call gives out such a number, nor takes one to
//! duplicate onto. The filter lets `fstatfs` of that number through, and no other. A program may close it; then nothing is behind the number.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};

use crate::confine::Confinement;
use crate::error::{At, SetupError, Step};
use crate::limits::ResourceLimits;
use crate::sys::{check, duplicate_onto};

const PLACE: &CStr = c"/tmp";

/// Opens it, and returns the limits under which no call gives out its number again. Where programs may be started there is none: they ask the kernel.
pub(crate) fn keep(confinement: &Confinement) -> Result<ResourceLimits, SetupError> {
    if confinement.exec {
        return Ok(confinement.limits);
    }
    keep_below(confinement.limits).at(Step::ResourceLimits)
}

fn keep_below(limits: ResourceLimits) -> io::Result<ResourceLimits> {
    let hard = open_files()?.rlim_max;
    let all = libc::rlimit { rlim_cur: hard, rlim_max: hard };
    // SAFETY: readable and of the right type.
    check(i64::from(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const all) }))?;
    let number = limits.open_files.min(hard.saturating_sub(1));
    // SAFETY: NUL-terminated path.
    let opened = check(i64::from(unsafe { libc::open(PLACE.as_ptr(), libc::O_PATH | libc::O_DIRECTORY | libc::O_CLOEXEC) }))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    let opened = unsafe { OwnedFd::from_raw_fd(opened as RawFd) };
    // A sandbox that has yet to become its runtime has to keep it over `execve`.
    duplicate_onto(opened.as_raw_fd(), RawFd::try_from(number).map_err(io::Error::other)?, 0)?;
    Ok(ResourceLimits { open_files: number, ..limits })
}

/// Its number, in a process that is confined: the limit of open files.
pub fn number() -> io::Result<RawFd> {
    RawFd::try_from(open_files()?.rlim_max).or(Ok(RawFd::MAX))
}

fn open_files() -> io::Result<libc::rlimit> {
    let mut limit = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: writable and of the right type.
    check(i64::from(unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) }))?;
    Ok(limit)
}
