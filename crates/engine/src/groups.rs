//! Control groups of sandboxes, from their limits to their removal.
//!
//! The kernel frees a removed memory group only once nothing is charged to it, and a page of a file stays
//! charged to the group that was the first to read it: without care, each run that reads a file that nobody
//! had in memory leaves a dead group, 18 KB of the kernel's memory for as long as the page is cached. So a
//! group that holds such pages is *retired* first. A few are kept, as their pages are likely to be read again;
//! of the oldest the pages are evicted, and then it is removed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use belljar_jail::{Cgroups, SandboxCgroup};

use crate::engine::Inner;

/// Whether those in a group can make Internet sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Internet {
    None,
    Sockets,
}

/// What those in a group may hold together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupLimits {
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u32,
    pub(crate) internet: Internet,
}

/// The part of the memory limit that the buffers of sockets may take where they are counted apart (version 1).
pub(crate) const SOCKET_SHARE: u64 = 4;

/// Retired groups whose pages stay in memory.
const KEPT: usize = 16;
/// Retired groups at the most. Pages that are not yet written to the disk cannot be evicted, so that more than
/// [`KEPT`] may have to wait.
const MOST: usize = 1024;
/// What is read again in no time. It is evicted when the engine ends; more than this only where the machine
/// has many dead groups already, as the next `belljar run` may well read the same.
const LITTLE: u64 = 1 << 20;
/// Dead groups that are no burden to a machine.
const FEW_DEAD: u64 = 16;

/// Groups that are empty and still hold pages, the oldest first.
#[derive(Debug, Default)]
pub(crate) struct Retired(Mutex<VecDeque<SandboxCgroup>>);

impl Retired {
    fn add(&self, group: SandboxCgroup) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(group);
    }

    /// The oldest group, where there are more than are kept.
    fn take_surplus(&self) -> Option<SandboxCgroup> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() > KEPT { groups.pop_front() } else { None }
    }

    /// Takes a group back that could not be emptied; gives it back where too many wait already.
    fn put_back(&self, group: SandboxCgroup) -> Option<SandboxCgroup> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= MOST {
            return Some(group);
        }
        groups.push_front(group);
        None
    }

    /// Removes all. For the end of an engine, when nothing waits for it.
    pub(crate) fn clear(&self, cgroups: &Cgroups) {
        let groups = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for group in groups {
            if group.file_bytes() <= LITTLE || cgroups.dead_groups() > FEW_DEAD {
                group.drop_file_pages();
            }
            let _ = group.remove();
        }
    }
}

/// Removes the group of a sandbox whose first process is reaped, and with it every other; the kernel may take
/// a moment to notice.
pub(crate) async fn remove(engine: &Inner, group: SandboxCgroup) {
    if group.file_bytes() == 0 {
        return until_done(&group, SandboxCgroup::remove).await;
    }
    until_done(&group, SandboxCgroup::remove_all_but_memory).await;
    engine.retired.add(group);
    while let Some(oldest) = engine.retired.take_surplus() {
        let evicting = tokio::task::spawn_blocking(move || {
            oldest.drop_file_pages();
            oldest
        });
        let Ok(oldest) = evicting.await else { return };
        if oldest.file_bytes() > 0 {
            match engine.retired.put_back(oldest) {
                None => return,
                Some(given_up) => until_done(&given_up, SandboxCgroup::remove).await,
            }
        } else {
            until_done(&oldest, SandboxCgroup::remove).await;
        }
    }
}

async fn until_done(group: &SandboxCgroup, step: impl Fn(&SandboxCgroup) -> std::io::Result<()>) {
    for attempt in 0..200_u32 {
        if step(group).is_ok() {
            return;
        }
        if attempt == 20 {
            group.kill();
        }
        tokio::time::sleep(Duration::from_millis(1 + u64::from(attempt / 4))).await;
    }
}
