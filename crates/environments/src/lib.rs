//! Environments of packages. The packages of a program are detected, resolved by their installers,
//! installed once in a jail, and kept read-only.
//!
//! [`RunPackages`] is what an interface passes to the engine for a run: it decides which packages
//! the run needs (`detect.rs`), and has [`Environments`] install them.
#![forbid(unsafe_code)]

mod blobs;
mod boot;
mod common;
mod companions;
mod config;
mod detect;
mod digest;
mod early;
mod environment_record;
mod environments;
mod error;
mod folder_error;
mod found_imports;
mod granted;
mod hints;
mod identity;
mod import_prefilter;
mod imports;
mod install_scripts;
mod installation;
mod installers;
mod kept;
mod lock;
mod making;
mod manifest;
mod module_paths;
mod own_files;
mod package_store;
mod policy;
mod popular_packages;
mod preload_modules;
mod prepared;
mod progress;
mod python_names;
mod renamed;
mod requirement;
mod resolution;
mod resolve;
mod run_packages;
mod sanitize;
mod standard_library;
mod store;
mod suggestions;
mod tree;
mod typescript_config;
mod wanted;
mod word_lists;

pub use common::common_packages;
pub use config::{EnvironmentsConfig, InstallLimits};
pub use detect::DetectError;
pub use environment_record::EnvironmentRecord;
pub use environments::{Collected, Environments};
pub use error::EnvironmentError;
pub use folder_error::FolderError;
pub use lock::{Lock, LockError, LockedPackage, MAX_LOCK_BYTES};
pub use manifest::{MAX_MANIFEST_BYTES, ManifestError};
pub use prepared::PreparedEnvironment;
pub use progress::Tell;
pub use requirement::{
    Ecosystem, MAX_REQUIREMENT_BYTES, MAX_REQUIREMENTS, NpmRequirement, PyPiRequirement,
    Requirement, RequirementError, VersionSpecifiers,
};
pub use run_packages::RunPackages;
pub use tree::TreeError;
pub use wanted::Wanted;
