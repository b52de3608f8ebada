//! Splits the bytes of two streams into log entries, which are lines or ranges that the sandbox
//! annotated. Their length and number is bounded. If a log has too many entries, its beginning and
//! its end are kept: programs print their findings at the end.

use std::collections::VecDeque;

use belljar_channel::Annotation;
use belljar_protocol::{LogLevel, Stream, Timestamp};

/// The maximum length of an entry in bytes. A longer line is split.
const MAX_ENTRY_BYTES: usize = 64 << 10;
/// The number of first entries of a log, which are passed on as they arrive.
const MAX_FIRST_ENTRIES: usize = 8_000;
/// The number of last entries of a longer log. They are held until the run ends, because only then
/// are they known, and an event cannot be taken back.
const MAX_LAST_ENTRIES: usize = 2_000;
/// The maximum number of annotations, which are only hints. Further ones are ignored.
const MAX_ANNOTATIONS: usize = 10_000;

/// A log entry, with the time at which its last byte arrived.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    pub(crate) timestamp: Timestamp,
    pub(crate) level: LogLevel,
    pub(crate) message: String,
}

impl Entry {
    /// Returns an entry with the current time.
    pub(crate) fn now(level: LogLevel, message: String) -> Self {
        Self { timestamp: Timestamp::now(), level, message }
    }
}

/// The growing log of a run.
#[derive(Debug)]
pub(crate) struct LogAssembler {
    streams: [StreamState; 2],
    /// Bytes that arrived before earlier bytes of the other stream.
    held: [Vec<u8>; 2],
    /// The points at which a stream paused for the other, in order of time: index of the stream,
    /// and its number of bytes.
    pauses: VecDeque<(usize, u64)>,
    /// The number of entries that were passed on.
    passed_on: usize,
    /// The last entries after those.
    last: VecDeque<Entry>,
    /// The number of dropped entries between the two.
    dropped_entries: u64,
    dropped_bytes: u64,
}

#[derive(Debug)]
struct StreamState {
    default: LogLevel,
    pending: Vec<u8>,
    /// Inside an annotated range: the level of the entry that `pending` belongs to, and the number
    /// of its missing bytes.
    range: Option<(LogLevel, u64)>,
    consumed: u64,
    annotations: VecDeque<Annotation>,
}

fn level(code: u8) -> LogLevel {
    match code {
        0 => LogLevel::Debug,
        1 => LogLevel::Info,
        2 => LogLevel::Warn,
        _ => LogLevel::Error,
    }
}

fn index(stream: Stream) -> usize {
    match stream {
        Stream::Stdout => 0,
        Stream::Stderr => 1,
    }
}

impl LogAssembler {
    pub(crate) fn new() -> Self {
        let state = |default| StreamState {
            default,
            pending: Vec::new(),
            range: None,
            consumed: 0,
            annotations: VecDeque::new(),
        };
        Self {
            streams: [state(LogLevel::Info), state(LogLevel::Error)],
            held: [Vec::new(), Vec::new()],
            pauses: VecDeque::new(),
            passed_on: 0,
            last: VecDeque::new(),
            dropped_entries: 0,
            dropped_bytes: 0,
        }
    }

    /// Adds an annotation of bytes that have not arrived yet. An annotation without length marks a
    /// point at which the stream pauses, and the other stream is written to.
    pub(crate) fn annotate(&mut self, annotation: Annotation) {
        if annotation.length == 0 {
            let stream = usize::from(annotation.stream).wrapping_sub(1);
            if stream < self.streams.len() && self.pauses.len() < MAX_ANNOTATIONS {
                self.pauses.push_back((stream, annotation.offset));
            }
            return;
        }
        let Some(state) = self.streams.get_mut(usize::from(annotation.stream).wrapping_sub(1))
        else {
            return;
        };
        let in_order = annotation.offset
            >= state
                .annotations
                .back()
                .map_or(state.consumed, |last| last.offset.saturating_add(last.length.into()));
        if in_order && state.annotations.len() < MAX_ANNOTATIONS {
            state.annotations.push_back(annotation);
        }
    }

