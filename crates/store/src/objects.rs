//! The names of objects and the keys of their contents. A name moves from one content to another in
//! one step.

use std::collections::BTreeMap;

use belljar_protocol::{
    ObjectName, ObjectPage, ObjectRecord, PageRequest, StorageQuota, Timestamp,
};
use sqlx::sqlite::SqliteRow;
use sqlx::{QueryBuilder, Row, Sqlite, SqliteConnection};

use crate::accounts::{self, Reservation, StorageTotals, Trimmed, check_quota};
use crate::audit::{self, NewAuditEntry};
use crate::error::{StoreError, json, read_json};
use crate::store::Store;

/// An object whose content is stored and that is about to get its name.
#[derive(Clone, Debug)]
pub struct NewObject {
    /// Name of the object.
    pub name: ObjectName,
    /// Size of the content in bytes.
    pub size_bytes: u64,
    /// Media type of the content.
    pub content_type: String,
    /// MD5 of the content in hexadecimal.
    pub md5: String,
    /// SHA-256 of the content in hexadecimal.
    pub sha256: String,
    /// Metadata from the upload.
    pub metadata: BTreeMap<String, String>,
    /// Key of the content.
    pub blob: String,
    /// Whether the operation fails if the object already exists.
    pub only_new: bool,
}

/// An object and the key of its content.
#[derive(Clone, Debug)]
pub struct StoredObject {
    /// Record of the object.
    pub record: ObjectRecord,
    /// Key of the content.
    pub blob: String,
}

fn stored(row: &SqliteRow) -> Result<StoredObject, StoreError> {
    let name: String = row.try_get("name")?;
    Ok(StoredObject {
        record: ObjectRecord {
            name: name.try_into().map_err(|error: belljar_protocol::InvalidObjectName| {
                StoreError::Unreadable { what: "object", why: error.to_string() }
            })?,
            size_bytes: row.try_get::<i64, _>("size_bytes")? as u64,
            content_type: row.try_get("content_type")?,
            md5: row.try_get("md5")?,
            sha256: row.try_get("sha256")?,
            metadata: read_json("object", row.try_get("metadata")?)?,
            created_at: Timestamp::from_unix_ms(row.try_get("created_at")?),
            updated_at: Timestamp::from_unix_ms(row.try_get("updated_at")?),
        },
        blob: row.try_get("blob")?,
    })
}

/// Marks a content for deletion unless something still refers to it.
async fn doom(connection: &mut SqliteConnection, blob: &str) -> Result<(), StoreError> {
    sqlx::query(
        "INSERT OR IGNORE INTO doomed_blobs (blob, since) SELECT $1, $2 \
         WHERE NOT EXISTS (SELECT 1 FROM objects WHERE blob = $1) AND NOT EXISTS (SELECT 1 FROM artifacts WHERE blob = $1)",
    )
    .bind(blob)
    .bind(Timestamp::now().unix_ms())
    .execute(connection)
    .await?;
    Ok(())
}

async fn find(
    connection: &mut SqliteConnection,
    project_id: &str,
    name: &ObjectName,
) -> Result<Option<StoredObject>, StoreError> {
    let row = sqlx::query("SELECT * FROM objects WHERE project_id = $1 AND name = $2")
        .bind(project_id)
        .bind(name.as_str())
        .fetch_optional(connection)
        .await?;
    row.as_ref().map(stored).transpose()
}

