//! Artifacts, which are the files that runs leave in storage.

use std::io;

use belljar_engine::ArtifactFile;
use belljar_objects::{Key, PutError};
use belljar_store::{Reservation, StoredArtifact};

use super::{MAX_OBJECT_BYTES, Storage, too_large};
use crate::caller::Caller;
use crate::error::ServiceError;

/// The size of the pieces in which a file is read.
const PIECE_BYTES: usize = 256 << 10;

impl Storage {
    /// Moves the files that a run left into storage. Their quota is reserved before anything is
    /// copied.
    pub(crate) async fn keep_artifacts(
        &self,
        caller: &Caller,
        artifacts: Vec<ArtifactFile>,
    ) -> Result<(Vec<StoredArtifact>, Option<Reservation>), ServiceError> {
        if artifacts.is_empty() {
            return Ok((Vec::new(), None));
        }
        let bytes = artifacts.iter().map(|file| file.artifact.size_bytes).sum();
        let quota = caller.project.settings.quotas.storage();
        let reservation = self
            .store
            .reserve_files(caller.project_id(), quota, bytes, artifacts.len() as u64)
            .await?;
        let mut kept = Vec::new();
        for file in artifacts {
            let artifact = file.artifact.clone();
            match self.keep_file(caller, file).await {
                Ok(blob) => kept.push(StoredArtifact { artifact, blob }),
                Err(error) => {
                    self.forget_contents(&kept).await;
                    return Err(error);
                }
            }
        }
        Ok((kept, Some(reservation)))
    }

    /// Deletes contents that got no name. If that fails, the sweep will find them.
    pub(crate) async fn forget_contents(&self, artifacts: &[StoredArtifact]) {
        for key in artifacts.iter().filter_map(|stored| stored.blob.parse().ok()) {
            let _ = self.objects.delete(&key).await;
        }
    }

    /// Stores a file that a run left, and returns its key.
    async fn keep_file(&self, caller: &Caller, file: ArtifactFile) -> Result<String, ServiceError> {
        let key = Key::new(caller.project_id()).map_err(ServiceError::invalid)?;
        let most = caller.project.settings.quotas.storage_bytes.unwrap_or(MAX_OBJECT_BYTES);
        let body = tokio_util::io::ReaderStream::with_capacity(
            tokio::fs::File::from_std(file.file),
            PIECE_BYTES,
        );
        let stored = self.objects.put(&key, body, most).await.map_err(|error| match error {
            PutError::Body::<io::Error>(error) => ServiceError::Body(error.to_string()),
            PutError::TooLarge { .. } => too_large(most),
            PutError::Objects(error) => ServiceError::Objects(error),
        })?;
        Ok(stored.key.to_string())
    }
}
