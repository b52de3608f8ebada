//! Forms with files, read part by part. What comes before the content of a part is bounded: the parser would keep headers in memory without end.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};

use axum::body::{Body, BodyDataStream, Bytes};
use axum::extract::multipart::{Field, MultipartError};
use axum::extract::{FromRequest, Multipart, Request};
use axum::http::StatusCode;
use futures::{Stream, StreamExt};

use crate::objects::IDLE_TIME;
use crate::problem::Refusal;

/// What may come before the content of a part: the boundary and headers.
const MOST_HEADER_BYTES: usize = 16 << 10;
/// The parser is given so much at a time: what it has of the next part by the time that it has the end of one is no more.
const PIECE_BYTES: usize = 16 << 10;

/// What the parser is at.
#[derive(Debug)]
enum At {
    /// A content, which the one who stores it bounds.
    Content,
    /// What comes before one; it may have so many bytes more.
    Headers { left: usize },
    /// It had as many as it may have, and asked for more.
    TooMuch,
}

#[derive(Clone, Debug)]
struct Reading(Arc<Mutex<At>>);

impl Reading {
    fn at(&self) -> MutexGuard<'_, At> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A form that is being read.
pub(crate) struct Form {
    parts: Multipart,
    reading: Reading,
}

impl Form {
    /// Begins to read the body of a request.
    pub(crate) async fn of(request: Request) -> Result<Self, Refusal> {
        let reading = Reading(Arc::new(Mutex::new(At::Content)));
        let request = request.map(|body| {
            let pieces = Pieces { body: body.into_data_stream(), rest: Bytes::new(), reading: reading.clone(), is_paused: false };
            Body::from_stream(pieces)
        });
        let parts = Multipart::from_request(request, &())
            .await
            .map_err(|error| Refusal::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported-media-type", error.body_text()))?;
        Ok(Self { parts, reading })
    }

    /// The next part, whose content is to be read to its end before the one after it.
    pub(crate) async fn next_part(&mut self) -> Result<Option<Field<'_>>, Refusal> {
        *self.reading.at() = At::Headers { left: MOST_HEADER_BYTES };
        let next = tokio::time::timeout(IDLE_TIME, self.parts.next_field()).await.map_err(|_| Refusal::too_slow())?;
        if let At::TooMuch = std::mem::replace(&mut *self.reading.at(), At::Content) {
            return Err(Refusal::new(
                StatusCode::PAYLOAD_TOO_LARGE,
                "too-large",
                format!("the headers of a part of the form have more than {MOST_HEADER_BYTES} bytes"),
            )
            .with_hint("name the object in a field `name` before the file, and send nothing else in the headers of a part"));
        }
        next.map_err(|error: MultipartError| Refusal::malformed(format!("the form: {}", error.body_text())))
    }
}

/// A body in small pieces, so that the parser looks at each before it gets the next.
struct Pieces {
    body: BodyDataStream,
    rest: Bytes,
    reading: Reading,
    is_paused: bool,
}

/// Why a body is not read on.
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
            // The parser takes all that is ready before it looks at any of it.
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
