//! What crosses the socket of one call: a program asks for an object in storage, the host answers.
//!
//! Each call has a socket of its own, a stream, so that objects of any size pass without being held anywhere:
//!
//! 1. The sandbox sends a *header*: four bytes of length (little-endian), then that much JSON, a [`CallRequest`].
//! 2. For an upload it sends the *body*: chunks, each four bytes of length and that many bytes, ended by a length of zero. A socket that closes before
//!    that end has uploaded nothing.
//! 3. The host answers with a header: `{"ok": ...}` or `{"error": {"name", "message"}}`. It may answer before it has all of a body; it then goes on
//!    reading and throws away what comes until the sandbox closes, so that the answer is not lost to a write that fails.
//! 4. For a download the body follows, for a list chunks of which each is one JSON array. Where the final zero is missing, something was lost.
//!
//! The sandbox is hostile: lengths are checked before anything is allocated. Nothing here reads or writes.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// Bytes of the length before a header and before a chunk.
pub const LENGTH_BYTES: usize = 4;
/// Most bytes of a header's JSON.
pub const MOST_CALL_HEADER_BYTES: usize = 64 << 10;
/// Most bytes of a chunk.
pub const MOST_CHUNK_BYTES: usize = 1 << 20;
/// What ends a body.
pub const END_OF_BODY: [u8; LENGTH_BYTES] = [0; LENGTH_BYTES];

/// What a program asks for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum CallRequest {
    /// Store an object, or replace the one of that name. Its body follows.
    Upload {
        /// Its name, as the program wrote it.
        name: String,
        /// Its media type, if the program gave one.
        #[serde(default)]
        content_type: Option<String>,
    },
    /// Read an object.
    Download {
        /// Its name, as the program wrote it.
        name: String,
    },
    /// Which objects there are.
    List {
        /// What their names begin with; everything when empty.
        #[serde(default)]
        prefix: String,
    },
    /// Remove an object.
    Delete {
        /// Its name, as the program wrote it.
        name: String,
    },
}

/// What the answer to a download says before the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHead {
    /// Bytes of the body.
    pub size_bytes: u64,
    /// Its media type.
    pub content_type: String,
    /// Of the body, hexadecimal.
    pub sha256: String,
    /// Of the body, hexadecimal; for clients of systems that know no other.
    pub md5: String,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallAnswer<T> {
    /// It was done.
    Ok(T),
    /// It was not.
    Error(CallError),
}

/// Why a call was not done, for the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// Which kind of error it becomes in the program.
    pub name: CallErrorName,
    /// What, why, and the mend: for [`CallErrorName::NotGranted`] the grant to ask for.
    pub message: String,
}

impl CallError {
    /// An error, its message cut to what a header holds.
    pub fn new(name: CallErrorName, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MOST_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MOST_MESSAGE_BYTES));
        }
        Self { name, message }
    }
}

/// Of an error: JSON needs up to six bytes for one.
const MOST_MESSAGE_BYTES: usize = 8 << 10;

/// The kinds of errors.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallErrorName {
    /// There is no object of that name.
    NotFound,
    /// The policy of the run does not grant it.
    NotGranted,
    /// No object can have that name.
    InvalidName,
    /// There is no room for it.
    QuotaExceeded,
    /// Whatever else went wrong.
    StorageError,
}

