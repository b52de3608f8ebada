//! The folder of environments: what is in it, and who may change what when.
//!
//! ```text
//! contents/ab/cd...      contents of files by hash, shared by all environments
//! made/KEY/root/         an environment, complete and never changed again: hard links to contents
//! made/KEY/environment.json, made/KEY/lock
//! made/KEY/used          its time is when the environment was last used; locked, shared, by whoever uses it
//! locks/HASH.json        the lock that a request led to; HASH.made by which rules a lock was made here; HASH.newest when a version was the newest. Their times are when they were last used
//! staging/NAME/          an installation that goes on; its file `alive` is locked as long as it does
//! downloads/             what the installers keep for themselves
//! downloading            locked, shared, while an installer works with them; exclusively while they are removed
//! making/KEY             locked while an environment is made, so that one makes it and the others wait
//! packages/, unsynced/   as `package_store.rs` has them
//! sweeping               locked, shared, while contents are linked; exclusively while those without a link are removed
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use belljar_protocol::Timestamp;
use serde::{Deserialize, Serialize};

use crate::boot::{boot_id, is_whole};
use crate::contents::Contents;
use crate::error::EnvironmentError;
use crate::lock::{Lock, LockedPackage};
use crate::requirement::Ecosystem;
use crate::resolution::Resolution;
use crate::tree::{TakeOver, TakeOverRules, TreeError, TreeLimits, TreeSummary, measure};

/// Changes when what is in the folder does: environments of another are made anew.
pub(crate) const SCHEMA: u32 = 1;
/// How often the time of last use is noted, at the most.
const NOTE_USE_EVERY: Duration = Duration::from_mins(1);

/// Why the folder of environments cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// It cannot be read or written.
    #[error("cannot {action} {}: {source}; check the permissions and the free space there, or name another folder with BELLJAR_CACHE", path.display())]
    Io {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// Others can write it.
    #[error("{} is not this user's alone: others could put packages there; give it to this user with mode 0700, or name another folder with BELLJAR_CACHE", path.display())]
    NotOwn {
        /// The folder.
        path: PathBuf,
    },
    /// What was installed is not taken over.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> StoreError {
    let path = path.to_owned();
    move |source| StoreError::Io { action, path, source }
}

/// What is known of an environment. Kept beside it as `environment.json`, and what `belljar env show` prints.
///
/// ```
/// let text = r#"{"schema": 1, "key": "pypi-2f6a1c", "ecosystem": "pypi", "runtime": "python@3.11", "requirements": ["pandas==2.2.3"],
///   "packages": [{"name": "pandas", "version": "2.2.3"}], "modules": ["pandas"], "files": 5799, "size_bytes": 158000000,
///   "content_sha256": "9f86d0", "lock_sha256": "60303a", "allow_build": false, "created_at": "2026-01-02T03:04:05.678Z"}"#;
/// let record: belljar_environments::EnvironmentRecord = serde_json::from_str(text).unwrap();
/// assert_eq!(record.packages[0].name, "pandas");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct EnvironmentRecord {
    /// The version of this record's form.
    pub schema: u32,
    /// What tells the environment from every other.
    pub key: String,
    /// Where its packages come from.
    pub ecosystem: Ecosystem,
    /// The runtime that it was made for, without what does not matter to packages: `python@3.11`, `node@24`.
    pub runtime: String,
    /// What was asked for.
    pub requirements: Vec<String>,
    /// What it holds.
    pub packages: Vec<LockedPackage>,
    /// The modules that are imported ahead.
    pub modules: Vec<String>,
    /// How many files and folders.
    pub files: u64,
    /// All files together. What it shares with other environments counts here as well.
    pub size_bytes: u64,
    /// Over the names, kinds and contents of its files, without compiled bytecode. The same lock gives the same.
    pub content_sha256: String,
    /// Of the lock's text.
    pub lock_sha256: String,
    /// What is in it, and for which runtime: two locks that install the same lead to one environment.
    #[serde(default)]
    pub identity: String,
    /// The packages that it is linked from, which other environments share; none where it was installed as a whole.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub linked_from: Vec<String>,
    /// Packages whose install scripts were not run. Of npm only.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unbuilt: Vec<String>,
    /// The boot of the machine in which it was made, where that did not wait for the disk.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub boot: Option<String>,
    /// Whether packages' own code was allowed to run to build them.
    pub allow_build: bool,
    /// When it was made.
    pub created_at: Timestamp,
}

