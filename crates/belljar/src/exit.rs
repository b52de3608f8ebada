//! Exit codes of `belljar run`. They follow what shells, `timeout(1)` and `docker run` have made customary, and are documented in the help.

use belljar_protocol::{Outcome, Status};

/// What was asked for cannot be meant: an unknown flag, a file that is not there.
pub const USAGE: u8 = 2;
/// Belljar itself failed, after the program had run.
pub const INTERNAL: u8 = 70;
/// Nobody reads the program's output any more: what a shell shows for a program that died of SIGPIPE.
pub const UNREAD: u8 = 141;

/// A signal ended what was going on.
pub const CANCELLED: u8 = 130;

/// The code for an outcome.
pub fn of(outcome: &Outcome) -> u8 {
    match outcome.status {
        Status::Succeeded => 0,
        // The program's own, as far as a code can tell it; 1 for an uncaught error.
        Status::Failed => outcome.exit_code.and_then(|code| u8::try_from(code & 0xff).ok()).filter(|code| *code != 0).unwrap_or(1),
        Status::TimedOut => 124,
        Status::Refused => 125,
        Status::Interrupted => INTERNAL,
        Status::Cancelled => CANCELLED,
        Status::MemoryExceeded => 137,
        Status::CpuExceeded => 152,
        Status::OutputExceeded => 153,
        Status::Crashed => outcome.signal.and_then(|signal| u8::try_from(128 + signal).ok()).unwrap_or(134),
    }
}
