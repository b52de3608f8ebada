//! Zygotes by key and parked sandboxes by spec: who is kept, who is renewed, who goes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::OnceCell;

use crate::sandbox::{Sandbox, SpecKey, ZygoteKey};
use crate::zygote::Zygote;

/// A zygote that is booting or booted; those who come meanwhile wait for the same one.
pub(crate) type ZygoteCell = Arc<OnceCell<Arc<Zygote>>>;

#[derive(Debug)]
struct Slot {
    cell: ZygoteCell,
    used: Instant,
}

/// All zygotes and parked sandboxes of an engine.
#[derive(Debug, Default)]
pub(crate) struct Pool {
    zygotes: Mutex<HashMap<ZygoteKey, Slot>>,
    parked: Mutex<HashMap<SpecKey, Parked>>,
    /// How many are on their way to be parked.
    coming: Mutex<HashMap<SpecKey, usize>>,
}

/// Kinds of sandboxes that are kept parked. Who varies the limits of each run must not fill the machine with sandboxes that nobody will ask for again.
const MOST_KINDS: usize = 64;

/// The parked sandboxes of one kind.
#[derive(Debug)]
struct Parked {
    sandboxes: VecDeque<Sandbox>,
    used: Instant,
}

impl Parked {
    fn held_bytes(&self) -> u64 {
        self.sandboxes.iter().map(|sandbox| sandbox.held_bytes).sum()
    }
}

/// A place kept for a sandbox that is on its way.
#[derive(Debug)]
pub(crate) struct Place<'a> {
    pool: &'a Pool,
    key: SpecKey,
}

impl Place<'_> {
    /// Parks the sandbox. Gives those that have to make room for it.
    #[must_use = "they are to be taken down"]
    pub(crate) fn park(self, sandbox: Sandbox, most_bytes: u64) -> Vec<Sandbox> {
        self.pool.park(self.key.clone(), sandbox, most_bytes)
    }
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        let mut coming = self.pool.coming.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(count) = coming.get_mut(&self.key) {
            *count -= 1;
            if *count == 0 {
                coming.remove(&self.key);
            }
        }
    }
}

/// When a zygote has to make room for a new one.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Renewal {
    pub(crate) forks: u64,
    pub(crate) age_s: u64,
}

impl Pool {
    /// The cell of a key: the one in use, unless its zygote is dead or due, in which case a new one takes its place. The old one goes with its last
    /// sandbox.
    pub(crate) fn zygote_cell(&self, key: &ZygoteKey, renewal: Renewal) -> ZygoteCell {
        let mut zygotes = self.zygotes.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = zygotes.entry(key.clone()).or_insert_with(|| Slot { cell: ZygoteCell::default(), used: Instant::now() });
        let is_due = slot
            .cell
            .get()
            .is_some_and(|zygote| !zygote.is_alive() || zygote.forks() >= renewal.forks || zygote.age().as_secs() >= renewal.age_s);
        if is_due {
            slot.cell = ZygoteCell::default();
        }
        slot.used = Instant::now();
        Arc::clone(&slot.cell)
    }

