//! Takes a tree of files over from an installer that has ended. What an archive made it write decides nothing here: every step goes from one open folder
//! to the next by a plain name, no link is followed, and what is neither a file, a folder nor a link that stays inside is refused.

use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, fstat, openat, readlinkat, statat};
use sha2::{Digest, Sha256};

use crate::contents::Contents;
use crate::digest::hash;
use crate::printable::printable;

/// Deeper than any package's folders.
const MOST_DEPTH: usize = 64;
/// Names in one folder that an installer leaves and that do not count.
const INSTALLERS_OWN: u64 = 16;
/// What an operator sets the limits with.
const FILES_SETTING: &str = "environments.files (BELLJAR_ENVIRONMENT_FILES)";
const BYTES_SETTING: &str = "environments.environment_bytes (BELLJAR_ENVIRONMENT_BYTES)";

/// Why a tree is not taken over.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// Something in it that no package has, and that could lead out of it.
    #[error("{} is {what}: no package that can be trusted holds such a thing", printable(&path.to_string_lossy()))]
    Refused {
        /// Where, in the tree.
        path: PathBuf,
        /// What it is.
        what: &'static str,
    },
    /// More than is allowed.
    #[error("the environment has more than {limit} {what}; ask for fewer packages, or let the operator raise {setting}")]
    TooLarge {
        /// Files or MB.
        what: &'static str,
        /// How many are allowed.
        limit: u64,
        /// What sets the limit, in a server's configuration and as a variable.
        setting: &'static str,
    },
    /// Whoever wanted it has gone.
    #[error("nobody waits for the environment any longer")]
    Unwanted,
    /// The file system failed.
    #[error("cannot take over {}: {source}", printable(&path.to_string_lossy()))]
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

/// Whether so many files and bytes are more than is allowed.
pub(crate) fn too_large(files: u64, bytes: u64, limits: TreeLimits) -> Result<(), TreeError> {
    if files > limits.files {
        return Err(TreeError::TooLarge { what: "files", limit: limits.files, setting: FILES_SETTING });
    }
    if bytes > limits.bytes {
        return Err(TreeError::TooLarge { what: "MB", limit: limits.bytes >> 20, setting: BYTES_SETTING });
    }
    Ok(())
}

/// What a tree was found to hold.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeSummary {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// Over the names, kinds and contents of all but what is derived from them (compiled bytecode).
    pub(crate) sha256: String,
}

/// How an installation is taken over.
pub(crate) struct TakeOverRules<'a> {
    pub(crate) limits: TreeLimits,
    /// Paths in the root that are left behind: what an installer keeps for itself.
    pub(crate) leaves: &'a dyn Fn(&Path) -> bool,
    /// Links to absolute places that are fine: the interpreter of a virtual environment.
    pub(crate) may_point_to: &'a [PathBuf],
    /// Becomes true when nobody waits for it any longer.
    pub(crate) unwanted: &'a AtomicBool,
}

/// Moves everything in `from` to the new folder `to`; each file's content goes to `contents`, of which the new tree holds hard links.
pub(crate) struct TakeOver<'a> {
    contents: &'a Contents,
    rules: TakeOverRules<'a>,
    summary: TreeSummary,
    digest: Sha256,
}

impl<'a> TakeOver<'a> {
    pub(crate) fn new(contents: &'a Contents, rules: TakeOverRules<'a>) -> Self {
        Self { contents, rules, summary: TreeSummary::default(), digest: Sha256::new() }
    }

