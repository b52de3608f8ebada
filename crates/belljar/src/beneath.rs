//! A folder that files are saved in, beneath which everything stays: whatever a name says and whatever lies there, no link is followed and nothing is
//! written through. What had a name keeps it until its new content is whole.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// A folder.
#[derive(Debug)]
pub struct Folder(OwnedFd);

/// A file that is being saved. Dropped before it is kept, it is gone.
#[derive(Debug)]
pub struct Partial {
    folder: OwnedFd,
    /// What it is called until it is kept.
    name_before: String,
    name: String,
}

impl Folder {
    /// Opens a folder, which is made where it is not there. Links in this path are the caller's own, and are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(File::open(path)?.into()))
    }

    /// Begins a file of this name, `a/b/c`, with the folders that it lies in.
    pub fn create(&self, name: &str) -> io::Result<(Partial, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut parts: Vec<&str> = name.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, "the name leads out of the folder"));
        }
        let last = parts.pop().unwrap_or_default().to_owned();
        let mut folder = self.0.try_clone()?;
        for part in parts {
            match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder = rustix::fs::openat(&folder, part, flags, Mode::empty()).map_err(|error| match error {
                Errno::LOOP | Errno::NOTDIR => {
                    io::Error::new(io::ErrorKind::NotADirectory, format!("{part} is a link or a file, not a folder"))
                }
                error => error.into(),
            })?;
        }
        let name_before = format!(".belljar-partial-{}-{}", std::process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(&folder, &name_before, flags, Mode::from_raw_mode(0o666))?);
        Ok((Partial { folder, name_before, name: last }, file))
    }
}

impl Partial {
    /// Gives it its name, in place of what had that.
    pub fn keep(self) -> io::Result<()> {
        // A rename replaces a link, and does not follow it.
        Ok(rustix::fs::renameat(&self.folder, &self.name_before, &self.folder, &self.name)?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // Kept, it is not there any more.
        let _ = rustix::fs::unlinkat(self.folder.as_fd(), &self.name_before, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn save(folder: &Path, name: &str) -> io::Result<()> {
        let (partial, mut file) = Folder::open(folder)?.create(name)?;
        file.write_all(b"new")?;
        partial.keep()
    }

    #[test]
    fn nothing_is_written_outside_of_the_folder() {
        let host = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (host.path().join("folder"), host.path().join("elsewhere"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        fs::write(elsewhere.join("victim"), "old").unwrap();
        symlink(&elsewhere, folder.join("link")).unwrap();
        symlink(elsewhere.join("victim"), folder.join("soft")).unwrap();
        fs::hard_link(elsewhere.join("victim"), folder.join("hard")).unwrap();
        for bad in ["../elsewhere/a", "a/../../elsewhere/a", "/tmp/a", "", "a//b", "link/a", "./a"] {
            assert!(save(&folder, bad).is_err(), "{bad}");
        }
        for good in ["a/b/c", "soft", "hard", "..a"] {
            save(&folder, good).unwrap();
            assert_eq!(fs::read_to_string(folder.join(good)).unwrap(), "new", "{good}");
        }
        assert_eq!(fs::read_to_string(elsewhere.join("victim")).unwrap(), "old");
        assert_eq!(fs::read_dir(&elsewhere).unwrap().count(), 1);
    }

    #[test]
    fn what_is_not_kept_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "old").unwrap();
        drop(Folder::open(folder.path()).unwrap().create("a").unwrap());
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
