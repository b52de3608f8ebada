//! A splitter of lines for pieces that can begin and end anywhere.

use bytes::{Bytes, BytesMut};

/// The received part of a stream of lines that was not returned yet.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    buffer: BytesMut,
    /// The index up to which there is no line end.
    searched: usize,
}

impl Lines {
    pub(crate) fn add(&mut self, piece: &[u8]) {
        self.buffer.extend_from_slice(piece);
    }

    /// Returns the next complete line that is not empty, without its line end.
    pub(crate) fn next(&mut self) -> Option<Bytes> {
        loop {
            let Some(at) = self.buffer[self.searched..].iter().position(|byte| *byte == b'\n')
            else {
                self.searched = self.buffer.len();
                return None;
            };
            let mut line = self.buffer.split_to(self.searched + at + 1);
            self.searched = 0;
            line.truncate(line.len() - 1);
            if !line.is_empty() {
                return Some(line.freeze());
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_complete_wherever_pieces_are_cut() {
        let text = b"\n{\"a\":1}\n\n{\"b\":\"\xc3\xa4\"}\nrest";
        for size in 1..text.len() {
            let mut lines = Lines::default();
            let mut found = Vec::new();
            for piece in text.chunks(size) {
                lines.add(piece);
                while let Some(line) = lines.next() {
                    found.push(line);
                }
            }
            assert_eq!(found, [&b"{\"a\":1}"[..], b"{\"b\":\"\xc3\xa4\"}"], "pieces of {size}");
        }
    }
}
