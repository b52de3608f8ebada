//! Why an engine could not do what it was asked. Each says what, why and the mend.

use std::io;

use belljar_jail::{CgroupError, LaunchError};
use belljar_protocol::{InvalidLimit, InvalidPolicy};
use belljar_provision::ProvisionError;

/// Why a run was refused, or a sandbox could not be had.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// The policy cannot be meant.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A limit cannot be meant.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// A limit is more than there is.
    #[error("limits.{field} is {asked}, and this machine has {has}; ask for less")]
    Machine {
        /// The limit.
        field: &'static str,
        /// What was asked for.
        asked: String,
        /// What there is.
        has: String,
    },
    /// The machine gives its processes fewer open files than the run's limit.
    #[error(
        "limits.open_files is {asked}, and this process may open {has} files; raise that with `ulimit -n {asked}`, or ask for less with --open-files"
    )]
    OpenFilesLimit {
        /// What was asked for.
        asked: u32,
        /// What the supervisor may have itself.
        has: u32,
    },
    /// The supervisor itself may not open enough files.
    #[error("belljar may open {has} files, and needs {least}; raise the limit on open files with `ulimit -n 1024`")]
    OpenFiles {
        /// The limit, `RLIMIT_NOFILE`.
        has: u64,
        /// What it needs.
        least: u64,
    },
    /// It names storage, and nobody is there to answer for it.
    #[error("policy.storage: storage is not available to a run without a server; give the run to `belljar serve`, or leave storage out")]
    NoDoor,
    /// The request is contradictory.
    #[error("{0}")]
    Request(String),
    /// The runtime could not be had.
    #[error("{}; {}", .0, .0.hint())]
    Provision(#[from] ProvisionError),
    /// What goes with a runtime cannot be kept in the cache.
    #[error("cannot keep the driver in the cache {}: {source}; check its permissions and the free space, or name another with BELLJAR_CACHE", folder.display())]
    Cache {
        /// The cache folder.
        folder: std::path::PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The environment of a run could not be had.
    #[error("{}", .0.message)]
    Environment(belljar_protocol::RunError),
    /// A granted path is not there or cannot be granted.
    #[error("cannot grant {path}: {why}")]
    Grant {
        /// As it was given.
        path: String,
        /// What is wrong with it, and the mend.
        why: String,
    },
    /// This kernel or this place cannot confine a process.
    #[error("the sandbox could not be made: {0}; `belljar doctor` tells what is missing and how to mend it")]
    Launch(#[from] LaunchError),
    /// No control groups, so no memory limit.
    #[error(
        "memory and processes cannot be limited here: {0}; run belljar under `systemd-run --user --scope -p Delegate=yes`, or accept weaker limits with --allow-degraded"
    )]
    NoLimits(String),
    /// A control group could not be made or read.
    #[error(transparent)]
    Cgroup(#[from] CgroupError),
    /// `fork` start was asked for, and this runtime cannot be forked safely here.
    #[error("{runtime} cannot be forked here: {why}; use --start exec, or leave out --start")]
    CannotFork {
        /// The runtime.
        runtime: String,
        /// What the self-test found.
        why: String,
    },
    /// A zygote or sandbox failed before the program started.
    #[error("the sandbox failed before it was ready: {0}")]
    NotReady(String),
    /// The files of a program could not be searched for what they import.
    #[error("the imports could not be found: {0}")]
    Imports(String),
    /// A call of the supervisor failed.
    #[error("{what}: {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        source: io::Error,
    },
}

/// Names what was tried.
pub(crate) fn system<E: Into<io::Error>>(what: &'static str) -> impl FnOnce(E) -> EngineError {
    move |source| EngineError::System { what, source: source.into() }
}
