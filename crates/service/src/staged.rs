//! What uploads under way have stored already. It has no name yet, and so is in no project's account; together with what has a name it must fit into the
//! quota all the same, or many uploads at once fill the disk before any of them is refused.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belljar_store::StoreError;

/// Bytes without a name, by project. Of projects with a quota only.
#[derive(Clone, Debug, Default)]
pub(crate) struct Staged(Arc<Mutex<HashMap<String, u64>>>);

/// What one upload has stored; given back when it is dropped, before it gets its name.
#[derive(Debug)]
pub(crate) struct Staging {
    staged: Staged,
    project_id: String,
    quota_bytes: u64,
    /// What the project has, without what this upload replaces.
    used_bytes: u64,
    /// Of the upload, and how much of it is more than what it replaces.
    bytes: u64,
    replaced_bytes: u64,
}

impl Staged {
    fn bytes(&self) -> MutexGuard<'_, HashMap<String, u64>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Begins an upload to a project that has so much, and that replaces so much of it.
    pub(crate) fn begin(&self, project_id: &str, quota_bytes: u64, has_bytes: u64, replaced_bytes: u64) -> Staging {
        let used_bytes = has_bytes.saturating_sub(replaced_bytes);
        Staging { staged: self.clone(), project_id: project_id.to_owned(), quota_bytes, used_bytes, bytes: 0, replaced_bytes }
    }
}

impl Staging {
    /// Whether so much could be stored if nobody else stored anything.
    pub(crate) fn could_have(&self, bytes: u64) -> Result<(), StoreError> {
        if self.used_bytes.saturating_add(bytes) <= self.quota_bytes { Ok(()) } else { Err(self.exceeded(bytes)) }
    }

    /// Counts more of it.
    pub(crate) fn add(&mut self, bytes: u64) -> Result<(), StoreError> {
        let before = self.counted();
        self.bytes = self.bytes.saturating_add(bytes);
        let more = self.counted() - before;
        let mut staged = self.staged.bytes();
        let of_project = staged.entry(self.project_id.clone()).or_default();
        *of_project += more;
        // What it replaces is there until it has the name, and counts for all others.
        let all = self.used_bytes.saturating_add(self.replaced_bytes).saturating_add(*of_project);
        drop(staged);
        if more == 0 || all <= self.quota_bytes { Ok(()) } else { Err(self.exceeded(self.bytes)) }
    }

    fn counted(&self) -> u64 {
        self.bytes.saturating_sub(self.replaced_bytes)
    }

    fn exceeded(&self, asked_bytes: u64) -> StoreError {
        StoreError::Quota { quota_bytes: self.quota_bytes, used_bytes: self.used_bytes, asked_bytes }
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let counted = self.counted();
        let mut staged = self.staged.bytes();
        let left = staged.get(&self.project_id).map_or(0, |bytes| bytes.saturating_sub(counted));
        if left == 0 {
            staged.remove(&self.project_id);
        } else {
            staged.insert(self.project_id.clone(), left);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uploads_at_one_time_fit_into_the_quota_together() {
        let staged = Staged::default();
        let begin = |replaced| staged.begin("a", 100, 50, replaced);
        let (mut first, mut second) = (begin(0), begin(0));
        first.add(30).unwrap();
        second.add(20).unwrap();
        assert!(matches!(second.add(1), Err(StoreError::Quota { quota_bytes: 100, used_bytes: 50, asked_bytes: 21 })));
        drop(second);
        first.add(20).unwrap();
        assert!(staged.begin("b", 100, 50, 0).add(50).is_ok(), "each project has a quota of its own");
        // What replaces something needs no more room than it has.
        let mut in_place = begin(40);
        in_place.add(40).unwrap();
        assert!(in_place.add(1).is_err());
        drop((first, in_place));
        assert!(staged.bytes().is_empty());
        assert!(begin(40).could_have(90).is_ok() && begin(40).could_have(91).is_err());
    }
}
