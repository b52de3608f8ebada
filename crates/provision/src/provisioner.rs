//! The provisioner, whose methods are next to the programs that they find.

use crate::cache::Cache;
use crate::config::ProvisionConfig;
use crate::error::ProvisionError;

/// The place where a runtime or an installer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The path in the configuration.
    Configured,
    /// A folder of PATH.
    Path,
    /// The installations of a version manager, which are not on PATH.
    VersionManager,
    /// The cache, from an earlier fetch.
    Cache,
    /// The network, in this fetch.
    Fetched,
}

/// Finds and fetches runtimes and installers.
#[derive(Debug)]
pub struct Provisioner {
    pub(crate) config: ProvisionConfig,
    pub(crate) cache: Cache,
}

impl Provisioner {
    /// Checks that no other user can write to the cache. Nothing is created or fetched yet.
    pub fn new(config: ProvisionConfig) -> Result<Self, ProvisionError> {
        let cache = Cache::open(&config.cache)?;
        Ok(Self { config, cache })
    }

    /// Returns a provisioner that fetches nothing.
    #[must_use]
    pub fn offline(&self) -> Self {
        Self {
            config: ProvisionConfig { offline: true, ..self.config.clone() },
            cache: self.cache.clone(),
        }
    }
}
