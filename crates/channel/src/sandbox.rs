//! What a sandbox may say on its control channel. When it may say it: see [`crate::stage`].

use crate::frame::{Frame, FrameError, HEADER_BYTES, encode_header};

/// The kinds of frames, in both directions.
pub mod kind {
    /// Sandbox to supervisor: parked, to be activated. No payload.
    pub const READY: u8 = 1;
    /// Sandbox to supervisor: what the next bytes of a stream are. See [`super::Annotation`].
    pub const ANNOTATE: u8 = 2;
    /// Sandbox to supervisor: a rich result, JSON.
    pub const RESULT: u8 = 3;
    /// Sandbox to supervisor: a refused action, JSON.
    pub const DENIED: u8 = 4;
    /// Sandbox to supervisor: how the program ended, JSON. The last that is listened to.
    pub const FINISHED: u8 = 5;
    /// Sandbox to supervisor, only before it is activated: a step of its own set-up failed. Text.
    pub const FAULT: u8 = 6;
    /// Sandbox to supervisor: a socket for a call, please. No payload. Answered by [`CALL_OPENED`], in the order of asking.
    pub const CALL: u8 = 7;
    /// Sandbox to supervisor, right after it is sealed: the descriptor of its working folder, which comes along. No payload.
    pub const HOME: u8 = 8;
    /// Sandbox to supervisor: a note for the writer of the program, text. At most 1,000 bytes, and 32 of them are kept.
    pub const NOTE: u8 = 9;
    /// Sandbox to supervisor: the result is there, and something is still open. JSON: the value and what is pending. The last one counts.
    pub const SETTLED: u8 = 10;
    /// Supervisor to sandbox: a file. Payload: two bytes of path length, the path, eight bytes of size; then that many raw bytes.
    pub const FILE: u8 = 16;
    /// Supervisor to sandbox: the activation, JSON.
    pub const ACTIVATE: u8 = 17;
    /// Supervisor to sandbox: what became of a [`CALL`]. See [`super::CallOpening`].
    pub const CALL_OPENED: u8 = 18;
}

/// Most bytes of the words of a fault.
const MOST_FAULT_BYTES: u32 = 64 << 10;
/// Most bytes of a note.
const MAX_NOTE_BYTES: u32 = 1_000;
/// Most bytes of an error report or a denial: a message and a stack of 64 KB each, five causes deep, escaped, fit well.
const MOST_REPORT_BYTES: u32 = 4 << 20;

/// Says that a range of a stream's bytes is one log entry. `offset` counts the bytes that the program's process had written to that stream
/// before; another process that writes to it too shifts what is meant, so it is a hint and no more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// 1 is standard output, 2 standard error.
    pub stream: u8,
    /// 0 debug, 1 info, 2 warn, 3 error.
    pub level: u8,
    /// Where the entry starts.
    pub offset: u64,
    /// How long it is.
    pub length: u32,
}

impl Annotation {
    /// Bytes of the payload.
    pub const BYTES: usize = 14;

    /// The payload.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let mut bytes = [0; Self::BYTES];
        bytes[0] = self.stream;
        bytes[1] = self.level;
        bytes[2..10].copy_from_slice(&self.offset.to_le_bytes());
        bytes[10..].copy_from_slice(&self.length.to_le_bytes());
        bytes
    }

    fn decode(payload: &[u8]) -> Option<Self> {
        let (&[stream, level], rest) = payload.split_first_chunk::<2>()?;
        let (offset, length) = rest.split_first_chunk::<8>()?;
        let annotation = Self { stream, level, offset: u64::from_le_bytes(*offset), length: u32::from_le_bytes(length.try_into().ok()?) };
        (matches!(stream, 1 | 2) && level <= 3).then_some(annotation)
    }
}

/// What becomes of a sandbox's wish for a call. Always as many bytes, so that one receive takes one answer, whoever else in the sandbox reads too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOpening {
    /// The socket comes along.
    Opened = 0,
    /// Too many are open, or the host has no socket to give: to be asked for again once one is closed.
    Busy = 1,
    /// This run has nobody to call.
    Refused = 2,
}

impl CallOpening {
    /// Bytes of its frame.
    pub const BYTES: usize = HEADER_BYTES + 1;

