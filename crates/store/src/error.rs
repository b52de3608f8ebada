//! The ways in which the store fails.

/// Why something could not be stored or found.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It is not there.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// Of which kind.
        what: &'static str,
        /// Its id or name.
        name: String,
    },
    /// There is one of that name already.
    #[error("there is a {what} `{name}` already")]
    Exists {
        /// Of which kind.
        what: &'static str,
        /// Its name.
        name: String,
    },
    /// It does not fit into the project's quota.
    #[error("the project's storage quota is {quota_bytes} bytes, and {used_bytes} are used: {asked_bytes} more do not fit")]
    Quota {
        /// What the project may have.
        quota_bytes: u64,
        /// What it has, uploads that are arriving included.
        used_bytes: u64,
        /// What was to be added.
        asked_bytes: u64,
    },
    /// It would be one object or artifact too many.
    #[error("the project's quota is {quota} objects and artifacts, and {used} are used: {asked} more do not fit")]
    ObjectQuota {
        /// What the project may have.
        quota: u64,
        /// What it has, uploads that are arriving included.
        used: u64,
        /// What was to be added.
        asked: u64,
    },
    /// It would be one token too many.
    #[error("the project has {0} tokens that work, which is the most")]
    TokenQuota(u64),
    /// The run is over, or was never at this attempt.
    #[error("the run {0} is not under way")]
    NotUnderWay(String),
    /// Too many runs had to be looked at, or others search as well.
    #[error("the search for the text did not come to its end within {0} ms")]
    SearchTooLong(u128),
    /// What stands in the database cannot be read. It was written by something else.
    #[error("the database holds a {what} that cannot be read: {why}")]
    Unreadable {
        /// Of which kind.
        what: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// The schema is newer than this program, or could not be brought up to date.
    #[error("the database cannot be brought to this version's schema: {0}; use the belljar that wrote it, or a newer one")]
    Migrate(#[from] sqlx::migrate::MigrateError),
    /// `SQLite` failed.
    #[error("the database failed: {0}")]
    Database(sqlx::Error),
    /// What was to be written could not be committed: a full disk, most likely.
    #[error("the database cannot be written: {0}; see that there is room on its disk")]
    Unwritable(String),
    /// The store was closed.
    #[error("the store is closed")]
    Closed,
}

impl StoreError {
    pub(crate) fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound { what, name: name.into() }
    }

    /// Tells a broken UNIQUE constraint from other failures.
    pub(crate) fn or_exists(error: sqlx::Error, what: &'static str, name: &str) -> Self {
        match error.as_database_error() {
            Some(database) if database.is_unique_violation() => Self::Exists { what, name: name.to_owned() },
            _ => Self::Database(error),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            error => Self::Database(error),
        }
    }
}

/// Reads JSON that this crate wrote.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(what: &'static str, text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(|error| StoreError::Unreadable { what, why: error.to_string() })
}

/// Writes JSON. What has no JSON cannot be stored; none of the types here is such.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the protocol's types have JSON")
}
