//! A control channel's bytes in arbitrary pieces: the frames do not depend on how they were cut, none is larger than its kind may be, and no frame
//! makes the parser panic.
#![no_main]

use belljar_channel::{Frame, FrameError, FrameReader, SandboxMessage};
use libfuzzer_sys::fuzz_target;

const RESULT_BYTES: u64 = 100;
const OUTPUT_BYTES: u64 = 50;

fn bound(kind: u8) -> Option<u32> {
    SandboxMessage::bound(kind, RESULT_BYTES, OUTPUT_BYTES)
}

/// All whole frames, then the error if there is one: after it nothing is read.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = FrameReader::new(bound);
    let mut frames = Vec::new();
    for piece in pieces {
        reader.extend(piece);
        loop {
            match reader.next_frame() {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

// The first eight bytes say how long the pieces are, in turn; the rest is what the channel carries.
fuzz_target!(|data: &[u8]| {
    let Some((lengths, stream)) = data.split_first_chunk::<8>() else { return };
    let mut rest = stream;
    let mut lengths = lengths.iter().cycle();
    let pieces = std::iter::from_fn(|| {
        let length = usize::from(*lengths.next()?).max(1);
        let (piece, later) = rest.split_at_checked(length).unwrap_or((rest, &[]));
        rest = later;
        (!piece.is_empty()).then_some(piece)
    });
    let in_pieces = read(pieces);
    assert_eq!(in_pieces, read(std::iter::once(stream)));
    for frame in in_pieces.0 {
        assert!(frame.payload.len() as u64 <= u64::from(bound(frame.kind).expect("a kind that a sandbox may send")));
        let _ = SandboxMessage::parse(frame);
    }
});
