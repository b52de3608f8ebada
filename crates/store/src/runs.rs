//! The records of runs.

use std::collections::BTreeMap;
use std::ops::Range;

use belljar_protocol::{Artifact, Language, Limits, Outcome, Policy, Priority, RunId, RunRecord, RunState, StorageQuota, Timestamp, Usage};
use serde::{Deserialize, Serialize};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};
use tokio::sync::oneshot;

use crate::Store;
use crate::accounts::{self, Reservation, Stored};
use crate::audit::{self, Head, NewAuditEntry};
use crate::error::{StoreError, json, read_json};
use crate::history::{self, KeptOutcome, Trimmed};
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
    /// What the history of the project's runs may have.
    pub history_quota_bytes: u64,
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
    /// How. Without logs and results where `logs_from` says which events have them.
    pub outcome: Outcome,
    /// The number of the first event whose logs and results are the outcome's.
    pub logs_from: Option<u64>,
    /// What happened since the last that was stored, the end included, which [`last_event_stub`](crate::last_event_stub) stands for.
    pub events: EventLines,
    /// The files that it left.
    pub artifacts: Vec<StoredArtifact>,
    /// Their room, reserved before they were moved there.
    pub reservation: Option<Reservation>,
    /// What the project may have in storage, these files included. Where they do not fit, nothing is stored.
    pub quota: StorageQuota,
    /// What the history of the project's runs may have. Beyond it the oldest are dropped.
    pub history_quota_bytes: u64,
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
pub(crate) const COLUMNS: &str = "runs.id, projects.name AS project, status, runs.created_at, started_at, finished_at, attempt, due_at, runtime, comment, usage, facts, \
     history_dropped_at";

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
        history_dropped_at: moment("history_dropped_at")?,
        outcome: None,
    })
}

fn run_id(text: &str) -> Result<RunId, StoreError> {
    text.parse().map_err(|error: belljar_protocol::InvalidRunId| StoreError::Unreadable { what: "run", why: error.to_string() })
}

async fn insert(connection: &mut SqliteConnection, new: NewRun) -> Result<Option<Trimmed>, StoreError> {
    let NewRun { record, project_id, submission, callback_url, key, history_quota_bytes, audit } = new;
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
    let stored_facts = json(&facts);
    let bytes = history::record_bytes(&stored_facts, record.comment.as_deref()) + submission.len() as u64;
    let last = sqlx::query(
        "INSERT INTO runs (id, project_id, status, created_at, started_at, attempt, due_at, runtime, comment, facts, event_numbers_end, \
         history_bytes) VALUES ($1, $2, $3, $4, $5, $6, $4, $7, $8, $9, $11, $12); \
         INSERT INTO run_submissions (run_id, submission) VALUES ($1, $10); \
         UPDATE projects SET history_bytes = history_bytes + $12 WHERE id = $2; \
         SELECT seq, hash, (SELECT history_bytes FROM projects WHERE id = $2) FROM audit ORDER BY seq DESC LIMIT 1",
    )
    .bind(record.id.as_str())
    .bind(&project_id)
    .bind(record.status.name())
    .bind(record.created_at.unix_ms())
    .bind(record.started_at.map(Timestamp::unix_ms))
    .bind(i64::from(record.attempt))
    .bind(record.runtime)
    .bind(record.comment)
    .bind(stored_facts)
    .bind(submission)
    .bind(EVENT_NUMBERS as i64)
    .bind(bytes as i64)
    .fetch_optional(&mut *connection)
    .await?;
    let (head, used_bytes) = (Head::of(last.as_ref())?, used_bytes(last.as_ref())?);
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
    audit::append_after(connection, head, audit).await?;
    history::trim_if(connection, &project_id, used_bytes, history_quota_bytes).await
}

/// Bytes of history that a project has, where a statement gave them after the head of the audit trail. Without one it is the first run.
fn used_bytes(row: Option<&SqliteRow>) -> Result<u64, StoreError> {
    Ok(row.map(|row| row.try_get::<i64, _>(2)).transpose()?.unwrap_or(0) as u64)
}

async fn keep_events(
    connection: &mut SqliteConnection,
    id: &RunId,
    events: EventLines,
    (project_id, history_quota_bytes): (&str, u64),
) -> Result<Option<Trimmed>, StoreError> {
    if events.lines.is_empty() {
        return Ok(None);
    }
    let bytes = events.lines.len() as u64;
    sqlx::query("INSERT INTO run_events (run_id, seq, lines) VALUES ($1, $2, $3)")
        .bind(id.as_str())
        .bind(events.seq as i64)
        .bind(events.lines)
        .execute(&mut *connection)
        .await?;
    history::add(connection, project_id, id, bytes, history_quota_bytes).await
}

