//! Room to end in. The end of a run is written out several times over, as an event, as an outcome, as a row: for a moment it takes many times what the
//! program wrote. So many ends as fit into the room are written at one time; the others wait.

use belljar_protocol::Outcome;
use tokio::sync::{Semaphore, SemaphorePermit};

use super::live::Live;

/// How often what was written is held at the same time while it is being stored. Measured with 16 MB, everything included: seven times, of text as of
/// characters that JSON escapes, where those are counted as they are in JSON.
const COPIES: usize = 8;
const UNIT_BYTES: usize = 64 << 10;
/// 512 MB.
const UNITS: usize = 8192;

/// Room for the ends of runs.
#[derive(Debug)]
pub(crate) struct Ends(Semaphore);

impl Default for Ends {
    fn default() -> Self {
        Self(Semaphore::new(UNITS))
    }
}

impl Ends {
    /// Waits for room for the end of this run. One that is larger than all there is has it for itself.
    pub(super) async fn room(&self, live: &Live, outcome: &Outcome) -> Option<SemaphorePermit<'_>> {
        let bytes = live.event_bytes() + outcome.value.as_ref().map_or(0, |value| value.get().len());
        let units = (bytes * COPIES).div_ceil(UNIT_BYTES).clamp(1, UNITS);
        // It is never closed.
        self.0.acquire_many(units as u32).await.ok()
    }
}
