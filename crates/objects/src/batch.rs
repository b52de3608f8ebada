//! A batch of an upload: the chunks of content that are hashed and written together.

use bytes::Bytes;

/// A part of the content.
#[derive(Clone, Default)]
pub(crate) struct Batch {
    pub(crate) chunks: Vec<Bytes>,
    length: usize,
}

impl Batch {
    pub(crate) fn len(&self) -> usize {
        self.length
    }

    pub(crate) fn push(&mut self, chunk: Bytes) {
        self.length += chunk.len();
        self.chunks.push(chunk);
    }

    pub(crate) fn extend(&mut self, other: Self) {
        self.length += other.length;
        self.chunks.extend(other.chunks);
    }
}
