//! Why bytes could not be kept or had.

use std::io;
use std::ops::Range;
use std::path::PathBuf;

use crate::key::Key;

/// Why bytes could not be kept or had.
#[derive(Debug, thiserror::Error)]
pub enum ObjectsError {
    /// The folder cannot be used.
    #[error("cannot use the folder {} for objects: {source}; make it a folder that this user can read and write, or name another", path.display())]
    Open {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The bucket's configuration cannot be meant.
    #[error("the bucket {bucket} cannot be used as it is configured: {source}; check its endpoint, region and prefix")]
    Bucket {
        /// The bucket.
        bucket: String,
        /// Why.
        source: object_store::Error,
    },
    /// There is nothing under this key.
    #[error("there is no content under the key {0}")]
    NotFound(Key),
    /// The range begins behind the end, or ends before it begins.
    #[error("bytes {}..{} were asked for, and there are {size_bytes}", range.start, range.end)]
    Range {
        /// What was asked for.
        range: Range<u64>,
        /// What there is.
        size_bytes: u64,
    },
    /// A call on the folder failed.
    #[error("cannot {what} in {}: {source}; check the free space and the permissions there", path.display())]
    Folder {
        /// What was tried.
        what: &'static str,
        /// The folder for objects.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A call to the service failed.
    #[error("cannot {what} in the bucket {bucket}: {source}; check that it is there, that the access key may use it, and the network")]
    Service {
        /// What was tried.
        what: &'static str,
        /// The bucket.
        bucket: String,
        /// Why.
        source: object_store::Error,
    },
    /// The service did not answer a probe.
    #[error("no answer within {0} s; check that the place of objects can be reached")]
    NoAnswer(u64),
    /// What was read is not what was written.
    #[error("a probe was not read back as it was written; the place of objects loses or changes content")]
    Changed,
    /// A task that did the work panicked, or the async runtime is shutting down.
    #[error("the work on content was stopped: {0}")]
    Stopped(#[from] tokio::task::JoinError),
}

/// Why content was not put. Nothing of it is kept.
#[derive(Debug, thiserror::Error)]
pub enum PutError<E> {
    /// What was to be put could not be read to its end.
    #[error("the content broke off: {0}")]
    Body(E),
    /// There is more of it than may be.
    #[error("the content is larger than {most_bytes} bytes")]
    TooLarge {
        /// What may be.
        most_bytes: u64,
    },
    /// It could not be kept.
    #[error(transparent)]
    Objects(#[from] ObjectsError),
}
