//! The folder of environments, its files, and the locks that protect them.
//!
//! ```text
//! contents/ab/cd...      contents of files by hash, shared by all environments
//! made/KEY/root/         a complete environment that never changes: hard links to contents
//! made/KEY/environment.json, made/KEY/lock
//! made/KEY/used          its time is the last use of the environment; users lock it (shared)
//! locks/HASH.json        the resolution of a request; its time is its last use
//! locks/HASH.made        the rules by which a lock was made here; likewise
//! locks/HASH.newest      the time at which a version was the newest; likewise
//! staging/NAME/          an installation in progress, which locks its file `alive`
//! downloads/             caches of the installers
//! downloading            locked (shared) by installers that use them, exclusively by their removal
//! making/KEY             locked while an environment is created, so that other runs wait
//! packages/, unsynced/   see `package_store.rs`
//! sweeping               locked (shared) while contents are linked, exclusively while unlinked
//! ones are removed
//! ```

pub(crate) mod lock_records;
pub(crate) mod staging;

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use self::staging::Staging;
use crate::blobs::Blobs;
use crate::boot::{boot_id, is_whole};
use crate::environment_record::{EnvironmentRecord, SCHEMA};
use crate::error::EnvironmentError;
use crate::folder_error::{FolderError, io_error};
use crate::lock::Lock;
use crate::tree::{TakeOver, TakeOverRules, TreeLimits, TreeSummary, measure};

/// The minimum interval between updates of the time of last use.
const NOTE_USE_EVERY: Duration = Duration::from_mins(1);

/// An environment in use, which is not removed as long as this is held.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) record: EnvironmentRecord,
    pub(crate) root: PathBuf,
    pub(crate) lock: String,
    pub(crate) lease: Arc<File>,
    /// Whether all of it is known to be on the disk.
    pub(crate) is_synced: bool,
}

/// The folder of environments.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    blobs: Blobs,
}

impl Store {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { blobs: Blobs::at(root.join("contents")), root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Returns a folder directly below the root, and creates it if necessary.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, FolderError> {
        let path = self.root.join(name);
        if !path.is_dir() {
            // Blobs are shown in sandboxes, whose users are others; the folders above them are
            // not.
            DirBuilder::new()
                .recursive(true)
                .mode(0o700)
                .create(&path)
                .map_err(io_error("create", &path))?;
        }
        self.must_be_own()?;
        Ok(path)
    }

    /// Fails if another user can write to the folder, because its content runs in everyone's
    /// sandboxes. The folder may be missing.
    pub(crate) fn must_be_own(&self) -> Result<(), FolderError> {
        match fs::symlink_metadata(&self.root) {
            Ok(root)
                if root.uid() == rustix::process::geteuid().as_raw()
                    && root.mode() & 0o022 == 0 =>
            {
                Ok(())
            }
            Ok(_) => Err(FolderError::NotOwn { path: self.root.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("read", &self.root)(error)),
        }
    }

    /// Runs work that may block or take long on a thread of its own.
    pub(crate) async fn off_the_async_threads<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, FolderError> + Send + 'static,
    ) -> Result<T, EnvironmentError> {
        let store = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        Ok(done.map_err(|_| {
            EnvironmentError::Internal("a task on the folder of environments panicked".into())
        })??)
    }

