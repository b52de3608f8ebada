//! The control groups of sandboxes, from their limits to their removal.
//!
//! The kernel frees a removed memory group only once no page is charged to it, and a page of a file
//! stays charged to the group that was the first to read it. Without care, each run that reads a
//! file that was not in memory would leave a dead group, which takes 18 KB of the kernel's memory
//! as long as the page is cached. Therefore a group with such pages is *retired* first. A few
//! retired groups are kept, because their pages are likely to be read again. The pages of the
//! oldest are evicted before it is removed.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use belljar_jail::{Cgroups, SandboxCgroup};

/// The access of a group's processes to Internet sockets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Internet {
    None,
    Sockets,
}

/// The limits of all processes of a group together.
#[derive(Clone, Copy, Debug)]
pub(crate) struct GroupLimits {
    pub(crate) memory_bytes: u64,
    pub(crate) processes: u32,
    pub(crate) internet: Internet,
}

/// The divisor of the memory limit that is the limit of socket buffers, where they are counted
/// separately (version 1).
pub(super) const SOCKET_SHARE: u64 = 4;

/// The number of retired groups whose pages stay in memory.
const KEPT: usize = 16;
/// The maximum number of retired groups. Pages that are not yet written to the disk cannot be
/// evicted, so more than [`KEPT`] groups may have to wait.
const MAX_RETIRED: usize = 1024;
/// The size of a group's pages that are quickly read again, and therefore are evicted when the
/// engine ends. Larger ones are evicted only if the machine has many dead groups already, because
/// the next `belljar run` may well read the same files.
const SMALL_BYTES: u64 = 1 << 20;
/// The number of dead groups that do not burden a machine.
const FEW_DEAD: u64 = 16;

/// Empty groups that still hold pages, the oldest first.
#[derive(Debug, Default)]
pub(super) struct Retired(Mutex<VecDeque<SandboxCgroup>>);

impl Retired {
    fn add(&self, group: SandboxCgroup) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).push_back(group);
    }

    /// Removes and returns the oldest group if there are more than [`KEPT`].
    fn take_surplus(&self) -> Option<SandboxCgroup> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() > KEPT { groups.pop_front() } else { None }
    }

    /// Puts back a group that could not be emptied, or returns it if too many are waiting already.
    fn put_back(&self, group: SandboxCgroup) -> Option<SandboxCgroup> {
        let mut groups = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if groups.len() >= MAX_RETIRED {
            return Some(group);
        }
        groups.push_front(group);
        None
    }

    /// Removes the group of a sandbox whose first process has been reaped. All other processes have
    /// ended with it, but the kernel may take a moment to update the group.
    pub(super) async fn remove(&self, group: SandboxCgroup) {
        if group.file_bytes() == 0 {
            return until_done(&group, SandboxCgroup::remove).await;
        }
        until_done(&group, SandboxCgroup::remove_all_but_memory).await;
        self.add(group);
        while let Some(oldest) = self.take_surplus() {
            let evicting = tokio::task::spawn_blocking(move || {
                oldest.drop_file_pages();
                oldest
            });
            let Ok(oldest) = evicting.await else { return };
            if oldest.file_bytes() > 0 {
                match self.put_back(oldest) {
                    None => return,
                    Some(given_up) => until_done(&given_up, SandboxCgroup::remove).await,
                }
            } else {
                until_done(&oldest, SandboxCgroup::remove).await;
            }
        }
    }

    /// Removes all groups, at the end of an engine.
    pub(super) fn clear(&self, cgroups: &Cgroups) {
        let groups = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        for group in groups {
            if group.file_bytes() <= SMALL_BYTES || cgroups.dead_groups() > FEW_DEAD {
                group.drop_file_pages();
            }
            let _ = group.remove();
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
