//! Packages that are unpacked, hashed and compiled once for all environments that contain them.
//!
//! ```text
//! packages/KEY/root/           the package as it is in an environment: hard links to contents
//! packages/KEY/package.json
//! packages/KEY/used            its time is the last use of the package; users lock it (shared)
//! packages/KEY/synced          exists if all of the package is known to be on the disk
//! unsynced/NAME                exists if files of this boot may not be on the disk yet
//! ```
//!
//! An environment of existing packages only consists of links. Its creation does not wait for the
//! disk, and neither does that of a package: files made in the current boot of the machine are
//! complete, and those of an earlier boot only count if they are known to be on the disk. Contents
//! that a loss of power may have damaged are hashed again before anything is linked to them.

use std::ffi::CStr;
use std::fs::{self, File, TryLockError};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::SystemTime;

use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, linkat, mkdirat, openat, readlinkat, statat, symlinkat,
};
use serde::{Deserialize, Serialize};

use crate::boot::{boot_id, is_whole};
use crate::environment_record::{EnvironmentRecord, SCHEMA};
use crate::folder_error::{FolderError, io_error};
use crate::lock::Lock;
use crate::store::{Store, is_at, note_use};
use crate::tree::{TakeOverRules, TreeError, TreeLimits, TreeSummary, too_large};

#[cfg(test)]
mod tests;

/// The maximum depth of folders, which exceeds that of stored packages.
const MAX_DEPTH: usize = 70;

/// The record of a package.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct PackageRecord {
    pub(crate) schema: u32,
    pub(crate) key: String,
    /// The number of files, folders and links.
    pub(crate) files: u64,
    pub(crate) size_bytes: u64,
    /// The hash of the content, as [`TreeSummary::sha256`].
    pub(crate) content_sha256: String,
    /// The id of the boot in which it was created.
    pub(crate) boot: String,
}

/// A package in use, which is not removed as long as this is held.
#[derive(Clone, Debug)]
pub(crate) struct StoredPackage {
    pub(crate) record: PackageRecord,
    pub(crate) root: PathBuf,
    _lease: Arc<File>,
}

impl Store {
    fn package_place(&self, key: &str) -> PathBuf {
        self.root().join("packages").join(key)
    }

