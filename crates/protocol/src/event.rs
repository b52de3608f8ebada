//! What happens while a run is under way, one JSON object each.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::ids::RunId;
use crate::outcome::{Artifact, Denial, Outcome, RichResult, SandboxInfo};
use crate::timestamp::Timestamp;

/// How much a log entry matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LogLevel {
    /// `console.debug`, `logging.debug`.
    Debug,
    /// `console.log`, `print`, standard output.
    Info,
    /// `console.warn`, `logging.warning`.
    Warn,
    /// `console.error`, `logging.error` and worse, standard error.
    Error,
}

/// Which of the two streams a log entry was written to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Descriptor 1.
    Stdout,
    /// Descriptor 2.
    Stderr,
}

/// One entry of a run's log.
///
/// ```
/// let entry: belljar_protocol::LogEntry =
///     serde_json::from_str(r#"{"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "message": "read 2000 rows"}"#).unwrap();
/// assert_eq!(entry.message, "read 2000 rows");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogEntry {
    /// When the supervisor received it.
    pub timestamp: Timestamp,
    /// How much it matters.
    pub level: LogLevel,
    /// The text, without its last line end. Invalid UTF-8 has been replaced.
    pub message: String,
}

/// Something that happened in a run.
///
/// ```
/// let event: belljar_protocol::Event = serde_json::from_str(
///     r#"{"seq": 3, "timestamp": "2026-01-02T03:04:05.678Z", "type": "log", "level": "info", "message": "hello"}"#,
/// ).unwrap();
/// assert!(matches!(event.kind, belljar_protocol::EventKind::Log { .. }));
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Counts up from 0 within the run, without gaps.
    pub seq: u64,
    /// When the supervisor saw it.
    pub timestamp: Timestamp,
    /// What it was.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl<'de> Deserialize<'de> for Event {
    /// From JSON text only. Twice over it, because a flattened field cannot hold the raw JSON of an outcome's value.
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        struct Head {
            seq: u64,
            timestamp: Timestamp,
            #[serde(rename = "type")]
            kind: String,
        }
        #[derive(Deserialize)]
        struct Finished {
            outcome: Box<Outcome>,
        }
        let text = Box::<RawValue>::deserialize(deserializer)?;
        let wrong = serde::de::Error::custom;
        let head: Head = serde_json::from_str(text.get()).map_err(wrong)?;
        let kind = if head.kind == "finished" {
            let Finished { outcome } = serde_json::from_str(text.get()).map_err(wrong)?;
            EventKind::Finished { outcome }
        } else {
            serde_json::from_str(text.get()).map_err(wrong)?
        };
        Ok(Self { seq: head.seq, timestamp: head.timestamp, kind })
    }
}

/// What an event says.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The run was accepted and waits for a sandbox.
    Queued {
        /// The run.
        id: RunId,
    },
    /// The sandbox is activated; the wall clock runs.
    Started {
        /// Where.
        sandbox: SandboxInfo,
    },
    /// The program wrote something.
    Log {
        /// How much it matters.
        level: LogLevel,
        /// The text.
        message: String,
    },
    /// The program displayed something.
    Result {
        /// What.
        result: RichResult,
    },
    /// The program left a file.
    Artifact {
        /// Which.
        artifact: Artifact,
    },
    /// Something was refused.
    Denied {
        /// What, and the grant to ask for.
        denial: Denial,
    },
    /// Something that takes long is under way before the program can start.
    Progress {
        /// What, for people.
        message: String,
    },
    /// The end.
    Finished {
        /// How.
        outcome: Box<Outcome>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_read_as_it_was_written() {
        let outcome = r#"{"id":"run_1","status":"succeeded","value":{"total":41.50},"error":null,"logs":[],"results":[],"artifacts":[],"usage":{"wall_ms":1.9,"cpu_user_ms":0.8,"cpu_system_ms":0.7,"peak_memory_bytes":9,"output_bytes":0,"processes":1},"sandbox":{"runtime":"node@24.21.0","start":"fork","environment":null,"degraded":[]}}"#;
        for kind in [
            r#""type":"queued","id":"run_1""#.to_owned(),
            r#""type":"log","level":"warn","message":"m""#.to_owned(),
            r#""type":"progress","message":"m""#.to_owned(),
            r#""type":"denied","denial":{"action":"exec","target":"sh","grant":"exec: true"}"#.to_owned(),
            format!(r#""type":"finished","outcome":{outcome}"#),
        ] {
            let text = format!(r#"{{"seq":3,"timestamp":"2026-01-02T03:04:05.678Z",{kind}}}"#);
            let event: Event = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
        }
    }
}