    /// Opens an environment for use, or returns `None` if there is none with this key. May block.
    pub(crate) fn open(&self, key: &str) -> Result<Option<Stored>, FolderError> {
        self.must_be_own()?;
        let place = self.root.join("made").join(key);
        let used = place.join("used");
        let lease = match File::options().write(true).open(&used) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &used)(error)),
        };
        lease.lock_shared().map_err(io_error("lock", &used))?;
        // It may have been removed during the wait for the lock, and another one may have replaced
        // it.
        if !is_at(&lease, &used) {
            return Ok(None);
        }
        let Some(record) = read_record(&place, key) else { return Ok(None) };
        let lock_path = place.join("lock");
        let lock = fs::read_to_string(&lock_path).map_err(io_error("read", &lock_path))?;
        note_use(&lease);
        let is_synced = record.boot.is_none() || place.join("synced").exists();
        Ok(Some(Stored {
            record,
            root: place.join("root"),
            lock,
            lease: Arc::new(lease),
            is_synced,
        }))
    }

    /// Returns all environments with the time of their last use, the most recent first.
    pub(crate) fn list(&self) -> Vec<(EnvironmentRecord, SystemTime)> {
        let entries = fs::read_dir(self.root.join("made")).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|entry| {
                let record = read_record(&entry.path(), entry.file_name().to_str()?)?;
                let used = fs::metadata(entry.path().join("used"))
                    .and_then(|metadata| metadata.modified())
                    .ok()?;
                Some((record, used))
            })
            .collect();
        all.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
        all
    }

    /// Locks the creation of an environment, unless another process has locked it.
    pub(crate) fn try_making(&self, key: &str) -> Result<Option<Making>, FolderError> {
        let path = self.folder("making")?.join(key);
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("create", &path))?;
        match lock.try_lock() {
            // Its previous owner has just released it and removed the file.
            Ok(()) if !is_at(&lock, &path) => Ok(None),
            Ok(()) => Ok(Some(Making { path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }

    /// Locks the downloads for use. If they exceed `max_bytes` and are not in use, they are
    /// removed first.
    pub(crate) fn use_downloads(&self, max_bytes: u64) -> Result<File, FolderError> {
        let downloads = self.folder("downloads")?;
        let path = self.root.join("downloading");
        let lock = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("create", &path))?;
        if lock.try_lock().is_ok()
            && measure(&downloads, TreeLimits { files: u64::MAX, bytes: max_bytes }).is_err()
        {
            for entry in fs::read_dir(&downloads).into_iter().flatten().flatten() {
                let _ =
                    fs::remove_dir_all(entry.path()).and_then(|()| fs::create_dir(entry.path()));
            }
        }
        lock.lock_shared().map_err(io_error("lock", &path))?;
        Ok(lock)
    }

    /// Creates a folder for an installation, and removes those of killed processes.
    pub(crate) fn stage(&self) -> Result<Staging, FolderError> {
        Staging::in_folder(&self.folder("staging")?)
    }

    /// Takes what was installed over and makes it the environment of its key, in one step. `finish`
    /// completes the record, and may look at what was taken.
    pub(crate) fn publish(
        &self,
        installed: &Path,
        take_over: TakeOverRules<'_>,
        lock: &Lock,
        finish: impl FnOnce(&Path, TreeSummary) -> EnvironmentRecord,
    ) -> Result<(), FolderError> {
        let _guard = self.guard_blobs()?;
        let staging = self.stage()?;
        let made = staging.path().join("made");
        let root = Self::new_root(&made)?;
        let summary = self.take_over(installed, &root, take_over)?;
        let record = finish(&root, summary);
        let write = |name: &str, content: &[u8]| {
            let path = made.join(name);
            fs::write(&path, content).map_err(io_error("write", &path))
        };
        write("lock", lock.text.as_bytes())?;
        write("used", b"")?;
        write("environment.json", &serde_json::to_vec_pretty(&record).unwrap_or_default())?;
        // Everything is on the disk before the environment can be found, even if the machine loses
        // power.
        let folder = File::open(&made).map_err(io_error("open", &made))?;
        rustix::fs::syncfs(&folder).map_err(|error| io_error("write", &made)(error.into()))?;
        let place = self.folder("made")?.join(&record.key);
        Self::put(&made, &place, &staging, || self.has_environment(&record.key))
    }

    /// Returns whether an environment with this key exists.
    pub(crate) fn has_environment(&self, key: &str) -> bool {
        let place = self.root.join("made").join(key);
        read_record(&place, key).is_some() && place.join("used").exists()
    }

    /// Creates a folder for the stored files, which every user may read.
    pub(crate) fn new_root(made: &Path) -> Result<PathBuf, FolderError> {
        let root = made.join("root");
        DirBuilder::new()
            .recursive(true)
            .mode(0o755)
            .create(&root)
            .map_err(io_error("create", &root))?;
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .map_err(io_error("change", &root))?;
        Ok(root)
    }

    pub(crate) fn take_over(
        &self,
        installed: &Path,
        root: &Path,
        rules: TakeOverRules<'_>,
    ) -> Result<TreeSummary, FolderError> {
        Ok(TakeOver::new(&self.blobs, rules).run(installed, root)?)
    }

    /// Moves a new environment or package to its place in one step.
    pub(crate) fn put(
        made: &Path,
        place: &Path,
        staging: &Staging,
        is_there: impl Fn() -> bool,
    ) -> Result<(), FolderError> {
        match fs::rename(made, place) {
            Ok(()) => Ok(()),
            Err(error)
                if matches!(
                    error.kind(),
                    io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists
                ) =>
            {
                // Another process has created the same meanwhile.
                if is_there() {
                    return Ok(());
                }
                // What is there is incomplete, and would block this place forever.
                fs::rename(place, staging.path().join("broken"))
                    .map_err(io_error("remove", place))?;
                fs::rename(made, place).map_err(io_error("create", place))
            }
            Err(error) => Err(io_error("create", place)(error)),
        }
    }

    /// Keeps contents from being removed while the guard is held. Contents that a loss of power may
    /// have damaged are hashed again first.
    pub(crate) fn guard_blobs(&self) -> Result<File, FolderError> {
        let path = self.folder("contents").map(|_| self.root.join("sweeping"))?;
        let guard = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&path)
            .map_err(io_error("create", &path))?;
        if self.has_earlier_boots() {
            guard.lock().map_err(io_error("lock", &path))?;
            if self.has_earlier_boots() {
                self.blobs.verify().map_err(io_error("verify", &self.root))?;
                self.forget_earlier_boots();
            }
        }
        guard.lock_shared().map_err(io_error("lock", &path))?;
        Ok(guard)
    }

    fn earlier_boots(&self) -> impl Iterator<Item = PathBuf> {
        let boot = boot_id();
        let marks = fs::read_dir(self.root.join("unsynced")).into_iter().flatten().flatten();
        marks.filter(move |mark| mark.file_name().to_str() != Some(&boot)).map(|mark| mark.path())
    }

    /// Returns whether files of an earlier boot may never have reached the disk.
    fn has_earlier_boots(&self) -> bool {
        self.earlier_boots().next().is_some()
    }

    fn forget_earlier_boots(&self) {
        for mark in self.earlier_boots() {
            let _ = fs::remove_file(mark);
        }
    }

    /// Removes an environment. Returns `false` if it is in use.
    pub(crate) fn remove(&self, key: &str) -> Result<bool, FolderError> {
        let place = self.root.join("made").join(key);
        let used = place.join("used");
        let lease = match File::options().write(true).open(&used) {
            Ok(lease) => lease,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(true),
            Err(error) => return Err(io_error("open", &used)(error)),
        };
        match lease.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => return Ok(false),
            Err(TryLockError::Error(error)) => return Err(io_error("lock", &used)(error)),
        }
        // Another process has removed it, and another environment may have replaced it.
        if !is_at(&lease, &used) {
            return Ok(true);
        }
        let staging = self.stage()?;
        // It becomes invisible in one step. Its files are removed when the lease is no longer
        // waited for.
        let renamed =
            fs::rename(&place, staging.path().join("gone")).map_err(io_error("remove", &place));
        drop(lease);
        renamed.map(|()| true)
    }

    /// Removes contents that no environment uses. Returns the number of freed bytes, which is 0
    /// while an environment is being created.
    pub(crate) fn sweep_blobs(&self) -> Result<u64, FolderError> {
        let path = self.root.join("sweeping");
        let Ok(guard) = File::options().write(true).open(&path) else { return Ok(0) };
        match guard.try_lock() {
            Ok(()) => self.blobs.sweep().map_err(io_error("clear", &self.root)),
            Err(TryLockError::WouldBlock) => Ok(0),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }
}