    /// Opens a package for use, or returns `None` if there is none with this key. May block.
    pub(crate) fn open_package(&self, key: &str) -> Result<Option<StoredPackage>, FolderError> {
        self.must_be_own()?;
        let place = self.package_place(key);
        let used = place.join("used");
        let lease = match File::options().write(true).open(&used) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(io_error("open", &used)(error)),
        };
        lease.lock_shared().map_err(io_error("lock", &used))?;
        if !is_at(&lease, &used) {
            return Ok(None);
        }
        let Some(record) = read_package(&place, key) else { return Ok(None) };
        note_use(&lease);
        Ok(Some(StoredPackage { record, root: place.join("root"), _lease: Arc::new(lease) }))
    }

    /// Returns all packages with the time of their last use.
    pub(crate) fn list_packages(&self) -> Vec<(PackageRecord, SystemTime)> {
        let entries = fs::read_dir(self.root().join("packages")).into_iter().flatten().flatten();
        let all = entries.filter_map(|entry| {
            let record = read_package(&entry.path(), entry.file_name().to_str()?)?;
            let used = fs::metadata(entry.path().join("used"))
                .and_then(|metadata| metadata.modified())
                .ok()?;
            Some((record, used))
        });
        all.collect()
    }

    /// Stores an installed package under its key.
    pub(crate) fn publish_package(
        &self,
        installed: &Path,
        rules: TakeOverRules<'_>,
        key: &str,
    ) -> Result<(), FolderError> {
        let _guard = self.guard_blobs()?;
        let staging = self.stage()?;
        let made = staging.path().join("made");
        let root = Self::new_root(&made)?;
        let TreeSummary { files, bytes, sha256 } = self.take_over(installed, &root, rules)?;
        let record = PackageRecord {
            schema: SCHEMA,
            key: key.to_owned(),
            files,
            size_bytes: bytes,
            content_sha256: sha256,
            boot: boot_id(),
        };
        let write = |name: &str, content: &[u8]| {
            let path = made.join(name);
            fs::write(&path, content).map_err(io_error("write", &path))
        };
        write("used", b"")?;
        write("package.json", &serde_json::to_vec_pretty(&record).unwrap_or_default())?;
        self.note_unsynced()?;
        let place = self.folder("packages")?.join(key);
        let is_there = || read_package(&place, key).is_some() && place.join("used").exists();
        Self::put(&made, &place, &staging, is_there)
    }

    /// Creates an environment from links to packages. `finish` completes the record, and may read
    /// the tree.
    pub(crate) fn assemble(
        &self,
        packages: &[StoredPackage],
        limits: TreeLimits,
        lock: &Lock,
        finish: impl FnOnce(&Path) -> EnvironmentRecord,
    ) -> Result<(), FolderError> {
        let _guard = self.guard_blobs()?;
        let files = packages.iter().map(|package| package.record.files).sum::<u64>();
        let bytes = packages.iter().map(|package| package.record.size_bytes).sum::<u64>();
        too_large(files, bytes, limits)?;
        let staging = self.stage()?;
        let made = staging.path().join("made");
        let root = Self::new_root(&made)?;
        let open = |path: &Path| {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            rustix::fs::open(path, flags, Mode::empty())
                .map_err(|error| io_error("open", path)(error.into()))
        };
        let to = open(&root)?;
        for package in packages {
            let at = |(path, source)| FolderError::Tree(TreeError::Io { path, source });
            link_all(&open(&package.root)?, &to, Path::new(""), 0).map_err(at)?;
        }
        let record = finish(&root);
        let write = |name: &str, content: &[u8]| {
            let path = made.join(name);
            fs::write(&path, content).map_err(io_error("write", &path))
        };
        write("lock", lock.text.as_bytes())?;
        write("used", b"")?;
        write("environment.json", &serde_json::to_vec_pretty(&record).unwrap_or_default())?;
        self.note_unsynced()?;
        let place = self.folder("made")?.join(&record.key);
        let is_there = || self.has_environment(&record.key);
        Self::put(&made, &place, &staging, is_there)
    }

    /// Records that files of this boot may not be on the disk yet.
    fn note_unsynced(&self) -> Result<(), FolderError> {
        let folder = self.folder("unsynced")?;
        let boot = boot_id();
        let path = folder.join(if boot.is_empty() { "unknown" } else { &boot });
        fs::write(&path, b"").map_err(io_error("write", &path))
    }

    /// Writes everything that was created in this boot to the disk, on a thread of its own. No one
    /// waits for it, and the process may end meanwhile.
    pub(crate) fn sync_in_background(self: &Arc<Self>) {
        let store = Arc::clone(self);
        // If the thread cannot be started, the next process does it.
        let _ = std::thread::Builder::new().name("sync".to_owned()).spawn(move || store.sync());
    }

    fn sync(&self) {
        let boot = boot_id();
        let mark = self.root().join("unsynced").join(&boot);
        if boot.is_empty() || !mark.exists() {
            return;
        }
        let unsynced: Vec<PathBuf> = ["made", "packages"]
            .iter()
            .flat_map(|kind| fs::read_dir(self.root().join(kind)).into_iter().flatten().flatten())
            .map(|entry| entry.path())
            .filter(|place| {
                !place.join("synced").exists() && boot_of(place).as_deref() == Some(&boot)
            })
            .collect();
        let noted = fs::symlink_metadata(&mark).and_then(|mark| mark.modified());
        let Ok(folder) = File::open(self.root()) else { return };
        if rustix::fs::syncfs(&folder).is_err() {
            return;
        }
        for place in unsynced {
            let _ = fs::write(place.join("synced"), b"");
        }
        // The mark stays if more was created meanwhile.
        if noted.is_ok_and(|noted| {
            fs::symlink_metadata(&mark)
                .and_then(|mark| mark.modified())
                .is_ok_and(|now| now == noted)
        }) {
            let _ = fs::remove_file(&mark);
        }
    }

    /// Removes a package. Returns `false` if it is in use.
    pub(crate) fn remove_package(&self, key: &str) -> Result<bool, FolderError> {
        let place = self.package_place(key);
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
        if !is_at(&lease, &used) {
            return Ok(true);
        }
        let staging = self.stage()?;
        let renamed =
            fs::rename(&place, staging.path().join("gone")).map_err(io_error("remove", &place));
        drop(lease);
        renamed.map(|()| true)
    }
}

