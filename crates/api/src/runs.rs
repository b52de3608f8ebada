//! Runs.

use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use belljar_protocol::{Artifact, CancelledRun, LogEntry, Outcome, RunId, RunPage, RunRecord, RunState, RunSubmission, Wait};
use belljar_service::{Caller, EventLine, RunQuery, Submitted};
use serde::{Deserialize, Serialize};

use crate::State;
use crate::authentication::{Allowed, Authenticated, CanBeKept, Run};
use crate::events::{Format, last_event_id, stream_events};
use crate::input::{Json, Query, invalid};
use crate::problem::Refusal;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// The logs of a run.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Logs {
    /// What it wrote so far, in order.
    logs: Vec<LogEntry>,
}

/// The files that a run left.
#[derive(Debug, Serialize, Deserialize, utoipa::ToSchema)]
pub(crate) struct Artifacts {
    /// The files.
    artifacts: Vec<Artifact>,
}

/// One event of a run in `text/event-stream`.
#[derive(Debug, utoipa::ToSchema)]
#[allow(dead_code, reason = "its schema is used, the value never: events are written as text")]
pub(crate) struct ServerSentEvent {
    /// The event's number.
    id: String,
    /// Its kind.
    event: String,
    /// The event, JSON.
    data: String,
}

fn run_id(text: &str) -> Result<RunId, Refusal> {
    text.parse::<RunId>().map_err(|error| belljar_service::ServiceError::from(error).into())
}

/// Start a run.
///
/// Answers in one of three ways. With `wait` the answer is the outcome (or, when that takes longer than the number of milliseconds given, 202 and the
/// run's record). With `Accept: text/event-stream` or `application/x-ndjson` it is the events as they come. Else it is 202 and the run's record, at once.
#[utoipa::path(post, path = "/v1/runs", tag = "runs", operation_id = "start_run", request_body = RunSubmission,
    params(("Idempotency-Key" = Option<String>, Header, description = "A repeated request with the same key, within a day, gets the first one's run", max_length = 128)),
    responses((status = 200, body = Outcome, description = "How it ended; or its events", content_type = "application/json"),
        (status = 202, body = RunRecord, description = "It was accepted", headers(("Location" = String, description = "The run")))))]
pub(crate) async fn start(
    Shared(state): Shared<State>,
    Allowed { caller, .. }: Allowed<Run>,
    _: CanBeKept,
    query: Query,
    headers: HeaderMap,
    Json(mut submission): Json<RunSubmission>,
) -> Result<Response, Refusal> {
    query.end()?;
    if let Some(key) = headers.get("idempotency-key") {
        let key = key.to_str().map_err(|_| invalid("Idempotency-Key", "it is not text"))?;
        if submission.idempotency_key.as_ref().is_some_and(|given| given != key) {
            return Err(invalid("idempotency_key", "the header and the body say different things"));
        }
        submission.idempotency_key = Some(key.to_owned());
    }
    let (wait, format) = (submission.wait, Format::asked(&headers));
    if format.is_some() {
        // The first event is what acknowledges it.
        submission.wait = Wait::No;
    }
    let submitted = state.service.submit(&caller, submission).await?;
    answer(&state, &caller, submitted, wait, format).await
}

async fn answer(state: &State, caller: &Caller, submitted: Submitted, wait: Wait, format: Option<Format>) -> Result<Response, Refusal> {
    let mut response = if let Some(format) = format {
        stream_events(state.service.events(caller, &submitted.id, None).await?, format, |_| true)
    } else {
        match state.service.outcome(caller, &submitted, wait).await?.filter(|_| wait != Wait::No) {
            Some(outcome) => axum::Json(&*outcome).into_response(),
            None => (StatusCode::ACCEPTED, axum::Json(state.service.submitted_run(caller, &submitted.id).await?)).into_response(),
        }
    };
    let location = HeaderValue::from_str(&format!("/v1/runs/{}", submitted.id)).map_err(|_| Refusal::malformed("the id is no header"))?;
    response.headers_mut().insert(header::LOCATION, location);
    if submitted.is_repeated {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// List runs, the latest first.
#[utoipa::path(get, path = "/v1/runs", tag = "runs", operation_id = "list_runs",
    params(
        ("status" = Option<Vec<RunState>>, Query, description = "In one of these states"),
        ("label" = Option<Vec<String>>, Query, description = "With all of these labels, each as `name:value`"),
        ("since" = Option<String>, Query, description = "Accepted not before this moment, RFC 3339"),
        ("until" = Option<String>, Query, description = "Accepted before this moment, RFC 3339"),
        ("text" = Option<String>, Query, description = "With this text in the comment or the submission, whatever the case. It takes time: narrow it with the others"),
        ("limit" = Option<u32>, Query, description = "At most so many, 1 to 1,000; default 50", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "What the page before gave as `next_cursor`")),
    responses((status = 200, body = RunPage)))]
pub(crate) async fn list(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    mut query: Query,
) -> Result<axum::Json<RunPage>, Refusal> {
    let states = query
        .all("status")
        .iter()
        .map(|text| text.parse::<RunState>())
        .collect::<Result<_, _>>()
        .map_err(|error| invalid("status", error))?;
    let labels = query
        .all("label")
        .into_iter()
        .map(|label| label.split_once(':').map(|(name, value)| (name.to_owned(), value.to_owned())))
        .collect::<Option<_>>()
        .ok_or_else(|| invalid("label", "it is not name:value"))?;
    let wanted = RunQuery {
        states,
        labels,
        since: query.moment("since")?,
        until: query.moment("until")?,
        text: query.one("text")?,
        cursor: query.one("cursor")?,
        limit: query.limit()?,
    };
    query.end()?;
    Ok(axum::Json(state.service.runs(&caller, &wanted).await?))
}