/// Ends a run.
async fn end(connection: &mut SqliteConnection, ending: Ending) -> Result<Option<Trimmed>, StoreError> {
    let Ending {
        id, project_id, attempt, outcome, logs_from, events, artifacts, quota, history_quota_bytes, lock, started_at, audit, ..
    } = ending;
    let usage = UsedToday::of(&outcome.usage);
    let (status, runtime, used) = (outcome.status.name(), outcome.sandbox.runtime.clone(), json(&outcome.usage));
    let kept = KeptOutcome::of(outcome);
    let bytes = kept.len() + events.lines.len() as u64;
    let now = Timestamp::now().unix_ms();
    let done = sqlx::query(
        "UPDATE runs SET status = $1, finished_at = $2, started_at = COALESCE($3, started_at), runtime = $4, usage = $5, attempt = $7, \
         history_bytes = history_bytes + $8 WHERE id = $6 AND finished_at IS NULL",
    )
    .bind(status)
    .bind(now)
    .bind(started_at.map(Timestamp::unix_ms))
    .bind(runtime)
    .bind(used)
    .bind(id.as_str())
    .bind(i64::from(attempt))
    .bind(bytes as i64)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotUnderWay(id.to_string()));
    }
    let (files, mut file_bytes) = (artifacts.len() as u64, 0);
    for StoredArtifact { artifact, blob } in artifacts {
        file_bytes += artifact.size_bytes;
        sqlx::query("INSERT INTO artifacts (run_id, name, size_bytes, sha256, blob) VALUES ($1, $2, $3, $4, $5)")
            .bind(id.as_str())
            .bind(artifact.name)
            .bind(artifact.size_bytes as i64)
            .bind(artifact.sha256)
            .bind(blob)
            .execute(&mut *connection)
            .await?;
    }
    if files > 0 {
        let has = accounts::stored(connection, &project_id).await?;
        within(has, Stored { bytes: file_bytes, objects: files }, quota)?;
        sqlx::query("UPDATE projects SET storage_bytes = storage_bytes + $1, objects = objects + $3 WHERE id = $2")
            .bind(file_bytes as i64)
            .bind(&project_id)
            .bind(files as i64)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(lock) = lock {
        locks::keep(connection, &id, &project_id, lock).await?;
    }
    let last = sqlx::query(
        "INSERT INTO run_events (run_id, seq, lines) SELECT $1, $2, $3 WHERE $3 <> ''; \
         INSERT INTO run_outcomes (run_id, outcome, value, logs_from) VALUES ($1, $4, $10, $11); \
         INSERT INTO usage_days (project_id, day, runs, cpu_ms, wall_ms) VALUES ($5, $6, 1, $7, $8) \
         ON CONFLICT (project_id, day) DO UPDATE SET runs = runs + 1, cpu_ms = cpu_ms + excluded.cpu_ms, wall_ms = wall_ms + excluded.wall_ms; \
         UPDATE callbacks SET due_at = $9 WHERE run_id = $1; \
         UPDATE projects SET history_bytes = history_bytes + $12 WHERE id = $5; \
         SELECT seq, hash, (SELECT history_bytes FROM projects WHERE id = $5) FROM audit ORDER BY seq DESC LIMIT 1",
    )
    .bind(id.as_str())
    .bind(events.seq as i64)
    .bind(events.lines)
    .bind(kept.outcome)
    .bind(&project_id)
    .bind(usage.day)
    .bind(usage.cpu_ms)
    .bind(usage.wall_ms)
    .bind(now)
    .bind(kept.value)
    .bind(logs_from.map(|seq| seq as i64))
    .bind(bytes as i64)
    .fetch_optional(&mut *connection)
    .await?;
    let used_bytes = used_bytes(last.as_ref())?;
    audit::append_after(connection, Head::of(last.as_ref())?, audit).await?;
    let trimmed = history::trim_if(connection, &project_id, used_bytes, history_quota_bytes).await?;
    if trimmed.is_some() || files == 0 {
        return Ok(trimmed);
    }
    Ok(Some(Trimmed { stored: accounts::stored(connection, &project_id).await?, is_over: false }))
}

