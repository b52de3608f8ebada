//! The public types of Belljar: what a run asks for, what it may do, what happened, how it ended.
//!
//! Everything here is plain data with `serde`, shared by the command line, the engine and every later face (HTTP, MCP, SDKs).
//! Conventions on the wire: `snake_case`, times RFC 3339 in UTC with milliseconds, durations end in `_ms`, sizes in `_bytes`, ids are a
//! prefix and a `UUIDv7`. Unknown fields are refused by name.

#![forbid(unsafe_code)]

mod event;
mod ids;
mod language;
mod limits;
mod outcome;
mod policy;
mod request;
mod timestamp;
mod units;

pub use event::{Event, EventKind, LogEntry, LogLevel, Stream};
pub use ids::RunId;
pub use language::{Language, RuntimeName, UnknownLanguage, UnknownRuntime};
pub use limits::{InvalidLimit, Limits};
pub use outcome::{Artifact, Denial, Outcome, RichResult, RunError, SandboxInfo, Start, Status, Usage};
pub use policy::{FsPolicy, InvalidPolicy, Policy, StoragePolicy};
pub use request::{Finish, InvalidName, ProgramFile, ProgramName, RunRequest, StartMode};
pub use timestamp::Timestamp;
pub use units::{Bytes, InvalidUnit, Millis};