/// An environment that is in use as long as this is held: nobody removes it meanwhile.
#[derive(Clone, Debug)]
pub(crate) struct Stored {
    pub(crate) record: EnvironmentRecord,
    pub(crate) root: PathBuf,
    pub(crate) lock: String,
    pub(crate) lease: Arc<File>,
    /// Whether all of it was seen to be on the disk.
    pub(crate) is_synced: bool,
}

/// The folder.
#[derive(Debug)]
pub(crate) struct Store {
    root: PathBuf,
    contents: Contents,
}

impl Store {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { contents: Contents::at(root.join("contents")), root }
    }

    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// A folder directly below the root, made if need be.
    pub(crate) fn folder(&self, name: &str) -> Result<PathBuf, StoreError> {
        let path = self.root.join(name);
        if !path.is_dir() {
            // Contents are shown in sandboxes, whose users are others; the folders above them are not.
            DirBuilder::new().recursive(true).mode(0o700).create(&path).map_err(io_error("create", &path))?;
        }
        self.must_be_own()?;
        Ok(path)
    }

    /// What others could write would run in everybody's sandboxes. A folder that is not there yet is nobody's.
    pub(crate) fn must_be_own(&self) -> Result<(), StoreError> {
        match fs::symlink_metadata(&self.root) {
            Ok(root) if root.uid() == rustix::process::geteuid().as_raw() && root.mode() & 0o022 == 0 => Ok(()),
            Ok(_) => Err(StoreError::NotOwn { path: self.root.clone() }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(io_error("read", &self.root)(error)),
        }
    }

    /// Does what may wait, or take its time, on a thread of its own.
    pub(crate) async fn off_the_async_threads<T: Send + 'static>(
        self: &Arc<Self>,
        work: impl FnOnce(&Self) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, EnvironmentError> {
        let store = Arc::clone(self);
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        Ok(done.map_err(|_| EnvironmentError::Internal("work on the folder of environments panicked".into()))??)
    }

    /// Opens an environment for use; `None` where there is none of this key. May wait.
    pub(crate) fn open(&self, key: &str) -> Result<Option<Stored>, StoreError> {
        self.must_be_own()?;
        let place = self.root.join("made").join(key);
        let used = place.join("used");
        let lease = match File::options().write(true).open(&used) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &used)(error)),
        };
        lease.lock_shared().map_err(io_error("lock", &used))?;
        // It may have been removed while the lock was waited for, and another may be there by now.
        if !is_at(&lease, &used) {
            return Ok(None);
        }
        let Some(record) = read_record(&place, key) else { return Ok(None) };
        let lock_path = place.join("lock");
        let lock = fs::read_to_string(&lock_path).map_err(io_error("read", &lock_path))?;
        note_use(&lease);
        let is_synced = record.boot.is_none() || place.join("synced").exists();
        Ok(Some(Stored { record, root: place.join("root"), lock, lease: Arc::new(lease), is_synced }))
    }

    /// The environments that there are, those used last first, with the time of last use.
    pub(crate) fn list(&self) -> Vec<(EnvironmentRecord, SystemTime)> {
        let entries = fs::read_dir(self.root.join("made")).into_iter().flatten().flatten();
        let mut all: Vec<_> = entries
            .filter_map(|entry| {
                let record = read_record(&entry.path(), entry.file_name().to_str()?)?;
                let used = fs::metadata(entry.path().join("used")).and_then(|metadata| metadata.modified()).ok()?;
                Some((record, used))
            })
            .collect();
        all.sort_by_key(|(_, used)| std::cmp::Reverse(*used));
        all
    }

    /// Takes the right to make this environment, unless somebody else has it.
    pub(crate) fn try_making(&self, key: &str) -> Result<Option<Making>, StoreError> {
        let path = self.folder("making")?.join(key);
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error("create", &path))?;
        match lock.try_lock() {
            // Whoever had it has just let go of it, and of the file.
            Ok(()) if !is_at(&lock, &path) => Ok(None),
            Ok(()) => Ok(Some(Making { path, _lock: lock })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }

    /// Takes part in the use of the downloads. Before, they go if they hold more than so many bytes and nobody uses them.
    pub(crate) fn use_downloads(&self, most_bytes: u64) -> Result<File, StoreError> {
        let downloads = self.folder("downloads")?;
        let path = self.root.join("downloading");
        let lock = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error("create", &path))?;
        if lock.try_lock().is_ok() && measure(&downloads, TreeLimits { files: u64::MAX, bytes: most_bytes }).is_err() {
            for entry in fs::read_dir(&downloads).into_iter().flatten().flatten() {
                let _ = fs::remove_dir_all(entry.path()).and_then(|()| fs::create_dir(entry.path()));
            }
        }
        lock.lock_shared().map_err(io_error("lock", &path))?;
        Ok(lock)
    }

    /// A folder to install into. What killed processes have left of theirs goes at the same time.
    pub(crate) fn stage(&self) -> Result<Staging, StoreError> {
        let staging = self.folder("staging")?;
        sweep(&staging);
        let folder = tempfile::Builder::new().prefix("install-").tempdir_in(&staging).map_err(io_error("create a folder in", &staging))?;
        let (new, alive) = (folder.path().join("new"), folder.path().join("alive"));
        let lock = File::create(&new).map_err(io_error("create", &new))?;
        lock.lock().map_err(io_error("lock", &new))?;
        // Under the name that it is looked for by only once it is locked.
        fs::rename(&new, &alive).map_err(io_error("create", &alive))?;
        Ok(Staging { folder: Arc::new(StagingFolder { folder, _alive: lock }) })
    }

    /// Takes what was installed over and makes it the environment of its key, in one step. `finish` completes the record, and may look at what was taken.
    pub(crate) fn publish(
        &self,
        installed: &Path,
        take_over: TakeOverRules<'_>,
        lock: &Lock,
        finish: impl FnOnce(&Path, TreeSummary) -> EnvironmentRecord,
    ) -> Result<(), StoreError> {
        let _guard = self.guard_contents()?;
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
        // Whole on the disk before it can be found, also where the machine loses power.
        let folder = File::open(&made).map_err(io_error("open", &made))?;
        rustix::fs::syncfs(&folder).map_err(|error| io_error("write", &made)(error.into()))?;
        let place = self.folder("made")?.join(&record.key);
        Self::put(&made, &place, &staging, || self.has_environment(&record.key))
    }

    /// Whether there is an environment of this key.
    pub(crate) fn has_environment(&self, key: &str) -> bool {
        let place = self.root.join("made").join(key);
        read_record(&place, key).is_some() && place.join("used").exists()
    }

    /// A new folder for what is taken over, which everybody may read.
    pub(crate) fn new_root(made: &Path) -> Result<PathBuf, StoreError> {
        let root = made.join("root");
        DirBuilder::new().recursive(true).mode(0o755).create(&root).map_err(io_error("create", &root))?;
        fs::set_permissions(&root, std::os::unix::fs::PermissionsExt::from_mode(0o755)).map_err(io_error("change", &root))?;
        Ok(root)
    }

    pub(crate) fn take_over(&self, installed: &Path, root: &Path, rules: TakeOverRules<'_>) -> Result<TreeSummary, StoreError> {
        Ok(TakeOver::new(&self.contents, rules).run(installed, root)?)
    }

    /// Puts what was made in its place, in one step.
    pub(crate) fn put(made: &Path, place: &Path, staging: &Staging, is_there: impl Fn() -> bool) -> Result<(), StoreError> {
        match fs::rename(made, place) {
            Ok(()) => Ok(()),
            Err(error) if matches!(error.kind(), io::ErrorKind::DirectoryNotEmpty | io::ErrorKind::AlreadyExists) => {
                // Somebody has made the same in the meantime.
                if is_there() {
                    return Ok(());
                }
                // What is there is none: it would be in the way for ever.
                fs::rename(place, staging.path().join("broken")).map_err(io_error("remove", place))?;
                fs::rename(made, place).map_err(io_error("create", place))
            }
            Err(error) => Err(io_error("create", place)(error)),
        }
    }

    /// Keeps contents from being removed for as long as the guard is held. Those that may have been lost with the power are hashed again first.
    pub(crate) fn guard_contents(&self) -> Result<File, StoreError> {
        let path = self.folder("contents").map(|_| self.root.join("sweeping"))?;
        let guard = File::options().create(true).truncate(false).write(true).open(&path).map_err(io_error("create", &path))?;
        if self.has_earlier_boots() {
            guard.lock().map_err(io_error("lock", &path))?;
            if self.has_earlier_boots() {
                self.contents.verify().map_err(io_error("verify", &self.root))?;
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

    /// Whether something of an earlier boot may never have come to the disk.
    fn has_earlier_boots(&self) -> bool {
        self.earlier_boots().next().is_some()
    }

    fn forget_earlier_boots(&self) {
        for mark in self.earlier_boots() {
            let _ = fs::remove_file(mark);
        }
    }

    /// What this request led to before.
    pub(crate) fn known_resolution(&self, request_sha256: &str) -> Result<Option<Resolution>, StoreError> {
        self.remembered(&format!("{request_sha256}.json"))
    }

    /// What is kept of locks under a name. It is used now; what cannot be read is not there.
    fn remembered<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<Option<T>, StoreError> {
        self.must_be_own()?;
        let Ok(file) = File::options().read(true).write(true).open(self.root.join("locks").join(name)) else { return Ok(None) };
        note_use(&file);
        Ok(serde_json::from_reader(io::BufReader::new(file)).ok())
    }

    /// Remembers what a request led to.
    pub(crate) fn remember_resolution(&self, request_sha256: &str, resolution: &Resolution) -> Result<(), StoreError> {
        self.remember(&format!("{request_sha256}.json"), serde_json::to_vec(resolution).unwrap_or_default())
    }

    /// Remembers of a lock, whoever brings it, that it was made here, from what and by which rules.
    pub(crate) fn remember_made(&self, lock: &Lock, made: &MadeLock) -> Result<(), StoreError> {
        self.remember(&format!("{}.made", lock.sha256()), serde_json::to_vec(made).unwrap_or_default())
    }

    fn remember(&self, name: &str, content: Vec<u8>) -> Result<(), StoreError> {
        let folder = self.folder("locks")?;
        let path = folder.join(name);
        let new = tempfile::NamedTempFile::new_in(&folder).map_err(io_error("create a file in", &folder))?;
        fs::write(new.path(), content).map_err(io_error("write", &path))?;
        new.persist(&path).map(drop).map_err(|error| io_error("write", &path)(error.error))
    }

    /// How a lock was made, if it was made here.
    pub(crate) fn made_lock(&self, lock: &Lock) -> Result<Option<MadeLock>, StoreError> {
        self.remembered(&format!("{}.made", lock.sha256()))
    }

    /// Remembers that a registry had no newer version than one, under a hash of which version of what, by which rules and where it was looked for.
    pub(crate) fn remember_newest(&self, question_sha256: &str) -> Result<(), StoreError> {
        let now = crate::resolution::seconds_since_1970();
        self.remember(&format!("{question_sha256}.newest"), now.to_string().into_bytes())
    }

    /// When a registry was last asked in vain for a newer version, in seconds since 1970.
    pub(crate) fn known_newest(&self, question_sha256: &str) -> Result<Option<u64>, StoreError> {
        self.remembered(&format!("{question_sha256}.newest"))
    }

    /// Removes an environment that nobody uses. `false` where somebody does.
    pub(crate) fn remove(&self, key: &str) -> Result<bool, StoreError> {
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
        // Somebody else has removed it, and another may be there by now.
        if !is_at(&lease, &used) {
            return Ok(true);
        }
        let staging = self.stage()?;
        // Out of sight in one step; piece by piece when nobody waits for the lease any longer.
        let renamed = fs::rename(&place, staging.path().join("gone")).map_err(io_error("remove", &place));
        drop(lease);
        renamed.map(|()| true)
    }

    /// Removes contents that no environment holds any longer. Returns the bytes that were freed; none while an environment is being made.
    pub(crate) fn sweep_contents(&self) -> Result<u64, StoreError> {
        let path = self.root.join("sweeping");
        let Ok(guard) = File::options().write(true).open(&path) else { return Ok(0) };
        match guard.try_lock() {
            Ok(()) => self.contents.sweep().map_err(io_error("clear", &self.root)),
            Err(TryLockError::WouldBlock) => Ok(0),
            Err(TryLockError::Error(error)) => Err(io_error("lock", &path)(error)),
        }
    }

    /// Forgets locks that were not used since `before`, and then those used least until the rest takes no more than so many bytes. Returns the bytes that
    /// were freed.
    pub(crate) fn forget_locks(&self, before: SystemTime, most_bytes: u64) -> u64 {
        let entries = fs::read_dir(self.root.join("locks")).into_iter().flatten().flatten();
        let mut all: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                // A file takes a block, however short it is.
                Some((metadata.modified().ok()?, metadata.len().max(4096), entry.path()))
            })
            .collect();
        all.sort();
        let mut total: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
        let mut freed = 0;
        for (used, bytes, path) in all {
            if used >= before && total <= most_bytes {
                break;
            }
            if fs::remove_file(path).is_ok() {
                (total, freed) = (total - bytes, freed + bytes);
            }
        }
        freed
    }
}

