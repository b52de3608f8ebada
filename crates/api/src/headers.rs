//! Requests that are refused because of their headers before anything else happens: headers that
//! are too large, and headers whose value two parties could read differently.

use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use belljar_protocol::TraceParent;

use crate::problem::Refusal;

/// The maximum size of the request line and the headers, in bytes, without optional white space.
pub(crate) const MAX_HEADER_BYTES: usize = 64 << 10;
/// Headers that have a single value. If there are two, a proxy may have decided by one and the
/// server by the other. hyper itself refuses two different values of `Content-Length`, and treats
/// two equal ones as one.
static SINGLE: [HeaderName; 15] = [
    header::AUTHORIZATION,
    header::CONTENT_ENCODING,
    header::CONTENT_LENGTH,
    header::CONTENT_RANGE,
    header::CONTENT_TYPE,
    header::EXPECT,
    header::HOST,
    header::IF_NONE_MATCH,
    header::IF_RANGE,
    header::IF_RANGE,
    header::RANGE,
    header::TRANSFER_ENCODING,
    HeaderName::from_static("content-md5"),
    HeaderName::from_static("idempotency-key"),
    HeaderName::from_static("last-event-id"),
];

/// Refuses a request if its headers are too large or ambiguous.
pub(crate) fn check(request: &Request) -> Result<(), Refusal> {
    let headers = request.headers();
    // `METHOD TARGET HTTP/1.1` and `NAME: VALUE`, each with its line end.
    let target = request.uri().path_and_query().map_or(0, |target| target.as_str().len());
    let line = request.method().as_str().len() + target + "  HTTP/1.1\r\n".len();
    let bytes = headers.iter().fold(line, |bytes, (name, value)| {
        bytes + name.as_str().len() + value.len() + ": \r\n".len()
    });
    if bytes > MAX_HEADER_BYTES {
        let detail = format!(
            "the request line and the headers have {bytes} bytes, which exceeds the limit of \
             {MAX_HEADER_BYTES}"
        );
        return Err(Refusal::new(
            StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE,
            "headers-too-large",
            detail,
        ));
    }
    let is_single =
        |name: &HeaderName| SINGLE.contains(name) || name.as_str().starts_with("belljar-");
    let twice = headers
        .keys()
        .find(|name| is_single(name) && headers.get_all(*name).iter().nth(1).is_some());
    // No token contains a comma, so these are two values that a proxy has joined (RFC 9110, 5.3).
    let joined =
        || headers.get(header::AUTHORIZATION).is_some_and(|value| value.as_bytes().contains(&b','));
    match twice.or_else(|| joined().then_some(&SINGLE[0])) {
        Some(name) => {
            Err(Refusal::malformed(format!("the header `{name}` has more than one value"))
                .with_hint("send it only once"))
        }
        None => Ok(()),
    }
}

/// Returns the trace that a request belongs to. A header that is invalid or occurs twice is
/// ignored, as W3C Trace Context requires.
pub(crate) fn trace_parent(headers: &HeaderMap) -> Option<TraceParent> {
    let mut values = headers.get_all("traceparent").iter();
    let value = values.next().filter(|_| values.next().is_none())?;
    value.to_str().ok()?.trim().parse().ok()
}
