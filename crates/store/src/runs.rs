//! The records of runs.

use std::collections::BTreeMap;
use std::ops::Range;

use belljar_protocol::{Artifact, Language, Limits, Outcome, Policy, Priority, RunId, RunRecord, RunState, Timestamp, Usage};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use tokio::sync::oneshot;

use crate::Store;
use crate::audit::{self, Head, NewAuditEntry};
use crate::error::{StoreError, json, read_json};
use crate::idempotency::{self, KeyUse};
use crate::locks::{self, RunLock};
use crate::usage::UsedToday;

/// Numbers of events that are reserved at a time.
pub const EVENT_NUMBERS: u64 = 10_000;

/// A run that is accepted.
#[derive(Debug)]
pub struct NewRun {
    /// Its record, `queued` or `running`.
    pub record: RunRecord,
    /// The id of its project.
    pub project_id: String,
    /// What was asked, JSON.
    pub submission: String,
    /// Where its end is told.
    pub callback_url: Option<String>,
    /// The key that was given, so that it is not run twice.
    pub key: Option<KeyUse>,
    /// What the audit trail says of it.
    pub audit: NewAuditEntry,
}

/// How a run ended.
#[derive(Debug)]
pub struct Ending {
    /// The run.
    pub id: RunId,
    /// The id of its project.
    pub project_id: String,
    /// Which attempt.
    pub attempt: u32,
    /// How.
    pub outcome: Outcome,
    /// What happened since the last that was stored.
    pub events: EventLines,
    /// The files that it left.
    pub artifacts: Vec<StoredArtifact>,
    /// What the project may have in storage, these files included. Where they do not fit, nothing is stored.
    pub quota_bytes: Option<u64>,
    /// The lock that its packages were installed from.
    pub lock: Option<RunLock>,
    /// When it started, if it did.
    pub started_at: Option<Timestamp>,
    /// What the audit trail says of it.
    pub audit: NewAuditEntry,
}

/// Some events, one JSON object a line, each line with its end.
#[derive(Clone, Debug, Default)]
pub struct EventLines {
    /// The number of the first.
    pub seq: u64,
    /// Them.
    pub lines: String,
}

/// An artifact, and where its content is.
#[derive(Clone, Debug)]
pub struct StoredArtifact {
    /// What is known of it.
    pub artifact: Artifact,
    /// The key of its content.
    pub blob: String,
}

/// A run that was not over when the server last stopped.
#[derive(Debug)]
pub struct UnfinishedRun {
    /// Its record.
    pub record: RunRecord,
    /// The id of its project.
    pub project_id: String,
    /// What was asked, JSON.
    pub submission: String,
    /// When its next attempt is due.
    pub due_at: Timestamp,
    /// The numbers for its next events, as far as they are reserved. None of them was ever told.
    pub numbers: Range<u64>,
}

/// What never changes of a run.
#[derive(Serialize, Deserialize)]
struct Facts {
    language: Language,
    entry: String,
    code_sha256: String,
    labels: BTreeMap<String, String>,
    priority: Priority,
    attempts: u32,
    rerun_of: Option<RunId>,
    token: String,
    policy: Policy,
    limits: Limits,
}

/// What a record is made of.
pub(crate) const COLUMNS: &str =
    "runs.id, projects.name AS project, status, runs.created_at, started_at, finished_at, attempt, due_at, runtime, comment, usage, facts";

pub(crate) fn record(row: &SqliteRow) -> Result<RunRecord, StoreError> {
    let unreadable = |why: String| StoreError::Unreadable { what: "run", why };
    let facts: Facts = read_json("run", row.try_get("facts")?)?;
    let moment = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix_ms));
    Ok(RunRecord {
        id: run_id(row.try_get("id")?)?,
        project: row.try_get("project")?,
        status: row.try_get::<&str, _>("status")?.parse().map_err(|error: belljar_protocol::UnknownState| unreadable(error.to_string()))?,
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
        token: facts.token,
        usage: row.try_get::<Option<&str>, _>("usage")?.map(|text| read_json::<Usage>("run", text)).transpose()?,
        policy: facts.policy,
        limits: facts.limits,
        outcome: None,
    })
}

fn run_id(text: &str) -> Result<RunId, StoreError> {
    text.parse().map_err(|error: belljar_protocol::InvalidRunId| StoreError::Unreadable { what: "run", why: error.to_string() })
}

