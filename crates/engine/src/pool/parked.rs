//! The parked sandboxes by spec: which are taken, and which make room for others.

use std::collections::{HashMap, VecDeque};
use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::parked_sandbox::ParkedSandbox;
use crate::spec::{SandboxKey, ZygoteKey};

/// The maximum number of specs with parked sandboxes, so that a client that varies its limits
/// cannot fill memory with sandboxes that are never reused.
const MAX_KINDS: usize = 64;

/// All parked sandboxes of an engine.
#[derive(Debug, Default)]
pub(super) struct ParkedSandboxes {
    kinds: Mutex<HashMap<SandboxKey, Kind>>,
    /// The number of sandboxes that are starting in order to be parked.
    coming: Mutex<HashMap<SandboxKey, usize>>,
}

/// The parked sandboxes of one spec.
#[derive(Debug)]
struct Kind {
    sandboxes: VecDeque<ParkedSandbox>,
    used: Instant,
}

impl Kind {
    fn held_bytes(&self) -> u64 {
        self.sandboxes.iter().map(ParkedSandbox::held_bytes).sum()
    }
}

/// A reservation for a sandbox that is starting.
#[derive(Debug)]
pub(super) struct Reservation<'a> {
    parked: &'a ParkedSandboxes,
    key: SandboxKey,
}

impl Reservation<'_> {
    /// Parks the sandbox. Returns the sandboxes that have to make room for it.
    #[must_use = "they must be ended"]
    pub(super) fn park(self, sandbox: ParkedSandbox, max_bytes: u64) -> Vec<ParkedSandbox> {
        self.parked.park(self.key.clone(), sandbox, max_bytes)
    }
}

impl Drop for Reservation<'_> {
    fn drop(&mut self) {
        let mut coming = self.parked.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = coming.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                coming.remove(&self.key);
            }
        }
    }
}

