//! Callbacks: the end of a run, reported by a signed `POST` that is repeated until it is accepted
//! or a day has passed. The callbacks of one receiver wait for each other, but never for those of
//! another receiver. `budget` limits their number of bytes, so that they cannot flood a third
//! party.

pub(crate) mod addresses;
mod body;
mod budget;
mod in_progress;
mod messenger;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_protocol::{CallbackKey, RunId, Scope, Timestamp};
use belljar_store::{DueCallback, Store};
use tokio::sync::{Notify, Semaphore};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::budget::Spent;
use self::in_progress::{InProgress, MAX_LOOKED_UP, Take, host};
use self::messenger::Messenger;
use crate::access::signing::Keys;
use crate::caller::Caller;
use crate::config::CallbackConfig;
use crate::error::ServiceError;
use crate::metrics;

/// The pause after the first attempt. It doubles after each further one.
const FIRST_PAUSE_MS: u64 = 1000;
/// The maximum number of attempts. With doubled pauses, the last comes after about 18 hours.
const MAX_TRIES: u32 = 17;
/// The maximum number of attempts to a host that has never answered 2xx since the server started.
/// The last comes after about 34 minutes.
const MAX_UNPROVEN_TRIES: u32 = 12;
/// Outcomes can be large, and are in memory while a body is built, so only one body is built at
/// once.
static MAKING_BODY: Semaphore = Semaphore::const_new(1);
/// The interval at which due callbacks are looked up.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// The time by which callbacks are postponed if too many are picked up.
const PUT_OFF_MS: u64 = 2000;

/// The callbacks of all projects.
#[derive(Debug)]
pub struct Callbacks {
    store: Store,
    keys: Keys,
    messenger: Messenger,
    due: Notify,
}

impl Callbacks {
    pub(crate) fn new(
        store: Store,
        keys: Keys,
        config: &CallbackConfig,
    ) -> Result<Self, ServiceError> {
        let messenger = Messenger::new(config.allow_private)?;
        Ok(Self { store, keys, messenger, due: Notify::new() })
    }

    /// Returns the key that signs the callbacks of the caller's project.
    pub fn key(&self, caller: &Caller) -> Result<CallbackKey, ServiceError> {
        caller.must(Scope::Admin)?;
        Ok(CallbackKey { key: self.keys.callback_key(caller.project_id()) })
    }

    /// Notes that a run ended, so that its callback is sent at once.
    pub(crate) fn are_due(&self) {
        self.due.notify_one();
    }

    /// Sends callbacks until the service is closed.
    pub(crate) async fn send_until(self: Arc<Self>, closed: CancellationToken) {
        let (mut in_progress, mut tries, mut of_tries) =
            (InProgress::default(), JoinSet::new(), HashMap::<_, (RunId, String)>::new());
        let mut look = tokio::time::interval(LOOK_EVERY);
        loop {
            tokio::select! {
                () = self.due.notified() => {}
                _ = look.tick() => {}
                // Callbacks are only released here, so a callback that is found to be due below is
                // either picked up already or not being attempted.
                Some(tried) = tries.join_next_with_id() => {
                    let id = tried.map_or_else(|panicked| panicked.id(), |(id, ())| id);
                    if let Some((run, host)) = of_tries.remove(&id) {
                        in_progress.give_back(&run, &host);
                    }
                    continue;
                }
                () = closed.cancelled() => return,
            }
            let due = match self.store.due_callbacks(MAX_LOOKED_UP).await {
                Ok(due) => due,
                Err(error) => {
                    tracing::error!(%error, "callbacks could not be looked up");
                    continue;
                }
            };
            let mut put_off = Vec::new();
            for callback in due {
                let host = host(&callback.url);
                match in_progress.take(&callback.run, &host) {
                    Take::Taken(of_host) => {
                        let (callbacks, at_once) =
                            (Arc::clone(&self), Arc::clone(&in_progress.at_once));
                        let run = callback.run.clone();
                        let task = tries.spawn(async move {
                            // Neither semaphore is ever closed.
                            let _of_host = of_host.acquire().await;
                            let _of_all = at_once.acquire().await;
                            callbacks.send(callback).await;
                        });
                        of_tries.insert(task.id(), (run, host));
                    }
                    Take::IsTaken => {}
                    Take::TooMany => put_off.push(callback.run),
                }
            }
            if !put_off.is_empty()
                && let Err(error) = self
                    .store
                    .put_off_callbacks(put_off, Timestamp::now().plus_ms(PUT_OFF_MS))
                    .await
            {
                tracing::error!(%error, "callbacks could not be put off");
            }
        }
    }

    async fn send(&self, callback: DueCallback) {
        let host = host(&callback.url);
        let mut wait = Duration::ZERO;
        let body = match self.body(&callback).await {
            Ok(body) => match self.messenger.budget().charge(
                &callback.project_id,
                &host,
                body.len() as u64,
                Instant::now(),
            ) {
                Ok(()) => Ok(body),
                Err(Spent(until)) => {
                    wait = until;
                    Err("its project or its host has reached its limit of bytes per hour"
                        .to_owned())
                }
            },
            Err(error) => Err(error.to_string()),
        };
        let sent = match body {
            Ok(body) => {
                self.messenger
                    .send(
                        &callback.url,
                        &callback.run,
                        &self.keys.callback_key(&callback.project_id),
                        body,
                    )
                    .await
            }
            Err(why) => Err(why),
        };
        let max_tries =
            if self.messenger.budget().is_proven(&host) { MAX_TRIES } else { MAX_UNPROVEN_TRIES };
        let stored = match sent {
            Ok(()) => {
                self.messenger.budget().prove(&host, Instant::now());
                metrics::called_back("taken");
                self.store.drop_callback(callback.run.clone()).await
            }
            Err(why) if callback.tries + 1 >= max_tries => {
                metrics::called_back("given_up");
                tracing::warn!(run = %callback.run, why, "a callback was given up");
                self.store.drop_callback(callback.run.clone()).await
            }
            Err(why) => {
                metrics::called_back("failed");
                tracing::info!(run = %callback.run, why, tries = callback.tries + 1, "a callback failed");
                let pause = FIRST_PAUSE_MS
                    .saturating_mul(1 << callback.tries.min(20))
                    .max(wait.as_millis() as u64);
                self.store
                    .postpone_callback(callback.run.clone(), Timestamp::now().plus_ms(pause))
                    .await
            }
        };
        if let Err(error) = stored {
            tracing::error!(run = %callback.run, %error, "a callback could not be noted");
        }
    }

    async fn body(&self, callback: &DueCallback) -> Result<Vec<u8>, ServiceError> {
        let record = self.store.run(&callback.project_id, &callback.run).await?;
        // The semaphore is never closed.
        let _making = MAKING_BODY.acquire().await;
        let outcome = self.store.run_outcome(&callback.run).await?;
        body::body(record, outcome).map_err(ServiceError::invalid)
    }
}
