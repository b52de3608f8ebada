//! The protocol of a call, by which a program uses the objects in storage.
//!
//! Each call has a stream socket of its own, so that objects of any size can pass without being
//! held in memory:
//!
//! 1. The sandbox sends a *header*: four bytes of length (little-endian) and as many bytes of JSON,
//!    which are a [`CallRequest`].
//! 2. For an upload the sandbox sends the *body*: chunks of four bytes of length and as many bytes
//!    of data. A length of zero ends the body. If the socket is closed before, nothing is uploaded.
//! 3. The host answers with a header: `{"ok": ...}` or `{"error": {"name", "message"}}`. If it
//!    answers before it has received the whole body, it continues reading and discards the data
//!    until the sandbox closes the socket, so that a failing write does not lose the answer.
//! 4. For a download the body follows; for a list, chunks follow, each of them a JSON array. If the
//!    final zero is missing, data was lost.
//!
//! The sandbox is hostile, so lengths are checked before anything is allocated. This module does no
//! input or output.

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

/// The number of bytes of the length before a header or a chunk.
pub const LENGTH_BYTES: usize = 4;
/// The maximum length of a header's JSON, in bytes.
pub const MAX_CALL_HEADER_BYTES: usize = 64 << 10;
/// The maximum length of a chunk, in bytes.
pub const MAX_CHUNK_BYTES: usize = 1 << 20;
/// The mark at the end of a body.
pub const END_OF_BODY: [u8; LENGTH_BYTES] = [0; LENGTH_BYTES];

/// A request of a program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "op", rename_all = "snake_case", deny_unknown_fields)]
pub enum CallRequest {
    /// Stores an object, replacing an existing one of the same name. The body follows.
    Upload {
        /// Name of the object, as the program wrote it.
        name: String,
        /// Media type of the object, if the program named one.
        #[serde(default)]
        content_type: Option<String>,
    },
    /// Reads an object. Its content follows the answer.
    Download {
        /// Name of the object, as the program wrote it.
        name: String,
    },
    /// Lists the objects whose names begin with a prefix. The list follows the answer.
    List {
        /// Prefix of the names. An empty prefix lists all objects.
        #[serde(default)]
        prefix: String,
    },
    /// Deletes an object.
    Delete {
        /// Name of the object, as the program wrote it.
        name: String,
    },
}

/// The answer to a download, which precedes the body.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObjectHead {
    /// Length of the body in bytes.
    pub size_bytes: u64,
    /// Media type of the object.
    pub content_type: String,
    /// SHA-256 of the body, hexadecimal.
    pub sha256: String,
    /// MD5 of the body, hexadecimal, for clients of systems that use no other hash.
    pub md5: String,
}

/// The answer to a call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CallAnswer<T> {
    /// The call succeeded.
    Ok(T),
    /// The call failed.
    Error(CallError),
}

/// The error of a failed call, for the program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{message}")]
pub struct CallError {
    /// Kind of the error, which decides its class in the program.
    pub name: CallErrorName,
    /// Message with the reason and a fix. For [`CallErrorName::NotGranted`] it names the missing
    /// grant.
    pub message: String,
}

impl CallError {
    /// Returns an error whose message is cut to the maximum length in a header.
    pub fn new(name: CallErrorName, message: impl Into<String>) -> Self {
        let mut message = message.into();
        if message.len() > MAX_MESSAGE_BYTES {
            message.truncate(message.floor_char_boundary(MAX_MESSAGE_BYTES));
        }
        Self { name, message }
    }
}

/// The maximum length of an error's message, in bytes. JSON needs up to six bytes for each.
const MAX_MESSAGE_BYTES: usize = 8 << 10;

/// The kinds of errors of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum CallErrorName {
    /// There is no object with this name.
    NotFound,
    /// The policy of the run does not grant access to the object.
    NotGranted,
    /// The name is not a valid name of an object.
    InvalidName,
    /// The project's storage quota is used up.
    QuotaExceeded,
    /// Storage failed in another way.
    StorageError,
}

