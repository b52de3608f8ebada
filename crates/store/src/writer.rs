//! The one writer. Changes wait in a queue; each time it turns to them it commits all that have come together, in order, in one transaction. A change
//! that fails takes nothing with it: each has a savepoint of its own, unless it is alone.
//!
//! `SQLite` has a thread of its own in sqlx, and each statement is a message to it and one back: 50 to 100 us on a machine at work, more than what most
//! statements cost. So what belongs together is sent together: several statements, one text. Their parameters are numbered through.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;

/// Most changes of one transaction.
const MOST_TOGETHER: usize = 256;
/// Most changes that wait; who has more waits itself.
const MOST_WAITING: usize = 4096;

pub(crate) type Future<'c, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'c>>;
/// Tells the one who asked how it went, once it is committed.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Change = Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, (bool, Answer)> + Send>;

#[derive(Clone)]
pub(crate) struct Writer {
    changes: mpsc::Sender<Change>,
    database: SqlitePool,
    /// Why the changes that got no answer got none.
    failure: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn start(database: SqlitePool) -> Self {
        let (changes, waiting) = mpsc::channel(MOST_WAITING);
        let failure = Arc::default();
        tokio::spawn(write_all(database.clone(), waiting, Arc::clone(&failure)));
        Self { changes, database, failure }
    }

    /// Makes one change and waits until it is committed.
    pub(crate) async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.queue(change).await.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// Makes one change, does `then` with what came of it once that is committed, in the order of commits, and waits.
    pub(crate) async fn write_then<T, F, N>(&self, change: F, then: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, Result<T, StoreError>> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        self.queue_then(change, then).await.await.unwrap_or_else(|_| Err(self.unanswered()))
    }

    /// Why a change got no answer.
    pub(crate) fn unanswered(&self) -> StoreError {
        match self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone() {
            Some(why) => StoreError::Unwritable(why),
            None => StoreError::Closed,
        }
    }

    /// Puts one change into the queue. It will be made after all that were queued before it; the answer comes when it is committed.
    pub(crate) async fn queue<T, F>(&self, change: F) -> oneshot::Receiver<Result<T, StoreError>>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, Result<T, StoreError>> + Send + 'static,
    {
        self.queue_then(change, |_| {}).await
    }

    /// The same, with something to do once it is committed.
    pub(crate) async fn queue_then<T, F, N>(&self, change: F, then: N) -> oneshot::Receiver<Result<T, StoreError>>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, Result<T, StoreError>> + Send + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let change: Change = Box::new(move |connection| {
            Box::pin(async move {
                let made = change(connection).await;
                let is_made = made.is_ok();
                // What is wrong with the change itself says more than that nothing was committed.
                let answer: Answer = Box::new(move |committed| {
                    let made = made.and_then(|made| committed.map(|()| made));
                    if let Ok(made) = &made {
                        then(made);
                    }
                    drop(sender.send(made));
                });
                (is_made, answer)
            })
        });
        // An error means that the writer is gone: the dropped sender tells.
        let _ = self.changes.send(change).await;
        answer
    }

    pub(crate) async fn close(&self) {
        let _ = self.write(|_| Box::pin(async { Ok(()) })).await;
        self.database.close().await;
    }
}

async fn write_all(database: SqlitePool, mut waiting: mpsc::Receiver<Change>, failure: Arc<Mutex<Option<String>>>) {
    let mut changes = Vec::with_capacity(MOST_TOGETHER);
    while waiting.recv_many(&mut changes, MOST_TOGETHER).await > 0 {
        let mut answers = Vec::with_capacity(changes.len());
        let committed = write_together(&database, &mut changes, &mut answers).await;
        // An error of sqlx cannot be cloned, and each of them waits for an answer. Of a database that was closed there is nothing to be told.
        let why = committed.err().filter(|error| !matches!(error, sqlx::Error::PoolClosed)).map(|error| error.to_string());
        failure.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&why);
        changes.clear();
        for answer in answers {
            answer(why.clone().map_or(Ok(()), |why| Err(StoreError::Unwritable(why))));
        }
    }
}

async fn write_together(database: &SqlitePool, changes: &mut Vec<Change>, answers: &mut Vec<Answer>) -> Result<(), sqlx::Error> {
    let mut connection = database.acquire().await?;
    let written = write_transaction(&mut connection, changes, answers).await;
    if written.is_err() {
        // A full disk ends a transaction from inside `SQLite` (lang_transaction.html), unseen by sqlx, which would then never begin another one. A new
        // connection knows where it is. Whether the old one says good-bye does not matter.
        let _ = connection.close().await;
    }
    written
}

async fn write_transaction(
    connection: &mut SqliteConnection,
    changes: &mut Vec<Change>,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let mut transaction = connection.begin_with("BEGIN IMMEDIATE").await?;
    let is_alone = changes.len() == 1;
    let mut before = "SAVEPOINT change";
    for change in changes.drain(..) {
        if !is_alone {
            sqlx::query(before).execute(&mut *transaction).await?;
        }
        let (is_made, answer) = change(&mut transaction).await;
        answers.push(answer);
        if is_made {
            before = "RELEASE change; SAVEPOINT change";
        } else if is_alone {
            return transaction.rollback().await;
        } else {
            before = "ROLLBACK TO change; RELEASE change; SAVEPOINT change";
        }
    }
    if before.starts_with("ROLLBACK") {
        sqlx::query("ROLLBACK TO change").execute(&mut *transaction).await?;
    }
    // Ends the savepoint as well.
    transaction.commit().await
}
