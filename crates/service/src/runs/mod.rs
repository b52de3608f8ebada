//! Runs: accepted, queued, run, watched, kept.

mod ends;
mod live;
mod query;
mod queue;
mod recovery;
mod submit;
mod supervise;

pub(crate) use ends::Ends;
pub use live::EventLine;
pub(crate) use live::LiveRuns;
pub use query::{Events, RunQuery};
pub(crate) use queue::Queue;
pub use submit::Submitted;

use belljar_engine::Machine;

use self::queue::Capacity;
use crate::config::RunConfig;

/// What runs share on this machine.
pub(crate) fn capacity(config: &RunConfig, machine: Machine) -> Capacity {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    Capacity {
        runs: config.concurrent.unwrap_or(processors * 4).max(1),
        memory_bytes: config.memory_bytes.map_or(machine.memory_bytes / 4 * 3, |bytes| bytes.0),
        waiting: config.queue,
    }
}
