//! Executing programs: from the activation of a sandbox to the outcome of the run.

mod artifacts;
mod calls;
mod collect;
mod decision;
mod fences;
mod granted;
mod host;
mod left_behind;
pub(crate) mod logs;
mod pace;
mod pipes;
pub(crate) mod report;
mod run_handle;
mod supervise;
mod transcript;
mod usage_checks;

pub use artifacts::{ArtifactFile, ArtifactRoom};
pub(crate) use calls::Calls;
pub use host::RunHost;
pub use left_behind::LeftFiles;
pub(crate) use run_handle::{Emitter, not_started, refused, until_cancelled};
pub use run_handle::{Finished, Run, RunCanceller, RunEvent};
pub(crate) use supervise::{Job, execute};