/// Notes on a file that what it is of is used now. Not more often than it matters.
pub(crate) fn note_use(file: &File) {
    let noted = file.metadata().and_then(|metadata| metadata.modified());
    if noted.is_ok_and(|at| at.elapsed().is_ok_and(|age| age > NOTE_USE_EVERY)) {
        let _ = file.set_modified(SystemTime::now());
    }
}

/// The right to make an environment, as long as this is held.
#[derive(Debug)]
pub(crate) struct Making {
    path: PathBuf,
    _lock: File,
}

impl Drop for Making {
    fn drop(&mut self) {
        // While it is still locked: who waits for it looks whether it is still there.
        let _ = fs::remove_file(&self.path);
    }
}

/// From what a lock was made here, and by which rules.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MadeLock {
    /// The names that were asked for.
    pub(crate) names: Vec<String>,
    /// Versions that were younger did not count, days.
    pub(crate) minimum_release_age_days: u32,
}

/// The record of the environment in a folder of this name, if it is one. What is in the folder may have been put there by anybody who can write it: no part
/// of it becomes part of a path.
fn read_record(place: &Path, key: &str) -> Option<EnvironmentRecord> {
    let record: EnvironmentRecord = serde_json::from_slice(&fs::read(place.join("environment.json")).ok()?).ok()?;
    (record.schema == SCHEMA && record.key == key && is_whole(place, record.boot.as_deref())).then_some(record)
}

