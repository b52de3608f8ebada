//! The single writer. Changes wait in a queue, and each turn commits all waiting ones in order in
//! one transaction. A change that fails does not affect the others: each has a savepoint of its
//! own, unless it is alone.
//!
//! sqlx runs `SQLite` in a thread of its own, and each statement is a message to it and one back:
//! 50 to 100 us on a busy machine, which is more than most statements cost. So statements that
//! belong together are sent as one text, with their parameters numbered consecutively.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use sqlx::{Connection, SqliteConnection, SqlitePool};
use tokio::sync::{mpsc, oneshot};

use crate::error::StoreError;

/// The maximum number of changes in one transaction.
const MAX_TOGETHER: usize = 256;
/// The maximum number of queued changes. Further callers wait before they are queued.
const MAX_WAITING: usize = 4096;

pub(crate) type Future<'c, T> = std::pin::Pin<Box<dyn std::future::Future<Output = T> + Send + 'c>>;
/// Reports the result of a change to its caller after the commit.
type Answer = Box<dyn FnOnce(Result<(), StoreError>) + Send>;
type Change =
    Box<dyn for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, (bool, Answer)> + Send>;

#[derive(Clone)]
pub(crate) struct Writer {
    changes: mpsc::Sender<Change>,
    database: SqlitePool,
    /// The reason why changes got no answer.
    failure: Arc<Mutex<Option<String>>>,
}

impl fmt::Debug for Writer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Writer").finish_non_exhaustive()
    }
}

impl Writer {
    pub(crate) fn start(database: SqlitePool) -> Self {
        let (changes, waiting) = mpsc::channel(MAX_WAITING);
        let failure = Arc::default();
        tokio::spawn(write_all(database.clone(), waiting, Arc::clone(&failure)));
        Self { changes, database, failure }
    }

    /// Makes a change and waits until it is committed.
    pub(crate) async fn write<T, F>(&self, change: F) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, Result<T, StoreError>>
            + Send
            + 'static,
    {
        self.write_then(change, |_| {}).await
    }

    /// Makes a change, passes its result to `then` after the commit, in the order of commits, and
    /// waits.
    pub(crate) async fn write_then<T, F, N>(&self, change: F, then: N) -> Result<T, StoreError>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, Result<T, StoreError>>
            + Send
            + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        self.queue_then(change, then).await.committed().await
    }

    /// Queues a change. It is made after all changes that were queued before, and `then` is called
    /// with its result after the commit.
    pub(crate) async fn queue_then<T, F, N>(&self, change: F, then: N) -> QueuedChange<T>
    where
        T: Send + 'static,
        F: for<'c> FnOnce(&'c mut SqliteConnection) -> Future<'c, Result<T, StoreError>>
            + Send
            + 'static,
        N: FnOnce(&T) + Send + 'static,
    {
        let (sender, answer) = oneshot::channel();
        let change: Change = Box::new(move |connection| {
            Box::pin(async move {
                let made = change(connection).await;
                let is_made = made.is_ok();
                // The error of the change itself is more specific than that nothing was committed.
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
        // An error means that the writer is gone. The dropped sender reports it.
        let _ = self.changes.send(change).await;
        QueuedChange { answer, failure: Arc::clone(&self.failure) }
    }

    pub(crate) async fn close(&self) {
        let _ = self.write(|_| Box::pin(async { Ok(()) })).await;
        self.database.close().await;
    }
}

/// A change in the queue. It is made even if this is dropped.
#[derive(Debug)]
pub(crate) struct QueuedChange<T> {
    answer: oneshot::Receiver<Result<T, StoreError>>,
    failure: Arc<Mutex<Option<String>>>,
}

impl<T> QueuedChange<T> {
    /// Waits until the change is committed, and returns its result.
    pub(crate) async fn committed(self) -> Result<T, StoreError> {
        let Ok(made) = self.answer.await else {
            let failure = self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone();
            return Err(failure.map_or(StoreError::Closed, StoreError::Unwritable));
        };
        made
    }
}

async fn write_all(
    database: SqlitePool,
    mut waiting: mpsc::Receiver<Change>,
    failure: Arc<Mutex<Option<String>>>,
) {
    let mut changes = Vec::with_capacity(MAX_TOGETHER);
    while waiting.recv_many(&mut changes, MAX_TOGETHER).await > 0 {
        let mut answers = Vec::with_capacity(changes.len());
        let committed = write_together(&database, &mut changes, &mut answers).await;
        // An error of sqlx cannot be cloned, but each caller waits for an answer. A closed database
        // is reported by the dropped senders.
        let why = committed
            .err()
            .filter(|error| !matches!(error, sqlx::Error::PoolClosed))
            .map(|error| error.to_string());
        failure.lock().unwrap_or_else(PoisonError::into_inner).clone_from(&why);
        changes.clear();
        for answer in answers {
            answer(why.clone().map_or(Ok(()), |why| Err(StoreError::Unwritable(why))));
        }
    }
}

async fn write_together(
    database: &SqlitePool,
    changes: &mut Vec<Change>,
    answers: &mut Vec<Answer>,
) -> Result<(), sqlx::Error> {
    let mut connection = database.acquire().await?;
    let written = write_transaction(&mut connection, changes, answers).await;
    if written.is_err() {
        // A full disk ends a transaction from inside `SQLite` (lang_transaction.html). sqlx does
        // not notice and could never begin another one, so the connection is replaced. The result
        // of closing the old one is irrelevant.
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
    // The commit ends the savepoint as well.
    transaction.commit().await
}
