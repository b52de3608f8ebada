//! The outcome of a run.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::ids::RunId;
use crate::log::LogEntry;

/// The way in which a run ended. The supervisor decides it once: a cancellation comes first, then
/// limits proven by a kernel counter, then the exit of the process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Status {
    /// The program ended without an error.
    Succeeded,
    /// The program ended with an error of its own, or with an exit code other than 0.
    Failed,
    /// The program ran longer than `timeout_ms`.
    TimedOut,
    /// The program used more CPU time than `cpu_ms`.
    CpuExceeded,
    /// The program used more memory than `memory_bytes`.
    MemoryExceeded,
    /// The program wrote more than `output_bytes`.
    OutputExceeded,
    /// The caller cancelled the run.
    Cancelled,
    /// The program's process was killed by a signal that no limit explains.
    Crashed,
    /// The program was not started, because this machine or server cannot provide what the request
    /// asks for.
    Refused,
    /// Belljar itself failed during the run. This says nothing about the program.
    Interrupted,
}

impl Status {
    /// Returns the name of the status on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Succeeded => "succeeded",
            Self::Failed => "failed",
            Self::TimedOut => "timed_out",
            Self::CpuExceeded => "cpu_exceeded",
            Self::MemoryExceeded => "memory_exceeded",
            Self::OutputExceeded => "output_exceeded",
            Self::Cancelled => "cancelled",
            Self::Crashed => "crashed",
            Self::Refused => "refused",
            Self::Interrupted => "interrupted",
        }
    }
}

/// The way in which a sandbox was started.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Start {
    /// A fork of a booted runtime (a zygote). It takes about a millisecond. Forks of one zygote
    /// share their address layout.
    Fork,
    /// A new runtime process.
    Exec,
}

/// The outcome of a run, as `belljar run --json` prints it.
///
/// ```
/// let outcome: belljar_protocol::Outcome = serde_json::from_str(r#"{
///   "id": "run_019a", "status": "succeeded", "value": {"total": 41}, "error": null,
///   "logs": [{
///     "timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "message": "read 2000 rows"
///   }],
///   "results": [{"type": "image/png", "data": "iVBORw0KGgo="}],
///   "artifacts": [{"name": "summary.json", "size_bytes": 118, "sha256": "e3b0"}],
///   "usage": {
///     "wall_ms": 1.9, "cpu_user_ms": 0.8, "cpu_system_ms": 0.7,
///     "peak_memory_bytes": 921600, "output_bytes": 14, "processes": 1
///   },
///   "sandbox": {"runtime": "node@24.21.0", "start": "fork", "environment": null, "degraded": []}
/// }"#).unwrap();
/// assert_eq!(outcome.value.unwrap().get(), r#"{"total": 41}"#);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Outcome {
    /// Id of the run.
    pub id: RunId,
    /// Way in which the run ended.
    pub status: Status,
    /// Result of the program as JSON. Null unless `status` is `succeeded`, or the result was
    /// available before a limit or a cancellation ended the run.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub value: Option<Box<RawValue>>,
    /// Error of the program or of Belljar. Null when `status` is `succeeded`.
    pub error: Option<RunError>,
    /// Exit code that the program requested, if it requested one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// Number of the signal that killed the program's process, if a signal did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// Log of the program, in order.
    pub logs: Vec<LogEntry>,
    /// Rich results that the program displayed.
    pub results: Vec<RichResult>,
    /// Files that the program left in `outputs/`.
    pub artifacts: Vec<Artifact>,
    /// Accesses that the sandbox refused, with the grants that would allow them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denial>,
    /// Notes for the author of the program that do not affect the status, such as a last expression
    /// without a JSON form, or a notebook command that was ignored. At most 32 short sentences in
    /// plain text.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Timers, connections and other things that were open when the result was available, and for
    /// which the run waited until it was ended from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// Files that the program left in its working folder and that were not returned. At most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<LeftFile>,
    /// Resources that the run used.
    pub usage: Usage,
    /// Sandbox that the program ran in.
    pub sandbox: SandboxInfo,
}

