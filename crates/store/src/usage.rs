//! What projects used, by day, and what they have in storage.

use belljar_protocol::{StorageUsage, Timestamp, Usage, UsageDay, UsageReport};
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::Store;
use crate::error::StoreError;

/// The day of a moment, UTC.
fn day(moment: Timestamp) -> String {
    moment.to_string()[..10].to_owned()
}

/// What one run adds to its project's day.
pub(crate) struct UsedToday {
    pub(crate) day: String,
    pub(crate) cpu_ms: i64,
    pub(crate) wall_ms: i64,
}

impl UsedToday {
    pub(crate) fn of(usage: &Usage) -> Self {
        Self {
            day: day(Timestamp::now()),
            cpu_ms: (usage.cpu_user_ms + usage.cpu_system_ms).ceil() as i64,
            wall_ms: usage.wall_ms.ceil() as i64,
        }
    }
}

impl Store {
    /// CPU time that a project used today, milliseconds.
    pub async fn cpu_ms_today(&self, project_id: &str) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT cpu_ms FROM usage_days WHERE project_id = $1 AND day = $2")
            .bind(project_id)
            .bind(day(Timestamp::now()))
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.map(|row| row.try_get::<i64, _>(0)).transpose()?.unwrap_or(0) as u64)
    }

    /// Bytes of a project's objects and artifacts.
    pub async fn storage_bytes(&self, project_id: &str) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT storage_bytes FROM projects WHERE id = $1").bind(project_id).fetch_optional(&self.readers).await?;
        Ok(row.ok_or_else(|| StoreError::not_found("project", project_id))?.try_get::<i64, _>(0)? as u64)
    }

    /// What was used, by project and day. `project` is a name; days are inclusive, `2026-01-02`.
    pub async fn usage(&self, project: Option<&str>, since: Option<&str>, until: Option<&str>) -> Result<UsageReport, StoreError> {
        let unreadable = |error: belljar_protocol::InvalidProjectName| StoreError::Unreadable { what: "project", why: error.to_string() };
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT name, day, runs, cpu_ms, wall_ms FROM usage_days JOIN projects ON projects.id = usage_days.project_id WHERE true",
        );
        for (condition, value) in [(" AND name = ", project), (" AND day >= ", since), (" AND day <= ", until)] {
            if let Some(value) = value {
                query.push(condition).push_bind(value.to_owned());
            }
        }
        query.push(" ORDER BY day DESC, name LIMIT 10000");
        let mut days = Vec::new();
        for row in query.build().fetch_all(&self.readers).await? {
            days.push(UsageDay {
                project: row.try_get::<String, _>(0)?.parse().map_err(unreadable)?,
                day: row.try_get(1)?,
                runs: row.try_get::<i64, _>(2)? as u64,
                cpu_ms: row.try_get::<i64, _>(3)? as u64,
                wall_ms: row.try_get::<i64, _>(4)? as u64,
            });
        }
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT name, (SELECT COUNT(*) FROM objects WHERE project_id = projects.id), storage_bytes, objects, history_bytes \
             FROM projects WHERE true",
        );
        if let Some(project) = project {
            query.push(" AND name = ").push_bind(project.to_owned());
        }
        query.push(" ORDER BY name");
        let mut storage = Vec::new();
        for row in query.build().fetch_all(&self.readers).await? {
            storage.push(StorageUsage {
                project: row.try_get::<String, _>(0)?.parse().map_err(unreadable)?,
                objects: row.try_get::<i64, _>(1)? as u64,
                storage_bytes: row.try_get::<i64, _>(2)? as u64,
                artifacts: (row.try_get::<i64, _>(3)? as u64).saturating_sub(row.try_get::<i64, _>(1)? as u64),
                history_bytes: row.try_get::<i64, _>(4)? as u64,
            });
        }
        Ok(UsageReport { days, storage })
    }
}