    /// The whole frame.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let [a, b, c, d, kind] = encode_header(kind::CALL_OPENED, 1);
        [a, b, c, d, kind, self as u8]
    }

    /// Reads a frame.
    pub fn decode(frame: [u8; Self::BYTES]) -> Option<Self> {
        [Self::Opened, Self::Busy, Self::Refused].into_iter().find(|opening| opening.encode() == frame)
    }
}

/// What an active sandbox says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxMessage {
    /// What the next bytes of a stream are.
    Annotate(Annotation),
    /// A rich result, JSON not yet parsed.
    Result(Vec<u8>),
    /// A refused action, JSON not yet parsed.
    Denied(Vec<u8>),
    /// How the program ended, JSON not yet parsed.
    Finished(Vec<u8>),
    /// It wants a socket for a call.
    Call,
    /// A note, text not yet checked.
    Note(Vec<u8>),
    /// The result while something is still open, JSON not yet parsed.
    Settled(Vec<u8>),
}

impl SandboxMessage {
    /// Most payload bytes of each kind, `None` for a kind that no sandbox may send.
    pub fn bound(kind: u8, result_bytes: u64, output_bytes: u64) -> Option<u32> {
        let clamp = |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(MOST_REPORT_BYTES);
        Some(match kind {
            kind::READY | kind::CALL | kind::HOME => 0,
            kind::ANNOTATE => Annotation::BYTES as u32,
            // Base64 and JSON escapes make a rich result longer than what it holds.
            kind::RESULT => clamp(output_bytes.saturating_mul(2)),
            kind::DENIED => MOST_REPORT_BYTES,
            kind::FAULT => MOST_FAULT_BYTES,
            kind::FINISHED | kind::SETTLED => clamp(result_bytes),
            kind::NOTE => MAX_NOTE_BYTES,
            _ => return None,
        })
    }

    /// Reads a frame of an active sandbox.
    pub fn parse(frame: Frame) -> Result<Self, FrameError> {
        let Frame { kind, payload } = frame;
        Ok(match kind {
            kind::ANNOTATE => Self::Annotate(Annotation::decode(&payload).ok_or(FrameError::Malformed(kind))?),
            kind::RESULT => Self::Result(payload),
            kind::DENIED => Self::Denied(payload),
            kind::FINISHED => Self::Finished(payload),
            kind::CALL => Self::Call,
            kind::NOTE => Self::Note(payload),
            kind::SETTLED => Self::Settled(payload),
            _ => return Err(FrameError::UnknownKind(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn an_annotation_is_read_as_it_was_written(stream in 1_u8..3, level in 0_u8..4, offset: u64, length: u32) {
            let annotation = Annotation { stream, level, offset, length };
            let frame = Frame { kind: kind::ANNOTATE, payload: annotation.encode().to_vec() };
            prop_assert_eq!(SandboxMessage::parse(frame), Ok(SandboxMessage::Annotate(annotation)));
        }

        #[test]
        fn no_frame_makes_the_parser_panic(kind: u8, payload in proptest::collection::vec(any::<u8>(), 0..64)) {
            let _ = SandboxMessage::parse(Frame { kind, payload });
        }
    }

    #[test]
    fn an_opening_is_read_as_it_was_written_and_nothing_else_is() {
        for opening in [CallOpening::Opened, CallOpening::Busy, CallOpening::Refused] {
            assert_eq!(CallOpening::decode(opening.encode()), Some(opening));
        }
        assert_eq!(CallOpening::decode([1, 0, 0, 0, kind::CALL_OPENED, 3]), None);
        assert_eq!(CallOpening::decode([2, 0, 0, 0, kind::CALL_OPENED, 0]), None);
        assert_eq!(CallOpening::decode([1, 0, 0, 0, kind::ACTIVATE, 0]), None);
    }

    #[test]
    fn annotations_of_other_streams_and_levels_are_refused() {
        for (stream, level) in [(0, 1), (3, 1), (1, 4), (255, 255)] {
            let payload = Annotation { stream, level, offset: 0, length: 1 }.encode().to_vec();
            assert_eq!(SandboxMessage::parse(Frame { kind: kind::ANNOTATE, payload }), Err(FrameError::Malformed(kind::ANNOTATE)));
        }
    }
}