async fn insert(connection: &mut SqliteConnection, new: NewRun) -> Result<(), StoreError> {
    let NewRun { record, project_id, submission, callback_url, key, audit } = new;
    let facts = Facts {
        language: record.language,
        entry: record.entry,
        code_sha256: record.code_sha256,
        labels: record.labels,
        priority: record.priority,
        attempts: record.attempts,
        rerun_of: record.rerun_of,
        token: record.token,
        policy: record.policy,
        limits: record.limits,
    };
    let last = sqlx::query(concat!(
        "INSERT INTO runs (id, project_id, status, created_at, started_at, attempt, due_at, runtime, comment, facts, event_numbers_end) \
         VALUES ($1, $2, $3, $4, $5, $6, $4, $7, $8, $9, $11); \
         INSERT INTO run_submissions (run_id, submission) VALUES ($1, $10); ",
        audit::select_head!()
    ))
    .bind(record.id.as_str())
    .bind(&project_id)
    .bind(record.status.name())
    .bind(record.created_at.unix_ms())
    .bind(record.started_at.map(Timestamp::unix_ms))
    .bind(i64::from(record.attempt))
    .bind(record.runtime)
    .bind(record.comment)
    .bind(json(&facts))
    .bind(submission)
    .bind(EVENT_NUMBERS as i64)
    .fetch_optional(&mut *connection)
    .await?;
    let head = Head::of(last.as_ref())?;
    for (name, value) in facts.labels {
        sqlx::query("INSERT INTO run_labels (project_id, name, value, run_id) VALUES ($1, $2, $3, $4)")
            .bind(&project_id)
            .bind(name)
            .bind(value)
            .bind(record.id.as_str())
            .execute(&mut *connection)
            .await?;
    }
    if let Some(url) = callback_url {
        // Due once it has ended.
        sqlx::query("INSERT INTO callbacks (run_id, url, tries, due_at) VALUES ($1, $2, 0, $3)")
            .bind(record.id.as_str())
            .bind(url)
            .bind(i64::MAX)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(key) = key {
        idempotency::keep(connection, &project_id, key, &record.id).await?;
    }
    audit::append_after(connection, head, audit).await
}

async fn keep_events(connection: &mut SqliteConnection, id: &RunId, events: EventLines) -> Result<(), StoreError> {
    if events.lines.is_empty() {
        return Ok(());
    }
    sqlx::query("INSERT INTO run_events (run_id, seq, lines) VALUES ($1, $2, $3)")
        .bind(id.as_str())
        .bind(events.seq as i64)
        .bind(events.lines)
        .execute(connection)
        .await?;
    Ok(())
}

async fn end(connection: &mut SqliteConnection, ending: Ending) -> Result<(), StoreError> {
    let Ending { id, project_id, attempt, outcome, events, artifacts, quota_bytes, lock, started_at, audit } = ending;
    let now = Timestamp::now().unix_ms();
    let done = sqlx::query(
        "UPDATE runs SET status = $1, finished_at = $2, started_at = COALESCE($3, started_at), runtime = $4, usage = $5, attempt = $7 \
         WHERE id = $6 AND finished_at IS NULL",
    )
    .bind(outcome.status.name())
    .bind(now)
    .bind(started_at.map(Timestamp::unix_ms))
    .bind(&outcome.sandbox.runtime)
    .bind(json(&outcome.usage))
    .bind(id.as_str())
    .bind(i64::from(attempt))
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotUnderWay(id.to_string()));
    }
    let mut bytes = 0;
    for StoredArtifact { artifact, blob } in artifacts {
        bytes += artifact.size_bytes;
        sqlx::query("INSERT INTO artifacts (run_id, name, size_bytes, sha256, blob) VALUES ($1, $2, $3, $4, $5)")
            .bind(id.as_str())
            .bind(artifact.name)
            .bind(artifact.size_bytes as i64)
            .bind(artifact.sha256)
            .bind(blob)
            .execute(&mut *connection)
            .await?;
    }
    if bytes > 0 {
        let used: i64 = sqlx::query("SELECT storage_bytes FROM projects WHERE id = $1")
            .bind(&project_id)
            .fetch_one(&mut *connection)
            .await?
            .try_get(0)?;
        let used_bytes = used as u64;
        if let Some(quota_bytes) = quota_bytes.filter(|quota| used_bytes.saturating_add(bytes) > *quota) {
            return Err(StoreError::Quota { quota_bytes, used_bytes, asked_bytes: bytes });
        }
        sqlx::query("UPDATE projects SET storage_bytes = storage_bytes + $1 WHERE id = $2")
            .bind(bytes as i64)
            .bind(&project_id)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(lock) = lock {
        locks::keep(connection, &id, lock).await?;
    }
    let usage = UsedToday::of(&outcome.usage);
    let last = sqlx::query(concat!(
        "INSERT INTO run_events (run_id, seq, lines) SELECT $1, $2, $3 WHERE $3 <> ''; \
         INSERT INTO run_outcomes (run_id, outcome) VALUES ($1, $4); \
         INSERT INTO usage_days (project_id, day, runs, cpu_ms, wall_ms) VALUES ($5, $6, 1, $7, $8) \
         ON CONFLICT (project_id, day) DO UPDATE SET runs = runs + 1, cpu_ms = cpu_ms + excluded.cpu_ms, wall_ms = wall_ms + excluded.wall_ms; \
         UPDATE callbacks SET due_at = $9 WHERE run_id = $1; ",
        audit::select_head!()
    ))
    .bind(id.as_str())
    .bind(events.seq as i64)
    .bind(events.lines)
    .bind(json(&outcome))
    .bind(&project_id)
    .bind(usage.day)
    .bind(usage.cpu_ms)
    .bind(usage.wall_ms)
    .bind(now)
    .fetch_optional(&mut *connection)
    .await?;
    audit::append_after(connection, Head::of(last.as_ref())?, audit).await
}

