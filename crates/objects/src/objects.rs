//! The face: one kind of place or another, the same calls.

use std::ops::Range;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, StreamExt, TryStreamExt, stream};

use crate::bucket::Bucket;
use crate::config::ObjectsConfig;
use crate::directory::Directory;
use crate::error::{ObjectsError, PutError};
use crate::key::Key;
use crate::upload::{self, Sink};

/// How long a probe may take. Readiness is asked for every few seconds.
const PROBE_TIME: Duration = Duration::from_secs(10);
/// What a probe writes.
const PROBE: Bytes = Bytes::from_static(b"belljar");

/// A place where bytes are kept. Cheap to clone. Its calls must be made inside a tokio runtime.
#[derive(Clone, Debug)]
pub struct Objects {
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Directory(Arc<Directory>),
    Bucket(Arc<Bucket>),
}

/// Content that was put.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// Under which key.
    pub key: Key,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// Its MD5, hexadecimal.
    pub md5: String,
    /// Its SHA-256, hexadecimal.
    pub sha256: String,
}

/// Content that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Under which key.
    pub key: Key,
    /// Its size in bytes.
    pub size_bytes: u64,
    /// When it was put.
    pub last_modified: SystemTime,
}

/// Content on its way out, in chunks of at most 1 MiB. It is read no faster than it is taken.
pub struct Content {
    pub(crate) size_bytes: u64,
    pub(crate) range: Range<u64>,
    pub(crate) chunks: BoxStream<'static, Result<Bytes, ObjectsError>>,
}

impl Content {
    /// The size of all of it, whatever the range, in bytes.
    pub fn size_bytes(&self) -> u64 {
        self.size_bytes
    }

    /// Which of its bytes this gives.
    pub fn range(&self) -> Range<u64> {
        self.range.clone()
    }
}

impl std::fmt::Debug for Content {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Content").field("size_bytes", &self.size_bytes).field("range", &self.range).finish_non_exhaustive()
    }
}

impl Stream for Content {
    type Item = Result<Bytes, ObjectsError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.chunks.poll_next_unpin(context)
    }
}

impl Objects {
    /// Opens the place. A directory is created where it is not there, and rid of what uploads left behind that were killed; a bucket is not yet
    /// spoken to: that is what [`Objects::check`] is for.
    pub fn open(config: &ObjectsConfig) -> Result<Self, ObjectsError> {
        let place = match config {
            ObjectsConfig::Directory { path, durability } => Place::Directory(Arc::new(Directory::open(path, *durability)?)),
            ObjectsConfig::S3 { .. } => Place::Bucket(Arc::new(Bucket::open(config)?)),
        };
        Ok(Self { place })
    }

    /// Writes, reads and deletes a probe.
    pub async fn check(&self) -> Result<(), ObjectsError> {
        let probe = async {
            let key = Key::probe();
            let body = stream::iter([Ok::<_, std::convert::Infallible>(PROBE)]);
            match self.put(&key, body, PROBE.len() as u64).await {
                Ok(_) => {}
                Err(PutError::Objects(error)) => return Err(error),
                Err(PutError::TooLarge { .. }) => return Err(ObjectsError::Changed),
                Err(PutError::Body(never)) => match never {},
            }
            let read: Vec<Bytes> = self.get(&key, None).await?.try_collect().await?;
            self.delete(&key).await?;
            if read.concat() == PROBE { Ok(()) } else { Err(ObjectsError::Changed) }
        };
        tokio::time::timeout(PROBE_TIME, probe).await.unwrap_or(Err(ObjectsError::NoAnswer(PROBE_TIME.as_secs())))
    }

    /// Puts content under a new key. It can be read once this has succeeded, not before; whenever it fails, and when the future is dropped,
    /// nothing of it is left.
    ///
    /// It holds about 2 MiB for a directory and 40 MiB for an S3, besides the chunks that the body is given in. A process that is killed leaves a
    /// file without a key in a directory, which the next [`Objects::open`] removes, or an unfinished multipart upload in a bucket, which a
    /// lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`) should.
    pub async fn put<S, E>(&self, key: &Key, body: S, most_bytes: u64) -> Result<Stored, PutError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
    {
        let sink = match &self.place {
            Place::Directory(directory) => Sink::File(Directory::stage(directory, key).await?),
            Place::Bucket(bucket) => Sink::Parts(Bucket::upload(bucket, key)),
        };
        upload::put(sink, key, body, most_bytes).await
    }

    /// Reads content, all of it or a range that begins within it; a range's end behind the content's is the content's. Who has begun to read
    /// reads on when it is deleted meanwhile.
    pub async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, ObjectsError> {
        match &self.place {
            Place::Directory(directory) => Directory::get(directory, key, range).await,
            Place::Bucket(bucket) => Bucket::get(bucket, key, range).await,
        }
    }

    /// Deletes content. What is not there is deleted already.
    pub async fn delete(&self, key: &Key) -> Result<(), ObjectsError> {
        match &self.place {
            Place::Directory(directory) => Directory::delete(directory, key).await,
            Place::Bucket(bucket) => bucket.delete(key).await,
        }
    }

    /// All that is there, of one project or of all, in no order that can be relied on. What is put or deleted meanwhile may be listed or not.
    pub fn list(&self, project: Option<&str>) -> BoxStream<'static, Result<Listed, ObjectsError>> {
        match &self.place {
            Place::Directory(directory) => Directory::list(directory, project),
            Place::Bucket(bucket) => Bucket::list(bucket, project),
        }
    }
}

/// What of `size_bytes` bytes a range names.
pub(crate) fn within(range: Option<Range<u64>>, size_bytes: u64) -> Result<Range<u64>, ObjectsError> {
    match range {
        None => Ok(0..size_bytes),
        // Nothing of something is a range; something of nothing is not.
        Some(range) if range.start > range.end || range.start >= size_bytes.max(1) => Err(ObjectsError::Range { range, size_bytes }),
        Some(range) => Ok(range.start..range.end.min(size_bytes)),
    }
}