/// Something on a call's socket that breaks its bounds. Nothing after it can be understood.
#[derive(Debug, thiserror::Error)]
pub enum CallProtocolError {
    /// A header that is empty or too long.
    #[error("a header of {0} bytes; 1 to {MOST_CALL_HEADER_BYTES} are accepted")]
    HeaderLength(u32),
    /// A chunk that is too long.
    #[error("a chunk of {0} bytes; at most {MOST_CHUNK_BYTES} are accepted")]
    ChunkLength(u32),
    /// A header that is not of the shape.
    #[error("a malformed header: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// How much JSON a header has, by its first bytes.
pub fn header_length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, CallProtocolError> {
    let length = u32::from_le_bytes(bytes);
    if length == 0 || length as usize > MOST_CALL_HEADER_BYTES {
        return Err(CallProtocolError::HeaderLength(length));
    }
    Ok(length as usize)
}

/// Reads a header's JSON.
pub fn decode_header<T: DeserializeOwned>(json: &[u8]) -> Result<T, CallProtocolError> {
    Ok(serde_json::from_slice(json)?)
}

/// A header, its length included. Fails on what is too long for one.
pub fn encode_call_header<T: Serialize>(value: &T) -> Result<Vec<u8>, CallProtocolError> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, value)?;
    let length = bytes.len() - LENGTH_BYTES;
    if length > MOST_CALL_HEADER_BYTES {
        return Err(CallProtocolError::HeaderLength(u32::try_from(length).unwrap_or(u32::MAX)));
    }
    bytes[..LENGTH_BYTES].copy_from_slice(&chunk_header(length));
    Ok(bytes)
}

/// What goes before a chunk of `length` bytes.
///
/// # Panics
/// If there are 4 GiB or more, which is far past [`MOST_CHUNK_BYTES`].
pub fn chunk_header(length: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(length).expect("chunks are bounded well below 4 GiB").to_le_bytes()
}

/// Takes a body apart as it arrives, in whatever pieces. Holds none of it.
#[derive(Debug, Default)]
pub struct BodyReader {
    /// Of the length that is arriving.
    length: [u8; LENGTH_BYTES],
    length_bytes: usize,
    /// Of the chunk that is arriving.
    left: usize,
    ended: bool,
}

impl BodyReader {
    /// The next part of the body in `bytes`, which is moved past it. `None`: more has to arrive, or the body has ended; what comes after its end is left
    /// in `bytes`.
    pub fn next_part<'a>(&mut self, bytes: &mut &'a [u8]) -> Result<Option<&'a [u8]>, CallProtocolError> {
        while !self.ended && !bytes.is_empty() {
            if self.left > 0 {
                let (part, rest) = bytes.split_at(self.left.min(bytes.len()));
                *bytes = rest;
                self.left -= part.len();
                return Ok(Some(part));
            }
            self.length[self.length_bytes] = bytes[0];
            self.length_bytes += 1;
            *bytes = &bytes[1..];
            if self.length_bytes == LENGTH_BYTES {
                let length = u32::from_le_bytes(self.length);
                if length as usize > MOST_CHUNK_BYTES {
                    return Err(CallProtocolError::ChunkLength(length));
                }
                self.length_bytes = 0;
                self.left = length as usize;
                self.ended = length == 0;
            }
        }
        Ok(None)
    }

    /// Whether the body has come to its end. A socket that closes before has lost something.
    pub fn has_ended(&self) -> bool {
        self.ended
    }
}

/// Packs the records of a list into chunks, each one JSON array.
#[derive(Debug, Default)]
pub struct ListWriter {
    chunk: Vec<u8>,
}

impl ListWriter {
    /// Adds a record. Gives a chunk that is full.
    pub fn push<T: Serialize>(&mut self, record: &T) -> Result<Option<Vec<u8>>, CallProtocolError> {
        let record = serde_json::to_vec(record)?;
        // With its comma or bracket, and the last bracket.
        if record.len() + 2 > MOST_CHUNK_BYTES {
            return Err(CallProtocolError::ChunkLength(u32::try_from(record.len()).unwrap_or(u32::MAX)));
        }
        let full = if self.chunk.len() + record.len() + 2 > MOST_CHUNK_BYTES { self.finish() } else { None };
        self.chunk.push(if self.chunk.is_empty() { b'[' } else { b',' });
        self.chunk.extend_from_slice(&record);
        Ok(full)
    }

    /// The last chunk, if there is one.
    pub fn finish(&mut self) -> Option<Vec<u8>> {
        let mut chunk = std::mem::take(&mut self.chunk);
        if chunk.is_empty() {
            return None;
        }
        chunk.push(b']');
        Some(chunk)
    }
}

#[cfg(test)]
mod tests;
