//! Exit codes of `belljar run`. They follow the conventions of shells, `timeout(1)` and `docker
//! run`, and the help documents them.

use belljar_protocol::{Outcome, Status};

/// Wrong usage, such as an unknown flag or a missing file.
pub const USAGE: u8 = 2;
/// A failure of Belljar itself after the program had run.
pub const INTERNAL: u8 = 70;
/// The reader of standard output is gone. Shells report this code for a program killed by SIGPIPE.
pub const UNREAD: u8 = 141;

/// A signal cancelled the command.
pub const CANCELLED: u8 = 130;

/// Returns the exit code of an outcome.
pub fn code(outcome: &Outcome) -> u8 {
    match outcome.status {
        Status::Succeeded => 0,
        // The exit code of the program, as far as it fits; 1 for an uncaught error.
        Status::Failed => outcome
            .exit_code
            .and_then(|code| u8::try_from(code & 0xff).ok())
            .filter(|code| *code != 0)
            .unwrap_or(1),
        Status::TimedOut => 124,
        Status::Refused => 125,
        Status::Interrupted => INTERNAL,
        Status::Cancelled => CANCELLED,
        Status::MemoryExceeded => 137,
        Status::CpuExceeded => 152,
        Status::OutputExceeded => 153,
        Status::Crashed => {
            outcome.signal.and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(134)
        }
    }
}
