//! The audit trail.

use axum::body::Body;
use axum::extract::State as Shared;
use axum::http::{HeaderMap, header};
use axum::response::{IntoResponse, Response};
use belljar_protocol::{AuditPage, AuditVerification};
use belljar_service::{AuditQuery, AuditVerdict, ServiceError};
use futures::stream;

use crate::State;
use crate::authentication::Authenticated;
use crate::events::Format;
use crate::input::Query;
use crate::problem::Refusal;

/// The entries of the audit trail, in order. With `Accept: application/x-ndjson` all of them, one a line.
#[utoipa::path(get, path = "/v1/audit", tag = "audit", operation_id = "audit",
    params(("actor" = Option<String>, Query, description = "By this token's id, or `operator`"),
        ("action" = Option<String>, Query, description = "Of this action, or of all that begin with it: `run.`"),
        ("target" = Option<String>, Query, description = "About this id or name"),
        ("since" = Option<String>, Query, description = "Not before this moment, RFC 3339"),
        ("until" = Option<String>, Query, description = "Before this moment, RFC 3339"),
        ("all" = Option<bool>, Query, description = "Of all projects and the server itself; the operator's to ask"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1,000; default 50", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "What the page before gave as `next_cursor`")),
    responses((status = 200, body = AuditPage)))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let mut wanted = AuditQuery {
        actor: query.one("actor")?,
        action: query.one("action")?,
        target: query.one("target")?,
        since: query.moment("since")?,
        until: query.moment("until")?,
        all: query.flag("all")?,
        cursor: query.one("cursor")?,
        limit: query.limit()?,
    };
    query.end()?;
    if Format::asked(&headers) != Some(Format::Ndjson) {
        return Ok(axum::Json(state.service.audit(&caller, &wanted).await?).into_response());
    }
    wanted.limit = 1000;
    let first = state.service.audit(&caller, &wanted).await?;
    let pages = stream::unfold(Some((first, wanted, state, caller)), |at| async move {
        let (page, mut wanted, state, caller) = at?;
        let lines: String = page.entries.iter().filter_map(|entry| serde_json::to_string(entry).ok()).map(|line| line + "\n").collect();
        let Some(cursor) = page.next_cursor else { return Some((Ok::<_, ServiceError>(lines), None)) };
        wanted.cursor = Some(cursor);
        match state.service.audit(&caller, &wanted).await {
            Ok(next) => Some((Ok(lines), Some((next, wanted, state, caller)))),
            // The connection breaks: an export that is cut off must not look whole.
            Err(error) => Some((Err(error), None)),
        }
    });
    Ok(([(header::CONTENT_TYPE, "application/x-ndjson")], Body::from_stream(pages)).into_response())
}

/// Walk the whole trail and recompute every hash. The operator's to do.
#[utoipa::path(get, path = "/v1/audit/verification", tag = "audit", operation_id = "verify_audit", responses((status = 200, body = AuditVerification)))]
pub(crate) async fn verify(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
) -> Result<axum::Json<AuditVerification>, Refusal> {
    Ok(axum::Json(match state.service.verify_audit(&caller).await? {
        AuditVerdict::Intact { entries, head } => AuditVerification::Intact { entries, head },
        AuditVerdict::Broken { seq, why } => AuditVerification::Broken { seq, why: why.to_owned() },
    }))
}
