//! Length-prefixed frames on the control channel: four bytes of length (little-endian, of what follows the header), one of kind, the payload.

/// Bytes of a frame's header.
pub const HEADER_BYTES: usize = 5;

/// One frame.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    /// What it is.
    pub kind: u8,
    /// What it says.
    pub payload: Vec<u8>,
}

/// A frame that breaks the bounds. Nothing after it can be understood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FrameError {
    /// A kind that a sandbox may not send.
    #[error("a frame of unknown kind {0}")]
    UnknownKind(u8),
    /// More bytes than its kind may have.
    #[error("a frame of kind {kind} and {length} bytes; at most {most} are accepted")]
    TooLong {
        /// Its kind.
        kind: u8,
        /// Its announced length.
        length: u32,
        /// The bound.
        most: u32,
    },
    /// A payload that is not of its kind's shape.
    #[error("a malformed frame of kind {0}")]
    Malformed(u8),
}

/// The header of a frame.
///
/// # Panics
/// If the payload has 4 GiB or more, which no caller's bounds allow.
pub fn encode_header(kind: u8, length: usize) -> [u8; HEADER_BYTES] {
    let length = u32::try_from(length).expect("frames are bounded well below 4 GiB").to_le_bytes();
    [length[0], length[1], length[2], length[3], kind]
}

/// Puts frames together from the pieces in which they arrive. Holds at most one frame's payload, and never more than has really arrived.
#[derive(Debug, Default)]
pub struct FrameReader {
    buffer: Vec<u8>,
    start: usize,
}

impl FrameReader {
    /// Takes in what has arrived.
    pub fn extend(&mut self, bytes: &[u8]) {
        if self.start > 0 {
            self.buffer.drain(..self.start);
            self.start = 0;
        }
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether bytes have arrived that no frame has been made of.
    pub fn has_rest(&self) -> bool {
        self.start < self.buffer.len()
    }

    /// The next whole frame, if there is one. `bound` gives the most payload bytes of each kind; `None` refuses the kind.
    pub fn next_frame(&mut self, bound: impl Fn(u8) -> Option<u32>) -> Result<Option<Frame>, FrameError> {
        let pending = &self.buffer[self.start..];
        let Some((&[a, b, c, d, kind], rest)) = pending.split_first_chunk::<HEADER_BYTES>() else { return Ok(None) };
        let length = u32::from_le_bytes([a, b, c, d]);
        let most = bound(kind).ok_or(FrameError::UnknownKind(kind))?;
        if length > most {
            return Err(FrameError::TooLong { kind, length, most });
        }
        let Some(payload) = rest.get(..length as usize) else { return Ok(None) };
        let frame = Frame { kind, payload: payload.to_vec() };
        self.start += HEADER_BYTES + length as usize;
        Ok(Some(frame))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn bound(kind: u8) -> Option<u32> {
        (kind < 8).then_some(64)
    }

    fn encoded(kind: u8, payload: &[u8]) -> Vec<u8> {
        [&encode_header(kind, payload.len())[..], payload].concat()
    }

    #[test]
    fn a_length_over_the_bound_is_refused_before_its_payload_arrives() {
        let mut reader = FrameReader::default();
        reader.extend(&[255, 255, 255, 255, 1]);
        assert_eq!(reader.next_frame(bound), Err(FrameError::TooLong { kind: 1, length: u32::MAX, most: 64 }));
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut reader = FrameReader::default();
        reader.extend(&encoded(9, b""));
        assert_eq!(reader.next_frame(bound), Err(FrameError::UnknownKind(9)));
    }

    proptest! {
        #[test]
        fn frames_survive_any_fragmentation(
            frames in proptest::collection::vec((0_u8..8, proptest::collection::vec(any::<u8>(), 0..64)), 0..10),
            pieces in proptest::collection::vec(1_usize..40, 1..100),
        ) {
            let bytes: Vec<u8> = frames.iter().flat_map(|(kind, payload)| encoded(*kind, payload)).collect();
            let mut reader = FrameReader::default();
            let mut got = Vec::new();
            let mut rest = &bytes[..];
            let mut pieces = pieces.iter().cycle();
            while !rest.is_empty() {
                let (now, later) = rest.split_at((*pieces.next().unwrap()).min(rest.len()));
                reader.extend(now);
                while let Some(frame) = reader.next_frame(bound).unwrap() {
                    got.push((frame.kind, frame.payload));
                }
                rest = later;
            }
            prop_assert_eq!(got, frames);
        }

        #[test]
        fn arbitrary_bytes_never_panic_and_never_grow_the_buffer_past_what_came(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut reader = FrameReader::default();
            reader.extend(&bytes);
            while let Ok(Some(frame)) = reader.next_frame(bound) {
                prop_assert!(frame.payload.len() <= 64);
            }
            prop_assert!(reader.buffer.len() <= bytes.len());
        }
    }
}
