//! What the requirements of a program led to: a lock, and the names that no registry had.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::EnvironmentError;
use crate::lock::Lock;
use crate::requirement::Ecosystem;

/// How long a package counts as missing that no registry had.
const MISSING_FOR: Duration = Duration::from_mins(10);

/// What requirements were resolved to.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Resolution {
    /// `None` where nothing of it is in a registry.
    pub(crate) lock: Option<Lock>,
    /// Names that no registry had.
    #[serde(default)]
    pub(crate) missing: Vec<String>,
    /// What there is to say of the versions.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// When it was resolved, in seconds since 1970.
    #[serde(default)]
    pub(crate) resolved_at: u64,
}

impl Resolution {
    /// Whether it is to be looked again for a package that no registry had.
    pub(crate) fn is_stale(&self) -> bool {
        !self.missing.is_empty() && seconds_since_1970().saturating_sub(self.resolved_at) > MISSING_FOR.as_secs()
    }

    /// The lock, or why there is none.
    pub(crate) fn into_lock(self, ecosystem: Ecosystem) -> Result<Lock, EnvironmentError> {
        let missing = self.missing.first().map_or("", String::as_str);
        self.lock.ok_or_else(|| EnvironmentError::not_in_registry(ecosystem, missing))
    }
}

pub(crate) fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
