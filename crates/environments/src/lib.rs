//! The packages of a program: found in what it says, locked by its installers' own resolvers, installed once in a jail, and kept read-only.
#![forbid(unsafe_code)]

mod manifest;
mod requirement;

pub use manifest::{MOST_MANIFEST_BYTES, Manifest, ManifestError, PackageJson, addition, package_json, requirements_txt, script_manifest};
pub use requirement::{
    Ecosystem, MOST_REQUIREMENT_BYTES, MOST_REQUIREMENTS, NpmRequirement, PyPiRequirement, Requirement, RequirementError,
    VersionSpecifiers, merged,
};
