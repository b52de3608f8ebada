//! Rate limits, as token buckets by name.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// The maximum number of buckets. If there are more, full ones are removed.
const MAX_NAMES: usize = 10_000;
/// The minimum interval between searches for full buckets, which examine all of them.
const LET_GO_EVERY: Duration = Duration::from_secs(1);
/// The longest wait before the next attempt to take from a bucket.
const LONGEST_WAIT: Duration = Duration::from_secs(1);
/// The rate of wrong tokens from one source, per second, and the number of seconds whose worth may
/// come at once.
pub(crate) const WRONG_TOKENS_PER_SECOND: f64 = 0.5;
pub(crate) const WRONG_TOKENS_BURST_S: f64 = 60.0;
/// The name of the bucket that all further names share.
const OTHERS: &str = "";

/// Returns the name under which an address is counted: for IPv6 its network of 64 bits, which
/// belongs to one customer (RFC 6177), otherwise the address itself.
pub(crate) fn network(source: &str) -> String {
    match source.parse::<IpAddr>().map(|address| address.to_canonical()) {
        Ok(IpAddr::V6(address)) => {
            format!("{}/64", Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))
        }
        Ok(address) => address.to_string(),
        Err(_) => source.to_owned(),
    }
}

#[derive(Debug)]
struct Bucket {
    left: f64,
    at: Instant,
}

/// Token buckets by name, each with a rate per second and a burst of `burst_s` seconds' worth.
#[derive(Debug)]
pub(crate) struct Rates {
    burst_s: f64,
    buckets: Mutex<Buckets>,
}

#[derive(Debug, Default)]
struct Buckets {
    by_name: HashMap<String, Bucket>,
    let_go_at: Option<Instant>,
}

impl Rates {
    pub(crate) fn new(burst_s: f64) -> Self {
        Self { burst_s, buckets: Mutex::default() }
    }

    /// Takes a token, and returns whether there was one.
    pub(crate) fn take(&self, name: &str, per_second: f64, now: Instant) -> bool {
        self.try_take(name, per_second, now).is_ok()
    }

    /// Takes a token, or returns the time until there may be one.
    pub(crate) fn try_take(
        &self,
        name: &str,
        per_second: f64,
        now: Instant,
    ) -> Result<(), Duration> {
        let most = (per_second * self.burst_s).max(1.0);
        let mut buckets = self.buckets.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = |buckets: &Buckets| {
            buckets.by_name.len() >= MAX_NAMES && !buckets.by_name.contains_key(name)
        };
        if is_full(&buckets)
            && buckets.let_go_at.is_none_or(|at| now.duration_since(at) >= LET_GO_EVERY)
        {
            buckets.by_name.retain(|_, bucket| {
                bucket.left + now.duration_since(bucket.at).as_secs_f64() * per_second < most
            });
            buckets.let_go_at = Some(now);
        }
        let name = if is_full(&buckets) { OTHERS } else { name };
        let bucket =
            buckets.by_name.entry(name.to_owned()).or_insert(Bucket { left: most, at: now });
        bucket.left =
            (bucket.left + now.duration_since(bucket.at).as_secs_f64() * per_second).min(most);
        bucket.at = now;
        if bucket.left >= 1.0 {
            bucket.left -= 1.0;
            return Ok(());
        }
        // A rate of 0 allows nothing, but it may be raised meanwhile, so it is looked up again.
        Err(Duration::try_from_secs_f64((1.0 - bucket.left) / per_second)
            .map_or(LONGEST_WAIT, |wait| wait.min(LONGEST_WAIT)))
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

    #[test]
    fn very_many_names_share_what_is_left_and_take_no_memory() {
        let (rates, start) = (Rates::new(1.0), Instant::now());
        let taken = |names: std::ops::Range<usize>, at| {
            names.filter(|name| rates.take(&name.to_string(), 3.0, at)).count()
        };
        assert_eq!(taken(0..MAX_NAMES, start), MAX_NAMES);
        assert_eq!(taken(MAX_NAMES..3 * MAX_NAMES, start), 3);
        assert_eq!(rates.buckets.lock().unwrap().by_name.len(), MAX_NAMES + 1);
        // Once theirs are full again, there is room for others.
        assert_eq!(taken(MAX_NAMES..2 * MAX_NAMES, start + Duration::from_secs(2)), MAX_NAMES);
    }

    #[test]
    fn addresses_of_one_network_are_one() {
        assert_eq!(network("2001:db8:1:2:3:4:5:6"), "2001:db8:1:2::/64");
        assert_eq!(network("2001:db8:1:2::9"), network("2001:db8:1:2:ffff::1"));
        assert_ne!(network("2001:db8:1:3::9"), network("2001:db8:1:2::9"));
        assert_eq!(
            (network("::ffff:192.0.2.1"), network("socket")),
            ("192.0.2.1".to_owned(), "socket".to_owned())
        );
    }
}
