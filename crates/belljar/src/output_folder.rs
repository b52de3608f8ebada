//! A folder to save files in. Whatever a name contains and whatever is in the folder, no link is
//! followed and nothing is written outside. A file is replaced when its new content is complete.

use std::fs::{self, File};
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::io::Errno;

/// An open folder to save files in.
#[derive(Debug)]
pub struct OutputFolder(OwnedFd);

/// A file that is being saved. It is deleted if it is dropped before it is kept.
#[derive(Debug)]
pub struct Partial {
    folder: OwnedFd,
    /// The temporary name of the file.
    temporary_name: String,
    name: String,
}

impl OutputFolder {
    /// Opens a folder, and creates it if it does not exist. Links in this path belong to the caller
    /// and are followed.
    pub fn open(path: &Path) -> io::Result<Self> {
        fs::create_dir_all(path)?;
        Ok(Self(File::open(path)?.into()))
    }

    /// Creates a file with a name such as `a/b/c`, and the folders in that name.
    pub fn create(&self, name: &str) -> io::Result<(Partial, File)> {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let mut parts: Vec<&str> = name.split('/').collect();
        if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                "the name leads outside the folder",
            ));
        }
        let last = parts.pop().unwrap_or_default().to_owned();
        let mut folder = self.0.try_clone()?;
        for part in parts {
            match rustix::fs::mkdirat(&folder, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
            folder =
                rustix::fs::openat(&folder, part, flags, Mode::empty()).map_err(
                    |error| match error {
                        Errno::LOOP | Errno::NOTDIR => io::Error::new(
                            io::ErrorKind::NotADirectory,
                            format!("{part} is a link or a file, not a folder"),
                        ),
                        error => error.into(),
                    },
                )?;
        }
        let temporary_name = format!(
            ".belljar-partial-{}-{}",
            std::process::id(),
            COUNT.fetch_add(1, Ordering::Relaxed)
        );
        let flags =
            OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let file = File::from(rustix::fs::openat(
            &folder,
            &temporary_name,
            flags,
            Mode::from_raw_mode(0o666),
        )?);
        Ok((Partial { folder, temporary_name, name: last }, file))
    }
}

impl AsFd for OutputFolder {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Partial {
    /// Renames the file to its final name, replacing any file of that name.
    pub fn keep(self) -> io::Result<()> {
        // A rename replaces a link, and does not follow it.
        Ok(rustix::fs::renameat(&self.folder, &self.temporary_name, &self.folder, &self.name)?)
    }
}

impl Drop for Partial {
    fn drop(&mut self) {
        // A file that was kept no longer has this name, and this does nothing.
        let _ = rustix::fs::unlinkat(self.folder.as_fd(), &self.temporary_name, AtFlags::empty());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;
    use std::os::unix::fs::symlink;

    fn save(folder: &Path, name: &str) -> io::Result<()> {
        let (partial, mut file) = OutputFolder::open(folder)?.create(name)?;
        file.write_all(b"new")?;
        partial.keep()
    }

    #[test]
    fn nothing_is_written_outside_the_folder() {
        let host = tempfile::tempdir().unwrap();
        let (folder, elsewhere) = (host.path().join("folder"), host.path().join("elsewhere"));
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(&elsewhere).unwrap();
        fs::write(elsewhere.join("victim"), "old").unwrap();
        symlink(&elsewhere, folder.join("link")).unwrap();
        symlink(elsewhere.join("victim"), folder.join("soft")).unwrap();
        fs::hard_link(elsewhere.join("victim"), folder.join("hard")).unwrap();
        for bad in ["../elsewhere/a", "a/../../elsewhere/a", "/tmp/a", "", "a//b", "link/a", "./a"]
        {
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
    fn a_file_that_is_not_kept_leaves_nothing() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("a"), "old").unwrap();
        drop(OutputFolder::open(folder.path()).unwrap().create("a").unwrap());
        assert_eq!(fs::read_to_string(folder.path().join("a")).unwrap(), "old");
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