    /// Adds bytes. Returns the entries that they complete, if these are among the first ones.
    pub(crate) fn push(&mut self, stream: Stream, bytes: &[u8]) -> Vec<Entry> {
        let mut done = Vec::new();
        let stream = index(stream);
        if self.pauses.is_empty() {
            self.streams[stream].consume(bytes, &mut done);
        } else {
            self.held[stream].extend_from_slice(bytes);
            self.release(&mut done);
        }
        self.bounded(done)
    }

    /// Consumes held bytes as far as they are known to be next. The bytes that a pause waits for
    /// are in the pipe already; if the pause is forged, `finish` releases the rest.
    fn release(&mut self, done: &mut Vec<Entry>) {
        let mut starts = [0; 2];
        while let Some((stream, end)) = self.pauses.front().copied() {
            let (state, held) = (&mut self.streams[stream], &self.held[stream][starts[stream]..]);
            let count = usize::try_from(end.saturating_sub(state.consumed))
                .map_or(held.len(), |room| room.min(held.len()));
            state.consume(&held[..count], done);
            starts[stream] += count;
            if state.consumed < end {
                break;
            }
            self.pauses.pop_front();
        }
        for ((state, held), start) in self.streams.iter_mut().zip(&mut self.held).zip(starts) {
            if self.pauses.is_empty() {
                state.consume(&held[start..], done);
                held.clear();
            } else {
                held.drain(..start);
            }
        }
    }

    /// Counts bytes that were discarded unread.
    pub(crate) fn drop_bytes(&mut self, count: u64) {
        self.dropped_bytes += count;
    }

    /// Returns the rest of the log at its end: the last entries, including unfinished lines, and a
    /// note at each place where entries were dropped.
    pub(crate) fn finish(&mut self) -> Vec<Entry> {
        let mut done = Vec::new();
        self.pauses.clear();
        self.release(&mut done);
        for state in &mut self.streams {
            if !state.pending.is_empty() {
                let level = state.range.take().map_or(state.default, |(level, _)| level);
                done.push(entry(level, &std::mem::take(&mut state.pending)));
            }
        }
        let mut rest = self.bounded(done);
        if self.dropped_entries > 0 {
            let message = format!(
                "{} log entries were left out here: a log keeps its first {MAX_FIRST_ENTRIES} and \
                 its last {MAX_LAST_ENTRIES}",
                self.dropped_entries
            );
            // Keep the order of time.
            let timestamp = self.last.front().map_or_else(Timestamp::now, |entry| entry.timestamp);
            rest.push(Entry { timestamp, level: LogLevel::Warn, message });
        }
        rest.extend(self.last.drain(..));
        if self.dropped_bytes > 0 {
            rest.push(Entry::now(
                LogLevel::Warn,
                format!("{} bytes of output were dropped", self.dropped_bytes),
            ));
        }
        rest
    }

    /// Returns the entries to pass on, and keeps the latest of the others.
    fn bounded(&mut self, mut done: Vec<Entry>) -> Vec<Entry> {
        let room = MAX_FIRST_ENTRIES - self.passed_on;
        if done.len() > room {
            for entry in done.drain(room..) {
                if self.last.len() == MAX_LAST_ENTRIES {
                    self.last.pop_front();
                    self.dropped_entries += 1;
                }
                self.last.push_back(entry);
            }
        }
        self.passed_on += done.len();
        done
    }
}

impl StreamState {
    fn consume(&mut self, mut bytes: &[u8], done: &mut Vec<Entry>) {
        while !bytes.is_empty() {
            let taken = self.take(bytes, done);
            self.consumed += taken as u64;
            bytes = &bytes[taken..];
        }
    }

