//! The outcomes and events of runs, as they are stored and as they are published. Each byte is
//! stored once: an outcome is stored without the parts that events contain.

use belljar_protocol::{Outcome, RunId, Status, Timestamp, Usage};
use serde_json::value::RawValue;
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::error::{StoreError, json, read_json};
use crate::store::Store;

/// The number of bytes of an error that stay after its history is removed.
const MAX_MESSAGE_BYTES: usize = 4096;
/// The number of denials that stay after the history is removed.
const MAX_DENIED: usize = 10;
/// The end of a run's last event as it is stored, without the outcome. No other event ends like
/// this: they end with a text, in which a quote is escaped, or with an object.
const LAST_EVENT_END: &str = ",\"type\":\"finished\"}";

/// Consecutive events, one JSON object per line, each with its line end.
#[derive(Clone, Debug, Default)]
pub struct EventLines {
    /// Number of the first event.
    pub seq: u64,
    /// Lines of the events.
    pub lines: String,
}

/// An outcome as it is stored, without the parts that events contain.
pub(crate) struct KeptOutcome {
    pub(crate) status: Status,
    pub(crate) runtime: String,
    pub(crate) usage: Usage,
    pub(crate) outcome: String,
    pub(crate) value: Option<String>,
}

impl KeptOutcome {
    /// Returns the stored form of an outcome. If `logs_from` is set, events contain its logs and
    /// results.
    pub(crate) fn of(outcome: &Outcome, logs_from: Option<u64>) -> Self {
        let (logs, results) = match logs_from {
            Some(_) => (Vec::new(), Vec::new()),
            None => (outcome.logs.clone(), outcome.results.clone()),
        };
        let stored = Outcome {
            id: outcome.id.clone(),
            status: outcome.status,
            value: None,
            error: outcome.error.clone(),
            exit_code: outcome.exit_code,
            signal: outcome.signal,
            logs,
            results,
            artifacts: outcome.artifacts.clone(),
            denied: outcome.denied.clone(),
            notes: outcome.notes.clone(),
            pending: outcome.pending.clone(),
            left_behind: outcome.left_behind.clone(),
            usage: outcome.usage,
            sandbox: outcome.sandbox.clone(),
        };
        Self {
            status: outcome.status,
            runtime: outcome.sandbox.runtime.clone(),
            usage: outcome.usage,
            outcome: json(&stored),
            value: outcome.value.as_ref().map(|value| value.get().to_owned()),
        }
    }

    pub(crate) fn len(&self) -> u64 {
        (self.outcome.len() + self.value.as_ref().map_or(0, String::len)) as u64
    }
}

/// Returns the last event of a run as it is stored, without the outcome, which is stored
/// separately.
pub(crate) fn last_event_stub(seq: u64, timestamp: Timestamp) -> String {
    format!("{{\"seq\":{seq},\"timestamp\":{}{LAST_EVENT_END}", json(&timestamp))
}

/// Returns the last event as it was published.
fn with_outcome(stub: &str, outcome: &str) -> String {
    format!("{},\"outcome\":{outcome}}}", &stub[..stub.len() - 1])
}

/// Returns the part of an outcome that stays after its history is removed.
pub(crate) fn short(mut outcome: Outcome) -> Outcome {
    (outcome.value, outcome.logs, outcome.results) = (None, Vec::new(), Vec::new());
    outcome.denied.truncate(MAX_DENIED);
    (outcome.notes, outcome.pending, outcome.left_behind) = (Vec::new(), Vec::new(), Vec::new());
    if let Some(error) = &mut outcome.error {
        let end = (0..=MAX_MESSAGE_BYTES)
            .rev()
            .find(|at| error.message.is_char_boundary(*at))
            .unwrap_or(0);
        error.message.truncate(end);
        (error.stack, error.cause, error.errors) = (String::new(), None, Vec::new());
        error
            .name
            .truncate((0..=256).rev().find(|at| error.name.is_char_boundary(*at)).unwrap_or(0));
    }
    outcome
}