    /// Lets go of what is of no use any more and still holds its environment: zygotes that have died or that nobody boots any longer, and parked sandboxes
    /// that have ended.
    pub(crate) fn forget_dead(&self) {
        let is_of_use = |slot: &Slot| match slot.cell.get() {
            Some(zygote) => zygote.is_alive(),
            None => Arc::strong_count(&slot.cell) > 1,
        };
        self.zygotes.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, slot| is_of_use(slot));
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        for kind in parked.values_mut() {
            kind.sandboxes.retain_mut(Sandbox::is_alive);
        }
        forget_empty(&mut parked);
    }

    /// Lets the least recently used zygotes go until the rest holds at most `most_bytes`, the one just used excepted. Gives their parked sandboxes to be
    /// taken down.
    pub(crate) fn evict(&self, most_bytes: u64, keep: &ZygoteKey) -> Vec<Sandbox> {
        let mut zygotes = self.zygotes.lock().unwrap_or_else(PoisonError::into_inner);
        let mut booted: Vec<(ZygoteKey, Instant, u64)> =
            zygotes.iter().filter_map(|(key, slot)| Some((key.clone(), slot.used, proportional_bytes(slot.cell.get()?.pid())?))).collect();
        let mut total: u64 = booted.iter().map(|(_, _, bytes)| bytes).sum();
        booted.sort_by_key(|(_, used, _)| *used);
        let mut gone = Vec::new();
        for (key, _, bytes) in booted {
            if total <= most_bytes {
                break;
            }
            if key != *keep {
                total -= bytes;
                gone.push(key);
            }
        }
        for key in &gone {
            zygotes.remove(key);
        }
        drop(zygotes);
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        parked.extract_if(|key, _| gone.iter().any(|zygote| key.is_of(zygote))).flat_map(|(_, parked)| parked.sandboxes).collect()
    }

    /// Takes a parked sandbox that is still alive.
    pub(crate) fn take(&self, key: &SpecKey) -> Option<Sandbox> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let kind = parked.get_mut(key)?;
        kind.used = Instant::now();
        let taken = std::iter::from_fn(|| kind.sandboxes.pop_front()).find_map(|mut sandbox| sandbox.is_alive().then_some(sandbox));
        if kind.sandboxes.is_empty() {
            parked.remove(key);
        }
        taken
    }

    /// A place for one more, unless there are `most` with those on their way.
    pub(crate) fn reserve(&self, key: SpecKey, most: usize) -> Option<Place<'_>> {
        let mut coming = self.coming.lock().unwrap_or_else(PoisonError::into_inner);
        let count = coming.get(&key).copied().unwrap_or(0);
        if self.parked(&key) + count >= most {
            return None;
        }
        coming.insert(key.clone(), count + 1);
        drop(coming);
        Some(Place { pool: self, key })
    }

    /// How many are parked for a spec.
    pub(crate) fn parked(&self, key: &SpecKey) -> usize {
        self.parked.lock().unwrap_or_else(PoisonError::into_inner).get(key).map_or(0, |parked| parked.sandboxes.len())
    }

    /// Parks one. Gives those of the kind that was not asked for the longest, where there are too many kinds; and of the kinds that were not, as many as
    /// it takes for the rest to hold at most `most_bytes` of what they have imported ahead.
    #[must_use = "they are to be taken down"]
    pub(crate) fn park(&self, key: SpecKey, sandbox: Sandbox, most_bytes: u64) -> Vec<Sandbox> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        if parked.len() >= MOST_KINDS && !parked.contains_key(&key) {
            let oldest = parked.iter().min_by_key(|(_, parked)| parked.used).map(|(key, _)| key.clone());
            gone = oldest.and_then(|oldest| parked.remove(&oldest)).map_or_else(Vec::new, |parked| parked.sandboxes.into());
        }
        parked.entry(key).or_insert_with(|| Parked { sandboxes: VecDeque::new(), used: Instant::now() }).sandboxes.push_back(sandbox);
        let mut held: u64 = parked.values().map(Parked::held_bytes).sum();
        while held > most_bytes {
            // Of a kind that was asked for lately the last one goes last.
            let Some(kind) = parked.values_mut().filter(|kind| kind.held_bytes() > 0).min_by_key(|kind| kind.used) else { break };
            let Some(sandbox) = kind.sandboxes.pop_back() else { break };
            held -= sandbox.held_bytes;
            gone.push(sandbox);
        }
        forget_empty(&mut parked);
        gone
    }

    /// Lets everything go; gives the parked sandboxes to be taken down.
    pub(crate) fn clear(&self) -> Vec<Sandbox> {
        let parked = std::mem::take(&mut *self.parked.lock().unwrap_or_else(PoisonError::into_inner));
        self.zygotes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        parked.into_values().flat_map(|parked| parked.sandboxes).collect()
    }
}

/// A kind holds its environment even where nothing of it is parked.
fn forget_empty(parked: &mut HashMap<SpecKey, Parked>) {
    parked.retain(|_, kind| !kind.sandboxes.is_empty());
}

/// Memory that a process holds, shared pages by their share, bytes.
pub(crate) fn proportional_bytes(pid: i32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}
