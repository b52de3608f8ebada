//! The rows of runs: reading a record, and deleting a run with everything that belongs to it.

use std::collections::BTreeMap;

use belljar_protocol::{
    Language, Limits, Policy, Priority, RunId, RunRecord, Timestamp, TraceParent, Usage,
};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::error::{StoreError, read_json};
use crate::locks;

/// The properties of a run that never change.
#[derive(Serialize, Deserialize)]
pub(crate) struct Facts {
    pub(crate) language: Language,
    pub(crate) entry: String,
    pub(crate) code_sha256: String,
    pub(crate) labels: BTreeMap<String, String>,
    pub(crate) priority: Priority,
    pub(crate) attempts: u32,
    pub(crate) rerun_of: Option<RunId>,
    pub(crate) token: String,
    pub(crate) policy: Policy,
    /// Names of the caller's own variables.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) env: Vec<String>,
    pub(crate) limits: Limits,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) traceparent: Option<TraceParent>,
}

/// The columns that a record is read from.
pub(crate) const COLUMNS: &str = "runs.id, projects.name AS project, status, runs.created_at, started_at, finished_at, attempt, due_at, runtime, comment, usage, facts, \
     history_dropped_at, submitted_by, first_line";

pub(crate) fn record(row: &SqliteRow) -> Result<RunRecord, StoreError> {
    let unreadable = |why: String| StoreError::Unreadable { what: "run", why };
    let facts: Facts = read_json("run", row.try_get("facts")?)?;
    let moment = |column| {
        Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix_ms))
    };
    Ok(RunRecord {
        id: run_id(row.try_get("id")?)?,
        project: row.try_get("project")?,
        status: row
            .try_get::<&str, _>("status")?
            .parse()
            .map_err(|error: belljar_protocol::UnknownState| unreadable(error.to_string()))?,
        language: facts.language,
        runtime: row.try_get("runtime")?,
        entry: facts.entry,
        code_sha256: facts.code_sha256,
        created_at: Timestamp::from_unix_ms(row.try_get("created_at")?),
        started_at: moment("started_at")?,
        finished_at: moment("finished_at")?,
        labels: facts.labels,
        comment: row.try_get("comment")?,
        priority: facts.priority,
        attempt: row.try_get::<i64, _>("attempt")? as u32,
        attempts: facts.attempts,
        rerun_of: facts.rerun_of,
        token_name: row
            .try_get::<Option<String>, _>("submitted_by")?
            .filter(|name| !name.is_empty() && *name != facts.token),
        token: facts.token,
        first_line: row.try_get("first_line")?,
        usage: row
            .try_get::<Option<&str>, _>("usage")?
            .map(|text| read_json::<Usage>("run", text))
            .transpose()?,
        policy: facts.policy,
        env: facts.env,
        limits: facts.limits,
        traceparent: facts.traceparent,
        history_dropped_at: moment("history_dropped_at")?,
        outcome: None,
    })
}

pub(crate) fn run_id(text: &str) -> Result<RunId, StoreError> {
    text.parse().map_err(|error: belljar_protocol::InvalidRunId| StoreError::Unreadable {
        what: "run",
        why: error.to_string(),
    })
}

/// Deletes a run and everything that belongs to it, and marks the contents of its artifacts for
/// deletion.
pub(crate) async fn delete(
    connection: &mut SqliteConnection,
    id: &str,
    project_id: &str,
) -> Result<(), StoreError> {
    locks::release(connection, id, project_id).await?;
    sqlx::query(
        "INSERT OR IGNORE INTO doomed_blobs (blob, since) SELECT blob, $1 FROM artifacts WHERE run_id = $2; \
         UPDATE projects SET storage_bytes = storage_bytes - (SELECT COALESCE(SUM(size_bytes), 0) FROM artifacts WHERE run_id = $2), \
         objects = objects - (SELECT COUNT(*) FROM artifacts WHERE run_id = $2), \
         history_bytes = history_bytes - (SELECT history_bytes FROM runs WHERE id = $2), \
         dropped_bytes = dropped_bytes - COALESCE((SELECT history_bytes FROM runs WHERE id = $2 AND history_dropped_at IS NOT NULL), 0) \
         WHERE id = $3; \
         DELETE FROM runs WHERE id = $2",
    )
    .bind(Timestamp::now().unix_ms())
    .bind(id)
    .bind(project_id)
    .execute(connection)
    .await?;
    Ok(())
}
