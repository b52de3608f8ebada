//! The public types of Belljar: what a run asks for, what it may do, what happened, how it ended.
//!
//! Everything here is plain data with `serde`, shared by the command line, the engine and every later face (HTTP, MCP, SDKs).
//! Conventions on the wire: `snake_case`, times RFC 3339 in UTC with milliseconds, durations end in `_ms`, sizes in `_bytes`, ids are a
//! prefix and a `UUIDv7`. Unknown fields are refused by name.

#![forbid(unsafe_code)]

mod audit;
mod ceiling;
mod depth;
mod event;
mod ids;
mod language;
mod limits;
mod names;
mod object;
mod outcome;
mod packages;
pub mod plain;
mod policy;
mod problem;
mod project;
mod request;
mod run_record;
mod submission;
mod timestamp;
mod units;

pub use audit::{AuditEntry, AuditPage, AuditVerification};
pub use ceiling::{Ceiling, InvalidCeiling, Widened};
pub use depth::{MOST_JSON_DEPTH, nests_too_deep};
pub use event::{Event, EventKind, LogEntry, LogLevel, Stream};
pub use ids::{InvalidRunId, RunId};
pub use language::{Language, RuntimeName, UnknownLanguage, UnknownRuntime};
pub use limits::{InvalidLimit, Limits, RequestedLimits};
pub use object::{InvalidObjectName, ObjectCopy, ObjectName, ObjectPage, ObjectRecord, SignedMethod, SignedUrl, SignedUrlRequest};
pub use outcome::{Artifact, Denial, LeftFile, Outcome, Pending, PendingKind, RichResult, RunError, SandboxInfo, Start, Status, Usage};
pub use packages::{Ecosystem, PackageChanges, PackageOptions, PackagePolicy};
pub use policy::{FsPolicy, InvalidPolicy, Policy, StoragePolicy};
pub use problem::Problem;
pub use project::{
    InvalidProjectName, IssuedToken, NewProject, NewToken, ProjectList, ProjectName, ProjectRecord, ProjectSettings, Quotas, Scope,
    StorageQuota, StorageUsage, TokenList, TokenRecord, UsageDay, UsageReport,
};
pub use request::{Finish, InvalidName, ProgramFile, ProgramName, RunRequest, StartMode};
pub use run_record::{CancelledRun, RunPage, RunRecord, RunState, RunStatus, UnknownState};
pub use submission::{Callback, InvalidSubmission, Priority, Retry, RunSubmission, SubmittedFile, Wait};
pub use timestamp::Timestamp;
pub use units::{Bytes, InvalidUnit, Millis};
