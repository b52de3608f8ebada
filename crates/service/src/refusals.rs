//! Refusals, written down in the audit trail: some of each caller, some of all that nobody knows, and how many there were besides. Whoever is refused again
//! and again must not fill the disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use belljar_store::{NewAuditEntry, StoreError};
use serde_json::json;

use crate::caller::{BELLJAR, Caller};
use crate::rate::{Rates, network};
use crate::service::Service;

/// Of one caller, or of one address of which no caller is known, a second; and how many seconds' worth at once.
const OF_ONE_PER_SECOND: f64 = 1.0;
/// Of all addresses together.
const OF_UNKNOWN_PER_SECOND: f64 = 2.0;
const BURST_S: f64 = 60.0;
/// The name of all that are unknown together.
const UNKNOWN: &str = "unknown";

/// What may be written down of refusals.
#[derive(Debug)]
pub(crate) struct Refusals {
    of_one: Rates,
    of_unknown: Rates,
    /// Since the last entry that says so.
    left_out: AtomicU64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self { of_one: Rates::new(BURST_S), of_unknown: Rates::new(BURST_S), left_out: AtomicU64::new(0) }
    }
}

impl Refusals {
    /// Whether this one is written down; else it is counted.
    fn take(&self, caller: Option<&Caller>, source: Option<&str>, now: Instant) -> bool {
        let is_taken = match caller {
            Some(caller) => self.of_one.take(&caller.actor, OF_ONE_PER_SECOND, now),
            None => {
                self.of_one.take(&network(source.unwrap_or(UNKNOWN)), OF_ONE_PER_SECOND, now)
                    && self.of_unknown.take(UNKNOWN, OF_UNKNOWN_PER_SECOND, now)
            }
        };
        if !is_taken {
            self.left_out.fetch_add(1, Ordering::Relaxed);
        }
        is_taken
    }
}

impl Service {
    /// Notes that a request was refused: by whom, if that is known, what it was, and why.
    pub async fn note_refusal(&self, caller: Option<&Caller>, source: Option<String>, target: &str, why: &str) {
        if !self.refusals().take(caller, source.as_deref(), Instant::now()) {
            return;
        }
        self.write_down(NewAuditEntry {
            project: caller.map(|caller| caller.project().to_owned()),
            actor: caller.map_or_else(|| "anonymous".to_owned(), |caller| caller.actor.clone()),
            source,
            action: "request.refuse",
            target: target.chars().filter(|c| !c.is_control()).take(200).collect(),
            details: json!({"why": why}),
        })
        .await;
    }

    /// Writes down how many refusals were not, if there were any.
    pub(crate) async fn note_left_out(&self) {
        let left_out = self.refusals().left_out.swap(0, Ordering::Relaxed);
        if left_out > 0 {
            self.write_down(NewAuditEntry {
                project: None,
                actor: BELLJAR.to_owned(),
                source: None,
                action: "request.refuse",
                target: "others".to_owned(),
                details: json!({"left_out": left_out}),
            })
            .await;
        }
    }

    async fn write_down(&self, entry: NewAuditEntry) {
        match self.store().record_audit(entry).await {
            // The server is being stopped, and is past telling.
            Ok(()) | Err(StoreError::Closed) => {}
            Err(error) => tracing::error!(%error, "a refusal could not be written down"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_together_are_bounded_and_what_is_left_out_is_counted() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let taken = (0..10_000).filter(|n| refusals.take(None, Some(&format!("2001:db8:{:x}:{:x}::1", n / 100, n % 100)), now)).count();
        assert_eq!(taken, 120);
        assert_eq!(refusals.left_out.load(Ordering::Relaxed), 10_000 - 120);
    }
}