/// A violation of the protocol of a call. Nothing after it can be read.
#[derive(Debug, thiserror::Error)]
pub enum CallProtocolError {
    /// A header is empty or too long.
    #[error("a header has {0} bytes, expected 1 to {MAX_CALL_HEADER_BYTES}")]
    HeaderLength(u32),
    /// A chunk is too long.
    #[error("a chunk has {0} bytes, which exceeds the maximum of {MAX_CHUNK_BYTES}")]
    ChunkLength(u32),
    /// A header does not have the expected form.
    #[error("a header is malformed: {0}")]
    Malformed(#[from] serde_json::Error),
}

/// Returns the length of a header's JSON from its first bytes.
pub fn header_length(bytes: [u8; LENGTH_BYTES]) -> Result<usize, CallProtocolError> {
    let length = u32::from_le_bytes(bytes);
    if length == 0 || length as usize > MAX_CALL_HEADER_BYTES {
        return Err(CallProtocolError::HeaderLength(length));
    }
    Ok(length as usize)
}

/// Parses the JSON of a header.
pub fn decode_header<T: DeserializeOwned>(json: &[u8]) -> Result<T, CallProtocolError> {
    Ok(serde_json::from_slice(json)?)
}

/// Returns a header with its length. Fails if the JSON is too long.
pub fn encode_call_header<T: Serialize>(value: &T) -> Result<Vec<u8>, CallProtocolError> {
    let mut bytes = vec![0; LENGTH_BYTES];
    serde_json::to_writer(&mut bytes, value)?;
    let length = bytes.len() - LENGTH_BYTES;
    if length > MAX_CALL_HEADER_BYTES {
        return Err(CallProtocolError::HeaderLength(u32::try_from(length).unwrap_or(u32::MAX)));
    }
    bytes[..LENGTH_BYTES].copy_from_slice(&chunk_header(length));
    Ok(bytes)
}

/// Returns the length that precedes a chunk of `length` bytes.
///
/// # Panics
/// If there are 4 GiB or more, which is far past [`MAX_CHUNK_BYTES`].
pub fn chunk_header(length: usize) -> [u8; LENGTH_BYTES] {
    u32::try_from(length).expect("chunks are bounded well below 4 GiB").to_le_bytes()
}

/// Separates a body into its parts, in whatever pieces it arrives. It holds no data.
#[derive(Debug, Default)]
pub struct BodyReader {
    /// The received bytes of the next length.
    length: [u8; LENGTH_BYTES],
    length_bytes: usize,
    /// Bytes that are missing from the current chunk.
    left: usize,
    ended: bool,
}

impl BodyReader {
    /// Returns the next part of the body in `bytes`, and advances `bytes` past it. Returns `None`
    /// if more data has to arrive or the body has ended. Data after the end is left in `bytes`.
    pub fn next_part<'a>(
        &mut self,
        bytes: &mut &'a [u8],
    ) -> Result<Option<&'a [u8]>, CallProtocolError> {
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
                if length as usize > MAX_CHUNK_BYTES {
                    return Err(CallProtocolError::ChunkLength(length));
                }
                self.length_bytes = 0;
                self.left = length as usize;
                self.ended = length == 0;
            }
        }
        Ok(None)
    }

    /// Returns whether the body has ended. If the socket is closed before, data was lost.
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
    /// Adds a record. Returns a chunk if one is full.
    pub fn push<T: Serialize>(&mut self, record: &T) -> Result<Option<Vec<u8>>, CallProtocolError> {
        let record = serde_json::to_vec(record)?;
        // The record needs a comma or a bracket, and the chunk a final bracket.
        if record.len() + 2 > MAX_CHUNK_BYTES {
            return Err(CallProtocolError::ChunkLength(
                u32::try_from(record.len()).unwrap_or(u32::MAX),
            ));
        }
        let full = if self.chunk.len() + record.len() + 2 > MAX_CHUNK_BYTES {
            self.finish()
        } else {
            None
        };
        self.chunk.push(if self.chunk.is_empty() { b'[' } else { b',' });
        self.chunk.extend_from_slice(&record);
        Ok(full)
    }

    /// Returns the last chunk, if there is one.
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
