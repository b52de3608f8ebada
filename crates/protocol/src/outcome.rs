//! How a run ended, and all that is known of it afterwards.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::event::LogEntry;
use crate::ids::RunId;

/// How a run ended. Decided by the supervisor, once: cancellation first, then limits proven by a kernel counter, then how the process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Status {
    /// The program ended well.
    Succeeded,
    /// The program ended with an error of its own, or with an exit code other than 0.
    Failed,
    /// It ran longer than `timeout_ms`.
    TimedOut,
    /// It used more CPU time than `cpu_ms`.
    CpuExceeded,
    /// It used more memory than `memory_bytes`.
    MemoryExceeded,
    /// It wrote more than `output_bytes`.
    OutputExceeded,
    /// The caller stopped it.
    Cancelled,
    /// Its process died by a signal that no limit explains.
    Crashed,
    /// It was not started: the policy or the limits cannot be had here.
    Refused,
    /// Belljar itself failed while it ran; it says nothing about the program.
    Interrupted,
}

impl Status {
    /// The name on the wire.
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

/// How a sandbox comes to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Start {
    /// Forked from a booted runtime. About a millisecond; forks of one zygote share their address layout.
    Fork,
    /// A runtime process of its own.
    Exec,
}

/// How a run ended: what `belljar run --json` prints.
///
/// ```
/// let outcome: belljar_protocol::Outcome = serde_json::from_str(r#"{
///   "id": "run_019a", "status": "succeeded", "value": {"total": 41}, "error": null,
///   "logs": [{"timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "message": "read 2000 rows"}],
///   "results": [{"type": "image/png", "data": "iVBORw0KGgo="}],
///   "artifacts": [{"name": "summary.json", "size_bytes": 118, "sha256": "e3b0"}],
///   "usage": {"wall_ms": 1.9, "cpu_user_ms": 0.8, "cpu_system_ms": 0.7, "peak_memory_bytes": 921600, "output_bytes": 14, "processes": 1},
///   "sandbox": {"runtime": "node@24.21.0", "start": "fork", "environment": null, "degraded": []}
/// }"#).unwrap();
/// assert_eq!(outcome.value.unwrap().get(), r#"{"total": 41}"#);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Outcome {
    /// The run.
    pub id: RunId,
    /// How it ended.
    pub status: Status,
    /// The program's result, JSON. Null unless `status` is `succeeded`, or the run was ended from outside (a limit, a cancellation)
    /// when its result was already there.
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub value: Option<Box<RawValue>>,
    /// What went wrong, in the program's words or Belljar's. Null when `status` is `succeeded`.
    pub error: Option<RunError>,
    /// What the program asked to exit with, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub exit_code: Option<i32>,
    /// The signal that its process died of, if it did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signal: Option<i32>,
    /// What it wrote, in order.
    pub logs: Vec<LogEntry>,
    /// What it displayed.
    pub results: Vec<RichResult>,
    /// The files that it left in `outputs/`.
    pub artifacts: Vec<Artifact>,
    /// What was refused, and the grant to ask for.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub denied: Vec<Denial>,
    /// Facts for the writer of the program that do not change how it ended: a last expression without a JSON form, a notebook
    /// command that was ignored. Short sentences in plain text, at most 32.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// The things that were still open when the result was there, and that the run waited for until it was ended from outside.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub pending: Vec<Pending>,
    /// The files that the program left in its working folder and that were not handed back. At most 50.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub left_behind: Vec<LeftFile>,
    /// What it used.
    pub usage: Usage,
    /// Where it ran.
    pub sandbox: SandboxInfo,
}

impl Outcome {
    /// The outcome of a run whose program was not started, or of which nothing else is known.
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

/// An error with its causes.
///
/// ```
/// let error: belljar_protocol::RunError = serde_json::from_str(
///     r#"{"name": "TypeError", "message": "x is not a function", "stack": "TypeError: x is not a function\n    at main.js:3:1"}"#,
/// ).unwrap();
/// assert_eq!(error.name, "TypeError");
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RunError {
    /// The error's class or kind.
    pub name: String,
    /// What it says.
    pub message: String,
    /// The stack as the language prints it, with the program's own line numbers. Empty when there is none.
    #[serde(default)]
    pub stack: String,
    /// What caused it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(no_recursion))]
    pub cause: Option<Box<RunError>>,
    /// What it gathers, where it is one for several: the `errors` of an `AggregateError`. At most ten.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[cfg_attr(feature = "openapi", schema(no_recursion))]
    pub errors: Vec<RunError>,
}

/// Something that the program displayed.
///
/// ```
/// let result: belljar_protocol::RichResult = serde_json::from_str(r#"{"type": "text/html", "data": "<b>41</b>"}"#).unwrap();
/// assert_eq!(result.media_type, "text/html");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct RichResult {
    /// Media type, such as `image/png`.
    #[serde(rename = "type")]
    pub media_type: String,
    /// Text, or base64 for types that are not text.
    pub data: String,
}

