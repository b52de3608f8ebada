//! What is left of a body that nobody reads to its end is read and thrown away, for a while. A connection that is closed on a client that still sends is
//! reset, and with it goes the answer that says why (RFC 9112, 9.6): the client would see a broken pipe in place of a refusal.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes, HttpBody};
use axum::extract::Request;
use futures::StreamExt;

/// A body that is no larger is sent at once, if it is sent at all. Many clients send it in a packet of its own, after the headers, so that an answer may
/// well be faster.
const SMALL_BYTES: u64 = 16 << 10;
const SMALL_TIME: Duration = Duration::from_secs(2);
/// How much of it is read and for how long; by then the client has seen the answer.
const MOST_BYTES: usize = 256 << 20;
const MOST_TIME: Duration = Duration::from_secs(10);

struct Lingering {
    body: Option<Body>,
    time: Duration,
}

/// The same request. What is left of its body when it is dropped is read in the background.
pub(crate) fn linger(request: Request) -> Request {
    if request.body().is_end_stream() {
        return request;
    }
    let is_small = request.body().size_hint().upper().is_some_and(|most| most <= SMALL_BYTES);
    let time = if is_small { SMALL_TIME } else { MOST_TIME };
    request.map(|body| Body::new(Lingering { body: Some(body), time }))
}

impl HttpBody for Lingering {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Result<hyper::body::Frame<Bytes>, axum::Error>>> {
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

impl Drop for Lingering {
    fn drop(&mut self) {
        let Some(body) = self.body.take().filter(|body| !body.is_end_stream()) else { return };
        // Without a runtime there is no connection either.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(tokio::time::timeout(self.time, drain(body.into_data_stream())));
        }
    }
}

async fn drain(mut body: BodyDataStream) {
    let mut read = 0;
    while let Some(Ok(piece)) = body.next().await {
        read += piece.len();
        if read > MOST_BYTES {
            break;
        }
    }
}
