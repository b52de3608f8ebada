//! A folder of this machine: `<folder>/<project id>/<uuid>`, and `<folder>/.staging/` for
//! incomplete content.
//!
//! The files are handled here and not by `object_store`'s `LocalFileSystem` for three reasons
//! (0.14): its files and folders can be read by other users (depending on the umask), its listings
//! hide the files of killed uploads, so that nothing ever removes them, and it reads in chunks of 8
//! KB, each in a task of its own.
//!
//! Every path is resolved beneath the folder's own descriptor and follows no link (`openat2`). The
//! writer of a file in `.staging/` locks it (`flock`), and the kernel unlocks the files of a killed
//! process, so a file that is not locked has no writer.

use std::fs::{DirBuilder, File};
use std::io::{self, Read, Seek, SeekFrom, Write};
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use belljar_protocol::Durability;
use bytes::Bytes;
use futures::stream::{self, BoxStream};
use futures::{StreamExt, TryStreamExt};
use rustix::fs::{
    AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, mkdirat, openat2, renameat, statat,
    unlinkat,
};
use rustix::io::Errno;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, spawn_blocking};
use uuid::Uuid;

use crate::batch::Batch;
use crate::content::{Content, Listed, within};
use crate::error::ObjectsError;
use crate::key::{Key, is_project};

/// The folder of incomplete content. No project can have this name.
const STAGING: &str = ".staging";
const FOLDER_MODE: u32 = 0o700;
const FILE_MODE: Mode = Mode::from_raw_mode(0o600);
/// The size of a chunk. While one chunk is sent, the next one is read.
const CHUNK_BYTES: u64 = 256 << 10;
/// The number of files that a listing reads at once.
const PAGE: usize = 1000;

/// The folder of content, which stays open.
#[derive(Debug)]
pub(crate) struct Directory {
    path: PathBuf,
    root: OwnedFd,
    staging: OwnedFd,
    durability: Durability,
}

impl Directory {
    /// Creates and opens the folder, and removes the files of killed uploads.
    pub(crate) fn open(path: &Path, durability: Durability) -> Result<Self, ObjectsError> {
        let failed = |source| ObjectsError::Open { path: path.to_owned(), source };
        let mut builder = DirBuilder::new();
        builder.recursive(true).mode(FOLDER_MODE).create(path).map_err(failed)?;
        let root = OwnedFd::from(File::open(path).map_err(failed)?);
        let staging = open_or_create_folder(root.as_fd(), STAGING).map_err(failed)?;
        let directory = Self { path: path.to_owned(), root, staging, durability };
        directory.sweep().map_err(failed)?;
        Ok(directory)
    }

    /// Removes the staged files that have no writer any more.
    fn sweep(&self) -> io::Result<()> {
        for entry in Dir::read_from(&self.staging)? {
            let entry = entry?;
            let name = entry.file_name();
            if entry.file_type() != FileType::RegularFile {
                continue;
            }
            // The file is gone, because its writer has just finished.
            let Ok(file) = openat2(
                &self.staging,
                name,
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
                RESOLVE,
            ) else {
                continue;
            };
            if File::from(file).try_lock().is_ok() {
                remove(self.staging.as_fd(), name)?;
            }
        }
        Ok(())
    }

    /// Creates a file for new content.
    pub(crate) async fn stage(this: &Arc<Self>, key: &Key) -> Result<Staged, ObjectsError> {
        let (this, key) = (Arc::clone(this), key.clone());
        spawn_blocking(move || {
            let (name, file) =
                this.new_file().map_err(|error| this.failed("begin a file", error))?;
            Ok(Staged { directory: this, key, name, file: Some(file) })
        })
        .await?
    }

    fn new_file(&self) -> io::Result<(String, File)> {
        loop {
            let name = Uuid::now_v7().hyphenated().to_string();
            let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
            let file = File::from(openat2(&self.staging, &name, flags, FILE_MODE, RESOLVE)?);
            // Between the creation of a file and its lock, another process that opens the folder
            // may consider it abandoned.
            if file.try_lock().is_ok() && rustix::fs::fstat(&file)?.st_nlink == 1 {
                return Ok((name, file));
            }
        }
    }

