//! Metadata: domain functions over `SQLite`. Callers see runs, objects, tokens; never SQL.
//!
//! One writer, many readers: every change goes through one queue, whose keeper commits what has come together in one transaction.

#![forbid(unsafe_code)]

mod accounts;
mod audit;
mod backup;
mod callbacks;
mod error;
mod finding;
mod history;
mod idempotency;
mod locks;
mod objects;
mod projects;
mod retention;
mod runs;
mod tokens;
mod usage;
mod writer;

use std::path::Path;
use std::time::Duration;

use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

pub use accounts::{Reservation, Stored};
pub use audit::{AuditFilter, AuditVerdict, NewAuditEntry, audit_hash};
pub use callbacks::DueCallback;
pub use error::StoreError;
pub use finding::RunFilter;
pub use history::{Trimmed, last_event_stub};
pub use idempotency::KeyUse;
pub use locks::RunLock;
pub use objects::{NewObject, StoredObject, metadata_bytes};
pub use projects::Project;
pub use retention::Retention;
pub use runs::{EVENT_NUMBERS, Ending, EventLines, NewRun, StoredArtifact, UnfinishedRun};
pub use tokens::{Token, TokenHash};

use crate::accounts::Accounts;
use crate::writer::Writer;

/// What a commit survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The death of the process.
    #[default]
    Process,
    /// The loss of power too: every commit waits for the disk.
    Disk,
}

/// What stays of the log of changes once they are in the database.
const LOG_BYTES: u64 = 64 << 20;

/// The metadata of one home. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Store {
    readers: SqlitePool,
    /// For what looks at one row after another: one at a time, and never in the way of the readers.
    searcher: SqlitePool,
    writer: Writer,
    accounts: Accounts,
}

impl Store {
    /// Opens the database at `path`, makes it where there is none, and brings its schema up to date.
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match durability {
                Durability::Process => SqliteSynchronous::Normal,
                Durability::Disk => SqliteSynchronous::Full,
            })
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .pragma("temp_store", "memory")
            // One large transaction must not leave a log of its size behind for ever.
            .pragma("journal_size_limit", LOG_BYTES.to_string());
        // A connection to a file does not go away by itself: it need not be asked, by one more hop to its thread, whether it is still there.
        let pool = || SqlitePoolOptions::new().test_before_acquire(false);
        let one = pool().max_connections(1).connect_with(options.clone()).await?;
        sqlx::migrate!().run(&one).await?;
        let writer = Writer::start(one);
        let reading = options.read_only(true).create_if_missing(false);
        let readers = pool().max_connections(4).connect_with(reading.clone()).await?;
        let searcher = pool().max_connections(1).connect_lazy_with(reading);
        Ok(Self { readers, searcher, writer, accounts: Accounts::default() })
    }

    /// Waits until all that was asked to be written is, and closes the database.
    pub async fn close(&self) {
        // The writer last: the last connection tidies the log of changes away, and a reader may not.
        self.searcher.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Whether it answers.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM projects LIMIT 1").fetch_optional(&self.readers).await?;
        self.writer.write(|_| Box::pin(async { Ok(()) })).await
    }
}
