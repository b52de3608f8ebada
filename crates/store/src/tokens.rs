//! Tokens: only their hashes are kept.

use belljar_protocol::{Scope, Timestamp, TokenRecord};
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{Row, SqliteConnection};

use crate::Store;
use crate::audit::{self, NewAuditEntry};
use crate::error::{StoreError, json, read_json};

/// Tokens of a project, those that work no more included.
const MAX_TOKENS: i64 = 1000;

/// SHA-256 of a token, hexadecimal.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenHash(String);

impl TokenHash {
    /// The hash of a token.
    pub fn of(token: &str) -> Self {
        Self(format!("{:x}", Sha256::digest(token)))
    }

    /// As text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A token, and whose it is.
#[derive(Clone, Debug)]
pub struct Token {
    /// What is known of it.
    pub record: TokenRecord,
    /// The id of its project.
    pub project_id: String,
    /// Its hash.
    pub hash: TokenHash,
}

fn token(row: &SqliteRow) -> Result<Token, StoreError> {
    let moment = |column| Ok::<_, sqlx::Error>(row.try_get::<Option<i64>, _>(column)?.map(Timestamp::from_unix_ms));
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

/// Makes room for one more token of a project: the oldest that do not work any more are forgotten. Refused where all of them work.
async fn make_room(connection: &mut SqliteConnection, project_id: &str) -> Result<(), StoreError> {
    let count: i64 =
        sqlx::query_scalar("SELECT COUNT(*) FROM tokens WHERE project_id = $1").bind(project_id).fetch_one(&mut *connection).await?;
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
    /// Keeps a new token, if the project has not too many.
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
                    audit::append(connection, audit).await
                })
            })
            .await
    }

    /// The token of a hash, revoked and expired ones too.
    pub async fn token(&self, hash: &TokenHash) -> Result<Option<Token>, StoreError> {
        let row = sqlx::query("SELECT * FROM tokens WHERE hash = $1").bind(hash.as_str()).fetch_optional(&self.readers).await?;
        row.as_ref().map(token).transpose()
    }

    /// The tokens of a project, the latest first.
    pub async fn tokens(&self, project_id: &str) -> Result<Vec<TokenRecord>, StoreError> {
        let rows = sqlx::query("SELECT * FROM tokens WHERE project_id = $1 ORDER BY id DESC LIMIT 1000")
            .bind(project_id)
            .fetch_all(&self.readers)
            .await?;
        rows.iter().map(|row| token(row).map(|token| token.record)).collect()
    }

    /// How many tokens there are at all.
    pub async fn count_tokens(&self) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT COUNT(*) FROM tokens").fetch_one(&self.readers).await?;
        Ok(row.try_get::<i64, _>(0)? as u64)
    }

    /// Makes a token useless from now on. One that is revoked already stays so. Gives its hash.
    pub async fn revoke_token(&self, project_id: String, id: String, audit: NewAuditEntry) -> Result<TokenHash, StoreError> {
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

    /// Notes that a token was used.
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
