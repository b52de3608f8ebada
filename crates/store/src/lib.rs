//! The metadata of the server in `SQLite`. Callers use functions on runs, objects and tokens, and
//! never see SQL.
//!
//! There is one writer and several readers. Every change goes through the writer's queue, which
//! commits all waiting changes in one transaction.

#![forbid(unsafe_code)]

mod accounts;
mod actors;
mod audit;
mod backup;
mod callbacks;
mod error;
mod history;
mod idempotency;
mod locks;
mod objects;
mod projects;
mod reservations;
mod retention;
mod run_output;
mod run_records;
mod run_search;
mod runs;
mod store;
mod tokens;
mod usage;
mod writer;

pub use accounts::Reservation;
pub use actors::is_reserved_name;
pub use audit::{NewAuditEntry, audit_hash};
pub use callbacks::DueCallback;
pub use error::{DatabaseError, SchemaError, StoreError};
pub use idempotency::KeyUse;
pub use locks::RunLock;
pub use objects::{NewObject, StoredObject, metadata_bytes};
pub use retention::Retention;
pub use run_output::EventLines;
pub use runs::{
    AcceptedRun, EVENT_NUMBERS, FinishedRun, NewRun, NextAttempt, StoredArtifact, UnfinishedRun,
};
pub use store::Store;
pub use tokens::{Token, TokenHash};
