//! The record of what a run has printed, reported and been refused, within its limits.

use belljar_protocol::{Denial, EventKind, LogEntry, RichResult, Stream};

use super::logs::{Entry, LogAssembler};
use super::report;
use super::run_handle::Emitter;

/// The maximum number of rich results. Further ones count towards the output limit and are
/// otherwise ignored.
const MAX_RESULTS: usize = 1000;
/// The maximum number of denials. Further ones are ignored.
const MAX_DENIALS: usize = 100;
/// The maximum number of notes of one run.
const MAX_NOTES: usize = 32;
/// The minimum number of bytes that a rich result counts as output.
const MIN_RESULT_BYTES: u64 = 24;

/// Everything that an outcome reports about the program, except its end. Events are emitted as it
/// grows.
pub(super) struct Transcript {
    pub(super) emitter: Emitter,
    pub(super) log: LogAssembler,
    pub(super) logs: Vec<LogEntry>,
    pub(super) results: Vec<RichResult>,
    pub(super) denied: Vec<Denial>,
    pub(super) notes: Vec<String>,
    /// The bytes of output and results so far.
    pub(super) output_bytes: u64,
    /// The limit on these bytes.
    max_bytes: u64,
}

impl Transcript {
    /// Returns an empty transcript with a limit on the bytes of output and results.
    pub(super) fn new(emitter: Emitter, max_bytes: u64) -> Self {
        Self {
            emitter,
            log: LogAssembler::new(),
            logs: Vec::new(),
            results: Vec::new(),
            denied: Vec::new(),
            notes: Vec::new(),
            output_bytes: 0,
            max_bytes,
        }
    }

    /// Returns whether there is more output than the limit.
    pub(super) fn is_exceeded(&self) -> bool {
        self.output_bytes > self.max_bytes
    }

    /// Returns whether there is so much output that nothing further is read: a flood may not end
    /// before its writer is gone.
    pub(super) fn is_flood(&self) -> bool {
        self.output_bytes > self.max_bytes.saturating_mul(2).saturating_add(16 << 20)
    }

    /// Counts a rich result. Returns whether it may be kept.
    pub(super) fn count_result(&mut self, payload: &[u8]) -> bool {
        self.output_bytes += (payload.len() as u64).max(MIN_RESULT_BYTES);
        !self.is_exceeded() && self.results.len() < MAX_RESULTS
    }

    /// Records a denial that the sandbox has reported.
    pub(super) fn report_denial(&mut self, payload: &[u8]) {
        if self.denied.len() < MAX_DENIALS
            && let Some(denial) = report::denial(payload)
        {
            self.deny(denial);
        }
    }

    /// Puts notes on the packages before those on the run.
    pub(super) fn put_first(&mut self, notes: Vec<String>) {
        self.notes.splice(..0, notes.into_iter().take(MAX_NOTES));
    }

    pub(super) fn note(&mut self, payload: &[u8]) {
        let Some(note) = report::note(payload) else { return };
        if self.notes.len() < MAX_NOTES && !self.notes.contains(&note) {
            self.notes.push(note);
        }
    }

    pub(super) fn keep_result(&mut self, result: Option<RichResult>) {
        if let Some(result) = result {
            self.emitter.emit(EventKind::Result { result: result.clone() });
            self.results.push(result);
        }
    }

    pub(super) fn deny(&mut self, denial: Denial) {
        if self.denied.len() < MAX_DENIALS && !self.denied.contains(&denial) {
            self.emitter.emit(EventKind::Denied { denial: denial.clone() });
            self.denied.push(denial);
        }
    }

    /// Records the denials of calls. The handler is trusted, but names in its denials come from the
    /// program.
    pub(super) fn record_denials(&mut self, denials: Vec<Denial>) {
        for denial in denials {
            self.deny(report::bounded_denial(denial));
        }
    }

    /// Counts `length` bytes of output, and returns how many of them may be kept.
    pub(super) fn count(&mut self, length: usize) -> usize {
        let room = self.max_bytes.saturating_sub(self.output_bytes);
        self.output_bytes += length as u64;
        usize::try_from(room).map_or(length, |room| room.min(length))
    }

    pub(super) fn output(&mut self, stream: Stream, bytes: &[u8], kept: usize) {
        let kept = &bytes[..kept];
        self.log.drop_bytes((bytes.len() - kept.len()) as u64);
        if kept.is_empty() {
            return;
        }
        self.emitter.output(stream, kept);
        let entries = self.log.push(stream, kept);
        self.record(entries);
    }

    pub(super) fn record(&mut self, entries: Vec<Entry>) {
        for Entry { timestamp, level, message } in entries {
            self.emitter.emit_at(timestamp, EventKind::Log { level, message: message.clone() });
            self.logs.push(LogEntry { timestamp, level, message });
        }
    }
}
