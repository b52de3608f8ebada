//! Errors of environments. The model that wrote the program reads them as well as people do.

use std::borrow::Cow;

use belljar_engine::EngineError;
use belljar_protocol::{Explain, RunError};
use belljar_provision::ProvisionError;

use crate::detect::DetectError;
use crate::folder_error::FolderError;
use crate::lock::LockError;
use crate::requirement::{Ecosystem, RequirementError};
use crate::suggestions::{did_you_mean, suggestions};

/// An error of finding, resolving or installing the packages of a run.
#[derive(Debug, thiserror::Error)]
pub enum EnvironmentError {
    /// A package of the run's list is not a requirement.
    #[error("cannot determine the packages: {0}")]
    Requirement(#[from] RequirementError),
    /// The program's own statements about its packages are invalid or refused.
    #[error("cannot determine the packages: {0}")]
    Detect(#[from] DetectError),
    /// The request contradicts itself, or does not fit the runtime.
    #[error("cannot determine the packages: {problem}")]
    Request {
        /// Description of the contradiction.
        problem: String,
        /// Advice, in the imperative.
        hint: &'static str,
    },
    /// The lock file of the run is rejected.
    #[error(transparent)]
    Lock(#[from] LockError),
    /// No registry has the package.
    #[error("package `{name}` not found in any configured registry")]
    NotInRegistry {
        /// Name of the package.
        name: String,
        /// Similar names of well-known packages, the most similar first.
        suggestions: Vec<&'static str>,
    },
    /// No combination of versions meets all requirements.
    #[error("cannot resolve the packages: {0}")]
    Resolution(String),
    /// All versions that would meet the requirements are too young.
    #[error("cannot resolve the packages (versions younger than {days} days are ignored): {why}")]
    TooYoung {
        /// The installer's message.
        why: String,
        /// The minimum release age in days.
        days: u32,
    },
    /// A registry does not answer, or its answer is invalid.
    #[error("cannot query the package registry: {0}")]
    Registry(String),
    /// A downloaded file differs from what the registry or the lock file announced.
    #[error("a downloaded package is not the expected one, so nothing was installed: {0}")]
    Integrity(String),
    /// A package has to be built.
    #[error("a package must be built from source, which runs its own code: {0}")]
    NeedsBuild(String),
    /// A package is not in the cache, and fetching is disabled.
    #[error("offline, and a package is not in the cache: {0}")]
    Offline(String),
    /// The run is frozen, and a package is in no lock file.
    #[error("frozen, and the run has no lock file that contains `{0}`")]
    Unlocked(String),
    /// The policy does not allow the request.
    #[error("the policy refuses {what}: {why}")]
    Refused {
        /// The package, or another part of the request.
        what: String,
        /// The rule that refuses it.
        why: &'static str,
        /// Advice, in the imperative.
        hint: &'static str,
    },
    /// The installation exceeded one of its limits.
    #[error("the installation was stopped: {0}")]
    Stopped(String),
    /// The installer cannot be found or installed.
    #[error("cannot install the package installer: {0}")]
    Installer(#[source] ProvisionError),
    /// The configuration of registries is invalid.
    #[error("invalid configuration of package registries: {0}")]
    Configuration(String),
    /// The folder of environments failed.
    #[error(transparent)]
    Folder(#[from] FolderError),
    /// A sandbox or a tool failed to start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// A defect of Belljar.
    #[error("{0}")]
    Internal(String),
}

impl Explain for EnvironmentError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Requirement(error) => return error.hint(),
            Self::Detect(error) => return error.hint(),
            Self::Lock(error) => return error.hint(),
            Self::Installer(error) => return error.hint(),
            Self::Folder(error) => return error.hint(),
            Self::Engine(error) => return error.hint(),
            Self::Internal(_) => return None,
            Self::Request { hint, .. } | Self::Refused { hint, .. } => (*hint).into(),
            Self::NotInRegistry { suggestions, .. } => {
                did_you_mean(suggestions).unwrap_or_else(|| "check the spelling".to_owned()).into()
            }
            Self::Resolution(_) => "request other versions".into(),
            Self::TooYoung { .. } => {
                "request older versions, or lower the age with --minimum-release-age \
                 (package_options.minimum_release_age_days) if the policy allows it"
                    .into()
            }
            Self::Registry(_) => {
                "try again, or check the network and the registry's URL and credentials".into()
            }
            Self::Integrity(_) => {
                "find out why the registry serves something else before you make a new lock file"
                    .into()
            }
            Self::NeedsBuild(_) => {
                "request a version with a wheel, or allow the build with --allow-build \
                 (package_options.allow_build) if the policy permits it"
                    .into()
            }
            Self::Offline(_) => {
                "go online once, or build the environment in advance with `belljar env warm`".into()
            }
            Self::Unlocked(_) => {
                "make a lock file with `belljar env lock`, or run without frozen".into()
            }
            Self::Stopped(_) => {
                "request fewer packages, or have the operator raise environments.install_ms, \
                 install_memory_bytes, environment_bytes or files"
                    .into()
            }
            Self::Configuration(_) => {
                "correct it, so that no package comes from an unintended registry".into()
            }
        })
    }
}

impl EnvironmentError {
    pub(crate) fn not_in_registry(ecosystem: Ecosystem, name: &str) -> Self {
        Self::NotInRegistry { name: name.to_owned(), suggestions: suggestions(ecosystem, name) }
    }

    /// Returns the error of a run's outcome.
    pub fn run_error(&self) -> RunError {
        let error = RunError::new(self.name(), self.to_string());
        RunError { hint: self.hint().map(Cow::into_owned), ..error }
    }

    /// Returns the error of a run's outcome for a tenant, which does not reveal where the host
    /// keeps its files.
    pub fn run_error_for_tenants(&self) -> RunError {
        let what = match self {
            Self::Folder(FolderError::Tree(_)) => return self.run_error(),
            error if !error.is_the_operators() => return error.run_error(),
            Self::Folder(_) => "the folder of environments",
            _ => "the package installer",
        };
        RunError::new(self.name(), format!("{what} cannot be used"))
            .with_hint("ask the operator, whose log has the reason")
    }

    /// Returns whether only the operator can fix the cause.
    pub fn is_the_operators(&self) -> bool {
        match self {
            // The program itself is too large to be searched for imports.
            Self::Engine(EngineError::Imports(_)) | Self::Folder(FolderError::Tree(_)) => false,
            error => matches!(
                error,
                Self::Folder(_)
                    | Self::Installer(_)
                    | Self::Configuration(_)
                    | Self::Internal(_)
                    | Self::Engine(_)
            ),
        }
    }

    /// Returns the name of the error in a run's outcome.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Requirement(_) | Self::Detect(_) | Self::Request { .. } | Self::Lock(_) => {
                "InvalidPackages"
            }
            Self::NotInRegistry { .. } => "PackageNotFound",
            Self::Resolution(_) | Self::TooYoung { .. } => "PackagesNotResolved",
            Self::Registry(_) => "RegistryUnavailable",
            Self::Integrity(_) => "PackageIntegrity",
            Self::NeedsBuild(_) => "PackageNeedsBuild",
            Self::Offline(_) => "PackagesOffline",
            Self::Unlocked(_) => "PackagesNotLocked",
            Self::Refused { .. } => "PackagesRefused",
            Self::Stopped(_) => "InstallationStopped",
            Self::Installer(_)
            | Self::Configuration(_)
            | Self::Folder(_)
            | Self::Engine(_)
            | Self::Internal(_) => "EnvironmentError",
        }
    }
}
