//! A limit on the memory for the ends of runs. The end of a run is stored several times, as an
//! event, as an outcome and as a row, so it briefly takes many times the size of the run's output.
//! As many ends as fit into the limit are stored at once, and the others wait.

use belljar_protocol::Outcome;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::live::Live;

/// The number of copies of the output while it is being stored. Measured with 16 MB, everything
/// included: seven copies, both of text and of characters that JSON escapes, which are counted at
/// their size in JSON.
const COPIES: usize = 8;
const UNIT_BYTES: usize = 64 << 10;
/// Units of the budget, 512 MB in total.
const UNITS: usize = 8192;

/// The memory for the ends of runs.
#[derive(Debug)]
pub(crate) struct CompletionBudget(Semaphore);

impl Default for CompletionBudget {
    fn default() -> Self {
        Self(Semaphore::new(UNITS))
    }
}

impl CompletionBudget {
    /// Waits for memory for the end of a run. An end that exceeds the limit gets all of it.
    pub(super) async fn room(&self, live: &Live, outcome: &Outcome) -> Option<SemaphorePermit<'_>> {
        let bytes =
            live.event_bytes() + outcome.value.as_ref().map_or(0, |value| value.get().len());
        let units = (bytes * COPIES).div_ceil(UNIT_BYTES).clamp(1, UNITS);
        // The semaphore is never closed.
        self.0.acquire_many(units as u32).await.ok()
    }
}
