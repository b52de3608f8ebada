//! The record of an environment.

use belljar_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::lock::LockedPackage;
use crate::requirement::Ecosystem;

/// The version of the folder's content. Environments of other versions are created again.
pub(crate) const SCHEMA: u32 = 1;

/// The record of an environment. It is stored next to it as `environment.json`, and printed by
/// `belljar env show`.
///
/// ```
/// let text = r#"{
///   "schema": 1, "key": "pypi-2f6a1c", "ecosystem": "pypi", "runtime": "python@3.11",
///   "requirements": ["pandas==2.2.3"], "packages": [{"name": "pandas", "version": "2.2.3"}],
///   "modules": ["pandas"], "files": 5799, "size_bytes": 158000000, "content_sha256": "9f86d0",
///   "lock_sha256": "60303a", "allow_build": false, "created_at": "2026-01-02T03:04:05.678Z"
/// }"#;
/// let record: belljar_environments::EnvironmentRecord = serde_json::from_str(text).unwrap();
/// assert_eq!(record.packages[0].name, "pandas");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRecord {
    /// Version of the record's format.
    pub schema: u32,
    /// Key of the environment.
    pub key: String,
    /// Ecosystem of the packages.
    pub ecosystem: Ecosystem,
    /// Runtime without the part of its version that does not matter to packages: `python@3.11`,
    /// `node@24`.
    pub runtime: String,
    /// Packages that were requested, with their versions.
    pub requirements: Vec<String>,
    /// Packages that are installed, including dependencies.
    pub packages: Vec<LockedPackage>,
    /// Modules that are imported in advance.
    pub modules: Vec<String>,
    /// Number of files and folders.
    pub files: u64,
    /// Size of all files in bytes, including files that are shared with other environments.
    pub size_bytes: u64,
    /// SHA-256 over the names, kinds and contents of the files, without compiled bytecode. It is
    /// the same for the same lock.
    pub content_sha256: String,
    /// SHA-256 of the lock's text.
    pub lock_sha256: String,
    /// Identity of the environment: its content and its runtime. Two locks that install the same
    /// packages lead to the same environment.
    #[serde(default)]
    pub identity: String,
    /// Keys of the packages that it is linked from, which other environments share. Empty if it was
    /// installed as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked_from: Vec<String>,
    /// Packages of npm whose install scripts were not run.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unbuilt: Vec<String>,
    /// Id of the boot in which it was created, if that did not wait for the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Whether packages' own code was allowed to run to build them.
    pub allow_build: bool,
    /// Time at which it was created.
    pub created_at: Timestamp,
}