/// Returns the boot in which the content of a folder was created.
fn boot_of(place: &Path) -> Option<String> {
    #[derive(Deserialize)]
    struct Made {
        boot: String,
    }
    let record = ["package.json", "environment.json"]
        .iter()
        .find_map(|name| fs::read(place.join(name)).ok())?;
    serde_json::from_slice::<Made>(&record).ok().map(|made| made.boot)
}

fn read_package(place: &Path, key: &str) -> Option<PackageRecord> {
    let record: PackageRecord =
        serde_json::from_slice(&fs::read(place.join("package.json")).ok()?).ok()?;
    (record.schema == SCHEMA && record.key == key && is_whole(place, Some(&record.boot)))
        .then_some(record)
}

/// Links all files of a package into an environment. If two packages contain the same file, that of
/// the first one counts.
fn link_all(
    from: &OwnedFd,
    to: &OwnedFd,
    path: &Path,
    depth: usize,
) -> Result<(), (PathBuf, io::Error)> {
    let at = |name: &CStr| {
        let path = path.join(name.to_string_lossy().as_ref());
        move |source: rustix::io::Errno| (path, io::Error::from(source))
    };
    if depth > MAX_DEPTH {
        return Err((path.to_owned(), rustix::io::Errno::LOOP.into()));
    }
    let entries = Dir::read_from(from).map_err(at(c"."))?;
    for entry in entries {
        let entry = entry.map_err(at(c"."))?;
        let name = entry.file_name();
        if name == c"." || name == c".." {
            continue;
        }
        let kind = match entry.file_type() {
            FileType::Unknown => FileType::from_raw_mode(
                statat(from, name, AtFlags::SYMLINK_NOFOLLOW).map_err(at(name))?.st_mode
                    as rustix::fs::RawMode,
            ),
            kind => kind,
        };
        match kind {
            FileType::Directory => {
                let is_new = match mkdirat(to, name, Mode::from_raw_mode(0o755)) {
                    Ok(()) => true,
                    Err(rustix::io::Errno::EXIST) => false,
                    Err(error) => return Err(at(name)(error)),
                };
                let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                let below = openat(from, name, flags, Mode::empty()).map_err(at(name))?;
                let target = openat(to, name, flags, Mode::empty()).map_err(at(name))?;
                if is_new {
                    // The mode must not depend on the umask.
                    rustix::fs::fchmod(&target, Mode::from_raw_mode(0o755)).map_err(at(name))?;
                }
                link_all(&below, &target, &path.join(name.to_string_lossy().as_ref()), depth + 1)?;
            }
            FileType::RegularFile => match linkat(from, name, to, name, AtFlags::empty()) {
                Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                // A file system limits the number of links to a file, which empty files reach
                // first. Then the file is copied.
                Err(rustix::io::Errno::MLINK) => {
                    copy(from, to, name)
                        .map_err(|source| (path.join(name.to_string_lossy().as_ref()), source))?;
                }
                Err(error) => return Err(at(name)(error)),
            },
            FileType::Symlink => {
                let target = readlinkat(from, name, Vec::new()).map_err(at(name))?;
                match symlinkat(&target, to, name) {
                    Ok(()) | Err(rustix::io::Errno::EXIST) => {}
                    Err(error) => return Err(at(name)(error)),
                }
            }
            _ => {}
        }
    }
    Ok(())
}

fn copy(from: &OwnedFd, to: &OwnedFd, name: &CStr) -> io::Result<()> {
    let source =
        openat(from, name, OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC, Mode::empty())?;
    let mode = Mode::from_raw_mode(rustix::fs::fstat(&source)?.st_mode & 0o777);
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
    let mut copy = File::from(openat(to, name, flags, mode)?);
    io::copy(&mut File::from(source), &mut copy)?;
    Ok(rustix::fs::fchmod(copy.as_fd(), mode)?)
}
