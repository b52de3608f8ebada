//! Folders for installations in progress.

use std::fs::{self, File};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::folder_error::{FolderError, io_error};

/// The age from which a folder without a lock was left by a killed process.
const ABANDONED_AFTER: Duration = Duration::from_mins(1);

/// A folder for an installation. It is removed when the last clone is dropped, or by the next
/// installation after a `kill -9`.
#[derive(Clone, Debug)]
pub(crate) struct Staging {
    folder: Arc<StagingFolder>,
}

#[derive(Debug)]
struct StagingFolder {
    folder: tempfile::TempDir,
    _alive: File,
}

impl Staging {
    /// Creates a folder in `staging`, and removes those of killed processes.
    pub(super) fn in_folder(staging: &Path) -> Result<Self, FolderError> {
        sweep(staging);
        let folder = tempfile::Builder::new()
            .prefix("install-")
            .tempdir_in(staging)
            .map_err(io_error("create a folder in", staging))?;
        let (new, alive) = (folder.path().join("new"), folder.path().join("alive"));
        let lock = File::create(&new).map_err(io_error("create", &new))?;
        lock.lock().map_err(io_error("lock", &new))?;
        // Under the name that it is looked for by only once it is locked.
        fs::rename(&new, &alive).map_err(io_error("create", &alive))?;
        Ok(Self { folder: Arc::new(StagingFolder { folder, _alive: lock }) })
    }

    pub(crate) fn path(&self) -> &Path {
        self.folder.folder.path()
    }
}

/// Removes installations whose process has ended.
fn sweep(staging: &Path) {
    for entry in fs::read_dir(staging).into_iter().flatten().flatten() {
        let is_dead = match File::open(entry.path().join("alive")) {
            Ok(alive) => alive.try_lock().is_ok(),
            // A folder that is just being created has no such file yet, but it is young.
            Err(_) => entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| at.elapsed().is_ok_and(|age| age > ABANDONED_AFTER)),
        };
        if is_dead {
            let _ = fs::remove_dir_all(entry.path());
        }
    }
}
