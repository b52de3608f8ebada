//! The limit on open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Open files that are enough for all connections and sandboxes that are allowed at once.
const MAX_OPEN_FILES: u64 = 1 << 20;

/// Raises the soft limit as far as the hard one allows: the usual soft limit of 1,024 is for programs that use `select`
/// (getrlimit(2)), and fewer than a server's connections; some shells set it lower still. Sandboxes have limits of their
/// own.
pub fn allow_all() {
    let limit = getrlimit(Resource::Nofile);
    let max = limit.maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    if limit.current.is_some_and(|current| current < max)
        && let Err(error) = setrlimit(Resource::Nofile, Rlimit { current: Some(max), maximum: limit.maximum })
    {
        tracing::warn!(%error, "the limit on open files could not be raised");
    }
}
