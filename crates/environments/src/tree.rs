//! Moves a tree of files from an installer that has exited to the store. The names and links that
//! an archive contains decide nothing: every step goes from one open folder to the next by a plain
//! name, no link is followed, and anything that is not a file, a folder or a link that stays inside
//! is refused.

use std::borrow::Cow;
use std::ffi::{CStr, CString, OsString};
use std::fs::File;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::ffi::OsStringExt;
use std::path::{Component, Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use belljar_protocol::Explain;
use rustix::fs::{AtFlags, FileType, Mode, OFlags, RawMode, fstat, openat, readlinkat, statat};
use sha2::{Digest, Sha256};

use crate::blobs::Blobs;
use crate::digest::hash;
use crate::sanitize::sanitize;

/// The maximum depth of folders, which exceeds that of any package.
const MAX_DEPTH: usize = 64;
/// The number of names in a folder that belong to the installer and do not count.
const INSTALLERS_OWN: u64 = 16;
/// The settings of the limits.
const FILES_SETTING: &str = "environments.files (BELLJAR_ENVIRONMENT_FILES)";
const BYTES_SETTING: &str = "environments.environment_bytes (BELLJAR_ENVIRONMENT_BYTES)";

/// An error of moving a tree to the store.
#[derive(Debug, thiserror::Error)]
pub enum TreeError {
    /// The tree contains something that no package has, and that could lead out of it.
    #[error("`{}` is {what}, which no package may contain", sanitize(&path.to_string_lossy()))]
    Refused {
        /// Path in the tree.
        path: PathBuf,
        /// Description of the problem.
        what: &'static str,
    },
    /// The tree exceeds a limit.
    #[error("the environment has more than {limit} {what}")]
    TooLarge {
        /// Unit of the limit: files or MB.
        what: &'static str,
        /// The limit in that unit.
        limit: u64,
        /// Name of the setting in a server's configuration, and of its variable.
        setting: &'static str,
    },
    /// The caller stopped waiting for it.
    #[error("the caller stopped waiting for the environment")]
    Unwanted,
    /// The file system failed.
    #[error("cannot move `{}` to the store: {source}", sanitize(&path.to_string_lossy()))]
    Io {
        /// Path in the tree.
        path: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
}

impl Explain for TreeError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let Self::TooLarge { setting, .. } = self else { return None };
        Some(format!("request fewer packages, or have the operator raise {setting}").into())
    }
}

/// The limits of a tree.
#[derive(Clone, Copy, Debug)]
pub(crate) struct TreeLimits {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
}

/// Fails if files or bytes exceed the limits.
pub(crate) fn too_large(files: u64, bytes: u64, limits: TreeLimits) -> Result<(), TreeError> {
    if files > limits.files {
        return Err(TreeError::TooLarge {
            what: "files",
            limit: limits.files,
            setting: FILES_SETTING,
        });
    }
    if bytes > limits.bytes {
        return Err(TreeError::TooLarge {
            what: "MB",
            limit: limits.bytes >> 20,
            setting: BYTES_SETTING,
        });
    }
    Ok(())
}

/// The measured content of a tree.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TreeSummary {
    pub(crate) files: u64,
    pub(crate) bytes: u64,
    /// SHA-256 over the names, kinds and contents of all files except derived ones (compiled
    /// bytecode).
    pub(crate) sha256: String,
}

/// The rules for storing an installation.
pub(crate) struct TakeOverRules<'a> {
    pub(crate) limits: TreeLimits,
    /// Decides which paths in the root are left behind, because the installer keeps them for
    /// itself.
    pub(crate) leaves: &'a dyn Fn(&Path) -> bool,
    /// The allowed targets of absolute links, such as the interpreter of a virtual environment.
    pub(crate) may_point_to: &'a [PathBuf],
    /// Becomes true when the caller stops waiting.
    pub(crate) unwanted: &'a AtomicBool,
}

