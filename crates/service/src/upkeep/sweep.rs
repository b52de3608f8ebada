//! Periodic clean-up: deletes old runs and contents that nothing refers to, and records the number
//! of refusals that were left out.

use std::fs::File;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use belljar_objects::Key;
use futures::StreamExt;
use rustix::fs::FlockOperation;
use tokio_util::sync::CancellationToken;

use super::Upkeep;
use crate::error::ServiceError;

/// The interval at which old runs are deleted.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// The interval at which contents without a name are deleted, and their minimum age: an upload has
/// no name until it is complete.
const ORPHANS_EVERY: Duration = Duration::from_hours(24);
const ORPHAN_AGE: Duration = Duration::from_hours(24);

impl Upkeep {
    /// Cleans up until the service is closed.
    pub(crate) async fn sweep_until(self: Arc<Self>, closed: CancellationToken) {
        let (mut orphans, mut old_runs) =
            (tokio::time::interval(ORPHANS_EVERY), tokio::time::interval(SWEEP_EVERY));
        loop {
            tokio::select! {
                () = self.blobs_doomed.notified() => {}
                _ = old_runs.tick() => {
                    self.audit.record_left_out().await;
                    if let Err(error) = self.delete_old_runs().await {
                        tracing::error!(%error, "old runs could not be deleted");
                    }
                }
                _ = orphans.tick() => {
                    if let Err(error) = self.delete_orphans().await {
                        tracing::error!(%error, "contents without a name could not be found");
                    }
                }
                () = closed.cancelled() => return,
            }
            if let Err(error) = self.delete_doomed().await {
                tracing::error!(%error, "contents could not be deleted, and are tried again");
            }
        }
    }

    async fn delete_old_runs(&self) -> Result<(), ServiceError> {
        while self.store.delete_old_runs(self.retention).await? > 0 {}
        // A quota may have been reduced. Runs that end trim the history by themselves.
        for project in self.store.projects().await? {
            let quota_bytes = project.settings.quotas.history();
            if self.store.history_bytes(&project.id).await? > quota_bytes {
                self.store.trim_history(&project.id, quota_bytes).await?;
            }
        }
        Ok(())
    }

    /// Deletes contents that nothing refers to any more, unless a backup is running that may still
    /// need them.
    async fn delete_doomed(&self) -> Result<(), ServiceError> {
        let Some(_lock) = self.no_backup()? else { return Ok(()) };
        loop {
            let doomed = self.store.doomed_blobs(0).await?;
            if doomed.is_empty() {
                return Ok(());
            }
            for blob in &doomed {
                // A text that is not a key was never the key of a content.
                if let Ok(key) = blob.parse::<Key>() {
                    self.objects.delete(&key).await?;
                }
            }
            self.store.forget_blobs(doomed).await?;
        }
    }

    /// Deletes contents that have no name, which are left by an upload that was killed before its
    /// content got one.
    async fn delete_orphans(&self) -> Result<(), ServiceError> {
        let Some(_lock) = self.no_backup()? else { return Ok(()) };
        let before = SystemTime::now() - ORPHAN_AGE;
        let mut listed = self.objects.list(None);
        while let Some(content) = listed.next().await {
            let content = content?;
            if content.last_modified < before
                && !self.store.knows_blob(content.key.as_str()).await?
            {
                self.objects.delete(&content.key).await?;
            }
        }
        Ok(())
    }

    /// Keeps backups from starting until the guard is dropped. Returns `None` while a backup is
    /// running.
    fn no_backup(&self) -> Result<Option<File>, ServiceError> {
        let path = self.home.backup_lock();
        let home =
            |error| ServiceError::Home { what: format!("opening `{}`", path.display()), error };
        let file = File::options().create(true).append(true).open(&path).map_err(home)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(home(error.into())),
        }
    }
}
