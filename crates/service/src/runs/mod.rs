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

use self::queue::Capacity;
use crate::config::RunConfig;

/// What runs share on this machine.
pub(crate) fn capacity(config: &RunConfig) -> Capacity {
    let processors = std::thread::available_parallelism().map_or(1, |count| count.get() as u32);
    let memory = || {
        let info = rustix::system::sysinfo();
        info.totalram as u64 * u64::from(info.mem_unit) / 4 * 3
    };
    Capacity {
        runs: config.concurrent.unwrap_or(processors * 4).max(1),
        memory_bytes: config.memory_bytes.map_or_else(memory, |bytes| bytes.0),
        waiting: config.queue,
    }
}
