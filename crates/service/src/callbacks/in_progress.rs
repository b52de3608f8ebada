//! The callbacks that are being attempted, limited in number to one host and in total.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use belljar_protocol::RunId;
use reqwest::Url;
use tokio::sync::Semaphore;

/// The maximum number of concurrent attempts, to one host and in total.
const MAX_TO_HOST: usize = 8;
const MAX_AT_ONCE: usize = 256;
/// The maximum number of due callbacks that are picked up, to one host and in total. The others are
/// postponed, so that those behind them get their turn.
const MAX_TAKEN_TO_HOST: usize = 128;
const MAX_TAKEN: usize = 1024;
/// The number of due callbacks to look up, so that there are others than those to one host.
pub(super) const MAX_LOOKED_UP: usize = MAX_TAKEN + MAX_TAKEN_TO_HOST;

/// Callbacks that were picked up: their attempt is running or about to start.
#[derive(Debug)]
pub(super) struct InProgress {
    runs: HashSet<RunId>,
    hosts: HashMap<String, OfHost>,
    pub(super) at_once: Arc<Semaphore>,
}

#[derive(Debug)]
struct OfHost {
    taken: usize,
    at_once: Arc<Semaphore>,
}

/// The decision whether a callback is attempted now.
pub(super) enum Take {
    /// The callback is attempted as soon as the semaphore allows it.
    Taken(Arc<Semaphore>),
    /// The callback was picked up before.
    IsTaken,
    /// Too many callbacks are picked up, in total or to the host.
    TooMany,
}

impl Default for InProgress {
    fn default() -> Self {
        Self {
            runs: HashSet::new(),
            hosts: HashMap::new(),
            at_once: Arc::new(Semaphore::new(MAX_AT_ONCE)),
        }
    }
}

impl InProgress {
    pub(super) fn take(&mut self, run: &RunId, host: &str) -> Take {
        if self.runs.contains(run) {
            return Take::IsTaken;
        }
        let of_host = self.hosts.get(host).map_or(0, |of_host| of_host.taken);
        if self.runs.len() >= MAX_TAKEN || of_host >= MAX_TAKEN_TO_HOST {
            return Take::TooMany;
        }
        self.runs.insert(run.clone());
        let of_host = self
            .hosts
            .entry(host.to_owned())
            .or_insert_with(|| OfHost { taken: 0, at_once: Arc::new(Semaphore::new(MAX_TO_HOST)) });
        of_host.taken += 1;
        Take::Taken(Arc::clone(&of_host.at_once))
    }

    pub(super) fn give_back(&mut self, run: &RunId, host: &str) {
        self.runs.remove(run);
        if let Some(of_host) = self.hosts.get_mut(host) {
            of_host.taken -= 1;
            if of_host.taken == 0 {
                self.hosts.remove(host);
            }
        }
    }
}

/// Returns the host of a URL. If the URL is invalid, the attempt will fail.
pub(super) fn host(url: &str) -> String {
    Url::parse(url).ok().and_then(|url| url.host_str().map(str::to_owned)).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_does_not_take_the_place_of_all() {
        let (mut taken, runs): (_, Vec<_>) =
            (InProgress::default(), (0..=MAX_TAKEN_TO_HOST).map(|_| RunId::new()).collect());
        let slow = host("https://slow.example/a?b");
        assert_eq!(
            runs.iter().filter(|run| matches!(taken.take(run, &slow), Take::Taken(_))).count(),
            MAX_TAKEN_TO_HOST
        );
        assert!(matches!(taken.take(&runs[0], &slow), Take::IsTaken));
        let last = runs.last().unwrap();
        assert!(matches!(taken.take(last, &slow), Take::TooMany));
        assert!(matches!(taken.take(last, &host("https://quick.example:8443/")), Take::Taken(_)));
        taken.give_back(&runs[0], &slow);
        assert!(matches!(taken.take(&runs[0], &slow), Take::Taken(_)));
    }
}