/// Updates the time of last use on a file, but not more often than necessary.
pub(crate) fn note_use(file: &File) {
    let noted = file.metadata().and_then(|metadata| metadata.modified());
    if noted.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > NOTE_USE_EVERY)) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// The lock of the creation of an environment.
#[derive(Debug)]
pub(crate) struct Making {
    path: PathBuf,
    _lock: File,
}

impl Drop for Making {
    fn drop(&mut self) {
        // The file is removed while it is locked: waiting processes check whether it still exists.
        let _ = fs::remove_file(&self.path);
    }
}

/// Returns the record of an environment, if the folder is one. Anyone who can write to the folder
/// may have put its content there, so no part of it becomes part of a path.
fn read_record(place: &Path, key: &str) -> Option<EnvironmentRecord> {
    let record: EnvironmentRecord =
        serde_json::from_slice(&fs::read(place.join("environment.json")).ok()?).ok()?;
    (record.schema == SCHEMA && record.key == key && is_whole(place, record.boot.as_deref()))
        .then_some(record)
}

/// Returns whether an open file is the one at a path.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    match (file.metadata(), fs::symlink_metadata(path)) {
        (Ok(one), Ok(other)) => identity(&one) == identity(&other),
        _ => false,
    }
}

#[cfg(test)]
mod tests;
