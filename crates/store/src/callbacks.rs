//! Callbacks that are still to be made: written with the run's end, so that a crash loses none.

use belljar_protocol::{RunId, Timestamp};
use sqlx::Row;

use crate::Store;
use crate::error::StoreError;

/// A callback whose time has come.
#[derive(Clone, Debug)]
pub struct DueCallback {
    /// Of which run.
    pub run: RunId,
    /// The id of its project.
    pub project_id: String,
    /// Where to.
    pub url: String,
    /// How often it was tried.
    pub tries: u32,
}

impl Store {
    /// The callbacks whose time has come, at most so many, those due longest first.
    pub async fn due_callbacks(&self, most: usize) -> Result<Vec<DueCallback>, StoreError> {
        let rows = sqlx::query(
            "SELECT run_id, project_id, url, tries FROM callbacks JOIN runs ON runs.id = run_id WHERE callbacks.due_at <= $1 ORDER BY callbacks.due_at LIMIT $2",
        )
        .bind(Timestamp::now().unix_ms())
        .bind(i64::try_from(most).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DueCallback {
                    run: row.try_get::<&str, _>(0)?.parse().map_err(|error: belljar_protocol::InvalidRunId| StoreError::Unreadable {
                        what: "callback",
                        why: error.to_string(),
                    })?,
                    project_id: row.try_get(1)?,
                    url: row.try_get(2)?,
                    tries: row.try_get::<i64, _>(3)? as u32,
                })
            })
            .collect()
    }

    /// A callback was made, or is given up.
    pub async fn drop_callback(&self, run: RunId) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM callbacks WHERE run_id = $1").bind(run.as_str()).execute(connection).await?;
                    Ok(())
                })
            })
            .await
    }

    /// Callbacks are looked at again then. None of them was tried.
    pub async fn put_off_callbacks(&self, runs: Vec<RunId>, due_at: Timestamp) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    for run in &runs {
                        sqlx::query("UPDATE callbacks SET due_at = $1 WHERE run_id = $2")
                            .bind(due_at.unix_ms())
                            .bind(run.as_str())
                            .execute(&mut *connection)
                            .await?;
                    }
                    Ok(())
                })
            })
            .await
    }

    /// A callback failed; it is tried again then.
    pub async fn postpone_callback(&self, run: RunId, due_at: Timestamp) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("UPDATE callbacks SET tries = tries + 1, due_at = $1 WHERE run_id = $2")
                        .bind(due_at.unix_ms())
                        .bind(run.as_str())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}
