//! Tokens, of which only the hashes are stored.

use belljar_protocol::{Scope, Timestamp, TokenRecord};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::actors;
use crate::audit::{self, NewAuditEntry};
use crate::error::{StoreError, json, read_json};
use crate::store::Store;

/// The maximum number of tokens of a project, including expired and revoked ones.
const MAX_TOKENS: i64 = 1000;

/// SHA-256 of a token in hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(String);

impl TokenHash {
    /// Returns the hash of a token.
    pub fn of(token: &str) -> Self {
        Self(format!("{:x}", Sha256::digest(token)))
    }

    /// Returns the hash as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token and its project.
#[derive(Clone, Debug)]
pub struct Token {
    /// Record of the token.
    pub record: TokenRecord,
    /// Id of the token's project.
    pub project_id: String,
    /// Hash of the token.
    pub hash: TokenHash,
}

fn token(row: &SqliteRow) -> Result<Token, StoreError> {
    let moment = |column| {
        Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix_ms))
    };
    Ok(Token {
        record: TokenRecord {
            id: row.try_get("id")?,
            name: row.try_get("name")?,
            hint: row.try_get("hint")?,
            scopes: read_json::<Vec<Scope>>("token", row.try_get("scopes")?)?,
            created_at: Timestamp::from_unix_ms(row.try_get("created_at")?),
            expires_at: moment("expires_at")?,
            last_used_at: moment("last_used_at")?,
            revoked_at: moment("revoked_at")?,
        },
        project_id: row.try_get("project_id")?,
        hash: TokenHash(row.try_get("hash")?),
    })
}

/// Makes room for another token of a project by removing the oldest expired or revoked ones. Fails
/// if all tokens are valid.
async fn make_room(connection: &mut SqliteConnection, project_id: &str) -> Result<(), StoreError> {
    let count: i64 = sqlx::query_scalar("SELECT COUNT(*) FROM tokens WHERE project_id = $1")
        .bind(project_id)
        .fetch_one(&mut *connection)
        .await?;
    if count < MAX_TOKENS {
        return Ok(());
    }
    let done = sqlx::query(
        "DELETE FROM tokens WHERE id IN (SELECT id FROM tokens WHERE project_id = $1 \
         AND (revoked_at IS NOT NULL OR expires_at <= $2) ORDER BY id LIMIT $3)",
    )
    .bind(project_id)
    .bind(Timestamp::now().unix_ms())
    .bind(count - MAX_TOKENS + 1)
    .execute(connection)
    .await?;
    if done.rows_affected() == 0 { Err(StoreError::TokenQuota(MAX_TOKENS as u64)) } else { Ok(()) }
}

impl Store {
    /// Stores a new token, unless the project has too many.
    pub async fn create_token(&self, new: Token, audit: NewAuditEntry) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    make_room(connection, &new.project_id).await?;
                    let record = &new.record;
                    sqlx::query(
                        "INSERT INTO tokens (id, project_id, name, hint, hash, scopes, created_at, expires_at) VALUES ($1, $2, $3, $4, $5, $6, $7, $8)",
                    )
                    .bind(&record.id)
                    .bind(&new.project_id)
                    .bind(&record.name)
                    .bind(&record.hint)
                    .bind(new.hash.as_str())
                    .bind(json(&record.scopes))
                    .bind(record.created_at.unix_ms())
                    .bind(record.expires_at.map(Timestamp::unix_ms))
                    .execute(&mut *connection)
                    .await?;
                    actors::keep_name(connection, &record.id, &new.project_id, &record.name)
                        .await?;
                    audit::append(connection, audit).await
                })
            })
            .await
    }

    /// Returns the token with a hash, even if it is revoked or expired.
    pub async fn token(&self, hash: &TokenHash) -> Result<Option<Token>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE hash = $1")
            .bind(hash.as_str())
            .fetch_optional(&self.readers)
            .await?;
        row.as_ref().map(token).transpose()
    }

    /// Returns the tokens of a project, the latest first.
    pub async fn tokens(&self, project_id: &str) -> Result<Vec<TokenRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM tokens WHERE project_id = $1 ORDER BY id DESC LIMIT 1000")
                .bind(project_id)
                .fetch_all(&self.readers)
                .await?;
        rows.iter().map(|row| token(row).map(|token| token.record)).collect()
    }

    /// Returns the number of tokens of all projects.
    pub async fn count_tokens(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) FROM tokens").fetch_one(&self.readers).await?;
        Ok(row.try_get::<i64, _>(0)? as u64)
    }

    /// Revokes a token and returns its hash. A token that is already revoked is not changed.
    pub async fn revoke_token(
        &self,
        project_id: String,
        id: String,
        audit: NewAuditEntry,
    ) -> Result<TokenHash, StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let row = sqlx::query(
                        "UPDATE tokens SET revoked_at = COALESCE(revoked_at, $1) WHERE id = $2 AND project_id = $3 RETURNING hash",
                    )
                    .bind(Timestamp::now().unix_ms())
                    .bind(&id)
                    .bind(project_id)
                    .fetch_optional(&mut *connection)
                    .await?
                    .ok_or_else(|| StoreError::not_found("token", id))?;
                    audit::append(connection, audit).await?;
                    Ok(TokenHash(row.try_get(0)?))
                })
            })
            .await
    }

    /// Records the use of a token.
    pub async fn touch_token(&self, id: String) -> Result<(), StoreError> {
        self.writer
            .write(|connection| {
                Box::pin(async move {
                    sqlx::query("UPDATE tokens SET last_used_at = $1 WHERE id = $2")
                        .bind(Timestamp::now().unix_ms())
                        .bind(id)
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}