impl Outcome {
    /// Returns the outcome of a run whose program was not started, or of which nothing else is
    /// known.
    pub fn without_run(id: RunId, sandbox: SandboxInfo, status: Status, error: RunError) -> Self {
        Self {
            id,
            status,
            value: None,
            error: Some(error),
            exit_code: None,
            signal: None,
            logs: Vec::new(),
            results: Vec::new(),
            artifacts: Vec::new(),
            denied: Vec::new(),
            notes: Vec::new(),
            pending: Vec::new(),
            left_behind: Vec::new(),
            usage: Usage::default(),
            sandbox,
        }
    }
}

/// An error of the program or of Belljar, with its causes.
///
/// ```
/// let error: belljar_protocol::RunError = serde_json::from_str(r#"{
///   "name": "TypeError", "message": "x is not a function",
///   "stack": "TypeError: x is not a function\n    at main.js:3:1"
/// }"#).unwrap();
/// assert_eq!(error.name, "TypeError");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunError {
    /// Class or kind of the error.
    pub name: String,
    /// Message of the error.
    pub message: String,
    /// Advice to the caller, in the imperative. It comes from Belljar, never from the program.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Stack trace as the language prints it, with the program's own line numbers. Empty if there
    /// is none, and then left out of JSON.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub stack: String,
    /// Error that caused this one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(no_recursion))]
    pub cause: Option<Box<RunError>>,
    /// Errors that this one combines, such as the `errors` of an `AggregateError`. At most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(no_recursion))]
    pub errors: Vec<RunError>,
}

impl RunError {
    /// Returns an error with a name and a message.
    pub fn new(name: impl Into<String>, message: impl Into<String>) -> Self {
        Self { name: name.into(), message: message.into(), ..Self::default() }
    }

    /// Returns the error with a hint.
    #[must_use]
    pub fn with_hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// A rich result: something that the program displayed, such as an image or a table.
///
/// ```
/// let result: belljar_protocol::RichResult =
///     serde_json::from_str(r#"{"type": "text/html", "data": "<b>41</b>"}"#).unwrap();
/// assert_eq!(result.media_type, "text/html");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RichResult {
    /// Media type, such as `image/png`.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Data of the result: text, or base64 for media types that are not text.
    pub data: String,
}

/// A file that the program left and that is returned to the caller.
///
/// ```
/// let artifact: belljar_protocol::Artifact =
///     serde_json::from_str(r#"{"name": "summary.json", "size_bytes": 118, "sha256": "e3b0c442"}"#)
///         .unwrap();
/// assert_eq!(artifact.size_bytes, 118);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Artifact {
    /// Path relative to `outputs/`, or the path given with `--output`.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

/// An access that the sandbox refused.
///
/// ```
/// let denial: belljar_protocol::Denial = serde_json::from_str(r#"{
///   "action": "net.connect", "target": "93.184.216.34:80",
///   "grant": "net: [\"93.184.216.34:80\"]"
/// }"#).unwrap();
/// assert_eq!(denial.action, "net.connect");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Denial {
    /// Attempted action: `net.connect`, `net.resolve`, `net.listen`, `exec`, `fs.read` or
    /// `fs.write`.
    pub action: String,
    /// Target of the action, such as a path or an address.
    pub target: String,
    /// Grant that would allow the action.
    pub grant: String,
}

/// Something that keeps a run in progress after its result is available.
///
/// ```
/// let pending: belljar_protocol::Pending =
///     serde_json::from_str(r#"{"kind": "interval", "count": 1, "at": "main.js:2:1"}"#).unwrap();
/// assert_eq!(pending.to_string(), "an interval (main.js:2:1)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pending {
    /// Kind of the pending thing.
    pub kind: PendingKind,
    /// Number of things of this kind that were created at this place.
    pub count: u64,
    /// Place in the program that created it: file, line and column. Absent if the runtime does not
    /// record it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
}

