//! Retention: deletion of old runs, and of contents that nothing refers to.

use belljar_protocol::Timestamp;
use sqlx::Row;

use crate::accounts::Trimmed;
use crate::error::StoreError;
use crate::run_records;
use crate::store::Store;

/// The number of runs that are deleted in one change. Other changes wait for the writer during that
/// time.
const DELETED_TOGETHER: usize = 20;

/// The limits for keeping finished runs. A limit of `None` does not apply.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Maximum age since the end of the run, in milliseconds.
    pub age_ms: Option<u64>,
    /// Maximum number of runs of each project.
    pub count: Option<u64>,
}

impl Store {
    /// Deletes runs that exceed the limits, at most 1,000 of each project. Returns the number of
    /// deleted runs.
    pub async fn delete_old_runs(&self, retention: Retention) -> Result<u64, StoreError> {
        let projects: Vec<String> =
            sqlx::query_scalar("SELECT id FROM projects").fetch_all(&self.readers).await?;
        let mut deleted = 0;
        for project_id in projects {
            let old = self.old_runs(&project_id, retention).await?;
            for some in old.chunks(DELETED_TOGETHER) {
                let (some, project_id) = (some.to_vec(), project_id.clone());
                deleted += some.len() as u64;
                let then = self.settling(project_id.clone(), None);
                self.writer
                    .write_then(
                        move |connection| {
                            Box::pin(async move {
                                for id in &some {
                                    run_records::delete(connection, id, &project_id).await?;
                                }
                                Ok(Some(Trimmed::read(connection, &project_id).await?))
                            })
                        },
                        then,
                    )
                    .await?;
            }
        }
        Ok(deleted)
    }

    /// Returns runs of a project that exceed the limits, at most 1,000 by each limit. The query
    /// uses a reader, because the writer has more urgent work.
    async fn old_runs(
        &self,
        project_id: &str,
        retention: Retention,
    ) -> Result<Vec<String>, StoreError> {
        let mut old = Vec::new();
        if let Some(age_ms) = retention.age_ms {
            let before = Timestamp::now()
                .unix_ms()
                .saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
            old = sqlx::query_scalar("SELECT id FROM runs WHERE project_id = $1 AND finished_at < $2 ORDER BY finished_at LIMIT 1000")
                .bind(project_id)
                .bind(before)
                .fetch_all(&self.readers)
                .await?;
        }
        if let Some(count) = retention.count.filter(|_| old.is_empty()) {
            // One pass along the index, up to the first run that is not kept.
            let last: Option<String> = sqlx::query_scalar(
                "SELECT id FROM runs WHERE project_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2",
            )
            .bind(project_id)
            .bind(i64::try_from(count).unwrap_or(i64::MAX))
            .fetch_optional(&self.readers)
            .await?;
            if let Some(last) = last {
                old = sqlx::query_scalar(
                    "SELECT id FROM runs WHERE project_id = $1 AND id <= $2 AND finished_at IS NOT NULL ORDER BY id LIMIT 1000",
                )
                .bind(project_id)
                .bind(last)
                .fetch_all(&self.readers)
                .await?;
            }
        }
        Ok(old)
    }

    /// Returns at most 1,000 contents that nothing has referred to for `grace_ms`.
    pub async fn doomed_blobs(&self, grace_ms: i64) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT blob FROM doomed_blobs WHERE since <= $1 LIMIT 1000")
            .bind(Timestamp::now().unix_ms() - grace_ms)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// Forgets contents that have been deleted.
    pub async fn forget_blobs(&self, blobs: Vec<String>) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    for blob in &blobs {
                        sqlx::query("DELETE FROM doomed_blobs WHERE blob = $1")
                            .bind(blob)
                            .execute(&mut *connection)
                            .await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Returns whether anything refers to a content, or it is already marked for deletion.
    pub async fn knows_blob(&self, blob: &str) -> Result<bool, StoreError> {
        let row = sqlx::query(
            "SELECT EXISTS (SELECT 1 FROM objects WHERE blob = $1) OR EXISTS (SELECT 1 FROM artifacts WHERE blob = $1) \
             OR EXISTS (SELECT 1 FROM doomed_blobs WHERE blob = $1)",
        )
        .bind(blob)
        .fetch_one(&self.readers)
        .await?;
        Ok(row.try_get(0)?)
    }

    /// Returns the keys of all contents that something refers to, each once.
    pub async fn blobs(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT blob FROM objects UNION SELECT blob FROM artifacts")
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}