impl Store {
    /// Returns a run's outcome, or `None` if it has none yet. It does not check the project, in
    /// which the caller has already found the run.
    pub async fn run_outcome(&self, id: &RunId) -> Result<Option<Outcome>, StoreError> {
        let row =
            sqlx::query("SELECT outcome, value, logs_from FROM run_outcomes WHERE run_id = $1")
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

    /// Returns the stored events of a run as they were published, in order and in the pieces in
    /// which they were stored. Pieces that end before `from` are left out.
    pub async fn run_events(&self, id: &RunId, from: u64) -> Result<Vec<EventLines>, StoreError> {
        let mut pieces = self.stored_events(id, from).await?;
        if let Some(last) =
            pieces.last_mut().filter(|last| last.lines.trim_end().ends_with(LAST_EVENT_END))
            && let Some(outcome) = self.run_outcome(id).await?
        {
            let end = last.lines.trim_end().rfind('\n').map_or(0, |at| at + 1);
            let published = with_outcome(last.lines[end..].trim_end(), &json(&outcome));
            last.lines.truncate(end);
            last.lines.push_str(&published);
            last.lines.push('\n');
        }
        Ok(pieces)
    }

    /// Returns the stored events of a run as they are stored: the last one without the outcome.
    pub async fn stored_events(
        &self,
        id: &RunId,
        from: u64,
    ) -> Result<Vec<EventLines>, StoreError> {
        let rows = sqlx::query(
            "SELECT seq, lines FROM run_events WHERE run_id = $1 \
             AND seq >= COALESCE((SELECT MAX(seq) FROM run_events WHERE run_id = $1 AND seq <= $2), 0) ORDER BY seq",
        )
        .bind(id.as_str())
        .bind(from as i64)
        .fetch_all(&self.readers)
        .await?;
        rows.iter()
            .map(|row| {
                Ok(EventLines { seq: row.try_get::<i64, _>(0)? as u64, lines: row.try_get(1)? })
            })
            .collect()
    }
}

/// Reads an outcome with its value, and with the logs and results from the events of its last
/// attempt.
fn outcome(row: &SqliteRow, pieces: &[EventLines]) -> Result<Outcome, StoreError> {
    use belljar_protocol::{Event, EventKind, LogEntry};
    let mut outcome: Outcome = read_json("outcome", row.try_get("outcome")?)?;
    if let Some(value) = row.try_get::<Option<String>, _>("value")? {
        let value = RawValue::from_string(value);
        outcome.value =
            Some(value.map_err(|error| StoreError::Unreadable {
                what: "outcome",
                why: error.to_string(),
            })?);
    }
    let Some(from) = row.try_get::<Option<i64>, _>("logs_from")? else { return Ok(outcome) };
    for piece in pieces {
        for (_, line) in
            (piece.seq..).zip(piece.lines.lines()).filter(|(seq, _)| *seq >= from as u64)
        {
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
    use belljar_protocol::{Event, EventKind, RunError, SandboxInfo};

    #[test]
    fn the_last_event_is_published_as_it_was_before_it_was_stored() {
        let error =
            RunError { name: "E".into(), message: "x".repeat(10_000), ..RunError::default() };
        let outcome = Outcome::without_run(
            RunId::new(),
            SandboxInfo::none_yet("node@24".into()),
            Status::Failed,
            error,
        );
        let timestamp = Timestamp::now();
        let published = json(&Event {
            seq: 7,
            timestamp,
            kind: EventKind::Finished { outcome: Box::new(outcome.clone()) },
        });
        assert_eq!(with_outcome(&last_event_stub(7, timestamp), &json(&outcome)), published);
        assert!(json(&short(outcome)).len() < 5000);
    }

    #[test]
    fn no_text_of_a_program_looks_like_the_last_event() {
        let message = LAST_EVENT_END.to_owned();
        let log =
            EventKind::Log { level: belljar_protocol::LogLevel::Info, message: message.clone() };
        let result = EventKind::Result {
            result: belljar_protocol::RichResult { media_type: "a/b".into(), data: message },
        };
        for kind in [log, result] {
            assert!(
                !json(&Event { seq: 1, timestamp: Timestamp::now(), kind })
                    .ends_with(LAST_EVENT_END)
            );
        }
    }
}
