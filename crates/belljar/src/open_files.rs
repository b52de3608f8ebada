//! The limit of open files of this process.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit that is set if allowed: enough for the maximum number of connections and sandboxes.
const MAX_OPEN_FILES: u64 = 1 << 20;

/// Raises the soft limit as far as the hard limit allows. The usual soft limit of 1,024 is meant
/// for programs that use `select` (getrlimit(2)) and is less than a server's connections, and some
/// shells set a lower one. Sandboxes have limits of their own.
pub fn allow_all() {
    let limit = getrlimit(Resource::Nofile);
    let max = limit.maximum.unwrap_or(MAX_OPEN_FILES).min(MAX_OPEN_FILES);
    if limit.current.is_some_and(|current| current < max)
        && let Err(error) =
            setrlimit(Resource::Nofile, Rlimit { current: Some(max), maximum: limit.maximum })
    {
        tracing::warn!(%error, "cannot raise the limit of open files");
    }
}
