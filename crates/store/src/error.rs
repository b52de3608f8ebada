//! Errors of the store.

use std::borrow::Cow;

use belljar_protocol::Explain;

/// An error of storing or finding something.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The object, run or project does not exist.
    #[error("there is no {what} `{name}`")]
    NotFound {
        /// Its kind, such as `run`.
        what: &'static str,
        /// Its id or name.
        name: String,
    },
    /// The name is already in use.
    #[error("the {what} `{name}` already exists")]
    Exists {
        /// Its kind, such as `project`.
        what: &'static str,
        /// The name in use.
        name: String,
    },
    /// The bytes exceed the project's storage quota.
    #[error(
        "{asked_bytes} more bytes exceed the project's storage quota of {quota_bytes} bytes, of \
         which {used_bytes} are used"
    )]
    Quota {
        /// The project's quota.
        quota_bytes: u64,
        /// The bytes in use, including those of uploads in progress.
        used_bytes: u64,
        /// The bytes to be added.
        asked_bytes: u64,
    },
    /// The number of objects and artifacts exceeds the project's quota.
    #[error(
        "{asked} more objects and artifacts exceed the project's quota of {quota}, of which {used} \
         are used"
    )]
    ObjectQuota {
        /// The project's quota.
        quota: u64,
        /// The number in use, including uploads in progress.
        used: u64,
        /// The number to be added.
        asked: u64,
    },
    /// The project has the maximum number of valid tokens.
    #[error("the project has {0} valid tokens, which is the limit")]
    TokenQuota(u64),
    /// No token of the project ever had this name, and it is not an id.
    #[error("`{name}` is neither the name nor the id of a token")]
    UnknownActor {
        /// The unknown name.
        name: String,
        /// At most three similar names.
        similar: Vec<String>,
    },
    /// The run has ended, or is not at this attempt.
    #[error("the run {0} is not in progress")]
    NotInProgress(String),
    /// The text search had to examine too many runs, or competed with other searches.
    #[error("the text search exceeded its limit of {0} ms")]
    SearchTooLong(u128),
    /// The cursor of a page is not one that a page of the same list returned.
    #[error("it is not the `next_cursor` of a page")]
    InvalidCursor,
    /// The database contains something unreadable, which this version did not write.
    #[error("the database contains an unreadable {what}: {why}")]
    Unreadable {
        /// Its kind, such as `outcome`.
        what: &'static str,
        /// The failure of the parser.
        why: String,
    },
    /// The schema is newer than this program, or cannot be updated.
    #[error("cannot update the schema of the database: {0}")]
    Migrate(#[from] SchemaError),
    /// The database returned an error.
    #[error("the database failed: {0}")]
    Database(DatabaseError),
    /// A change cannot be committed, most likely because the disk is full.
    #[error("cannot write to the database: {0}")]
    Unwritable(String),
    /// The store is closed.
    #[error("the store is closed")]
    Closed,
}

/// A failure of an update of the schema.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct SchemaError(pub(crate) sqlx::migrate::MigrateError);

/// A failure of the database itself.
#[derive(Debug, thiserror::Error)]
#[error(transparent)]
pub struct DatabaseError(pub(crate) sqlx::Error);

impl Explain for StoreError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Quota { .. } | Self::ObjectQuota { .. } => {
                "ask the operator for a larger quota, or delete something".into()
            }
            Self::TokenQuota(_) => "revoke one with `belljar tokens revoke ID`".into(),
            Self::UnknownActor { similar, .. } if similar.is_empty() => {
                "list the names with `belljar tokens list`".into()
            }
            Self::UnknownActor { similar, .. } => {
                format!("similar names are `{}`", similar.join("`, `")).into()
            }
            Self::SearchTooLong(_) => {
                "narrow the search with `since`, `until`, `label` or `status`".into()
            }
            Self::Migrate(_) => "use the belljar that wrote it, or a newer one".into(),
            Self::Unwritable(_) => "check the free space on its disk".into(),
            _ => return None,
        })
    }
}

impl StoreError {
    pub(crate) fn not_found(what: &'static str, name: impl Into<String>) -> Self {
        Self::NotFound { what, name: name.into() }
    }

    /// Distinguishes a violated UNIQUE constraint from other failures.
    pub(crate) fn or_exists(error: sqlx::Error, what: &'static str, name: &str) -> Self {
        match error.as_database_error() {
            Some(database) if database.is_unique_violation() => {
                Self::Exists { what, name: name.to_owned() }
            }
            _ => Self::Database(DatabaseError(error)),
        }
    }
}

impl From<sqlx::Error> for StoreError {
    fn from(error: sqlx::Error) -> Self {
        match error {
            sqlx::Error::PoolClosed => Self::Closed,
            error => Self::Database(DatabaseError(error)),
        }
    }
}

/// Parses JSON that this crate wrote.
pub(crate) fn read_json<T: serde::de::DeserializeOwned>(
    what: &'static str,
    text: &str,
) -> Result<T, StoreError> {
    serde_json::from_str(text)
        .map_err(|error| StoreError::Unreadable { what, why: error.to_string() })
}

/// Returns a value as JSON. All types that are stored have JSON.
pub(crate) fn json<T: serde::Serialize>(value: &T) -> String {
    serde_json::to_string(value).expect("the protocol's types have JSON")
}
