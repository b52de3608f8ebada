//! The packages of a program: found in what it says, locked by its installers' own resolvers, installed once in a jail, and kept read-only.
#![forbid(unsafe_code)]

mod data;
mod detect;
mod imports;
mod known;
mod manifest;
mod near;
mod prefilter;
mod python_names;
mod requirement;
mod standard_library;

pub use detect::{
    DetectError, Detection, Lock, ManifestSource, NamedImport, NamedImports, Presence, Program, SourceFile, detect, from_imports,
};
pub use imports::{OwnFiles, module_distribution, specifier_package, specifier_requirement};
pub use manifest::{MOST_MANIFEST_BYTES, Manifest, ManifestError, PackageJson, addition, package_json, requirements_txt, script_manifest};
pub use near::near_matches;
pub use prefilter::may_need_packages;
pub use python_names::{ImportName, import_name};
pub use requirement::{
    Ecosystem, MOST_REQUIREMENT_BYTES, MOST_REQUIREMENTS, NpmRequirement, PyPiRequirement, Requirement, RequirementError,
    VersionSpecifiers, merged,
};
pub use standard_library::is_standard;
