//! Submission of runs.

use std::sync::Arc;

use belljar_protocol::{
    Ceiling, EventKind, Limits, ObjectName, Outcome, Policy, ProjectSettings, Rerun, RunId,
    RunRecord, RunState, RunSubmission, Scope, Timestamp, TraceParent, Variables, Wait, Widened,
};
use belljar_runner::{OmittedPolicy, RequestedAccess};
use belljar_store::{EVENT_NUMBERS, KeyUse, NewRun, StoreError};
use serde::Serialize;
use serde_json::json;
use sha2::{Digest, Sha256};
use tracing::Instrument;

use super::Runs;
use super::first_line::first_line;
use super::live::Live;
use super::queue::{Ask, Turn};
use super::sealed_variables::seal;
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::metrics;

/// The maximum size of a policy as JSON. The record of a run contains it, even after the rest of
/// the run's history is removed.
const MAX_POLICY_BYTES: usize = 256 << 10;
/// The maximum size of a value that the audit trail contains unabridged.
const MAX_IN_AUDIT: usize = 8 << 10;

/// A run that was accepted now or earlier.
#[derive(Debug)]
pub struct Submitted {
    /// Id of the run.
    pub id: RunId,
    /// Whether an earlier request with the same idempotency key started the run.
    pub is_repeated: bool,
    live: Option<Arc<Live>>,
}

impl Runs {
    /// Accepts a run. After this returns, the run survives the death of the server, unless the
    /// submission waits for the outcome and has no idempotency key: then only the outcome
    /// acknowledges the run. `trace` is the trace that the request belongs to.
    pub async fn submit(
        self: &Arc<Self>,
        caller: &Caller,
        submission: RunSubmission,
        trace: Option<TraceParent>,
    ) -> Result<Submitted, ServiceError> {
        self.submit_in_task(caller, submission, None, trace).await
    }

    /// Accepts a run that repeats another one. `rerun` must have the values of its variables, which
    /// are not kept.
    pub async fn rerun(
        self: &Arc<Self>,
        caller: &Caller,
        id: &RunId,
        rerun: Rerun,
        trace: Option<TraceParent>,
    ) -> Result<Submitted, ServiceError> {
        caller.must(Scope::Run)?;
        let record = self.run_with_history(caller, id).await?;
        check_variables_of_rerun(&record, &rerun)?;
        let text = self.store.run_submission(id).await?;
        let mut submission: RunSubmission =
            serde_json::from_str(&text).map_err(ServiceError::invalid)?;
        submission.env = rerun.env;
        submission.idempotency_key = None;
        submission.wait = Wait::No;
        self.submit_in_task(caller, submission, Some(id.clone()), trace).await
    }

    /// Submits in a task of its own, because the caller may stop waiting at any time, and a
    /// recorded run that no task supervises would never end.
    async fn submit_in_task(
        self: &Arc<Self>,
        caller: &Caller,
        submission: RunSubmission,
        rerun_of: Option<RunId>,
        trace: Option<TraceParent>,
    ) -> Result<Submitted, ServiceError> {
        let (runs, caller) = (Arc::clone(self), caller.clone());
        let submitting = async move { runs.submit_as(&caller, submission, rerun_of, trace).await };
        match tokio::spawn(submitting.in_current_span()).await {
            Ok(submitted) => submitted,
            // A panic is reported as that of any handler.
            Err(panicked) => std::panic::resume_unwind(panicked.into_panic()),
        }
    }

