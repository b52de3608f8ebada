//! Recovery of the runs that were unfinished when the server last stopped, for whatever reason.

use std::collections::HashMap;
use std::sync::Arc;

use belljar_protocol::{
    EventKind, ProjectRecord, RunError, RunState, RunSubmission, Status, Timestamp,
};
use belljar_store::{FinishedRun, NextAttempt, UnfinishedRun};
use serde_json::json;

use super::attempt::{wanted_runtime, without_run};
use super::live::Live;
use super::sealed_variables::unseal;
use super::supervise::Supervisor;
use crate::caller::{Caller, by_belljar};
use crate::error::ServiceError;

/// Queues the runs that were queued again. The progress of runs that were running is unknown, so
/// they are interrupted, unless they requested retries.
pub(super) async fn recover_runs(supervisor: &Arc<Supervisor>) -> Result<(), ServiceError> {
    let unfinished = supervisor.store.unfinished_runs().await?;
    if unfinished.is_empty() {
        return Ok(());
    }
    let projects = supervisor.store.projects().await?.into_iter();
    let projects: HashMap<String, Arc<ProjectRecord>> =
        projects.map(|project| (project.id.clone(), Arc::new(project))).collect();
    for run in unfinished {
        let project = projects
            .get(&run.project_id)
            .ok_or_else(|| ServiceError::not_found("project", &run.project_id))?;
        recover_run(supervisor, run, Arc::clone(project)).await?;
    }
    Ok(())
}

async fn recover_run(
    supervisor: &Arc<Supervisor>,
    unfinished: UnfinishedRun,
    project: Arc<ProjectRecord>,
) -> Result<(), ServiceError> {
    let UnfinishedRun { record, project_id, submission, sealed_variables, due_at, numbers } =
        unfinished;
    // The caller may be long gone. Their rights were checked at the submission.
    let caller = Caller {
        project,
        actor: record.token.clone(),
        name: record.token_name.clone(),
        scopes: belljar_protocol::Scope::ALL.into(),
        source: None,
        expires_at: None,
    };
    let live = Live::new(record.clone(), project_id.clone(), numbers.clone());
    if numbers.start == 0 {
        // Only a queued run has no other events. This event is not stored before there are
        // more.
        live.emit(EventKind::Queued { id: record.id.clone() });
    }
    let Ok(mut submission) = serde_json::from_str::<RunSubmission>(&submission) else {
        // Another version, or someone else, wrote it. Such a run must not keep the server from
        // starting.
        let runtime = record.language.default_runtime().to_string();
        let error = RunError::new("Interrupted", "the submission cannot be read");
        return interrupt(supervisor, &live, &caller, runtime, error).await;
    };
    if let Some(sealed) = sealed_variables {
        let Some(variables) = unseal(&supervisor.keys, &project_id, &record.id, sealed) else {
            let message = "the environment variables of the run cannot be decrypted";
            let error = RunError::new("Interrupted", message).with_hint(
                "submit the run again: its variables were encrypted with another key of the server",
            );
            return interrupt(supervisor, &live, &caller, wanted_runtime(&submission), error).await;
        };
        submission.env = variables;
    }
    let was_running = record.status == RunState::Running;
    let may_again = submission
        .retry
        .as_ref()
        .is_some_and(|retry| record.attempt < retry.attempts && retry.covers(Status::Interrupted));
    if was_running && !may_again {
        let message = "the server died while the run was in progress";
        let error = RunError::new("Interrupted", message).with_hint("run it again if that is safe");
        return interrupt(supervisor, &live, &caller, wanted_runtime(&submission), error).await;
    }
    if was_running {
        live.emit(EventKind::Progress {
            message:
                "the server died while the run was in progress, so it is run again as requested"
                    .into(),
        });
        live.change(|record| {
            record.status = RunState::Queued;
            record.attempt += 1;
        });
        let audit = by_belljar(
            Some(record.project.clone()),
            "run.retry",
            record.id.as_str(),
            json!({"attempt": record.attempt + 1, "status": Status::Interrupted.name()}),
        );
        let history = (project_id.clone(), caller.project.settings.quotas.history());
        let end = live.numbers_wanted().unwrap_or(live.numbers_end());
        let next = NextAttempt { number: record.attempt + 1, due_at: Timestamp::now() };
        supervisor
            .store
            .requeue_run(record.id.clone(), next, live.take_unstored(), end, history, audit)
            .await?;
        live.numbers_are_reserved(end);
    }
    supervisor.live.add(&live);
    let pause_ms = due_at.unix_ms().saturating_sub(Timestamp::now().unix_ms()).max(0) as u64;
    // These runs were accepted before, so they always get memory.
    let held = supervisor.submissions.hold(&project_id, 0);
    let supervisor = Arc::clone(supervisor);
    tokio::spawn(async move {
        tokio::select! {
            () = tokio::time::sleep(std::time::Duration::from_millis(pause_ms)) => {}
            () = live.until_cancelled() => {}
        }
        let turn = supervisor.ask_again(&live, &caller, &submission);
        supervisor.spawn_run(live, caller, submission, turn, held);
    });
    Ok(())
}

/// Ends a run of an earlier server as interrupted, with the output that was stored by then.
async fn interrupt(
    supervisor: &Supervisor,
    live: &Live,
    caller: &Caller,
    runtime: String,
    error: RunError,
) -> Result<(), ServiceError> {
    let (record, quotas) = (live.record(), &caller.project.settings.quotas);
    let outcome = without_run(live, runtime, Status::Interrupted, error);
    let last = live.last_event(&outcome);
    let details = json!({"status": Status::Interrupted.name(), "code_sha256": record.code_sha256, "attempt": record.attempt});
    let run = FinishedRun {
        id: record.id.clone(),
        project_id: live.project_id.clone(),
        attempt: record.attempt,
        // All events that were stored by then.
        logs_from: Some(0),
        events: live.unstored(),
        last_seq: last.line.seq,
        last_timestamp: last.timestamp,
        artifacts: Vec::new(),
        lock: None,
        reservation: None,
        quota: quotas.storage(),
        history_quota_bytes: quotas.history(),
        started_at: None,
        token: record.token.clone(),
        audit: by_belljar(Some(record.project.clone()), "run.finish", record.id.as_str(), details),
    };
    supervisor.store.end_run(run, &outcome).await?;
    Ok(())
}
