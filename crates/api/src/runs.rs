//! The routes of runs.

use axum::body::Body;
use axum::extract::{Path, State as Shared};
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use belljar_protocol::{
    Artifacts, CancelledRun, Language, Logs, Outcome, Rerun, RunCode, RunFilter, RunId, RunPage,
    RunRecord, RunState, RunSubmission, Wait,
};
use belljar_service::{Caller, EventLine, Submitted};

use crate::authentication::{Allowed, Authenticated, CanBeKept, Run};
use crate::content::Content;
use crate::events::{Format, last_event_id, stream_events};
use crate::headers::trace_parent;
use crate::input::{Json, OptionalJson, Query, invalid};
use crate::problem::Refusal;
use crate::state::State;

const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// An event of a run in `text/event-stream`.
#[derive(Debug, utoipa::ToSchema)]
#[schema(examples(json!({"id": "3", "event": "log", "data": r#"{"seq":3,"timestamp":"2026-01-02T03:04:05.678Z","type":"log","level":"info","message":"read 2000 rows"}"#})))]
#[allow(dead_code, reason = "its schema is used, the value never: events are written as text")]
pub(crate) struct ServerSentEvent {
    /// The number of the event.
    id: String,
    /// The type of the event, such as `log`.
    event: String,
    /// The event as JSON.
    data: String,
}

/// Returns the id of the run that a path names, by its id or by a unique prefix of it.
async fn find(state: &State, caller: &Caller, id: &str) -> Result<RunId, Refusal> {
    Ok(state.service.runs().find(caller, id).await?)
}

/// Start a run
///
/// The answer takes one of three forms. With `wait`, it is the outcome, or 202 and the record of
/// the run if the run takes longer than the given number of milliseconds. With `Accept:
/// text/event-stream` or `application/x-ndjson`, it is the events as they occur. Otherwise it is
/// 202 and the record of the run, immediately.
#[utoipa::path(post, path = "/v1/runs", tag = "runs", operation_id = "start_run", request_body = RunSubmission,
    params(("Idempotency-Key" = Option<String>, Header, description = "A request that is repeated with the same key within a day returns the run of the first one", max_length = 128),
        ("traceparent" = Option<String>, Header, description = "The trace that the request belongs to, in the form of W3C Trace Context. It is kept with the run, and the traces of the server continue it")),
    responses((status = 200, body = Outcome, description = "The outcome of the run, or its events", content_type = "application/json"),
        (status = 202, body = RunRecord, description = "The run was accepted", headers(("Location" = String, description = "URL path of the run")))))]
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
        let key = key.to_str().map_err(|_| invalid("Idempotency-Key", "it is not valid text"))?;
        if submission.idempotency_key.as_ref().is_some_and(|given| given != key) {
            return Err(invalid(
                "idempotency_key",
                "the header and the body contain different keys",
            ));
        }
        submission.idempotency_key = Some(key.to_owned());
    }
    let (wait, format) = (submission.wait, Format::asked(&headers));
    if format.is_some() {
        // The first event acknowledges the run.
        submission.wait = Wait::No;
    }
    let submitted =
        state.service.runs().submit(&caller, submission, trace_parent(&headers)).await?;
    answer(&state, &caller, submitted, wait, format).await
}

async fn answer(
    state: &State,
    caller: &Caller,
    submitted: Submitted,
    wait: Wait,
    format: Option<Format>,
) -> Result<Response, Refusal> {
    let mut response = if let Some(format) = format {
        stream_events(
            state.service.runs().events(caller, &submitted.id, None).await?,
            format,
            |_| true,
        )
    } else {
        match state
            .service
            .runs()
            .outcome(caller, &submitted, wait)
            .await?
            .filter(|_| wait != Wait::No)
        {
            Some(outcome) => axum::Json(&*outcome).into_response(),
            None => (
                StatusCode::ACCEPTED,
                axum::Json(state.service.runs().submitted_record(caller, &submitted.id).await?),
            )
                .into_response(),
        }
    };
    let location = HeaderValue::from_str(&format!("/v1/runs/{}", submitted.id))
        .map_err(|_| Refusal::malformed("the id is not valid in a header"))?;
    response.headers_mut().insert(header::LOCATION, location);
    if submitted.is_repeated {
        response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    }
    Ok(response)
}

