//! The zygotes of an engine by key: each boots once, and is renewed or evicted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use tokio::sync::OnceCell;

use crate::error::EngineError;
use crate::process::{Launcher, proportional_bytes};
use crate::spec::{SandboxSpec, ZygoteKey};
use crate::zygote::Zygote;

/// A zygote that is booting or has booted. Concurrent callers wait for the same one.
type ZygoteCell = Arc<OnceCell<Arc<Zygote>>>;

#[derive(Debug)]
struct Slot {
    cell: ZygoteCell,
    used: Instant,
}

/// The conditions on which a zygote is replaced.
#[derive(Clone, Copy, Debug)]
pub(super) struct Renewal {
    pub(super) forks: u64,
    pub(super) age_s: u64,
}

/// All zygotes of an engine.
#[derive(Debug)]
pub(super) struct Zygotes {
    launcher: Arc<Launcher>,
    renewal: Renewal,
    slots: Mutex<HashMap<ZygoteKey, Slot>>,
}

/// A zygote of the cache, and whether this request has booted it.
pub(super) struct Found {
    pub(super) zygote: Arc<Zygote>,
    pub(super) is_new: bool,
}

impl Zygotes {
    pub(super) fn new(launcher: Arc<Launcher>, renewal: Renewal) -> Self {
        Self { launcher, renewal, slots: Mutex::default() }
    }

    /// Returns the zygote of a spec, which boots if there is none.
    pub(super) async fn get(&self, spec: &SandboxSpec) -> Result<Found, EngineError> {
        self.forget_dead();
        let cell = self.cell(&spec.zygote_key());
        let is_new = cell.get().is_none();
        let boot = || async {
            let (launcher, spec) = (Arc::clone(&self.launcher), spec.clone());
            let teardown = launcher.teardown();
            // In a task of its own, which continues if the caller gives up, and then drops the
            // zygote.
            let booted =
                tokio::spawn(async move { (Zygote::boot(&launcher, spec).await, teardown) });
            booted
                .await
                .map_err(|_| EngineError::Internal("the task that boots the zygote panicked"))?
                .0
        };
        let booted = cell.get_or_try_init(boot).await.cloned();
        drop(cell);
        match booted {
            Ok(zygote) => Ok(Found { zygote, is_new }),
            Err(error) => {
                self.forget_dead();
                Err(error)
            }
        }
    }

    /// Returns the cell of a key. If its zygote is dead or has to be renewed, a new cell replaces
    /// it. The old zygote ends with its last sandbox.
    fn cell(&self, key: &ZygoteKey) -> ZygoteCell {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let slot = slots
            .entry(key.clone())
            .or_insert_with(|| Slot { cell: ZygoteCell::default(), used: Instant::now() });
        let is_due = slot.cell.get().is_some_and(|zygote| {
            !zygote.is_alive()
                || zygote.forks() >= self.renewal.forks
                || zygote.age().as_secs() >= self.renewal.age_s
        });
        if is_due {
            slot.cell = ZygoteCell::default();
        }
        slot.used = Instant::now();
        Arc::clone(&slot.cell)
    }

    /// Drops zygotes that have died or whose boot was given up, which would hold their
    /// environments.
    pub(super) fn forget_dead(&self) {
        let is_of_use = |slot: &Slot| match slot.cell.get() {
            Some(zygote) => zygote.is_alive(),
            None => Arc::strong_count(&slot.cell) > 1,
        };
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).retain(|_, slot| is_of_use(slot));
    }

    /// Removes the least recently used zygotes, except the one just used, until the others hold at
    /// most `max_bytes`. Returns their keys.
    #[must_use = "their parked sandboxes must be ended"]
    pub(super) fn evict(&self, max_bytes: u64, keep: &ZygoteKey) -> Vec<ZygoteKey> {
        let mut slots = self.slots.lock().unwrap_or_else(PoisonError::into_inner);
        let mut booted: Vec<(ZygoteKey, Instant, u64)> = slots
            .iter()
            .filter_map(|(key, slot)| {
                Some((key.clone(), slot.used, proportional_bytes(slot.cell.get()?.pid())?))
            })
            .collect();
        let mut total: u64 = booted.iter().map(|(_, _, bytes)| bytes).sum();
        booted.sort_by_key(|(_, used, _)| *used);
        let mut gone = Vec::new();
        for (key, _, bytes) in booted {
            if total <= max_bytes {
                break;
            }
            if key != *keep {
                total -= bytes;
                gone.push(key);
            }
        }
        for key in &gone {
            slots.remove(key);
        }
        gone
    }

    /// Drops all zygotes. Each ends with its last sandbox.
    pub(super) fn clear(&self) {
        self.slots.lock().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