/// A file that the run left behind.
///
/// ```
/// let artifact: belljar_protocol::Artifact =
///     serde_json::from_str(r#"{"name": "summary.json", "size_bytes": 118, "sha256": "e3b0c442"}"#).unwrap();
/// assert_eq!(artifact.size_bytes, 118);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Artifact {
    /// Path relative to `outputs/`, or as it was named with `--output`.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
}

/// Something that was refused.
///
/// ```
/// let denial: belljar_protocol::Denial = serde_json::from_str(
///     r#"{"action": "net.connect", "target": "93.184.216.34:80", "grant": "net: [\"93.184.216.34:80\"]"}"#,
/// ).unwrap();
/// assert_eq!(denial.action, "net.connect");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Denial {
    /// What was tried: `net.connect`, `net.resolve`, `net.listen`, `exec`, `fs.read`, `fs.write`.
    pub action: String,
    /// What it was tried on.
    pub target: String,
    /// The grant that would allow it.
    pub grant: String,
}

/// Something that keeps a run going after its result is there.
///
/// ```
/// let pending: belljar_protocol::Pending = serde_json::from_str(r#"{"kind": "interval", "count": 1, "at": "main.js:2:1"}"#).unwrap();
/// assert_eq!(pending.to_string(), "an interval (main.js:2:1)");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Pending {
    /// The kind of thing.
    pub kind: PendingKind,
    /// The number of things of this kind, made at this place.
    pub count: u64,
    /// The place in the program that made it: file, line and column. Absent where the runtime does not keep it.
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

/// The kinds of things that keep a run going.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum PendingKind {
    /// A timer that runs once.
    Timer,
    /// A timer that runs again and again.
    Interval,
    /// A server that listens.
    Server,
    /// An open connection or pipe.
    Socket,
    /// A process that the program started.
    ChildProcess,
    /// A worker thread of Node.
    Worker,
    /// A thread of Python that is not a daemon.
    Thread,
    /// A task of an event loop.
    Task,
    /// A watch on a file or folder.
    Watcher,
    /// Anything else.
    Other,
}

impl PendingKind {
    /// One of them, and several, in words.
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

/// A file that a run left behind and that was not kept.
///
/// ```
/// let left: belljar_protocol::LeftFile = serde_json::from_str(r#"{"name": "result.csv", "size_bytes": 118}"#).unwrap();
/// assert_eq!(left.name, "result.csv");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LeftFile {
    /// Path relative to the working folder.
    pub name: String,
    /// Size in bytes.
    pub size_bytes: u64,
}

/// What a run used, measured by the kernel and the supervisor.
///
/// ```
/// let usage: belljar_protocol::Usage = serde_json::from_str(
///     r#"{"wall_ms": 1.9, "cpu_user_ms": 0.8, "cpu_system_ms": 0.7, "peak_memory_bytes": 921600, "output_bytes": 14, "processes": 1}"#,
/// ).unwrap();
/// assert_eq!(usage.output_bytes, 14);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Usage {
    /// Milliseconds from activation to the end.
    pub wall_ms: f64,
    /// CPU time in user space, all processes, milliseconds.
    pub cpu_user_ms: f64,
    /// CPU time in the kernel, all processes, milliseconds.
    pub cpu_system_ms: f64,
    /// The most memory that it held at one time, all processes, bytes.
    pub peak_memory_bytes: u64,
    /// Bytes that it wrote to standard output, standard error and rich results, dropped ones included.
    pub output_bytes: u64,
    /// The most processes and threads that it had at one time, where the kernel counts them; else 1.
    pub processes: u64,
}

impl SandboxInfo {
    /// What is said of the sandbox of a run that never had one.
    pub fn none_yet(runtime: String) -> Self {
        Self { runtime, start: Start::Fork, environment: None, degraded: Vec::new() }
    }
}

/// Where a run ran.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SandboxInfo {
    /// The runtime and its exact version, `node@24.21.0`.
    pub runtime: String,
    /// How the sandbox came to be.
    pub start: Start,
    /// The key of the environment that it has; none without packages.
    pub environment: Option<String>,
    /// Layers of isolation or measurement that were missing and whose absence the caller accepted.
    pub degraded: Vec<String>,
}
