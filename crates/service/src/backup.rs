//! Backup and restore of a home: a consistent copy of the database, then the contents that it refers to, while a server goes on. The key goes to a place
//! of its own: whoever finds the backup alone cannot sign anything.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use belljar_objects::{Key, Objects, ObjectsConfig, PutError};
use belljar_store::{Store, StoreError};
use futures::StreamExt;
use rustix::fs::FlockOperation;

use crate::config::{Home, ServiceConfig};
use crate::error::ServiceError;
use crate::service::{objects_config, store_durability};

/// What is in a backup.
const DATABASE: &str = "belljar.db";
const OBJECTS: &str = "objects";

/// What a backup or a restore moved.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct BackupReport {
    /// Contents of objects and artifacts.
    pub contents: u64,
    /// Bytes of them.
    pub content_bytes: u64,
}

/// Why a backup could not be taken or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// There is something already where it was to go.
    #[error("{} is not empty; name a folder that is empty or not there", .0.display())]
    NotEmpty(PathBuf),
    /// There is no home or no backup there.
    #[error("there is no database in {}", .0.display())]
    NoDatabase(PathBuf),
    /// A file could not be read or written.
    #[error("{}: {error}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: io::Error,
    },
    /// The database could not be read or written.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A content could not be read or written.
    #[error(transparent)]
    Objects(#[from] belljar_objects::ObjectsError),
    /// A content that the database refers to is not there.
    #[error("the content {0} could not be copied: {1}")]
    Content(String, String),
    /// The home could not be used.
    #[error(transparent)]
    Service(#[from] ServiceError),
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

/// Makes a file this user's alone.
fn private(path: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::PermissionsExt;
    fs::set_permissions(path, fs::Permissions::from_mode(0o600)).map_err(file(path))
}

fn make_private(folder: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(file(folder))
}

/// Copies a home into the folder `to`, which is made, and its key into the file `key_to`. A server may use the home meanwhile.
pub async fn back_up(home: &Path, config: &ServiceConfig, to: &Path, key_to: &Path) -> Result<BackupReport, BackupError> {
    let home = Home::new(home.to_owned());
    if !home.database().exists() {
        return Err(BackupError::NoDatabase(home.path().to_owned()));
    }
    must_be_empty(to)?;
    if key_to.exists() {
        return Err(BackupError::NotEmpty(key_to.to_owned()));
    }
    // As long as it is held nothing is deleted that the copy refers to.
    let path = home.backup_lock();
    let lock = File::options().create(true).append(true).open(&path).map_err(file(&path))?;
    rustix::fs::flock(&lock, FlockOperation::LockShared).map_err(|error| file(&path)(error.into()))?;

    make_private(to)?;
    let store = Store::open(&home.database(), store_durability(config)).await?;
    store.copy_to(&to.join(DATABASE)).await?;
    store.close().await;
    let copy = Store::open(&to.join(DATABASE), store_durability(config)).await?;
    let from = Objects::open(&objects_config(&home, config))?;
    let into = Objects::open(&ObjectsConfig::Directory { path: to.join(OBJECTS), durability: belljar_objects::Durability::default() })?;
    let report = copy_contents(&copy, &from, &into).await?;
    copy.close().await;
    private(&to.join(DATABASE))?;
    copy_key(&home.key(), key_to)?;
    Ok(report)
}

/// Copies the key into a file that must be new: one that somebody has put there meanwhile, or a link, would give it away.
fn copy_key(from: &Path, to: &Path) -> Result<(), BackupError> {
    use std::os::unix::fs::OpenOptionsExt;
    let mut key = File::open(from).map_err(file(from))?;
    let mut copy = File::options().write(true).create_new(true).mode(0o600).open(to).map_err(file(to))?;
    io::copy(&mut key, &mut copy).and_then(|_| copy.sync_all()).map_err(file(to))
}

/// Makes the home, which must be empty or not there, what it was when the backup was taken.
pub async fn restore(from: &Path, key_from: &Path, home: &Path, config: &ServiceConfig) -> Result<BackupReport, BackupError> {
    if !from.join(DATABASE).exists() {
        return Err(BackupError::NoDatabase(from.to_owned()));
    }
    must_be_empty(home)?;
    make_private(home)?;
    let home = Home::new(home.to_owned());
    let backup = Objects::open(&ObjectsConfig::Directory { path: from.join(OBJECTS), durability: belljar_objects::Durability::default() })?;
    let into = Objects::open(&objects_config(&home, config))?;
    // The database comes last: a home without one is no home, and a restore that was cut off is begun anew.
    let partial = home.path().join("restoring.db");
    fs::copy(from.join(DATABASE), &partial).map_err(file(&partial))?;
    let store = Store::open(&partial, store_durability(config)).await?;
    let report = copy_contents(&store, &backup, &into).await?;
    // Since the backup was taken they may have run to their end: nobody runs them a second time unasked.
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

async fn copy_contents(store: &Store, from: &Objects, into: &Objects) -> Result<BackupReport, BackupError> {
    let mut report = BackupReport::default();
    for blob in store.blobs().await? {
        let failed = |why: String| BackupError::Content(blob.clone(), why);
        let key: Key = blob.parse().map_err(|error: belljar_objects::InvalidKey| failed(error.to_string()))?;
        let content = from.get(&key, None).await.map_err(|error| failed(error.to_string()))?;
        let stored = into.put(&key, content.boxed(), u64::MAX).await.map_err(|error| match error {
            PutError::Body(error) => failed(error.to_string()),
            PutError::TooLarge { .. } => failed("it is too large".into()),
            PutError::Objects(error) => failed(error.to_string()),
        })?;
        report.contents += 1;
        report.content_bytes += stored.size_bytes;
    }
    Ok(report)
}
