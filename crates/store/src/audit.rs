//! The audit trail. Each entry is appended in the transaction of the change that it records, and
//! contains the hash of the entry before it.

use belljar_protocol::{
    AuditEntry, AuditFilter, AuditOrder, AuditPage, AuditVerification, PageRequest, Timestamp,
};
use serde_json::value::RawValue;
use sha2::{Digest, Sha256};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::actors::NamedIn;
use crate::error::StoreError;
use crate::store::Store;

/// The `previous` hash of the first entry.
const NO_HASH: &str = "0000000000000000000000000000000000000000000000000000000000000000";

/// The number of entries that a verification reads at once.
const VERIFIED_TOGETHER: i64 = 1000;

/// A new entry. The store adds its number, time and hash.
#[derive(Clone, Debug)]
pub struct NewAuditEntry {
    /// Name of the project, or `None` for the server itself.
    pub project: Option<String>,
    /// The token id, `operator`, or another actor.
    pub actor: String,
    /// The network source of the request.
    pub source: Option<String>,
    /// The action, such as `run.submit`.
    pub action: &'static str,
    /// The id or name of what the action affected.
    pub target: String,
    /// Further details, as a JSON object.
    pub details: serde_json::Value,
}

/// Returns the hash of an entry: SHA-256 over its fields in the order of the type. Each field is
/// its length in eight bytes, most significant first, and its UTF-8. A null is the length `2^64 -
/// 1` and no bytes. `seq` and `timestamp` (milliseconds since 1970) are written as decimal numbers.
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

/// The last entry, which the next one is chained to.
pub(crate) struct Head {
    seq: i64,
    hash: String,
}

impl Head {
    /// Reads the `seq` and `hash` of the last entry, in this order.
    pub(crate) fn of(row: Option<&SqliteRow>) -> Result<Self, StoreError> {
        Ok(match row {
            Some(row) => Self { seq: row.try_get(0)?, hash: row.try_get(1)? },
            None => Self { seq: 0, hash: NO_HASH.to_owned() },
        })
    }
}

/// Appends an entry in the transaction of the change that it records.
pub(crate) async fn append(
    connection: &mut SqliteConnection,
    new: NewAuditEntry,
) -> Result<(), StoreError> {
    let last = sqlx::query("SELECT seq, hash FROM audit ORDER BY seq DESC LIMIT 1")
        .fetch_optional(&mut *connection)
        .await?;
    append_after(connection, Head::of(last.as_ref())?, new).await
}

/// Appends an entry after a known last entry.
pub(crate) async fn append_after(
    connection: &mut SqliteConnection,
    head: Head,
    new: NewAuditEntry,
) -> Result<(), StoreError> {
    let (seq, previous) = (head.seq + 1, head.hash);
    let mut entry = AuditEntry {
        seq: seq as u64,
        timestamp: Timestamp::now(),
        project: new.project,
        actor: new.actor,
        source: new.source,
        action: new.action.to_owned(),
        target: new.target,
        details: RawValue::from_string(new.details.to_string()).map_err(|error| {
            StoreError::Unreadable { what: "detail of the audit trail", why: error.to_string() }
        })?,
        previous,
        hash: String::new(),
        actor_name: None,
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
        details: RawValue::from_string(details).map_err(|error| StoreError::Unreadable {
            what: "detail of the audit trail",
            why: error.to_string(),
        })?,
        previous: row.try_get("previous")?,
        hash: row.try_get("hash")?,
        actor_name: row.try_get("actor_name")?,
    })
}

impl Store {
    /// Appends an entry that does not belong to a change in the store.
    pub async fn record_audit(&self, new: NewAuditEntry) -> Result<(), StoreError> {
        self.writer.write(|connection| Box::pin(append(connection, new))).await
    }

    /// Returns a page of the entries of the project with this name, or of all entries if the filter
    /// asks for them. Fails if the actor of the filter is unknown.
    pub async fn audit(
        &self,
        project: &str,
        filter: &AuditFilter,
        request: &PageRequest,
    ) -> Result<AuditPage, StoreError> {
        let cursor = request.cursor.as_ref().map(|cursor| cursor.parse::<i64>()).transpose();
        let cursor = cursor.map_err(|_| StoreError::InvalidCursor)?;
        let (beyond, first, order) = match filter.order {
            AuditOrder::Oldest => (">", 0, "ASC"),
            AuditOrder::Latest => ("<", i64::MAX, "DESC"),
        };
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT audit.*, token_names.name AS actor_name FROM audit LEFT JOIN token_names ON token_names.id = actor WHERE seq ",
        );
        query.push(beyond).push(" ").push_bind(cursor.unwrap_or(first));
        if let Some(actor) = &filter.actor {
            let actors = self.actors_named(project, filter, actor).await?;
            query.push(" AND actor IN (");
            let mut list = query.separated(", ");
            for actor in actors {
                list.push_bind(actor);
            }
            query.push(")");
        }
        let project = (!filter.all).then_some(project);
        for (column, value) in [("project", project), ("target", filter.target.as_deref())] {
            if let Some(value) = value {
                query.push(format!(" AND {column} = ")).push_bind(value);
            }
        }
        if let Some(action) = &filter.action {
            query
                .push(" AND substr(action, 1, length(")
                .push_bind(action)
                .push(")) = ")
                .push_bind(action);
        }
        if let Some(since) = filter.since {
            query.push(" AND timestamp >= ").push_bind(since.unix_ms());
        }
        if let Some(until) = filter.until {
            query.push(" AND timestamp < ").push_bind(until.unix_ms());
        }
        query.push(format!(" ORDER BY seq {order} LIMIT ")).push_bind(i64::from(request.limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await?;
        let mut entries = rows.iter().map(entry).collect::<Result<Vec<_>, _>>()?;
        let has_more = entries.len() > request.limit as usize;
        entries.truncate(request.limit as usize);
        let next_cursor = entries.last().filter(|_| has_more).map(|last| last.seq.to_string());
        Ok(AuditPage { entries, next_cursor })
    }

    /// Returns the ids of the actors that a filter names, of the project with this name or of all.
    async fn actors_named(
        &self,
        project: &str,
        filter: &AuditFilter,
        actor: &str,
    ) -> Result<Vec<String>, StoreError> {
        if filter.all {
            return self.actors(NamedIn::All, actor).await;
        }
        let project = self.project_named(project).await?;
        self.actors(NamedIn::Project(&project.id), actor).await
    }

    /// Recomputes every hash of the trail.
    pub async fn verify_audit(&self) -> Result<AuditVerification, StoreError> {
        let (mut seq, mut head) = (0_u64, NO_HASH.to_owned());
        loop {
            let rows = sqlx::query(
                "SELECT *, NULL AS actor_name FROM audit WHERE seq > $1 ORDER BY seq LIMIT $2",
            )
            .bind(seq as i64)
            .bind(VERIFIED_TOGETHER)
            .fetch_all(&self.readers)
            .await?;
            if rows.is_empty() {
                return Ok(AuditVerification::Intact { entries: seq, head });
            }
            for row in &rows {
                let entry = entry(row)?;
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
                return Ok(AuditVerification::Broken { seq: entry.seq, why: why.to_owned() });
            }
        }
    }
}
