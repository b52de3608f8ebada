//! The routes of the audit trail.

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use belljar_protocol::{AuditFilter, AuditOrder, AuditPage, AuditVerification, PageRequest};
use belljar_service::ServiceError;
use futures::stream;

use crate::authentication::Authenticated;
use crate::events::Format;
use crate::input::Query;
use crate::problem::Refusal;
use crate::state::State;

/// The number of entries that an export reads at once.
const EXPORTED_TOGETHER: u32 = 1000;

/// List the entries of the audit trail
///
/// The oldest come first, or the latest with `order=latest`. A page continues in the same order.
/// With `Accept: application/x-ndjson`, the answer is all entries, one per line.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "audit",
    params(("actor" = Option<String>, Query, description = "Only actions of the token with this name or id, of the run with this id, or of the `operator`, `belljar`, `anonymous` or `signed-url`"),
        ("action" = Option<String>, Query, description = "Only this action, or all actions that begin with it, such as `run.`"),
        ("target" = Option<String>, Query, description = "Only actions on the object with this id or name"),
        ("since" = Option<String>, Query, description = "Only entries at or after this time, in RFC 3339"),
        ("until" = Option<String>, Query, description = "Only entries before this time, in RFC 3339"),
        ("all" = Option<bool>, Query, description = "Include all projects and the server itself (operator only)"),
        ("order" = Option<AuditOrder>, Query, description = "`oldest` entries first (default), or `latest`"),
        ("limit" = Option<u32>, Query, description = "Maximum number of entries, 1 to 1,000 (default 50)", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page")),
    responses((status = 200, body = AuditPage, description = "A page of entries, or all entries")))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let filter = AuditFilter {
        actor: query.one("actor")?,
        action: query.one("action")?,
        target: query.one("target")?,
        since: query.moment("since")?,
        until: query.moment("until")?,
        all: query.flag("all")?,
        order: query.parsed("order")?.unwrap_or_default(),
    };
    let mut request = query.page()?;
    query.end()?;
    if Format::asked(&headers) != Some(Format::Ndjson) {
        let page = state.service.audit().list(&caller, &filter, &request).await?;
        return Ok(axum::Json(page).into_response());
    }
    request.limit = EXPORTED_TOGETHER;
    let first = state.service.audit().list(&caller, &filter, &request).await?;
    let pages = stream::unfold(Some((first, filter, state, caller)), |at| async move {
        let (page, filter, state, caller) = at?;
        let lines: String = page
            .entries
            .iter()
            .filter_map(|entry| serde_json::to_string(entry).ok())
            .map(|line| line + "\n")
            .collect();
        let Some(cursor) = page.next_cursor else {
            return Some((Ok::<_, ServiceError>(lines), None));
        };
        let request = PageRequest { cursor: Some(cursor), limit: EXPORTED_TOGETHER };
        match state.service.audit().list(&caller, &filter, &request).await {
            Ok(next) => Some((Ok(lines), Some((next, filter, state, caller)))),
            // The connection is broken off, because an incomplete export must not look complete.
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages)).into_response())
}

/// Recompute every hash of the audit trail
#[utoipa::path(get, path = "/v1/audit/verification", tag = "audit", operation_id = "verify_audit", responses((status = 200, body = AuditVerification, description = "The result of the verification")))]
pub(crate) async fn verify(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
) -> Result<axum::Json<AuditVerification>, Refusal> {
    Ok(axum::Json(state.service.audit().verify(&caller).await?))
}
