//! The interface of the storage, which is the same for directories and buckets.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{Stream, TryStreamExt, stream};

use crate::bucket::Bucket;
use crate::config::ObjectsConfig;
use crate::content::{Content, Listed, StoredContent};
use crate::directory::Directory;
use crate::error::{ObjectsError, PutError};
use crate::key::Key;
use crate::upload::{self, Sink};

/// The maximum duration of a probe. Readiness is queried every few seconds.
const PROBE_TIME: Duration = Duration::from_secs(10);
/// The content that a probe writes.
const PROBE: Bytes = Bytes::from_static(b"belljar");

/// A storage of bytes. A clone shares the same storage. Its methods must be called inside a tokio
/// runtime.
#[derive(Clone, Debug)]
pub struct Objects {
    place: Place,
}

#[derive(Clone, Debug)]
enum Place {
    Directory(Arc<Directory>),
    Bucket(Arc<Bucket>),
}

impl Objects {
    /// Opens the storage. A missing directory is created, and files of killed uploads are removed.
    /// A bucket is not contacted yet, which [`Objects::check`] does.
    pub fn open(config: &ObjectsConfig) -> Result<Self, ObjectsError> {
        let place = match config {
            ObjectsConfig::Directory { path, durability } => {
                Place::Directory(Arc::new(Directory::open(path, *durability)?))
            }
            ObjectsConfig::S3 { .. } => Place::Bucket(Arc::new(Bucket::open(config)?)),
        };
        Ok(Self { place })
    }

    /// Checks the storage by writing, reading and deleting a probe.
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
        tokio::time::timeout(PROBE_TIME, probe)
            .await
            .unwrap_or(Err(ObjectsError::NoAnswer(PROBE_TIME.as_secs())))
    }

    /// Writes content under a new key. It can be read after this succeeds, and not before. If it
    /// fails, or if the future is dropped, none of the content is left.
    ///
    /// It holds about 2 MiB of memory for a directory and 40 MiB for S3, in addition to the chunks
    /// of the body. If the process is killed, a directory has a file without a key, which the next
    /// [`Objects::open`] removes, and a bucket has an unfinished multipart upload, which a
    /// lifecycle rule of the bucket (`AbortIncompleteMultipartUpload`) should remove.
    pub async fn put<S, E>(
        &self,
        key: &Key,
        body: S,
        max_bytes: u64,
    ) -> Result<StoredContent, PutError<E>>
    where
        S: Stream<Item = Result<Bytes, E>> + Send,
    {
        let sink = match &self.place {
            Place::Directory(directory) => Sink::File(Directory::stage(directory, key).await?),
            Place::Bucket(bucket) => Sink::Parts(Bucket::upload(bucket, key)),
        };
        upload::put(sink, key, body, max_bytes).await
    }

    /// Reads content, or a range that begins within it. If the range ends after the content, it
    /// ends with the content. A reader that has started can finish even if the content is deleted
    /// meanwhile.
    pub async fn get(&self, key: &Key, range: Option<Range<u64>>) -> Result<Content, ObjectsError> {
        match &self.place {
            Place::Directory(directory) => Directory::get(directory, key, range).await,
            Place::Bucket(bucket) => Bucket::get(bucket, key, range).await,
        }
    }

    /// Deletes content. It also succeeds if the content does not exist.
    pub async fn delete(&self, key: &Key) -> Result<(), ObjectsError> {
        match &self.place {
            Place::Directory(directory) => Directory::delete(directory, key).await,
            Place::Bucket(bucket) => bucket.delete(key).await,
        }
    }

    /// Lists the content of one project or of all, in no particular order. Content that is written
    /// or deleted meanwhile may be included or not.
    pub fn list(&self, project: Option<&str>) -> BoxStream<'static, Result<Listed, ObjectsError>> {
        match &self.place {
            Place::Directory(directory) => Directory::list(directory, project),
            Place::Bucket(bucket) => Bucket::list(bucket, project),
        }
    }
}
