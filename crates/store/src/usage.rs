//! Usage of projects by day, and their storage.

use belljar_protocol::{
    StorageUsage, Timestamp, Usage, UsageDay, UsageFilter, UsageGroup, UsageReport,
};
use sqlx::{QueryBuilder, Row, Sqlite};

use crate::error::StoreError;
use crate::store::Store;

/// Returns the day of a time in UTC.
fn day(moment: Timestamp) -> String {
    moment.to_string()[..10].to_owned()
}

/// The usage that a run adds to its project's day.
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
    /// Returns the CPU time that a project used today, in milliseconds.
    pub async fn cpu_ms_today(&self, project_id: &str) -> Result<u64, StoreError> {
        let cpu_ms: Option<i64> = sqlx::query_scalar(
            "SELECT SUM(cpu_ms) FROM usage_days WHERE project_id = $1 AND day = $2",
        )
        .bind(project_id)
        .bind(day(Timestamp::now()))
        .fetch_one(&self.readers)
        .await?;
        Ok(cpu_ms.unwrap_or(0) as u64)
    }

    /// Returns the size of a project's objects and artifacts in bytes.
    pub async fn storage_bytes(&self, project_id: &str) -> Result<u64, StoreError> {
        let row = sqlx::query("SELECT storage_bytes FROM projects WHERE id = $1")
            .bind(project_id)
            .fetch_optional(&self.readers)
            .await?;
        Ok(row.ok_or_else(|| StoreError::not_found("project", project_id))?.try_get::<i64, _>(0)?
            as u64)
    }

    /// Returns the usage of the project with this name, or of all projects if the filter asks for
    /// them, by day, and by token if it asks for that. Days are inclusive and have the form
    /// `2026-01-02`.
    pub async fn usage(
        &self,
        project: &str,
        filter: &UsageFilter,
    ) -> Result<UsageReport, StoreError> {
        let project = (!filter.all).then_some(project);
        let unreadable = |error: belljar_protocol::InvalidProjectName| StoreError::Unreadable {
            what: "project",
            why: error.to_string(),
        };
        let mut query = QueryBuilder::<Sqlite>::new(
            "SELECT projects.name, day, SUM(runs), SUM(cpu_ms), SUM(wall_ms), token, token_names.name \
             FROM usage_days JOIN projects ON projects.id = usage_days.project_id \
             LEFT JOIN token_names ON token_names.id = token WHERE true",
        );
        for (condition, value) in [
            (" AND projects.name = ", project),
            (" AND day >= ", filter.since.as_deref()),
            (" AND day <= ", filter.until.as_deref()),
        ] {
            if let Some(value) = value {
                query.push(condition).push_bind(value.to_owned());
            }
        }
        query.push(match filter.group {
            UsageGroup::Project => " GROUP BY day, projects.name ORDER BY day DESC, projects.name",
            UsageGroup::Token => {
                " GROUP BY day, projects.name, token ORDER BY day DESC, projects.name, SUM(cpu_ms) DESC"
            }
        });
        query.push(" LIMIT 10000");
        let token = |text: Option<String>| {
            text.filter(|text| filter.group == UsageGroup::Token && !text.is_empty())
        };
        let mut days = Vec::new();
        for row in query.build().fetch_all(&self.readers).await? {
            days.push(UsageDay {
                project: row.try_get::<String, _>(0)?.parse().map_err(unreadable)?,
                day: row.try_get(1)?,
                runs: row.try_get::<i64, _>(2)? as u64,
                cpu_ms: row.try_get::<i64, _>(3)? as u64,
                wall_ms: row.try_get::<i64, _>(4)? as u64,
                token: token(row.try_get(5)?),
                token_name: token(row.try_get(6)?),
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
                artifacts: (row.try_get::<i64, _>(3)? as u64)
                    .saturating_sub(row.try_get::<i64, _>(1)? as u64),
                history_bytes: row.try_get::<i64, _>(4)? as u64,
            });
        }
        Ok(UsageReport { days, storage })
    }
}
