//! Reads and discards the rest of a body that a handler did not read, for a limited time. If a
//! connection is closed while its client still sends, it is reset, and the answer is lost with it
//! (RFC 9112, 9.6): the client would see a broken pipe instead of the refusal.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use futures::StreamExt;

/// A body of at most this size is sent at once, if it is sent at all. Many clients send it in a
/// packet of its own after the headers, so the answer may well arrive first.
const SMALL_BYTES: u64 = 16 << 10;
const SMALL_TIME: Duration = Duration::from_secs(2);
/// The number of bytes of a larger body that are read, and the time for it. By then, the client has
/// seen the answer.
const MAX_BYTES: usize = 256 << 20;
const MAX_TIME: Duration = Duration::from_secs(10);

struct DrainedBody {
    body: Option<Body>,
    time: Duration,
}

/// Returns the request with a body whose rest is read in the background when it is dropped.
pub(crate) fn drain_when_dropped(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let is_small = request.body().size_hint().upper().is_some_and(|most| most <= SMALL_BYTES);
    let time = if is_small { SMALL_TIME } else { MAX_TIME };
    request.map(|body| Body::new(DrainedBody { body: Some(body), time }))
}

impl HttpBody for DrainedBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
        let Some(body) = &mut self.body else { return Poll::Ready(None) };
        let frame = std::task::ready!(Pin::new(body).poll_frame(context));
        if !matches!(frame, Some(Ok(_))) {
            self.body = None;
        }
        Poll::Ready(frame)
    }

    fn is_end_stream(&self) -> bool {
        self.body.as_ref().is_none_or(HttpBody::is_end_stream)
    }

    fn size_hint(&self) -> hyper::body::SizeHint {
        self.body.as_ref().map_or_else(|| hyper::body::SizeHint::with_exact(0), HttpBody::size_hint)
    }
}

impl Drop for DrainedBody {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        // Without a runtime, there is no connection.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(self.time, drain(body.into_data_stream())));
        }
    }
}

async fn drain(mut body: BodyDataStream) {
    let mut read = 0;
    while let Some(Ok(piece)) = body.next().await {
        read += piece.len();
        if read > MAX_BYTES {
            break;
        }
    }
}
