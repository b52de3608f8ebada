//! Limits on the refusals that the audit trail records: per caller, and for all unknown callers
//! together. The rest is counted, so that a client that is refused again and again cannot fill the
//! disk.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use crate::caller::Caller;
use crate::rates::{Rates, network};

/// The refusals per second that are recorded of one caller, or of one address of unknown callers.
const OF_ONE_PER_SECOND: f64 = 1.0;
/// The refusals per second that are recorded of all unknown callers together.
const OF_UNKNOWN_PER_SECOND: f64 = 2.0;
const BURST_S: f64 = 60.0;
/// The name of the account of all unknown callers.
const UNKNOWN: &str = "unknown";

/// The rates of refusals that may be recorded.
#[derive(Debug)]
pub(crate) struct Refusals {
    of_one: Rates,
    of_unknown: Rates,
    /// The number of refusals that were not recorded since the last entry with their number.
    left_out: AtomicU64,
}

impl Default for Refusals {
    fn default() -> Self {
        Self {
            of_one: Rates::new(BURST_S),
            of_unknown: Rates::new(BURST_S),
            left_out: AtomicU64::new(0),
        }
    }
}

impl Refusals {
    /// Returns whether a refusal is recorded. If not, it is counted.
    pub(crate) fn take(&self, caller: Option<&Caller>, source: Option<&str>, now: Instant) -> bool {
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

    /// Returns the number of refusals that were left out since the last call.
    pub(crate) fn take_left_out(&self) -> u64 {
        self.left_out.swap(0, Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_addresses_together_are_bounded_and_what_is_left_out_is_counted() {
        let (refusals, now) = (Refusals::default(), Instant::now());
        let taken = (0..10_000)
            .filter(|n| {
                refusals.take(None, Some(&format!("2001:db8:{:x}:{:x}::1", n / 100, n % 100)), now)
            })
            .count();
        assert_eq!(taken, 120);
        assert_eq!(refusals.left_out.load(Ordering::Relaxed), 10_000 - 120);
    }
}
