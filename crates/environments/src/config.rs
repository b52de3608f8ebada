//! How environments are made, and where they are kept.

use std::path::PathBuf;
use std::time::Duration;

use belljar_protocol::Ecosystem;
use belljar_provision::ProvisionConfig;

/// How environments are made, and where they are kept. Start from [`EnvironmentsConfig::new`].
#[derive(Clone, Debug)]
pub struct EnvironmentsConfig {
    /// Where they are kept. Default: `environments` in the cache folder.
    pub folder: PathBuf,
    /// Where installers and runtimes come from.
    pub provision: ProvisionConfig,
    /// What one installation may use.
    pub limits: InstallLimits,
    /// All environments together may hold about so many bytes; beyond, those that were not used for the longest go. Default 20 GB.
    pub most_bytes: u64,
}

/// What one installation may use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallLimits {
    /// Wall time. Default ten minutes.
    pub time: Duration,
    /// Memory of the installer. Default 4 GB.
    pub memory_bytes: u64,
    /// What an environment may hold. Default 4 GB.
    pub environment_bytes: u64,
    /// Files and folders of an environment. Default 200,000.
    pub files: u64,
}

impl Default for InstallLimits {
    fn default() -> Self {
        Self { time: Duration::from_mins(10), memory_bytes: 4 << 30, environment_bytes: 4 << 30, files: 200_000 }
    }
}

impl EnvironmentsConfig {
    /// The defaults. Registries and who logs in to them are as in `provision`.
    pub fn new(provision: ProvisionConfig) -> Self {
        Self { folder: provision.cache.join("environments"), provision, limits: InstallLimits::default(), most_bytes: 20 << 30 }
    }

    /// The addresses that Python packages may come from, without logins.
    pub(crate) fn indexes(&self) -> Vec<String> {
        let index = &self.provision.python_index;
        std::iter::once(index.default_index()).chain(index.extra_indexes()).map(|index| index.url().to_owned()).collect()
    }

    /// Where packages come from, without logins: the same request leads to another lock elsewhere.
    pub(crate) fn sources(&self, ecosystem: Ecosystem) -> Vec<String> {
        match ecosystem {
            Ecosystem::PyPi => self.indexes(),
            Ecosystem::Npm => self.provision.registry.address_lines(),
        }
    }
}
