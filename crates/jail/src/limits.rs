//! Resource limits of each process. They are the second line of defence behind control groups, and
//! the first one where there are none.

use std::io;

use crate::error::{At, SetupError, Step};
use crate::sys::check;

/// The `setrlimit` values of a sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ResourceLimits {
    /// Maximum number of open descriptors of each process.
    pub open_files: u64,
    /// CPU seconds of each process. This is a backstop, because the supervisor counts more
    /// precisely.
    pub cpu_seconds: u64,
    /// Maximum size of a file in bytes. Beyond it, SIGXFSZ prevents even a sparse file.
    pub file_bytes: u64,
}

/// The limit of core files. It is 1 and not 0, because a core that is piped to a program ignores a
/// limit of 0, and a limit of 1 prevents both kinds (core(5)). A core that is sent to a socket
/// (`core_pattern` with `@`, Linux 6.16) ignores every limit, and is prevented if the process is
/// not dumpable (`coredump_skip` in `fs/coredump.c`).
const CORE_BYTES: u64 = 1;
/// The limits of POSIX message queues and pending signals, which use kernel memory, per user.
const MESSAGE_QUEUE_BYTES: u64 = 819_200;
const PENDING_SIGNALS: u64 = 1024;

impl ResourceLimits {
    /// Sets the hard and soft limits of the calling process.
    pub(crate) fn apply(self) -> Result<(), SetupError> {
        for (resource, value) in [
            (libc::RLIMIT_CORE, CORE_BYTES),
            (libc::RLIMIT_NOFILE, self.open_files),
            (libc::RLIMIT_FSIZE, self.file_bytes),
            (libc::RLIMIT_MSGQUEUE, MESSAGE_QUEUE_BYTES),
            (libc::RLIMIT_SIGPENDING, PENDING_SIGNALS),
            (libc::RLIMIT_MEMLOCK, 8 << 20),
            (libc::RLIMIT_NICE, 0),
            (libc::RLIMIT_RTPRIO, 0),
        ] {
            lower(resource, value, value).at(Step::ResourceLimits)?;
        }
        // SIGXCPU comes a second before SIGKILL, as programs expect.
        lower(libc::RLIMIT_CPU, self.cpu_seconds, self.cpu_seconds.saturating_add(1))
            .at(Step::ResourceLimits)
    }
}

fn lower(resource: libc::__rlimit_resource_t, soft: u64, hard: u64) -> io::Result<()> {
    let mut now = libc::rlimit { rlim_cur: 0, rlim_max: 0 };
    // SAFETY: `now` is writable and of the right type.
    check(i64::from(unsafe { libc::getrlimit(resource, &raw mut now) }))?;
    let hard = hard.min(now.rlim_max);
    let limit = libc::rlimit { rlim_cur: soft.min(hard), rlim_max: hard };
    // SAFETY: `limit` is readable and of the right type.
    check(i64::from(unsafe { libc::setrlimit(resource, &raw const limit) })).map(drop)
}
