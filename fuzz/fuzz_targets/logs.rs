//! Two streams' bytes with annotations in between, true and false ones: nothing is lost but what is counted as lost, and every entry is bounded.
#![no_main]

use belljar_channel::{Annotation, Frame, SandboxMessage, kind};
use belljar_engine::fuzzing::Log;
use belljar_protocol::Stream;
use libfuzzer_sys::fuzz_target;

/// Of one entry. A byte that is not UTF-8 becomes three.
const MOST_ENTRY_BYTES: usize = 3 * (64 << 10);
const MOST_ENTRIES: usize = 10_000;
/// So that one input takes milliseconds.
const MOST_BYTES: usize = 160 << 10;

fn countable<'a>(bytes: impl IntoIterator<Item = &'a u8>) -> usize {
    bytes.into_iter().filter(|byte| byte.is_ascii_alphanumeric()).count()
}

// A list of steps: one byte that says what, then what it is about.
fuzz_target!(|data: &[u8]| {
    let mut log = Log::new();
    let (mut pushed, mut given, mut got, mut entries) = (0, 0, 0, 0);
    let mut count = |done: Vec<(belljar_protocol::LogLevel, String)>| {
        for (_, message) in done {
            assert!(message.len() <= MOST_ENTRY_BYTES);
            entries += 1;
            got += countable(message.as_bytes());
        }
    };
    let mut rest = data;
    while let Some((&step, after)) = rest.split_first() {
        rest = after;
        if step & 3 == 0 {
            // As it would come: what is not an annotation is refused before it gets here.
            let Some((payload, after)) = rest.split_first_chunk::<{ Annotation::BYTES }>() else { break };
            rest = after;
            let frame = Frame { kind: kind::ANNOTATE, payload: payload.to_vec() };
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
        if pushed > MOST_BYTES {
            break;
        }
        given += countable(&chunk);
        let stream = if step & 3 == 1 { Stream::Stdout } else { Stream::Stderr };
        count(log.push(stream, &chunk));
    }
    count(log.finish());
    // One more tells what is missing.
    assert!(entries <= MOST_ENTRIES + 1);
    if entries < MOST_ENTRIES {
        assert_eq!(given, got);
    }
});
