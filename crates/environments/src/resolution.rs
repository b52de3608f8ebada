//! The result of resolving requirements: a lock, and the names that no registry had.

use std::time::{Duration, SystemTime};

use serde::{Deserialize, Serialize};

use crate::error::EnvironmentError;
use crate::lock::Lock;
use crate::requirement::Ecosystem;

/// The time for which a package counts as missing after no registry had it.
const MISSING_FOR: Duration = Duration::from_mins(10);

/// The result of resolving requirements.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Resolution {
    /// The lock, or `None` if no registry has any of the packages.
    pub(crate) lock: Option<Lock>,
    /// Names of packages that no registry had.
    #[serde(default)]
    pub(crate) missing: Vec<String>,
    /// Notes on the chosen versions.
    #[serde(default)]
    pub(crate) notes: Vec<String>,
    /// The time of the resolution in seconds since 1970.
    #[serde(default)]
    pub(crate) resolved_at: u64,
}

impl Resolution {
    /// Returns whether missing packages should be looked up again.
    pub(crate) fn is_stale(&self) -> bool {
        !self.missing.is_empty()
            && seconds_since_1970().saturating_sub(self.resolved_at) > MISSING_FOR.as_secs()
    }

    /// Returns the lock, or the error that there is none.
    pub(crate) fn into_lock(self, ecosystem: Ecosystem) -> Result<Lock, EnvironmentError> {
        let missing = self.missing.first().map_or("", String::as_str);
        self.lock.ok_or_else(|| EnvironmentError::not_in_registry(ecosystem, missing))
    }
}

pub(crate) fn seconds_since_1970() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}
