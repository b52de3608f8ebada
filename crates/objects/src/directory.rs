//! A folder of this machine: `<folder>/<project id>/<uuid>`, and `<folder>/.staging/` for what is not complete yet.
//!
//! The files are handled here and not by `object_store`'s `LocalFileSystem`, for three reasons (0.14): it makes files and folders that others can
//! read (by the umask); what an upload that was killed left behind it hides in its listings, so that nothing ever removes it; and it reads in chunks
//! of 8 KB, each a task of its own.
//!
//! Every path is resolved beneath the folder's own descriptor and through no link (`openat2`). A file in `.staging/` is locked (`flock`) by
//! who writes it, and the kernel unlocks what a killed process had: so one that is not locked is nobody's.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, renameat, statat, unlinkat};
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use crate::config::Durability;
use crate::error::ObjectsError;
use crate::key::{Key, is_project};
use crate::objects::{Content, Listed, within};
use crate::upload::Batch;

/// No project can have this name.
const STAGING: &str = ".staging";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
/// How much is read at a time. While one chunk is sent, the next is read.
const CHUNK_BYTES: u64 = 256 << 10;
/// How many files are looked at before they are handed on.
const PAGE: usize = 1000;

/// The folder.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    root: OwnedFd,
    staging: OwnedFd,
    durability: Durability,
}

impl Directory {
    /// Creates and opens the folder, and removes what killed uploads left behind.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self, ObjectsError> {
        let failed = |source| ObjectsError::Open { path: path.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE).create(path).map_err(failed)?;
        let root = OwnedFd::from(File::open(path).map_err(failed)?);
        let staging = open_folder_anew(root.as_fd(), STAGING).map_err(failed)?;
        let directory = Self { path: path.to_owned(), root, staging, durability };
        directory.sweep().map_err(failed)?;
        Ok(directory)
    }

    /// Removes the staged files that nobody writes any more.
    fn sweep(&self) -> io::Result<()> {
        for entry in Dir::read_from(&self.staging)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type() != FileType::RegularFile {
                continue;
            }
            // Gone already: its writer has just finished.
            let Ok(file) = openat2(&self.staging, name, OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), RESOLVE) else { continue };
            if File::from(file).try_lock().is_ok() {
                remove(self.staging.as_fd(), name)?;
            }
        }
        Ok(())
    }

    /// A file for new content.
    pub(crate) async fn stage(this: &Arc<Self>, key: &Key) -> Result<Staged, ObjectsError> {
        let (this, key) = (Arc::clone(this), key.clone());
        spawn_blocking(move || {
            let (name, file) = this.new_file().map_err(|error| this.failed("begin a file", error))?;
            Ok(Staged { directory: this, key, name, file: Some(file) })
        })
        .await?
    }

    fn new_file(&self) -> io::Result<(String, File)> {
        loop {
            let name = Uuid::now_v7().hyphenated().to_string();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = File::from(openat2(&self.staging, &name, flags, FILE_MODE, RESOLVE)?);
            // Between its creation and its lock, another process that opens the folder may take it for left behind.
            if file.try_lock().is_ok() && rustix::fs::fstat(&file)?.st_nlink == 1 {
                return Ok((name, file));
            }
        }
    }

    pub(crate) async fn get(this: &Arc<Self>, key: &Key, range: Option<Range<u64>>) -> Result<Content, ObjectsError> {
        let (directory, key) = (Arc::clone(this), key.clone());
        let (size_bytes, range, reading, first) = spawn_blocking(move || {
            let mut file = match openat2(&directory.root, key.as_str(), OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty(), RESOLVE) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => return Err(ObjectsError::NotFound(key)),
                Err(error) => return Err(directory.failed("open content", error)),
            };
            let size_bytes = file.metadata().map_err(|error| directory.failed("look at content", error))?.len();
            let range = within(range, size_bytes)?;
            file.seek(SeekFrom::Start(range.start)).map_err(|error| directory.failed("read content", error))?;
            let reading = Reading { directory, file, left: range.end - range.start };
            let (reading, first) = reading.next()?;
            Ok((size_bytes, range, reading, first))
        })
        .await??;
        // The next chunk is read while this one is sent.
        let chunks = stream::try_unfold(Ahead::Read(reading, first), |ahead| async move {
            let (reading, chunk) = match ahead {
                Ahead::Read(reading, chunk) => (reading, chunk),
                Ahead::Reading(task) => task.await??,
                Ahead::End => return Ok(None),
            };
            if chunk.is_empty() {
                return Ok(None);
            }
            let ahead = if reading.left > 0 { Ahead::Reading(spawn_blocking(|| reading.next())) } else { Ahead::End };
            Ok(Some((chunk, ahead)))
        });
        Ok(Content { size_bytes, range, chunks: chunks.boxed() })
    }

    pub(crate) async fn delete(this: &Arc<Self>, key: &Key) -> Result<(), ObjectsError> {
        let (this, key) = (Arc::clone(this), key.clone());
        spawn_blocking(move || this.delete_now(&key)).await?
    }

    fn delete_now(&self, key: &Key) -> Result<(), ObjectsError> {
        let folder = match open_folder(self.root.as_fd(), key.project()) {
            Ok(folder) => folder,
            Err(Errno::NOENT) => return Ok(()),
            Err(error) => return Err(self.failed("delete content", error)),
        };
        remove(folder.as_fd(), key.file_name()).map_err(|error| self.failed("delete content", error))
    }

    pub(crate) fn list(this: &Arc<Self>, project: Option<&str>) -> BoxStream<'static, Result<Listed, ObjectsError>> {
        let walk = Walk { directory: Arc::clone(this), projects: project.map(|project| vec![project.to_owned()]), within: None };
        let pages = stream::try_unfold(walk, |mut walk| async move {
            let (page, walk) = spawn_blocking(move || (walk.page(), walk)).await?;
            let page = page.map_err(|error| walk.directory.failed("list content", error))?;
            Ok::<_, ObjectsError>((!page.is_empty()).then_some((page, walk)))
        });
        pages.map_ok(|page| stream::iter(page.into_iter().map(Ok))).try_flatten().boxed()
    }

    fn failed(&self, what: &'static str, source: impl Into<io::Error>) -> ObjectsError {
        ObjectsError::Folder { what, path: self.path.clone(), source: source.into() }
    }
}

