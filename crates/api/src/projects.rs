//! The routes of projects and of usage.

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use belljar_protocol::{
    NewProject, ProjectList, ProjectName, ProjectRecord, ProjectSettings, UsageFilter, UsageGroup,
    UsageReport,
};

use crate::authentication::{Allowed, Authenticated, Operator};
use crate::input::{Json, Query, invalid};
use crate::problem::Refusal;
use crate::state::State;

/// Create a project
#[utoipa::path(post, path = "/v1/projects", tag = "projects", operation_id = "create_project", request_body = NewProject,
    responses((status = 201, body = ProjectRecord, description = "The record of the new project")))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Operator>,
    Json(new): Json<NewProject>,
) -> Result<(StatusCode, axum::Json<ProjectRecord>), Refusal> {
    Ok((
        StatusCode::CREATED,
        axum::Json(state.service.access().create_project(&caller, new).await?),
    ))
}

/// List projects
///
/// The operator sees all projects, a token only its own.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", operation_id = "list_projects", responses((status = 200, body = ProjectList, description = "The projects")))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
) -> Result<axum::Json<ProjectList>, Refusal> {
    Ok(axum::Json(state.service.access().projects(&caller).await?))
}

/// Show a project
#[utoipa::path(get, path = "/v1/projects/{name}", tag = "projects", operation_id = "show_project", params(("name" = String, Path, description = "Name of the project")),
    responses((status = 200, body = ProjectRecord, description = "The record of the project")))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<axum::Json<ProjectRecord>, Refusal> {
    Ok(axum::Json(state.service.access().project(&caller, &name).await?))
}

/// Replace a project's ceiling and quotas
#[utoipa::path(put, path = "/v1/projects/{name}/settings", tag = "projects", operation_id = "set_project", params(("name" = String, Path, description = "Name of the project")),
    request_body = ProjectSettings, responses((status = 200, body = ProjectRecord, description = "The record of the project")))]
pub(crate) async fn set(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Operator>,
    Path(name): Path<String>,
    Json(settings): Json<ProjectSettings>,
) -> Result<axum::Json<ProjectRecord>, Refusal> {
    let name: ProjectName = name.parse().map_err(|error| invalid("name", error))?;
    Ok(axum::Json(state.service.access().set_project(&caller, name, settings).await?))
}

/// Delete a project and everything in it
#[utoipa::path(delete, path = "/v1/projects/{name}", tag = "projects", operation_id = "delete_project", params(("name" = String, Path, description = "Name of the project")),
    responses((status = 204, description = "The project was deleted")))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    state.service.access().delete_project(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Show the usage of each day
#[utoipa::path(get, path = "/v1/usage", tag = "usage", operation_id = "usage",
    params(("all" = Option<bool>, Query, description = "Include all projects (operator only)"),
        ("since" = Option<String>, Query, description = "First day, such as `2026-01-02`"),
        ("until" = Option<String>, Query, description = "Last day"),
        ("by" = Option<UsageGroup>, Query, description = "One row for each day and `project` (default), or for each day and `token`")),
    responses((status = 200, body = UsageReport, description = "The usage of each day, and what is stored now")))]
pub(crate) async fn usage(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    mut query: Query,
) -> Result<axum::Json<UsageReport>, Refusal> {
    let filter = UsageFilter {
        all: query.flag("all")?,
        since: query.one("since")?,
        until: query.one("until")?,
        group: query.parsed("by")?.unwrap_or_default(),
    };
    query.end()?;
    Ok(axum::Json(state.service.access().usage(&caller, &filter).await?))
}
