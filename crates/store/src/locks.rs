//! The lock files that runs' packages were installed from.

use belljar_protocol::RunId;
use sqlx::{Row, SqliteConnection};

use crate::error::StoreError;
use crate::store::Store;

/// A lock file as its installer wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunLock {
    /// SHA-256 of the text in hexadecimal.
    pub sha256: String,
    /// `uv.lock` or `pnpm-lock.yaml`.
    pub file_name: String,
    /// The text of the file.
    pub text: String,
}

/// Stores the lock file of a run that ends. Its text counts once for the project's history, however
/// many of its runs use it.
pub(crate) async fn keep(
    connection: &mut SqliteConnection,
    run: &RunId,
    project_id: &str,
    lock: RunLock,
) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO locks (sha256, file_name, text) VALUES ($1, $2, $3); \
         UPDATE projects SET history_bytes = history_bytes + $4 WHERE id = $5 AND NOT EXISTS \
         (SELECT 1 FROM run_locks JOIN runs ON runs.id = run_locks.run_id WHERE sha256 = $1 AND runs.project_id = $5); \
         INSERT OR REPLACE INTO run_locks (run_id, sha256) VALUES ($6, $1)",
    )
    .bind(&lock.sha256)
    .bind(lock.file_name)
    .bind(&lock.text)
    .bind(lock.text.len() as i64)
    .bind(project_id)
    .bind(run.as_str())
    .execute(connection)
    .await?;
    Ok(())
}

/// Releases the lock file of a run that is about to be deleted, and removes its text with the last
/// run that uses it.
pub(crate) async fn release(
    connection: &mut SqliteConnection,
    run: &str,
    project_id: &str,
) -> Result<(), StoreError> {
    let sha256: Option<String> =
        sqlx::query_scalar("DELETE FROM run_locks WHERE run_id = $1 RETURNING sha256")
            .bind(run)
            .fetch_optional(&mut *connection)
            .await?;
    if let Some(sha256) = sha256 {
        sqlx::query(
            "UPDATE projects SET history_bytes = history_bytes - (SELECT octet_length(text) FROM locks WHERE sha256 = $1) \
             WHERE id = $2 AND NOT EXISTS \
             (SELECT 1 FROM run_locks JOIN runs ON runs.id = run_locks.run_id WHERE sha256 = $1 AND runs.project_id = $2); \
             DELETE FROM locks WHERE sha256 = $1 AND NOT EXISTS (SELECT 1 FROM run_locks WHERE sha256 = $1)",
        )
        .bind(sha256)
        .bind(project_id)
        .execute(connection)
        .await?;
    }
    Ok(())
}

impl Store {
    /// Returns the lock file of a run's packages, or `None` if the run had none. It does not check
    /// the project, in which the caller has already found the run.
    pub async fn run_lock(&self, id: &RunId) -> Result<Option<RunLock>, StoreError> {
        let row = sqlx::query("SELECT locks.sha256, file_name, text FROM run_locks JOIN locks USING (sha256) WHERE run_id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.map(|row| {
            Ok(RunLock {
                sha256: row.try_get(0)?,
                file_name: row.try_get(1)?,
                text: row.try_get(2)?,
            })
        })
        .transpose()
    }
}
