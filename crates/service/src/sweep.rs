//! What is done every now and then: old runs are deleted, contents that nothing refers to are deleted, refusals that were left out are told.

use std::fs::File;
use std::time::{Duration, SystemTime};

use belljar_objects::Key;
use belljar_store::Retention;
use futures::StreamExt;
use rustix::fs::FlockOperation;

use crate::error::ServiceError;
use crate::service::Service;

/// How often old runs are looked for.
const SWEEP_EVERY: Duration = Duration::from_mins(1);
/// How often contents without a name are looked for, and how old they must be: an upload has no name until it is whole.
const ORPHANS_EVERY: Duration = Duration::from_hours(24);
const ORPHAN_AGE: Duration = Duration::from_hours(24);

impl Service {
    /// Sweeps for as long as the service lives.
    pub(crate) async fn sweep(self) {
        let (mut orphans, mut old_runs) = (tokio::time::interval(ORPHANS_EVERY), tokio::time::interval(SWEEP_EVERY));
        loop {
            tokio::select! {
                () = self.until_blobs_are_doomed() => {}
                _ = old_runs.tick() => {
                    self.note_left_out().await;
                    if let Err(error) = self.delete_old_runs().await {
                        tracing::error!(%error, "old runs could not be deleted");
                    }
                }
                _ = orphans.tick() => {
                    if let Err(error) = self.delete_orphans().await {
                        tracing::error!(%error, "contents without a name could not be looked for");
                    }
                }
                () = self.until_closed() => return,
            }
            if let Err(error) = self.delete_doomed().await {
                tracing::error!(%error, "contents could not be deleted; it is tried again");
            }
        }
    }

    async fn delete_old_runs(&self) -> Result<(), ServiceError> {
        let runs = &self.config().runs;
        let retention = Retention { age_ms: Some(runs.keep_ms.0), count: Some(runs.keep_count) };
        while self.store().delete_old_runs(retention).await? > 0 {}
        // Where a quota was made smaller: runs that end see to it by themselves.
        for project in self.store().projects().await? {
            let quota_bytes = project.settings.quotas.history();
            if self.store().history_bytes(&project.id).await? > quota_bytes {
                self.store().trim_history(&project.id, quota_bytes).await?;
            }
        }
        Ok(())
    }

    /// Deletes what nothing refers to any more. Not while a backup is being taken, which may still want it.
    async fn delete_doomed(&self) -> Result<(), ServiceError> {
        let Some(_lock) = self.no_backup()? else { return Ok(()) };
        loop {
            let doomed = self.store().doomed_blobs(0).await?;
            if doomed.is_empty() {
                return Ok(());
            }
            for blob in &doomed {
                // One that is no key was never a content.
                if let Ok(key) = blob.parse::<Key>() {
                    self.objects().delete(&key).await?;
                }
            }
            self.store().forget_blobs(doomed).await?;
        }
    }

    /// Deletes contents that have no name: what an upload left that was killed between its content and its name.
    async fn delete_orphans(&self) -> Result<(), ServiceError> {
        let Some(_lock) = self.no_backup()? else { return Ok(()) };
        let before = SystemTime::now() - ORPHAN_AGE;
        let mut listed = self.objects().list(None);
        while let Some(content) = listed.next().await {
            let content = content?;
            if content.last_modified < before && !self.store().knows_blob(content.key.as_str()).await? {
                self.objects().delete(&content.key).await?;
            }
        }
        Ok(())
    }

    /// Keeps backups out until it is dropped; `None` while there is one.
    fn no_backup(&self) -> Result<Option<File>, ServiceError> {
        let path = self.home().backup_lock();
        let home = |error| ServiceError::Home { what: format!("opening {}", path.display()), error };
        let file = File::options().create(true).append(true).open(&path).map_err(home)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(Some(file)),
            Err(rustix::io::Errno::WOULDBLOCK) => Ok(None),
            Err(error) => Err(home(error.into())),
        }
    }
}