const RESOLVE: ResolveFlags = ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

fn open_folder(root: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    openat2(root, name, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), RESOLVE)
}

/// Opens a folder, which is created where it is not there.
fn open_folder_anew(root: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
    match mkdirat(root, name, Mode::from_raw_mode(FOLDER_MODE)) {
        Ok(()) | Err(Errno::EXIST) => Ok(open_folder(root, name)?),
        Err(error) => Err(error.into()),
    }
}

fn remove(folder: BorrowedFd<'_>, name: impl rustix::path::Arg) -> io::Result<()> {
    match unlinkat(folder, name, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// A file that is being written. It has no key before it is published; dropped before, it is removed.
pub(crate) struct Staged {
    directory: Arc<Directory>,
    key: Key,
    name: String,
    /// None once it is published or removed.
    file: Option<File>,
}

impl Staged {
    pub(crate) async fn add(mut self, batch: Batch) -> Result<Self, ObjectsError> {
        spawn_blocking(move || {
            let written = self.file.as_mut().map_or(Ok(()), |file| batch.chunks.iter().try_for_each(|chunk| file.write_all(chunk)));
            match written {
                Ok(()) => Ok(self),
                Err(error) => {
                    self.remove();
                    Err(self.directory.failed("write content", error))
                }
            }
        })
        .await?
    }

    /// Gives it its key, at once and as a whole. Where nobody waits for that any more, it goes again.
    pub(crate) async fn publish(mut self) -> Result<(), ObjectsError> {
        let (reply, published) = oneshot::channel();
        let task = spawn_blocking(move || {
            let result = self.publish_now().map_err(|error| self.directory.failed("finish content", error));
            self.remove();
            if reply.send(result).is_err() {
                // It stays at worst as content that no metadata knows, which a listing finds.
                let _ = self.directory.delete_now(&self.key);
            }
        });
        match published.await {
            Ok(result) => result,
            Err(_) => Ok(task.await?),
        }
    }

    fn publish_now(&mut self) -> io::Result<()> {
        let Some(file) = &self.file else { return Ok(()) };
        let is_to_disk = self.directory.durability == Durability::Disk;
        if is_to_disk {
            file.sync_all()?;
        }
        let folder = open_folder_anew(self.directory.root.as_fd(), self.key.project())?;
        renameat(&self.directory.staging, &self.name, &folder, self.key.file_name())?;
        self.file = None;
        if is_to_disk {
            // The name in its folder, and the folder's own, which may be new.
            rustix::fs::fsync(&folder)?;
            rustix::fs::fsync(&self.directory.root)?;
        }
        Ok(())
    }

    pub(crate) async fn discard(mut self) {
        // An error means that the runtime is shutting down: the file is left to the next that opens the folder.
        let _ = spawn_blocking(move || self.remove()).await;
    }

    fn remove(&mut self) {
        if self.file.take().is_some() {
            // The next that opens the folder tries again.
            let _ = remove(self.directory.staging.as_fd(), &self.name);
        }
    }
}

impl Drop for Staged {
    fn drop(&mut self) {
        let Some(file) = self.file.take() else { return };
        let (directory, name) = (Arc::clone(&self.directory), std::mem::take(&mut self.name));
        let remove = move || {
            let _ = remove(directory.staging.as_fd(), &name);
            drop(file);
        };
        // Freeing a file of gigabytes takes a while.
        match tokio::runtime::Handle::try_current() {
            Ok(tokio) => drop(tokio.spawn_blocking(remove)),
            Err(_) => remove(),
        }
    }
}

/// A file that is being read.
struct Reading {
    directory: Arc<Directory>,
    file: File,
    left: u64,
}

impl Reading {
    fn next(mut self) -> Result<(Self, Bytes), ObjectsError> {
        let length = self.left.min(CHUNK_BYTES);
        let mut chunk = Vec::with_capacity(length as usize);
        let read = (&self.file)
            .take(length)
            .read_to_end(&mut chunk)
            .and_then(|read| if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) });
        read.map_err(|error| self.directory.failed("read content", error))?;
        self.left -= length;
        Ok((self, chunk.into()))
    }
}