/// Show a run, with its outcome once there is one.
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs", operation_id = "show_run", params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = RunRecord)))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<axum::Json<RunRecord>, Refusal> {
    Ok(axum::Json(state.service.run(&caller, &run_id(&id)?).await?))
}

/// Delete a run that is over, with all that it has.
#[utoipa::path(delete, path = "/v1/runs/{id}", tag = "runs", operation_id = "delete_run", params(("id" = String, Path, description = "The run")),
    responses((status = 204, description = "It is gone")))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    state.service.delete_run(&caller, &run_id(&id)?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancel a run.
///
/// Answers with its record once it has ended, or after two seconds; with its id and status alone where the token has not the scope `read`. A run that is
/// over already stays as it is.
#[utoipa::path(post, path = "/v1/runs/{id}/cancel", tag = "runs", operation_id = "cancel_run", params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = CancelledRun)))]
pub(crate) async fn cancel(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<axum::Json<CancelledRun>, Refusal> {
    Ok(axum::Json(state.service.cancel(&caller, &run_id(&id)?).await?))
}

/// Run the same again, as a new run, under the project's ceiling of now.
#[utoipa::path(post, path = "/v1/runs/{id}/rerun", tag = "runs", operation_id = "rerun", params(("id" = String, Path, description = "The run")),
    responses((status = 202, body = RunRecord, description = "The new run")))]
pub(crate) async fn rerun(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let submitted = state.service.rerun(&caller, &run_id(&id)?).await?;
    answer(&state, &caller, submitted, Wait::No, Format::asked(&headers)).await
}

/// The events of a run: those so far, and then as they come, to the last.
///
/// Server-sent events, or NDJSON by `Accept: application/x-ndjson`. `Last-Event-ID` (or `after`) goes on after an event, without a gap or a repeat.
#[utoipa::path(get, path = "/v1/runs/{id}/events", tag = "runs", operation_id = "watch_run",
    params(("id" = String, Path, description = "The run"),
        ("after" = Option<u64>, Query, description = "Only events after this number"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same, as browsers send it")),
    responses((status = 200, body = ServerSentEvent, content_type = "text/event-stream", description = "The events; or NDJSON")))]
pub(crate) async fn events(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = query.parsed("after")?.or_else(|| last_event_id(&headers));
    query.end()?;
    let events = state.service.events(&caller, &run_id(&id)?, after).await?;
    Ok(stream_events(events, Format::asked(&headers).unwrap_or(Format::Sse), |_| true))
}

/// The logs of a run: as JSON what there is so far; as NDJSON or server-sent events the `log` events, as they come.
#[utoipa::path(get, path = "/v1/runs/{id}/logs", tag = "runs", operation_id = "run_logs",
    params(("id" = String, Path, description = "The run"), ("after" = Option<u64>, Query, description = "Of a stream, only events after this number")),
    responses((status = 200, body = Logs)))]
pub(crate) async fn logs(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = query.parsed("after")?.or_else(|| last_event_id(&headers));
    query.end()?;
    let id = run_id(&id)?;
    let is_log = |line: &EventLine| line.kind == "log";
    if let Some(format) = Format::asked(&headers) {
        return Ok(stream_events(state.service.events(&caller, &id, after).await?, format, is_log));
    }
    Ok(axum::Json(Logs { logs: state.service.logs(&caller, &id).await? }).into_response())
}

/// The lock that a run's packages were installed from: a `uv.lock` or `pnpm-lock.yaml`. Given with another run, it gives it the same files.
#[utoipa::path(get, path = "/v1/runs/{id}/lock", tag = "runs", operation_id = "show_lock", params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = String, content_type = "text/plain", headers(("ETag" = String, description = "The SHA-256 of the text, in quotes")))))]
pub(crate) async fn lock(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let lock = state.service.run_lock(&caller, &run_id(&id)?).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", lock.file_name)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ETAG, format!("\"{}\"", lock.sha256)),
    ];
    Ok((headers, lock.text).into_response())
}

/// The files that a run left.
#[utoipa::path(get, path = "/v1/runs/{id}/artifacts", tag = "runs", operation_id = "list_artifacts", params(("id" = String, Path, description = "The run")),
    responses((status = 200, body = Artifacts)))]
pub(crate) async fn artifacts(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<axum::Json<Artifacts>, Refusal> {
    Ok(axum::Json(Artifacts { artifacts: state.service.artifacts(&caller, &run_id(&id)?).await? }))
}

/// The content of a file that a run left.
#[utoipa::path(get, path = "/v1/runs/{id}/artifacts/{name}", tag = "runs", operation_id = "download_artifact",
    params(("id" = String, Path, description = "The run"), ("name" = String, Path, description = "The file; it may have `/` in it")),
    responses((status = 200, body = Vec<u8>, content_type = "application/octet-stream", headers(("ETag" = String, description = "The SHA-256 of the content, in quotes")))))]
pub(crate) async fn artifact(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (artifact, download) = state.service.artifact(&caller, &run_id(&id)?, &name).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, artifact.size_bytes.to_string()),
        // What a program wrote is never shown as a page of this server's.
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ETAG, format!("\"{}\"", artifact.sha256)),
    ];
    Ok((headers, Body::from_stream(download.content)).into_response())
}