    /// Does it. Both folders are the caller's own; what is in `from` is not.
    pub(crate) fn run(mut self, from: &Path, to: &Path) -> Result<TreeSummary, TreeError> {
        let open = |path: &Path| {
            rustix::fs::open(path, OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC, Mode::empty())
                .map_err(io::Error::from)
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
        // The folder's own names count before they are kept.
        let room = self.rules.limits.files.saturating_sub(self.summary.files);
        let too_many = || TreeError::TooLarge { what: "files", limit: self.rules.limits.files, setting: FILES_SETTING };
        for name in names(from, room).map_err(|source| TreeError::Io { path: path.to_owned(), source })?.ok_or_else(too_many)? {
            let inner = path.join(OsString::from_vec(name.to_bytes().to_vec()));
            if (self.rules.leaves)(&inner) {
                continue;
            }
            if self.rules.unwanted.load(Ordering::Relaxed) {
                return Err(TreeError::Unwanted);
            }
            self.summary.files += 1;
            if self.summary.files > self.rules.limits.files {
                return Err(TreeError::TooLarge { what: "files", limit: self.rules.limits.files, setting: FILES_SETTING });
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
                    if !stays_inside(path, &shown) && !self.rules.may_point_to.contains(&shown) {
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
        if self.summary.bytes > self.rules.limits.bytes {
            return Err(TreeError::TooLarge { what: "MB", limit: self.rules.limits.bytes >> 20, setting: BYTES_SETTING });
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

/// Names in a folder, sorted, so that a tree has one digest. `None` where there are more than `most`.
fn names(folder: &OwnedFd, most: u64) -> io::Result<Option<Vec<CString>>> {
    let mut names: Vec<CString> = Vec::new();
    for entry in rustix::fs::Dir::read_from(folder)? {
        let entry = entry?;
        let name = entry.file_name();
        if name != c"." && name != c".." {
            if names.len() as u64 >= most.saturating_add(INSTALLERS_OWN) {
                return Ok(None);
            }
            names.push(name.to_owned());
        }
    }
    names.sort();
    Ok(Some(names))
}

/// Whether a link in the folder `folder` (in the tree) leads to something in the tree. Only a link that first goes up, and then down by names, is taken:
/// after a name, which may be another link's, `..` leads to where that one does and not to where this path says.
fn stays_inside(folder: &Path, target: &Path) -> bool {
    let mut above = folder.components().count();
    let mut has_gone_down = false;
    for part in target.components() {
        match part {
            Component::Normal(_) => has_gone_down = true,
            Component::CurDir => {}
            Component::ParentDir if above > 0 && !has_gone_down => above -= 1,
            Component::ParentDir | Component::RootDir | Component::Prefix(_) => return false,
        }
    }
    true
}

/// What a folder that somebody else may be changing meanwhile is found to hold: more of something than is allowed, or so many bytes. It takes one
/// descriptor a level of folders, and no more memory and time than `most` files do.
pub(crate) fn measure(folder: &Path, most: TreeLimits) -> Result<u64, TooMuch> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(|_| TooMuch::Unreadable)?;
    let mut found = (0_u64, 0_u64);
    measure_in(&folder, most, &mut found, 0)?;
    Ok(found.1)
}

/// Why a folder that is being written is not to be written any further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMuch {
    Bytes,
    Files,
    Depth,
    Unreadable,
}

fn measure_in(folder: &OwnedFd, most: TreeLimits, found: &mut (u64, u64), depth: usize) -> Result<(), TooMuch> {
    // An installer's own folders are above those of packages, and builds have deeper ones than what they leave.
    if depth > 2 * MOST_DEPTH {
        return Err(TooMuch::Depth);
    }
    let names = names(folder, most.files.saturating_sub(found.0)).map_err(|_| TooMuch::Unreadable)?.ok_or(TooMuch::Files)?;
    for name in names {
        // What is gone by now does not count.
        let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        found.0 += 1;
        found.1 = found.1.saturating_add(u64::try_from(stat.st_blocks).unwrap_or(u64::MAX).saturating_mul(512));
        if found.0 > most.files {
            return Err(TooMuch::Files);
        }
        if found.1 > most.bytes {
            return Err(TooMuch::Bytes);
        }
        if FileType::from_raw_mode(stat.st_mode as RawMode) == FileType::Directory {
            let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
            match openat(folder, &name, flags, Mode::empty()) {
                Ok(below) => measure_in(&below, most, found, depth + 1)?,
                Err(rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP) => {}
                Err(_) => return Err(TooMuch::Unreadable),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
