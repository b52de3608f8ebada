//! Runs, from their submission to the removal of their records.

mod attempt;
pub(crate) mod completion;
mod completion_budget;
pub(crate) mod events;
mod first_line;
pub(crate) mod live;
mod query;
pub(crate) mod queue;
mod recovery;
mod sealed_variables;
pub(crate) mod submit;
pub(crate) mod supervise;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use belljar_engine::Engine;
use belljar_protocol::RunState;
use belljar_store::Store;

use self::live::LiveRuns;
use self::queue::Queue;
use self::supervise::Supervisor;
use crate::config::RunConfig;
use crate::error::ServiceError;
use crate::memory_account::MemoryAccount;
use crate::metrics;
use crate::storage::Storage;

/// The time that interrupted runs have to end.
const END_TIME: Duration = Duration::from_secs(5);

/// The runs of all projects.
#[derive(Debug)]
pub struct Runs {
    config: RunConfig,
    engine: Engine,
    store: Store,
    storage: Arc<Storage>,
    live: Arc<LiveRuns>,
    queue: Queue,
    /// Memory of the submissions of unfinished runs.
    submissions: MemoryAccount,
    supervisor: Arc<Supervisor>,
    is_stopping: Arc<AtomicBool>,
}

impl Runs {
    pub(crate) fn new(
        config: RunConfig,
        supervisor: Supervisor,
        is_stopping: Arc<AtomicBool>,
    ) -> Self {
        Self {
            config,
            engine: supervisor.engine.clone(),
            store: supervisor.store.clone(),
            storage: Arc::clone(&supervisor.storage),
            live: Arc::clone(&supervisor.live),
            queue: supervisor.queue.clone(),
            submissions: supervisor.submissions.clone(),
            supervisor: Arc::new(supervisor),
            is_stopping,
        }
    }

    /// Resumes the runs that were unfinished when the server last stopped.
    pub(crate) async fn recover(&self) -> Result<(), ServiceError> {
        recovery::recover_runs(&self.supervisor).await
    }

    /// Returns the maximum size of a request in bytes.
    pub fn max_submission_bytes(&self) -> usize {
        usize::try_from(self.config.max_submission_bytes.0).unwrap_or(usize::MAX)
    }

    /// Returns the number of running and of queued runs, and updates the metrics.
    pub fn counts(&self) -> (u32, u32) {
        let (running, waiting) = self.queue.counts();
        metrics::queue(running, waiting);
        (running, waiting)
    }

    fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Acquire)
    }

    /// Refuses new runs, waits for running ones for the configured time, and interrupts the rest.
    /// Queued runs stay in the store and start after the restart.
    pub(crate) async fn stop(&self) {
        self.is_stopping.store(true, Ordering::Release);
        let tasks = &self.supervisor.tasks;
        tasks.close();
        for live in self.live.all() {
            if live.record().status == RunState::Queued {
                live.interrupt();
            }
        }
        let drain = Duration::from_millis(self.config.drain_ms.0);
        if tokio::time::timeout(drain, tasks.wait()).await.is_err() {
            for live in self.live.all() {
                live.interrupt();
            }
            let _ = tokio::time::timeout(END_TIME, tasks.wait()).await;
        }
    }
}
