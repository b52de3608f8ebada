//! The configuration of the service.

use belljar_objects::ObjectsConfig;
use belljar_protocol::{Bytes, Durability, Millis, PackagePolicy};
use serde::Deserialize;

/// The configuration of the service. Every field has a default.
///
/// ```
/// let config: belljar_service::ServiceConfig =
///     serde_json::from_str(r#"{"runs": {"concurrent": 8}}"#).unwrap();
/// assert_eq!(config.runs.concurrent, Some(8));
/// ```
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceConfig {
    /// The failures that the database, and contents in the home's own folder, survive.
    pub durability: Durability,
    /// The settings of runs.
    pub runs: RunConfig,
    /// The storage of the contents of objects. Default: the folder `objects` in the home.
    pub objects: Option<ObjectsConfig>,
    /// The package policy of all runs. The settings of a project can only narrow it.
    pub packages: PackagePolicy,
    /// The settings of callbacks.
    pub callbacks: CallbackConfig,
}

/// The settings of runs.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RunConfig {
    /// Maximum number of runs at once. Default: four times the number of processors.
    pub concurrent: Option<u32>,
    /// Maximum sum of the memory limits of running runs, including the memory that the server may
    /// need for their output. Default: three quarters of the machine's memory.
    pub memory_bytes: Option<Bytes>,
    /// Maximum number of queued runs over all projects. A project can use as much of it as it
    /// leaves free. Further runs are refused with 429. Default: 1,000.
    pub queue: u32,
    /// Maximum memory for the submissions of all unfinished runs, shared between projects in the
    /// same way. Further runs are refused with 429. Default: 512 MB.
    pub submissions_bytes: Bytes,
    /// Time for which a finished run is kept. Default: 30 days.
    pub keep_ms: Millis,
    /// Maximum number of finished runs of a project that are kept. Default: 1,000,000.
    pub keep_count: u64,
    /// Maximum size of a request, including its files. Default: 64 MB.
    #[serde(alias = "most_submission_bytes")]
    pub max_submission_bytes: Bytes,
    /// Time that a stopping server gives running runs before it interrupts them. Default: 10 s.
    pub drain_ms: Millis,
    /// Time that a text search may wait for its turn, and time that it may take. Default: 5 s.
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
            max_submission_bytes: Bytes(64 << 20),
            drain_ms: Millis(10_000),
            search_ms: Millis(5000),
        }
    }
}

/// The settings of callbacks.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CallbackConfig {
    /// Whether callbacks may go to addresses that are not public (loopback, private and link-local
    /// ones), and to addresses of this machine. Default: false, so that a caller who may start runs
    /// cannot make the server send requests to its own network.
    pub allow_private: bool,
}
