//! Errors of the folder of environments.

use std::borrow::Cow;
use std::io;
use std::path::{Path, PathBuf};

use belljar_protocol::Explain;

use crate::tree::TreeError;

/// An error of the folder of environments.
#[derive(Debug, thiserror::Error)]
pub enum FolderError {
    /// The folder cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Io {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
    /// Another user owns the folder or can write to it.
    #[error("`{}` belongs to another user, or other users can write to it", path.display())]
    NotOwn {
        /// The folder of environments.
        path: PathBuf,
    },
    /// The result of an installation is rejected.
    #[error(transparent)]
    Tree(#[from] TreeError),
}

impl Explain for FolderError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Io { .. } => Some(
                "check its permissions and the free space, or choose another folder with \
                 BELLJAR_CACHE"
                    .into(),
            ),
            Self::NotOwn { .. } => Some(
                "give it to this user with mode 0700, or choose another folder with BELLJAR_CACHE"
                    .into(),
            ),
            Self::Tree(error) => error.hint(),
        }
    }
}

/// Returns a conversion of the failure of an action on a path.
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> FolderError {
    let path = path.to_owned();
    move |source| FolderError::Io { action, path, source }
}
