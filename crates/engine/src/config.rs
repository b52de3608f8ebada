//! The configuration of an engine.

use belljar_provision::{ProvisionConfig, ProvisionError};

use crate::protected::Protected;

/// The configuration of an engine. Start with [`EngineConfig::from_env`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Sources of runtimes.
    pub provision: ProvisionConfig,
    /// Run programs even if a layer of isolation is missing, and name the layer in each outcome.
    /// Otherwise such runs are refused.
    pub allow_degraded: bool,
    /// Folders, in addition to the cache, that no run may be granted.
    pub protected: Vec<Protected>,
    /// Number of sandboxes to keep parked for each spec that has been used. With 0, sandboxes are
    /// forked on demand.
    pub parked: usize,
    /// Approximate bytes that the preloaded modules of all parked sandboxes may use together.
    /// Beyond that, the sandboxes of the least recently used specs are removed.
    pub parked_memory_bytes: u64,
    /// Approximate bytes that all zygotes may use together. Beyond that, the least recently used
    /// ones are removed.
    pub zygote_memory_bytes: u64,
    /// Number of forks after which a zygote is replaced, because its forks share their address
    /// layout.
    pub zygote_forks: u64,
    /// Age in seconds after which a zygote is replaced.
    pub zygote_age_s: u64,
}

impl EngineConfig {
    /// Returns the default configuration, with settings for runtimes from environment variables:
    /// `PATH`, the cache folder, registries and certificates.
    pub fn from_env() -> Result<Self, ProvisionError> {
        Ok(Self {
            provision: ProvisionConfig::from_env()?,
            allow_degraded: false,
            protected: Vec::new(),
            parked: 0,
            parked_memory_bytes: 1 << 30,
            zygote_memory_bytes: 1 << 30,
            zygote_forks: 20_000,
            zygote_age_s: 3600,
        })
    }
}