    async fn submit_as(
        &self,
        caller: &Caller,
        mut submission: RunSubmission,
        rerun_of: Option<RunId>,
        trace: Option<TraceParent>,
    ) -> Result<Submitted, ServiceError> {
        caller.must(Scope::Run)?;
        if self.is_stopping() {
            return Err(ServiceError::Stopping);
        }
        submission.check()?;
        check_names(&caller.project.settings, &submission.env)?;
        let ceiling = caller.project.settings.ceiling(self.engine.machine().ceiling());
        let (policy, limits) = within_ceiling(&ceiling, &submission)?;
        for name in submission.files.iter().filter_map(|file| file.object.as_deref()) {
            // A run may only start with objects that it could have read by itself.
            if !ObjectName::try_from(name)?.is_beneath(&policy.storage.read) {
                return Err(ServiceError::Widened(format!(
                    "files: the object `{name}` is not within policy.storage.read of the run"
                )));
            }
        }
        for file in &submission.files {
            file.bytes()?;
        }
        if let Some(callback) = &submission.callback {
            crate::callbacks::addresses::check(&callback.url)?;
        }
        self.within_cpu_quota(caller).await?;

        let (wait, key) = (std::mem::take(&mut submission.wait), submission.idempotency_key.take());
        let text = without_variables(&mut submission)?;
        let key =
            key.map(|key| KeyUse { key, submission_sha256: self.hash(&text, &submission.env) });
        if let Some(key) = &key
            && let Some(repeated) = self.repeated(caller, key).await?
        {
            return Ok(repeated);
        }

        let size = (text.len() + submission.env.size_bytes()) as u64;
        self.within_history(caller, size)?;
        let Some(held) = self.submissions.hold(caller.project_id(), size) else {
            metrics::refused("submissions_full");
            return Err(ServiceError::Busy {
                detail: "queued runs use up the memory for submissions, or the project's share of it",
                retry_after_s: 1,
            });
        };
        let turn = self.queue.ask(Ask::new(caller, submission.priority, &limits), false);
        if let Some((reason, detail)) = match turn {
            Turn::Now(_) | Turn::Later(_) => None,
            Turn::Full => Some(("queue_full", "the queue of runs is full")),
            Turn::ShareTaken => {
                Some(("queue_share", "this project's share of the run queue is full"))
            }
        } {
            metrics::refused(reason);
            return Err(ServiceError::Busy { detail, retry_after_s: 1 });
        }
        let code_sha256 = self.code_sha256(caller, &submission).await?;
        let record = record(
            caller,
            &submission,
            code_sha256,
            (policy, limits),
            (rerun_of, trace),
            matches!(turn, Turn::Now(_)),
        );
        let live = Live::new(record.clone(), caller.project_id().to_owned(), 0..EVENT_NUMBERS);
        live.emit(EventKind::Queued { id: record.id.clone() });
        let mut details = json!({"code_sha256": record.code_sha256, "language": record.language, "policy": policy_for_audit(&record.policy), "limits": record.limits, "rerun_of": record.rerun_of});
        if !record.env.is_empty() {
            details["env"] = bounded_for_audit(&record.env);
        }
        let has_key = key.is_some();
        let new = NewRun {
            project_id: caller.project_id().to_owned(),
            submission: text,
            sealed_variables: seal(
                &self.supervisor.keys,
                caller.project_id(),
                &record.id,
                &submission.env,
            ),
            callback_url: submission.callback.as_ref().map(|callback| callback.url.clone()),
            key: key.clone(),
            history_quota_bytes: caller.project.settings.quotas.history(),
            audit: caller.did("run.submit", record.id.as_str(), details),
            record,
        };
        let accepted = self.store.accept_run(new).await;
        self.live.add(&live);
        // A run that is waited for is acknowledged by its outcome. All other runs are acknowledged
        // now, and must be durable by then.
        let is_acknowledged = wait == Wait::No || has_key || matches!(turn, Turn::Later(_));
        if is_acknowledged && let Err(error) = accepted.stored().await {
            self.live.remove(&live.id);
            // Two requests with the same key came at the same time, and the other one was first.
            return match (error, &key) {
                (StoreError::Exists { .. }, Some(key)) => self
                    .repeated(caller, key)
                    .await?
                    .ok_or(ServiceError::KeyReused(key.key.clone())),
                (error, _) => Err(error.into()),
            };
        }
        metrics::accepted();
        self.supervisor.spawn_run(Arc::clone(&live), caller.clone(), submission, turn, Some(held));
        Ok(Submitted { id: live.id.clone(), is_repeated: false, live: Some(live) })
    }

