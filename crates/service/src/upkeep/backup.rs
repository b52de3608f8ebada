//! Backup and restore of a home: a consistent copy of the database, then of the contents that it
//! refers to, while a server may be running. The key is copied to a separate place, so that the
//! backup alone does not allow anyone to sign anything.

use std::borrow::Cow;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use belljar_objects::{Key, Objects, ObjectsConfig, PutError};
use belljar_protocol::{Durability, Explain};
use belljar_store::{Store, StoreError};
use futures::StreamExt;
use rustix::fs::FlockOperation;

use crate::config::ServiceConfig;
use crate::error::ServiceError;
use crate::home::Home;

/// The names of the files in a backup.
const DATABASE: &str = "belljar.db";
const OBJECTS: &str = "objects";

/// The result of a backup or a restore.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Number of contents of objects and artifacts.
    pub contents: u64,
    /// Size of the contents in bytes.
    pub content_bytes: u64,
}

/// An error of a backup or a restore.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// The destination exists and is not empty.
    #[error("`{}` is not empty", .0.display())]
    NotEmpty(PathBuf),
    /// The source contains no database.
    #[error("there is no database in `{}`", .0.display())]
    NoDatabase(PathBuf),
    /// A file cannot be read or written.
    #[error("cannot read or write `{}`: {error}", path.display())]
    File {
        /// The path of the file.
        path: PathBuf,
        /// The failure of the file system.
        error: io::Error,
    },
    /// The database cannot be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A content cannot be read or written.
    #[error(transparent)]
    Objects(#[from] belljar_objects::ObjectsError),
    /// A content that the database refers to cannot be copied.
    #[error("cannot copy the content {0}: {1}")]
    Content(String, String),
    /// The home cannot be used.
    #[error(transparent)]
    Service(#[from] ServiceError),
}

impl Explain for BackupError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::NotEmpty(_) => Some("name a folder that is empty or does not exist".into()),
            Self::Store(error) => error.hint(),
            Self::Objects(error) => error.hint(),
            Self::Service(error) => error.hint(),
            Self::NoDatabase(_) | Self::File { .. } | Self::Content(..) => None,
        }
    }
}

fn file(path: &Path) -> impl FnOnce(io::Error) -> BackupError {
    let path = path.to_owned();
    move |error| BackupError::File { path, error }
}

fn must_be_empty(folder: &Path) -> Result<(), BackupError> {
    match fs::read_dir(folder) {
        Ok(mut entries) => match entries.next() {
            None => Ok(()),
            Some(_) => Err(BackupError::NotEmpty(folder.to_owned())),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(file(folder)(error)),
    }
}

/// Removes other users' access to a file.
fn private(path: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(file(path))
}

fn make_private(folder: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file(folder))
}

/// Copies a home into the folder `to`, which is created, and its key into the file `key_to`. A
/// server may use the home at the same time.
pub async fn back_up(
    home: &Path,
    config: &ServiceConfig,
    to: &Path,
    key_to: &Path,
) -> Result<BackupReport, BackupError> {
    let home = Home::new(home.to_owned());
    if !home.database().exists() {
        return Err(BackupError::NoDatabase(home.path().to_owned()));
    }
    must_be_empty(to)?;
    if key_to.exists() {
        return Err(BackupError::NotEmpty(key_to.to_owned()));
    }
    // While the lock is held, nothing that the copy refers to is deleted.
    let path = home.backup_lock();
    let lock = File::options().create(true).append(true).open(&path).map_err(file(&path))?;
    rustix::fs::flock(&lock, FlockOperation::LockShared)
        .map_err(|error| file(&path)(error.into()))?;

    make_private(to)?;
    let store = Store::open(&home.database(), config.durability).await?;
    store.copy_to(&to.join(DATABASE)).await?;
    store.close().await;
    let copy = Store::open(&to.join(DATABASE), config.durability).await?;
    let from = Objects::open(&home.objects(config))?;
    let into = Objects::open(&ObjectsConfig::Directory {
        path: to.join(OBJECTS),
        durability: Durability::default(),
    })?;
    let report = copy_contents(&copy, &from, &into).await?;
    copy.close().await;
    private(&to.join(DATABASE))?;
    copy_key(&home.key(), key_to)?;
    Ok(report)
}

/// Copies the key into a file that must be new: an existing file, or a link that someone else put
/// there, would expose the key.
fn copy_key(from: &Path, to: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut key = File::open(from).map_err(file(from))?;
    let mut copy =
        File::options().write(true).create_new(true).mode(0o600).open(to).map_err(file(to))?;
    io::copy(&mut key, &mut copy).and_then(|_| copy.sync_all()).map_err(file(to))
}

/// Restores a home, which must be empty or missing, from a backup.
pub async fn restore(
    from: &Path,
    key_from: &Path,
    home: &Path,
    config: &ServiceConfig,
) -> Result<BackupReport, BackupError> {
    if !from.join(DATABASE).exists() {
        return Err(BackupError::NoDatabase(from.to_owned()));
    }
    must_be_empty(home)?;
    make_private(home)?;
    let home = Home::new(home.to_owned());
    let backup = Objects::open(&ObjectsConfig::Directory {
        path: from.join(OBJECTS),
        durability: Durability::default(),
    })?;
    let into = Objects::open(&home.objects(config))?;
    // The database comes last, because a folder without a database is not a home, and an
    // interrupted restore can be started again.
    let partial = home.path().join("restoring.db");
    fs::copy(from.join(DATABASE), &partial).map_err(file(&partial))?;
    let store = Store::open(&partial, config.durability).await?;
    let report = copy_contents(&store, &backup, &into).await?;
    // The queued runs may have ended after the backup was taken, so they are not run again without
    // being requested.
    store.forget_queue().await?;
    store.close().await;
    private(&partial)?;
    let key = home.key();
    make_private(key.parent().unwrap_or(home.path()))?;
    fs::copy(key_from, &key).map_err(file(key_from))?;
    fs::rename(&partial, home.database()).map_err(file(&partial))?;
    for suffix in ["-wal", "-shm"] {
        let _ = fs::remove_file(home.path().join(format!("restoring.db{suffix}")));
    }
    Ok(report)
}

async fn copy_contents(
    store: &Store,
    from: &Objects,
    into: &Objects,
) -> Result<BackupReport, BackupError> {
    let mut report = BackupReport::default();
    for blob in store.blobs().await? {
        let failed = |why: String| BackupError::Content(blob.clone(), why);
        let key: Key =
            blob.parse().map_err(|error: belljar_objects::InvalidKey| failed(error.to_string()))?;
        let content = from.get(&key, None).await.map_err(|error| failed(error.to_string()))?;
        let stored =
            into.put(&key, content.boxed(), u64::MAX).await.map_err(|error| match error {
                PutError::Body(error) => failed(error.to_string()),
                PutError::TooLarge { .. } => failed("it is too large".into()),
                PutError::Objects(error) => failed(error.to_string()),
            })?;
        report.contents += 1;
        report.content_bytes += stored.size_bytes;
    }
    Ok(report)
}
