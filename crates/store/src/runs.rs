//! Records of runs, from their acceptance to their end.

use std::ops::Range;

use belljar_protocol::{Artifact, Outcome, RunId, RunRecord, RunState, StorageQuota, Timestamp};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::accounts::{self, Reservation, StorageTotals, Trimmed, check_quota};
use crate::audit::{self, Head, NewAuditEntry};
use crate::error::{StoreError, json};
use crate::history;
use crate::idempotency::{self, KeyUse};
use crate::locks::{self, RunLock};
use crate::run_output::{EventLines, KeptOutcome, last_event_stub};
use crate::run_records::{COLUMNS, Facts, delete, record};
use crate::store::Store;
use crate::usage::UsedToday;
use crate::writer::QueuedChange;

/// The number of event numbers that are reserved at once.
pub const EVENT_NUMBERS: u64 = 10_000;

/// A run to be accepted.
#[derive(Debug)]
pub struct NewRun {
    /// Record of the run, `queued` or `running`.
    pub record: RunRecord,
    /// Id of the run's project.
    pub project_id: String,
    /// Submission as JSON, without its variables.
    pub submission: String,
    /// Variables of the submission, encrypted. They are deleted when the run ends.
    pub sealed_variables: Option<Vec<u8>>,
    /// URL that receives the end of the run.
    pub callback_url: Option<String>,
    /// Idempotency key of the submission, so that it is not run twice.
    pub key: Option<KeyUse>,
    /// History quota of the project.
    pub history_quota_bytes: u64,
    /// Entry for the audit trail.
    pub audit: NewAuditEntry,
}

/// A run that has ended, without its outcome.
#[derive(Debug)]
pub struct FinishedRun {
    /// Id of the run.
    pub id: RunId,
    /// Id of the run's project.
    pub project_id: String,
    /// Number of the attempt.
    pub attempt: u32,
    /// Number of the first event that contains logs and results of the outcome, if events contain
    /// all of them. They are then stored as events only.
    pub logs_from: Option<u64>,
    /// Events since the last stored ones, without the last event, `finished`.
    pub events: EventLines,
    /// Number of the last event.
    pub last_seq: u64,
    /// Time of the last event.
    pub last_timestamp: Timestamp,
    /// Files that the run left.
    pub artifacts: Vec<StoredArtifact>,
    /// Storage that was reserved for the artifacts before they were moved there.
    pub reservation: Option<Reservation>,
    /// Storage quota of the project, which includes these artifacts. If they do not fit, nothing is
    /// stored.
    pub quota: StorageQuota,
    /// History quota of the project. If it is exceeded, the oldest history is removed.
    pub history_quota_bytes: u64,
    /// Lock file of its packages.
    pub lock: Option<RunLock>,
    /// Time at which the program started, if it did.
    pub started_at: Option<Timestamp>,
    /// The token that submitted the run, or `operator`, whose usage it counts for.
    pub token: String,
    /// Entry for the audit trail.
    pub audit: NewAuditEntry,
}

/// A run that is being stored. It is stored even if this is dropped.
#[derive(Debug)]
pub struct AcceptedRun(QueuedChange<Option<Trimmed>>);

impl AcceptedRun {
    /// Waits until the run is stored.
    pub async fn stored(self) -> Result<(), StoreError> {
        self.0.committed().await.map(|_| ())
    }
}

/// An artifact and the key of its content.
#[derive(Clone, Debug)]
pub struct StoredArtifact {
    /// Record of the artifact.
    pub artifact: Artifact,
    /// Key of the content.
    pub blob: String,
}

/// A run that was unfinished when the server last stopped.
#[derive(Debug)]
pub struct UnfinishedRun {
    /// Record of the run.
    pub record: RunRecord,
    /// Id of the run's project.
    pub project_id: String,
    /// Submission as JSON, without its variables.
    pub submission: String,
    /// Variables of the submission, encrypted.
    pub sealed_variables: Option<Vec<u8>>,
    /// Time at which its next attempt is due.
    pub due_at: Timestamp,
    /// Reserved numbers for its next events, none of which has been published.
    pub numbers: Range<u64>,
}

