//! History of runs: what they submitted and wrote, and how they ended. Each byte is kept once and counted in the transaction that stores it.
//! Beyond a project's quota the oldest finished runs lose theirs; their records stay while they fit.

use belljar_protocol::{Outcome, RunId, Timestamp};
use serde_json::value::RawValue;
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::Store;
use crate::accounts::{self, Stored};
use crate::error::{StoreError, json, read_json};
use crate::runs::{self, EventLines};

/// What a run's row counts for, whatever is in it: indexes, usage, keys, callback.
const ROW_BYTES: usize = 1024;
/// Runs that lose their history, or are deleted, in one change: others wait for the writer for that long.
const DROPPED_TOGETHER: usize = 20;
/// Records without history may have this part of a quota. Beyond it the oldest are deleted.
const RECORDS_PART: u64 = 4;
/// What is kept of an error once its history is dropped, bytes.
const MAX_MESSAGE_BYTES: usize = 4096;
/// What is kept of what was refused once its history is dropped.
const MAX_DENIED: usize = 10;
/// How a stored event ends that is the last of its run. What it tells is in the outcome. No other event ends so: they end with a text, in
/// which a quote is escaped, or with an object.
const LAST_EVENT_END: &str = ",\"type\":\"finished\"}";

const OLDEST_WITH_HISTORY: &str = "SELECT id FROM runs WHERE project_id = $1 AND finished_at IS NOT NULL AND history_dropped_at IS NULL \
     ORDER BY finished_at LIMIT 1";
const OLDEST_WITHOUT_HISTORY: &str =
    "SELECT id FROM runs WHERE project_id = $1 AND history_dropped_at IS NOT NULL ORDER BY finished_at LIMIT 1";

/// Bytes that a run's record counts for. Labels are stored beside the facts as well, so those count twice.
pub(crate) fn record_bytes(facts: &str, comment: Option<&str>) -> u64 {
    (ROW_BYTES + 2 * facts.len() + comment.map_or(0, str::len)) as u64
}

/// An outcome, as it is stored: without what events have.
pub(crate) struct KeptOutcome {
    pub(crate) outcome: String,
    pub(crate) value: Option<String>,
}

impl KeptOutcome {
    pub(crate) fn of(mut outcome: Outcome) -> Self {
        let value = outcome.value.take().map(|value| String::from(Box::<str>::from(value)));
        Self { outcome: json(&outcome), value }
    }

    pub(crate) fn len(&self) -> u64 {
        (self.outcome.len() + self.value.as_ref().map_or(0, String::len)) as u64
    }
}

/// The last event of a run, as it is stored: without the outcome, which is stored beside it.
pub fn last_event_stub(seq: u64, timestamp: Timestamp) -> String {
    format!("{{\"seq\":{seq},\"timestamp\":{}{LAST_EVENT_END}", json(&timestamp))
}

/// The last event as it was told.
fn with_outcome(stub: &str, outcome: &str) -> String {
    format!("{},\"outcome\":{outcome}}}", &stub[..stub.len() - 1])
}

/// What dropping left.
#[derive(Debug)]
pub struct Trimmed {
    /// What the project has in storage: artifacts go with their runs.
    pub(crate) stored: Stored,
    /// Whether more has to be dropped than one change may.
    pub(crate) is_over: bool,
}

/// Counts bytes that were added to a run's history, and drops what is too old for the quota.
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

/// Drops what is too old, where that much is used.
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

/// Drops history of the oldest runs, and the oldest records, until the rest fits; of at most a number of runs. Returns how many.
async fn trim(connection: &mut SqliteConnection, project_id: &str, quota_bytes: u64) -> Result<usize, StoreError> {
    for done in 0..DROPPED_TOGETHER {
        let row = sqlx::query("SELECT history_bytes, dropped_bytes FROM projects WHERE id = $1")
            .bind(project_id)
            .fetch_one(&mut *connection)
            .await?;
        let (used, of_records) = (row.try_get::<i64, _>(0)? as u64, row.try_get::<i64, _>(1)? as u64);
        if used <= quota_bytes {
            return Ok(done);
        }
        let with_history = first(connection, OLDEST_WITH_HISTORY, project_id).await?;
        match with_history.filter(|_| of_records <= quota_bytes / RECORDS_PART) {
            Some(id) => drop_history(connection, project_id, &id).await?,
            None => match first(connection, OLDEST_WITHOUT_HISTORY, project_id).await? {
                Some(id) => runs::delete(connection, &id, project_id).await?,
                // Only running runs are left. They are bounded by their limits.
                None => return Ok(done),
            },
        }
    }
    Ok(DROPPED_TOGETHER)
}

