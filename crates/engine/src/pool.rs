//! Zygotes by key and parked sandboxes by spec: who is kept, who is renewed, who goes.

use std::collections::{HashMap, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::OnceCell;

use crate::sandbox::{SpecKey, ZygoteKey};
use crate::still::Waiting;
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
    /// How often sandboxes were of no use because of what packages did in them as they were imported.
    strikes: Mutex<HashMap<ZygoteKey, u32>>,
}

/// Number of strikes after which modules are left to the program to import.
const MOST_STRIKES: u32 = 3;
/// Environments whose strikes are remembered.
const MOST_STRUCK: usize = 1024;

/// Kinds of sandboxes that are kept parked. Who varies the limits of each run must not fill the machine with sandboxes that nobody will ask for again.
const MOST_KINDS: usize = 64;

/// The parked sandboxes of one kind.
#[derive(Debug)]
struct Parked {
    sandboxes: VecDeque<Waiting>,
    used: Instant,
}

impl Parked {
    fn held_bytes(&self) -> u64 {
        self.sandboxes.iter().map(Waiting::held_bytes).sum()
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
    pub(crate) fn park(self, sandbox: Waiting, most_bytes: u64) -> Vec<Waiting> {
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
            kind.sandboxes.retain_mut(Waiting::is_alive);
        }
        forget_empty(&mut parked);
    }

    /// Lets the least recently used zygotes go until the rest holds at most `most_bytes`, the one just used excepted. Gives their parked sandboxes to be
    /// taken down.
    pub(crate) fn evict(&self, most_bytes: u64, keep: &ZygoteKey) -> Vec<Waiting> {
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
    pub(crate) fn take(&self, key: &SpecKey) -> Option<Waiting> {
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

    /// Parks one. Gives those that have to make room: of a tenant that has the most kinds, where there are too many, all of the kind that was not asked for
    /// the longest; and of a tenant that holds the most memory, as many of the kinds that were not, as it takes for all to hold at most `most_bytes` of
    /// what they have imported in advance. So none loses what it has within an equal share because of another.
    #[must_use = "they are to be taken down"]
    pub(crate) fn park(&self, key: SpecKey, sandbox: Waiting, most_bytes: u64) -> Vec<Waiting> {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let mut gone = Vec::new();
        if parked.len() >= MOST_KINDS && !parked.contains_key(&key) {
            let oldest = least_used(&parked, |_| 1);
            gone = oldest.and_then(|oldest| parked.remove(&oldest)).map_or_else(Vec::new, |parked| parked.sandboxes.into());
        }
        parked.entry(key).or_insert_with(|| Parked { sandboxes: VecDeque::new(), used: Instant::now() }).sandboxes.push_back(sandbox);
        let mut held: u64 = parked.values().map(Parked::held_bytes).sum();
        while held > most_bytes {
            // Of a kind that was asked for lately the last one goes last.
            let Some(kind) = least_used(&parked, Parked::held_bytes).and_then(|key| parked.get_mut(&key)) else { break };
            let Some(sandbox) = kind.sandboxes.pop_back() else { break };
            held -= sandbox.held_bytes();
            gone.push(sandbox);
        }
        forget_empty(&mut parked);
        gone
    }

    /// Removes those that have run although they were stopped; and says whether there are any left that could.
    pub(crate) fn take_stirred(&self) -> (Vec<Waiting>, Vec<ZygoteKey>, Watch) {
        let mut parked = self.parked.lock().unwrap_or_else(PoisonError::into_inner);
        let (mut gone, mut struck) = (Vec::new(), Vec::new());
        for (key, kind) in parked.iter_mut() {
            let (stirred, still) = std::mem::take(&mut kind.sandboxes).into_iter().partition(Waiting::has_stirred);
            kind.sandboxes = still;
            let stirred: VecDeque<Waiting> = stirred;
            struck.extend(stirred.iter().map(|_| key.zygote_key().clone()));
            gone.extend(stirred);
        }
        forget_empty(&mut parked);
        let watch = if parked.values().any(|kind| kind.sandboxes.iter().any(Waiting::can_stir)) { Watch::Goes } else { Watch::Ends };
        (gone, struck, watch)
    }

    /// Notes that a sandbox was of no use because of what packages did in it.
    pub(crate) fn strike(&self, key: ZygoteKey) {
        let mut strikes = self.strikes.lock().unwrap_or_else(PoisonError::into_inner);
        if strikes.len() >= MOST_STRUCK && !strikes.contains_key(&key) {
            strikes.clear();
        }
        *strikes.entry(key).or_default() += 1;
    }

    /// Forgets the strikes of an environment: a sandbox of it has waited and is of use.
    pub(crate) fn forgive(&self, key: &ZygoteKey) {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Whether modules are no longer to be imported in advance.
    pub(crate) fn is_out(&self, key: &ZygoteKey) -> bool {
        self.strikes.lock().unwrap_or_else(PoisonError::into_inner).get(key).is_some_and(|strikes| *strikes >= MOST_STRIKES)
    }

    /// Lets everything go; gives the parked sandboxes to be taken down.
    pub(crate) fn clear(&self) -> Vec<Waiting> {
        let parked = std::mem::take(&mut *self.parked.lock().unwrap_or_else(PoisonError::into_inner));
        self.zygotes.lock().unwrap_or_else(PoisonError::into_inner).clear();
        parked.into_values().flat_map(|parked| parked.sandboxes).collect()
    }
}

/// Whether waiting sandboxes have to be looked at further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Watch {
    Goes,
    Ends,
}

/// Of the tenant whose kinds weigh the most together, the kind that was not asked for the longest; one that weighs nothing is none of them.
fn least_used(parked: &HashMap<SpecKey, Parked>, weight: impl Fn(&Parked) -> u64) -> Option<SpecKey> {
    let mut by_tenant: HashMap<Option<&str>, u64> = HashMap::new();
    for (key, kind) in parked {
        *by_tenant.entry(key.tenant()).or_default() += weight(kind);
    }
    let (heaviest, _) = by_tenant.into_iter().max_by_key(|(_, weight)| *weight)?;
    let kinds = parked.iter().filter(|(key, kind)| key.tenant() == heaviest && weight(kind) > 0);
    kinds.min_by_key(|(_, kind)| kind.used).map(|(key, _)| key.clone())
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
