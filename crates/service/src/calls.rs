//! Storage calls of one run: how many there may be, how fast they are served, and what of them the audit trail keeps. A program that loops on
//! small objects must fill neither the trail nor the server's time.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use belljar_protocol::Quotas;
use serde_json::{Value, json};

use crate::caller::Caller;
use crate::service::Service;

/// Calls of one run, all its attempts together. At the default rate a run of sixteen minutes makes as many.
const MAX_CALLS: u64 = 100_000;
/// Uploads and deletions of a run that have an entry of their own in the audit trail. Further ones are counted in that of its end.
const MAX_NAMED: u64 = 100;

/// What a call did.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Done {
    Uploaded,
    Deleted,
    Downloaded,
    Listed,
    Refused,
}

/// The calls that a run has made so far.
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
    /// Counts one more call. Whether it may be served.
    pub(crate) fn begin(&self) -> bool {
        self.made.fetch_add(1, Ordering::Relaxed) < MAX_CALLS
    }

    /// Whether a change has an entry of its own in the audit trail.
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

    /// What the entry of the run's end says of them; nothing where there were none.
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

impl Service {
    /// Waits until a run of the project may make another call. The rate is the one of the project's requests, in an account of its own: a run
    /// cannot keep its owner from cancelling it.
    pub(crate) async fn call_turn(&self, caller: &Caller) {
        let rate = caller.project.settings.quotas.requests_per_second.unwrap_or(Quotas::DEFAULT_CALLS_PER_SECOND);
        while let Err(wait) = self.run_calls().try_take(caller.project_id(), f64::from(rate), Instant::now()) {
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