async fn put(
    connection: &mut SqliteConnection,
    project_id: &str,
    new: NewObject,
    quota: StorageQuota,
) -> Result<(ObjectRecord, StorageTotals), StoreError> {
    let before = find(connection, project_id, &new.name).await?;
    if new.only_new && before.is_some() {
        return Err(StoreError::Exists { what: "object", name: new.name.to_string() });
    }
    let now = Timestamp::now();
    let record = ObjectRecord {
        name: new.name,
        size_bytes: new.size_bytes,
        content_type: new.content_type,
        md5: new.md5,
        sha256: new.sha256,
        metadata: new.metadata,
        created_at: before.as_ref().map_or(now, |before| before.record.created_at),
        updated_at: now,
    };
    let mut has = accounts::stored(connection, project_id).await?;
    if let Some(before) = &before {
        has.bytes = has.bytes.saturating_sub(charged_bytes(&before.record));
    }
    let more =
        StorageTotals { bytes: charged_bytes(&record), objects: u64::from(before.is_none()) };
    check_quota(has, more, quota)?;
    has = StorageTotals { bytes: has.bytes + more.bytes, objects: has.objects + more.objects };
    sqlx::query(
        "INSERT INTO objects (project_id, name, size_bytes, content_type, md5, sha256, metadata, created_at, updated_at, blob) \
         VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10) \
         ON CONFLICT (project_id, name) DO UPDATE SET size_bytes = excluded.size_bytes, content_type = excluded.content_type, md5 = excluded.md5, \
         sha256 = excluded.sha256, metadata = excluded.metadata, updated_at = excluded.updated_at, blob = excluded.blob",
    )
    .bind(project_id)
    .bind(record.name.as_str())
    .bind(record.size_bytes as i64)
    .bind(&record.content_type)
    .bind(&record.md5)
    .bind(&record.sha256)
    .bind(json(&record.metadata))
    .bind(record.created_at.unix_ms())
    .bind(now.unix_ms())
    .bind(new.blob)
    .execute(&mut *connection)
    .await?;
    if let Some(before) = before {
        doom(connection, &before.blob).await?;
    }
    sqlx::query("UPDATE projects SET storage_bytes = $1, objects = $2 WHERE id = $3")
        .bind(has.bytes as i64)
        .bind(has.objects as i64)
        .bind(project_id)
        .execute(connection)
        .await?;
    Ok((record, has))
}

/// Returns the bytes that an object counts for: its content, and its metadata as they are stored.
pub(crate) fn charged_bytes(record: &ObjectRecord) -> u64 {
    record.size_bytes + metadata_bytes(&record.metadata)
}

/// Returns the bytes that metadata count for.
pub fn metadata_bytes(metadata: &BTreeMap<String, String>) -> u64 {
    if metadata.is_empty() { 0 } else { json(metadata).len() as u64 }
}

/// Returns the first text, by code points, after all texts that begin with `prefix`. No text comes
/// after U+10FFFF.
fn first_after(prefix: &str) -> Option<String> {
    let mut characters: Vec<char> = prefix.chars().collect();
    while let Some(last) = characters.pop() {
        // Surrogates are not characters.
        let next =
            if last == '\u{D7FF}' { Some('\u{E000}') } else { char::from_u32(u32::from(last) + 1) };
        if let Some(next) = next {
            characters.push(next);
            return Some(characters.into_iter().collect());
        }
    }
    None
}

impl Store {
    /// Gives a stored content a name, and ends its reservation. The object that had the name before
    /// is replaced, and its content marked for deletion. Without `audit`, the change is not in the
    /// audit trail.
    pub async fn put_object(
        &self,
        project_id: String,
        new: NewObject,
        quota: StorageQuota,
        reservation: Option<Reservation>,
        audit: Option<NewAuditEntry>,
    ) -> Result<ObjectRecord, StoreError> {
        let (accounts, id) = (self.accounts.clone(), project_id.clone());
        let put = self.writer.write_then(
            move |connection| {
                Box::pin(async move {
                    let put = put(connection, &project_id, new, quota).await?;
                    if let Some(audit) = audit {
                        audit::append(connection, audit).await?;
                    }
                    Ok(put)
                })
            },
            move |(_, stored): &(ObjectRecord, StorageTotals)| {
                accounts.settle(&id, *stored, reservation);
            },
        );
        Ok(put.await?.0)
    }

    /// Returns an object of a project.
    pub async fn object(
        &self,
        project_id: &str,
        name: &ObjectName,
    ) -> Result<StoredObject, StoreError> {
        let mut connection = self.readers.acquire().await?;
        find(&mut connection, project_id, name)
            .await?
            .ok_or_else(|| StoreError::not_found("object", name.as_str()))
    }

