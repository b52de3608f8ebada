//! How an engine is to behave.

use belljar_provision::{ProvisionConfig, ProvisionError};

use crate::protected::Protected;

/// How an engine is to behave. Start from [`EngineConfig::from_env`].
#[derive(Clone, Debug)]
pub struct EngineConfig {
    /// Where runtimes come from.
    pub provision: ProvisionConfig,
    /// Go on where a layer is missing, and say so in each outcome. Otherwise such runs are refused.
    pub allow_degraded: bool,
    /// Folders that no run may be granted, besides the cache.
    pub protected: Vec<Protected>,
    /// How many sandboxes to keep parked for each kind of run that has been seen. 0: fork when a run comes.
    pub parked: usize,
    /// What parked sandboxes have imported ahead may hold about so many bytes, all together; beyond, those of kinds that were not asked for the longest go.
    pub parked_memory_bytes: u64,
    /// All zygotes together may hold about so many bytes; beyond, the least recently used go.
    pub zygote_memory_bytes: u64,
    /// A zygote is replaced after so many forks: forks of one share their address layout.
    pub zygote_forks: u64,
    /// And after so many seconds.
    pub zygote_age_s: u64,
}

impl EngineConfig {
    /// The defaults, with what the environment says about runtimes: `PATH`, the cache folder, registry and certificate settings.
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