/// Refuses what does not fit in addition.
pub(crate) fn within(has: Stored, more: Stored, quota: StorageQuota) -> Result<(), StoreError> {
    if let Some(quota_bytes) = quota.bytes.filter(|quota| more.bytes > 0 && has.bytes.saturating_add(more.bytes) > *quota) {
        return Err(StoreError::Quota { quota_bytes, used_bytes: has.bytes, asked_bytes: more.bytes });
    }
    if more.objects > 0 && has.objects.saturating_add(more.objects) > quota.objects {
        return Err(StoreError::ObjectQuota { quota: quota.objects, used: has.objects, asked: more.objects });
    }
    Ok(())
}

/// Deletes a run with all that it has; its artifacts' contents are doomed.
pub(crate) async fn delete(connection: &mut SqliteConnection, id: &str, project_id: &str) -> Result<(), StoreError> {
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

impl Store {
    /// Accepts a run. What is given waits for the commit; the order among queued changes is kept without waiting for it.
    pub async fn accept_run(&self, new: NewRun) -> oneshot::Receiver<Result<Option<Trimmed>, StoreError>> {
        let then = self.settling(new.project_id.clone(), None);
        self.writer.queue_then(move |connection| Box::pin(insert(connection, new)), then).await
    }

    /// Takes a commit over into the project's account.
    pub(crate) fn settling(&self, project_id: String, reservation: Option<Reservation>) -> impl FnOnce(&Option<Trimmed>) + Send + use<> {
        let accounts = self.accounts.clone();
        move |trimmed| {
            if let Some(trimmed) = trimmed {
                accounts.settle(&project_id, trimmed.stored, reservation);
            }
        }
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
        (project_id, history_quota_bytes): (String, u64),
        audit: NewAuditEntry,
    ) -> Result<(), StoreError> {
        let then = self.settling(project_id.clone(), None);
        self.writer
            .write_then(
                move |connection| {
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
                        let stored = keep_events(connection, &id, events, (&project_id, history_quota_bytes)).await?;
                        audit::append(connection, audit).await?;
                        Ok(stored)
                    })
                },
                then,
            )
            .await?;
        Ok(())
    }

    /// Keeps events of a run that is under way.
    pub async fn keep_run_events(
        &self,
        id: RunId,
        events: EventLines,
        (project_id, history_quota_bytes): (String, u64),
    ) -> Result<(), StoreError> {
        let then = self.settling(project_id.clone(), None);
        self.writer
            .write_then(
                move |connection| Box::pin(async move { keep_events(connection, &id, events, (&project_id, history_quota_bytes)).await }),
                then,
            )
            .await?;
        Ok(())
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

    /// Ends a run, once: a second end is refused. Gives whether the project still has more history than it may: then
    /// [`Store::trim_history`] drops the rest.
    pub async fn end_run(&self, mut ending: Ending) -> Result<bool, StoreError> {
        let then = self.settling(ending.project_id.clone(), ending.reservation.take());
        let trimmed = self.writer.write_then(move |connection| Box::pin(end(connection, ending)), then).await?;
        Ok(trimmed.is_some_and(|trimmed| trimmed.is_over))
    }

    /// A run's record, without its outcome.
    pub async fn run(&self, project_id: &str, id: &RunId) -> Result<RunRecord, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(" FROM runs JOIN projects ON projects.id = runs.project_id WHERE runs.id = ").push_bind(id.as_str());
        query.push(" AND project_id = ").push_bind(project_id);
        let row = query.build().fetch_optional(&self.readers).await?;
        record(&row.ok_or_else(|| StoreError::not_found("run", id.as_str()))?)
    }

    /// What was asked, JSON.
    pub async fn run_submission(&self, id: &RunId) -> Result<String, StoreError> {
        let row =
            sqlx::query("SELECT submission FROM run_submissions WHERE run_id = $1").bind(id.as_str()).fetch_optional(&self.readers).await?;
        Ok(row.ok_or_else(|| StoreError::not_found("run", id.as_str()))?.try_get(0)?)
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
        let then = self.settling(project_id.clone(), None);
        self.writer
            .write_then(
                move |connection| {
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
                        audit::append(connection, audit).await?;
                        Ok(Some(Trimmed { stored: accounts::stored(connection, &project_id).await?, is_over: false }))
                    })
                },
                then,
            )
            .await?;
        Ok(())
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