/// Whether an open file is the one at a path.
pub(crate) fn is_at(file: &File, path: &Path) -> bool {
    let identity = |metadata: &fs::Metadata| (metadata.dev(), metadata.ino());
    matches!((file.metadata(), fs::symlink_metadata(path)), (Ok(one), Ok(other)) if identity(&one) == identity(&other))
}

/// A folder to install into, gone when the last clone is dropped; by the next installation after a `kill -9`.
#[derive(Clone, Debug)]
pub(crate) struct Staging {
    folder: Arc<StagingFolder>,
}

#[derive(Debug)]
struct StagingFolder {
    folder: tempfile::TempDir,
    _alive: File,
}

impl Staging {
    pub(crate) fn path(&self) -> &Path {
        self.folder.folder.path()
    }
}

/// Removes what nobody works on any longer.
fn sweep(staging: &Path) {
    for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
        let is_dead = match File::open(entry.path().join("alive")) {
            Ok(alive) => alive.try_lock().is_ok(),
            // One that is being made has none yet; it is young.
            Err(_) => {
                entry.metadata().and_then(|metadata| metadata.modified()).is_ok_and(|at| at.elapsed().is_ok_and(|age| age > NOTE_USE_EVERY))
            }
        };
        if is_dead {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}

#[cfg(test)]
mod tests;
