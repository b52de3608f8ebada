//! Projects, which are the tenants of the server.

use belljar_protocol::{ProjectName, ProjectRecord, ProjectSettings, Timestamp};
use sqlx::Row;
use sqlx::sqlite::SqliteRow;

use crate::audit::{self, NewAuditEntry};
use crate::error::{StoreError, json, read_json};
use crate::store::Store;

fn project(row: &SqliteRow) -> Result<ProjectRecord, StoreError> {
    let name: String = row.try_get("name")?;
    Ok(ProjectRecord {
        id: row.try_get("id")?,
        name: name.parse().map_err(|error: belljar_protocol::InvalidProjectName| {
            StoreError::Unreadable { what: "project", why: error.to_string() }
        })?,
        settings: read_json("project", row.try_get("settings")?)?,
        created_at: Timestamp::from_unix_ms(row.try_get("created_at")?),
        in_force: None,
    })
}

impl Store {
    /// Creates a project.
    pub async fn create_project(
        &self,
        name: ProjectName,
        settings: ProjectSettings,
        audit: NewAuditEntry,
    ) -> Result<ProjectRecord, StoreError> {
        let made = ProjectRecord {
            id: format!("prj_{}", uuid::Uuid::now_v7().simple()),
            name,
            settings,
            created_at: Timestamp::now(),
            in_force: None,
        };
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    sqlx::query("INSERT INTO projects (id, name, settings, created_at) VALUES ($1, $2, $3, $4)")
                        .bind(&made.id)
                        .bind(made.name.as_str())
                        .bind(json(&made.settings))
                        .bind(made.created_at.unix_ms())
                        .execute(&mut *connection)
                        .await
                        .map_err(|error| StoreError::or_exists(error, "project", made.name.as_str()))?;
                    audit::append(connection, audit).await?;
                    Ok(made)
                })
            })
            .await
    }

    /// Returns the project with a name.
    pub async fn project_named(&self, name: &str) -> Result<ProjectRecord, StoreError> {
        let row = sqlx::query("SELECT * FROM projects WHERE name = $1")
            .bind(name)
            .fetch_optional(&self.readers)
            .await?;
        project(&row.ok_or_else(|| StoreError::not_found("project", name))?)
    }

    /// Returns the project with an id.
    pub async fn project(&self, id: &str) -> Result<ProjectRecord, StoreError> {
        let row = sqlx::query("SELECT * FROM projects WHERE id = $1")
            .bind(id)
            .fetch_optional(&self.readers)
            .await?;
        project(&row.ok_or_else(|| StoreError::not_found("project", id))?)
    }

    /// Returns all projects, ordered by name.
    pub async fn projects(&self) -> Result<Vec<ProjectRecord>, StoreError> {
        let rows =
            sqlx::query("SELECT * FROM projects ORDER BY name").fetch_all(&self.readers).await?;
        rows.iter().map(project).collect()
    }

    /// Replaces the settings of a project.
    pub async fn set_project(
        &self,
        name: ProjectName,
        settings: ProjectSettings,
        audit: NewAuditEntry,
    ) -> Result<(), StoreError> {
        self.writer
            .write(move |connection| {
                Box::pin(async move {
                    let done = sqlx::query("UPDATE projects SET settings = $1 WHERE name = $2")
                        .bind(json(&settings))
                        .bind(name.as_str())
                        .execute(&mut *connection)
                        .await?;
                    if done.rows_affected() == 0 {
                        return Err(StoreError::not_found("project", name.as_str()));
                    }
                    audit::append(connection, audit).await
                })
            })
            .await
    }

    /// Deletes a project and everything in it. Only its audit entries stay.
    pub async fn delete_project(
        &self,
        project: ProjectRecord,
        audit: NewAuditEntry,
    ) -> Result<(), StoreError> {
        let (accounts, id) = (self.accounts.clone(), project.id.clone());
        self.writer
            .write_then(move |connection| {
                Box::pin(async move {
                    let now = Timestamp::now().unix_ms();
                    for statement in [
                        "INSERT OR IGNORE INTO doomed_blobs (blob, since) SELECT blob, $2 FROM objects WHERE project_id = $1",
                        "INSERT OR IGNORE INTO doomed_blobs (blob, since) \
                         SELECT blob, $2 FROM artifacts WHERE run_id IN (SELECT id FROM runs WHERE project_id = $1)",
                        "DELETE FROM objects WHERE project_id = $1 AND $2 > 0",
                        "DELETE FROM idempotency_keys WHERE project_id = $1 AND $2 > 0",
                        "DELETE FROM run_locks WHERE run_id IN (SELECT id FROM runs WHERE project_id = $1) AND $2 > 0",
                        // Unused lock files are only searched for here, once and along an index.
                        // Elsewhere, each run releases its own.
                        "DELETE FROM locks WHERE NOT EXISTS (SELECT 1 FROM run_locks WHERE sha256 = locks.sha256) AND $1 <> '' AND $2 > 0",
                        "DELETE FROM runs WHERE project_id = $1 AND $2 > 0",
                        "DELETE FROM usage_days WHERE project_id = $1 AND $2 > 0",
                        "DELETE FROM tokens WHERE project_id = $1 AND $2 > 0",
                        "DELETE FROM projects WHERE id = $1 AND $2 > 0",
                    ] {
                        sqlx::query(statement)
                            .bind(&project.id)
                            .bind(now)
                            .execute(&mut *connection)
                            .await?;
                    }
                    audit::append(connection, audit).await
                })
            }, move |()| accounts.close(&id))
            .await
    }
}
