//! The routes, and the layer that all requests pass through.

use std::any::Any;
use std::time::Instant;

use axum::Router;
use axum::extract::{DefaultBodyLimit, Request, State as Shared};
use axum::http::StatusCode;
use axum::middleware::{self, Next};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post, put};
use futures::FutureExt;
use hyper::body::Body as _;
use tracing::Instrument;

use crate::authentication::Who;
use crate::drain_body::drain_when_dropped;
use crate::listen::Origin;
use crate::problem::{Refusal, Why};
use crate::state::State;
use crate::{answers, audit, documents, headers, health, objects, projects, runs, tokens};

/// Returns a router with all routes.
pub fn routes(state: State) -> Router {
    Router::new()
        .route("/v1/runs", post(runs::start).get(runs::list))
        .route("/v1/runs/{id}", get(runs::show).delete(runs::delete))
        .route("/v1/runs/{id}/code", get(runs::code))
        .route("/v1/runs/{id}/cancel", post(runs::cancel))
        .route("/v1/runs/{id}/rerun", post(runs::rerun))
        .route("/v1/runs/{id}/events", get(runs::events))
        .route("/v1/runs/{id}/logs", get(runs::logs))
        .route("/v1/runs/{id}/lock", get(runs::lock))
        .route("/v1/runs/{id}/artifacts", get(runs::artifacts))
        .route("/v1/runs/{id}/artifacts/{*name}", get(runs::artifact))
        .route("/v1/objects", get(objects::list).post(objects::post))
        .route("/v1/objects/{*name}", put(objects::put).get(objects::get).delete(objects::delete))
        .route("/v1/object-copies", post(objects::copy))
        .route("/v1/object-urls", post(objects::sign))
        .route("/v1/tokens", post(tokens::create).get(tokens::list))
        .route("/v1/tokens/{id}", axum::routing::delete(tokens::revoke))
        .route("/v1/callback-key", get(tokens::callback_key))
        .route("/v1/projects", post(projects::create).get(projects::list))
        .route("/v1/projects/{name}", get(projects::show).delete(projects::delete))
        .route("/v1/projects/{name}/settings", put(projects::set))
        .route("/v1/usage", get(projects::usage))
        .route("/v1/audit", get(audit::list))
        .route("/v1/audit/verification", get(audit::verify))
        .route("/healthz", get(health::healthz))
        .route("/readyz", get(health::readyz))
        .route("/metrics", get(health::metrics))
        .route("/", get(documents::home))
        .route("/openapi.json", get(documents::openapi))
        .route("/docs", get(documents::reference))
        .fallback(no_such_route)
        .method_not_allowed_fallback(no_such_method)
        // Each handler limits its own body, as a program is small and an object is not.
        .layer(DefaultBodyLimit::disable())
        .layer(middleware::from_fn_with_state(state.clone(), watch_over))
        .with_state(state)
}

async fn no_such_route(request: Request) -> Refusal {
    let path: String = request.uri().path().chars().take(200).collect();
    Refusal::new(StatusCode::NOT_FOUND, "not-found", format!("there is no route `{path}`"))
        .with_hint("see /docs for the routes")
}

async fn no_such_method(request: Request) -> Refusal {
    let detail = format!("the route does not support {}", request.method());
    Refusal::new(StatusCode::METHOD_NOT_ALLOWED, "method-not-allowed", detail)
        .with_hint("see /docs for the routes")
}

/// Logs the request without its query, which may be a signature, and records refusals in the audit
/// trail. If a handler panics, the answer is 500 and the server continues.
async fn watch_over(Shared(state): Shared<State>, request: Request, next: Next) -> Response {
    let (method, path, start) =
        (request.method().clone(), request.uri().path().to_owned(), Instant::now());
    let mut request = drain_when_dropped(request);
    let has_body = !request.body().is_end_stream();
    let (who, source) = (Who::default(), Origin::of(request.extensions()).source());
    request.extensions_mut().insert(who.clone());
    let span = tracing::info_span!("request", %method, path);
    if let Some(parent) = headers::trace_parent(request.headers()) {
        belljar_service::continue_trace(&span, &parent);
    }
    let answer = async {
        match headers::check(&request) {
            Ok(()) => next.run(request).await,
            Err(refusal) => refusal.into_response(),
        }
    };
    let answered = std::panic::AssertUnwindSafe(answer).catch_unwind().instrument(span).await;
    let mut response = answered.unwrap_or_else(|panic| {
        tracing::error!(%method, path, panic = message_of(panic.as_ref()), "a handler panicked");
        Refusal::new(
            StatusCode::INTERNAL_SERVER_ERROR,
            "internal",
            "internal error, see the server's log",
        )
        .into_response()
    });
    let status = response.status();
    // A path or a body that axum's extractors refuse also gets a problem document.
    if status.is_client_error() && !is_problem(&response) {
        let mut refusal = Refusal::new(
            status,
            "malformed-request",
            status.canonical_reason().unwrap_or("refused").to_lowercase(),
        )
        .into_response();
        if let Some(allow) = response.headers().get(axum::http::header::ALLOW) {
            refusal.headers_mut().insert(axum::http::header::ALLOW, allow.clone());
        }
        response = refusal;
    }
    if matches!(
        status,
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN | StatusCode::TOO_MANY_REQUESTS
    ) {
        let why = response.extensions().get::<Why>().map_or("", |why| &why.0);
        let target = format!("{method} {path}");
        state.service.audit().record_refusal(who.0.get(), source, &target, why).await;
    }
    if has_body && !status.is_success() {
        // The rest of the body is not read, so the connection cannot carry another request, and the
        // client should know.
        response
            .headers_mut()
            .insert(axum::http::header::CONNECTION, axum::http::HeaderValue::from_static("close"));
    }
    // Only answers that can be requested again may be refused: the answer to a run that was waited
    // for is the only report of completed work.
    if method == axum::http::Method::GET {
        response = answers::hold(
            state.service.access(),
            who.0.get().map(belljar_service::Caller::project_id),
            response,
        )
        .await;
    }
    let status = response.status();
    tracing::debug!(%method, path, status = status.as_u16(), ms = start.elapsed().as_secs_f64() * 1000.0, "answered");
    response
}

fn is_problem(response: &Response) -> bool {
    response
        .headers()
        .get(axum::http::header::CONTENT_TYPE)
        .is_some_and(|kind| kind == "application/problem+json")
        || response.status() == StatusCode::NOT_MODIFIED
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    panic
        .downcast_ref::<&str>()
        .copied()
        .or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
}
