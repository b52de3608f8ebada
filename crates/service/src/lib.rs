//! The use cases: runs, storage, tokens, projects, audit, quotas. Knows nothing of HTTP: every face calls this, and it decides.
//!
//! A [`Service`] is opened over a home, a folder with the database, the contents of objects, and keys. Whoever calls is a [`Caller`]; what a caller may
//! do is checked here, in the first line of each use case.

#![forbid(unsafe_code)]

mod addresses;
mod audit;
mod backup;
mod callback_budget;
mod callbacks;
mod caller;
mod calls;
mod ceilings;
mod config;
mod door;
mod error;
mod held;
mod metrics;
mod projects;
mod rate;
mod refusals;
mod runs;
mod service;
mod signing;
mod storage;
mod sweep;
mod tokens;

pub use audit::AuditQuery;
pub use backup::{BackupError, BackupReport, back_up, restore};
pub use belljar_store::AuditVerdict;
pub use caller::Caller;
pub use config::{CallbackConfig, Durability, RunConfig, ServiceConfig};
pub use error::{Problem, ServiceError};
pub use held::HeldMemory;
pub use runs::{EventLine, Events, RunQuery, Submitted};
pub use service::Service;
pub use signing::{Keys, SignedAccess};
pub use storage::{Download, NewUpload};
