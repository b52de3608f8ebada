//! Jailed processes: launching them, measuring them, and removing what they used.

mod groups;
mod jailed;
mod launch_thread;
mod launcher;
mod teardowns;
mod usage;

pub(crate) use groups::{GroupLimits, Internet};
pub(crate) use jailed::{Ended, Exit, JailedProcess, TAKE_DOWN_TIME, pipe};
pub(crate) use launcher::Launcher;
pub(crate) use usage::{connections, max_connections, proportional_bytes, until_cpu_limit};
