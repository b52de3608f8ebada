//! The public types of Belljar: requests for runs, policies and limits, events, and outcomes.
//!
//! All types are plain data with `serde`, shared by the command line, the engine and every
//! interface (HTTP, MCP, SDKs). Conventions on the wire: names are `snake_case`; times are RFC 3339
//! in UTC with milliseconds; names of durations end in `_ms`, names of sizes in `_bytes`; ids are a
//! prefix and a `UUIDv7`. Unknown fields are refused by name.

#![forbid(unsafe_code)]

mod audit;
mod ceiling;
mod depth;
mod durability;
mod event;
mod explain;
mod ids;
mod language;
mod limit_terms;
mod limits;
mod log;
mod names;
mod object;
mod outcome;
mod packages;
mod page;
pub mod plain;
mod policy;
mod problem;
mod project;
mod request;
mod run_code;
mod run_filter;
mod run_record;
mod submission;
mod timestamp;
mod trace_parent;
mod units;
mod variables;

pub use belljar_access::{Exec, Network};

pub use audit::{AuditEntry, AuditFilter, AuditOrder, AuditPage, AuditVerification};
pub use ceiling::{Ceiling, InvalidCeiling, Widened};
pub use depth::{MAX_JSON_DEPTH, nests_too_deep};
pub use durability::Durability;
pub use event::{Event, EventKind};
pub use explain::Explain;
pub use ids::{InvalidRunId, RunId, RunIdPrefix};
pub use language::{Language, RuntimeName, UnknownLanguage, UnknownRuntime};
pub use limit_terms::{Audience, LimitTerms, hint_with_flags};
pub use limits::{InvalidLimit, LIMITS, Limit, LimitUnit, Limits, RequestedLimits};
pub use log::{LogEntry, LogLevel, Stream};
pub use object::{
    InvalidObjectName, ObjectCopy, ObjectName, ObjectPage, ObjectRecord, SignedMethod, SignedUrl,
    SignedUrlRequest,
};
pub use outcome::{
    Artifact, Denial, LeftFile, Outcome, Pending, PendingKind, RichResult, RunError, SandboxInfo,
    Start, Status, Usage,
};
pub use packages::{Ecosystem, PackageChanges, PackageOptions, PackagePolicy};
pub use page::PageRequest;
pub use policy::{FsPolicy, InvalidPolicy, Policy, StoragePolicy};
pub use problem::Problem;
pub use project::{
    CallbackKey, InvalidProjectName, IssuedToken, NewProject, NewToken, ProjectList, ProjectName,
    ProjectRecord, ProjectSettings, Quotas, Scope, StorageQuota, StorageUsage, TokenList,
    TokenRecord, UsageDay, UsageFilter, UsageGroup, UsageReport,
};
pub use request::{Finish, InvalidName, ProgramFile, ProgramName, RunRequest, StartMode};
pub use run_code::RunCode;
pub use run_filter::RunFilter;
pub use run_record::{
    Artifacts, CancelledRun, Logs, RunPage, RunRecord, RunState, RunStatus, UnknownState,
};
pub use submission::{
    Callback, InvalidSubmission, Priority, Rerun, Retry, RunSubmission, SubmittedFile, Wait,
};
pub use timestamp::Timestamp;
pub use trace_parent::{InvalidTraceParent, TraceParent};
pub use units::{Bytes, InvalidUnit, Millis};
pub use variables::{InvalidVariable, Variables};
