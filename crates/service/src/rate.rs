//! How often somebody may ask: token buckets, by name.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

/// Names that are remembered; beyond, those whose buckets are full again are let go.
const MOST_NAMES: usize = 10_000;

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Token buckets, by name: so many a second, and `burst_s` seconds' worth at once.
#[derive(Debug)]
pub(crate) struct Rates {
    burst_s: f64,
    buckets: Mutex<HashMap<String, Bucket>>,
}

impl Rates {
    pub(crate) fn new(burst_s: f64) -> Self {
        Self { burst_s, buckets: Mutex::default() }
    }

    /// Takes one, if there is one.
    pub(crate) fn take(&self, name: &str, per_second: f64, now: Instant) -> bool {
        let most = (per_second * self.burst_s).max(1.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        if buckets.len() >= MOST_NAMES && !buckets.contains_key(name) {
            buckets.retain(|_, bucket| bucket.left + now.duration_since(bucket.at).as_secs_f64() * per_second < most);
        }
        let bucket = buckets.entry(name.to_owned()).or_insert(Bucket { left: most, at: now });
        bucket.left = (bucket.left + now.duration_since(bucket.at).as_secs_f64() * per_second).min(most);
        bucket.at = now;
        let has_one = bucket.left >= 1.0;
        if has_one {
            bucket.left -= 1.0;
        }
        has_one
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_burst_is_followed_by_the_rate() {
        let (rates, start) = (Rates::new(10.0), Instant::now());
        let taken = |at| (0..100).filter(|_| rates.take("a", 2.0, at)).count();
        assert_eq!(taken(start), 20);
        assert_eq!(taken(start + Duration::from_secs(1)), 2);
        assert!(rates.take("b", 2.0, start));
    }
}
