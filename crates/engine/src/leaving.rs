//! Counts what is on its way out, so that a shutdown can wait for the last of it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// How much there is that still has to go.
#[derive(Clone, Debug, Default)]
pub(crate) struct Leaving(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicUsize,
    none_left: Notify,
}

/// One thing that still has to go. Dropped once it is gone.
#[derive(Debug)]
pub(crate) struct Leaver(Arc<Inner>);

impl Leaving {
    /// Counts one more.
    pub(crate) fn one_more(&self) -> Leaver {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Leaver(Arc::clone(&self.0))
    }

    /// Waits until nothing is left.
    pub(crate) async fn none_left(&self) {
        loop {
            let mut notified = std::pin::pin!(self.0.none_left.notified());
            // From here on a notification is kept.
            notified.as_mut().enable();
            if self.0.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Leaver {
    fn drop(&mut self) {
        if self.0.count.fetch_sub(1, Ordering::AcqRel) == 1 {
            self.0.none_left.notify_waiters();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_last_to_leave_ends_the_wait() {
        let leaving = Leaving::default();
        leaving.none_left().await;
        let leavers = [leaving.one_more(), leaving.one_more()];
        let waiting = tokio::spawn({
            let leaving = leaving.clone();
            async move { leaving.none_left().await }
        });
        tokio::task::yield_now().await;
        let [first, last] = leavers;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(last);
        waiting.await.unwrap();
    }
}
