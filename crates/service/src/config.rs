//! What an operator can set.

use std::path::PathBuf;

use belljar_objects::ObjectsConfig;
use belljar_protocol::{Bytes, Millis, PackagePolicy};
use serde::Deserialize;

/// What an operator can set; everything has a default.
///
/// ```
/// let config: belljar_service::ServiceConfig = serde_json::from_str(r#"{"runs": {"concurrent": 8}}"#).unwrap();
/// assert_eq!(config.runs.concurrent, Some(8));
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// What a commit survives.
    pub durability: Durability,
    /// Of runs.
    pub runs: RunConfig,
    /// Where the contents of objects are. Default: the folder `objects` in the home.
    pub objects: Option<ObjectsConfig>,
    /// What of packages runs may have. A project may have less.
    pub packages: PackagePolicy,
    /// Of callbacks.
    pub callbacks: CallbackConfig,
}

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The death of the process.
    #[default]
    Process,
    /// The loss of power too.
    Disk,
}

/// Of runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Runs at one time; the others wait. Default: four times the processors.
    pub concurrent: Option<u32>,
    /// What the memory limits of all runs under way may add up to, with what the server may have to hold of what they write. Default: three quarters of the machine's memory.
    pub memory_bytes: Option<Bytes>,
    /// Runs that may wait, over all projects; of one project no more than there is room for others. Further ones are refused with 429. Default 1,000.
    pub queue: u32,
    /// What the submissions of all runs that wait or run may hold in memory together, shared in the same way. Further runs are refused with 429.
    /// Default 512 MB.
    pub submissions_bytes: Bytes,
    /// How long a run is kept after its end. Default 30 days.
    pub keep_ms: Millis,
    /// How many of a project's runs are kept. Default 1,000,000.
    pub keep_count: u64,
    /// The largest request, files included. Default 64 MB.
    pub most_submission_bytes: Bytes,
    /// How long a server that was asked to stop waits for runs under way before it interrupts them. Default 10 s.
    pub drain_ms: Millis,
    /// How long a search for a text in runs may wait for its turn, and how long it may take. Default 5 s.
    pub search_ms: Millis,
}

impl Default for RunConfig {
    fn default() -> Self {
        Self {
            concurrent: None,
            memory_bytes: None,
            queue: 1000,
            submissions_bytes: Bytes(512 << 20),
            keep_ms: Millis(30 * 24 * 3600 * 1000),
            keep_count: 1_000_000,
            most_submission_bytes: Bytes(64 << 20),
            drain_ms: Millis(10_000),
            search_ms: Millis(5000),
        }
    }
}

/// Of callbacks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackConfig {
    /// Whether they may go to addresses that are not public: loopback, private and link-local ones. Off by default, so that whoever may start runs
    /// cannot make the server speak to its own network.
    pub allow_private: bool,
}

/// The files of a home.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("belljar.db")
    }

    pub(crate) fn objects(&self) -> PathBuf {
        self.0.join("objects")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("keys").join("signing.key")
    }

    /// Held by the server that uses this home.
    pub(crate) fn lock(&self) -> PathBuf {
        self.0.join("server.lock")
    }

    /// Held shared by backups, and for a moment by whoever deletes contents.
    pub(crate) fn backup_lock(&self) -> PathBuf {
        self.0.join("backup.lock")
    }

    pub(crate) fn path(&self) -> &std::path::Path {
        &self.0
    }
}
