//! Forms with files, read part by part. The bytes before the content of a part are limited, because
//! the parser would otherwise keep headers in memory without limit.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use futures::{Stream, StreamExt};

use crate::problem::Refusal;

/// The time that an upload may go without receiving a byte.
pub(crate) const IDLE_TIME: Duration = Duration::from_mins(1);
/// The maximum number of bytes before the content of a part: the boundary and the headers.
const MAX_HEADER_BYTES: usize = 16 << 10;
/// The number of bytes that the parser gets at once. When it reaches the end of one part, it holds
/// at most this much of the next.
const PIECE_BYTES: usize = 16 << 10;

/// The part of the form that the parser reads.
#[derive(Debug)]
enum At {
    /// The content of a part, which is limited by its reader.
    Content,
    /// The bytes before the content of a part, with the number of bytes that it may still have.
    Headers { left: usize },
    /// The bytes before the content of a part exceeded the limit.
    TooMuch,
}

#[derive(Clone, Debug)]
struct Reading(Arc<Mutex<At>>);

impl Reading {
    fn at(&self) -> MutexGuard<'_, At> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A form while it is being read.
pub(crate) struct Form {
    parts: Multipart,
    reading: Reading,
}

impl Form {
    /// Starts to read the body of a request.
    pub(crate) async fn of(request: Request) -> Result<Self, Refusal> {
        let reading = Reading(Arc::new(Mutex::new(At::Content)));
        let request = request.map(|body| {
            let pieces = Pieces {
                body: body.into_data_stream(),
                rest: Bytes::new(),
                reading: reading.clone(),
                is_paused: false,
            };
            Body::from_stream(pieces)
        });
        let parts = Multipart::from_request(request, &()).await.map_err(|error| {
            Refusal::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "unsupported-media-type",
                error.body_text(),
            )
        })?;
        Ok(Self { parts, reading })
    }

    /// Returns the next part. The caller must read its content to the end before it requests
    /// another one.
    pub(crate) async fn next_part(&mut self) -> Result<Option<Field<'_>>, Refusal> {
        *self.reading.at() = At::Headers { left: MAX_HEADER_BYTES };
        let next = tokio::time::timeout(IDLE_TIME, self.parts.next_field())
            .await
            .map_err(|_| Refusal::too_slow())?;
        if let At::TooMuch = std::mem::replace(&mut *self.reading.at(), At::Content) {
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("the headers of a part of the form exceed {MAX_HEADER_BYTES} bytes"),
            )
            .with_hint("name the object in a field `name` before the file, and send no other headers in a part"));
        }
        next.map_err(|error: MultipartError| {
            Refusal::malformed(format!("cannot read the form: {}", error.body_text()))
        })
    }
}

/// A body in small pieces, so that the parser processes each before it gets the next.
struct Pieces {
    body: BodyDataStream,
    rest: Bytes,
    reading: Reading,
    is_paused: bool,
}

/// The error that ends the reading of a body.
#[derive(Debug, thiserror::Error)]
enum Broken {
    #[error("{0}")]
    Body(#[from] axum::Error),
    #[error("the headers of a part are too large")]
    Headers,
}

impl Stream for Pieces {
    type Item = Result<Bytes, Broken>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if std::mem::take(&mut self.is_paused) {
            // The parser takes everything that is available before it processes any of it.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if self.rest.is_empty() {
            match ready!(self.body.poll_next_unpin(context)) {
                Some(Ok(bytes)) => self.rest = bytes,
                Some(Err(error)) => return Poll::Ready(Some(Err(error.into()))),
                None => return Poll::Ready(None),
            }
        }
        let length = self.rest.len().min(PIECE_BYTES);
        match &mut *self.reading.at() {
            At::Content => {}
            At::Headers { left } if *left > 0 => *left = left.saturating_sub(length),
            at => {
                *at = At::TooMuch;
                return Poll::Ready(Some(Err(Broken::Headers)));
            }
        }
        self.is_paused = true;
        Poll::Ready(Some(Ok(self.rest.split_to(length))))
    }
}
