//! Waiting for a condition that no event announces.

use std::time::{Duration, Instant};

/// Time after which a condition counts as never met. It is long because a busy machine is slow; a
/// wait ends as soon as its condition holds.
const PATIENCE: Duration = Duration::from_mins(1);
const PAUSE: Duration = Duration::from_millis(5);

/// Waits until `condition`, which `holds` checks. Panics after a minute.
#[track_caller]
pub fn eventually(condition: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {condition}");
        std::thread::sleep(PAUSE);
    }
}

/// Waits as [`eventually`] does, without blocking the runtime.
pub async fn eventually_async(condition: &str, mut holds: impl AsyncFnMut() -> bool) {
    let started = Instant::now();
    while !holds().await {
        assert!(started.elapsed() < PATIENCE, "not within {PATIENCE:?}: {condition}");
        tokio::time::sleep(PAUSE).await;
    }
}
