//! Content as callers see it: a record of a write, an entry of a listing, and the stream of a read.

use std::ops::Range;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::SystemTime;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt};

use crate::error::ObjectsError;
use crate::key::Key;

/// Content that was written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoredContent {
    /// Key of the content.
    pub key: Key,
    /// Size of the content in bytes.
    pub size_bytes: u64,
    /// MD5 of the content in hexadecimal.
    pub md5: String,
    /// SHA-256 of the content in hexadecimal.
    pub sha256: String,
}

/// Content in a listing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Key of the content.
    pub key: Key,
    /// Size of the content in bytes.
    pub size_bytes: u64,
    /// Time at which the content was written.
    pub last_modified: SystemTime,
}

/// Content that is being read, in chunks of at most 1 MiB. It is read no faster than the chunks are
/// taken.
pub struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) range: Range<u64>,
    pub(crate) chunks: BoxStream<'static, Result<Bytes, ObjectsError>>,
}

impl Content {
    /// Returns the size of the whole content in bytes, regardless of the range.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Returns the range of bytes that is read.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content")
            .field("size_bytes", &self.size_bytes)
            .field("range", &self.range)
            .finish_non_exhaustive()
    }
}

impl Stream for Content {
    type Item = Result<Bytes, ObjectsError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_next_unpin(context)
    }
}

/// Returns the part of a range that is within `size_bytes` bytes.
pub(crate) fn within(
    range: Option<Range<u64>>,
    size_bytes: u64,
) -> Result<Range<u64>, ObjectsError> {
    match range {
        None => Ok(0..size_bytes),
        // An empty range of content is valid, but a range of empty content is not.
        Some(range) if range.start > range.end || range.start >= size_bytes.max(1) => {
            Err(ObjectsError::Range { range, size_bytes })
        }
        Some(range) => Ok(range.start..range.end.min(size_bytes)),
    }
}
