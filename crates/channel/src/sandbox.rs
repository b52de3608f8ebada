//! The messages on a sandbox's control channel. [`crate::stage`] defines when each is allowed.

use crate::frame::{Frame, FrameError, HEADER_BYTES, encode_header};
use crate::kind;

/// The maximum length of the text of a fault, in bytes.
const MAX_FAULT_BYTES: u32 = 64 << 10;
/// The maximum length of a note, in bytes.
const MAX_NOTE_BYTES: u32 = 1_000;
/// The maximum length of an error report or a denial, in bytes. Five nested causes with a message
/// and a stack of 64 KB each fit easily, even escaped.
const MAX_REPORT_BYTES: u32 = 4 << 20;

/// A statement that a range of a stream's bytes is one log entry. `offset` counts the bytes that
/// the program's process has written to the stream before. If another process writes to the stream,
/// too, the range is shifted, so an annotation is never more than a hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Annotation {
    /// Number of the stream: 1 is standard output, 2 is standard error.
    pub stream: u8,
    /// Level of the entry: 0 is debug, 1 info, 2 warn, 3 error.
    pub level: u8,
    /// Position of the first byte of the entry.
    pub offset: u64,
    /// Length of the entry in bytes.
    pub length: u32,
}

impl Annotation {
    /// Length of the payload in bytes.
    pub const BYTES: usize = 14;

    /// Returns the payload.
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
        let annotation = Self {
            stream,
            level,
            offset: u64::from_le_bytes(*offset),
            length: u32::from_le_bytes(length.try_into().ok()?),
        };
        (matches!(stream, 1 | 2) && level <= 3).then_some(annotation)
    }
}

/// The answer to a request for a call. All answers have the same length, so that one receive takes
/// exactly one answer even if several threads or processes of the sandbox read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CallOpening {
    /// The socket of the call comes with this answer.
    Opened = 0,
    /// Too many calls are open, or the host has no free socket. The sandbox may ask again once a
    /// call is closed.
    Busy = 1,
    /// The run may not make calls.
    Refused = 2,
}

impl CallOpening {
    /// Length of the frame in bytes.
    pub const BYTES: usize = HEADER_BYTES + 1;

    /// Returns the whole frame.
    pub fn encode(self) -> [u8; Self::BYTES] {
        let [a, b, c, d, kind] = encode_header(kind::CALL_OPENED, 1);
        [a, b, c, d, kind, self as u8]
    }

    /// Reads a frame.
    pub fn decode(frame: [u8; Self::BYTES]) -> Option<Self> {
        [Self::Opened, Self::Busy, Self::Refused]
            .into_iter()
            .find(|opening| opening.encode() == frame)
    }
}

/// A message of an active sandbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SandboxMessage {
    /// Describes the next bytes of a stream.
    Annotate(Annotation),
    /// A rich result, as unparsed JSON.
    Result(Vec<u8>),
    /// A refused action, as unparsed JSON.
    Denied(Vec<u8>),
    /// The end of the execution, as unparsed JSON.
    Executed(Vec<u8>),
    /// A request for the socket of a call.
    Call,
    /// A note, as unchecked text.
    Note(Vec<u8>),
    /// The result while something is still open, as unparsed JSON.
    Settled(Vec<u8>),
    /// The end of the conversation.
    Goodbye,
}

impl SandboxMessage {
    /// Returns the maximum length of a payload of this kind, without the id of its execution, or
    /// `None` for a kind that a sandbox may not send.
    pub fn bound(kind: u8, result_bytes: u64, output_bytes: u64) -> Option<u32> {
        let clamp =
            |bytes: u64| u32::try_from(bytes).unwrap_or(u32::MAX).saturating_add(MAX_REPORT_BYTES);
        Some(match kind {
            kind::READY | kind::CALL | kind::HOME | kind::GOODBYE => 0,
            kind::ANNOTATE => Annotation::BYTES as u32,
            // Base64 and JSON escapes make a payload longer than the data that it holds.
            kind::RESULT => clamp(output_bytes.saturating_mul(2)),
            kind::DENIED => MAX_REPORT_BYTES,
            kind::FAULT => MAX_FAULT_BYTES,
            kind::EXECUTED | kind::SETTLED => clamp(result_bytes),
            kind::NOTE => MAX_NOTE_BYTES,
            _ => return None,
        })
    }

    /// Parses a frame of an active sandbox.
    pub fn parse(frame: Frame) -> Result<Self, FrameError> {
        let Frame { kind, payload, .. } = frame;
        Ok(match kind {
            kind::ANNOTATE => {
                Self::Annotate(Annotation::decode(&payload).ok_or(FrameError::Malformed(kind))?)
            }
            kind::RESULT => Self::Result(payload),
            kind::DENIED => Self::Denied(payload),
            kind::EXECUTED => Self::Executed(payload),
            kind::CALL => Self::Call,
            kind::NOTE => Self::Note(payload),
            kind::SETTLED => Self::Settled(payload),
            kind::GOODBYE => Self::Goodbye,
            _ => return Err(FrameError::UnknownKind(kind)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::execution::ExecutionId;
    use proptest::prelude::*;

    fn of_first(kind: u8, payload: Vec<u8>) -> Frame {
        Frame { kind, execution: Some(ExecutionId::FIRST), payload }
    }

    proptest! {
        #[test]
        fn an_annotation_is_read_as_it_was_written(
            stream in 1_u8..3,
            level in 0_u8..4,
            offset: u64,
            length: u32,
        ) {
            let annotation = Annotation { stream, level, offset, length };
            let frame = of_first(kind::ANNOTATE, annotation.encode().to_vec());
            prop_assert_eq!(SandboxMessage::parse(frame), Ok(SandboxMessage::Annotate(annotation)));
        }

        #[test]
        fn no_frame_makes_the_parser_panic(
            kind: u8,
            payload in proptest::collection::vec(any::<u8>(), 0..64),
        ) {
            let _ = SandboxMessage::parse(of_first(kind, payload));
        }
    }

    #[test]
    fn an_opening_is_read_as_it_was_written_and_nothing_else_is() {
        for opening in [CallOpening::Opened, CallOpening::Busy, CallOpening::Refused] {
            assert_eq!(CallOpening::decode(opening.encode()), Some(opening));
        }
        assert_eq!(CallOpening::decode([1, 0, 0, 0, kind::CALL_OPENED, 3]), None);
        assert_eq!(CallOpening::decode([2, 0, 0, 0, kind::CALL_OPENED, 0]), None);
        assert_eq!(CallOpening::decode([1, 0, 0, 0, kind::EXECUTE, 0]), None);
    }

    #[test]
    fn annotations_of_other_streams_and_levels_are_refused() {
        for (stream, level) in [(0, 1), (3, 1), (1, 4), (255, 255)] {
            let payload = Annotation { stream, level, offset: 0, length: 1 }.encode().to_vec();
            assert_eq!(
                SandboxMessage::parse(of_first(kind::ANNOTATE, payload)),
                Err(FrameError::Malformed(kind::ANNOTATE))
            );
        }
    }
}
