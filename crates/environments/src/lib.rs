//! The packages of a program: found in what it says, locked by its installers' own resolvers, installed once in a jail, and kept read-only.
//!
//! [`RunPackages`] is what a face hands the engine for a run: it decides what the run needs (`detect.rs`), and has [`Environments`] make it.
#![forbid(unsafe_code)]

mod boot;
mod common;
mod companions;
mod config;
mod contents;
mod data;
mod detect;
mod digest;
mod early;
mod environments;
mod error;
mod granted;
mod hints;
mod imports;
mod install_scripts;
mod installers;
mod kept;
mod known;
mod lock;
mod manifest;
mod modules;
mod near;
mod own_files;
mod package_store;
mod prefilter;
mod printable;
mod python_names;
mod renamed;
mod requirement;
mod resolution;
mod source;
mod standard_library;
mod store;
mod tree;
mod typescript_config;

pub use common::common_packages;
pub use config::{EnvironmentsConfig, InstallLimits};
pub use detect::DetectError;
pub use environments::{Collected, Environments, Prepared, Tell, Wanted};
pub use error::EnvironmentError;
pub use lock::{Lock, LockError, LockedPackage, MOST_LOCK_BYTES};
pub use manifest::{MOST_MANIFEST_BYTES, ManifestError};
pub use requirement::{
    Ecosystem, MOST_REQUIREMENT_BYTES, MOST_REQUIREMENTS, NpmRequirement, PyPiRequirement, Requirement, RequirementError, VersionSpecifiers,
};
pub use source::RunPackages;
pub use store::{EnvironmentRecord, StoreError};
pub use tree::TreeError;
