//! Doors to the readers of what a sandbox says, for the fuzz targets and nobody else: these readers are the engine's own business. The feature
//! `fuzzing` opens them. It also leaves the native library out of the build, so an engine built with it cannot run anything.

use belljar_channel::Annotation;
use belljar_protocol::{Denial, LogLevel, Pending, RichResult, RunError, Stream};
use serde_json::value::RawValue;

use crate::imports::{self, FoundImports};
use crate::logs::{Entry, LogAssembler};
use crate::report;

/// Reads a program's last report: its value, error and exit code.
pub fn ending(payload: &[u8], result_bytes: u64) -> (Option<Box<RawValue>>, Option<RunError>, Option<i32>) {
    let report::Ending { value, error, exit_code } = report::ending(payload, result_bytes);
    (value, error, exit_code)
}

/// Reads a result that came while something was still open: its value, and the places and counts of what is pending.
pub fn settled(payload: &[u8], result_bytes: u64) -> Option<(Option<Box<RawValue>>, Vec<Pending>)> {
    report::settled(payload, result_bytes).map(|settled| (settled.value, settled.pending))
}

/// Reads a note.
pub fn note(payload: &[u8]) -> Option<String> {
    report::note(payload)
}

/// Reads a rich result.
pub fn rich_result(payload: &[u8]) -> Option<RichResult> {
    report::rich_result(payload)
}

/// Reads a denial.
pub fn denial(payload: &[u8]) -> Option<Denial> {
    report::denial(payload)
}

/// Reads what a sandbox has found that files import.
pub fn found_imports(json: &str) -> Option<FoundImports> {
    imports::read(json)
}

/// The log of one run, as it grows.
#[derive(Debug)]
pub struct Log(LogAssembler);

impl Log {
    /// An empty one.
    #[expect(clippy::new_without_default, reason = "the one caller needs no default")]
    pub fn new() -> Self {
        Self(LogAssembler::new())
    }

    /// Takes a hint about bytes that are still to come.
    pub fn annotate(&mut self, annotation: Annotation) {
        self.0.annotate(annotation);
    }

    /// Takes bytes; gives the entries that they complete.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) -> Vec<(LogLevel, String)> {
        plain(self.0.push(stream, bytes))
    }

    /// What is left at the end.
    pub fn finish(&mut self) -> Vec<(LogLevel, String)> {
        plain(self.0.finish())
    }
}

fn plain(entries: Vec<Entry>) -> Vec<(LogLevel, String)> {
    entries.into_iter().map(|Entry { level, message, .. }| (level, message)).collect()
}
