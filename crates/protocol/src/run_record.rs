//! The record of a run: what is kept of it, from the moment it is accepted.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::RunId;
use crate::language::Language;
use crate::limits::Limits;
use crate::outcome::{Outcome, Status, Usage};
use crate::policy::Policy;
use crate::submission::Priority;
use crate::timestamp::Timestamp;

/// Where a run is: on the wire `queued`, `running`, or the [`Status`] that it ended with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// Accepted; it waits for its turn.
    Queued,
    /// Its program runs.
    Running,
    /// Over.
    Ended(Status),
}

impl RunState {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Queued,
        Self::Running,
        Self::Ended(Status::Succeeded),
        Self::Ended(Status::Failed),
        Self::Ended(Status::TimedOut),
        Self::Ended(Status::CpuExceeded),
        Self::Ended(Status::MemoryExceeded),
        Self::Ended(Status::OutputExceeded),
        Self::Ended(Status::Cancelled),
        Self::Ended(Status::Crashed),
        Self::Ended(Status::Refused),
        Self::Ended(Status::Interrupted),
    ];

    /// The name on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ended(status) => status.name(),
        }
    }

    /// Whether nothing more will happen.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// A state name that is not known.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a state of a run; use queued, running, succeeded, failed, timed_out, cpu_exceeded, memory_exceeded, output_exceeded, cancelled, crashed, refused or interrupted"
)]
pub struct UnknownState(pub String);

impl FromStr for RunState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        Self::ALL.into_iter().find(|state| state.name() == name).ok_or_else(|| UnknownState(name.to_owned()))
    }
}

impl fmt::Display for RunState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

impl Serialize for RunState {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.name())
    }
}

impl<'de> Deserialize<'de> for RunState {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        std::borrow::Cow::<str>::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for RunState {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .enum_values(Some(Self::ALL.map(Self::name)))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for RunState {}

/// Which run, and where it is: what whoever may start runs but not read them is told.
///
/// ```
/// let told: belljar_protocol::RunStatus = serde_json::from_str(r#"{"id": "run_019a", "status": "cancelled"}"#).unwrap();
/// assert_eq!(told.status.name(), "cancelled");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunStatus {
    /// `run_` and a `UUIDv7`.
    pub id: RunId,
    /// Where it is.
    pub status: RunState,
}

/// What a request to cancel a run is answered with: as much as the caller may read.
///
/// ```
/// let told: belljar_protocol::CancelledRun = serde_json::from_str(r#"{"id": "run_019a", "status": "cancelled"}"#).unwrap();
/// assert!(matches!(told, belljar_protocol::CancelledRun::Status(_)));
/// assert_eq!(told.status().name(), "cancelled");
/// ```
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum CancelledRun {
    /// The record, with the outcome once there is one.
    Record(Box<RunRecord>),
    /// Without the scope `read`: this much.
    Status(RunStatus),
}

impl CancelledRun {
    /// Where the run is.
    pub fn status(&self) -> RunState {
        match self {
            Self::Record(record) => record.status,
            Self::Status(told) => told.status,
        }
    }
}

impl<'de> Deserialize<'de> for CancelledRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // What serde makes of `untagged` cannot hold a value that is kept as its text.
        let text = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        serde_json::from_str(text.get())
            .map(Self::Status)
            .or_else(|_| serde_json::from_str(text.get()).map(Self::Record))
            .map_err(serde::de::Error::custom)
    }
}

/// What is kept of a run.
///
/// ```
/// let record: belljar_protocol::RunRecord = serde_json::from_str(r#"{
///   "id": "run_019a", "project": "default", "status": "queued", "language": "python", "runtime": null, "entry": "main.py",
///   "code_sha256": "e3b0", "created_at": "2026-01-02T03:04:05.678Z", "started_at": null, "finished_at": null, "labels": {"team": "a"},
///   "comment": null, "priority": "interactive", "attempt": 1, "attempts": 1, "rerun_of": null, "token": "tok_019a", "usage": null,
///   "policy": {}, "limits": {}
/// }"#).unwrap();
/// assert_eq!(record.status, belljar_protocol::RunState::Queued);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunRecord {
    /// The run.
    pub id: RunId,
    /// The name of its project.
    pub project: String,
    /// Where it is.
    pub status: RunState,
    /// What it is written in.
    pub language: Language,
    /// The runtime that was asked for, or once it has started the one it runs on.
    pub runtime: Option<String>,
    /// Which of its files is the program.
    pub entry: String,
    /// SHA-256 of the program's text, hexadecimal.
    pub code_sha256: String,
    /// When it was accepted.
    pub created_at: Timestamp,
    /// When its latest attempt started.
    pub started_at: Option<Timestamp>,
    /// When it ended.
    pub finished_at: Option<Timestamp>,
    /// Names and values to find it by.
    pub labels: BTreeMap<String, String>,
    /// A word for people.
    pub comment: Option<String>,
    /// Who goes first.
    pub priority: Priority,
    /// Which attempt this is, from 1.
    pub attempt: u32,
    /// How many there may be.
    pub attempts: u32,
    /// The run that it repeats.
    pub rerun_of: Option<RunId>,
    /// Who asked for it: a token's id, or `operator`.
    pub token: String,
    /// What it used.
    pub usage: Option<Usage>,
    /// What it may touch.
    pub policy: Policy,
    /// What it may use.
    pub limits: Limits,
    /// When its history was dropped, because the project's quota of history was used up: its submission, events, logs, results and value
    /// are gone, the rest of the record stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_dropped_at: Option<Timestamp>,
    /// How it ended. Not in lists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Box<Outcome>>,
}

/// Some runs, the latest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunPage {
    /// The runs.
    pub runs: Vec<RunRecord>,
    /// Gives the page after this one, as `cursor`. Null on the last.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_as_it_is_written() {
        for state in RunState::ALL {
            assert_eq!(serde_json::from_str::<RunState>(&serde_json::to_string(&state).unwrap()).unwrap(), state);
        }
        assert!("done".parse::<RunState>().unwrap_err().to_string().contains("succeeded"));
    }
}
