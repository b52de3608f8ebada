//! The events of a run as a stream of server-sent events or NDJSON, as the client requests.

use std::convert::Infallible;
use std::time::Duration;

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, header};
use axum::response::{IntoResponse, Response};
use belljar_service::{EventLine, Events};
use bytes::Bytes;
use futures::stream;

/// The interval of heartbeats on a silent stream. Proxies close connections without traffic.
const HEARTBEAT: Duration = Duration::from_secs(15);

/// The format of a stream of events.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Format {
    /// Server-sent events, `text/event-stream`.
    Sse,
    /// One JSON object per line, `application/x-ndjson`.
    Ndjson,
}

impl Format {
    /// Returns the format that a request asks for in `Accept`, or `None` if it does not ask for a
    /// stream.
    pub(crate) fn asked(headers: &HeaderMap) -> Option<Self> {
        let accept = headers.get(header::ACCEPT)?.to_str().ok()?;
        accept.split(',').find_map(|part| match part.split(';').next().unwrap_or_default().trim() {
            "text/event-stream" => Some(Self::Sse),
            "application/x-ndjson" | "application/ndjson" | "application/jsonl" => {
                Some(Self::Ndjson)
            }
            _ => None,
        })
    }

    fn media_type(self) -> &'static str {
        match self {
            Self::Sse => "text/event-stream",
            Self::Ndjson => "application/x-ndjson",
        }
    }

    fn write(self, line: &EventLine) -> Bytes {
        match self {
            // The JSON has no line breaks, so a single `data` line is enough.
            Self::Sse => {
                format!("id: {}\nevent: {}\ndata: {}\n\n", line.seq, line.kind, line.json).into()
            }
            Self::Ndjson => format!("{}\n", line.json).into(),
        }
    }

    fn heartbeat(self) -> Bytes {
        match self {
            Self::Sse => Bytes::from_static(b": alive\n\n"),
            // Readers of NDJSON skip empty lines.
            Self::Ndjson => Bytes::from_static(b"\n"),
        }
    }
}

/// Returns the number of the last event that the client has seen, from the header `Last-Event-ID`.
pub(crate) fn last_event_id(headers: &HeaderMap) -> Option<u64> {
    headers.get("last-event-id")?.to_str().ok()?.parse().ok()
}

/// Streams the events as they occur, without those for which `wanted` returns false.
pub(crate) fn stream_events(
    events: Events,
    format: Format,
    wanted: fn(&EventLine) -> bool,
) -> Response {
    let chunks = stream::unfold(events, move |mut events| async move {
        loop {
            // Taking an event is a single step, so a heartbeat in between loses none.
            match tokio::time::timeout(HEARTBEAT, events.next()).await {
                Ok(Some(line)) if wanted(&line) => {
                    return Some((Ok::<_, Infallible>(format.write(&line)), events));
                }
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(_) => return Some((Ok(format.heartbeat()), events)),
            }
        }
    });
    let headers = [
        (header::CONTENT_TYPE, format.media_type()),
        (header::CACHE_CONTROL, "no-store"),
        // nginx and compatible proxies buffer an answer until the buffer is full, unless this
        // header tells them not to.
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    (headers, Body::from_stream(chunks)).into_response()
}
