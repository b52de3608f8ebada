//! Why there is no environment. Each says what, why and the mend, for the model that wrote the program as much as for people.

use belljar_engine::EngineError;
use belljar_provision::ProvisionError;

use crate::detect::DetectError;
use crate::lock::LockError;
use crate::near::near_matches;
use crate::requirement::{Ecosystem, RequirementError};
use crate::store::StoreError;

/// Why there is no environment.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// What is asked for cannot be read.
    #[error("packages: {0}")]
    Requirement(#[from] RequirementError),
    /// What the program says of its packages cannot be read or is refused.
    #[error("packages: {0}")]
    Detect(#[from] DetectError),
    /// What a file of the program says of its packages cannot be followed here.
    #[error("packages: {0}")]
    Manifest(String),
    /// The lock that was given is refused.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No registry has it.
    #[error("the package {name} exists in no registry that is configured{}; nothing was installed in its place", did_you_mean(near))]
    NotInRegistry {
        /// What was asked for.
        name: String,
        /// What may have been meant.
        near: Vec<&'static str>,
    },
    /// The packages exist, but not in versions that go together.
    #[error("the packages cannot be resolved: {0}; ask for other versions")]
    Resolution(String),
    /// There are versions, but too young ones.
    #[error(
        "the packages cannot be resolved: {why}; versions that are younger than {days} days do not count: ask for older ones, or shorten that where the policy allows it (--minimum-release-age, package_options.minimum_release_age_days)"
    )]
    TooYoung {
        /// What the installer says.
        why: String,
        /// The age that counts.
        days: u32,
    },
    /// A registry does not answer, or not as one.
    #[error("a registry cannot be asked: {0}; try again, or check the network, and the registry's address and login")]
    Registry(String),
    /// What a registry gave is not what it, or the lock, had said.
    #[error(
        "what was fetched is not what it has to be: {0}; nothing was installed. Find out why the registry gives something else before you make a new lock"
    )]
    Integrity(String),
    /// A package has to be built.
    #[error(
        "a package has to be built from source, which runs its own code: {0}; ask for a version that comes built, or allow it where the policy does (--allow-build, package_options.allow_build)"
    )]
    NeedsBuild(String),
    /// Something is not in the cache, and nothing may be fetched.
    #[error("offline, and not everything is in the cache: {0}; go online once, or warm the environment with `belljar env warm`")]
    Offline(String),
    /// Frozen, and there is something that no lock names.
    #[error("frozen: {0} is in no lock that the run was given; give it one that holds it, made by `belljar env lock`, or leave frozen out")]
    Unlocked(String),
    /// The policy does not allow it.
    #[error("the policy refuses {what}: {why}")]
    Refused {
        /// A package, or what was asked for besides.
        what: String,
        /// The rule, and the mend.
        why: &'static str,
    },
    /// It used more than it may.
    #[error(
        "the installation was stopped: {0}; ask for fewer packages, or let the operator raise environments.install_ms, install_memory_bytes, environment_bytes or files"
    )]
    Stopped(String),
    /// The installer could not be had.
    #[error("the package installer could not be had: {}; {}", .0, .0.hint())]
    Installer(#[source] ProvisionError),
    /// The configuration of registries cannot be followed.
    #[error("packages: {0}; correct it, so that nothing is taken from another registry than the one that is meant")]
    Configuration(String),
    /// The folder of environments.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A sandbox or tool could not be had.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A defect of Belljar's own.
    #[error("{0}")]
    Internal(String),
}

fn did_you_mean(near: &[&str]) -> String {
    if near.is_empty() { String::new() } else { format!("; near it are {}", near.join(", ")) }
}

impl EnvironmentError {
    pub(crate) fn not_in_registry(ecosystem: Ecosystem, name: &str) -> Self {
        Self::NotInRegistry { name: name.to_owned(), near: near_matches(ecosystem, name) }
    }

    /// What is said to those whose machine it is not: nothing of where the host keeps what.
    pub fn for_tenants(&self) -> String {
        match self {
            Self::Store(StoreError::Tree(error)) => error.to_string(),
            told if !told.is_the_operators() => told.to_string(),
            Self::Store(_) => "the folder of environments cannot be used: ask the operator, whose log says why".to_owned(),
            _ => "the package installer cannot be used: ask the operator, whose log says why".to_owned(),
        }
    }

    /// Whether only the operator can mend it.
    pub fn is_the_operators(&self) -> bool {
        match self {
            // What a program is too large to be read for is the program's own.
            Self::Engine(EngineError::Imports(_)) | Self::Store(StoreError::Tree(_)) => false,
            error => matches!(error, Self::Store(_) | Self::Installer(_) | Self::Configuration(_) | Self::Internal(_) | Self::Engine(_)),
        }
    }

    /// The name that a run's error has.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requirement(_) | Self::Detect(_) | Self::Manifest(_) | Self::Lock(_) => "InvalidPackages",
            Self::NotInRegistry { .. } => "PackageNotFound",
            Self::Resolution(_) | Self::TooYoung { .. } => "PackagesNotResolved",
            Self::Registry(_) => "RegistryUnavailable",
            Self::Integrity(_) => "PackageIntegrity",
            Self::NeedsBuild(_) => "PackageNeedsBuild",
            Self::Offline(_) => "PackagesOffline",
            Self::Unlocked(_) => "PackagesNotLocked",
            Self::Refused { .. } => "PackagesRefused",
            Self::Stopped(_) => "InstallationStopped",
            Self::Installer(_) | Self::Configuration(_) | Self::Store(_) | Self::Engine(_) | Self::Internal(_) => "EnvironmentError",
        }
    }
}
