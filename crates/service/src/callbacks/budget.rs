//! Limits on the bytes that callbacks send. A caller who may start runs chooses the receiver of
//! their callbacks: without a limit, a server could be used to attack anyone.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// The period after which bytes are no longer counted.
const WINDOW: Duration = Duration::from_hours(1);
/// The maximum number of bytes within a window to a host that has never answered 2xx, and may not
/// want any.
const MAX_UNPROVEN_BYTES: u64 = 4 << 20;
/// The maximum number of bytes within a window to any other host, and of one project to all hosts.
const MAX_BYTES: u64 = 256 << 20;
/// The maximum number of hosts and projects with an account. If there are more, accounts whose
/// window has ended are removed first, then all.
const MAX_ACCOUNTS: usize = 10_000;

/// The bytes that were sent lately, by host and by project.
#[derive(Debug, Default)]
pub(crate) struct Budget {
    hosts: HashMap<String, Account>,
    projects: HashMap<String, Account>,
}

#[derive(Debug)]
struct Account {
    since: Instant,
    bytes: u64,
    is_proven: bool,
}

impl Account {
    fn new(now: Instant) -> Self {
        Self { since: now, bytes: 0, is_proven: false }
    }

    fn renew(&mut self, now: Instant) {
        if now.duration_since(self.since) >= WINDOW {
            (self.since, self.bytes) = (now, 0);
        }
    }
}

/// The error that the budget is used up, with the time until it is renewed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Spent(pub(crate) Duration);

impl Budget {
    /// Charges a project and a host with bytes.
    pub(crate) fn charge(
        &mut self,
        project: &str,
        host: &str,
        bytes: u64,
        now: Instant,
    ) -> Result<(), Spent> {
        let host = account(&mut self.hosts, host, now);
        let max = if host.is_proven { MAX_BYTES } else { MAX_UNPROVEN_BYTES };
        let project = account(&mut self.projects, project, now);
        for (account, max) in [(&host, max), (&project, MAX_BYTES)] {
            if account.bytes.saturating_add(bytes) > max {
                return Err(Spent(WINDOW.saturating_sub(now.duration_since(account.since))));
            }
        }
        host.bytes += bytes;
        project.bytes += bytes;
        Ok(())
    }

    /// Notes that a host has answered 2xx, so it accepts callbacks.
    pub(crate) fn prove(&mut self, host: &str, now: Instant) {
        account(&mut self.hosts, host, now).is_proven = true;
    }

    /// Returns whether a host has answered 2xx since the server started.
    pub(crate) fn is_proven(&self, host: &str) -> bool {
        self.hosts.get(host).is_some_and(|account| account.is_proven)
    }
}

fn account<'a>(
    accounts: &'a mut HashMap<String, Account>,
    name: &str,
    now: Instant,
) -> &'a mut Account {
    if accounts.len() >= MAX_ACCOUNTS && !accounts.contains_key(name) {
        accounts
            .retain(|_, account| account.is_proven || now.duration_since(account.since) < WINDOW);
        if accounts.len() >= MAX_ACCOUNTS {
            accounts.clear();
        }
    }
    let account = accounts.entry(name.to_owned()).or_insert_with(|| Account::new(now));
    account.renew(now);
    account
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_that_never_takes_a_callback_is_sent_little() {
        let (mut budget, start) = (Budget::default(), Instant::now());
        let body = 256 << 10;
        let sent =
            (0..1000).filter(|_| budget.charge("a", "victim", body, start).is_ok()).count() as u64;
        assert_eq!(sent * body, MAX_UNPROVEN_BYTES);
        assert_eq!(
            budget.charge("b", "victim", body, start),
            Err(Spent(WINDOW)),
            "nor by another project"
        );
        assert_eq!(budget.charge("a", "other", body, start), Ok(()));
        assert_eq!(budget.charge("a", "victim", body, start + WINDOW), Ok(()), "an hour later");
        budget.prove("victim", start + WINDOW);
        let sent = (0..10_000)
            .filter(|_| budget.charge("b", "victim", body, start + WINDOW).is_ok())
            .count() as u64;
        assert_eq!(sent * body, MAX_BYTES - body);
    }

    #[test]
    fn many_hosts_are_no_way_around_what_a_project_may_send() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        let sent = (0..10_000)
            .filter(|host| budget.charge("a", &format!("{host}.victim"), 256 << 10, now).is_ok())
            .count();
        assert_eq!(sent as u64 * (256 << 10), MAX_BYTES);
        assert_eq!(budget.charge("b", "another", 1, now), Ok(()));
    }

    #[test]
    fn accounts_without_end_take_no_memory_without_end() {
        let (mut budget, now) = (Budget::default(), Instant::now());
        for host in 0..3 * MAX_ACCOUNTS {
            let _ = budget.charge("a", &host.to_string(), 1, now);
        }
        assert!(budget.hosts.len() <= MAX_ACCOUNTS);
    }
}
