//! The `OpenAPI` document at `/openapi.json`, and the page for readers at `/docs`.

use std::sync::LazyLock;

use axum::http::header;
use axum::response::{IntoResponse, Redirect, Response};

use crate::reference_page;

static DOCUMENT: LazyLock<String> = LazyLock::new(crate::openapi::document);
static PAGE: LazyLock<String> = LazyLock::new(|| reference_page::page(&DOCUMENT));

pub(crate) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], DOCUMENT.as_str()).into_response()
}

pub(crate) async fn reference() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, "default-src 'none'; style-src 'unsafe-inline'"),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    ];
    (headers, PAGE.as_str()).into_response()
}

/// Redirects to the page for readers, because people open the address of the server in a browser.
pub(crate) async fn home() -> Redirect {
    Redirect::temporary("/docs")
}