/// List runs, the latest first
#[utoipa::path(get, path = "/v1/runs", tag = "runs", operation_id = "list_runs",
    params(
        ("status" = Option<Vec<RunState>>, Query, description = "Only runs in one of these states"),
        ("language" = Option<Language>, Query, description = "Only runs in this language. The short names `js`, `ts` and `py` are accepted, too"),
        ("label" = Option<Vec<String>>, Query, description = "Only runs with all of these labels, each written as `name:value`"),
        ("by" = Option<String>, Query, description = "Only runs submitted by the token with this name or id, or by the `operator`"),
        ("since" = Option<String>, Query, description = "Only runs accepted at or after this time, in RFC 3339"),
        ("until" = Option<String>, Query, description = "Only runs accepted before this time, in RFC 3339"),
        ("text" = Option<String>, Query, description = "Only runs with this text in their comment or submission, ignoring case. The search is slow, so combine it with other filters"),
        ("limit" = Option<u32>, Query, description = "Maximum number of entries, 1 to 1,000 (default 50)", minimum = 1, maximum = 1000),
        ("cursor" = Option<String>, Query, description = "The `next_cursor` of the previous page")),
    responses((status = 200, body = RunPage, description = "A page of runs")))]
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
        .ok_or_else(|| invalid("label", "expected `name:value`"))?;
    let filter = RunFilter {
        states,
        language: query.parsed("language")?,
        labels,
        by: query.one("by")?,
        since: query.moment("since")?,
        until: query.moment("until")?,
        text: query.one("text")?,
    };
    let page = query.page()?;
    query.end()?;
    Ok(axum::Json(state.service.runs().list(&caller, &filter, &page).await?))
}

/// Show a run, with its outcome once it has one
#[utoipa::path(get, path = "/v1/runs/{id}", tag = "runs", operation_id = "show_run", params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`")),
    responses((status = 200, body = RunRecord, description = "The record of the run")))]
pub(crate) async fn show(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<axum::Json<RunRecord>, Refusal> {
    Ok(axum::Json(state.service.runs().record(&caller, &find(&state, &caller, &id).await?).await?))
}

/// Show the code of a run
///
/// The answer has the program and the files next to it, as they were submitted. A file that was
/// copied from storage has the name of its object instead of its content.
#[utoipa::path(get, path = "/v1/runs/{id}/code", tag = "runs", operation_id = "run_code", params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`")),
    responses((status = 200, body = RunCode, description = "The program and the files next to it")))]
pub(crate) async fn code(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<axum::Json<RunCode>, Refusal> {
    Ok(axum::Json(state.service.runs().code(&caller, &find(&state, &caller, &id).await?).await?))
}

/// Delete a finished run with its history and artifacts
#[utoipa::path(delete, path = "/v1/runs/{id}", tag = "runs", operation_id = "delete_run", params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`")),
    responses((status = 204, description = "The run was deleted")))]
pub(crate) async fn delete(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<StatusCode, Refusal> {
    state.service.runs().delete(&caller, &find(&state, &caller, &id).await?).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Cancel a run
///
/// The answer is the record of the run once it has ended, or after two seconds. If the token lacks
/// the scope `read`, it is only the id and the status. A run that has already ended is not changed.
#[utoipa::path(post, path = "/v1/runs/{id}/cancel", tag = "runs", operation_id = "cancel_run", params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`")),
    responses((status = 200, body = CancelledRun, description = "The record of the run, or its id and its status")))]
pub(crate) async fn cancel(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<axum::Json<CancelledRun>, Refusal> {
    Ok(axum::Json(state.service.runs().cancel(&caller, &find(&state, &caller, &id).await?).await?))
}

/// Run the same submission again as a new run
///
/// The project's current ceiling applies. If the run had variables in `env`, the body must contain
/// their values again, because the server does not keep them. Otherwise, no body is needed.
#[utoipa::path(post, path = "/v1/runs/{id}/rerun", tag = "runs", operation_id = "rerun", request_body = Option<Rerun>,
    params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`"),
        ("traceparent" = Option<String>, Header, description = "The trace that the request belongs to, in the form of W3C Trace Context. It is kept with the run, and the traces of the server continue it")),
    responses((status = 202, body = RunRecord, description = "The new run")))]
pub(crate) async fn rerun(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    headers: HeaderMap,
    OptionalJson(rerun): OptionalJson<Rerun>,
) -> Result<Response, Refusal> {
    let run = find(&state, &caller, &id).await?;
    let trace = trace_parent(&headers);
    let submitted = state.service.runs().rerun(&caller, &run, rerun, trace).await?;
    answer(&state, &caller, submitted, Wait::No, Format::asked(&headers)).await
}

/// Stream the events of a run
///
/// The stream has all events so far, then new ones as they occur, up to the last one. It consists
/// of server-sent events, or of NDJSON with `Accept: application/x-ndjson`. `Last-Event-ID` (or
/// `after`) resumes the stream after an event, without gaps or repetitions.
#[utoipa::path(get, path = "/v1/runs/{id}/events", tag = "runs", operation_id = "watch_run",
    params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`"),
        ("after" = Option<u64>, Query, description = "Only events after the one with this number"),
        ("Last-Event-ID" = Option<String>, Header, description = "The same as `after`, as browsers send it")),
    responses((status = 200, body = ServerSentEvent, content_type = "text/event-stream", description = "The events, which may also be NDJSON")))]
