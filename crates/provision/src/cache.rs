//! The cache folder: its protection, locks and staging, and records that make the next start fast.
//!
//! ```text
//! node/24.21.0-x64/     an installed runtime, complete, with its manifest.json
//! staging/node-.../     an installation in progress, under the lock of the same name
//! locks/                one empty file per installed program, locked during its installation
//! probes/               the properties of interpreters found on this machine
//! ```

use std::fs::{self, DirBuilder, File, TryLockError};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::error::ProvisionError;
use crate::integrity::Identity;
use crate::progress::{Progress, Step};

/// The version of records and manifests. Those of other versions are created again.
pub(crate) const SCHEMA: u32 = 1;

/// The state of a file, which shows for the cost of one `stat` that the file has not changed.
/// Unlike the modification time, the change time (ctime) cannot be set back by writing to the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct FileStamp {
    size: u64,
    inode: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

impl FileStamp {
    pub fn of(path: &Path) -> io::Result<Self> {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Err(io::Error::other("not a regular file"));
        }
        Ok(Self {
            size: metadata.size(),
            inode: metadata.ino(),
            modified: (metadata.mtime(), metadata.mtime_nsec()),
            changed: (metadata.ctime(), metadata.ctime_nsec()),
        })
    }
}

/// The cache folder, which is created at the first write.
#[derive(Clone, Debug)]
pub(crate) struct Cache {
    root: PathBuf,
}

#[derive(Serialize, Deserialize)]
struct Record<T> {
    schema: u32,
    path: PathBuf,
    stamp: FileStamp,
    value: T,
}

impl Cache {
    /// Opens the cache. Fails if another user could have put a program into the folder. The folder
    /// may be missing.
    pub fn open(root: &Path) -> Result<Self, ProvisionError> {
        let refuse = |why| Err(ProvisionError::UnsafeCache { path: root.to_owned(), why });
        match fs::metadata(root) {
            Ok(metadata) if !metadata.is_dir() => return refuse("it is not a folder"),
            Ok(metadata) if metadata.uid() != rustix::process::geteuid().as_raw() => {
                return refuse("it belongs to another user");
            }
            Ok(metadata) if metadata.mode() & 0o022 != 0 => {
                return refuse("others can write to it");
            }
            Ok(_) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(source) => {
                return Err(ProvisionError::Cache {
                    action: "open",
                    path: root.to_owned(),
                    source,
                });
            }
        }
        Ok(Self { root: root.to_owned() })
    }

    /// Returns the folder of an installed runtime.
    pub fn installed(&self, kind: &str, name: &str) -> PathBuf {
        self.root.join(kind).join(name)
    }

    /// Returns a folder directly below the root, and creates it if necessary.
    fn folder(&self, name: &str) -> io::Result<PathBuf> {
        let path = self.root.join(name);
        if !path.is_dir() {
            DirBuilder::new().recursive(true).mode(0o700).create(&path)?;
        }
        Ok(path)
    }

    /// Waits until no other process installs the same program, and removes what killed processes
    /// left.
    pub fn stage(
        &self,
        name: &str,
        progress: &mut dyn Progress,
    ) -> Result<Staging, ProvisionError> {
        let failed = |action, path: &Path| {
            let path = path.to_owned();
            move |source| ProvisionError::Cache { action, path, source }
        };
        let locks = self.folder("locks").map_err(failed("create", &self.root))?;
        let staging = self.folder("staging").map_err(failed("create", &self.root))?;
        let lock_path = locks.join(name);
        let lock = open_lock(&lock_path).map_err(failed("create", &lock_path))?;
        match lock.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                progress.step(Step::Waiting);
                lock.lock().map_err(failed("lock", &lock_path))?;
            }
            Err(TryLockError::Error(source)) => return Err(failed("lock", &lock_path)(source)),
        }
        sweep(&staging, &locks, name);
        let path = staging.join(name);
        remove(&path).map_err(failed("clear", &path))?;
        DirBuilder::new().mode(0o700).create(&path).map_err(failed("create", &path))?;
        Ok(Staging { path, _lock: lock })
    }

    /// Moves a finished folder from the staging area to its place in one step.
    pub fn publish(
        &self,
        finished: &Path,
        kind: &str,
        name: &str,
    ) -> Result<PathBuf, ProvisionError> {
        let place = self.installed(kind, name);
        let failed =
            |source| ProvisionError::Cache { action: "create", path: place.clone(), source };
        let parent = self.folder(kind).map_err(failed)?;
        fs::rename(finished, &place).map_err(failed)?;
        File::open(parent).and_then(|folder| folder.sync_all()).map_err(failed)?;
        Ok(place)
    }

    /// Returns the record of a file, if the file has not changed.
    pub fn recall<T: DeserializeOwned>(
        &self,
        kind: &str,
        path: &Path,
        stamp: FileStamp,
    ) -> Option<T> {
        let text = fs::read(self.record_path(kind, path)).ok()?;
        let record: Record<T> = serde_json::from_slice(&text).ok()?;
        (record.schema == SCHEMA && record.path == path && record.stamp == stamp)
            .then_some(record.value)
    }

    /// Stores a record of a file. Errors are ignored, because a cache that cannot be written only
    /// costs time at the next start.
    pub fn remember<T: Serialize>(&self, kind: &str, path: &Path, stamp: FileStamp, value: T) {
        let record = Record { schema: SCHEMA, path: path.to_owned(), stamp, value };
        let _ = self
            .folder("probes")
            .and_then(|_| replace(&self.record_path(kind, path), &serde_json::to_vec(&record)?));
    }

    fn record_path(&self, kind: &str, path: &Path) -> PathBuf {
        let name = Identity::of_bytes(path.as_os_str().as_encoded_bytes());
        self.root.join("probes").join(format!("{kind}-{}.json", &name.as_str()[..32]))
    }
}

