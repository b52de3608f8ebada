//! Refusals as problem documents of RFC 9457.

use std::borrow::Cow;

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use belljar_protocol::{Explain, Problem};
use belljar_service::ServiceError;

/// A refusal of a request.
#[derive(Debug)]
pub(crate) struct Refusal {
    problem: Problem,
    retry_after_s: Option<u64>,
}

impl Refusal {
    /// Returns a refusal. `kind` is the last part of the problem's type: words joined by `-`.
    pub(crate) fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        let problem = Problem {
            kind: format!("urn:belljar:problem:{kind}"),
            title: kind.replace('-', " "),
            status: status.as_u16(),
            detail: detail.into(),
            hint: None,
        };
        Self { problem, retry_after_s: None }
    }

    pub(crate) fn with_hint(mut self, hint: impl Into<String>) -> Self {
        self.problem.hint = Some(hint.into());
        self
    }

    /// Returns the refusal of a body that cannot be read or parsed.
    pub(crate) fn malformed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "malformed-request", detail)
    }

    pub(crate) fn too_large(most: usize) -> Self {
        Self::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too-large",
            format!("the body exceeds {most} bytes"),
        )
        .with_hint("upload large files to storage, and let the program download them")
    }

    pub(crate) fn too_slow() -> Self {
        Self::new(StatusCode::REQUEST_TIMEOUT, "too-slow", "the body did not arrive in time")
    }
}

/// The detail of a refusal, attached to the response for the audit trail.
#[derive(Clone, Debug)]
pub(crate) struct Why(pub(crate) String);

impl From<ServiceError> for Refusal {
    fn from(error: ServiceError) -> Self {
        use belljar_service::ServiceErrorKind as Kind;
        let (status, kind) = match error.kind() {
            Kind::Unauthorized => (StatusCode::UNAUTHORIZED, "unauthorized"),
            Kind::Forbidden => (StatusCode::FORBIDDEN, "forbidden"),
            Kind::NotFound => (StatusCode::NOT_FOUND, "not-found"),
            Kind::HistoryDropped => (StatusCode::GONE, "history-dropped"),
            Kind::Conflict => (StatusCode::CONFLICT, "conflict"),
            Kind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "invalid-request"),
            Kind::Checksum => (StatusCode::UNPROCESSABLE_ENTITY, "checksum-mismatch"),
            Kind::TooLarge => (StatusCode::PAYLOAD_TOO_LARGE, "too-large"),
            Kind::Range => (StatusCode::RANGE_NOT_SATISFIABLE, "range-not-satisfiable"),
            Kind::Quota => (StatusCode::TOO_MANY_REQUESTS, "quota-exceeded"),
            Kind::Busy => (StatusCode::TOO_MANY_REQUESTS, "busy"),
            Kind::Stopping => (StatusCode::SERVICE_UNAVAILABLE, "stopping"),
            Kind::SearchTooLong => (StatusCode::SERVICE_UNAVAILABLE, "search-too-long"),
            Kind::Internal => (StatusCode::INTERNAL_SERVER_ERROR, "internal"),
        };
        let detail = if status == StatusCode::INTERNAL_SERVER_ERROR {
            // Internal errors are only for the log.
            tracing::error!(%error, "a request failed");
            "internal error, see the server's log".to_owned()
        } else {
            error.to_string()
        };
        let mut refusal = Self::new(status, kind, detail);
        if status != StatusCode::INTERNAL_SERVER_ERROR {
            refusal.problem.hint = error.hint().map(Cow::into_owned);
        }
        refusal.retry_after_s = error.retry_after_s();
        refusal
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status =
            StatusCode::from_u16(self.problem.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self.problem).unwrap_or_default();
        let mut response =
            (status, [(header::CONTENT_TYPE, "application/problem+json")], body).into_response();
        response.extensions_mut().insert(Why(self.problem.detail));
        let headers = response.headers_mut();
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        if let Some(seconds) = self.retry_after_s {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}
