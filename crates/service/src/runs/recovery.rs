//! What the server does first with the runs that were not over when it last stopped, however it stopped.

use belljar_protocol::{EventKind, RunState, RunSubmission, Status, Timestamp};
use belljar_store::{Ending, UnfinishedRun};
use serde_json::json;

use super::live::Live;
use super::submit::wanted_runtime;
use super::supervise::{by_belljar, without_run};
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::service::Service;

impl Service {
    /// Runs that waited wait again. Of those under way nobody knows how far they got: they are interrupted, unless they asked to be run again.
    pub(crate) async fn recover_runs(&self) -> Result<(), ServiceError> {
        for unfinished in self.store().unfinished_runs().await? {
            self.recover_run(unfinished).await?;
        }
        Ok(())
    }

    async fn recover_run(&self, unfinished: UnfinishedRun) -> Result<(), ServiceError> {
        let UnfinishedRun { record, project_id, submission, due_at, numbers } = unfinished;
        let project = self.project_of_id(&project_id).await?;
        // Whoever asked may be long gone; what they could do was checked when they did.
        let caller =
            Caller { project, actor: record.token.clone(), scopes: belljar_protocol::Scope::ALL.into(), source: None, expires_at: None };
        let live = Live::new(record.clone(), project_id.clone(), numbers.clone());
        if numbers.start == 0 {
            // Only a run that waits has told nothing else. It is not stored before there is more to tell.
            live.emit(EventKind::Queued { id: record.id.clone() });
        }
        let Ok(submission) = serde_json::from_str::<RunSubmission>(&submission) else {
            // Written by another version, or by somebody else. One such run must not keep the server from starting.
            return self
                .interrupt(&live, &caller, record.language.default_runtime().to_string(), "what was submitted cannot be read any more")
                .await;
        };
        let was_running = record.status == RunState::Running;
        let may_again = submission.retry.as_ref().is_some_and(|retry| record.attempt < retry.attempts && retry.covers(Status::Interrupted));
        if was_running && !may_again {
            let why = "the server died while it ran; run it again if that does no harm";
            return self.interrupt(&live, &caller, wanted_runtime(&submission), why).await;
        }
        if was_running {
            live.emit(EventKind::Progress { message: "the server died while it ran; it is run again, as was asked".into() });
            live.change(|record| {
                record.status = RunState::Queued;
                record.attempt += 1;
            });
            let audit = by_belljar(&record, "run.retry", json!({"attempt": record.attempt + 1, "status": Status::Interrupted.name()}));
            let history = (project_id.clone(), caller.project.settings.quotas.history());
            let end = live.numbers_wanted().unwrap_or(live.numbers_end());
            self.store().requeue_run(record.id.clone(), Timestamp::now(), live.take_unstored(), end, history, audit).await?;
            live.numbers_are_reserved(end);
        }
        self.live().add(&live);
        let pause_ms = due_at.unix_ms().saturating_sub(Timestamp::now().unix_ms()).max(0) as u64;
        // They were accepted: there is room for them, whatever it is.
        let held = self.hold_submission(&project_id, 0);
        let service = self.clone();
        tokio::spawn(async move {
            tokio::select! {
                () = tokio::time::sleep(std::time::Duration::from_millis(pause_ms)) => {}
                () = live.until_cancelled() => {}
            }
            let turn = service.ask_again(&live, &caller, &submission);
            service.spawn_run(live, caller, submission, turn, held);
        });
        Ok(())
    }

    /// Ends a run of before as interrupted, with what it had written by then.
    async fn interrupt(&self, live: &Live, caller: &Caller, runtime: String, why: &str) -> Result<(), ServiceError> {
        let (record, quotas) = (live.record(), &caller.project.settings.quotas);
        let outcome = without_run(live, runtime, Status::Interrupted, "Interrupted", why);
        let last = live.last_event(&outcome);
        let details = json!({"status": Status::Interrupted.name(), "code_sha256": record.code_sha256, "attempt": record.attempt});
        let ending = Ending {
            id: record.id.clone(),
            project_id: live.project_id.clone(),
            attempt: record.attempt,
            outcome,
            // All that was stored by then.
            logs_from: Some(0),
            events: live.unstored_with(&last),
            artifacts: Vec::new(),
            lock: None,
            reservation: None,
            quota: quotas.storage(),
            history_quota_bytes: quotas.history(),
            started_at: None,
            audit: by_belljar(&record, "run.finish", details),
        };
        self.store().end_run(ending).await?;
        self.callbacks_are_due();
        Ok(())
    }
}