/// An empty folder for an installation, with its lock. It is removed when it is dropped, or by the
/// next process after a `kill -9`.
#[derive(Debug)]
pub(crate) struct Staging {
    path: PathBuf,
    _lock: File,
}

impl Staging {
    pub fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Staging {
    fn drop(&mut self) {
        let _ = remove(&self.path);
    }
}

fn open_lock(path: &Path) -> io::Result<File> {
    File::options().create(true).truncate(false).write(true).mode(0o600).open(path)
}

/// Removes other installations that killed processes left. Their locks show whether another process
/// is still working on them.
fn sweep(staging: &Path, locks: &Path, own: &str) {
    for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
        let name = entry.file_name();
        if name == own {
            continue;
        }
        let Ok(lock) = open_lock(&locks.join(&name)) else { continue };
        if lock.try_lock().is_ok() {
            let _ = remove(&entry.path());
        }
    }
}

/// Removes a file or folder if it exists.
pub(crate) fn remove(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    removed
        .or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

/// Replaces a file in one step, so that readers see the old or the new content, but never a part.
pub(crate) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    let unique = format!("{}.{}.new", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
    let temporary = path.with_extension(unique);
    fs::write(&temporary, bytes).and_then(|()| fs::rename(&temporary, path)).inspect_err(|_| {
        let _ = fs::remove_file(&temporary);
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::progress::Silent;

    #[test]
    fn a_cache_that_others_can_write_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Cache::open(folder.path()).is_ok());
        fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(Cache::open(folder.path()), Err(ProvisionError::UnsafeCache { .. })));
        assert!(matches!(
            Cache::open(Path::new("/proc/self/exe")),
            Err(ProvisionError::UnsafeCache { .. })
        ));
    }

    #[test]
    fn the_cache_is_created_for_its_owner_only() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().join("a/b");
        let staging = Cache::open(&root).unwrap().stage("x", &mut Silent).unwrap();
        assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o700);
        assert!(staging.path().is_dir());
    }

    #[test]
    fn a_record_counts_only_for_the_same_file() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(&folder.path().join("cache")).unwrap();
        let file = folder.path().join("file");
        fs::write(&file, "one").unwrap();
        let stamp = FileStamp::of(&file).unwrap();
        cache.remember("x", &file, stamp, 7);
        assert_eq!(cache.recall("x", &file, stamp), Some(7));
        assert_eq!(cache.recall::<u32>("y", &file, stamp), None);

        // This is the best that an ordinary user can do: the same size and inode, and a
        // modification time that is set back.
        let modified = fs::metadata(&file).unwrap().modified().unwrap();
        loop {
            fs::write(&file, "two").unwrap();
            File::options().write(true).open(&file).unwrap().set_modified(modified).unwrap();
            // The kernel's clock for files is coarse, so write until it has advanced.
            if fs::metadata(&file).unwrap().ctime_nsec() != stamp.changed.1 {
                break;
            }
        }
        assert_eq!(fs::metadata(&file).unwrap().modified().unwrap(), modified);
        assert_eq!(cache.recall::<u32>("x", &file, FileStamp::of(&file).unwrap()), None);
    }

    #[test]
    fn staging_left_by_a_killed_process_is_swept_and_one_at_work_is_not() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        let at_work = cache.stage("at-work", &mut Silent).unwrap();
        let left_behind = folder.path().join("staging/left-behind");
        fs::create_dir_all(left_behind.join("deep")).unwrap();
        drop(cache.stage("mine", &mut Silent).unwrap());
        assert!(at_work.path().is_dir());
        assert!(!left_behind.exists());
        assert!(!folder.path().join("staging/mine").exists());
    }

    #[test]
    fn a_folder_is_never_published_over_another() {
        let folder = tempfile::tempdir().unwrap();
        let cache = Cache::open(folder.path()).unwrap();
        for (attempt, works) in [("first", true), ("second", false)] {
            let staging = cache.stage("x", &mut Silent).unwrap();
            let finished = staging.path().join("root");
            fs::create_dir(&finished).unwrap();
            fs::write(finished.join("file"), attempt).unwrap();
            assert_eq!(cache.publish(&finished, "node", "x").is_ok(), works);
        }
        assert_eq!(fs::read_to_string(folder.path().join("node/x/file")).unwrap(), "first");
    }
}
