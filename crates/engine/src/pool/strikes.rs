//! Environments whose preloaded packages keep sandboxes from waiting. After some such sandboxes,
//! the environment's modules are no longer preloaded.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use crate::spec::ZygoteKey;

/// The number of strikes after which modules are no longer preloaded.
const MAX_STRIKES: u32 = 3;
/// The maximum number of environments whose strikes are remembered.
const MAX_STRUCK: usize = 1024;

/// The number of sandboxes, by environment, that were unusable because of the effects of preloaded
/// packages.
#[derive(Debug, Default)]
pub(super) struct Strikes(Mutex<HashMap<ZygoteKey, u32>>);

impl Strikes {
    /// Records that a sandbox was unusable because of the effects of preloaded packages.
    pub(super) fn strike(&self, key: ZygoteKey) {
        let mut strikes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if strikes.len() >= MAX_STRUCK && !strikes.contains_key(&key) {
            strikes.clear();
        }
        *strikes.entry(key).or_default() += 1;
    }

    /// Forgets the strikes of an environment, because one of its sandboxes has waited and is
    /// usable.
    pub(super) fn forgive(&self, key: &ZygoteKey) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).remove(key);
    }

    /// Returns whether modules are no longer preloaded.
    pub(super) fn is_out(&self, key: &ZygoteKey) -> bool {
        self.0
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .get(key)
            .is_some_and(|strikes| *strikes >= MAX_STRIKES)
    }
}
