//! The packages of a program: found in what it says, locked by its installers' own resolvers, installed once in a jail, and kept read-only.
#![forbid(unsafe_code)]

mod config;
mod contents;
mod environments;
mod error;
mod installers;
mod lock;
mod modules;
mod near;
mod requirement;
mod store;
mod tree;

pub use config::{EnvironmentsConfig, InstallLimits};
pub use environments::{Collected, Environments, Prepared, Tell, Wanted};
pub use error::EnvironmentError;
pub use lock::{Lock, LockError, LockedPackage, MOST_LOCK_BYTES};
pub use requirement::{Ecosystem, Requirement, RequirementError};
pub use store::{EnvironmentRecord, StoreError};
pub use tree::TreeError;
