//! The seccomp filters. The rules are data (`rules`), which are compiled to a balanced decision
//! tree (`compile`).
//!
//! Two filters are stacked. [`base`] is installed before the runtime is started; it is an
//! allow-list of all system calls that a zygote or a sandbox ever needs. [`sealed`] is small and
//! installed last; it removes the system calls that only the set-up needs.

mod compile;
mod descriptors;
mod memory;
mod rules;
mod sockets;

pub use compile::{Action, Condition, Filter, Instruction, Rule, SyscallData, evaluate};
pub use rules::{HostFiles, base, no_local_sockets, sealed};

use std::io;
use std::os::fd::RawFd;
use std::sync::LazyLock;

use crate::sys::check;

/// Returns the compiled filter of a sandbox whose descriptor of its own space has this number.
pub(crate) fn with_own_space(program: &[Instruction], number: RawFd) -> Vec<Instruction> {
    program
        .iter()
        .map(|instruction| instruction.comparing(rules::OWN_SPACE, number as u32))
        .collect()
}

/// Returns the program of the base filter, which is compiled once. Call this before a fork, so that
/// no child compiles it again.
pub(crate) fn base_program() -> &'static [Instruction] {
    static PROGRAM: LazyLock<Vec<Instruction>> = LazyLock::new(|| base().compile());
    &PROGRAM
}

/// Installs a filter in every thread of the calling process.
pub(crate) fn install(program: &[Instruction]) -> io::Result<()> {
    let header = libc::sock_fprog {
        len: u16::try_from(program.len()).map_err(|_| io::Error::from_raw_os_error(libc::E2BIG))?,
        filter: program.as_ptr().cast_mut().cast(),
    };
    // SAFETY: the program has the layout of `sock_filter` (checked below), outlives the call, and
    // its length is stated.
    let result = unsafe {
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_TSYNC,
            &raw const header,
        )
    };
    match check(result)? {
        0 => Ok(()),
        // With TSYNC, a positive result is the id of a thread that could not be synchronised.
        _ => Err(io::Error::from_raw_os_error(libc::EBUSY)),
    }
}

const _: () = assert!(size_of::<Instruction>() == size_of::<libc::sock_filter>());
