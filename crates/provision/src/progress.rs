//! What a caller is told while a runtime or an installer is found or fetched.

use std::path::Path;

use crate::request::Version;

/// One step on the way to a runtime or an installer. Several steps of a kind follow each other while a download goes on.
#[derive(Clone, Copy, Debug)]
#[non_exhaustive]
pub enum Step<'a> {
    /// A program that was not looked at before is started and asked what it is.
    Asking {
        /// The program.
        path: &'a Path,
    },
    /// Another process is installing the same; waiting for it.
    Waiting,
    /// What the cache holds is not what was installed, so it is thrown away and fetched anew.
    Discarding {
        /// The folder that is thrown away.
        path: &'a Path,
        /// What is wrong with it.
        why: &'a str,
    },
    /// A source failed, and the next one is tried.
    FallingBack {
        /// What the source said, for people.
        why: &'a str,
    },
    /// Bytes are arriving.
    Downloading {
        /// What is fetched: `node`, `pnpm` or `uv`.
        what: &'static str,
        /// Which version of it.
        version: Version,
        /// How many bytes have arrived.
        bytes: u64,
        /// How many there will be, where the server says so.
        total: Option<u64>,
    },
    /// The hash of what arrived is compared with the expected one.
    Verifying,
    /// The archive is unpacked.
    Unpacking,
}

/// Listens to the steps. Every `FnMut(Step)` does.
pub trait Progress {
    /// Called from the calling thread, often; must be quick.
    fn step(&mut self, step: Step<'_>);
}

impl<F: FnMut(Step<'_>)> Progress for F {
    fn step(&mut self, step: Step<'_>) {
        self(step);
    }
}

/// Nobody listens.
pub struct Silent;

impl Progress for Silent {
    fn step(&mut self, _step: Step<'_>) {}
}
