//! Parsing of locks of either form.

use super::index_urls::Author;
use super::{Lock, LockError, MAX_LOCK_BYTES, pnpm, uv};

impl Lock {
    /// Parses a lock of either form that was submitted with a run. `indexes` are the URLs that
    /// Python packages may come from.
    pub fn parse(text: &str, indexes: &[String]) -> Result<Self, LockError> {
        Self::read(text, indexes, Author::Anybody)
    }

    /// Parses a lock that an installer has just written.
    pub(crate) fn written(text: &str, indexes: &[String]) -> Result<Self, LockError> {
        Self::read(text, indexes, Author::Installer)
    }

    fn read(text: &str, indexes: &[String], author: Author) -> Result<Self, LockError> {
        if text.len() > MAX_LOCK_BYTES {
            return Err(LockError::TooLong { bytes: text.len() });
        }
        if text.trim_start().starts_with("lockfileVersion:") {
            pnpm::read(text)
        } else {
            uv::read(text, indexes, author)
        }
    }
}
