//! The configuration of environments.

use std::path::PathBuf;
use std::time::Duration;

use belljar_protocol::Ecosystem;
use belljar_provision::ProvisionConfig;

/// The configuration of environments. Start from [`EnvironmentsConfig::new`].
#[derive(Clone, Debug)]
pub struct EnvironmentsConfig {
    /// Folder of the environments. Default: `environments` in the cache folder.
    pub folder: PathBuf,
    /// Configuration of installers and runtimes.
    pub provision: ProvisionConfig,
    /// Limits of one installation.
    pub limits: InstallLimits,
    /// Approximate maximum size of all environments in bytes. If it is exceeded, the least recently
    /// used ones are removed. Default: 20 GB.
    pub max_total_bytes: u64,
}

/// The limits of one installation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct InstallLimits {
    /// Wall time. Default: ten minutes.
    pub time: Duration,
    /// Memory of the installer. Default: 4 GB.
    pub memory_bytes: u64,
    /// Size of an environment. Default: 4 GB.
    pub environment_bytes: u64,
    /// Number of files and folders of an environment. Default: 200,000.
    pub files: u64,
}

impl Default for InstallLimits {
    fn default() -> Self {
        Self {
            time: Duration::from_mins(10),
            memory_bytes: 4 << 30,
            environment_bytes: 4 << 30,
            files: 200_000,
        }
    }
}

impl EnvironmentsConfig {
    /// Returns the defaults. The registries and their credentials are those of `provision`.
    pub fn new(provision: ProvisionConfig) -> Self {
        Self {
            folder: provision.cache.join("environments"),
            provision,
            limits: InstallLimits::default(),
            max_total_bytes: 20 << 30,
        }
    }

    /// Returns the URLs that Python packages may come from, without logins.
    pub(crate) fn indexes(&self) -> Vec<String> {
        let index = &self.provision.python_index;
        std::iter::once(index.default_index())
            .chain(index.extra_indexes())
            .map(|index| index.url().to_owned())
            .collect()
    }

    /// Returns the URLs that packages come from, without logins. With other sources, the same
    /// request leads to another lock.
    pub(crate) fn sources(&self, ecosystem: Ecosystem) -> Vec<String> {
        match ecosystem {
            Ecosystem::PyPi => self.indexes(),
            Ecosystem::Npm => self.provision.registry.address_lines(),
        }
    }
}
