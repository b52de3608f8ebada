//! Errors of reading and writing content.

use std::borrow::Cow;
use std::io;
use std::ops::Range;
use std::path::PathBuf;

use belljar_protocol::Explain;

use crate::key::Key;

/// An error of reading or writing content.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The folder cannot be used.
    #[error("cannot use the folder `{}` for objects: {source}", path.display())]
    Open {
        /// Path of the folder.
        path: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
    /// The configuration of the bucket is invalid.
    #[error("invalid configuration of the bucket `{bucket}`: {source}")]
    Bucket {
        /// Name of the bucket.
        bucket: String,
        /// The failure of the client.
        source: object_store::Error,
    },
    /// No content has this key.
    #[error("there is no content with the key {0}")]
    NotFound(Key),
    /// The range is outside of the content, or ends before it begins.
    #[error("the range {}..{} is outside of the content of {size_bytes} bytes", range.start, range.end)]
    Range {
        /// The requested range.
        range: Range<u64>,
        /// Size of the content.
        size_bytes: u64,
    },
    /// An operation on the folder failed.
    #[error("cannot {what} in `{}`: {source}", path.display())]
    Folder {
        /// The attempted action.
        what: &'static str,
        /// The folder of objects.
        path: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
    /// A request to the S3 service failed.
    #[error("cannot {what} in the bucket `{bucket}`: {source}")]
    Service {
        /// The attempted action.
        what: &'static str,
        /// Name of the bucket.
        bucket: String,
        /// The failure of the client.
        source: object_store::Error,
    },
    /// A probe got no answer in time.
    #[error("the storage of objects did not answer within {0} s")]
    NoAnswer(u64),
    /// A probe read something else than it wrote.
    #[error("the storage of objects loses or changes content")]
    Changed,
    /// A task panicked, or the async runtime is shutting down.
    #[error("a task on content was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

impl Explain for ObjectsError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Open { .. } => {
                "make it a folder that this user can read and write, or configure another".into()
            }
            Self::Bucket { .. } => "check its endpoint, region and prefix".into(),
            Self::Folder { .. } => "check the free space and the permissions there".into(),
            Self::Service { .. } => {
                "check that the bucket exists, that the access key may use it, and the network"
                    .into()
            }
            Self::NoAnswer(_) => "check that the storage of objects can be reached".into(),
            Self::NotFound(_) | Self::Range { .. } | Self::Changed | Self::Stopped(_) => {
                return None;
            }
        })
    }
}

/// An error of writing content. None of the content is kept.
#[derive(Debug, thiserror::Error)]
pub enum PutError<E> {
    /// The source of the content failed.
    #[error("the content ended early: {0}")]
    Body(E),
    /// The content exceeds the maximum size.
    #[error("the content exceeds the limit of {max_bytes} bytes")]
    TooLarge {
        /// The maximum size.
        max_bytes: u64,
    },
    /// The content cannot be stored.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}
