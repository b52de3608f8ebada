//! MD5 and SHA-256 of content while it is uploaded, each on a thread of its own: MD5 cannot be
//! parallelized, and is slower than everything else (about 600 MB/s).

use bytes::Bytes;
use md5::{Digest, Md5};
use sha2::Sha256;
use tokio::task::{JoinError, spawn_blocking};

use crate::batch::Batch;

/// The minimum size of a batch for which a thread of its own saves more than it costs.
const APART_FROM_BYTES: usize = 64 << 10;

/// Both digests of the bytes so far.
#[derive(Default)]
pub(crate) struct Digests {
    md5: Md5,
    sha256: Sha256,
}

impl Digests {
    /// Adds the bytes of a batch.
    pub(crate) async fn add(mut self, batch: Batch) -> Result<Self, JoinError> {
        if batch.len() < APART_FROM_BYTES {
            self.md5 = updated(self.md5, &batch.chunks);
            self.sha256 = updated(self.sha256, &batch.chunks);
            return Ok(self);
        }
        let chunks = batch.chunks.clone();
        let md5 = spawn_blocking(move || updated(self.md5, &chunks));
        let sha256 = spawn_blocking(move || updated(self.sha256, &batch.chunks));
        Ok(Self { md5: md5.await?, sha256: sha256.await? })
    }

    /// Returns MD5 and SHA-256 in hexadecimal.
    pub(crate) fn hexadecimal(self) -> (String, String) {
        (format!("{:x}", self.md5.finalize()), format!("{:x}", self.sha256.finalize()))
    }
}

fn updated<D: Digest>(mut digest: D, chunks: &[Bytes]) -> D {
    for chunk in chunks {
        digest.update(chunk);
    }
    digest
}
