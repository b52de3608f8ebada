//! The packages of a program: found in what it says, locked by its installers' own resolvers, installed once in a jail, and kept read-only.
//!
//! [`RunPackages`] is what a face hands the engine for a run: it decides what the run needs (`detect.rs`), and has [`Environments`] make it.
#![forbid(unsafe_code)]

mod config;
mod contents;
mod data;
mod detect;
mod early;
mod environments;
mod error;
mod imports;
mod installers;
mod known;
mod lock;
mod manifest;
mod modules;
mod near;
mod prefilter;
mod printable;
mod python_names;
mod requirement;
mod source;
mod standard_library;
mod store;
mod tree;

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
