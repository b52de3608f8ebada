//! Length-prefixed frames on the control channel: four bytes with the length of what follows the
//! header (little-endian), one byte with the kind, for a frame of an execution four bytes with the
//! id of the execution, and the payload.

use crate::execution::ExecutionId;
use crate::kind::is_of_execution;

/// Length of a frame's header in bytes.
pub const HEADER_BYTES: usize = 5;
/// Length of the header of a frame that belongs to an execution, with the execution's id, in bytes.
pub const EXECUTION_HEADER_BYTES: usize = HEADER_BYTES + ExecutionId::BYTES;

/// A frame of the control channel.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// Kind of the frame, one of the constants in [`crate::kind`].
    pub kind: u8,
    /// Id of the execution that the frame belongs to, for exactly the kinds that belong to one.
    pub execution: Option<ExecutionId>,
    /// Payload of the frame.
    pub payload: Vec<u8>,
}

/// An invalid frame. Nothing after it can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A sandbox may not send frames of this kind.
    #[error("a frame has the unknown kind {0}")]
    UnknownKind(u8),
    /// The frame has more bytes than its kind allows.
    #[error("a frame of kind {kind} has {length} bytes, which exceeds the maximum of {max}")]
    TooLong {
        /// Kind of the frame.
        kind: u8,
        /// Announced length of the payload.
        length: u32,
        /// Maximum length of a payload of this kind.
        max: u32,
    },
    /// The frame does not have the form that its kind requires.
    #[error("a frame of kind {0} is malformed")]
    Malformed(u8),
}

/// Returns the header of a frame.
///
/// # Panics
/// If the payload has 4 GiB or more, which no caller's bounds allow.
pub fn encode_header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(length).expect("frames are bounded well below 4 GiB").to_le_bytes();
    [length[0], length[1], length[2], length[3], kind]
}

/// Returns the header of a frame that belongs to an execution, with the execution's id.
///
/// # Panics
/// As for [`encode_header`].
pub fn encode_execution_header(
    kind: u8,
    execution: ExecutionId,
    length: usize,
) -> [u8; EXECUTION_HEADER_BYTES] {
    let mut bytes = [0; EXECUTION_HEADER_BYTES];
    let (header, id) = bytes.split_at_mut(HEADER_BYTES);
    header.copy_from_slice(&encode_header(kind, ExecutionId::BYTES + length));
    id.copy_from_slice(&execution.encode());
    bytes
}

/// Assembles frames from the pieces in which they arrive. It holds at most the payload of one
/// frame, and never more than the bytes that have arrived.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Adds bytes that have arrived.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Returns whether there are bytes that are not part of a returned frame.
    pub fn has_rest(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// Returns the next complete frame, if there is one. `bound` returns the maximum length of a
    /// payload of a kind, or `None` to refuse the kind.
    pub fn next_frame(
        &mut self,
        bound: impl Fn(u8) -> Option<u32>,
    ) -> Result<Option<Frame>, FrameError> {
        let pending = &self.buffer[self.start..];
        let Some((&[a, b, c, d, kind], rest)) = pending.split_first_chunk::<HEADER_BYTES>() else {
            return Ok(None);
        };
        let max = bound(kind).ok_or(FrameError::UnknownKind(kind))?;
        let id_bytes = if is_of_execution(kind) { ExecutionId::BYTES as u32 } else { 0 };
        let whole = u32::from_le_bytes([a, b, c, d]);
        let length = whole.checked_sub(id_bytes).ok_or(FrameError::Malformed(kind))?;
        if length > max {
            return Err(FrameError::TooLong { kind, length, max });
        }
        let Some(content) = rest.get(..whole as usize) else { return Ok(None) };
        let (id, payload) = content.split_at(id_bytes as usize);
        let execution = match id.first_chunk() {
            Some(id) => Some(ExecutionId::decode(*id).ok_or(FrameError::Malformed(kind))?),
            None => None,
        };
        let frame = Frame { kind, execution, payload: payload.to_vec() };
        self.start += HEADER_BYTES + whole as usize;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::kind::{GOODBYE, RESULT};
    use proptest::prelude::*;

    /// A kind of an execution, one of the whole sandbox, and others.
    fn bound(kind: u8) -> Option<u32> {
        (kind < 12).then_some(64)
    }

    fn frame(kind: u8, number: u32, payload: Vec<u8>) -> Frame {
        let execution = ExecutionId::new(number).filter(|_| is_of_execution(kind));
        Frame { kind, execution, payload }
    }

    fn encoded(Frame { kind, execution, payload }: &Frame) -> Vec<u8> {
        match execution {
            Some(id) => [&encode_execution_header(*kind, *id, payload.len())[..], payload].concat(),
            None => [&encode_header(*kind, payload.len())[..], payload].concat(),
        }
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_its_payload_arrives() {
        for (kind, length) in [(RESULT, u32::MAX - 4), (GOODBYE, u32::MAX)] {
            let mut reader = FrameReader::default();
            reader.extend(&[255, 255, 255, 255, kind]);
            assert_eq!(
                reader.next_frame(bound),
                Err(FrameError::TooLong { kind, length, max: 64 })
            );
        }
    }

    #[test]
    fn the_id_of_the_execution_does_not_count_towards_the_bound() {
        let longest = frame(RESULT, 7, vec![1; 64]);
        let mut reader = FrameReader::default();
        reader.extend(&encoded(&longest));
        assert_eq!(reader.next_frame(bound), Ok(Some(longest)));
        reader.extend(&encoded(&frame(RESULT, 7, vec![1; 65])));
        assert_eq!(
            reader.next_frame(bound),
            Err(FrameError::TooLong { kind: RESULT, length: 65, max: 64 })
        );
    }

    #[test]
    fn a_frame_of_an_execution_without_an_id_is_refused() {
        for content in [&b""[..], &[1, 0, 0], &[0, 0, 0, 0], &[0, 0, 0, 0, b'{']] {
            let mut reader = FrameReader::default();
            reader.extend(&[&encode_header(RESULT, content.len())[..], content].concat());
            assert_eq!(reader.next_frame(bound), Err(FrameError::Malformed(RESULT)), "{content:?}");
        }
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut reader = FrameReader::default();
        reader.extend(&encoded(&frame(99, 1, Vec::new())));
        assert_eq!(reader.next_frame(bound), Err(FrameError::UnknownKind(99)));
    }

    proptest! {
        #[test]
        fn frames_survive_any_fragmentation(
            frames in proptest::collection::vec(
                (0_u8..12, 1_u32.., proptest::collection::vec(any::<u8>(), 0..64)),
                0..10,
            ),
            pieces in proptest::collection::vec(1_usize..40, 1..100),
        ) {
            let frames: Vec<Frame> = frames
                .into_iter()
                .map(|(kind, number, payload)| frame(kind, number, payload))
                .collect();
            let bytes: Vec<u8> = frames.iter().flat_map(encoded).collect();
            let mut reader = FrameReader::default();
            let mut got = Vec::new();
            let mut rest = &bytes[..];
            let mut pieces = pieces.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
                reader.extend(now);
                while let Some(frame) = reader.next_frame(bound).unwrap() {
                    got.push(frame);
                }
                rest = later;
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_grow_the_buffer_past_what_came(
            bytes in proptest::collection::vec(any::<u8>(), 0..300),
        ) {
            let mut reader = FrameReader::default();
            reader.extend(&bytes);
            while let Ok(Some(frame)) = reader.next_frame(bound) {
                prop_assert!(frame.payload.len() <= 64);
            }
            prop_assert!(reader.buffer.len() <= bytes.len());
        }
    }
}