    /// Returns the hash of the program. If the program is an object, it is the hash of the object's
    /// current content. The hash is empty if there is no such object, which is reported when the
    /// run starts.
    async fn code_sha256(
        &self,
        caller: &Caller,
        submission: &RunSubmission,
    ) -> Result<String, ServiceError> {
        if let Some(code) = &submission.code {
            return Ok(format!("{:x}", Sha256::digest(code)));
        }
        let entry = submission.entry_name();
        let Some(file) = submission.files.iter().find(|file| file.path == entry) else {
            return Ok(String::new());
        };
        match (file.bytes()?, &file.object) {
            (Some(bytes), _) => Ok(format!("{:x}", Sha256::digest(bytes))),
            (None, Some(name)) => match self
                .store
                .object(caller.project_id(), &ObjectName::try_from(name.as_str())?)
                .await
            {
                Ok(object) => Ok(object.record.sha256),
                Err(StoreError::NotFound { .. }) => Ok(String::new()),
                Err(error) => Err(error.into()),
            },
            (None, None) => Ok(String::new()),
        }
    }

    /// Returns the hash that tells a submission from others with the same idempotency key.
    fn hash(&self, text: &str, variables: &Variables) -> String {
        if variables.is_empty() {
            return format!("{:x}", Sha256::digest(text));
        }
        let variables = serde_json::to_string(variables).unwrap_or_default();
        self.supervisor.keys.submission_hash(text, &variables)
    }

    async fn repeated(
        &self,
        caller: &Caller,
        key: &KeyUse,
    ) -> Result<Option<Submitted>, ServiceError> {
        let Some((id, sha256)) = self.store.run_of_key(caller.project_id(), &key.key).await? else {
            return Ok(None);
        };
        if sha256 != key.submission_sha256 {
            return Err(ServiceError::KeyReused(key.key.clone()));
        }
        let live = self.live.get(caller.project_id(), &id);
        Ok(Some(Submitted { id, is_repeated: true, live }))
    }

    /// Checks that a submission of this size fits into the project's history together with the
    /// submissions of unfinished runs, which cannot be removed to make room.
    pub fn within_history(&self, caller: &Caller, bytes: u64) -> Result<(), ServiceError> {
        let (quota, held) =
            (caller.project.settings.quotas.history(), self.submissions.of(caller.project_id()));
        if held.saturating_add(bytes) <= quota {
            return Ok(());
        }
        metrics::refused("history_quota");
        let detail = format!(
            "{bytes} more bytes exceed the project's quota of history of {quota} bytes, of which \
             the submissions of unfinished runs use {held}"
        );
        Err(ServiceError::Quota { detail, retry_after_s: (bytes <= quota).then_some(1) })
    }

    async fn within_cpu_quota(&self, caller: &Caller) -> Result<(), ServiceError> {
        let Some(quota) = caller.project.settings.quotas.cpu_ms_per_day else { return Ok(()) };
        let used = self.store.cpu_ms_today(caller.project_id()).await?;
        if used < quota {
            return Ok(());
        }
        metrics::refused("cpu_quota");
        let now_s = Timestamp::now().unix_ms() / 1000;
        let detail =
            format!("the project's quota of CPU time for today is used up: {used} of {quota} ms");
        Err(ServiceError::Quota { detail, retry_after_s: Some(86_400 - (now_s % 86_400) as u64) })
    }

    /// Waits for the end of a run. Returns `None` if that takes longer than requested, or if the
    /// server stops first.
    pub async fn outcome(
        &self,
        caller: &Caller,
        submitted: &Submitted,
        wait: Wait,
    ) -> Result<Option<Arc<Outcome>>, ServiceError> {
        let live = match &submitted.live {
            Some(live) => Arc::clone(live),
            None => match self.live.get(caller.project_id(), &submitted.id) {
                Some(live) => live,
                None => return Ok(self.store.run_outcome(&submitted.id).await?.map(Arc::new)),
            },
        };
        match wait {
            Wait::No => {}
            Wait::UntilTheEnd => live.until_over().await,
            Wait::AtMostMs(ms) => drop(
                tokio::time::timeout(std::time::Duration::from_millis(ms), live.until_over()).await,
            ),
        }
        Ok(live.outcome())
    }
}

