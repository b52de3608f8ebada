//! The home of a server: its folder, the names in it, and its lock.

use std::fs::{DirBuilder, File};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use belljar_objects::ObjectsConfig;
use rustix::fs::FlockOperation;
use rustix::io::Errno;

use crate::config::ServiceConfig;
use crate::error::ServiceError;

/// The paths of a home.
#[derive(Clone, Debug)]
pub(crate) struct Home(PathBuf);

impl Home {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self(path)
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.0.join("belljar.db")
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join("keys").join("signing.key")
    }

    /// The file that backups lock for reading, and that the server locks for writing while it
    /// deletes contents.
    pub(crate) fn backup_lock(&self) -> PathBuf {
        self.0.join("backup.lock")
    }

    /// Returns the configured storage of contents, or the folder in the home.
    pub(crate) fn objects(&self, config: &ServiceConfig) -> ObjectsConfig {
        config.objects.clone().unwrap_or_else(|| ObjectsConfig::Directory {
            path: self.0.join("objects"),
            durability: config.durability,
        })
    }

    /// Creates the folder, for this user only, if it is missing.
    pub(crate) fn create(&self) -> Result<(), ServiceError> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.0).map_err(|error| {
            ServiceError::Home { what: format!("creating the home `{}`", self.0.display()), error }
        })
    }

    /// Locks the home, which only one server may use, until the file is closed.
    pub(crate) fn lock(&self) -> Result<File, ServiceError> {
        let path = self.0.join("server.lock");
        let failed =
            |error| ServiceError::Home { what: format!("opening `{}`", path.display()), error };
        let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
        match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(file),
            Err(Errno::WOULDBLOCK) => Err(ServiceError::HomeInUse(self.0.clone())),
            Err(error) => Err(failed(error.into())),
        }
    }
}
