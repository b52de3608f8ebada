//! The end of a run: it is stored with everything that belongs to it, and then published.

use std::sync::Arc;

use belljar_protocol::{
    EventKind, LogEntry, LogLevel, Outcome, RunError, RunRecord, RunState, Status, Timestamp,
};
use belljar_store::{
    FinishedRun, NewAuditEntry, Reservation, RunLock, Store, StoreError, StoredArtifact,
};
use serde_json::json;

use super::attempt::{Attempt, without_run};
use super::completion_budget::CompletionBudget;
use super::live::{LastEvent, Live};
use crate::callbacks::Callbacks;
use crate::caller::{Caller, by_belljar};
use crate::error::ServiceError;
use crate::metrics;
use crate::storage::Storage;
use crate::storage::run_calls::StorageCalls;

/// The maximum number of denials in the audit entry of a run's end.
const MAX_DENIED_IN_AUDIT: usize = 10;

/// The last step of each run.
#[derive(Debug)]
pub(crate) struct Completion {
    store: Store,
    storage: Arc<Storage>,
    callbacks: Arc<Callbacks>,
    budget: CompletionBudget,
}

/// The parts that are stored with the end of a run.
struct End {
    artifacts: Vec<StoredArtifact>,
    reservation: Option<Reservation>,
    lock: Option<RunLock>,
    has_run: bool,
    /// The summary of its storage calls.
    storage: Option<serde_json::Value>,
}

/// Logs one line about a run that has ended.
fn log_end(live: &Live, outcome: &Outcome) {
    let record = live.record();
    tracing::info!(
        run = %live.id,
        project = %record.project,
        token = %record.submitter(),
        language = %record.language,
        status = outcome.status.name(),
        wall_ms = outcome.usage.wall_ms.round(),
        "run finished"
    );
}

impl Completion {
    pub(crate) fn new(store: Store, storage: Arc<Storage>, callbacks: Arc<Callbacks>) -> Self {
        Self { store, storage, callbacks, budget: CompletionBudget::default() }
    }

    /// Stores the end of a run, then publishes it.
    pub(super) async fn conclude(
        &self,
        live: &Arc<Live>,
        caller: &Caller,
        attempt: Attempt,
        calls: &StorageCalls,
    ) {
        let Attempt { mut outcome, artifacts, lock, has_run } = attempt;
        outcome.id = live.id.clone();
        let (kept, reservation) = match self.storage.keep_artifacts(caller, artifacts).await {
            Ok(kept) => kept,
            Err(error) => {
                without_artifacts(live, &mut outcome, &error);
                (Vec::new(), None)
            }
        };
        let _room = self.budget.room(live, &outcome).await;
        let end = |artifacts, reservation| End {
            artifacts,
            reservation,
            lock: lock.clone(),
            has_run,
            storage: calls.summary(),
        };
        let mut stored =
            self.store_end(live, caller, &outcome, end(kept.clone(), reservation)).await;
        if let Err(error @ (StoreError::Quota { .. } | StoreError::ObjectQuota { .. })) = stored {
            // The quota was reduced meanwhile.
            self.storage.forget_contents(&kept).await;
            without_artifacts(live, &mut outcome, &error.into());
            stored = self.store_end(live, caller, &outcome, end(Vec::new(), None)).await;
        }
        let (last, has_too_much) = match stored {
            Ok(stored) => stored,
            Err(error) => {
                // The run stays unfinished in the store, or was never in it. An end that will not
                // be found again must not be published.
                tracing::error!(run = %live.id, %error, "the end of a run could not be stored");
                let message = format!("the end of the run could not be recorded: {error}");
                outcome = without_run(
                    live,
                    outcome.sandbox.runtime,
                    Status::Interrupted,
                    RunError::new("Interrupted", message),
                );
                (live.last_event(&outcome), false)
            }
        };
        metrics::ended(outcome.status, &outcome.usage);
        log_end(live, &outcome);
        self.callbacks.are_due();
        let (runtime, usage, status) =
            (outcome.sandbox.runtime.clone(), outcome.usage, outcome.status);
        let change = move |record: &mut RunRecord| {
            record.status = RunState::Ended(status);
            record.finished_at = Some(Timestamp::now());
            record.runtime = Some(runtime);
            record.usage = Some(usage);
        };
        live.end(last.line, change, outcome);
        if has_too_much {
            // This comes before the place is released, so that a project does not write faster than
            // its old runs are removed.
            let (project_id, quota_bytes) = history_of(live, caller);
            if let Err(error) = self.store.trim_history(&project_id, quota_bytes).await {
                tracing::error!(%error, "old history could not be removed and is tried again");
            }
            self.storage.blobs_are_doomed();
        }
    }

    /// Stores the end of a run. Returns the last event, and whether the project exceeds its history
    /// quota.
    async fn store_end(
        &self,
        live: &Live,
        caller: &Caller,
        outcome: &Outcome,
        end: End,
    ) -> Result<(LastEvent, bool), StoreError> {
        let (record, quotas) = (live.record(), &caller.project.settings.quotas);
        let last = live.last_event(outcome);
        let End { artifacts, reservation, lock, has_run, storage } = end;
        let mut details = json!({
            "status": outcome.status.name(),
            "code_sha256": record.code_sha256,
            "denied": outcome.denied.iter().take(MAX_DENIED_IN_AUDIT).collect::<Vec<_>>(),
            "usage": outcome.usage,
            "runtime": outcome.sandbox.runtime,
            "environment": outcome.sandbox.environment,
            "lock_sha256": lock.as_ref().map(|lock| &lock.sha256),
            "attempt": record.attempt,
        });
        if outcome.denied.len() > MAX_DENIED_IN_AUDIT {
            details["denied_in_all"] = json!(outcome.denied.len());
        }
        if let Some(storage) = storage {
            details["storage"] = storage;
        }
        let run = FinishedRun {
            id: live.id.clone(),
            project_id: live.project_id.clone(),
            attempt: record.attempt,
            logs_from: live.logs_from(outcome),
            events: live.unstored(),
            last_seq: last.line.seq,
            last_timestamp: last.timestamp,
            artifacts,
            reservation,
            quota: quotas.storage(),
            history_quota_bytes: quotas.history(),
            lock,
            started_at: record.started_at.filter(|_| has_run),
            token: record.token.clone(),
            audit: NewAuditEntry {
                actor: caller.actor.clone(),
                ..by_belljar(
                    Some(record.project.clone()),
                    "run.finish",
                    record.id.as_str(),
                    details,
                )
            },
        };
        let has_too_much = self.store.end_run(run, outcome).await?;
        Ok((last, has_too_much))
    }
}

/// Returns the project of a run and its history quota.
pub(super) fn history_of(live: &Live, caller: &Caller) -> (String, u64) {
    (live.project_id.clone(), caller.project.settings.quotas.history())
}

/// Removes the artifacts from an outcome, and adds the reason to its log.
fn without_artifacts(live: &Live, outcome: &mut Outcome, why: &ServiceError) {
    outcome.artifacts.clear();
    let (timestamp, level) = (Timestamp::now(), LogLevel::Warn);
    let message = format!("the artifacts could not be kept: {why}");
    live.emit_at(timestamp, EventKind::Log { level, message: message.clone() });
    outcome.logs.push(LogEntry { timestamp, level, message });
}