    /// Consumes at least one byte. Returns the number of consumed bytes.
    fn take(&mut self, bytes: &[u8], done: &mut Vec<Entry>) -> usize {
        if let Some((level, left)) = self.range {
            let count = usize::try_from(left)
                .map_or(bytes.len(), |left| left.min(bytes.len()))
                .min(MAX_ENTRY_BYTES - self.pending.len());
            self.pending.extend_from_slice(&bytes[..count]);
            let left = left - count as u64;
            if left == 0 || self.pending.len() >= MAX_ENTRY_BYTES {
                done.push(entry(level, &std::mem::take(&mut self.pending)));
            }
            self.range = (left > 0).then_some((level, left));
            return count;
        }
        // Annotations of bytes that have already passed are useless.
        while self.annotations.front().is_some_and(|next| next.offset < self.consumed) {
            self.annotations.pop_front();
        }
        let until_range = match self.annotations.front() {
            Some(next) if next.offset == self.consumed => {
                // An unfinished line ends here.
                if !self.pending.is_empty() {
                    done.push(entry(self.default, &std::mem::take(&mut self.pending)));
                }
                self.range = Some((level(next.level), u64::from(next.length)));
                self.annotations.pop_front();
                return self.take(bytes, done);
            }
            Some(next) => usize::try_from(next.offset - self.consumed).unwrap_or(usize::MAX),
            None => usize::MAX,
        };
        let plain =
            &bytes[..bytes.len().min(until_range).min(MAX_ENTRY_BYTES - self.pending.len())];
        if let Some(end) = plain.iter().position(|&byte| byte == b'\n') {
            self.pending.extend_from_slice(&plain[..=end]);
            done.push(entry(self.default, &std::mem::take(&mut self.pending)));
            return end + 1;
        }
        self.pending.extend_from_slice(plain);
        if self.pending.len() >= MAX_ENTRY_BYTES {
            done.push(entry(self.default, &std::mem::take(&mut self.pending)));
        }
        plain.len()
    }
}