/// Deletes a run with all that it has; its artifacts' contents are doomed.
pub(crate) async fn delete(connection: &mut SqliteConnection, id: &str, project_id: &str) -> Result<(), StoreError> {
    locks::release(connection, id).await?;
    sqlx::query(
        "INSERT OR IGNORE INTO doomed_blobs (blob, since) SELECT blob, $1 FROM artifacts WHERE run_id = $2; \
         UPDATE projects SET storage_bytes = storage_bytes - (SELECT COALESCE(SUM(size_bytes), 0) FROM artifacts WHERE run_id = $2) WHERE id = $3; \
         DELETE FROM runs WHERE id = $2",
    )
    .bind(Timestamp::now().unix_ms())
    .bind(id)
    .bind(project_id)
    .execute(connection)
    .await?;
    Ok(())
}

impl Store {
    /// Accepts a run. What is given waits for the commit; the order among queued changes is kept without waiting for it.
    pub async fn accept_run(&self, new: NewRun) -> oneshot::Receiver<Result<(), StoreError>> {
        self.writer.queue(move |connection| Box::pin(insert(connection, new))).await
    }

    /// Why a change of [`Store::accept_run`] got no answer.
    pub fn unanswered(&self) -> StoreError {
        self.writer.unanswered()
    }

    /// Notes that a run's program is about to start.
    pub async fn start_run(&self, id: RunId, attempt: u32) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE runs SET status = 'running', attempt = $1, started_at = $2 WHERE id = $3 AND finished_at IS NULL",
                    )
                    .bind(i64::from(attempt))
                    .bind(Timestamp::now().unix_ms())
                    .bind(id.as_str())
                    .execute(connection)
                    .await?;
                    if done.rows_affected() == 0 { Err(StoreError::NotUnderWay(id.to_string())) } else { Ok(()) }
                })
            })
            .await
    }

    /// Puts a run back into the queue for another attempt, with all of its events. Numbers below `numbers_end` are reserved for the next ones.
    pub async fn requeue_run(
        &self,
        id: RunId,
        due_at: Timestamp,
        events: EventLines,
        numbers_end: u64,
        audit: NewAuditEntry,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query(
                        "UPDATE runs SET status = 'queued', due_at = $1, event_numbers_end = $3 WHERE id = $2 AND finished_at IS NULL",
                    )
                    .bind(due_at.unix_ms())
                    .bind(id.as_str())
                    .bind(numbers_end as i64)
                    .execute(&mut *connection)
                    .await?;
                    if done.rows_affected() == 0 {
                        return Err(StoreError::NotUnderWay(id.to_string()));
                    }
                    keep_events(connection, &id, events).await?;
                    audit::append(connection, audit).await
                })
            })
            .await
    }

    /// Keeps events of a run that is under way.
    pub async fn keep_run_events(&self, id: RunId, events: EventLines) -> Result<(), StoreError> {
        self.writer.write(move |connection| Box::pin(async move { keep_events(connection, &id, events).await })).await
    }

    /// Reserves the numbers below `end` for events of a run that is under way: from then on they can be told.
    pub async fn reserve_event_numbers(&self, id: RunId, end: u64) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("UPDATE runs SET event_numbers_end = $1 WHERE id = $2 AND finished_at IS NULL")
                        .bind(end as i64)
                        .bind(id.as_str())
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }

    /// Ends a run, once: a second end is refused.
    pub async fn end_run(&self, ending: Ending) -> Result<(), StoreError> {
        self.writer.write(move |connection| Box::pin(end(connection, ending))).await
    }

    /// A run's record, without its outcome.
    pub async fn run(&self, project_id: &str, id: &RunId) -> Result<RunRecord, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM runs JOIN projects ON projects.id = runs.project_id WHERE runs.id = ").push_bind(id.as_str());
        query.push(" AND project_id = ").push_bind(project_id);
        let row = query.build().fetch_optional(&self.readers).await?;
        record(&row.ok_or_else(|| StoreError::not_found("run", id.as_str()))?)
    }

    /// A run's outcome, once there is one. Asks for no project: whoever calls has found the run in one.
    pub async fn run_outcome(&self, id: &RunId) -> Result<Option<Outcome>, StoreError> {
        let row = sqlx::query("SELECT outcome FROM run_outcomes WHERE run_id = $1").bind(id.as_str()).fetch_optional(&self.readers).await?;
        row.map(|row| read_json("outcome", row.try_get(0)?)).transpose()
    }

    /// What was asked, JSON.
    pub async fn run_submission(&self, id: &RunId) -> Result<String, StoreError> {
        let row =
            sqlx::query("SELECT submission FROM run_submissions WHERE run_id = $1").bind(id.as_str()).fetch_optional(&self.readers).await?;
        Ok(row.ok_or_else(|| StoreError::not_found("run", id.as_str()))?.try_get(0)?)
    }

    /// The stored events of a run, in order, in the pieces that they were stored in. Pieces that end before `from` are left out.
    pub async fn run_events(&self, id: &RunId, from: u64) -> Result<Vec<EventLines>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, lines FROM run_events WHERE run_id = $1 \
             AND seq >= COALESCE((SELECT MAX(seq) FROM run_events WHERE run_id = $1 AND seq <= $2), 0) ORDER BY seq",
        )
        .bind(id.as_str())
        .bind(from as i64)
        .fetch_all(&self.readers)
        .await?;
        rows.iter().map(|row| Ok(EventLines { seq: row.try_get::<i64, _>(0)? as u64, lines: row.try_get(1)? })).collect()
    }

    /// All runs that are not over, in the order in which they were accepted.
    pub async fn unfinished_runs(&self) -> Result<Vec<UnfinishedRun>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(
            ", project_id, submission, event_numbers_end, (SELECT lines FROM run_events WHERE run_id = runs.id ORDER BY seq DESC LIMIT 1) AS last_lines, \
             (SELECT MAX(seq) FROM run_events WHERE run_id = runs.id) AS last_seq \
             FROM runs JOIN projects ON projects.id = runs.project_id JOIN run_submissions ON run_id = runs.id \
             WHERE finished_at IS NULL ORDER BY runs.id",
        );
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                let last_lines: Option<&str> = row.try_get("last_lines")?;
                let last_seq: Option<i64> = row.try_get("last_seq")?;
                let record = record(row)?;
                let stored = last_seq.map_or(0, |seq| seq as u64 + last_lines.unwrap_or_default().lines().count() as u64);
                let end = row.try_get::<i64, _>("event_numbers_end")? as u64;
                Ok(UnfinishedRun {
                    // Of one that waits all that was told is stored, but for the first. Of one under way any number may have been told that was reserved.
                    numbers: if record.status == RunState::Queued { stored..end.max(stored) } else { end.max(stored)..end.max(stored) },
                    record,
                    project_id: row.try_get("project_id")?,
                    submission: row.try_get("submission")?,
                    due_at: Timestamp::from_unix_ms(row.try_get("due_at")?),
                })
            })
            .collect()
    }

    /// Deletes a run that is over, and all that it has.
    pub async fn delete_run(&self, project_id: String, id: RunId, audit: NewAuditEntry) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let row = sqlx::query("SELECT finished_at IS NULL FROM runs WHERE id = $1 AND project_id = $2")
                        .bind(id.as_str())
                        .bind(&project_id)
                        .fetch_optional(&mut *connection)
                        .await?;
                    let row = row.ok_or_else(|| StoreError::not_found("run", id.as_str()))?;
                    if row.try_get::<bool, _>(0)? {
                        return Err(StoreError::Exists { what: "process of the run", name: id.to_string() });
                    }
                    delete(connection, id.as_str(), &project_id).await?;
                    audit::append(connection, audit).await
                })
            })
            .await
    }

    /// The artifacts of a run, by name.
    pub async fn artifacts(&self, id: &RunId) -> Result<Vec<StoredArtifact>, StoreError> {
        let rows = sqlx::query("SELECT name, size_bytes, sha256, blob FROM artifacts WHERE run_id = $1 ORDER BY name")
            .bind(id.as_str())
            .fetch_all(&self.readers)
            .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredArtifact {
                    artifact: Artifact { name: row.try_get(0)?, size_bytes: row.try_get::<i64, _>(1)? as u64, sha256: row.try_get(2)? },
                    blob: row.try_get(3)?,
                })
            })
            .collect()
    }
}
