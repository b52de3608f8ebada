//! From a submission to a run that is accepted.

use std::sync::Arc;

use belljar_protocol::{
    Ceiling, EventKind, Limits, ObjectName, Outcome, Policy, Priority, RunId, RunRecord, RunState, RunSubmission, Scope, Timestamp, Wait,
    Widened,
};
use belljar_store::{EVENT_NUMBERS, KeyUse, NewRun, StoreError};
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use super::live::Live;
use super::queue::{Ask, Turn};
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::metrics;
use crate::service::Service;

/// How often the server holds what a run writes, until the run is over: as it came, and as the JSON of its events, where a control character has six
/// bytes.
const HELD_OF_OUTPUT: u64 = 8;
/// The same of its result, which is JSON already.
const HELD_OF_RESULT: u64 = 2;

/// The longest policy, JSON. The record of a run has it, and keeps it when the rest of its history is dropped.
const MAX_POLICY_BYTES: usize = 256 << 10;
/// The longest policy that an entry of the audit trail has as it is.
const MAX_POLICY_IN_AUDIT: usize = 8 << 10;

/// A run that was accepted, now or before.
#[derive(Debug)]
pub struct Submitted {
    /// The run.
    pub id: RunId,
    /// Whether it is the run of an earlier request with the same idempotency key.
    pub is_repeated: bool,
    live: Option<Arc<Live>>,
}

impl Service {
    /// Accepts a run. When this returns, the run survives the death of the server, unless the submission waits for the outcome and has no idempotency
    /// key: then the outcome is what acknowledges it.
    pub async fn submit(&self, caller: &Caller, submission: RunSubmission) -> Result<Submitted, ServiceError> {
        self.submit_to_the_end(caller, submission, None).await
    }

    /// Accepts a run that repeats another.
    pub async fn rerun(&self, caller: &Caller, id: &RunId) -> Result<Submitted, ServiceError> {
        caller.must(Scope::Run)?;
        self.run_with_history(caller, id).await?;
        let text = self.store().run_submission(id).await?;
        let mut submission: RunSubmission = serde_json::from_str(&text).map_err(ServiceError::invalid)?;
        submission.idempotency_key = None;
        submission.wait = Wait::No;
        self.submit_to_the_end(caller, submission, Some(id.clone())).await
    }