impl ParkedSandboxes {
    /// Takes a parked sandbox that is still alive.
    pub(super) fn take(&self, key: &SandboxKey) -> Option<ParkedSandbox> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = kinds.get_mut(key)?;
        kind.used = Instant::now();
        let taken = std::iter::from_fn(|| kind.sandboxes.pop_front())
            .find_map(|mut sandbox| sandbox.is_alive().then_some(sandbox));
        if kind.sandboxes.is_empty() {
            kinds.remove(key);
        }
        taken
    }

    /// Reserves a place for another sandbox, unless there are `max`, including those that are
    /// starting.
    pub(super) fn reserve(&self, key: SandboxKey, max: usize) -> Option<Reservation<'_>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let count = coming.get(&key).copied().unwrap_or(0);
        if self.count(&key) + count >= max {
            return None;
        }
        coming.insert(key.clone(), count + 1);
        drop(coming);
        Some(Reservation { parked: self, key })
    }

    /// Returns the number of parked sandboxes of a spec.
    pub(super) fn count(&self, key: &SandboxKey) -> usize {
        self.kinds
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .map_or(0, |kind| kind.sandboxes.len())
    }

    /// Parks a sandbox. Returns the sandboxes that have to make room. If there are too many specs,
    /// these are all sandboxes of the least recently used spec of the tenant with the most specs.
    /// If the preloaded modules hold more than `max_bytes`, these are as many sandboxes as
    /// necessary of the least recently used specs of the tenant that holds the most memory. So no
    /// tenant loses a sandbox within its equal share because of another tenant.
    #[must_use = "they must be ended"]
    pub(super) fn park(
        &self,
        key: SandboxKey,
        sandbox: ParkedSandbox,
        max_bytes: u64,
    ) -> Vec<ParkedSandbox> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        if kinds.len() >= MAX_KINDS && !kinds.contains_key(&key) {
            let oldest = least_used(&kinds, |_| 1);
            gone = oldest
                .and_then(|oldest| kinds.remove(&oldest))
                .map_or_else(Vec::new, |kind| kind.sandboxes.into());
        }
        kinds
            .entry(key)
            .or_insert_with(|| Kind { sandboxes: VecDeque::new(), used: Instant::now() })
            .sandboxes
            .push_back(sandbox);
        let mut held: u64 = kinds.values().map(Kind::held_bytes).sum();
        while held > max_bytes {
            // The last sandbox of a recently used spec is removed last.
            let Some(kind) =
                least_used(&kinds, Kind::held_bytes).and_then(|key| kinds.get_mut(&key))
            else {
                break;
            };
            let Some(sandbox) = kind.sandboxes.pop_back() else { break };
            held -= sandbox.held_bytes();
            gone.push(sandbox);
        }
        forget_empty(&mut kinds);
        gone
    }

    /// Removes sandboxes that have run although they were stopped, and tells whether any are left
    /// that could.
    pub(super) fn take_stirred(&self) -> (Vec<ParkedSandbox>, Vec<ZygoteKey>, Watch) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut gone, mut struck) = (Vec::new(), Vec::new());
        for (key, kind) in kinds.iter_mut() {
            let (stirred, still) = std::mem::take(&mut kind.sandboxes)
                .into_iter()
                .partition(ParkedSandbox::has_stirred);
            kind.sandboxes = still;
            let stirred: VecDeque<ParkedSandbox> = stirred;
            struck.extend(stirred.iter().map(|_| key.zygote_key().clone()));
            gone.extend(stirred);
        }
        forget_empty(&mut kinds);
        let watch = if kinds.values().any(|kind| kind.sandboxes.iter().any(ParkedSandbox::can_stir))
        {
            Watch::Goes
        } else {
            Watch::Ends
        };
        (gone, struck, watch)
    }

    /// Drops sandboxes that have ended, which would hold their environments.
    pub(super) fn forget_dead(&self) {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in kinds.values_mut() {
            kind.sandboxes.retain_mut(ParkedSandbox::is_alive);
        }
        forget_empty(&mut kinds);
    }

    /// Removes and returns the forks of zygotes.
    pub(super) fn take_forks_of(&self, zygotes: &[ZygoteKey]) -> Vec<ParkedSandbox> {
        let mut kinds = self.kinds.lock().unwrap_or_else(PoisonError::into_inner);
        kinds
            .extract_if(|key, _| zygotes.iter().any(|zygote| key.is_of(zygote)))
            .flat_map(|(_, kind)| kind.sandboxes)
            .collect()
    }

    /// Removes and returns all parked sandboxes.
    pub(super) fn take_all(&self) -> Vec<ParkedSandbox> {
        let kinds = std::mem::take(&mut *self.kinds.lock().unwrap_or_else(PoisonError::into_inner));
        kinds.into_values().flat_map(|kind| kind.sandboxes).collect()
    }
}

/// Tells whether parked sandboxes have to be watched further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Watch {
    Goes,
    Ends,
}

/// Returns the least recently used spec of the tenant whose specs have the highest total weight.
/// Specs without weight do not count.
fn least_used(
    kinds: &HashMap<SandboxKey, Kind>,
    weight: impl Fn(&Kind) -> u64,
) -> Option<SandboxKey> {
    let mut by_tenant: HashMap<Option<&str>, u64> = HashMap::new();
    for (key, kind) in kinds {
        *by_tenant.entry(key.tenant()).or_default() += weight(kind);
    }
    let (heaviest, _) = by_tenant.into_iter().max_by_key(|(_, weight)| *weight)?;
    let kinds = kinds.iter().filter(|(key, kind)| key.tenant() == heaviest && weight(kind) > 0);
    kinds.min_by_key(|(_, kind)| kind.used).map(|(key, _)| key.clone())
}

/// Removes specs without parked sandboxes, which would hold their environments.
fn forget_empty(kinds: &mut HashMap<SandboxKey, Kind>) {
    kinds.retain(|_, kind| !kind.sandboxes.is_empty());
}
