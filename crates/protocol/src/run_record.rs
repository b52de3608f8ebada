//! The record that the service keeps of a run from the moment it accepts the run.

use std::collections::BTreeMap;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::ids::RunId;
use crate::language::Language;
use crate::limits::Limits;
use crate::log::LogEntry;
use crate::outcome::{Artifact, Outcome, Status, Usage};
use crate::policy::Policy;
use crate::submission::Priority;
use crate::timestamp::Timestamp;
use crate::trace_parent::TraceParent;

/// The state of a run. On the wire it is `queued`, `running`, or the [`Status`] of a run that
/// ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum RunState {
    /// The service accepted the run, which waits in the queue.
    Queued,
    /// The program is running.
    Running,
    /// The run ended with this status.
    Ended(Status),
}

impl RunState {
    /// All states that a run can be in.
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

    /// Returns the name of the state on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Queued => "queued",
            Self::Running => "running",
            Self::Ended(status) => status.name(),
        }
    }

    /// Returns whether the run has ended.
    pub fn is_ended(self) -> bool {
        matches!(self, Self::Ended(_))
    }
}

/// An unknown name of a run state.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a run state: expected queued, running, succeeded, failed, timed_out, \
     cpu_exceeded, memory_exceeded, output_exceeded, cancelled, crashed, refused or interrupted"
)]
pub struct UnknownState(pub String);

impl FromStr for RunState {
    type Err = UnknownState;

    fn from_str(name: &str) -> Result<Self, UnknownState> {
        Self::ALL
            .into_iter()
            .find(|state| state.name() == name)
            .ok_or_else(|| UnknownState(name.to_owned()))
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
        std::borrow::Cow::<str>::deserialize(deserializer)?
            .parse()
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for RunState {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        utoipa::openapi::ObjectBuilder::new()
            .schema_type(utoipa::openapi::schema::Type::String)
            .description(Some("The state of a run, which is its status once it has ended."))
            .enum_values(Some(Self::ALL.map(Self::name)))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for RunState {}

/// The id and the state of a run: everything that is returned to a caller that may start runs but
/// not read them.
///
/// ```
/// let run: belljar_protocol::RunStatus =
///     serde_json::from_str(r#"{"id": "run_019a", "status": "cancelled"}"#).unwrap();
/// assert_eq!(run.status.name(), "cancelled");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunStatus {
    /// Id of the run: `run_` and a `UUIDv7`.
    pub id: RunId,
    /// State of the run.
    pub status: RunState,
}

/// The answer to a request to cancel a run. It contains what the caller may read.
///
/// ```
/// let run: belljar_protocol::CancelledRun =
///     serde_json::from_str(r#"{"id": "run_019a", "status": "cancelled"}"#).unwrap();
/// assert!(matches!(run, belljar_protocol::CancelledRun::Status(_)));
/// assert_eq!(run.status().name(), "cancelled");
/// ```
#[derive(Clone, Debug, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(untagged)]
pub enum CancelledRun {
    /// The record of the run, with its outcome once the run has ended.
    Record(Box<RunRecord>),
    /// The id and the state of the run, for a caller without the scope `read`.
    Status(RunStatus),
}

impl CancelledRun {
    /// Returns the state of the run.
    pub fn status(&self) -> RunState {
        match self {
            Self::Record(record) => record.status,
            Self::Status(run) => run.status,
        }
    }
}

impl<'de> Deserialize<'de> for CancelledRun {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // The code that serde generates for `untagged` cannot deserialize a `RawValue`.
        let text = Box::<serde_json::value::RawValue>::deserialize(deserializer)?;
        serde_json::from_str(text.get())
            .map(Self::Status)
            .or_else(|_| serde_json::from_str(text.get()).map(Self::Record))
            .map_err(serde::de::Error::custom)
    }
}

/// The record of a run.
///
/// ```
/// let record: belljar_protocol::RunRecord = serde_json::from_str(r#"{
///   "id": "run_019a", "project": "default", "status": "queued", "language": "python",
///   "runtime": null, "entry": "main.py", "code_sha256": "e3b0",
///   "created_at": "2026-01-02T03:04:05.678Z", "started_at": null, "finished_at": null,
///   "labels": {"team": "a"}, "comment": null, "priority": "interactive",
///   "attempt": 1, "attempts": 1, "rerun_of": null, "token": "tok_019a",
///   "usage": null, "policy": {}, "limits": {}
/// }"#).unwrap();
/// assert_eq!(record.status, belljar_protocol::RunState::Queued);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunRecord {
    /// Id of the run.
    pub id: RunId,
    /// Name of the project that the run belongs to.
    pub project: String,
    /// State of the run.
    pub status: RunState,
    /// Language of the program.
    pub language: Language,
    /// Requested runtime; once the run has started, the runtime that it uses.
    pub runtime: Option<String>,
    /// Name of the program among the run's files.
    pub entry: String,
    /// SHA-256 of the program's text, hexadecimal.
    pub code_sha256: String,
    /// Time at which the service accepted the run.
    pub created_at: Timestamp,
    /// Time at which the latest attempt started.
    pub started_at: Option<Timestamp>,
    /// Time at which the run ended.
    pub finished_at: Option<Timestamp>,
    /// Names and values to search for.
    pub labels: BTreeMap<String, String>,
    /// Comment from the caller.
    pub comment: Option<String>,
    /// Priority in the queue.
    pub priority: Priority,
    /// Number of the current attempt, from 1.
    pub attempt: u32,
    /// Maximum number of attempts.
    pub attempts: u32,
    /// Id of the run that this one repeats.
    pub rerun_of: Option<RunId>,
    /// Id of the token that submitted the run, or `operator`.
    pub token: String,
    /// Name of that token. Omitted for the operator.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
    /// First line of the program that is neither blank nor a comment nor an import, at most 80
    /// characters of it. Omitted if the program is not text, or its history was dropped.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_line: Option<String>,
    /// Resources that the run used.
    pub usage: Option<Usage>,
    /// Access rights of the run.
    pub policy: Policy,
    /// Names of the environment variables that the caller passed in `env`. Their values are not
    /// kept.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub env: Vec<String>,
    /// Resource limits of the run.
    pub limits: Limits,
    /// Trace that the request for the run belongs to.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub traceparent: Option<TraceParent>,
    /// Time at which the run's history was dropped because the project had used up its history
    /// quota. The submission, events, logs, results and value are gone; the rest of the record
    /// stays.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub history_dropped_at: Option<Timestamp>,
    /// Outcome of the run. Lists omit it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<Box<Outcome>>,
}

impl RunRecord {
    /// Returns the name of the token that submitted the run, its id if it has no name, or
    /// `operator`.
    pub fn submitter(&self) -> &str {
        self.token_name.as_deref().unwrap_or(&self.token)
    }
}

/// One page of runs, the latest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunPage {
    /// The runs of this page.
    pub runs: Vec<RunRecord>,
    /// Pass this as `cursor` to get the next page. Null on the last page.
    pub next_cursor: Option<String>,
}

/// The logs of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Logs {
    /// The entries that the run has written so far, in order.
    pub logs: Vec<LogEntry>,
}

/// The artifacts of a run.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Artifacts {
    /// The artifacts, in the order of their names.
    pub artifacts: Vec<Artifact>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_state_is_read_as_it_is_written() {
        for state in RunState::ALL {
            assert_eq!(
                serde_json::from_str::<RunState>(&serde_json::to_string(&state).unwrap()).unwrap(),
                state
            );
        }
        assert!("done".parse::<RunState>().unwrap_err().to_string().contains("succeeded"));
    }
}
