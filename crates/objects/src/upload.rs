//! Content on its way in: gathered into batches, hashed and written while the next batch is gathered.
//!
//! A batch is worked on by short tasks on tokio's blocking threads, which hold nothing while the sender is slow: a thousand slow uploads cost a
//! thousand batches of memory, and no threads.

use std::pin::pin;

use bytes::Bytes;
use futures::{Stream, StreamExt};
use tokio::task::JoinHandle;

use crate::bucket::Parts;
use crate::digests::Digests;
use crate::directory::Staged;
use crate::error::{ObjectsError, PutError};
use crate::key::Key;
use crate::objects::Stored;

/// How much is worked on at a time. One batch is worked on while another is gathered, so an upload into a directory holds two.
const BATCH_BYTES: usize = 1 << 20;

/// Some of the content.
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

/// Where content goes until it is complete. Dropped, it leaves nothing behind.
pub(crate) enum Sink {
    /// A file without a key.
    File(Staged),
    /// Parts of a multipart upload.
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

    /// Drops it, and waits until nothing is left.
    async fn discard(self) {
        match self {
            Self::File(staged) => staged.discard().await,
            Self::Parts(parts) => parts.discard().await,
        }
    }
}

/// The state between two batches.
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

/// An upload that waits for a batch, or works on one in a task of its own.
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

/// Takes all of `body` into `sink`, and publishes it.
pub(crate) async fn put<S, E>(sink: Sink, key: &Key, body: S, most_bytes: u64) -> Result<Stored, PutError<E>>
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
        if size_bytes > most_bytes {
            break Some(PutError::TooLarge { most_bytes });
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
    Ok(Stored { key: key.clone(), size_bytes, md5, sha256 })
}
