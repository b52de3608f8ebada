//! Progress of finding and fetching runtimes and installers.

use std::path::Path;

use crate::version::Version;

/// A step of finding or fetching a runtime or an installer. During a download, several steps of the
/// same kind follow each other.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A program that was not examined before is started to query its properties.
    Probing {
        /// Path of the program.
        path: &'a Path,
    },
    /// Another process installs the same program, and this one waits for it.
    Waiting,
    /// The cached program has changed since its installation, so it is removed and fetched again.
    Discarding {
        /// Folder that is removed.
        path: &'a Path,
        /// Reason of the removal.
        why: &'a str,
    },
    /// A source failed, and the next one is tried.
    FallingBack {
        /// Human-readable error of the source.
        why: &'a str,
    },
    /// Bytes of a download have arrived.
    Downloading {
        /// Name of the program: `node`, `pnpm` or `uv`.
        what: &'static str,
        /// Version of the program.
        version: Version,
        /// Number of bytes that have arrived.
        bytes: u64,
        /// Total number of bytes, if the server has announced it.
        total: Option<u64>,
    },
    /// The hash of the download is checked.
    Verifying,
    /// The archive is being unpacked.
    Unpacking,
}

/// A receiver of steps. Every `FnMut(Step)` is one.
pub trait Progress {
    /// Receives a step. It is called often and from the calling thread, so it must be fast.
    fn step(&mut self, step: Step<'_>);
}

impl<F: FnMut(Step<'_>)> Progress for F {
    fn step(&mut self, step: Step<'_>) {
        self(step);
    }
}

/// A receiver that ignores all steps.
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _step: Step<'_>) {}
}
