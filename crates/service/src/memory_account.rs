//! Memory of submissions until their runs end, and of answers until they are read. Each has an
//! account, which is shared fairly between projects.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Returns whether a project may use `own` of a resource, of which `taken` of `max` are used in
/// total, including its own. It may as long as it uses no more than is left: a single project gets
/// half, two projects get a third each, and a project that uses nothing always finds some left.
pub(crate) fn is_fair(own: u64, taken: u64, max: u64) -> bool {
    own <= max.saturating_sub(taken)
}

/// An account of memory. A clone shares the same account.
#[derive(Clone, Debug)]
pub(crate) struct MemoryAccount {
    max_bytes: u64,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    of_projects: HashMap<String, u64>,
}

/// Memory of an account, released when it is dropped.
#[derive(Debug)]
pub struct HeldMemory {
    held: Arc<Mutex<Held>>,
    project_id: String,
    bytes: u64,
}

fn locked(held: &Mutex<Held>) -> MutexGuard<'_, Held> {
    held.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MemoryAccount {
    pub(crate) fn new(max_bytes: u64) -> Self {
        Self { max_bytes, held: Arc::default() }
    }

    /// Returns the bytes that a project uses.
    pub(crate) fn of(&self, project_id: &str) -> u64 {
        locked(&self.held).of_projects.get(project_id).copied().unwrap_or(0)
    }

    /// Reserves bytes if there is room and they are within the project's share. The only
    /// reservation always fits, however large it is, and so does the first one of a project while
    /// there is any room.
    pub(crate) fn hold(&self, project_id: &str, bytes: u64) -> Option<HeldMemory> {
        let mut held = locked(&self.held);
        let before = held.of_projects.get(project_id).copied().unwrap_or(0);
        let (own, taken) = (before.saturating_add(bytes), held.bytes.saturating_add(bytes));
        let is_first = before == 0 && taken <= self.max_bytes;
        if bytes > 0 && held.bytes > 0 && !is_first && !is_fair(own, taken, self.max_bytes) {
            return None;
        }
        held.bytes = taken;
        held.of_projects.insert(project_id.to_owned(), own);
        Some(HeldMemory { held: Arc::clone(&self.held), project_id: project_id.to_owned(), bytes })
    }
}

impl Drop for HeldMemory {
    fn drop(&mut self) {
        let mut held = locked(&self.held);
        held.bytes -= self.bytes;
        let left = held.of_projects.get(&self.project_id).map_or(0, |own| own - self.bytes);
        if left == 0 {
            held.of_projects.remove(&self.project_id);
        } else {
            held.of_projects.insert(self.project_id.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_project_has_more_than_is_left() {
        let account = MemoryAccount::new(100);
        let of_a: Vec<_> = (0..10).map_while(|_| account.hold("a", 10)).collect();
        assert_eq!(of_a.len(), 5);
        let of_b: Vec<_> = (0..10).map_while(|_| account.hold("b", 10)).collect();
        assert_eq!(of_b.len(), 2);
        assert!(account.hold("c", 10).is_some());
        drop(of_a);
        assert!(account.hold("b", 10).is_some());
        drop(of_b);
        let held = locked(&account.held);
        assert_eq!((held.bytes, held.of_projects.len()), (0, 0));
        drop(held);
        assert!(account.hold("a", 1000).is_some(), "what is alone has room");
    }
}
