//! The use cases of the server. This crate knows nothing of HTTP: every interface calls it, and it
//! makes all decisions.
//!
//! A [`Service`] is opened over a home, which is a folder with the database, the contents of
//! objects, and keys. It builds the use cases and gives access to them: [`Runs`], [`Storage`],
//! [`Access`], [`Audit`], [`Callbacks`] and [`Upkeep`]. Each owns what it needs, and none of them
//! knows the service. Each call comes from a [`Caller`], whose rights are checked in the first line
//! of each use case.

#![forbid(unsafe_code)]

mod access;
mod audit;
mod callbacks;
mod caller;
mod config;
mod error;
mod home;
mod memory_account;
mod metrics;
mod rates;
mod runs;
mod service;
mod storage;
mod trace;
mod upkeep;

pub use access::Access;
pub use access::signing::SignedAccess;
pub use audit::Audit;
pub use belljar_objects::Content;
pub use callbacks::Callbacks;
pub use caller::Caller;
pub use config::{CallbackConfig, RunConfig, ServiceConfig};
pub use error::{ServiceError, ServiceErrorKind};
pub use memory_account::HeldMemory;
pub use runs::Runs;
pub use runs::events::Events;
pub use runs::live::EventLine;
pub use runs::submit::Submitted;
pub use service::Service;
pub use storage::{NewUpload, Storage};
pub use trace::continue_trace;
pub use upkeep::Upkeep;
pub use upkeep::backup::{BackupError, BackupReport, back_up, restore};