    /// Returns a page of the objects whose names begin with `prefix`, by name.
    pub async fn objects(
        &self,
        project_id: &str,
        prefix: &str,
        request: &PageRequest,
    ) -> Result<ObjectPage, StoreError> {
        let mut query = QueryBuilder::<Sqlite>::new("SELECT * FROM objects WHERE project_id = ");
        query.push_bind(project_id);
        if !prefix.is_empty() {
            query.push(" AND name >= ").push_bind(prefix);
            if let Some(end) = first_after(prefix) {
                query.push(" AND name < ").push_bind(end);
            }
        }
        if let Some(after) = &request.cursor {
            query.push(" AND name > ").push_bind(after);
        }
        query.push(" ORDER BY name LIMIT ").push_bind(i64::from(request.limit) + 1);
        let rows = query.build().fetch_all(&self.readers).await?;
        let mut objects = rows
            .iter()
            .map(|row| stored(row).map(|object| object.record))
            .collect::<Result<Vec<_>, _>>()?;
        let has_more = objects.len() > request.limit as usize;
        objects.truncate(request.limit as usize);
        let next_cursor = objects.last().filter(|_| has_more).map(|last| last.name.to_string());
        Ok(ObjectPage { objects, next_cursor })
    }

    /// Deletes the name of an object, and marks its content for deletion.
    pub async fn delete_object(
        &self,
        project_id: String,
        name: ObjectName,
        audit: Option<NewAuditEntry>,
    ) -> Result<(), StoreError> {
        let then = self.settling(project_id.clone(), None);
        self.writer
            .write_then(
                move |connection| {
                    Box::pin(async move {
                        let object = find(connection, &project_id, &name).await?;
                        let object = object
                            .ok_or_else(|| StoreError::not_found("object", name.as_str()))?;
                        sqlx::query("DELETE FROM objects WHERE project_id = $1 AND name = $2")
                            .bind(&project_id)
                            .bind(name.as_str())
                            .execute(&mut *connection)
                            .await?;
                        sqlx::query("UPDATE projects SET storage_bytes = storage_bytes - $1, objects = objects - 1 WHERE id = $2")
                            .bind(charged_bytes(&object.record) as i64)
                            .bind(&project_id)
                            .execute(&mut *connection)
                            .await?;
                        doom(connection, &object.blob).await?;
                        if let Some(audit) = audit {
                            audit::append(connection, audit).await?;
                        }
                        Ok(Some(Trimmed::read(connection, &project_id).await?))
                    })
                },
                then,
            )
            .await?;
        Ok(())
    }

    /// Copies an object to another name. Both share the content, and both count for the quota.
    pub async fn copy_object(
        &self,
        project_id: String,
        from: ObjectName,
        to: ObjectName,
        quota: StorageQuota,
        audit: NewAuditEntry,
    ) -> Result<ObjectRecord, StoreError> {
        let (accounts, id) = (self.accounts.clone(), project_id.clone());
        let copied = self.writer.write_then(
            move |connection| {
                Box::pin(async move {
                    let StoredObject { record, blob } = find(connection, &project_id, &from)
                        .await?
                        .ok_or_else(|| StoreError::not_found("object", from.as_str()))?;
                    let new = NewObject {
                        name: to,
                        size_bytes: record.size_bytes,
                        content_type: record.content_type,
                        md5: record.md5,
                        sha256: record.sha256,
                        metadata: record.metadata,
                        blob,
                        only_new: false,
                    };
                    let copied = put(connection, &project_id, new, quota).await?;
                    audit::append(connection, audit).await?;
                    Ok(copied)
                })
            },
            move |(_, stored): &(ObjectRecord, StorageTotals)| accounts.settle(&id, *stored, None),
        );
        Ok(copied.await?.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_begins_with_a_prefix_lies_before_its_end(prefix in "[a\u{D7FF}\u{10FFFF}é/]{1,4}", name in "[a-b\u{D7FF}\u{E000}\u{10FFFF}é/]{0,6}") {
            let lies_within = name >= prefix && first_after(&prefix).is_none_or(|end| name < end);
            prop_assert_eq!(lies_within, name.starts_with(&prefix));
        }
    }
}
