//! Takes a tree of files over from an installer that has ended. What an archive made it write decides nothing here: every step goes from one open folder
//! to the next by a plain name, no link is followed, and what is neither a file, a folder nor a link that stays inside is refused.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, fstat, openat, readlinkat, statat};
use sha2::{Digest, Sha256};

use crate::contents::Contents;

/// Deeper than any package's folders.
const MOST_DEPTH: usize = 64;

/// Why a tree is not taken over.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Something in it that no package has, and that could lead out of it.
    #[error("{} is {what}: no package that can be trusted holds such a thing", path.display())]
    Refused {
        /// Where, in the tree.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// More than is allowed.
    #[error("it has more than {limit} {what}; ask for fewer packages, or let the operator raise environments.{setting}")]
    TooLarge {
        /// Files or bytes.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
        /// What sets the limit.
        setting: &'static str,
    },
    /// The file system failed.
    #[error("cannot take over {}: {source}", path.display())]
    Io {
        /// Where, in the tree.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What a tree may hold.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeLimits {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// What a tree was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeSummary {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Over the names, kinds and contents of all but what is derived from them (compiled bytecode).
    pub(crate) sha256: String,
}

/// Moves everything in `from` to the new folder `to`; each file's content goes to `contents`, of which the new tree holds hard links.
pub(crate) struct TakeOver<'a> {
    pub(crate) contents: &'a Contents,
    pub(crate) limits: TreeLimits,
    /// Names directly in the root or in its first folder that are left behind: what an installer keeps for itself.
    pub(crate) leaves: &'a dyn Fn(&Path) -> bool,
    /// Links to absolute places that are fine: the interpreter of a virtual environment.
    pub(crate) may_point_to: &'a [PathBuf],
    summary: TreeSummary,
    digest: Sha256,
}

impl<'a> TakeOver<'a> {
    pub(crate) fn new(
        contents: &'a Contents,
        limits: TreeLimits,
        leaves: &'a dyn Fn(&Path) -> bool,
        may_point_to: &'a [PathBuf],
    ) -> Self {
        Self { contents, limits, leaves, may_point_to, summary: TreeSummary::default(), digest: Sha256::new() }
    }