pub(crate) async fn events(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = query.parsed("after")?.or_else(|| last_event_id(&headers));
    query.end()?;
    let events =
        state.service.runs().events(&caller, &find(&state, &caller, &id).await?, after).await?;
    Ok(stream_events(events, Format::asked(&headers).unwrap_or(Format::Sse), |_| true))
}

/// Show or stream the logs of a run
///
/// The answer is JSON with the log so far. As NDJSON or server-sent events, it is the `log` events
/// as they occur.
#[utoipa::path(get, path = "/v1/runs/{id}/logs", tag = "runs", operation_id = "run_logs",
    params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`"), ("after" = Option<u64>, Query, description = "Only events after the one with this number, in a stream")),
    responses((status = 200, body = Logs, description = "The log so far, or its events")))]
pub(crate) async fn logs(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
    mut query: Query,
    headers: HeaderMap,
) -> Result<Response, Refusal> {
    let after = query.parsed("after")?.or_else(|| last_event_id(&headers));
    query.end()?;
    let id = find(&state, &caller, &id).await?;
    let is_log = |line: &EventLine| line.kind == "log";
    if let Some(format) = Format::asked(&headers) {
        return Ok(stream_events(
            state.service.runs().events(&caller, &id, after).await?,
            format,
            is_log,
        ));
    }
    Ok(axum::Json(Logs { logs: state.service.runs().logs(&caller, &id).await? }).into_response())
}

/// Download the lock file of a run's packages
///
/// The file is a `uv.lock` or a `pnpm-lock.yaml`. Another run that is submitted with it gets the
/// same packages.
#[utoipa::path(get, path = "/v1/runs/{id}/lock", tag = "runs", operation_id = "show_lock", params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`")),
    responses((status = 200, body = String, content_type = "text/plain", description = "The lock file", headers(("ETag" = String, description = "The SHA-256 of the text, in quotes")), example = json!("version = 1\nrevision = 3\nrequires-python = \">=3.11\"\n"))))]
pub(crate) async fn lock(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<Response, Refusal> {
    let lock = state.service.runs().lock(&caller, &find(&state, &caller, &id).await?).await?;
    let headers = [
        (header::CONTENT_TYPE, "text/plain; charset=utf-8".to_owned()),
        (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{}\"", lock.file_name)),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ETAG, format!("\"{}\"", lock.sha256)),
    ];
    Ok((headers, lock.text).into_response())
}

/// List the artifacts of a run
#[utoipa::path(get, path = "/v1/runs/{id}/artifacts", tag = "runs", operation_id = "list_artifacts", params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`")),
    responses((status = 200, body = Artifacts, description = "The artifacts of the run")))]
pub(crate) async fn artifacts(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path(id): Path<String>,
) -> Result<axum::Json<Artifacts>, Refusal> {
    Ok(axum::Json(Artifacts {
        artifacts: state
            .service
            .runs()
            .artifacts(&caller, &find(&state, &caller, &id).await?)
            .await?,
    }))
}

/// Download an artifact of a run
#[utoipa::path(get, path = "/v1/runs/{id}/artifacts/{name}", tag = "runs", operation_id = "download_artifact",
    params(("id" = String, Path, description = "Id of the run, or a unique prefix of it with at least 6 characters after `run_`"), ("name" = String, Path, description = "Name of the artifact, which may contain `/`")),
    responses((status = 200, body = inline(Content), content_type = "application/octet-stream", description = "The content of the artifact", headers(("ETag" = String, description = "The SHA-256 of the content, in quotes")))))]
pub(crate) async fn artifact(
    Shared(state): Shared<State>,
    Authenticated(caller): Authenticated,
    Path((id, name)): Path<(String, String)>,
) -> Result<Response, Refusal> {
    let (artifact, content) =
        state.service.runs().artifact(&caller, &find(&state, &caller, &id).await?, &name).await?;
    let headers = [
        (header::CONTENT_TYPE, "application/octet-stream".to_owned()),
        (header::CONTENT_LENGTH, artifact.size_bytes.to_string()),
        // Browsers must never show the output of a program as a page of this server.
        (header::CONTENT_DISPOSITION, "attachment".to_owned()),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff".to_owned()),
        (header::ETAG, format!("\"{}\"", artifact.sha256)),
    ];
    Ok((headers, Body::from_stream(content)).into_response())
}