    /// In a task of its own: whoever asks may leave at any moment, and a run that is written down but that nobody sees through would be one for ever.
    async fn submit_to_the_end(
        &self,
        caller: &Caller,
        submission: RunSubmission,
        rerun_of: Option<RunId>,
    ) -> Result<Submitted, ServiceError> {
        let (service, caller) = (self.clone(), caller.clone());
        let submitting = async move { service.submit_as(&caller, submission, rerun_of).await };
        match tokio::spawn(submitting.in_current_span()).await {
            Ok(submitted) => submitted,
            // It is told as every panic of a handler is.
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    async fn submit_as(&self, caller: &Caller, mut submission: RunSubmission, rerun_of: Option<RunId>) -> Result<Submitted, ServiceError> {
        caller.must(Scope::Run)?;
        if self.is_stopping() {
            return Err(ServiceError::Stopping);
        }
        submission.check()?;
        let (policy, limits) = within_ceiling(caller, &self.ceiling(&caller.project.settings), &submission)?;
        for name in submission.files.iter().filter_map(|file| file.object.as_deref()) {
            // What a run starts with is what it could have read by itself.
            if !ObjectName::try_from(name)?.is_beneath(&policy.storage.read) {
                return Err(ServiceError::Widened(format!("files: the object {name} is not within policy.storage.read of the run")));
            }
        }
        for file in &submission.files {
            file.bytes()?;
        }
        if let Some(callback) = &submission.callback {
            crate::addresses::check(&callback.url)?;
        }
        self.within_cpu_quota(caller).await?;

        let (wait, key) = (std::mem::take(&mut submission.wait), submission.idempotency_key.take());
        let text = serde_json::to_string(&submission).map_err(ServiceError::invalid)?;
        let key = key.map(|key| KeyUse { key, submission_sha256: format!("{:x}", Sha256::digest(&text)) });
        if let Some(key) = &key
            && let Some(repeated) = self.repeated(caller, key).await?
        {
            return Ok(repeated);
        }

        self.within_history(caller, text.len() as u64)?;
        let Some(held) = self.hold_submission(caller.project_id(), text.len() as u64) else {
            metrics::refused("submissions_full");
            return Err(ServiceError::Busy {
                detail: "the runs that wait hold too much memory, or the project's share of it",
                retry_after_s: 1,
            });
        };
        let turn = self.queue().ask(ask(caller, submission.priority, &limits), false);
        if let Some((reason, detail)) = match turn {
            Turn::Now(_) | Turn::Later(_) => None,
            Turn::Full => Some(("queue_full", "too many runs wait")),
            Turn::ShareTaken => Some(("queue_share", "too many runs of the project wait: there must be room for others")),
        } {
            metrics::refused(reason);
            return Err(ServiceError::Busy { detail, retry_after_s: 1 });
        }
        let code_sha256 = self.code_sha256(caller, &submission).await?;
        let record = record(caller, &submission, code_sha256, (policy, limits), rerun_of, matches!(turn, Turn::Now(_)));
        let live = Live::new(record.clone(), caller.project_id().to_owned(), 0..EVENT_NUMBERS);
        live.emit(EventKind::Queued { id: record.id.clone() });
        let details = json!({"code_sha256": record.code_sha256, "language": record.language, "policy": policy_for_audit(&record.policy), "limits": record.limits, "rerun_of": record.rerun_of});
        let has_key = key.is_some();
        let new = NewRun {
            project_id: caller.project_id().to_owned(),
            submission: text,
            callback_url: submission.callback.as_ref().map(|callback| callback.url.clone()),
            key: key.clone(),
            history_quota_bytes: caller.project.settings.quotas.history(),
            audit: caller.did("run.submit", record.id.as_str(), details),
            record,
        };
        let accepted = self.store().accept_run(new).await;
        self.live().add(&live);
        // The outcome acknowledges a run that is waited for; everything else is acknowledged now, and must be durable by then.
        if wait == Wait::No || has_key || matches!(turn, Turn::Later(_)) {
            let stored = accepted.await.unwrap_or_else(|_| Err(self.store().unanswered()));
            if let Err(error) = stored {
                self.live().remove(&live.id);
                // Two requests with the same key at the same moment: the other one was first.
                return match (error, &key) {
                    (StoreError::Exists { .. }, Some(key)) => {
                        self.repeated(caller, key).await?.ok_or(ServiceError::KeyReused(key.key.clone()))
                    }
                    (error, _) => Err(error.into()),
                };
            }
        }
        metrics::accepted();
        self.spawn_run(Arc::clone(&live), caller.clone(), submission, turn, Some(held));
        Ok(Submitted { id: live.id.clone(), is_repeated: false, live: Some(live) })
    }

    /// The hash of the program. Where it is an object, of that as it is now; empty where there is none, which is told when the run starts.
    async fn code_sha256(&self, caller: &Caller, submission: &RunSubmission) -> Result<String, ServiceError> {
        if let Some(code) = &submission.code {
            return Ok(format!("{:x}", Sha256::digest(code)));
        }
        let entry = submission.entry_name();
        let Some(file) = submission.files.iter().find(|file| file.path == entry) else { return Ok(String::new()) };
        match (file.bytes()?, &file.object) {
            (Some(bytes), _) => Ok(format!("{:x}", Sha256::digest(bytes))),
            (None, Some(name)) => match self.store().object(caller.project_id(), &ObjectName::try_from(name.as_str())?).await {
                Ok(object) => Ok(object.record.sha256),
                Err(StoreError::NotFound { .. }) => Ok(String::new()),
                Err(error) => Err(error.into()),
            },
            (None, None) => Ok(String::new()),
        }
    }

    async fn repeated(&self, caller: &Caller, key: &KeyUse) -> Result<Option<Submitted>, ServiceError> {
        let Some((id, sha256)) = self.store().run_of_key(caller.project_id(), &key.key).await? else { return Ok(None) };
        if sha256 != key.submission_sha256 {
            return Err(ServiceError::KeyReused(key.key.clone()));
        }
        let live = self.live().get(caller.project_id(), &id);
        Ok(Some(Submitted { id, is_repeated: true, live }))
    }

    /// Whether a submission of this size can be kept with those that wait or run, which cannot be dropped to make room.
    pub fn within_history(&self, caller: &Caller, bytes: u64) -> Result<(), ServiceError> {
        let (quota, held) = (caller.project.settings.quotas.history(), self.held_submissions(caller.project_id()));
        if held.saturating_add(bytes) <= quota {
            return Ok(());
        }
        metrics::refused("history_quota");
        let detail = format!(
            "the project's quota of history is {quota} bytes, and submissions of runs that wait or run hold {held}: {bytes} more do not fit"
        );
        Err(ServiceError::Quota { detail, retry_after_s: (bytes <= quota).then_some(1) })
    }

    async fn within_cpu_quota(&self, caller: &Caller) -> Result<(), ServiceError> {
        let Some(quota) = caller.project.settings.quotas.cpu_ms_per_day else { return Ok(()) };
        let used = self.store().cpu_ms_today(caller.project_id()).await?;
        if used < quota {
            return Ok(());
        }
        metrics::refused("cpu_quota");
        let now_s = Timestamp::now().unix_ms() / 1000;
        let detail = format!("the project's quota of CPU time for today is used up: {used} of {quota} ms");
        Err(ServiceError::Quota { detail, retry_after_s: Some(86_400 - (now_s % 86_400) as u64) })
    }

    /// Waits for a run's end. `None` when that takes longer than asked for, or the server stops first.
    pub async fn outcome(&self, caller: &Caller, submitted: &Submitted, wait: Wait) -> Result<Option<Arc<Outcome>>, ServiceError> {
        let live = match &submitted.live {
            Some(live) => Arc::clone(live),
            None => match self.live().get(caller.project_id(), &submitted.id) {
                Some(live) => live,
                None => return Ok(self.store().run_outcome(&submitted.id).await?.map(Arc::new)),
            },
        };
        match wait {
            Wait::No => {}
            Wait::UntilTheEnd => live.until_over().await,
            Wait::AtMostMs(ms) => drop(tokio::time::timeout(std::time::Duration::from_millis(ms), live.until_over()).await),
        }
        Ok(live.outcome())
    }
}

/// A policy as the audit trail has it, which nothing is ever taken out of: the values of the environment may be private. Of a long one its hash.
fn policy_for_audit(policy: &Policy) -> serde_json::Value {
    let without_values = Policy { env: policy.env.keys().map(|name| (name.clone(), "...".to_owned())).collect(), ..policy.clone() };
    let text = serde_json::to_string(&without_values).unwrap_or_default();
    if text.len() > MAX_POLICY_IN_AUDIT {
        return json!({"sha256": format!("{:x}", Sha256::digest(&text)), "size_bytes": text.len()});
    }
    json!(without_values)
}

/// What a run of this caller asks the queue for.
pub(super) fn ask(caller: &Caller, priority: Priority, limits: &Limits) -> Ask {
    Ask {
        project_id: caller.project_id().to_owned(),
        priority,
        memory_bytes: limits.memory_bytes.0,
        held_bytes: limits.output_bytes.0 * HELD_OF_OUTPUT + limits.result_bytes.0 * HELD_OF_RESULT,
        most_of_project: caller.project.settings.quotas.concurrent_runs.unwrap_or(u32::MAX),
    }
}

/// What the run may touch and use: what it asks for, if that is within the project's ceiling.
fn within_ceiling(caller: &Caller, ceiling: &Ceiling, submission: &RunSubmission) -> Result<(Policy, Limits), ServiceError> {
    let settings = &caller.project.settings;
    // What is left out must not be more than the ceiling either.
    let limits = submission.limits.over(ceiling.default_limits());
    let policy = match &submission.policy {
        Some(policy) => policy.clone(),
        None => Policy { storage: settings.policy.storage.clone(), ..Policy::default() },
    };
    policy.validate().map_err(ServiceError::invalid)?;
    if serde_json::to_string(&policy).map_err(ServiceError::invalid)?.len() > MAX_POLICY_BYTES {
        return Err(ServiceError::invalid(format!(
            "policy: it has more than {MAX_POLICY_BYTES} bytes as JSON; hand large values over in files"
        )));
    }
    limits.validate().map_err(ServiceError::invalid)?;
    let widened = |widened: Widened| ServiceError::Widened(widened.to_string());
    ceiling.narrow(Some(&policy), Some(&limits)).map_err(widened)
}

fn record(
    caller: &Caller,
    submission: &RunSubmission,
    code_sha256: String,
    (policy, limits): (Policy, Limits),
    rerun_of: Option<RunId>,
    starts_now: bool,
) -> RunRecord {
    let now = Timestamp::now();
    RunRecord {
        id: RunId::new(),
        project: caller.project().to_owned(),
        status: if starts_now { RunState::Running } else { RunState::Queued },
        language: submission.language,
        runtime: submission.runtime.as_ref().map(ToString::to_string),
        entry: submission.entry_name().as_str().to_owned(),
        code_sha256,
        created_at: now,
        started_at: starts_now.then_some(now),
        finished_at: None,
        labels: submission.labels.clone(),
        comment: submission.comment.clone(),
        priority: submission.priority,
        attempt: 1,
        attempts: submission.retry.as_ref().map_or(1, |retry| retry.attempts),
        rerun_of,
        token: caller.actor.clone(),
        usage: None,
        policy,
        limits,
        history_dropped_at: None,
        outcome: None,
    }
}

/// The runtime that a run is about to start on, before it is known more exactly.
pub(super) fn wanted_runtime(submission: &RunSubmission) -> String {
    submission.runtime.clone().unwrap_or_else(|| submission.language.default_runtime()).to_string()
}