/// Returns a submission as JSON, without its variables: their values are stored encrypted only.
fn without_variables(submission: &mut RunSubmission) -> Result<String, ServiceError> {
    let variables = std::mem::take(&mut submission.env);
    let text = serde_json::to_string(submission).map_err(ServiceError::invalid);
    submission.env = variables;
    text
}

/// Checks that the project allows variables with these names.
fn check_names(settings: &ProjectSettings, variables: &Variables) -> Result<(), ServiceError> {
    let Some(name) = settings.forbidden_variable(variables) else { return Ok(()) };
    Err(ServiceError::Widened(match settings.env_names.as_deref().unwrap_or_default() {
        [] => format!("env: this project allows no environment variables, and `{name}` is one"),
        names => format!(
            "env: this project does not allow the environment variable `{name}`, only {}",
            names.join(", ")
        ),
    }))
}

/// Checks that a rerun has a value for each variable of the run that it repeats, and no others.
fn check_variables_of_rerun(record: &RunRecord, rerun: &Rerun) -> Result<(), ServiceError> {
    let missing: Vec<&str> = record
        .env
        .iter()
        .map(String::as_str)
        .filter(|name| !rerun.env.contains_key(*name))
        .collect();
    if !missing.is_empty() {
        return Err(ServiceError::Invalid {
            detail: format!(
                "env: the run had values for {}, which the server did not keep",
                missing.join(", ")
            ),
            hint: Some("send the values again in `env`".to_owned()),
        });
    }
    match rerun.env.keys().find(|name| !record.env.contains(name)) {
        Some(name) => Err(ServiceError::Invalid {
            detail: format!("env: the run that is repeated had no variable `{name}`"),
            hint: Some("submit a new run instead".to_owned()),
        }),
        None => Ok(()),
    }
}

/// Returns a policy for the audit trail. It does not contain the values of variables, which may be
/// private.
fn policy_for_audit(policy: &Policy) -> serde_json::Value {
    let without_values = Policy {
        env: policy.env.keys().map(|name| (name.clone(), "...".to_owned())).collect(),
        ..policy.clone()
    };
    bounded_for_audit(&without_values)
}

/// Returns a value for the audit trail, from which nothing is ever removed. Instead of a long
/// value, it is the hash.
fn bounded_for_audit(value: &impl Serialize) -> serde_json::Value {
    let text = serde_json::to_string(value).unwrap_or_default();
    if text.len() > MAX_IN_AUDIT {
        return json!({"sha256": format!("{:x}", Sha256::digest(&text)), "size_bytes": text.len()});
    }
    json!(value)
}

/// Returns the policy and limits that a submission requests, or an error if they exceed the
/// project's ceiling.
fn within_ceiling(
    ceiling: &Ceiling,
    submission: &RunSubmission,
) -> Result<(Policy, Limits), ServiceError> {
    let requested = RequestedAccess::of(
        submission,
        ceiling,
        OmittedPolicy::StorageOfCeiling,
        Limits::default(),
    );
    requested.validate().map_err(|error| ServiceError::explained(&error))?;
    let policy = serde_json::to_string(requested.policy()).map_err(ServiceError::invalid)?;
    if policy.len() > MAX_POLICY_BYTES {
        return Err(ServiceError::Invalid {
            detail: format!("policy: it exceeds {MAX_POLICY_BYTES} bytes as JSON"),
            hint: Some("pass large values in files".to_owned()),
        });
    }
    let widened = |widened: Widened| {
        ServiceError::Widened(match widened.field {
            "policy.env" => format!("{widened}: pass your own variables in `env`"),
            _ => widened.to_string(),
        })
    };
    Ok(requested.permit().map_err(widened)?.into_parts())
}

fn record(
    caller: &Caller,
    submission: &RunSubmission,
    code_sha256: String,
    (policy, limits): (Policy, Limits),
    (rerun_of, traceparent): (Option<RunId>, Option<TraceParent>),
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
        token_name: caller.name.clone(),
        first_line: first_line(submission),
        usage: None,
        policy,
        env: submission.env.names(),
        limits,
        traceparent,
        history_dropped_at: None,
        outcome: None,
    }
}
