//! Access to the parsers of a sandbox's messages, for the fuzz targets only: these parsers are
//! internal to the engine. The feature `fuzzing` makes them public. It also excludes the native
//! library from the build, so an engine with this feature cannot run anything.

use belljar_channel::Annotation;
use belljar_protocol::{
    Bytes, Denial, LimitTerms, Limits, LogLevel, Pending, RichResult, RunError, Stream,
};
use serde_json::value::RawValue;

use crate::execution::logs::{Entry, LogAssembler};
use crate::execution::report;
use crate::imports::{self, FoundImports};

/// Parses a program's last report: its value, error and exit code.
pub fn ending(
    payload: &[u8],
    result_bytes: u64,
) -> (Option<Box<RawValue>>, Option<RunError>, Option<i32>) {
    let limits = Limits { result_bytes: Bytes(result_bytes), ..Limits::default() };
    let report::Ending { value, error, exit_code } =
        report::ending(payload, &limits, &LimitTerms::default());
    (value, error, exit_code)
}

/// Parses a result that was reported while something was still open: its value and the pending
/// things.
pub fn settled(payload: &[u8], result_bytes: u64) -> Option<(Option<Box<RawValue>>, Vec<Pending>)> {
    report::settled(payload, result_bytes).map(|settled| (settled.value, settled.pending))
}

/// Parses the text of a note.
pub fn note(payload: &[u8]) -> Option<String> {
    report::note(payload)
}

/// Parses a rich result.
pub fn rich_result(payload: &[u8]) -> Option<RichResult> {
    report::rich_result(payload)
}

/// Parses a denial.
pub fn denial(payload: &[u8]) -> Option<Denial> {
    report::denial(payload)
}

/// Parses the answer of a search for imports.
pub fn found_imports(json: &str) -> Option<FoundImports> {
    imports::read(json)
}

/// The growing log of a run.
#[derive(Debug)]
pub struct Log(LogAssembler);

impl Log {
    /// Returns an empty log.
    #[expect(clippy::new_without_default, reason = "the one caller needs no default")]
    pub fn new() -> Self {
        Self(LogAssembler::new())
    }

    /// Adds an annotation of bytes that have not arrived yet.
    pub fn annotate(&mut self, annotation: Annotation) {
        self.0.annotate(annotation);
    }

    /// Adds bytes. Returns the entries that they complete.
    pub fn push(&mut self, stream: Stream, bytes: &[u8]) -> Vec<(LogLevel, String)> {
        plain(self.0.push(stream, bytes))
    }

    /// Returns the remaining entries at the end.
    pub fn finish(&mut self) -> Vec<(LogLevel, String)> {
        plain(self.0.finish())
    }
}

fn plain(entries: Vec<Entry>) -> Vec<(LogLevel, String)> {
    entries.into_iter().map(|Entry { level, message, .. }| (level, message)).collect()
}
