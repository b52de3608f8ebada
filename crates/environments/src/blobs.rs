//! The contents of all files of all environments, stored once by their hash. Environments contain
//! hard links to them.

use std::ffi::CStr;
use std::fs::{self, DirBuilder, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, MetadataExt};
use std::path::{Path, PathBuf};

use rustix::fs::{AtFlags, CWD, Mode, OFlags, openat};

use crate::digest::hash;

/// The folder of contents: `ab/cdef...`, with an `x` at the end for executable files. Only this
/// process's user can write to it, and everyone in whose sandbox the files are shown can read them.
#[derive(Clone, Debug)]
pub(crate) struct Blobs {
    root: PathBuf,
}

impl Blobs {
    pub(crate) fn at(root: PathBuf) -> Self {
        Self { root }
    }

    fn path(&self, sha256: &str, is_executable: bool) -> PathBuf {
        let (folder, name) = sha256.split_at(2);
        self.root.join(folder).join(format!("{name}{}", if is_executable { "x" } else { "" }))
    }

    /// Stores the file `name` of `folder` as the content with this hash, unless it exists. The file
    /// is moved if `is_alone` says that the inode has no other name, and copied otherwise.
    pub(crate) fn adopt(
        &self,
        folder: BorrowedFd<'_>,
        name: &CStr,
        sha256: &str,
        is_executable: bool,
        is_alone: bool,
    ) -> io::Result<()> {
        let place = self.path(sha256, is_executable);
        let source = rustix::fs::statat(folder, name, AtFlags::SYMLINK_NOFOLLOW)?;
        // A file with another length was damaged by a loss of power, and is replaced.
        let is_there = || {
            let there = fs::symlink_metadata(&place);
            there.is_ok_and(|there| {
                there.is_file()
                    && i64::try_from(there.len()).is_ok_and(|length| length == source.st_size)
            })
        };
        if is_there() {
            return Ok(());
        }
        let parent = place.parent().unwrap_or(&self.root);
        DirBuilder::new().recursive(true).mode(0o755).create(parent)?;
        // The file has another name until it is complete.
        let new = tempfile::Builder::new().prefix(".new").make_in(parent, |path| {
            if is_alone {
                return rustix::fs::renameat(folder, name, CWD, path).map_err(io::Error::from);
            }
            let mut source = File::from(openat(
                folder,
                name,
                OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                Mode::empty(),
            )?);
            let mut copy = File::options().write(true).create_new(true).open(path)?;
            io::copy(&mut source, &mut copy).map(drop)
        })?;
        let file = openat(
            CWD,
            new.path(),
            OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        if rustix::process::geteuid().is_root() {
            rustix::fs::fchown(&file, Some(rustix::fs::Uid::ROOT), Some(rustix::fs::Gid::ROOT))?;
        }
        rustix::fs::fchmod(&file, Mode::from_raw_mode(if is_executable { 0o555 } else { 0o444 }))?;
        match new.into_temp_path().persist_noclobber(&place) {
            // Another process was faster, and others may have links to its file.
            Err(_) if is_there() => Ok(()),
            Err(error) => error.path.persist(&place).map_err(|error| error.error),
            Ok(()) => Ok(()),
        }
    }

    /// Creates a link to a content in `folder`.
    pub(crate) fn link(
        &self,
        sha256: &str,
        is_executable: bool,
        folder: BorrowedFd<'_>,
        name: &CStr,
    ) -> io::Result<()> {
        let place = self.path(sha256, is_executable);
        match rustix::fs::linkat(CWD, &place, folder, name, AtFlags::empty()) {
            Ok(()) => Ok(()),
            // A file system limits the number of links to a file, which empty files reach first.
            // Then the file is copied.
            Err(rustix::io::Errno::MLINK) => {
                let mode = Mode::from_raw_mode(if is_executable { 0o555 } else { 0o444 });
                let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::CLOEXEC;
                let mut copy = File::from(openat(folder, name, flags, mode)?);
                io::copy(&mut File::open(&place)?, &mut copy)?;
                Ok(rustix::fs::fchmod(copy.as_fd(), mode)?)
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Removes contents that do not match the hash in their name, because a loss of power damaged
    /// them. No content may be created meanwhile.
    pub(crate) fn verify(&self) -> io::Result<()> {
        for folder in folders(&self.root)? {
            let start =
                folder.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
            for entry in fs::read_dir(folder)?.flatten() {
                let name = entry.file_name();
                let named =
                    format!("{start}{}", name.to_str().unwrap_or_default().trim_end_matches('x'));
                let file = rustix::fs::open(
                    entry.path(),
                    OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
                    Mode::empty(),
                )?;
                if hash(&mut File::from(file))? != named {
                    fs::remove_file(entry.path())?;
                }
            }
        }
        Ok(())
    }

    /// Removes contents that no environment links to. Returns the number of freed bytes. No content
    /// may be created meanwhile.
    pub(crate) fn sweep(&self) -> io::Result<u64> {
        let mut freed = 0;
        for folder in folders(&self.root)? {
            for entry in fs::read_dir(folder)?.flatten() {
                let Ok(metadata) = entry.metadata() else { continue };
                if metadata.is_file() && metadata.nlink() == 1 {
                    fs::remove_file(entry.path())?;
                    freed += metadata.size();
                }
            }
        }
        Ok(freed)
    }
}

/// Returns the folders in a folder, which may be missing.
fn folders(root: &Path) -> io::Result<Vec<PathBuf>> {
    match fs::read_dir(root) {
        Ok(entries) => Ok(entries
            .flatten()
            .map(|entry| entry.path())
            .filter(|path| fs::symlink_metadata(path).is_ok_and(|metadata| metadata.is_dir()))
            .collect()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error),
    }
}
