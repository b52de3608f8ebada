//! Idempotency keys, by which a repeated request finds the run of the first one.

use belljar_protocol::{RunId, Timestamp};
use sqlx::{Row, SqliteConnection};

use crate::error::StoreError;
use crate::store::Store;

/// The time for which a key is remembered, in milliseconds.
pub(crate) const REMEMBERED_MS: i64 = 24 * 3600 * 1000;

/// An idempotency key and the submission that it was used for.
#[derive(Clone, Debug)]
pub struct KeyUse {
    /// The key that the caller chose.
    pub key: String,
    /// SHA-256 of the submission in hexadecimal.
    pub submission_sha256: String,
}

pub(crate) async fn keep(
    connection: &mut SqliteConnection,
    project_id: &str,
    used: KeyUse,
    id: &RunId,
) -> Result<(), StoreError> {
    let now = Timestamp::now().unix_ms();
    sqlx::query(
        "DELETE FROM idempotency_keys WHERE created_at < $6; \
         INSERT INTO idempotency_keys (project_id, key, submission_sha256, run_id, created_at) VALUES ($1, $2, $3, $4, $5)",
    )
    .bind(project_id)
    .bind(&used.key)
    .bind(used.submission_sha256)
    .bind(id.as_str())
    .bind(now)
    .bind(now - REMEMBERED_MS)
    .execute(connection)
    .await
    .map_err(|error| StoreError::or_exists(error, "idempotency key", &used.key))?;
    Ok(())
}

impl Store {
    /// Returns the run that a key was first used for, and the hash of its submission.
    pub async fn run_of_key(
        &self,
        project_id: &str,
        key: &str,
    ) -> Result<Option<(RunId, String)>, StoreError> {
        let row =
            sqlx::query("SELECT run_id, submission_sha256 FROM idempotency_keys WHERE project_id = $1 AND key = $2 AND created_at >= $3")
                .bind(project_id)
                .bind(key)
                .bind(Timestamp::now().unix_ms() - REMEMBERED_MS)
                .fetch_optional(&self.readers)
                .await?;
        let Some(row) = row else { return Ok(None) };
        let id = row.try_get::<&str, _>(0)?.parse().map_err(
            |error: belljar_protocol::InvalidRunId| StoreError::Unreadable {
                what: "idempotency key",
                why: error.to_string(),
            },
        )?;
        Ok(Some((id, row.try_get(1)?)))
    }
}
