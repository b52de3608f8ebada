//! What is let go: old runs, and contents that nothing refers to.

use belljar_protocol::Timestamp;
use sqlx::Row;

use crate::Store;
use crate::accounts;
use crate::error::StoreError;
use crate::history::Trimmed;
use crate::runs;

/// Runs that are deleted in one change: others wait for the writer for that long.
const DELETED_TOGETHER: usize = 20;

/// How long runs are kept. What is left out bounds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Since their end, milliseconds.
    pub age_ms: Option<u64>,
    /// The latest so many of each project.
    pub count: Option<u64>,
}

impl Store {
    /// Deletes runs that are older than is kept, at most 1,000 of each project. Gives how many.
    pub async fn delete_old_runs(&self, retention: Retention) -> Result<u64, StoreError> {
        let projects: Vec<String> = sqlx::query_scalar("SELECT id FROM projects").fetch_all(&self.readers).await?;
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
                                    runs::delete(connection, id, &project_id).await?;
                                }
                                Ok(Some(Trimmed { stored: accounts::stored(connection, &project_id).await?, is_over: false }))
                            })
                        },
                        then,
                    )
                    .await?;
            }
        }
        Ok(deleted)
    }

    /// Runs of a project that are not kept any longer, at most 1,000 by each rule. Found beside the writer, which has more urgent things to do.
    async fn old_runs(&self, project_id: &str, retention: Retention) -> Result<Vec<String>, StoreError> {
        let mut old = Vec::new();
        if let Some(age_ms) = retention.age_ms {
            let before = Timestamp::now().unix_ms().saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
            old = sqlx::query_scalar("SELECT id FROM runs WHERE project_id = $1 AND finished_at < $2 ORDER BY finished_at LIMIT 1000")
                .bind(project_id)
                .bind(before)
                .fetch_all(&self.readers)
                .await?;
        }
        if let Some(count) = retention.count.filter(|_| old.is_empty()) {
            // Once along the index, to the first that is not kept.
            let last: Option<String> = sqlx::query_scalar("SELECT id FROM runs WHERE project_id = $1 ORDER BY id DESC LIMIT 1 OFFSET $2")
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

    /// Contents that nothing has referred to for `grace_ms`, at most 1,000.
    pub async fn doomed_blobs(&self, grace_ms: i64) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT blob FROM doomed_blobs WHERE since <= $1 LIMIT 1000")
            .bind(Timestamp::now().unix_ms() - grace_ms)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }

    /// These contents are gone.
    pub async fn forget_blobs(&self, blobs: Vec<String>) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    for blob in &blobs {
                        sqlx::query("DELETE FROM doomed_blobs WHERE blob = $1").bind(blob).execute(&mut *connection).await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Whether anything refers to a content, or it is doomed already.
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

    /// All contents that something refers to, each once.
    pub async fn blobs(&self) -> Result<Vec<String>, StoreError> {
        let rows = sqlx::query("SELECT blob FROM objects UNION SELECT blob FROM artifacts").fetch_all(&self.readers).await?;
        rows.iter().map(|row| Ok(row.try_get(0)?)).collect()
    }
}
