//! Answers that a client has not read yet. Each stays in memory as a whole until it is read, and a
//! client may be slow, so the memory that each project holds in this way is limited. This does not
//! include streams, which produce their parts as they are read, or answers to requests that have
//! changed something.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::{IntoResponse, Response};
use belljar_service::{Access, HeldMemory};
use hyper::body::{Frame, SizeHint};

use crate::problem::Refusal;

/// The largest answer that is not counted, because it fits into the buffers of its connection.
const SMALL_BYTES: u64 = 256 << 10;
/// The number of bytes passed to the connection at once. While the client does not read, the
/// connection takes only a few of these pieces.
const PIECE_BYTES: usize = 64 << 10;

/// Returns the answer, counted for its project until it is read, or a refusal if the project holds
/// too much already.
pub(crate) async fn hold(
    access: &Access,
    project_id: Option<&str>,
    response: Response,
) -> Response {
    let (Some(size), Some(project_id)) = (response.body().size_hint().exact(), project_id) else {
        return response;
    };
    if size <= SMALL_BYTES {
        return response;
    }
    let held = match access.hold_answer(project_id, size) {
        Ok(held) => held,
        Err(busy) => return Refusal::from(busy).into_response(),
    };
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, Body::new(Held { bytes, _held: held })),
        Err(error) => Response::from_parts(parts, Body::from(error.to_string())),
    }
}

/// A body in pieces, so that it is dropped and no longer counted only after nearly all of it has
/// been written.
struct Held {
    bytes: Bytes,
    _held: HeldMemory,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        if self.bytes.is_empty() {
            return Poll::Ready(None);
        }
        let length = self.bytes.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.bytes.split_to(length)))))
    }

    fn is_end_stream(&self) -> bool {
        self.bytes.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.bytes.len() as u64)
    }
}
