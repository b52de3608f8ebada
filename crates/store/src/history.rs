//! The history of runs: their submission, output and outcome. Each byte is stored once, and counted
//! in the transaction that stores it. If a project exceeds its quota, its oldest finished runs lose
//! their history. Their records stay while they fit.

use belljar_protocol::{Outcome, RunId, Timestamp};
use sqlx::{Row, SqliteConnection};

use crate::accounts::{self, StorageTotals, Trimmed};
use crate::error::{StoreError, json};
use crate::run_output::short;
use crate::run_records;
use crate::store::Store;

/// The bytes that a run's row counts for regardless of its content: indexes, usage, keys and
/// callback.
const ROW_BYTES: usize = 1024;
/// The maximum number of runs that lose their history, or are deleted, in one change. Other changes
/// wait for the writer during that time.
const DROPPED_TOGETHER: usize = 20;
/// Records without history may use this fraction of a quota. If they exceed it, the oldest are
/// deleted.
const RECORDS_PART: u64 = 4;
/// The query for the project's oldest finished run that still has its history.
const OLDEST_WITH_HISTORY: &str = "SELECT id FROM runs WHERE project_id = $1 AND finished_at IS NOT NULL AND history_dropped_at IS NULL \
     ORDER BY finished_at LIMIT 1";
/// The query for the project's oldest finished run that has lost its history.
const OLDEST_WITHOUT_HISTORY: &str = "SELECT id FROM runs WHERE project_id = $1 AND history_dropped_at IS NOT NULL ORDER BY finished_at LIMIT 1";

/// Returns the bytes that a run's record counts for. Labels count twice, because they are also
/// stored separately.
pub(crate) fn record_bytes(facts: &str, comment: Option<&str>) -> u64 {
    (ROW_BYTES + 2 * facts.len() + comment.map_or(0, str::len)) as u64
}

/// Counts bytes that were added to a run's history, and removes history that exceeds the quota.
pub(crate) async fn add(
    connection: &mut SqliteConnection,
    project_id: &str,
    run: &RunId,
    bytes: u64,
    quota_bytes: u64,
) -> Result<Option<Trimmed>, StoreError> {
    let used: Option<i64> = sqlx::query_scalar(
        "UPDATE runs SET history_bytes = history_bytes + $1 WHERE id = $2; \
         UPDATE projects SET history_bytes = history_bytes + $1 WHERE id = $3 RETURNING history_bytes",
    )
    .bind(bytes as i64)
    .bind(run.as_str())
    .bind(project_id)
    .fetch_optional(&mut *connection)
    .await?;
    trim_if(connection, project_id, used.unwrap_or(0) as u64, quota_bytes).await
}

/// Removes the oldest history if the used bytes exceed the quota.
pub(crate) async fn trim_if(
    connection: &mut SqliteConnection,
    project_id: &str,
    used_bytes: u64,
    quota_bytes: u64,
) -> Result<Option<Trimmed>, StoreError> {
    if used_bytes <= quota_bytes {
        return Ok(None);
    }
    let is_over = trim(connection, project_id, quota_bytes).await? == DROPPED_TOGETHER;
    Ok(Some(Trimmed { stored: accounts::stored(connection, project_id).await?, is_over }))
}

/// Removes history of the oldest runs, and the oldest records, until the rest fits, for a limited
/// number of runs. Returns that number.
async fn trim(
    connection: &mut SqliteConnection,
    project_id: &str,
    quota_bytes: u64,
) -> Result<usize, StoreError> {
    for done in 0..DROPPED_TOGETHER {
        let row = sqlx::query("SELECT history_bytes, dropped_bytes FROM projects WHERE id = $1")
            .bind(project_id)
            .fetch_one(&mut *connection)
            .await?;
        let (used, of_records) =
            (row.try_get::<i64, _>(0)? as u64, row.try_get::<i64, _>(1)? as u64);
        if used <= quota_bytes {
            return Ok(done);
        }
        let with_history = first(connection, OLDEST_WITH_HISTORY, project_id).await?;
        match with_history.filter(|_| of_records <= quota_bytes / RECORDS_PART) {
            Some(id) => drop_history(connection, project_id, &id).await?,
            None => match first(connection, OLDEST_WITHOUT_HISTORY, project_id).await? {
                Some(id) => run_records::delete(connection, &id, project_id).await?,
                // Only running runs are left, and their limits bound their history.
                None => return Ok(done),
            },
        }
    }
    Ok(DROPPED_TOGETHER)
}

async fn first(
    connection: &mut SqliteConnection,
    query: &'static str,
    project_id: &str,
) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(query).bind(project_id).fetch_optional(connection).await?)
}

/// Removes the submission and output of a finished run. The record and a short outcome stay.
async fn drop_history(
    connection: &mut SqliteConnection,
    project_id: &str,
    id: &str,
) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT facts, comment, history_bytes, (SELECT outcome FROM run_outcomes WHERE run_id = id) AS outcome FROM runs WHERE id = $1",
    )
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    let outcome: Option<&str> = row.try_get("outcome")?;
    // An unreadable outcome is from another version, and is removed completely.
    let outcome = outcome
        .and_then(|text| serde_json::from_str::<Outcome>(text).ok())
        .map(|outcome| json(&short(outcome)));
    let left = record_bytes(row.try_get("facts")?, row.try_get("comment")?)
        + outcome.as_ref().map_or(0, String::len) as u64;
    let before = row.try_get::<i64, _>("history_bytes")?;
    sqlx::query(
        "DELETE FROM run_submissions WHERE run_id = $1; \
         DELETE FROM run_events WHERE run_id = $1; \
         DELETE FROM run_outcomes WHERE run_id = $1 AND $2 IS NULL; \
         UPDATE run_outcomes SET outcome = $2, value = NULL, logs_from = NULL WHERE run_id = $1; \
         UPDATE runs SET history_dropped_at = $3, history_bytes = $4, first_line = NULL WHERE id = $1; \
         UPDATE projects SET history_bytes = history_bytes - $5 + $4, dropped_bytes = dropped_bytes + $4 WHERE id = $6",
    )
    .bind(id)
    .bind(outcome)
    .bind(Timestamp::now().unix_ms())
    .bind(left as i64)
    .bind(before)
    .bind(project_id)
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Removes history that exceeds a project's quota, in small changes. This takes long if many
    /// small runs are older than a few large ones.
    pub async fn trim_history(&self, project_id: &str, quota_bytes: u64) -> Result<(), StoreError> {
        loop {
            let (accounts, id, for_account) =
                (self.accounts.clone(), project_id.to_owned(), project_id.to_owned());
            let trimmed = self
                .writer
                .write_then(
                    move |connection| {
                        Box::pin(async move {
                            let trimmed = trim(connection, &id, quota_bytes).await?;
                            Ok((trimmed, accounts::stored(connection, &id).await?))
                        })
                    },
                    move |(_, stored): &(usize, StorageTotals)| {
                        accounts.settle(&for_account, *stored, None);
                    },
                )
                .await?
                .0;
            if trimmed < DROPPED_TOGETHER {
                return Ok(());
            }
        }
    }

    /// Returns the size of the history of a project's runs in bytes.
    pub async fn history_bytes(&self, project_id: &str) -> Result<u64, StoreError> {
        let bytes: Option<i64> =
            sqlx::query_scalar("SELECT history_bytes FROM projects WHERE id = $1")
                .bind(project_id)
                .fetch_optional(&self.readers)
                .await?;
        Ok(bytes.ok_or_else(|| StoreError::not_found("project", project_id))? as u64)
    }
}
