//! The bytes of two streams with genuine and forged annotations in between: no output is lost
//! unless it is counted as lost, and every entry is bounded.
#![no_main]

use belljar_channel::{Annotation, ExecutionId, Frame, SandboxMessage, kind};
use belljar_engine::fuzzing::Log;
use belljar_protocol::Stream;
use libfuzzer_sys::fuzz_target;

/// The maximum length of one entry. A byte that is not UTF-8 becomes three.
const MAX_ENTRY_BYTES: usize = 3 * (64 << 10);
const MAX_ENTRIES: usize = 10_000;
/// The maximum length of an input, so that it takes milliseconds.
const MAX_BYTES: usize = 160 << 10;

fn countable<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> usize {
    bytes.into_iter().filter(|byte| byte.is_ascii_alphanumeric()).count()
}

// The input is a list of steps: one byte for the kind of the step, then its data.
fuzz_target!(|data: &[u8]| {
    let mut log = Log::new();
    let (mut pushed, mut given, mut got, mut entries) = (0, 0, 0, 0);
    let mut count = |done: Vec<(belljar_protocol::LogLevel, String)>| {
        for (_, message) in done {
            assert!(message.len() <= MAX_ENTRY_BYTES);
            entries += 1;
            got += countable(message.as_bytes());
        }
    };
    let mut rest = data;
    while let Some((&step, after)) = rest.split_first() {
        rest = after;
        if step & 3 == 0 {
            // Parsed first, as in the engine, which refuses invalid annotations before this point.
            let Some((payload, after)) = rest.split_first_chunk::<{ Annotation::BYTES }>() else {
                break;
            };
            rest = after;
            let frame = Frame {
                kind: kind::ANNOTATE,
                execution: Some(ExecutionId::FIRST),
                payload: payload.to_vec(),
            };
            if let Ok(SandboxMessage::Annotate(annotation)) = SandboxMessage::parse(frame) {
                log.annotate(annotation);
            }
            continue;
        }
        let Some((&length, after)) = rest.split_first() else { break };
        let (chunk, after) = after.split_at_checked(length.into()).unwrap_or((after, &[]));
        rest = after;
        // Repeated up to 1,024 times, to get past the longest entry and the most entries.
        let chunk = chunk.repeat(1 << (step >> 4).min(10));
        pushed += chunk.len();
        if pushed > MAX_BYTES {
            break;
        }
        given += countable(&chunk);
        let stream = if step & 3 == 1 { Stream::Stdout } else { Stream::Stderr };
        count(log.push(stream, &chunk));
    }
    count(log.finish());
    // One more entry reports what is missing.
    assert!(entries <= MAX_ENTRIES + 1);
    if entries < MAX_ENTRIES {
        assert_eq!(given, got);
    }
});
