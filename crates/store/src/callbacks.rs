//! Pending callbacks. They are stored with the run's end, so that a crash loses none.

use belljar_protocol::{RunId, Timestamp};
use sqlx::Row;

use crate::error::StoreError;
use crate::store::Store;

/// A callback that is due.
#[derive(Clone, Debug)]
pub struct DueCallback {
    /// Id of the run.
    pub run: RunId,
    /// Id of the run's project.
    pub project_id: String,
    /// URL of the receiver.
    pub url: String,
    /// Number of previous attempts.
    pub tries: u32,
}

impl Store {
    /// Returns at most `max` callbacks that are due, the oldest first.
    pub async fn due_callbacks(&self, max: usize) -> Result<Vec<DueCallback>, StoreError> {
        let rows = sqlx::query(
            "SELECT run_id, project_id, url, tries FROM callbacks JOIN runs ON runs.id = run_id WHERE callbacks.due_at <= $1 ORDER BY callbacks.due_at LIMIT $2",
        )
        .bind(Timestamp::now().unix_ms())
        .bind(i64::try_from(max).unwrap_or(i64::MAX))
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(DueCallback {
                    run: row.try_get::<&str, _>(0)?.parse().map_err(
                        |error: belljar_protocol::InvalidRunId| StoreError::Unreadable {
                            what: "callback",
                            why: error.to_string(),
                        },
                    )?,
                    project_id: row.try_get(1)?,
                    url: row.try_get(2)?,
                    tries: row.try_get::<i64, _>(3)? as u32,
                })
            })
            .collect()
    }

    /// Removes a callback that was accepted or is given up.
    pub async fn drop_callback(&self, run: RunId) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("DELETE FROM callbacks WHERE run_id = $1")
                        .bind(run.as_str())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Postpones callbacks without counting an attempt.
    pub async fn put_off_callbacks(
        &self,
        runs: Vec<RunId>,
        due_at: Timestamp,
    ) -> Result<(), StoreError> {
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

    /// Counts a failed attempt and schedules the next one.
    pub async fn postpone_callback(&self, run: RunId, due_at: Timestamp) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query(
                        "UPDATE callbacks SET tries = tries + 1, due_at = $1 WHERE run_id = $2",
                    )
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
