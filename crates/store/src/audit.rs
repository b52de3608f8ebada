//! The audit trail: appended to within the change that it tells of, each entry chained to the one before by its hash.

use belljar_protocol::{AuditEntry, AuditPage, Timestamp};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::Store;
use crate::error::StoreError;

/// The `previous` of the first entry.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// What is to be written down. The store adds number, time and hash.
#[derive(Clone, Debug)]
pub struct NewAuditEntry {
    /// In which project, its name.
    pub project: Option<String>,
    /// Who.
    pub actor: String,
    /// From where.
    pub source: Option<String>,
    /// What was done.
    pub action: &'static str,
    /// To what.
    pub target: String,
    /// What else is known, a JSON object.
    pub details: serde_json::Value,
}

/// Which entries are wanted.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Of this project, by name.
    pub project: Option<String>,
    /// By this one.
    pub actor: Option<String>,
    /// Of this action, or of all that begin with it.
    pub action: Option<String>,
    /// About this.
    pub target: Option<String>,
    /// Not before.
    pub since: Option<Timestamp>,
    /// Before.
    pub until: Option<Timestamp>,
    /// After this number.
    pub after: u64,
    /// At most so many.
    pub limit: u32,
}

/// What verifying the trail found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AuditVerdict {
    /// So many entries, each chained to the one before; the hash of the last.
    Intact {
        /// How many.
        entries: u64,
        /// Of the last; keep it elsewhere, and a cut-off end is seen too.
        head: String,
    },
    /// The first entry that does not fit.
    Broken {
        /// Its number.
        seq: u64,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The hash of an entry: SHA-256 over its fields, in the order of the type, each as its length in eight bytes, most significant first, and its UTF-8.
/// A null is the length `2^64 - 1` and nothing. `seq` and `timestamp` (milliseconds since 1970) are written as decimal numbers.
pub fn audit_hash(entry: &AuditEntry) -> String {
    let (seq, timestamp) = (entry.seq.to_string(), entry.timestamp.unix_ms().to_string());
    let mut hash = Sha256::new();
    for field in [
        Some(entry.previous.as_str()),
        Some(&seq),
        Some(&timestamp),
        entry.project.as_deref(),
        Some(&entry.actor),
        entry.source.as_deref(),
        Some(&entry.action),
        Some(&entry.target),
        Some(entry.details.get()),
    ] {
        hash.update(field.map_or(u64::MAX, |text| text.len() as u64).to_be_bytes());
        hash.update(field.unwrap_or_default());
    }
    format!("{:x}", hash.finalize())
}

/// The last entry, which the next one follows.
pub(crate) struct Head {
    seq: i64,
    hash: String,
}

impl Head {
    /// From the `seq` and `hash` of the last entry, in this order.
    pub(crate) fn of(row: Option<&SqliteRow>) -> Result<Self, StoreError> {
        Ok(match row {
            Some(row) => Self { seq: row.try_get(0)?, hash: row.try_get(1)? },
            None => Self { seq: 0, hash: NO_HASH.to_owned() },
        })
    }
}

/// Appends one entry, in the transaction of what it tells of.
pub(crate) async fn append(connection: &mut SqliteConnection, new: NewAuditEntry) -> Result<(), StoreError> {
    let last = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1").fetch_optional(&mut *connection).await?;
    append_after(connection, Head::of(last.as_ref())?, new).await
}

/// The same, where the last entry is known.
pub(crate) async fn append_after(connection: &mut SqliteConnection, head: Head, new: NewAuditEntry) -> Result<(), StoreError> {
    let (seq, previous) = (head.seq + 1, head.hash);
    let mut entry = AuditEntry {
        seq: seq as u64,
        timestamp: Timestamp::now(),
        project: new.project,
        actor: new.actor,
        source: new.source,
        action: new.action.to_owned(),
        target: new.target,
        details: RawValue::from_string(new.details.to_string())
            .map_err(|error| StoreError::Unreadable { what: "detail of the audit trail", why: error.to_string() })?,
        previous,
        hash: String::new(),
    };
    entry.hash = audit_hash(&entry);
    sqlx::query(
        "INSERT INTO audit (seq, timestamp, project, actor, source, action, target, details, previous, hash) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10)",
    )
    .bind(seq)
    .bind(entry.timestamp.unix_ms())
    .bind(entry.project)
    .bind(entry.actor)
    .bind(entry.source)
    .bind(entry.action)
    .bind(entry.target)
    .bind(entry.details.get())
    .bind(entry.previous)
    .bind(entry.hash)
    .execute(connection)
    .await?;
    Ok(())
}

fn entry(row: &SqliteRow) -> Result<AuditEntry, StoreError> {
    let details: String = row.try_get("details")?;
    Ok(AuditEntry {
        seq: row.try_get::<i64, _>("seq")? as u64,
        timestamp: Timestamp::from_unix_ms(row.try_get("timestamp")?),
        project: row.try_get("project")?,
        actor: row.try_get("actor")?,
        source: row.try_get("source")?,
        action: row.try_get("action")?,
        target: row.try_get("target")?,
        details: RawValue::from_string(details)
            .map_err(|error| StoreError::Unreadable { what: "detail of the audit trail", why: error.to_string() })?,
        previous: row.try_get("previous")?,
        hash: row.try_get("hash")?,
    })
}

impl Store {
    /// Writes one entry that tells of no change in the store.
    pub async fn record_audit(&self, new: NewAuditEntry) -> Result<(), StoreError> {
        self.writer.write(|connection| Box::pin(append(connection, new))).await
    }

    /// Some entries, in order.
    pub async fn audit(&self, filter: &AuditFilter) -> Result<AuditPage, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM audit WHERE seq > ");
        query.push_bind(filter.after as i64);
        for (column, value) in [("project", &filter.project), ("actor", &filter.actor), ("target", &filter.target)] {
            if let Some(value) = value {
                query.push(format!(" AND {column} = ")).push_bind(value);
            }
        }
        if let Some(action) = &filter.action {
            query.push(" AND substr(action, 1, length(").push_bind(action).push(")) = ").push_bind(action);
        }
        if let Some(since) = filter.since {
            query.push(" AND timestamp >= ").push_bind(since.unix_ms());
        }
        if let Some(until) = filter.until {
            query.push(" AND timestamp < ").push_bind(until.unix_ms());
        }
        query.push(" ORDER BY seq LIMIT ").push_bind(i64::from(filter.limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await?;
        let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let has_more = entries.len() > filter.limit as usize;
        entries.truncate(filter.limit as usize);
        let next_cursor = entries.last().filter(|_| has_more).map(|last| last.seq.to_string());
        Ok(AuditPage { entries, next_cursor })
    }

    /// Walks the whole trail and recomputes every hash.
    pub async fn verify_audit(&self) -> Result<AuditVerdict, StoreError> {
        let (mut seq, mut head) = (0, NO_HASH.to_owned());
        loop {
            let page = self.audit(&AuditFilter { after: seq, limit: 1000, ..AuditFilter::default() }).await?;
            if page.entries.is_empty() {
                return Ok(AuditVerdict::Intact { entries: seq, head });
            }
            for entry in page.entries {
                let why = if entry.seq != seq + 1 {
                    "entries before it are missing"
                } else if entry.previous != head {
                    "it does not follow the entry before it"
                } else if entry.hash != audit_hash(&entry) {
                    "its hash is not that of its content"
                } else {
                    (seq, head) = (entry.seq, entry.hash);
                    continue;
                };
                return Ok(AuditVerdict::Broken { seq: entry.seq, why });
            }
        }
    }
}