    /// Does it. Both folders are the caller's own; what is in `from` is not.
    pub(crate) fn run(mut self, from: &Path, to: &Path) -> Result<TreeSummary, TreeError> {
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty()).map_err(io::Error::from)
        };
        let at = |source| TreeError::Io { path: PathBuf::new(), source };
        self.folder(&open(from).map_err(at)?, &open(to).map_err(at)?, Path::new(""), 0)?;
        self.summary.sha256 = hex::encode(self.digest.finalize());
        Ok(self.summary)
    }

    fn folder(&mut self, from: &OwnedFd, to: &OwnedFd, path: &Path, depth: usize) -> Result<(), TreeError> {
        let fails = |path: &Path| {
            let path = path.to_owned();
            move |source: rustix::io::Errno| TreeError::Io { path, source: source.into() }
        };
        if depth > MOST_DEPTH {
            return Err(TreeError::Refused { path: path.to_owned(), what: "nested too deep" });
        }
        for name in names(from).map_err(|source| TreeError::Io { path: path.to_owned(), source })? {
            let inner = path.join(OsString::from_vec(name.to_bytes().to_vec()));
            if (self.leaves)(&inner) {
                continue;
            }
            self.summary.files += 1;
            if self.summary.files > self.limits.files {
                return Err(TreeError::TooLarge { what: "files", limit: self.limits.files, setting: "files" });
            }
            let stat = statat(from, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(fails(&inner))?;
            match FileType::from_raw_mode(stat.st_mode as RawMode) {
                FileType::Directory => {
                    self.note(b"folder", &inner, b"");
                    rustix::fs::mkdirat(to, &name, Mode::from_raw_mode(0o755)).map_err(fails(&inner))?;
                    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                    let below = openat(from, &name, flags, Mode::empty()).map_err(fails(&inner))?;
                    let target = openat(to, &name, flags, Mode::empty()).map_err(fails(&inner))?;
                    // Whatever the umask is here.
                    rustix::fs::fchmod(&target, Mode::from_raw_mode(0o755)).map_err(fails(&inner))?;
                    self.folder(&below, &target, &inner, depth + 1)?;
                }
                FileType::RegularFile => self.file(from.as_fd(), to.as_fd(), &name, &inner)?,
                FileType::Symlink => {
                    let target = readlinkat(from, &name, Vec::new()).map_err(fails(&inner))?;
                    let shown = PathBuf::from(OsString::from_vec(target.to_bytes().to_vec()));
                    if !stays_inside(path, &shown) && !self.may_point_to.contains(&shown) {
                        return Err(TreeError::Refused { path: inner, what: "a link that leads out of it" });
                    }
                    self.note(b"link", &inner, target.to_bytes());
                    rustix::fs::symlinkat(&target, to, &name).map_err(fails(&inner))?;
                }
                _ => return Err(TreeError::Refused { path: inner, what: "neither a file nor a folder" }),
            }
        }
        Ok(())
    }

    fn file(&mut self, from: BorrowedFd<'_>, to: BorrowedFd<'_>, name: &CStr, path: &Path) -> Result<(), TreeError> {
        let at = |source: io::Error| TreeError::Io { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(from, name, flags, Mode::empty()).map_err(|error| at(error.into()))?;
        let stat = fstat(&file).map_err(|error| at(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode as RawMode) != FileType::RegularFile {
            return Err(TreeError::Refused { path: path.to_owned(), what: "not the file that it was" });
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        self.summary.bytes = self.summary.bytes.saturating_add(size);
        if self.summary.bytes > self.limits.bytes {
            return Err(TreeError::TooLarge { what: "bytes", limit: self.limits.bytes, setting: "environment_bytes" });
        }
        let is_executable = stat.st_mode & 0o100 != 0;
        let sha256 = hash(&mut File::from(file)).map_err(at)?;
        // A second name of the inode may be where the installer, or a later one, can still write.
        let is_alone = stat.st_nlink == 1;
        self.contents.adopt(from, name, &sha256, is_executable, is_alone).map_err(at)?;
        self.contents.link(&sha256, is_executable, to, name).map_err(at)?;
        if path.extension().is_none_or(|extension| extension != "pyc") {
            self.note(if is_executable { b"program" } else { b"file" }, path, sha256.as_bytes());
        }
        Ok(())
    }

    fn note(&mut self, kind: &[u8], path: &Path, content: &[u8]) {
        if path.file_name().is_some_and(|name| name == "__pycache__") {
            return;
        }
        for part in [kind, path.as_os_str().as_encoded_bytes(), content] {
            self.digest.update((part.len() as u64).to_le_bytes());
            self.digest.update(part);
        }
    }
}

/// Names in a folder, sorted, so that a tree has one digest.
fn names(folder: &OwnedFd) -> io::Result<Vec<CString>> {
    let mut names: Vec<CString> = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(names)
}

/// Whether a link in the folder `folder` (in the tree) leads to something in the tree.
fn stays_inside(folder: &Path, target: &Path) -> bool {
    let mut depth = folder.components().count();
    for part in target.components() {
        match part {
            Component::Normal(_) => depth += 1,
            Component::CurDir => {}
            Component::ParentDir if depth > 0 => depth -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

pub(crate) fn hash(source: &mut impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// How many bytes a folder holds that somebody else may be changing meanwhile. `None` once it is more than `most`, or cannot be told.
pub(crate) fn size_within(folder: &Path, most: u64) -> Option<u64> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let mut total = 0_u64;
    let mut open = vec![rustix::fs::open(folder, flags, Mode::empty()).ok()?];
    while let Some(folder) = open.pop() {
        if open.len() > 4096 {
            return None;
        }
        for name in names(&folder).ok()? {
            // What is gone by now does not count.
            let Ok(stat) = statat(&folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            total = total.saturating_add(u64::try_from(stat.st_blocks).ok()?.saturating_mul(512));
            if total > most {
                return None;
            }
            if FileType::from_raw_mode(stat.st_mode as RawMode) == FileType::Directory {
                open.extend(openat(&folder, &name, flags, Mode::empty()));
            }
        }
    }
    Some(total)
}