/// The next attempt of a run that is put back into the queue.
#[derive(Clone, Copy, Debug)]
pub struct NextAttempt {
    /// Its number, from 2 on.
    pub number: u32,
    /// The earliest time at which it begins.
    pub due_at: Timestamp,
}

async fn insert(
    connection: &mut SqliteConnection,
    new: NewRun,
) -> Result<Option<Trimmed>, StoreError> {
    let NewRun {
        record,
        project_id,
        submission,
        sealed_variables,
        callback_url,
        key,
        history_quota_bytes,
        audit,
    } = new;
    let submitted_by = record.token_name.unwrap_or_else(|| record.token.clone());
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
        env: record.env,
        limits: record.limits,
        traceparent: record.traceparent,
    };
    let stored_facts = json(&facts);
    let bytes =
        history::record_bytes(&stored_facts, record.comment.as_deref()) + submission.len() as u64;
    let last = sqlx::query(
        "INSERT INTO runs (id, project_id, status, created_at, started_at, attempt, due_at, runtime, comment, facts, event_numbers_end, \
         history_bytes, submitted_by, first_line) VALUES ($1, $2, $3, $4, $5, $6, $4, $7, $8, $9, $11, $12, $13, $14); \
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
    .bind(submitted_by)
    .bind(record.first_line)
    .fetch_optional(&mut *connection)
    .await?;
    let (head, used_bytes) = (Head::of(last.as_ref())?, used_bytes(last.as_ref())?);
    for (name, value) in facts.labels {
        sqlx::query(
            "INSERT INTO run_labels (project_id, name, value, run_id) VALUES ($1, $2, $3, $4)",
        )
        .bind(&project_id)
        .bind(name)
        .bind(value)
        .bind(record.id.as_str())
        .execute(&mut *connection)
        .await?;
    }
    if let Some(sealed) = sealed_variables {
        sqlx::query("INSERT INTO run_variables (run_id, sealed) VALUES ($1, $2)")
            .bind(record.id.as_str())
            .bind(sealed)
            .execute(&mut *connection)
            .await?;
    }
    if let Some(url) = callback_url {
        // The callback becomes due when the run ends.
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

/// Returns the history bytes of a project from a row that has them after the head of the audit
/// trail. Without a row, this is the project's first run.
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

/// Ends a run in a transaction.
async fn end(
    connection: &mut SqliteConnection,
    run: FinishedRun,
    kept: KeptOutcome,
) -> Result<Option<Trimmed>, StoreError> {
    let FinishedRun {
        id,
        project_id,
        attempt,
        logs_from,
        events,
        artifacts,
        quota,
        history_quota_bytes,
        lock,
        started_at,
        token,
        audit,
        ..
    } = run;
    let today = UsedToday::of(&kept.usage);
    let bytes = kept.len() + events.lines.len() as u64;
    let now = Timestamp::now().unix_ms();
    let done = sqlx::query(
        "UPDATE runs SET status = $1, finished_at = $2, started_at = COALESCE($3, started_at), runtime = $4, usage = $5, attempt = $7, \
         history_bytes = history_bytes + $8 WHERE id = $6 AND finished_at IS NULL",
    )
    .bind(kept.status.name())
    .bind(now)
    .bind(started_at.map(Timestamp::unix_ms))
    .bind(kept.runtime)
    .bind(json(&kept.usage))
    .bind(id.as_str())
    .bind(i64::from(attempt))
    .bind(bytes as i64)
    .execute(&mut *connection)
    .await?;
    if done.rows_affected() == 0 {
        return Err(StoreError::NotInProgress(id.to_string()));
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
        check_quota(has, StorageTotals { bytes: file_bytes, objects: files }, quota)?;
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
         INSERT INTO usage_days (project_id, day, token, runs, cpu_ms, wall_ms) VALUES ($5, $6, $13, 1, $7, $8) \
         ON CONFLICT (project_id, day, token) DO UPDATE SET runs = runs + 1, cpu_ms = cpu_ms + excluded.cpu_ms, wall_ms = wall_ms + excluded.wall_ms; \
         UPDATE callbacks SET due_at = $9 WHERE run_id = $1; \
         DELETE FROM run_variables WHERE run_id = $1; \
         UPDATE projects SET history_bytes = history_bytes + $12 WHERE id = $5; \
         SELECT seq, hash, (SELECT history_bytes FROM projects WHERE id = $5) FROM audit ORDER BY seq DESC LIMIT 1",
    )
    .bind(id.as_str())
    .bind(events.seq as i64)
    .bind(events.lines)
    .bind(kept.outcome)
    .bind(&project_id)
    .bind(today.day)
    .bind(today.cpu_ms)
    .bind(today.wall_ms)
    .bind(now)
    .bind(kept.value)
    .bind(logs_from.map(|seq| seq as i64))
    .bind(bytes as i64)
    .bind(token)
    .fetch_optional(&mut *connection)
    .await?;
    let used_bytes = used_bytes(last.as_ref())?;
    audit::append_after(connection, Head::of(last.as_ref())?, audit).await?;
    let trimmed =
        history::trim_if(connection, &project_id, used_bytes, history_quota_bytes).await?;
    if trimmed.is_some() || files == 0 {
        return Ok(trimmed);
    }
    Ok(Some(Trimmed::read(connection, &project_id).await?))
}

impl Store {
    /// Accepts a run. It is stored before all later changes of the run, whether or not the caller
    /// waits for that.
    pub async fn accept_run(&self, new: NewRun) -> AcceptedRun {
        let then = self.settling(new.project_id.clone(), None);
        let queued =
            self.writer.queue_then(move |connection| Box::pin(insert(connection, new)), then);
        AcceptedRun(queued.await)
    }

    /// Records that a run's program is about to start.
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
                    if done.rows_affected() == 0 {
                        return Err(StoreError::NotInProgress(id.to_string()));
                    }
                    Ok(())
                })
            })
            .await
    }

    /// Queues a run for its next attempt, and stores all of its events. The number of that attempt
    /// is stored with it: a server that dies before the attempt begins must not count it twice.
    /// Numbers below `numbers_end` are reserved for the next events.
    pub async fn requeue_run(
        &self,
        id: RunId,
        next: NextAttempt,
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
                            "UPDATE runs SET status = 'queued', due_at = $1, event_numbers_end = $3, attempt = $4 \
                             WHERE id = $2 AND finished_at IS NULL",
                        )
                        .bind(next.due_at.unix_ms())
                        .bind(id.as_str())
                        .bind(numbers_end as i64)
                        .bind(i64::from(next.number))
                        .execute(&mut *connection)
                        .await?;
                        if done.rows_affected() == 0 {
                            return Err(StoreError::NotInProgress(id.to_string()));
                        }
                        let history = (project_id.as_str(), history_quota_bytes);
                        let stored = keep_events(connection, &id, events, history).await?;
                        audit::append(connection, audit).await?;
                        Ok(stored)
                    })
                },
                then,
            )
            .await?;
        Ok(())
    }

    /// Stores events of a running run.
    pub async fn keep_run_events(
        &self,
        id: RunId,
        events: EventLines,
        (project_id, history_quota_bytes): (String, u64),
    ) -> Result<(), StoreError> {
        let then = self.settling(project_id.clone(), None);
        self.writer
            .write_then(
                move |connection| {
                    Box::pin(async move {
                        keep_events(connection, &id, events, (&project_id, history_quota_bytes))
                            .await
                    })
                },
                then,
            )
            .await?;
        Ok(())
    }

    /// Reserves the numbers below `end` for events of a running run, so that these can be
    /// published.
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

    /// Ends a run. A second end is refused. Returns whether the project still exceeds its history
    /// quota, so that [`Store::trim_history`] has to remove more.
    pub async fn end_run(
        &self,
        mut run: FinishedRun,
        outcome: &Outcome,
    ) -> Result<bool, StoreError> {
        let kept = KeptOutcome::of(outcome, run.logs_from);
        run.events.lines.push_str(&last_event_stub(run.last_seq, run.last_timestamp));
        run.events.lines.push('\n');
        let then = self.settling(run.project_id.clone(), run.reservation.take());
        let trimmed = self
            .writer
            .write_then(move |connection| Box::pin(end(connection, run, kept)), then)
            .await?;
        Ok(trimmed.is_some_and(|trimmed| trimmed.is_over))
    }

    /// Returns a run's record without its outcome.
    pub async fn run(&self, project_id: &str, id: &RunId) -> Result<RunRecord, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query
            .push(COLUMNS)
            .push(" FROM runs JOIN projects ON projects.id = runs.project_id WHERE runs.id = ")
            .push_bind(id.as_str());
        query.push(" AND project_id = ").push_bind(project_id);
        let row = query.build().fetch_optional(&self.readers).await?;
        record(&row.ok_or_else(|| StoreError::not_found("run", id.as_str()))?)
    }

    /// Returns the submission of a run as JSON.
    pub async fn run_submission(&self, id: &RunId) -> Result<String, StoreError> {
        let row = sqlx::query("SELECT submission FROM run_submissions WHERE run_id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.ok_or_else(|| StoreError::not_found("run", id.as_str()))?.try_get(0)?)
    }

    /// Returns all unfinished runs in the order in which they were accepted.
    pub async fn unfinished_runs(&self) -> Result<Vec<UnfinishedRun>, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT ");
        query.push(COLUMNS).push(
            ", project_id, submission, event_numbers_end, (SELECT lines FROM run_events WHERE run_id = runs.id ORDER BY seq DESC LIMIT 1) AS last_lines, \
             (SELECT MAX(seq) FROM run_events WHERE run_id = runs.id) AS last_seq, \
             (SELECT sealed FROM run_variables WHERE run_id = runs.id) AS sealed_variables \
             FROM runs JOIN projects ON projects.id = runs.project_id JOIN run_submissions ON run_id = runs.id \
             WHERE finished_at IS NULL ORDER BY runs.id",
        );
        let rows = query.build().fetch_all(&self.readers).await?;
        rows.iter()
            .map(|row| {
                let last_lines: Option<&str> = row.try_get("last_lines")?;
                let last_seq: Option<i64> = row.try_get("last_seq")?;
                let record = record(row)?;
                let stored = last_seq.map_or(0, |seq| {
                    seq as u64 + last_lines.unwrap_or_default().lines().count() as u64
                });
                let end = row.try_get::<i64, _>("event_numbers_end")? as u64;
                Ok(UnfinishedRun {
                    // For a queued run, all published events except the first are stored. For a
                    // running one, any reserved number may have been published.
                    numbers: if record.status == RunState::Queued {
                        stored..end.max(stored)
                    } else {
                        end.max(stored)..end.max(stored)
                    },
                    record,
                    project_id: row.try_get("project_id")?,
                    submission: row.try_get("submission")?,
                    sealed_variables: row.try_get("sealed_variables")?,
                    due_at: Timestamp::from_unix_ms(row.try_get("due_at")?),
                })
            })
            .collect()
    }

    /// Deletes a finished run and everything that belongs to it.
    pub async fn delete_run(
        &self,
        project_id: String,
        id: RunId,
        audit: NewAuditEntry,
    ) -> Result<(), StoreError> {
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
                            return Err(StoreError::Exists {
                                what: "process of the run",
                                name: id.to_string(),
                            });
                        }
                        delete(connection, id.as_str(), &project_id).await?;
                        audit::append(connection, audit).await?;
                        Ok(Some(Trimmed::read(connection, &project_id).await?))
                    })
                },
                then,
            )
            .await?;
        Ok(())
    }

    /// Returns the artifacts of a run, ordered by name.
    pub async fn artifacts(&self, id: &RunId) -> Result<Vec<StoredArtifact>, StoreError> {
        let rows = sqlx::query(
            "SELECT name, size_bytes, sha256, blob FROM artifacts WHERE run_id = $1 ORDER BY name",
        )
        .bind(id.as_str())
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(StoredArtifact {
                    artifact: Artifact {
                        name: row.try_get(0)?,
                        size_bytes: row.try_get::<i64, _>(1)? as u64,
                        sha256: row.try_get(2)?,
                    },
                    blob: row.try_get(3)?,
                })
            })
            .collect()
    }
}
