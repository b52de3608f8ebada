//! Records about locks: the resolutions of requests, the rules by which locks were made, and the
//! times at which versions were the newest.

use std::fs::{self, File};
use std::io;
use std::path::PathBuf;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};

use super::{Store, note_use};
use crate::folder_error::{FolderError, io_error};
use crate::lock::Lock;
use crate::resolution::{Resolution, seconds_since_1970};

/// The packages and rules that a lock was made from.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct MadeLock {
    /// The requested names.
    pub(crate) names: Vec<String>,
    /// The minimum age of versions in days.
    pub(crate) minimum_release_age_days: u32,
}

impl Store {
    /// Returns the cached resolution of a request.
    pub(crate) fn known_resolution(
        &self,
        request_sha256: &str,
    ) -> Result<Option<Resolution>, FolderError> {
        self.remembered(&format!("{request_sha256}.json"))
    }

    /// Returns a record about locks and updates its time of last use. An unreadable record counts
    /// as missing.
    fn remembered<T: serde::de::DeserializeOwned>(
        &self,
        name: &str,
    ) -> Result<Option<T>, FolderError> {
        self.must_be_own()?;
        let Ok(file) =
            File::options().read(true).write(true).open(self.root.join("locks").join(name))
        else {
            return Ok(None);
        };
        note_use(&file);
        Ok(serde_json::from_reader(io::BufReader::new(file)).ok())
    }

    /// Stores the resolution of a request.
    pub(crate) fn remember_resolution(
        &self,
        request_sha256: &str,
        resolution: &Resolution,
    ) -> Result<(), FolderError> {
        self.remember(
            &format!("{request_sha256}.json"),
            serde_json::to_vec(resolution).unwrap_or_default(),
        )
    }

    /// Records that a lock was made here, from which packages and by which rules.
    pub(crate) fn remember_made(&self, lock: &Lock, made: &MadeLock) -> Result<(), FolderError> {
        self.remember(
            &format!("{}.made", lock.sha256()),
            serde_json::to_vec(made).unwrap_or_default(),
        )
    }

    fn remember(&self, name: &str, content: Vec<u8>) -> Result<(), FolderError> {
        let folder = self.folder("locks")?;
        let path = folder.join(name);
        let new = tempfile::NamedTempFile::new_in(&folder)
            .map_err(io_error("create a file in", &folder))?;
        fs::write(new.path(), content).map_err(io_error("write", &path))?;
        new.persist(&path).map(drop).map_err(|error| io_error("write", &path)(error.error))
    }

    /// Returns how a lock was made, if it was made here.
    pub(crate) fn made_lock(&self, lock: &Lock) -> Result<Option<MadeLock>, FolderError> {
        self.remembered(&format!("{}.made", lock.sha256()))
    }

    /// Records that a registry had no newer version, under a hash of the version, the rules and the
    /// sources.
    pub(crate) fn remember_newest(&self, question_sha256: &str) -> Result<(), FolderError> {
        let now = seconds_since_1970();
        self.remember(&format!("{question_sha256}.newest"), now.to_string().into_bytes())
    }

    /// Returns the time at which a registry last had no newer version, in seconds since 1970.
    pub(crate) fn known_newest(&self, question_sha256: &str) -> Result<Option<u64>, FolderError> {
        self.remembered(&format!("{question_sha256}.newest"))
    }

    /// Removes records about locks that were not used since `before`, then the least recently used
    /// ones until the rest has at most `max_bytes`. Returns the number of freed bytes.
    pub(crate) fn forget_locks(&self, before: SystemTime, max_bytes: u64) -> u64 {
        let entries = fs::read_dir(self.root.join("locks")).into_iter().flatten().flatten();
        let mut all: Vec<(SystemTime, u64, PathBuf)> = entries
            .filter_map(|entry| {
                let metadata = entry.metadata().ok()?;
                // Every file takes at least a block.
                Some((metadata.modified().ok()?, metadata.len().max(4096), entry.path()))
            })
            .collect();
        all.sort();
        let mut total: u64 = all.iter().map(|(_, bytes, _)| bytes).sum();
        let mut freed = 0;
        for (used, bytes, path) in all {
            if used >= before && total <= max_bytes {
                break;
            }
            if fs::remove_file(path).is_ok() {
                (total, freed) = (total - bytes, freed + bytes);
            }
        }
        freed
    }
}
