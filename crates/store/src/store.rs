//! The connections to the database: one writer and several readers.

use std::path::Path;
use std::time::Duration;

use belljar_protocol::Durability;
use sqlx::SqlitePool;
use sqlx::sqlite::{SqliteConnectOptions, SqliteJournalMode, SqlitePoolOptions, SqliteSynchronous};

use crate::accounts::{Accounts, Reservation, Trimmed};
use crate::error::{SchemaError, StoreError};
use crate::writer::Writer;

/// The size to which the write-ahead log is truncated after its changes are in the database.
const LOG_BYTES: u64 = 64 << 20;

/// The metadata of one home. A clone shares the same store.
#[derive(Clone, Debug)]
pub struct Store {
    pub(crate) readers: SqlitePool,
    /// A connection for queries that examine one row after another, so that they take turns and
    /// never block the readers.
    pub(crate) searcher: SqlitePool,
    pub(crate) writer: Writer,
    pub(crate) accounts: Accounts,
}

impl Store {
    /// Opens the database at `path`, creates it if it is missing, and updates its schema.
    pub async fn open(path: &Path, durability: Durability) -> Result<Self, StoreError> {
        let options = SqliteConnectOptions::new()
            .filename(path)
            .create_if_missing(true)
            .journal_mode(SqliteJournalMode::Wal)
            .synchronous(match durability {
                Durability::Process => SqliteSynchronous::Normal,
                // Every commit waits for the disk.
                Durability::Disk => SqliteSynchronous::Full,
            })
            .foreign_keys(true)
            .busy_timeout(Duration::from_secs(10))
            .pragma("temp_store", "memory")
            // A large transaction must not leave a log of its size behind forever.
            .pragma("journal_size_limit", LOG_BYTES.to_string());
        // A connection to a file does not go away by itself. A check would cost another round trip
        // to its thread.
        let pool = || SqlitePoolOptions::new().test_before_acquire(false);
        let one = pool().max_connections(1).connect_with(options.clone()).await?;
        sqlx::migrate!().run(&one).await.map_err(SchemaError)?;
        let writer = Writer::start(one);
        let reading = options.read_only(true).create_if_missing(false);
        let readers = pool().max_connections(4).connect_with(reading.clone()).await?;
        let searcher = pool().max_connections(1).connect_lazy_with(reading);
        Ok(Self { readers, searcher, writer, accounts: Accounts::default() })
    }

    /// Waits until all queued changes are written, and closes the database.
    pub async fn close(&self) {
        // The writer is closed last: the last connection removes the write-ahead log, which a
        // reader is not allowed to do.
        self.searcher.close().await;
        self.readers.close().await;
        self.writer.close().await;
    }

    /// Checks that the database answers.
    pub async fn check(&self) -> Result<(), StoreError> {
        sqlx::query("SELECT 1 FROM projects LIMIT 1").fetch_optional(&self.readers).await?;
        self.writer.write(|_| Box::pin(async { Ok(()) })).await
    }

    /// Returns a function that updates the project's account after a commit.
    pub(crate) fn settling(
        &self,
        project_id: String,
        reservation: Option<Reservation>,
    ) -> impl FnOnce(&Option<Trimmed>) + Send + use<> {
        let accounts = self.accounts.clone();
        move |trimmed| {
            if let Some(trimmed) = trimmed {
                accounts.settle(&project_id, trimmed.stored, reservation);
            }
        }
    }
}