fn entry(level: LogLevel, bytes: &[u8]) -> Entry {
    let text = bytes.strip_suffix(b"\n").unwrap_or(bytes);
    let text = text.strip_suffix(b"\r").unwrap_or(text);
    Entry::now(level, String::from_utf8_lossy(text).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn entries_of_both_streams_are_in_the_order_in_which_they_were_written() {
        let pause = |stream, offset| Annotation { stream, level: 0, offset, length: 0 };
        let mut log = LogAssembler::new();
        // Written: out 1, err 2, out 3, err 4.
        for annotation in [pause(1, 2), pause(2, 2), pause(1, 4)] {
            log.annotate(annotation);
        }
        let mut entries = log.push(Stream::Stderr, b"2\n4\n");
        assert!(entries.is_empty());
        entries.extend(log.push(Stream::Stdout, b"1\n"));
        entries.extend(log.push(Stream::Stdout, b"3\n"));
        assert_eq!(
            entries.iter().map(|entry| entry.message.as_str()).collect::<Vec<_>>(),
            ["1", "2", "3", "4"]
        );
    }

    #[test]
    fn a_pause_that_never_comes_holds_nothing_back_for_ever() {
        let mut log = LogAssembler::new();
        log.annotate(Annotation { stream: 1, level: 0, offset: u64::MAX, length: 0 });
        assert!(log.push(Stream::Stderr, b"held\n").is_empty());
        assert_eq!(log.finish()[0].message, "held");
    }

    fn messages(entries: &[Entry]) -> Vec<(&str, LogLevel)> {
        entries.iter().map(|entry| (entry.message.as_str(), entry.level)).collect()
    }

    #[test]
    fn lines_are_entries_of_their_streams_level() {
        let mut log = LogAssembler::new();
        let mut entries = log.push(Stream::Stdout, b"one\ntw");
        entries.extend(log.push(Stream::Stdout, b"o\r\n"));
        entries.extend(log.push(Stream::Stderr, b"bad"));
        entries.extend(log.finish());
        assert_eq!(
            messages(&entries),
            [("one", LogLevel::Info), ("two", LogLevel::Info), ("bad", LogLevel::Error)]
        );
    }

    #[test]
    fn an_annotated_range_is_one_entry_of_its_level() {
        let mut log = LogAssembler::new();
        log.annotate(Annotation { stream: 2, level: 2, offset: 4, length: 8 });
        let mut entries = log.push(Stream::Stderr, b"raw\nwar");
        entries.extend(log.push(Stream::Stderr, b"n\nme\nrest\n"));
        assert_eq!(
            messages(&entries),
            [("raw", LogLevel::Error), ("warn\nme", LogLevel::Warn), ("rest", LogLevel::Error)]
        );
    }

    #[test]
    fn a_range_past_the_end_of_all_numbers_does_no_harm() {
        let mut log = LogAssembler::new();
        for _ in 0..2 {
            log.annotate(Annotation { stream: 1, level: 3, offset: u64::MAX, length: 5 });
        }
        assert_eq!(messages(&log.push(Stream::Stdout, b"abc\n")), [("abc", LogLevel::Info)]);
    }

    #[test]
    fn invalid_utf8_is_replaced_and_long_lines_are_cut() {
        let mut log = LogAssembler::new();
        assert_eq!(log.push(Stream::Stdout, b"\xff\n")[0].message, "\u{fffd}");
        let entries = log.push(Stream::Stdout, &vec![b'x'; 3 * MAX_ENTRY_BYTES]);
        assert_eq!(entries.len(), 3);
        assert!(entries.iter().all(|entry| entry.message.len() == MAX_ENTRY_BYTES));
    }

    /// The whole log of a run that writes these bytes to standard output in pieces of this size.
    fn whole(bytes: &[u8], piece: usize) -> Vec<String> {
        let mut log = LogAssembler::new();
        let mut entries: Vec<Entry> =
            bytes.chunks(piece).flat_map(|piece| log.push(Stream::Stdout, piece)).collect();
        entries.extend(log.finish());
        entries.into_iter().map(|entry| entry.message).collect()
    }

    #[test]
    fn a_long_log_keeps_its_beginning_and_its_end_and_says_what_is_missing() {
        let most = MAX_FIRST_ENTRIES + MAX_LAST_ENTRIES;
        for (lines, dropped) in [
            (1, 0),
            (MAX_FIRST_ENTRIES + 1, 0),
            (most, 0),
            (most + 1, 1),
            (3 * most + 7, 2 * most + 7),
        ] {
            let text = (0..lines).map(|line| line.to_string() + "\n").collect::<Vec<_>>().concat();
            for piece in [7, 64 << 10] {
                let mut kept = whole(text.as_bytes(), piece);
                if dropped > 0 {
                    let marker = kept.remove(MAX_FIRST_ENTRIES);
                    assert!(
                        marker.starts_with(&format!("{dropped} log entries were left out here")),
                        "{marker}"
                    );
                }
                assert_eq!(
                    (kept.first(), kept.last()),
                    (Some(&"0".to_owned()), Some(&(lines - 1).to_string()))
                );
                assert_eq!(kept.len(), lines - dropped);
                assert!(
                    kept.iter()
                        .take(MAX_FIRST_ENTRIES)
                        .enumerate()
                        .all(|(line, message)| *message == line.to_string())
                );
            }
        }
    }

    #[test]
    fn a_last_line_without_an_end_is_the_last_of_a_long_log() {
        let mut text = vec![b'\n'; 20_000];
        text.extend_from_slice(b"TOTAL 42");
        assert_eq!(whole(&text, 4096).last().unwrap(), "TOTAL 42");
    }

    #[test]
    fn the_first_entries_are_passed_on_at_once_and_later_ones_at_the_end() {
        let mut log = LogAssembler::new();
        assert_eq!(
            log.push(Stream::Stdout, &vec![b'\n'; MAX_FIRST_ENTRIES + 5]).len(),
            MAX_FIRST_ENTRIES
        );
        assert!(log.push(Stream::Stderr, b"later\n").is_empty());
        log.drop_bytes(7);
        let rest = log.finish();
        assert_eq!((rest.len(), rest[5].message.as_str()), (7, "later"));
        assert_eq!(rest[6].message, "7 bytes of output were dropped");
    }

    fn letters(text: &str) -> usize {
        text.chars().filter(char::is_ascii_alphanumeric).count()
    }

    fn letters_of(entries: &[Entry]) -> usize {
        entries.iter().map(|entry| letters(&entry.message)).sum()
    }

    proptest! {
        #[test]
        fn nothing_that_a_sandbox_says_loses_bytes_or_panics(
            chunks in proptest::collection::vec((any::<bool>(), proptest::collection::vec(any::<u8>(), 0..50)), 0..20),
            hints in proptest::collection::vec((1_u8..3, 0_u8..4, 0_u64..200, 0_u32..60), 0..10),
        ) {
            let mut log = LogAssembler::new();
            for (stream, level, offset, length) in hints {
                log.annotate(Annotation { stream, level, offset, length });
            }
            let (mut given, mut got) = (0, 0);
            for (is_stdout, chunk) in chunks {
                given += letters(&String::from_utf8_lossy(&chunk));
                let stream = if is_stdout { Stream::Stdout } else { Stream::Stderr };
                got += letters_of(&log.push(stream, &chunk));
            }
            got += letters_of(&log.finish());
            prop_assert_eq!(given, got);
        }
    }
}
