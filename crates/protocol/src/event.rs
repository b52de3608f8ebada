//! The events of a run in progress. Each is one JSON object.

use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

use crate::ids::RunId;
use crate::log::LogLevel;
use crate::outcome::{Artifact, Denial, Outcome, RichResult, SandboxInfo};
use crate::timestamp::Timestamp;

/// An event of a run.
///
/// ```
/// let event: belljar_protocol::Event = serde_json::from_str(r#"{
///   "seq": 3, "timestamp": "2026-01-02T03:04:05.678Z",
///   "type": "log", "level": "info", "message": "hello"
/// }"#).unwrap();
/// assert!(matches!(event.kind, belljar_protocol::EventKind::Log { .. }));
/// ```
#[derive(Clone, Debug, Serialize)]
pub struct Event {
    /// Sequence number within the run, from 0 without gaps.
    pub seq: u64,
    /// Time at which the supervisor observed the event.
    pub timestamp: Timestamp,
    /// Kind of the event, with its data.
    #[serde(flatten)]
    pub kind: EventKind,
}

impl<'de> Deserialize<'de> for Event {
    /// Reads JSON text only. It is parsed twice, because a flattened field cannot hold the raw JSON
    /// of an outcome's value.
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

/// The kind of an event, with its data.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum EventKind {
    /// The run was accepted and waits for a sandbox.
    Queued {
        /// Id of the run.
        id: RunId,
    },
    /// The sandbox was activated, and the wall-clock limit applies from now on.
    Started {
        /// Sandbox that the program runs in.
        sandbox: SandboxInfo,
    },
    /// The program wrote a log entry.
    Log {
        /// Severity of the entry.
        level: LogLevel,
        /// Text of the entry.
        message: String,
    },
    /// The program displayed a rich result.
    Result {
        /// The displayed result.
        result: RichResult,
    },
    /// The program left a file.
    Artifact {
        /// The file that is returned to the caller.
        artifact: Artifact,
    },
    /// The sandbox refused an access.
    Denied {
        /// The refused access, and the grant that would allow it.
        denial: Denial,
    },
    /// A slow step before the start of the program is in progress.
    Progress {
        /// Human-readable description of the step.
        message: String,
    },
    /// The run ended.
    Finished {
        /// Outcome of the run.
        outcome: Box<Outcome>,
    },
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_of_event_is_read_as_it_was_written() {
        let outcome = r#"{"id":"run_1","status":"succeeded","value":{"total":41.50},"error":null,"logs":[],"results":[],"artifacts":[],"usage":{"wall_ms":1.9,"prepare_ms":0.0,"cpu_user_ms":0.8,"cpu_system_ms":0.7,"peak_memory_bytes":9,"output_bytes":0,"processes":1},"sandbox":{"runtime":"node@24.21.0","start":"fork","environment":null,"degraded":[]}}"#;
        for kind in [
            r#""type":"queued","id":"run_1""#.to_owned(),
            r#""type":"log","level":"warn","message":"m""#.to_owned(),
            r#""type":"progress","message":"m""#.to_owned(),
            r#""type":"denied","denial":{"action":"exec","target":"sh","grant":"exec: true"}"#
                .to_owned(),
            format!(r#""type":"finished","outcome":{outcome}"#),
        ] {
            let text = format!(r#"{{"seq":3,"timestamp":"2026-01-02T03:04:05.678Z",{kind}}}"#);
            let event: Event = serde_json::from_str(&text).unwrap();
            assert_eq!(serde_json::to_string(&event).unwrap(), text);
        }
    }
}
