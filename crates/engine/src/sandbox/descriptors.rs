//! The descriptors that connect the supervisor with a sandbox.

use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use rustix::pipe::{PipeFlags, pipe_with};

use crate::error::{EngineError, system};

/// The supervisor's descriptors of one sandbox. None of them blocks.
pub(super) struct Descriptors {
    pub(super) control: OwnedFd,
    pub(super) stdin: OwnedFd,
    pub(super) stdout: OwnedFd,
    pub(super) stderr: OwnedFd,
}

impl Descriptors {
    /// Returns the supervisor's and the sandbox's ends: control, standard input, output, error. The
    /// supervisor must close the sandbox's ends before it waits for the sandbox, so that it notices
    /// when the sandbox closes them.
    pub(super) fn new() -> Result<(Self, [OwnedFd; 4]), EngineError> {
        let (control, their_control) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .map_err(system("creating a control channel"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(system("creating a pipe"));
        let (their_stdin, stdin) = pipe()?;
        let (stdout, their_stdout) = pipe()?;
        let (stderr, their_stderr) = pipe()?;
        // Only the supervisor's ends: a program expects its streams to block.
        for ours in [&control, &stdin, &stdout, &stderr] {
            rustix::io::ioctl_fionbio(ours, true).map_err(system("creating a pipe"))?;
        }
        Ok((
            Self { control, stdin, stdout, stderr },
            [their_control, their_stdin, their_stdout, their_stderr],
        ))
    }
}
