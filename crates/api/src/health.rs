//! Whether the server lives, whether it is ready, and its numbers.

use axum::extract::State as Shared;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::State;
use crate::problem::Refusal;

/// Whether the process lives.
#[utoipa::path(get, path = "/healthz", tag = "health", operation_id = "healthz", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn healthz() -> &'static str {
    "ok\n"
}

/// Whether runs and objects can be served: the database and the place of objects answer, and the server is not being stopped.
#[utoipa::path(get, path = "/readyz", tag = "health", operation_id = "readyz", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn readyz(Shared(state): Shared<State>) -> Result<&'static str, Refusal> {
    match state.service.check().await {
        Ok(()) => Ok("ready\n"),
        Err(error) => {
            tracing::warn!(%error, "not ready");
            Err(Refusal::new(StatusCode::SERVICE_UNAVAILABLE, "not-ready", "the server is not ready; its log says why"))
        }
    }
}

/// The server's numbers, in the text format of Prometheus.
#[utoipa::path(get, path = "/metrics", tag = "health", operation_id = "metrics", security(()), responses((status = 200, body = String, content_type = "text/plain")))]
pub(crate) async fn metrics(Shared(state): Shared<State>) -> Response {
    state.service.queue_counts();
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], (state.metrics)()).into_response()
}