/// The next chunk.
enum Ahead {
    Read(Reading, Bytes),
    Reading(JoinHandle<Result<(Reading, Bytes), ObjectsError>>),
    End,
}

/// Where a listing is.
struct Walk {
    directory: Arc<Directory>,
    /// What is still to be listed. None before the folder was looked at.
    projects: Option<Vec<String>>,
    within: Option<(String, OwnedFd, Dir)>,
}

impl Walk {
    /// The next few; none at the end.
    fn page(&mut self) -> io::Result<Vec<Listed>> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            let Some((project, folder, entries)) = &mut self.within else {
                let Some(project) = self.next_project()? else { break };
                // Anything else in its place is not ours.
                if let Ok(folder) = open_folder(self.directory.root.as_fd(), &project) {
                    let entries = Dir::read_from(&folder)?;
                    self.within = Some((project, folder, entries));
                }
                continue;
            };
            let Some(entry) = entries.next() else {
                self.within = None;
                continue;
            };
            let entry = entry?;
            let Some(key) = entry.file_name().to_str().ok().and_then(|name| Key::from_parts(project, name)) else { continue };
            let stat = match statat(&*folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
                // Deleted meanwhile, or not ours.
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let since_epoch = Duration::new(u64::try_from(stat.st_mtime).unwrap_or(0), stat.st_mtime_nsec as u32);
            page.push(Listed { key, size_bytes: stat.st_size as u64, last_modified: UNIX_EPOCH + since_epoch });
        }
        Ok(page)
    }

    fn next_project(&mut self) -> io::Result<Option<String>> {
        if self.projects.is_none() {
            let mut projects = Vec::new();
            for entry in Dir::read_from(&self.directory.root)? {
                let entry = entry?;
                if let Some(name) = entry.file_name().to_str().ok().filter(|name| is_project(name)) {
                    projects.push(name.to_owned());
                }
            }
            self.projects = Some(projects);
        }
        Ok(self.projects.as_mut().and_then(Vec::pop))
    }
}
