//! Memory that submissions hold until their runs are over, and answers until they are read: in an account each, with a share for each project.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Whether somebody who has `own` of something may have that, where `taken` of `most` are taken in all, their own included: while no more is theirs than
/// is left. So one alone gets half of it, two get a third each, and there is always some left for one who has none.
pub(crate) fn is_fair(own: u64, taken: u64, most: u64) -> bool {
    own <= most.saturating_sub(taken)
}

/// One account.
#[derive(Debug)]
pub(crate) struct MemoryAccount {
    most_bytes: u64,
    held: Arc<Mutex<Held>>,
}

#[derive(Debug, Default)]
struct Held {
    bytes: u64,
    of_projects: HashMap<String, u64>,
}

/// Memory of an account; given back when it is dropped.
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
    pub(crate) fn new(most_bytes: u64) -> Self {
        Self { most_bytes, held: Arc::default() }
    }

    /// What a project holds.
    pub(crate) fn of(&self, project_id: &str) -> u64 {
        locked(&self.held).of_projects.get(project_id).copied().unwrap_or(0)
    }

    /// Takes so much, if there is room and it is within the project's share. What is alone has room, however large it is, and so has the first of a
    /// project while there is any.
    pub(crate) fn hold(&self, project_id: &str, bytes: u64) -> Option<HeldMemory> {
        let mut held = locked(&self.held);
        let before = held.of_projects.get(project_id).copied().unwrap_or(0);
        let (own, taken) = (before.saturating_add(bytes), held.bytes.saturating_add(bytes));
        let is_first = before == 0 && taken <= self.most_bytes;
        if bytes > 0 && held.bytes > 0 && !is_first && !is_fair(own, taken, self.most_bytes) {
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
