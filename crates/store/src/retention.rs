//! What is let go: old runs, and contents that nothing refers to.

use belljar_protocol::Timestamp;
use sqlx::Row;

use crate::Store;
use crate::error::StoreError;
use crate::runs;

/// How long runs are kept. What is left out bounds nothing.
#[derive(Clone, Copy, Debug, Default)]
pub struct Retention {
    /// Since their end, milliseconds.
    pub age_ms: Option<u64>,
    /// The latest so many of each project.
    pub count: Option<u64>,
}

impl Store {
    /// Deletes runs that are older than is kept, at most 500. Gives how many.
    pub async fn delete_old_runs(&self, retention: Retention) -> Result<u64, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let mut old = Vec::new();
                    if let Some(age_ms) = retention.age_ms {
                        let before = Timestamp::now().unix_ms().saturating_sub(i64::try_from(age_ms).unwrap_or(i64::MAX));
                        old = sqlx::query("SELECT id, project_id FROM runs WHERE finished_at < $1 LIMIT 500")
                            .bind(before)
                            .fetch_all(&mut *connection)
                            .await?;
                    }
                    if let Some(count) = retention.count.filter(|_| old.len() < 500) {
                        // One index look-up a project: the run after the last that is kept, and all before it.
                        let more = sqlx::query(
                            "SELECT runs.id, project_id FROM projects JOIN runs ON project_id = projects.id WHERE finished_at IS NOT NULL \
                             AND runs.id <= (SELECT id FROM runs AS kept WHERE kept.project_id = projects.id ORDER BY id DESC LIMIT 1 OFFSET $1) LIMIT 500",
                        )
                        .bind(i64::try_from(count).unwrap_or(i64::MAX))
                        .fetch_all(&mut *connection)
                        .await?;
                        old.extend(more);
                    }
                    for row in &old {
                        runs::delete(connection, row.try_get(0)?, row.try_get(1)?).await?;
                    }
                    Ok(old.len() as u64)
                })
            })
            .await
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
