//! The user ids of a zygote's sandboxes: each sandbox has one of its own until it is gone.

use std::sync::{Arc, Mutex, PoisonError};

use belljar_jail::{FIRST_UID, IdMap};

/// The user ids that a zygote can lease.
#[derive(Clone, Debug)]
pub(super) struct Uids {
    map: IdMap,
    free: Arc<Mutex<Vec<u32>>>,
}

/// A lease of a user id. Dropping it makes the id available again.
#[derive(Debug)]
pub(crate) struct UidLease {
    uid: u32,
    /// None if all sandboxes share the id.
    pool: Option<Uids>,
}

impl Uids {
    pub(super) fn new(map: IdMap) -> Self {
        let free = (0..map.leasable()).rev().map(|number| FIRST_UID + number).collect();
        Self { map, free: Arc::new(Mutex::new(free)) }
    }

    /// Leases an id to one sandbox, or returns none if all are in use. If belljar runs as an
    /// ordinary user, all sandboxes share one.
    pub(super) fn lease(&self) -> Option<UidLease> {
        if self.map.leasable() == 1 {
            return Some(UidLease { uid: FIRST_UID, pool: None });
        }
        let uid = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop()?;
        Some(UidLease { uid, pool: Some(self.clone()) })
    }
}

impl UidLease {
    /// Returns the user id within the sandbox's user namespace.
    pub(crate) fn uid(&self) -> u32 {
        self.uid
    }
}

impl Drop for UidLease {
    fn drop(&mut self) {
        if let Some(pool) = &self.pool {
            pool.free.lock().unwrap_or_else(PoisonError::into_inner).push(self.uid);
        }
    }
}
