//! A bucket of an S3-compatible service, accessed with `object_store`: `<prefix>/<project
//! id>/<uuid>`.
//!
//! Content that fits into one part is written by a single request. Larger content is a multipart
//! upload, which the service does not show before it is complete.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use object_store::aws::{AmazonS3, AmazonS3Builder};
use object_store::path::Path;
use object_store::{
    ClientOptions, GetOptions, GetRange, MultipartUpload, ObjectStore, ObjectStoreExt, PutPayload,
    UploadPart,
};
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};

use crate::batch::Batch;
use crate::config::ObjectsConfig;
use crate::content::{Content, Listed, within};
use crate::error::ObjectsError;
use crate::key::Key;

/// The size of a part. S3 accepts 10,000 parts, which is 80 GB.
const PART_BYTES: usize = 8 << 20;
/// The number of parts that are sent concurrently. Together with the one that is being gathered,
/// they are the memory of an upload.
const PARTS_AT_A_TIME: usize = 4;
/// The maximum size of a chunk that readers receive.
const MAX_CHUNK_BYTES: usize = 1 << 20;
const CONNECT_TIME: Duration = Duration::from_secs(10);
/// The time that a connection may be silent. A whole transfer may take any time.
const SILENT_TIME: Duration = Duration::from_mins(1);

/// A bucket with its client.
#[derive(Debug)]
pub(crate) struct Bucket {
    name: String,
    prefix: Path,
    s3: AmazonS3,
}

impl Bucket {
    /// Configures the client. Nothing is sent yet.
    pub(crate) fn open(config: &ObjectsConfig) -> Result<Self, ObjectsError> {
        let ObjectsConfig::S3 {
            bucket,
            endpoint,
            region,
            access_key_id,
            secret_access_key,
            prefix,
            allow_http,
        } = config
        else {
            unreachable!("the caller matched it")
        };
        // reqwest is built without cryptography of its own. An error means that the process has
        // already chosen a provider.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let options = ClientOptions::new()
            .with_allow_http(*allow_http)
            .with_timeout_disabled()
            .with_connect_timeout(CONNECT_TIME)
            .with_read_timeout(SILENT_TIME);
        // Nothing is read from the environment, because the server's own credentials may be for
        // something else.
        let mut builder = AmazonS3Builder::new()
            .with_client_options(options)
            .with_bucket_name(bucket)
            .with_region(region)
            .with_access_key_id(access_key_id)
            .with_secret_access_key(secret_access_key.expose());
        if let Some(endpoint) = endpoint {
            builder = builder.with_endpoint(endpoint);
        }
        let failed = |source| ObjectsError::Bucket { bucket: bucket.clone(), source };
        let s3 = builder.build().map_err(failed)?;
        let prefix = Path::parse(prefix.trim_matches('/')).map_err(|error| failed(error.into()))?;
        Ok(Self { name: bucket.clone(), prefix, s3 })
    }

    fn path(&self, key: &Key) -> Path {
        self.prefix.clone().join(key.project()).join(key.file_name())
    }

    /// Returns an upload of new content. Nothing is sent yet.
    pub(crate) fn upload(this: &Arc<Self>, key: &Key) -> Parts {
        Parts {
            bucket: Arc::clone(this),
            path: this.path(key),
            gathered: Batch::default(),
            upload: None,
            sending: JoinSet::new(),
        }
    }

