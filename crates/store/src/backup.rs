//! Consistent copies of the database while it is in use.

use std::path::Path;

use crate::error::StoreError;
use crate::store::Store;

impl Store {
    /// Writes a consistent copy to `path`, which must not exist. Writers are not blocked.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.to_str().ok_or_else(|| StoreError::Unreadable {
            what: "path of the copy",
            why: "it is not UTF-8".into(),
        })?;
        // `SQLite` documents VACUUM INTO as one read transaction (lang_vacuum.html).
        sqlx::query("VACUUM INTO $1").bind(path).execute(&self.readers).await?;
        Ok(())
    }

    /// Removes all runs from the queue. At the next start, they are treated like runs that were in
    /// progress.
    pub async fn forget_queue(&self) -> Result<(), StoreError> {
        self.writer
            .write(|connection| {
                Box::pin(async move {
                    sqlx::query("UPDATE runs SET status = 'running' WHERE status = 'queued'")
                        .execute(connection)
                        .await?;
                    Ok(())
                })
            })
            .await
    }
}