    pub(crate) async fn get(
        this: &Arc<Self>,
        key: &Key,
        range: Option<Range<u64>>,
    ) -> Result<Content, ObjectsError> {
        let (directory, key) = (Arc::clone(this), key.clone());
        let (size_bytes, range, reading, first) = spawn_blocking(move || {
            let mut file = match openat2(
                &directory.root,
                key.as_str(),
                OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
                RESOLVE,
            ) {
                Ok(file) => File::from(file),
                Err(Errno::NOENT) => return Err(ObjectsError::NotFound(key)),
                Err(error) => return Err(directory.failed("open content", error)),
            };
            let size_bytes =
                file.metadata().map_err(|error| directory.failed("look at content", error))?.len();
            let range = within(range, size_bytes)?;
            file.seek(SeekFrom::Start(range.start))
                .map_err(|error| directory.failed("read content", error))?;
            let reading = Reading { directory, file, left: range.end - range.start };
            let (reading, first) = reading.next()?;
            Ok((size_bytes, range, reading, first))
        })
        .await??;
        // The next chunk is read while this one is sent.
        let chunks = stream::try_unfold(Prefetch::Read(reading, first), |prefetch| async move {
            let (reading, chunk) = match prefetch {
                Prefetch::Read(reading, chunk) => (reading, chunk),
                Prefetch::Reading(task) => task.await??,
                Prefetch::End => return Ok(None),
            };
            if chunk.is_empty() {
                return Ok(None);
            }
            let prefetch = if reading.left > 0 {
                Prefetch::Reading(spawn_blocking(|| reading.next()))
            } else {
                Prefetch::End
            };
            Ok(Some((chunk, prefetch)))
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
        remove(folder.as_fd(), key.file_name())
            .map_err(|error| self.failed("delete content", error))
    }

    pub(crate) fn list(
        this: &Arc<Self>,
        project: Option<&str>,
    ) -> BoxStream<'static, Result<Listed, ObjectsError>> {
        let walk = Walk {
            directory: Arc::clone(this),
            projects: project.map(|project| vec![project.to_owned()]),
            within: None,
        };
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

const RESOLVE: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

fn open_folder(root: BorrowedFd<'_>, name: &str) -> rustix::io::Result<OwnedFd> {
    openat2(
        root,
        name,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        RESOLVE,
    )
}

/// Opens a folder, and creates it if it is missing.
fn open_or_create_folder(root: BorrowedFd<'_>, name: &str) -> io::Result<OwnedFd> {
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

/// A file that is being written. It gets its key when it is published. If it is dropped before, it
/// is removed.
pub(crate) struct Staged {
    directory: Arc<Directory>,
    key: Key,
    name: String,
    /// The file, or `None` after it is published or removed.
    file: Option<File>,
}

impl Staged {
    pub(crate) async fn add(mut self, batch: Batch) -> Result<Self, ObjectsError> {
        spawn_blocking(move || {
            let written = self.file.as_mut().map_or(Ok(()), |file| {
                batch.chunks.iter().try_for_each(|chunk| file.write_all(chunk))
            });
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

    /// Gives the complete file its key in one step. If the caller stops waiting, it is deleted
    /// again.
    pub(crate) async fn publish(mut self) -> Result<(), ObjectsError> {
        let (reply, published) = oneshot::channel();
        let task = spawn_blocking(move || {
            let result =
                self.publish_now().map_err(|error| self.directory.failed("finish content", error));
            self.remove();
            if reply.send(result).is_err() {
                // In the worst case, the content stays without metadata, and a listing finds it.
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
        let folder = open_or_create_folder(self.directory.root.as_fd(), self.key.project())?;
        renameat(&self.directory.staging, &self.name, &folder, self.key.file_name())?;
        self.file = None;
        if is_to_disk {
            // Both folders are synced: the one with the new name, and its parent, because the
            // folder may be new.
            rustix::fs::fsync(&folder)?;
            rustix::fs::fsync(&self.directory.root)?;
        }
        Ok(())
    }

    pub(crate) async fn discard(mut self) {
        // An error means that the runtime is shutting down. The next process that opens the folder
        // removes the file.
        let _ = spawn_blocking(move || self.remove()).await;
    }

    fn remove(&mut self) {
        if self.file.take().is_some() {
            // If this fails, the next process that opens the folder tries again.
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
        // Freeing a file of gigabytes takes time.
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
        let read = (&self.file).take(length).read_to_end(&mut chunk).and_then(|read| {
            if read as u64 == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
        });
        read.map_err(|error| self.directory.failed("read content", error))?;
        self.left -= length;
        Ok((self, chunk.into()))
    }
}

/// The next chunk, which is read in advance.
enum Prefetch {
    Read(Reading, Bytes),
    Reading(JoinHandle<Result<(Reading, Bytes), ObjectsError>>),
    End,
}

/// The position of a listing.
struct Walk {
    directory: Arc<Directory>,
    /// The projects that remain to be listed, or `None` before the folder was read.
    projects: Option<Vec<String>>,
    within: Option<(String, OwnedFd, Dir)>,
}

impl Walk {
    /// Returns the next files. An empty page is the end.
    fn page(&mut self) -> io::Result<Vec<Listed>> {
        let mut page = Vec::new();
        while page.len() < PAGE {
            let Some((project, folder, entries)) = &mut self.within else {
                let Some(project) = self.next_project()? else { break };
                // Anything else with that name does not belong to us.
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
            let Some(key) =
                entry.file_name().to_str().ok().and_then(|name| Key::from_parts(project, name))
            else {
                continue;
            };
            let stat = match statat(&*folder, entry.file_name(), AtFlags::SYMLINK_NOFOLLOW) {
                Ok(stat) if FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile => stat,
                // The file was deleted meanwhile, or does not belong to us.
                Ok(_) | Err(Errno::NOENT) => continue,
                Err(error) => return Err(error.into()),
            };
            let since_epoch =
                Duration::new(u64::try_from(stat.st_mtime).unwrap_or(0), stat.st_mtime_nsec as u32);
            page.push(Listed {
                key,
                size_bytes: stat.st_size as u64,
                last_modified: UNIX_EPOCH + since_epoch,
            });
        }
        Ok(page)
    }

    fn next_project(&mut self) -> io::Result<Option<String>> {
        if self.projects.is_none() {
            let mut projects = Vec::new();
            for entry in Dir::read_from(&self.directory.root)? {
                let entry = entry?;
                if let Some(name) = entry.file_name().to_str().ok().filter(|name| is_project(name))
                {
                    projects.push(name.to_owned());
                }
            }
            self.projects = Some(projects);
        }
        Ok(self.projects.as_mut().and_then(Vec::pop))
    }
}