/// Moves everything in `from` to the new folder `to`. The content of each file goes to `blobs`, and
/// the new tree contains hard links to it.
pub(crate) struct TakeOver<'a> {
    blobs: &'a Blobs,
    rules: TakeOverRules<'a>,
    summary: TreeSummary,
    digest: Sha256,
}

impl<'a> TakeOver<'a> {
    pub(crate) fn new(blobs: &'a Blobs, rules: TakeOverRules<'a>) -> Self {
        Self { blobs, rules, summary: TreeSummary::default(), digest: Sha256::new() }
    }

    /// Moves the tree. Both folders belong to the caller, but the content of `from` is untrusted.
    pub(crate) fn run(mut self, from: &Path, to: &Path) -> Result<TreeSummary, TreeError> {
        let open = |path: &Path| {
            rustix::fs::open(
                path,
                OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .map_err(io::Error::from)
        };
        let at = |source| TreeError::Io { path: PathBuf::new(), source };
        self.folder(&open(from).map_err(at)?, &open(to).map_err(at)?, Path::new(""), 0)?;
        self.summary.sha256 = hex::encode(self.digest.finalize());
        Ok(self.summary)
    }

    fn folder(
        &mut self,
        from: &OwnedFd,
        to: &OwnedFd,
        path: &Path,
        depth: usize,
    ) -> Result<(), TreeError> {
        let fails = |path: &Path| {
            let path = path.to_owned();
            move |source: rustix::io::Errno| TreeError::Io { path, source: source.into() }
        };
        if depth > MAX_DEPTH {
            return Err(TreeError::Refused {
                path: path.to_owned(),
                what: "a folder that is nested too deeply",
            });
        }
        // The names in the folder count before they are stored in memory.
        let room = self.rules.limits.files.saturating_sub(self.summary.files);
        let too_many = || TreeError::TooLarge {
            what: "files",
            limit: self.rules.limits.files,
            setting: FILES_SETTING,
        };
        for name in names(from, room)
            .map_err(|source| TreeError::Io { path: path.to_owned(), source })?
            .ok_or_else(too_many)?
        {
            let inner = path.join(OsString::from_vec(name.to_bytes().to_vec()));
            if (self.rules.leaves)(&inner) {
                continue;
            }
            if self.rules.unwanted.load(Ordering::Relaxed) {
                return Err(TreeError::Unwanted);
            }
            self.summary.files += 1;
            if self.summary.files > self.rules.limits.files {
                return Err(TreeError::TooLarge {
                    what: "files",
                    limit: self.rules.limits.files,
                    setting: FILES_SETTING,
                });
            }
            let stat = statat(from, &name, AtFlags::SYMLINK_NOFOLLOW).map_err(fails(&inner))?;
            match FileType::from_raw_mode(stat.st_mode as RawMode) {
                FileType::Directory => {
                    self.note(b"folder", &inner, b"");
                    rustix::fs::mkdirat(to, &name, Mode::from_raw_mode(0o755))
                        .map_err(fails(&inner))?;
                    let flags =
                        OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
                    let below = openat(from, &name, flags, Mode::empty()).map_err(fails(&inner))?;
                    let target = openat(to, &name, flags, Mode::empty()).map_err(fails(&inner))?;
                    // The mode must not depend on the umask.
                    rustix::fs::fchmod(&target, Mode::from_raw_mode(0o755))
                        .map_err(fails(&inner))?;
                    self.folder(&below, &target, &inner, depth + 1)?;
                }
                FileType::RegularFile => self.file(from.as_fd(), to.as_fd(), &name, &inner)?,
                FileType::Symlink => {
                    let target = readlinkat(from, &name, Vec::new()).map_err(fails(&inner))?;
                    let shown = PathBuf::from(OsString::from_vec(target.to_bytes().to_vec()));
                    if !stays_inside(path, &shown) && !self.rules.may_point_to.contains(&shown) {
                        return Err(TreeError::Refused {
                            path: inner,
                            what: "a link that leads out of it",
                        });
                    }
                    self.note(b"link", &inner, target.to_bytes());
                    rustix::fs::symlinkat(&target, to, &name).map_err(fails(&inner))?;
                }
                _ => {
                    return Err(TreeError::Refused {
                        path: inner,
                        what: "neither a file nor a folder",
                    });
                }
            }
        }
        Ok(())
    }

    fn file(
        &mut self,
        from: BorrowedFd<'_>,
        to: BorrowedFd<'_>,
        name: &CStr,
        path: &Path,
    ) -> Result<(), TreeError> {
        let at = |source: io::Error| TreeError::Io { path: path.to_owned(), source };
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(from, name, flags, Mode::empty()).map_err(|error| at(error.into()))?;
        let stat = fstat(&file).map_err(|error| at(error.into()))?;
        if FileType::from_raw_mode(stat.st_mode as RawMode) != FileType::RegularFile {
            return Err(TreeError::Refused { path: path.to_owned(), what: "no longer a file" });
        }
        let size = u64::try_from(stat.st_size).unwrap_or(u64::MAX);
        self.summary.bytes = self.summary.bytes.saturating_add(size);
        if self.summary.bytes > self.rules.limits.bytes {
            return Err(TreeError::TooLarge {
                what: "MB",
                limit: self.rules.limits.bytes >> 20,
                setting: BYTES_SETTING,
            });
        }
        let is_executable = stat.st_mode & 0o100 != 0;
        let sha256 = hash(&mut File::from(file)).map_err(at)?;
        // The installer, or a later one, could still write to the inode through a second name.
        let is_alone = stat.st_nlink == 1;
        self.blobs.adopt(from, name, &sha256, is_executable, is_alone).map_err(at)?;
        self.blobs.link(&sha256, is_executable, to, name).map_err(at)?;
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

/// Returns the sorted names in a folder, so that a tree has a single digest. Returns `None` if
/// there are more than `most`.
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

/// Returns whether a link in a folder of the tree leads to something in the tree. A link may only
/// first go up and then down by names: after a name, which may be another link, `..` does not lead
/// to where the path suggests.
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

/// Measures a folder that another process may be changing. Returns its bytes, or the limit that it
/// exceeds. It uses one descriptor per level of folders, and its memory and time are bounded by
/// `most` files.
pub(crate) fn measure(folder: &Path, most: TreeLimits) -> Result<u64, TooMuch> {
    let flags = OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::RDONLY | OFlags::CLOEXEC;
    let folder = rustix::fs::open(folder, flags, Mode::empty()).map_err(|_| TooMuch::Unreadable)?;
    let mut found = (0_u64, 0_u64);
    measure_in(&folder, most, &mut found, 0)?;
    Ok(found.1)
}

/// The limit that a folder exceeds while it is being written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum TooMuch {
    Bytes,
    Files,
    Depth,
    Unreadable,
}

fn measure_in(
    folder: &OwnedFd,
    most: TreeLimits,
    found: &mut (u64, u64),
    depth: usize,
) -> Result<(), TooMuch> {
    // An installer's own folders are above those of packages, and builds have deeper folders than
    // their results.
    if depth > 2 * MAX_DEPTH {
        return Err(TooMuch::Depth);
    }
    let names = names(folder, most.files.saturating_sub(found.0))
        .map_err(|_| TooMuch::Unreadable)?
        .ok_or(TooMuch::Files)?;
    for name in names {
        // A file that is gone by now does not count.
        let Ok(stat) = statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
        found.0 += 1;
        found.1 = found
            .1
            .saturating_add(u64::try_from(stat.st_blocks).unwrap_or(u64::MAX).saturating_mul(512));
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
                Err(
                    rustix::io::Errno::NOENT | rustix::io::Errno::NOTDIR | rustix::io::Errno::LOOP,
                ) => {}
                Err(_) => return Err(TooMuch::Unreadable),
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
