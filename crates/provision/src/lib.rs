//! Finds, fetches and verifies the runtimes that Belljar boots, Node (fetched where this machine has none) and `CPython` (found), and the
//! installers of their packages, pnpm and uv (fetched alike).
//!
//! Everything here blocks. What was learnt about a program is remembered in the cache, so that finding it again starts no process.
//!
//! ```no_run
//! use belljar_provision::{NodeRequest, ProvisionConfig, Provisioner, Silent};
//!
//! let provisioner = Provisioner::new(ProvisionConfig::from_env()?)?;
//! let node = provisioner.node(&"24".parse()?, &mut Silent)?;
//! println!("node {} from {:?}, show {:?}", node.version, node.source, node.mounts());
//! # Ok::<(), belljar_provision::ProvisionError>(())
//! ```
#![forbid(unsafe_code)]

mod cache;
mod config;
mod credential;
mod error;
mod http;
mod index;
mod install;
mod installer;
mod integrity;
mod interpreter;
mod node;
mod npm;
mod npmrc;
mod pins;
mod platform;
mod progress;
mod python;
mod request;
mod tool;
mod unpack;

pub use config::{FetchBounds, ProvisionConfig, ProxyUse, PythonVersions, Release, Trust};
pub use credential::{Login, Secret};
pub use error::ProvisionError;
pub use index::{DEFAULT_INDEX, PackageIndex, PythonIndex};
pub use installer::Installer;
pub use integrity::{Identity, Integrity};
pub use node::NodeRuntime;
pub use npmrc::{DEFAULT_REGISTRY, Registry};
pub use progress::{Progress, Silent, Step};
pub use python::PythonRuntime;
pub use request::{NodeRequest, NotAVersion, PythonRequest, Version};

/// Where a runtime or an installer was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Source {
    /// The configuration names it.
    Configured,
    /// It is on PATH.
    Path,
    /// A version manager has installed it, beside PATH.
    VersionManager,
    /// It was fetched earlier.
    Cache,
    /// It was fetched just now.
    Fetched,
}

/// Finds and fetches runtimes and installers.
#[derive(Debug)]
pub struct Provisioner {
    config: ProvisionConfig,
    cache: cache::Cache,
}

impl Provisioner {
    /// Checks that the cache is this user's alone. Nothing is made or fetched yet.
    pub fn new(config: ProvisionConfig) -> Result<Self, ProvisionError> {
        let cache = cache::Cache::open(&config.cache)?;
        Ok(Self { config, cache })
    }

    /// The same, but it fetches nothing.
    #[must_use]
    pub fn offline(&self) -> Self {
        Self { config: ProvisionConfig { offline: true, ..self.config.clone() }, cache: self.cache.clone() }
    }
}