    pub(crate) async fn get(
        this: &Arc<Self>,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Content, ObjectsError> {
        let path = this.path(key);
        let failed = |source| match source {
            object_store::Error::NotFound { .. } => ObjectsError::NotFound(key.clone()),
            source => this.failed("read content", source),
        };
        // For an empty range, or one that begins after the end, the errors of the service do not
        // contain the size.
        let range = match range {
            None => None,
            Some(range) => {
                let size_bytes = this.s3.head(&path).await.map_err(failed)?.size;
                let range = within(Some(range), size_bytes)?;
                if range.is_empty() {
                    return Ok(Content { size_bytes, range, chunks: stream::empty().boxed() });
                }
                Some(range)
            }
        };
        let options = GetOptions { range: range.map(GetRange::Bounded), ..GetOptions::default() };
        let found = this.s3.get_opts(&path, options).await.map_err(failed)?;
        let (size_bytes, range, bucket) = (found.meta.size, found.range.clone(), Arc::clone(this));
        let chunks =
            found.into_stream().map_err(move |source| bucket.failed("read content", source));
        Ok(Content { size_bytes, range, chunks: chunks.map_ok(small_chunks).try_flatten().boxed() })
    }

    pub(crate) async fn delete(&self, key: &Key) -> Result<(), ObjectsError> {
        match self.s3.delete(&self.path(key)).await {
            Ok(()) | Err(object_store::Error::NotFound { .. }) => Ok(()),
            Err(source) => Err(self.failed("delete content", source)),
        }
    }

    pub(crate) fn list(
        this: &Arc<Self>,
        project: Option<&str>,
    ) -> BoxStream<'static, Result<Listed, ObjectsError>> {
        let prefix = project
            .map_or_else(|| this.prefix.clone(), |project| this.prefix.clone().join(project));
        let bucket = Arc::clone(this);
        let all = this.s3.list(Some(&prefix)).map_err({
            let bucket = Arc::clone(this);
            move |source| bucket.failed("list content", source)
        });
        let keys = all.try_filter_map(move |found| {
            let key = found.location.prefix_match(&bucket.prefix).and_then(|mut parts| {
                let (project, name) = (parts.next()?, parts.next()?);
                parts
                    .next()
                    .is_none()
                    .then(|| Key::from_parts(project.as_ref(), name.as_ref()))
                    .flatten()
            });
            // Others may store something in the bucket too.
            let listed = key.map(|key| Listed {
                key,
                size_bytes: found.size,
                last_modified: found.last_modified.into(),
            });
            std::future::ready(Ok(listed))
        });
        keys.boxed()
    }

    fn failed(&self, what: &'static str, source: object_store::Error) -> ObjectsError {
        ObjectsError::Service { what, bucket: self.name.clone(), source }
    }
}

fn small_chunks(mut chunk: Bytes) -> impl futures::Stream<Item = Result<Bytes, ObjectsError>> {
    let mut small = Vec::with_capacity(1);
    while chunk.len() > MAX_CHUNK_BYTES {
        small.push(Ok(chunk.split_to(MAX_CHUNK_BYTES)));
    }
    small.push(Ok(chunk));
    stream::iter(small)
}

/// An upload in progress. It is aborted when it is dropped.
pub(crate) struct Parts {
    bucket: Arc<Bucket>,
    path: Path,
    gathered: Batch,
    /// The multipart upload, or `None` while everything fits into one part.
    upload: Option<Multipart>,
    sending: JoinSet<object_store::Result<()>>,
}

impl Parts {
    pub(crate) async fn add(mut self, batch: Batch) -> Result<Self, ObjectsError> {
        self.gathered.extend(batch);
        if self.gathered.len() > PART_BYTES {
            match self.send().await {
                Ok(()) => {}
                Err(source) => {
                    let error = self.bucket.failed("write content", source);
                    self.discard().await;
                    return Err(error);
                }
            }
        }
        Ok(self)
    }

    /// Sends the gathered bytes as a part.
    async fn send(&mut self) -> object_store::Result<()> {
        while self.sending.len() >= PARTS_AT_A_TIME {
            self.one_sent().await?;
        }
        let part = PutPayload::from_iter(std::mem::take(&mut self.gathered).chunks);
        let upload = match &mut self.upload {
            Some(upload) => upload,
            None => {
                // The request runs in a task of its own: if this is dropped meanwhile, the upload
                // that the service has just created is aborted too.
                let (bucket, path) = (Arc::clone(&self.bucket), self.path.clone());
                let begun: JoinHandle<object_store::Result<Multipart>> = tokio::spawn(async move {
                    Ok(Multipart { upload: Some(bucket.s3.put_multipart(&path).await?) })
                });
                self.upload.insert(begun.await??)
            }
        };
        self.sending.spawn(upload.put_part(part));
        Ok(())
    }

