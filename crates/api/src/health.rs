//! The routes of liveness, readiness and metrics.

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::problem::Refusal;
use crate::state::State;

/// Check that the process is alive
#[utoipa::path(get, path = "/healthz", tag = "health", operation_id = "healthz", responses((status = 200, body = String, content_type = "text/plain", description = "The process is alive", example = json!("ok\n"))))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Check that the server can serve runs and objects
///
/// It can if sandboxes can be created, the database and the storage of objects answer, and the
/// server is not shutting down.
#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "readyz", responses((status = 200, body = String, content_type = "text/plain", description = "The server is ready", example = json!("ready\n"))))]
pub(crate) async fn readyz(Shared(state): Shared<State>) -> Result<&'static str, Refusal> {
    match state.service.upkeep().check().await {
        Ok(()) => Ok("ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Refusal::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "not-ready",
                "the server is not ready, see its log",
            ))
        }
    }
}

/// Show the metrics in the text format of Prometheus
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics", responses((status = 200, body = String, content_type = "text/plain", description = "The metrics", example = json!("# TYPE belljar_runs_running gauge\nbelljar_runs_running 1\n"))))]
pub(crate) async fn metrics(Shared(state): Shared<State>) -> Response {
    state.service.runs().counts();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (state.metrics)()).into_response()
}