async fn first(connection: &mut SqliteConnection, query: &'static str, project_id: &str) -> Result<Option<String>, StoreError> {
    Ok(sqlx::query_scalar(query).bind(project_id).fetch_optional(connection).await?)
}

/// Drops what a finished run submitted and wrote. The record, and how it ended, stay.
async fn drop_history(connection: &mut SqliteConnection, project_id: &str, id: &str) -> Result<(), StoreError> {
    let row = sqlx::query(
        "SELECT facts, comment, history_bytes, (SELECT outcome FROM run_outcomes WHERE run_id = id) AS outcome FROM runs WHERE id = $1",
    )
    .bind(id)
    .fetch_one(&mut *connection)
    .await?;
    let outcome: Option<&str> = row.try_get("outcome")?;
    // One that cannot be read is of another version, and goes as a whole.
    let outcome = outcome.and_then(|text| serde_json::from_str::<Outcome>(text).ok()).map(|outcome| json(&short(outcome)));
    let left = record_bytes(row.try_get("facts")?, row.try_get("comment")?) + outcome.as_ref().map_or(0, String::len) as u64;
    let before = row.try_get::<i64, _>("history_bytes")?;
    sqlx::query(
        "DELETE FROM run_submissions WHERE run_id = $1; \
         DELETE FROM run_events WHERE run_id = $1; \
         DELETE FROM run_outcomes WHERE run_id = $1 AND $2 IS NULL; \
         UPDATE run_outcomes SET outcome = $2, value = NULL, logs_from = NULL WHERE run_id = $1; \
         UPDATE runs SET history_dropped_at = $3, history_bytes = $4 WHERE id = $1; \
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

/// What stays of an outcome whose history is dropped.
fn short(mut outcome: Outcome) -> Outcome {
    (outcome.value, outcome.logs, outcome.results) = (None, Vec::new(), Vec::new());
    outcome.denied.truncate(MAX_DENIED);
    (outcome.notes, outcome.pending, outcome.left_behind) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(error) = &mut outcome.error {
        let end = (0..=MAX_MESSAGE_BYTES).rev().find(|at| error.message.is_char_boundary(*at)).unwrap_or(0);
        error.message.truncate(end);
        (error.stack, error.cause, error.errors) = (String::new(), None, Vec::new());
        error.name.truncate((0..=256).rev().find(|at| error.name.is_char_boundary(*at)).unwrap_or(0));
    }
    outcome
}

impl Store {
    /// Drops what is too old for the quota of a project, in small changes. The way there is long where many small runs are older than a few
    /// large ones.
    pub async fn trim_history(&self, project_id: &str, quota_bytes: u64) -> Result<(), StoreError> {
        loop {
            let (accounts, id, for_account) = (self.accounts.clone(), project_id.to_owned(), project_id.to_owned());
            let trimmed = self
                .writer
                .write_then(
                    move |connection| {
                        Box::pin(async move {
                            let trimmed = trim(connection, &id, quota_bytes).await?;
                            Ok((trimmed, accounts::stored(connection, &id).await?))
                        })
                    },
                    move |(_, stored): &(usize, Stored)| accounts.settle(&for_account, *stored, None),
                )
                .await?
                .0;
            if trimmed < DROPPED_TOGETHER {
                return Ok(());
            }
        }
    }

    /// Bytes of the history of a project's runs.
    pub async fn history_bytes(&self, project_id: &str) -> Result<u64, StoreError> {
        let bytes: Option<i64> =
            sqlx::query_scalar("SELECT history_bytes FROM projects WHERE id = $1").bind(project_id).fetch_optional(&self.readers).await?;
        Ok(bytes.ok_or_else(|| StoreError::not_found("project", project_id))? as u64)
    }

    /// A run's outcome, once there is one. Asks for no project: the caller has found the run in one.
    pub async fn run_outcome(&self, id: &RunId) -> Result<Option<Outcome>, StoreError> {
        let row = sqlx::query("SELECT outcome, value, logs_from FROM run_outcomes WHERE run_id = $1")
            .bind(id.as_str())
            .fetch_optional(&self.readers)
            .await?;
        let Some(row) = row else { return Ok(None) };
        let pieces = match row.try_get::<Option<i64>, _>("logs_from")? {
            Some(from) => self.stored_events(id, from as u64).await?,
            None => Vec::new(),
        };
        outcome(&row, &pieces).map(Some)
    }

    /// The stored events of a run as they were told, in order, in the pieces that they were stored in. Pieces that end before `from` are left
    /// out.
    pub async fn run_events(&self, id: &RunId, from: u64) -> Result<Vec<EventLines>, StoreError> {
        let mut pieces = self.stored_events(id, from).await?;
        if let Some(last) = pieces.last_mut().filter(|last| last.lines.trim_end().ends_with(LAST_EVENT_END))
            && let Some(outcome) = self.run_outcome(id).await?
        {
            let end = last.lines.trim_end().rfind('\n').map_or(0, |at| at + 1);
            let told = with_outcome(last.lines[end..].trim_end(), &json(&outcome));
            last.lines.truncate(end);
            last.lines.push_str(&told);
            last.lines.push('\n');
        }
        Ok(pieces)
    }

    /// The same as they are stored: where the last does without the outcome.
    pub async fn stored_events(&self, id: &RunId, from: u64) -> Result<Vec<EventLines>, StoreError> {
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
}

/// An outcome with its value, and with logs and results from the events of its last attempt.
fn outcome(row: &SqliteRow, pieces: &[EventLines]) -> Result<Outcome, StoreError> {
    use belljar_protocol::{Event, EventKind, LogEntry};
    let mut outcome: Outcome = read_json("outcome", row.try_get("outcome")?)?;
    if let Some(value) = row.try_get::<Option<String>, _>("value")? {
        let value = RawValue::from_string(value);
        outcome.value = Some(value.map_err(|error| StoreError::Unreadable { what: "outcome", why: error.to_string() })?);
    }
    let Some(from) = row.try_get::<Option<i64>, _>("logs_from")? else { return Ok(outcome) };
    for piece in pieces {
        for (_, line) in (piece.seq..).zip(piece.lines.lines()).filter(|(seq, _)| *seq >= from as u64) {
            if !line.contains("\"type\":\"log\"") && !line.contains("\"type\":\"result\"") {
                continue;
            }
            match read_json::<Event>("event", line)? {
                Event { timestamp, kind: EventKind::Log { level, message }, .. } => {
                    outcome.logs.push(LogEntry { timestamp, level, message });
                }
                Event { kind: EventKind::Result { result }, .. } => outcome.results.push(result),
                _ => {}
            }
        }
    }
    Ok(outcome)
}

#[cfg(test)]
mod tests {
    use super::*;
    use belljar_protocol::{Event, EventKind, RunError, SandboxInfo, Status};

    #[test]
    fn the_last_event_is_told_as_it_was_before_it_was_stored() {
        let error = RunError { name: "E".into(), message: "x".repeat(10_000), ..RunError::default() };
        let outcome = Outcome::without_run(RunId::new(), SandboxInfo::none_yet("node@24".into()), Status::Failed, error);
        let timestamp = Timestamp::now();
        let told = json(&Event { seq: 7, timestamp, kind: EventKind::Finished { outcome: Box::new(outcome.clone()) } });
        assert_eq!(with_outcome(&last_event_stub(7, timestamp), &json(&outcome)), told);
        assert!(json(&short(outcome)).len() < 5000);
    }

    #[test]
    fn no_text_of_a_program_looks_like_the_last_event() {
        let message = LAST_EVENT_END.to_owned();
        let log = EventKind::Log { level: belljar_protocol::LogLevel::Info, message: message.clone() };
        let result = EventKind::Result { result: belljar_protocol::RichResult { media_type: "a/b".into(), data: message } };
        for kind in [log, result] {
            assert!(!json(&Event { seq: 1, timestamp: Timestamp::now(), kind }).ends_with(LAST_EVENT_END));
        }
    }
}
