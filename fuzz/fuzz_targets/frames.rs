//! The bytes of a control channel in arbitrary pieces, through all its stages: the frames do not
//! depend on how the bytes were cut, no frame exceeds the bound of its kind or is accepted outside
//! its stage or its execution, an execution ends once, nothing follows the end of the conversation,
//! a descriptor is accepted once and only with `HOME`, and nothing makes the reader panic.
#![no_main]

use belljar_channel::stage::{
    Active, FrameLimits, FromImporting, FromSealed, Importing, Sealed, Stage,
};
use belljar_channel::{ExecutionId, Frame, FrameError, FrameReader, Lost, SandboxMessage, kind};
use libfuzzer_sys::fuzz_target;

const RESULT_BYTES: u64 = 100;
const OUTPUT_BYTES: u64 = 50;

fn bound(kind: u8) -> Option<u32> {
    SandboxMessage::bound(kind, RESULT_BYTES, OUTPUT_BYTES)
}

/// Returns all complete frames, and the error that ended the reading, if any.
fn read<'a>(pieces: impl Iterator<Item = &'a [u8]>) -> (Vec<Frame>, Option<FrameError>) {
    let mut reader = FrameReader::default();
    let mut frames = Vec::new();
    for piece in pieces {
        reader.extend(piece);
        loop {
            match reader.next_frame(bound) {
                Ok(Some(frame)) => frames.push(frame),
                Ok(None) => break,
                Err(error) => return (frames, Some(error)),
            }
        }
    }
    (frames, None)
}

/// The stage of a channel.
enum At {
    Sealed(Sealed),
    Importing(Importing),
    Active(Active, Ends),
    Over,
}

/// The ends that an active sandbox has reported.
#[derive(Clone, Copy, Default)]
struct Ends {
    execution: bool,
    conversation: bool,
}

/// Reads one piece, with a number of descriptors. Returns the number of descriptors that were
/// accepted, and the new stage of the channel.
fn hear(at: At, piece: &[u8], descriptors: usize, lost: Lost) -> (usize, At) {
    match at {
        At::Sealed(stage) => match stage.hear(piece, vec![(); descriptors], lost) {
            Ok(FromSealed::Waiting(stage)) => {
                assert!(descriptors == 0 && lost == Lost::Nothing);
                (0, At::Sealed(stage))
            }
            Ok(FromSealed::Home((), stage)) => {
                assert!(descriptors == 1 && lost == Lost::Nothing);
                (1, At::Importing(stage))
            }
            Ok(FromSealed::Fault(_)) | Err(_) => (0, At::Over),
        },
        At::Importing(stage) => match stage.hear(piece, lost) {
            Ok(FromImporting::Waiting(stage)) => (0, At::Importing(stage)),
            Ok(FromImporting::Parked(parked)) => (
                0,
                At::Active(
                    parked.activate(
                        ExecutionId::FIRST,
                        FrameLimits { result_bytes: RESULT_BYTES, output_bytes: OUTPUT_BYTES },
                    ),
                    Ends::default(),
                ),
            ),
            Ok(FromImporting::Fault(_)) | Err(_) => (0, At::Over),
        },
        At::Active(mut stage, mut ends) => {
            if stage.extend(piece, lost).is_err() {
                assert_eq!(lost, Lost::Descriptors);
                return (0, At::Over);
            }
            loop {
                let message = match stage.next_message(piece.len() as u64) {
                    Ok(Some(message)) => message,
                    Ok(None) => return (0, At::Active(stage, ends)),
                    Err(_) => return (0, At::Over),
                };
                assert!(!ends.conversation);
                if message == SandboxMessage::Goodbye {
                    assert!(ends.execution);
                    ends.conversation = true;
                } else {
                    assert!(!ends.execution);
                    ends.execution = matches!(message, SandboxMessage::Executed(_));
                }
            }
        }
        At::Over => (0, At::Over),
    }
}

// The first eight bytes are the lengths of the pieces, in turn, and decide which pieces come with
// descriptors. The rest is the data of the channel.
fuzz_target!(|data: &[u8]| {
    let Some((lengths, stream)) = data.split_first_chunk::<8>() else { return };
    let mut rest = stream;
    let mut cycle = lengths.iter().cycle();
    let pieces: Vec<(u8, &[u8])> = std::iter::from_fn(|| {
        let length = *cycle.next()?;
        let (piece, later) =
            rest.split_at_checked(usize::from(length).max(1)).unwrap_or((rest, &[]));
        rest = later;
        (!piece.is_empty()).then_some((length, piece))
    })
    .collect();
    let in_pieces = read(pieces.iter().map(|(_, piece)| *piece));
    assert_eq!(in_pieces, read(std::iter::once(stream)));
    for frame in in_pieces.0 {
        assert!(
            frame.payload.len() as u64
                <= u64::from(bound(frame.kind).expect("a kind that a sandbox may send"))
        );
        assert_eq!(frame.execution.is_some(), kind::is_of_execution(frame.kind));
        let is_active = [Stage::Active, Stage::Executed]
            .iter()
            .any(|stage| stage.kinds().contains(&frame.kind));
        assert!(SandboxMessage::parse(frame).is_err() || is_active);
    }
    let (mut at, mut taken) = (At::Sealed(Sealed::default()), 0);
    for (length, piece) in pieces {
        // A piece of five bytes is a `HOME` with its descriptor. Pieces of 200 bytes and more also
        // come with descriptors, some of which were lost.
        let (descriptors, lost) = match length {
            5 => (1, Lost::Nothing),
            200.. => (usize::from(length - 200), Lost::Descriptors),
            _ => (0, Lost::Nothing),
        };
        let now;
        (now, at) = hear(at, piece, descriptors, lost);
        taken += now;
        assert!(taken <= 1);
    }
});
