//! Answers that a client has not read yet. The whole of one stays in memory until it is read, and a client may take its time: what each project keeps of
//! the server's memory in this way is bounded. Streams are not meant, which make their parts as they are read, nor answers to requests that have changed
//! something.

use std::pin::Pin;
use std::task::{Context, Poll};

use axum::body::{Body, Bytes, HttpBody};
use axum::response::{IntoResponse, Response};
use belljar_service::{HeldMemory, Service};
use hyper::body::{Frame, SizeHint};

use crate::problem::Refusal;

/// A smaller answer fits into the buffers of its connection.
const SMALL_BYTES: u64 = 256 << 10;
/// What is handed to the connection at once. It takes no more than a few while the client does not read.
const PIECE_BYTES: usize = 64 << 10;

/// The same answer, held in the account of its project until it is read; a refusal where too much is held already.
pub(crate) async fn hold(service: &Service, project_id: Option<&str>, response: Response) -> Response {
    let (Some(size), Some(project_id)) = (response.body().size_hint().exact(), project_id) else { return response };
    if size <= SMALL_BYTES {
        return response;
    }
    let held = match service.hold_answer(project_id, size) {
        Ok(held) => held,
        Err(busy) => return Refusal::from(busy).into_response(),
    };
    let (parts, body) = response.into_parts();
    match axum::body::to_bytes(body, usize::MAX).await {
        Ok(bytes) => Response::from_parts(parts, Body::new(Held { bytes, _held: held })),
        Err(error) => Response::from_parts(parts, Body::from(error.to_string())),
    }
}

/// A body in pieces, so that it is dropped, and given back to the account, only once nearly all of it is written.
struct Held {
    bytes: Bytes,
    _held: HeldMemory,
}

impl HttpBody for Held {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
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
