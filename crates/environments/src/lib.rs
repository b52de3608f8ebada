//! The packages of a program: found in what it says, locked by its installers' own resolvers, installed once in a jail, and kept read-only.
#![forbid(unsafe_code)]

mod config;
mod contents;
mod detect;
mod environments;
mod error;
mod installers;
mod lock;
mod manifest;
mod modules;
mod near;
mod printable;
mod requirement;
mod source;
mod store;
mod tree;

pub use config::{EnvironmentsConfig, InstallLimits};
pub use environments::{Collected, Environments, Prepared, Tell, Wanted};
pub use error::EnvironmentError;
pub use lock::{Lock, LockError, LockedPackage, MOST_LOCK_BYTES};
pub use manifest::{MOST_MANIFEST_BYTES, Manifest, ManifestError, PackageJson, addition, package_json, requirements_txt, script_manifest};
pub use requirement::{
    Ecosystem, MOST_REQUIREMENT_BYTES, MOST_REQUIREMENTS, NpmRequirement, PyPiRequirement, Requirement, RequirementError,
    VersionSpecifiers, merged,
};
pub use source::RunPackages;
pub use store::{EnvironmentRecord, StoreError};
pub use tree::TreeError;
