//! A consistent copy of the database, taken while it is in use.

use std::path::Path;

use crate::Store;
use crate::error::StoreError;

impl Store {
    /// Writes a copy, as of one moment, to `path`, which must not exist. Writers go on meanwhile.
    pub async fn copy_to(&self, path: &Path) -> Result<(), StoreError> {
        let path = path.to_str().ok_or_else(|| StoreError::Unreadable { what: "path of the copy", why: "it is not UTF-8".into() })?;
        // `SQLite` documents VACUUM INTO as one read transaction (lang_vacuum.html).
        sqlx::query("VACUUM INTO $1").bind(path).execute(&self.readers).await?;
        Ok(())
    }

    /// Takes runs that wait out of the queue: at the next start they are as those that were under way.
    pub async fn forget_queue(&self) -> Result<(), StoreError> {
        self.writer
            .write(|connection| {
                Box::pin(async move {
                    sqlx::query("UPDATE runs SET status = 'running' WHERE status = 'queued'").execute(connection).await?;
                    Ok(())
                })
            })
            .await
    }
}
