//! Counts running teardowns, so that a shutdown can wait for the last one.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::sync::Notify;

/// The counter of running teardowns.
#[derive(Debug, Default)]
pub(super) struct Teardowns(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    count: AtomicUsize,
    none_left: Notify,
}

/// A running teardown, which is dropped once it is done.
#[derive(Debug)]
pub(crate) struct Teardown(Arc<Inner>);

impl Teardowns {
    /// Counts another teardown.
    pub(super) fn another(&self) -> Teardown {
        self.0.count.fetch_add(1, Ordering::AcqRel);
        Teardown(Arc::clone(&self.0))
    }

    /// Waits until no teardown is running.
    pub(super) async fn none_left(&self) {
        loop {
            let mut notified = std::pin::pin!(self.0.none_left.notified());
            // From here on, a notification is not lost.
            notified.as_mut().enable();
            if self.0.count.load(Ordering::Acquire) == 0 {
                return;
            }
            notified.await;
        }
    }
}

impl Drop for Teardown {
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
        let teardowns = Arc::new(Teardowns::default());
        teardowns.none_left().await;
        let running = [teardowns.another(), teardowns.another()];
        let waiting = tokio::spawn({
            let teardowns = Arc::clone(&teardowns);
            async move { teardowns.none_left().await }
        });
        tokio::task::yield_now().await;
        let [first, last] = running;
        drop(first);
        tokio::task::yield_now().await;
        assert!(!waiting.is_finished());
        drop(last);
        waiting.await.unwrap();
    }
}
