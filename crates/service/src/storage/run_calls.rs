//! Storage calls of one run: their maximum number, their rate, and their entries in the audit
//! trail. A program that loops over small objects must fill neither the trail nor the server's
//! time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use belljar_protocol::Quotas;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::rates::Rates;

/// The maximum number of calls of one run over all its attempts. At the default rate, a run of
/// sixteen minutes makes as many.
const MAX_CALLS: u64 = 100_000;
/// The number of uploads and deletions of a run with an entry of their own in the audit trail.
/// Further ones are counted in the entry of the run's end.
const MAX_NAMED: u64 = 100;

/// The number of seconds whose worth of a project's calls may come at once.
const CALLS_BURST_S: f64 = 10.0;

/// The result of a call.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    Uploaded,
    Deleted,
    Downloaded,
    Listed,
    Refused,
}

/// Counters of the calls that a run has made so far.
#[derive(Debug, Default)]
pub(crate) struct StorageCalls {
    made: AtomicU64,
    named: AtomicU64,
    uploaded: AtomicU64,
    deleted: AtomicU64,
    downloaded: AtomicU64,
    listed: AtomicU64,
    refused: AtomicU64,
}

impl StorageCalls {
    /// Counts another call, and returns whether it may be served.
    pub(crate) fn begin(&self) -> bool {
        self.made.fetch_add(1, Ordering::Relaxed) < MAX_CALLS
    }

    /// Returns whether a change gets an entry of its own in the audit trail.
    pub(crate) fn is_named(&self) -> bool {
        self.named.fetch_add(1, Ordering::Relaxed) < MAX_NAMED
    }

    pub(crate) fn count(&self, done: Done) {
        let counter = match done {
            Done::Uploaded => &self.uploaded,
            Done::Deleted => &self.deleted,
            Done::Downloaded => &self.downloaded,
            Done::Listed => &self.listed,
            Done::Refused => &self.refused,
        };
        counter.fetch_add(1, Ordering::Relaxed);
    }

    /// Returns the calls for the audit entry of the run's end, or `None` if there were none.
    pub(crate) fn summary(&self) -> Option<Value> {
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        (read(&self.made) > 0).then(|| {
            json!({
                "uploaded": read(&self.uploaded),
                "deleted": read(&self.deleted),
                "downloaded": read(&self.downloaded),
                "listed": read(&self.listed),
                "refused": read(&self.refused),
                "unnamed": read(&self.named).saturating_sub(MAX_NAMED),
            })
        })
    }
}

/// The rates of calls from inside sandboxes, by project.
#[derive(Debug)]
pub(crate) struct CallRates(Rates);

impl Default for CallRates {
    fn default() -> Self {
        Self(Rates::new(CALLS_BURST_S))
    }
}

impl CallRates {
    /// Waits until a run of the project may make another call. The rate is that of the project's
    /// requests, but is counted separately, so that a run cannot keep its owner from cancelling it.
    pub(crate) async fn turn(&self, caller: &Caller) {
        let rate = caller
            .project
            .settings
            .quotas
            .requests_per_second
            .unwrap_or(Quotas::DEFAULT_CALLS_PER_SECOND);
        while let Err(wait) = self.0.try_take(caller.project_id(), f64::from(rate), Instant::now())
        {
            tokio::time::sleep(wait).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_no_entry_of_its_own_is_counted() {
        let calls = StorageCalls::default();
        assert_eq!(calls.summary(), None);
        for _ in 0..150 {
            assert!(calls.begin());
            calls.is_named();
            calls.count(Done::Uploaded);
        }
        let summary = calls.summary().unwrap();
        assert_eq!((&summary["uploaded"], &summary["unnamed"]), (&json!(150), &json!(50)));
        let rest = (0..MAX_CALLS).filter(|_| calls.begin()).count();
        assert_eq!(rest as u64, MAX_CALLS - 150);
    }
}
