//! The packages of a program: found in what it says, locked by its installers' own resolvers, installed once in a jail, and kept read-only.
//!
//! [`RunPackages`] is what a face hands the engine for a run: it decides what the run needs (`detect.rs`), and has [`Environments`] make it.
#![forbid(unsafe_code)]

mod config;
mod contents;
mod data;
mod detect;
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
mod python_names;
mod requirement;
mod source;
mod standard_library;
mod store;
mod tree;

pub use config::{EnvironmentsConfig, InstallLimits};
pub use detect::{
    DetectError, Detection, LockPresence, ManifestSource, NamedImport, NamedImports, Presence, Program, SourceFile, detect, from_imports,
};
pub use environments::{Collected, Environments, Prepared, Tell, Wanted};
pub use error::EnvironmentError;
pub use imports::{OwnFiles, module_distribution, specifier_package, specifier_requirement};
pub use lock::{Lock, LockError, LockedPackage, MOST_LOCK_BYTES};
pub use manifest::{MOST_MANIFEST_BYTES, Manifest, ManifestError, PackageJson, addition, package_json, requirements_txt, script_manifest};
pub use near::near_matches;
pub use prefilter::may_need_packages;
pub use python_names::{ImportName, import_name};
pub use requirement::{
    Ecosystem, MOST_REQUIREMENT_BYTES, MOST_REQUIREMENTS, NpmRequirement, PyPiRequirement, Requirement, RequirementError,
    VersionSpecifiers, merged,
};
pub use source::RunPackages;
pub use standard_library::is_standard;
pub use store::{EnvironmentRecord, StoreError};
pub use tree::TreeError;
