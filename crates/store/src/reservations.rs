//! Reservations of storage for uploads and for the files that runs leave.

use belljar_protocol::{ObjectName, StorageQuota};

use crate::accounts::{self, Reservation, StorageTotals};
use crate::error::StoreError;
use crate::objects::charged_bytes;
use crate::store::Store;

impl Store {
    /// Reserves storage for an object: all of an announced size at once, otherwise as the bytes
    /// arrive.
    pub async fn reserve_object(
        &self,
        project_id: &str,
        quota: StorageQuota,
        name: &ObjectName,
        announced_bytes: Option<u64>,
    ) -> Result<Reservation, StoreError> {
        self.open_account(project_id).await?;
        let replaced_bytes = match self.object(project_id, name).await {
            Ok(object) => Some(charged_bytes(&object.record)),
            Err(StoreError::NotFound { .. }) => None,
            Err(error) => return Err(error),
        };
        self.accounts.reserve_object(project_id, quota, name, replaced_bytes, announced_bytes)
    }

    /// Reserves storage for files that a run left.
    pub async fn reserve_files(
        &self,
        project_id: &str,
        quota: StorageQuota,
        bytes: u64,
        files: u64,
    ) -> Result<Reservation, StoreError> {
        self.open_account(project_id).await?;
        self.accounts.reserve_files(project_id, quota, bytes, files)
    }

    /// Opens a project's account with the values of the database, in the order of commits, so that
    /// later commits find it open.
    async fn open_account(&self, project_id: &str) -> Result<(), StoreError> {
        if self.accounts.has(project_id) {
            return Ok(());
        }
        let (accounts, id, project_id) =
            (self.accounts.clone(), project_id.to_owned(), project_id.to_owned());
        self.writer
            .write_then(
                move |connection| {
                    Box::pin(async move { accounts::stored(connection, &project_id).await })
                },
                move |stored: &StorageTotals| accounts.open(id, *stored),
            )
            .await?;
        Ok(())
    }
}
