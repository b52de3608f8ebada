//! SHA-256 of files and of lists of texts.

use std::io::{self, Read};

use sha2::{Digest, Sha256};

/// Returns the hash of all bytes of a reader in hexadecimal.
pub(crate) fn hash(source: &mut impl Read) -> io::Result<String> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; 1 << 18];
    loop {
        match source.read(&mut buffer)? {
            0 => return Ok(hex::encode(digest.finalize())),
            count => digest.update(&buffer[..count]),
        }
    }
}

/// Returns the hash of a list in hexadecimal. Each part is hashed with its length, so that
/// different lists have different hashes.
pub(crate) fn digest(parts: &[&[u8]]) -> String {
    let mut digest = Sha256::new();
    for part in parts {
        digest.update((part.len() as u64).to_le_bytes());
        digest.update(part);
    }
    hex::encode(digest.finalize())
}