    async fn one_sent(&mut self) -> object_store::Result<()> {
        match self.sending.join_next().await {
            Some(sent) => sent?,
            None => Ok(()),
        }
    }

    /// Completes the upload. If the caller stops waiting, the content is deleted again.
    pub(crate) async fn publish(mut self) -> Result<(), ObjectsError> {
        let bucket = Arc::clone(&self.bucket);
        let (reply, published) = oneshot::channel();
        let task = tokio::spawn(async move {
            let result = self.publish_now().await;
            let is_there = result.is_ok();
            let (bucket, path) = (Arc::clone(&self.bucket), self.path.clone());
            self.discard().await;
            if reply.send(result).is_err() && is_there {
                // In the worst case, the content stays without metadata, and a listing finds it.
                let _ = bucket.s3.delete(&path).await;
            }
        });
        match published.await {
            Ok(result) => result.map_err(|source| bucket.failed("finish content", source)),
            Err(_) => Ok(task.await?),
        }
    }

    async fn publish_now(&mut self) -> object_store::Result<()> {
        if self.upload.is_none() {
            let whole = PutPayload::from_iter(std::mem::take(&mut self.gathered).chunks);
            return self.bucket.s3.put(&self.path, whole).await.map(drop);
        }
        if self.gathered.len() > 0 {
            self.send().await?;
        }
        while !self.sending.is_empty() {
            self.one_sent().await?;
        }
        match &mut self.upload {
            Some(upload) => upload.complete().await,
            None => Ok(()),
        }
    }

    /// Aborts the upload, and waits until the service has confirmed it.
    pub(crate) async fn discard(mut self) {
        let upload = self.upload.take();
        abort(std::mem::take(&mut self.sending), upload).await;
    }
}

impl Drop for Parts {
    fn drop(&mut self) {
        let (sending, upload) = (std::mem::take(&mut self.sending), self.upload.take());
        if let (Some(upload), Ok(tokio)) = (upload, tokio::runtime::Handle::try_current()) {
            tokio.spawn(abort(sending, Some(upload)));
        }
    }
}

/// Aborts an upload after its parts have ended, because a part that arrives after the abort would
/// be kept.
async fn abort(mut sending: JoinSet<object_store::Result<()>>, upload: Option<Multipart>) {
    sending.shutdown().await;
    if let Some(mut upload) = upload.and_then(|mut upload| upload.upload.take()) {
        // If this fails, the bucket's own rule for unfinished uploads removes the parts.
        let _ = upload.abort().await;
    }
}

/// A multipart upload that the service knows. If it is dropped before it is completed, it is
/// aborted.
struct Multipart {
    /// The upload, or `None` after it is completed or aborted.
    upload: Option<Box<dyn MultipartUpload>>,
}

impl Multipart {
    fn put_part(&mut self, part: PutPayload) -> UploadPart {
        match &mut self.upload {
            Some(upload) => upload.put_part(part),
            None => Box::pin(std::future::ready(Ok(()))),
        }
    }

    async fn complete(&mut self) -> object_store::Result<()> {
        if let Some(upload) = &mut self.upload {
            upload.complete().await?;
            self.upload = None;
        }
        Ok(())
    }
}

impl Drop for Multipart {
    fn drop(&mut self) {
        if let (Some(mut upload), Ok(tokio)) =
            (self.upload.take(), tokio::runtime::Handle::try_current())
        {
            tokio.spawn(async move { drop(upload.abort().await) });
        }
    }
}
