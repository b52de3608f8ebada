//! The errors of the engine. Each message says what failed, and each hint how to fix it.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use belljar_channel::stage::Violation;
use belljar_jail::{CgroupError, LaunchError, SetupError};
use belljar_protocol::{
    Bytes, Explain, InvalidLimit, InvalidPolicy, Language, RunError, RuntimeName, Status,
};
use belljar_provision::ProvisionError;

use crate::home::NotHome;
use crate::surroundings::Surroundings;

/// An error of the engine: a request that it refuses, or a sandbox that it cannot create.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The policy is invalid.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A limit is out of range.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// A limit exceeds the resources of the machine.
    #[error("limits.{field} is {asked}, but this machine has {has}")]
    Machine {
        /// Name of the limit, such as `memory_bytes`.
        field: &'static str,
        /// The requested value, as text.
        asked: String,
        /// The value that the machine has, as text.
        has: String,
    },
    /// The run's limit on open files exceeds the supervisor's own limit.
    #[error("limits.open_files is {asked}, but this process may open only {has} files")]
    OpenFilesLimit {
        /// The requested number of open files.
        asked: u32,
        /// The number of files that the supervisor may open.
        has: u32,
    },
    /// The supervisor may not open as many files as it needs.
    #[error("belljar may open {has} files, but needs {needed}")]
    OpenFiles {
        /// The supervisor's limit, `RLIMIT_NOFILE`.
        has: u64,
        /// The number of files that it needs.
        needed: u64,
    },
    /// The policy names storage, but the run has no server that could provide it.
    #[error("policy.storage: storage is only available on a server")]
    NoCallHandler,
    /// The runtime cannot run programs in the language.
    #[error("{runtime} does not run {language}")]
    WrongRuntime {
        /// The requested runtime.
        runtime: RuntimeName,
        /// Language of the program.
        language: Language,
    },
    /// The program is not one of the files of the run.
    #[error("the program `{0}` is not one of the files of the run")]
    NoProgram(String),
    /// An environment variable that only the start of Python can apply.
    #[error("policy.env: {name} is read when Python starts, before a run has its variables")]
    StartVariable {
        /// Name of the variable.
        name: &'static str,
        /// The advice on what to do instead, in the imperative.
        instead: &'static str,
    },
    /// An argument or a variable of a tool contains a NUL byte.
    #[error("an argument or a variable of the tool contains a NUL byte")]
    NulByte,
    /// The runtime cannot be found or installed.
    #[error(transparent)]
    Provision(#[from] ProvisionError),
    /// The driver of a runtime cannot be stored in the cache.
    #[error("cannot store the driver in the cache `{}`: {source}", folder.display())]
    Cache {
        /// The cache folder.
        folder: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
    /// The environment of the run cannot be built.
    #[error("{}", .0.message)]
    Environment(Box<RunError>),
    /// A granted path is missing or cannot be granted.
    #[error("cannot grant `{path}`: {reason}")]
    Grant {
        /// The path as it was requested.
        path: String,
        /// The reason why it cannot be granted.
        reason: Cow<'static, str>,
        /// The advice on what to do instead, in the imperative.
        hint: Option<Cow<'static, str>>,
    },
    /// The files of the run do not fit its disk limit.
    #[error("the files have {size}, but the disk limit is {disk} ({source_of_limit})")]
    Files {
        /// The size of all files together.
        size: Bytes,
        /// The disk limit of the run.
        disk: Bytes,
        /// The source of the limit, such as `the default`.
        source_of_limit: String,
        /// The advice on what to do instead, in the imperative.
        hint: String,
    },
    /// The kernel, or the container that belljar runs in, does not allow a step of the isolation.
    #[error("cannot create the sandbox: {0}")]
    Launch(#[from] LaunchError),
    /// There are no control groups, so nothing can limit memory and processes.
    #[error("cannot limit memory and processes: {0}")]
    NoLimits(String),
    /// This machine does not allow the namespaces of a sandbox.
    #[error("cannot create sandboxes on this machine: {0}")]
    NoNamespaces(SetupError),
    /// A control group cannot be created or read.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// The caller requires a fork, but forks of this runtime failed the self-test on this machine.
    #[error("{runtime} cannot be forked on this machine: {why}")]
    CannotFork {
        /// The runtime with its exact version.
        runtime: String,
        /// The failed checks of the self-test.
        why: String,
    },
    /// A zygote or a sandbox failed before a program was started in it.
    #[error("the sandbox failed to start: {0}")]
    NotReady(#[from] NotReady),
    /// The search for a program's imports failed.
    #[error("cannot find the program's imports: {0}")]
    Imports(#[from] ImportSearchError),
    /// A run of a benchmark did not succeed.
    #[error("a run of the benchmark ended as `{}`", .0.name())]
    Benchmark(Status),
    /// The engine is shutting down.
    #[error("the engine is shutting down")]
    ShuttingDown,
    /// A defect of the engine, such as a task that panicked.
    #[error("internal error: {0}")]
    Internal(&'static str),
    /// A system call of the supervisor failed.
    #[error("{what} failed: {source}")]
    System {
        /// The attempted action, such as "creating a pipe".
        what: &'static str,
        /// The failure of the system call.
        source: io::Error,
    },
}

impl EngineError {
    /// Returns whether the cause may be gone in another attempt: a process or a task that the
    /// engine started for this request failed, not the request itself and not the machine.
    pub fn is_retryable(&self) -> bool {
        matches!(self, Self::NotReady(_) | Self::Internal(_))
    }
}

impl Explain for EngineError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Policy(error) => return error.hint(),
            Self::Limit(error) => return error.hint(),
            Self::Imports(error) => return error.hint(),
            Self::NotReady(error) => return error.hint(),
            Self::Provision(error) => return error.hint(),
            Self::Environment(error) => return error.hint.as_deref().map(Cow::Borrowed),
            Self::Grant { hint, .. } => return hint.as_deref().map(Cow::Borrowed),
            Self::Files { hint, .. } => hint.as_str().into(),
            Self::Machine { field, .. } => format!("request a lower limits.{field}").into(),
            Self::OpenFilesLimit { asked, .. } => {
                format!("raise it with `ulimit -n {asked}`, or request fewer with --open-files")
                    .into()
            }
            Self::OpenFiles { .. } => "raise the limit on open files with `ulimit -n 1024`".into(),
            Self::NoCallHandler => {
                "submit the run to `belljar serve`, or remove policy.storage".into()
            }
            Self::StartVariable { instead, .. } => (*instead).into(),
            Self::Cache { .. } => {
                "check its permissions and the free space, or choose another folder with \
                 BELLJAR_CACHE"
                    .into()
            }
            Self::Launch(_) => "run `belljar doctor` to find out what is missing".into(),
            Self::NoLimits(_) => Surroundings::look().fix_control_groups().into(),
            Self::NoNamespaces(error) => Surroundings::look().fix_namespaces(*error).into(),
            Self::CannotFork { .. } => "use --start exec, or omit --start".into(),
            Self::ShuttingDown => "submit the run again after the restart".into(),
            Self::WrongRuntime { .. } => "choose a runtime of the program's language".into(),
            Self::NoProgram(_) => "add the file, or name another one as the entry".into(),
            Self::NulByte
            | Self::Cgroup(_)
            | Self::Benchmark(_)
            | Self::Internal(_)
            | Self::System { .. } => return None,
        })
    }
}

/// A zygote or a sandbox that failed before a program was started in it.
#[derive(Debug, thiserror::Error)]
pub enum NotReady {
    /// The runtime ended while it booted.
    #[error("the runtime did not boot{}", after_colon(.last_words))]
    DidNotBoot {
        /// The last text that it wrote to standard error.
        last_words: String,
    },
    /// The runtime cannot be forked because of modules that it has imported.
    #[error("the runtime {0}")]
    CannotBeForked(String),
    /// The zygote of the sandbox died.
    #[error("the zygote died")]
    ZygoteDied,
    /// The zygote could not fork.
    #[error("forking failed at step {step}: {source}")]
    ForkFailed {
        /// Number of the step that failed.
        step: u8,
        /// The failure of the system call.
        source: io::Error,
    },
    /// The zygote reported a fork without a descriptor of the new process.
    #[error("the zygote sent no descriptor of the process")]
    NoProcess,
    /// All user ids of the zygote are in use.
    #[error("a zygote can have at most {0} sandboxes at once")]
    TooManySandboxes(u32),
    /// The first process of the sandbox died.
    #[error("its process died")]
    SandboxDied,
    /// The sandbox closed its control channel.
    #[error("it closed its control channel")]
    ChannelClosed,
    /// The sandbox did not report that it is ready.
    #[error("it was not ready within {0} s")]
    TimedOut(u64),
    /// The sandbox violated the protocol of its control channel.
    #[error("it violated the protocol of its control channel: {0}")]
    BrokenProtocol(#[from] Violation),
    /// The sandbox sent a descriptor that is not its working folder.
    #[error(transparent)]
    WrongHome(#[from] NotHome),
    /// A step in the sandbox failed. The text comes from the sandbox, where code of packages may
    /// have run.
    #[error("{0}")]
    SetUp(String),
    /// The sandbox cannot be held still in the pool.
    #[error("{0}")]
    CannotWait(&'static str),
}

impl Explain for NotReady {
    fn hint(&self) -> Option<Cow<'_, str>> {
        matches!(self, Self::BrokenProtocol(Violation::NoRoom))
            .then_some(Cow::Borrowed("raise the limit on open files with `ulimit -n`"))
    }
}

/// A search for a program's imports that failed.
#[derive(Debug, thiserror::Error)]
pub enum ImportSearchError {
    /// The search exceeded one of its own limits.
    #[error("the search exceeded its limit of {0}")]
    LimitExceeded(String),
    /// The sandbox returned something that is not an answer.
    #[error("the sandbox returned an unreadable answer")]
    Unreadable,
    /// The sandbox ended with an error.
    #[error("{}", .0.message)]
    Failed(Box<RunError>),
}

impl Explain for ImportSearchError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::LimitExceeded(_) => Some(Cow::Borrowed(
                "move data and generated code out of the program's source files",
            )),
            Self::Unreadable => None,
            Self::Failed(error) => error.hint.as_deref().map(Cow::Borrowed),
        }
    }
}

/// Returns a text after a colon, or nothing if the text is empty.
fn after_colon(text: &str) -> String {
    if text.is_empty() { String::new() } else { format!(": {text}") }
}

/// Returns a conversion of the failure of a system call, where `what` is the attempted action.
pub(crate) fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> EngineError {
    move |source| EngineError::System { what, source: source.into() }
}

/// Returns the error of an outcome that reports an error of the engine.
pub(crate) fn run_error(name: &str, error: &EngineError) -> RunError {
    let run_error = RunError::new(name, error.to_string());
    RunError { hint: error.hint().map(Cow::into_owned), ..run_error }
}
