//! The cache and the temporary files of vm-test: a folder per user, which several invocations may
//! use concurrently.
//!
//! ```text
//! bookworm/ backports/   unpacked kernels
//! busybox                the guest's first program
//! kvm-probe              whether KVM works, and the boot of this machine in which it was tried
//! console-*.log          kernel messages of boots that failed
//! scratch-*/             one per invocation; the next one removes those of killed invocations
//! lock                   held while files here are created
//! ```

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

/// The cache folder.
pub struct Cache {
    root: PathBuf,
}

/// A folder for one invocation, removed when dropped. Its lock is held while the invocation runs.
pub struct Scratch {
    directory: tempfile::TempDir,
    _lock: File,
}

impl Cache {
    /// Opens the cache in `root`, which is created if necessary.
    pub fn open(root: PathBuf) -> Result<Self> {
        fs::create_dir_all(&root)
            .with_context(|| format!("cannot make the cache folder {}", root.display()))?;
        Ok(Self { root })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Locks the cache, so that no other invocation changes it until the lock is dropped.
    pub fn lock(&self) -> Result<File> {
        locked(&self.path("lock"))
    }

    /// Creates a scratch folder, and removes those of invocations that were killed.
    pub fn scratch(&self) -> Result<Scratch> {
        let _lock = self.lock()?;
        for entry in fs::read_dir(&self.root)? {
            let path = entry?.path();
            if path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("scratch-"))
                && !is_alive(&path)
            {
                fs::remove_dir_all(&path)
                    .with_context(|| format!("cannot clear {}", path.display()))?;
            }
        }
        let directory = tempfile::Builder::new().prefix("scratch-").tempdir_in(&self.root)?;
        let lock = locked(&directory.path().join("lock"))?;
        Ok(Scratch { directory, _lock: lock })
    }
}

impl Scratch {
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }
}

fn locked(path: &Path) -> Result<File> {
    let file = File::create(path).with_context(|| format!("cannot make {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

fn is_alive(scratch: &Path) -> bool {
    File::open(scratch.join("lock"))
        .is_ok_and(|lock| matches!(lock.try_lock(), Err(TryLockError::WouldBlock)))
}

#[cfg(test)]
mod tests {
    use super::Cache;

    #[test]
    fn the_scratch_of_a_killed_invocation_is_cleared_and_that_of_a_living_one_is_not() {
        let root = tempfile::tempdir().unwrap();
        let cache = Cache::open(root.path().to_owned()).unwrap();
        let killed = root.path().join("scratch-killed");
        std::fs::create_dir(&killed).unwrap();
        std::fs::write(killed.join("lock"), "").unwrap();
        let living = cache.scratch().unwrap();
        assert!(!killed.exists());
        let another = cache.scratch().unwrap();
        assert!(living.path("lock").exists() && another.path("lock").exists());
    }
}
