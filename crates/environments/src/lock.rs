//! Locks, which are `uv.lock` and `pnpm-lock.yaml` as their installers write them. A lock that is
//! submitted with a run is untrusted: it is parsed far enough to know that everything in it comes
//! from a registry by its hash, and rejected otherwise.

mod index_urls;
mod pnpm;
mod read_lock;
mod uv;

use std::borrow::Cow;
use std::collections::BTreeMap;

use belljar_protocol::Explain;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::requirement::Ecosystem;

/// The maximum size of a lock in bytes. The locks of real programs are smaller.
pub const MAX_LOCK_BYTES: usize = 8 << 20;
/// A package at a version.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct LockedPackage {
    /// Name in its registry.
    pub name: String,
    /// Version of the package.
    pub version: String,
}

/// A parsed lock.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lock {
    /// Ecosystem of the lock.
    pub ecosystem: Ecosystem,
    /// Text of the `uv.lock` or `pnpm-lock.yaml`.
    pub text: String,
    /// Project that the lock belongs to.
    pub project: LockedPackage,
    /// Names and ranges that the project requires. Only for npm, because `uv` has them in the lock
    /// itself.
    pub specifiers: BTreeMap<String, String>,
    /// All packages that it may install. Locks for several machines contain more than is installed
    /// here.
    pub packages: Vec<LockedPackage>,
    /// Hashes of the files of each package, any of which may be installed. Only for `PyPI`.
    #[serde(default)]
    pub hashes: BTreeMap<String, Vec<String>>,
    /// Whether all of its packages are installed on every machine. Only for `PyPI`.
    #[serde(default)]
    pub installs_all: bool,
}

/// An error of a text that is not an acceptable lock.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LockError {
    /// The lock is too long.
    #[error("the lock file has {bytes} bytes, which exceeds the limit of {MAX_LOCK_BYTES}")]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// The text has neither form.
    #[error("the lock file is neither a valid uv.lock nor a valid pnpm-lock.yaml: {why}")]
    Unreadable {
        /// Reason why the text is not valid in either form.
        why: String,
    },
    /// A package does not come from a registry by its hash.
    #[error("`{what}` of the lock file does not come from a configured registry by its hash")]
    NotFromRegistry {
        /// Name of the package or the setting.
        what: String,
    },
    /// The lock is for the other ecosystem.
    #[error("the lock file is for {found}, but the program needs one for {wanted}")]
    OtherEcosystem {
        /// Ecosystem of the lock.
        found: Ecosystem,
        /// Ecosystem that the program needs.
        wanted: Ecosystem,
    },
}

impl Explain for LockError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some("make a lock file with `belljar env lock FILE`".into())
    }
}

impl Lock {
    /// Returns the SHA-256 of the text in hexadecimal.
    pub fn sha256(&self) -> String {
        hex::encode(Sha256::digest(&self.text))
    }
}

/// Returns the canonical spelling of a Python package's name (PEP 503).
pub(crate) fn canonical(name: &str) -> String {
    let parts = name.split(['-', '_', '.']).filter(|part| !part.is_empty());
    parts.collect::<Vec<_>>().join("-").to_ascii_lowercase()
}

#[cfg(test)]
mod tests;
