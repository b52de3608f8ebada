//! Uploads of content: bytes are gathered into batches, and one batch is hashed and written while
//! the next is gathered.
//!
//! Short tasks on tokio's blocking threads process a batch, and hold nothing while the sender is
//! slow: a thousand slow uploads cost a thousand batches of memory, and no threads.

use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;

use crate::batch::Batch;
use crate::bucket::Parts;
use crate::content::StoredContent;
use crate::digests::Digests;
use crate::directory::Staged;
use crate::error::{ObjectsError, PutError};
use crate::key::Key;

/// The size of a batch. One batch is processed while another is gathered, so an upload into a
/// directory holds two.
const BATCH_BYTES: usize = 1 << 20;

/// The destination of content until it is complete. If it is dropped, nothing is left.
pub(crate) enum Sink {
    /// A file without a key.
    File(Staged),
    /// The parts of a multipart upload.
    Parts(Parts),
}

impl Sink {
    async fn add(self, batch: Batch) -> Result<Self, ObjectsError> {
        match self {
            Self::File(staged) => staged.add(batch).await.map(Self::File),
            Self::Parts(parts) => parts.add(batch).await.map(Self::Parts),
        }
    }

    async fn publish(self) -> Result<(), ObjectsError> {
        match self {
            Self::File(staged) => staged.publish().await,
            Self::Parts(parts) => parts.publish().await,
        }
    }

    /// Discards the content, and waits until nothing is left.
    async fn discard(self) {
        match self {
            Self::File(staged) => staged.discard().await,
            Self::Parts(parts) => parts.discard().await,
        }
    }
}

/// The state of an upload between two batches.
struct Upload {
    sink: Sink,
    digests: Digests,
}

impl Upload {
    async fn add(self, batch: Batch) -> Result<Self, ObjectsError> {
        let digests = self.digests.add(batch.clone());
        let (sink, digests) = futures::join!(self.sink.add(batch), digests);
        Ok(Self { sink: sink?, digests: digests? })
    }
}

/// An upload that waits for a batch, or processes one in a task of its own.
enum Step {
    Waiting(Box<Upload>),
    Working(JoinHandle<Result<Upload, ObjectsError>>),
}

impl Step {
    async fn done(self) -> Result<Upload, ObjectsError> {
        match self {
            Self::Waiting(upload) => Ok(*upload),
            Self::Working(task) => task.await?,
        }
    }
}

/// Writes all of `body` to `sink`, and publishes it.
pub(crate) async fn put<S, E>(
    sink: Sink,
    key: &Key,
    body: S,
    max_bytes: u64,
) -> Result<StoredContent, PutError<E>>
where
    S: Stream<Item = Result<Bytes, E>> + Send,
{
    let mut step = Step::Waiting(Box::new(Upload { sink, digests: Digests::default() }));
    let mut body = pin!(body);
    let (mut batch, mut size_bytes) = (Batch::default(), 0_u64);
    let broken = loop {
        let chunk = match body.next().await {
            None => break None,
            Some(Err(error)) => break Some(PutError::Body(error)),
            Some(Ok(chunk)) => chunk,
        };
        size_bytes = size_bytes.saturating_add(chunk.len() as u64);
        if size_bytes > max_bytes {
            break Some(PutError::TooLarge { max_bytes });
        }
        batch.push(chunk);
        if batch.len() >= BATCH_BYTES {
            let upload = step.done().await?;
            step = Step::Working(tokio::spawn(upload.add(std::mem::take(&mut batch))));
        }
    };
    let upload = step.done().await?;
    if let Some(error) = broken {
        upload.sink.discard().await;
        return Err(error);
    }
    let upload = upload.add(batch).await?;
    upload.sink.publish().await?;
    let (md5, sha256) = upload.digests.hexadecimal();
    Ok(StoredContent { key: key.clone(), size_bytes, md5, sha256 })
}
