//! The remaining storage quota of a project, for the artifacts of a run.

use std::pin::Pin;

use belljar_engine::ArtifactRoom;
use belljar_store::{Store, StoreError};

/// The remaining storage quota of a project. The engine queries it before it reads artifacts.
#[derive(Debug)]
pub(crate) struct StorageRoom {
    pub(crate) store: Store,
    pub(crate) project_id: String,
    pub(crate) quota_bytes: Option<u64>,
}

impl ArtifactRoom for StorageRoom {
    fn refusal(
        &self,
        asked_bytes: u64,
    ) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>> {
        Box::pin(async move {
            let quota_bytes = self.quota_bytes?;
            // If the store does not answer, it will not accept the artifacts either, and reports an
            // error.
            let used_bytes = self.store.storage_bytes(&self.project_id).await.ok()?;
            let is_full = used_bytes.saturating_add(asked_bytes) > quota_bytes;
            is_full.then(|| StoreError::Quota { quota_bytes, used_bytes, asked_bytes }.to_string())
        })
    }
}