impl std::fmt::Display for Pending {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (one, many) = self.kind.words();
        match self.count {
            0 | 1 => f.write_str(one)?,
            count => write!(f, "{count} {many}")?,
        }
        self.at.as_ref().map_or(Ok(()), |at| write!(f, " ({at})"))
    }
}

/// The kinds of things that keep a run in progress.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PendingKind {
    /// A timer that fires once.
    Timer,
    /// A timer that fires repeatedly.
    Interval,
    /// A listening server.
    Server,
    /// An open connection or pipe.
    Socket,
    /// A process that the program started.
    ChildProcess,
    /// A worker thread of Node.js.
    Worker,
    /// A Python thread that is not a daemon.
    Thread,
    /// A task of an event loop.
    Task,
    /// A watch on a file or folder.
    Watcher,
    /// A handle of any other kind.
    Other,
}

impl PendingKind {
    /// Returns the phrases for one thing of this kind and for several.
    fn words(self) -> (&'static str, &'static str) {
        match self {
            Self::Timer => ("a timer", "timers"),
            Self::Interval => ("an interval", "intervals"),
            Self::Server => ("a listening server", "listening servers"),
            Self::Socket => ("an open socket or pipe", "open sockets or pipes"),
            Self::ChildProcess => ("a child process", "child processes"),
            Self::Worker => ("a worker", "workers"),
            Self::Thread => ("a thread", "threads"),
            Self::Task => ("a task", "tasks"),
            Self::Watcher => ("a file watcher", "file watchers"),
            Self::Other => ("an open handle", "open handles"),
        }
    }
}

/// A file that the program left and that was not returned.
///
/// ```
/// let left: belljar_protocol::LeftFile =
///     serde_json::from_str(r#"{"name": "result.csv", "size_bytes": 118}"#).unwrap();
/// assert_eq!(left.name, "result.csv");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeftFile {
    /// Path relative to the working folder, such as `result.csv`.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// The resources that a run used, as measured by the kernel and the supervisor.
///
/// ```
/// let usage: belljar_protocol::Usage = serde_json::from_str(r#"{
///   "wall_ms": 1.9, "cpu_user_ms": 0.8, "cpu_system_ms": 0.7,
///   "peak_memory_bytes": 921600, "output_bytes": 14, "processes": 1
/// }"#).unwrap();
/// assert_eq!(usage.output_bytes, 14);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Milliseconds from activation to the end of the run.
    pub wall_ms: f64,
    /// Milliseconds from the acceptance of the run, or from the time at which its latest attempt
    /// was due, to activation: the queue, packages and the start of the sandbox. 0 if the program
    /// did not start.
    #[serde(default)]
    pub prepare_ms: f64,
    /// CPU time of all processes in user space, milliseconds.
    pub cpu_user_ms: f64,
    /// CPU time of all processes in the kernel, milliseconds.
    pub cpu_system_ms: f64,
    /// Peak memory of all processes together, bytes.
    pub peak_memory_bytes: u64,
    /// Bytes written to standard output, standard error and rich results, including dropped ones.
    pub output_bytes: u64,
    /// Peak number of processes and threads if the kernel counts them, else 1.
    pub processes: u64,
}

impl SandboxInfo {
    /// Returns the information about the sandbox of a run that never had one.
    pub fn none_yet(runtime: String) -> Self {
        Self { runtime, start: Start::Fork, environment: None, degraded: Vec::new() }
    }
}

/// The sandbox of a run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SandboxInfo {
    /// Runtime with its exact version, such as `node@24.21.0`.
    pub runtime: String,
    /// Way in which the sandbox was started.
    pub start: Start,
    /// Key of the environment with the run's packages. Null without packages.
    pub environment: Option<String>,
    /// Layers of isolation or measurement that were missing and whose absence the caller accepted.
    pub degraded: Vec<String>,
}
