//! Projects and usage.

use axum::extract::{Path, State as Shared};
use axum::http::StatusCode;
use belljar_protocol::{NewProject, ProjectList, ProjectName, ProjectRecord, ProjectSettings, UsageReport};

use crate::State;
use crate::authentication::{Allowed, Authenticated, Operator};
use crate::input::{Json, Query, invalid};
use crate::problem::Refusal;

/// Make a project. The operator's to do.
#[utoipa::path(post, path = "/v1/projects", tag = "projects", operation_id = "create_project", request_body = NewProject,
    responses((status = 201, body = ProjectRecord)))]
pub(crate) async fn create(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Operator>,
    Json(new): Json<NewProject>,
) -> Result<(StatusCode, axum::Json<ProjectRecord>), Refusal> {
    Ok((StatusCode::CREATED, axum::Json(state.service.create_project(&caller, new).await?)))
}

/// List projects: the operator sees all, a token its own.
#[utoipa::path(get, path = "/v1/projects", tag = "projects", operation_id = "list_projects", responses((status = 200, body = ProjectList)))]
pub(crate) async fn list(Shared(state): Shared<State>, Authenticated(caller): Authenticated) -> Result<axum::Json<ProjectList>, Refusal> {
    Ok(axum::Json(state.service.projects(&caller).await?))
}

/// Show a project.
#[utoipa::path(get, path = "/v1/projects/{name}", tag = "projects", operation_id = "show_project", params(("name" = String, Path, description = "The project")),
    responses((status = 200, body = ProjectRecord)))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<axum::Json<ProjectRecord>, Refusal> {
    Ok(axum::Json(state.service.project(&caller, &name).await?))
}

/// Replace a project's ceiling and quotas. The operator's to do.
#[utoipa::path(put, path = "/v1/projects/{name}/settings", tag = "projects", operation_id = "set_project", params(("name" = String, Path, description = "The project")),
    request_body = ProjectSettings, responses((status = 200, body = ProjectRecord)))]
pub(crate) async fn set(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Operator>,
    Path(name): Path<String>,
    Json(settings): Json<ProjectSettings>,
) -> Result<axum::Json<ProjectRecord>, Refusal> {
    let name: ProjectName = name.parse().map_err(|error| invalid("name", error))?;
    Ok(axum::Json(state.service.set_project(&caller, name, settings).await?))
}

/// Delete a project with all that it has. The operator's to do.
#[utoipa::path(delete, path = "/v1/projects/{name}", tag = "projects", operation_id = "delete_project", params(("name" = String, Path, description = "The project")),
    responses((status = 204, description = "It is gone")))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(name): Path<String>,
) -> Result<StatusCode, Refusal> {
    state.service.delete_project(&caller, &name).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What was used, by day.
#[utoipa::path(get, path = "/v1/usage", tag = "projects", operation_id = "usage",
    params(("all" = Option<bool>, Query, description = "Of all projects; the operator's to ask"),
        ("since" = Option<String>, Query, description = "From this day on, `2026-01-02`"),
        ("until" = Option<String>, Query, description = "To this day")),
    responses((status = 200, body = UsageReport)))]
pub(crate) async fn usage(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    mut query: Query,
) -> Result<axum::Json<UsageReport>, Refusal> {
    let (all, since, until) = (query.flag("all")?, query.one("since")?, query.one("until")?);
    query.end()?;
    Ok(axum::Json(state.service.usage(&caller, all, since.as_deref(), until.as_deref()).await?))
}
