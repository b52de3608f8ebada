//! One accepted run, from its turn to its stored end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use belljar_engine::{ArtifactFile, ArtifactRoom, Finished, LeftFiles, RunEvent, RunOptions};
use belljar_environments::RunPackages;
use belljar_protocol::{
    EventKind, LogEntry, LogLevel, Outcome, Retry, RunError, RunRequest, RunState, RunSubmission, SandboxInfo, Status, Timestamp,
};
use belljar_store::{Ending, NewAuditEntry, Reservation, RunLock, StoreError, StoredArtifact};
use serde_json::json;
use tracing::Instrument;

use super::live::{LastEvent, Live};
use super::queue::{Place, Turn};
use super::submit::{ask, wanted_runtime};
use crate::caller::{BELLJAR, Caller};
use crate::calls::StorageCalls;
use crate::door::StorageDoor;
use crate::error::ServiceError;
use crate::held::HeldMemory;
use crate::metrics;
use crate::service::Service;

/// How often the events of a run under way are stored. What a watcher has heard since is lost with the server.
const STORE_EVENTS_EVERY: Duration = Duration::from_millis(500);

/// What was refused to a run, of which its last entry in the audit trail has the first ones.
const MAX_DENIED_IN_AUDIT: usize = 10;
/// The room that a project's storage quota leaves for artifacts: the engine asks before it reads them.
#[derive(Debug)]
struct StorageRoom {
    service: Service,
    project_id: String,
    quota_bytes: Option<u64>,
}

impl ArtifactRoom for StorageRoom {
    fn refusal(&self, asked_bytes: u64) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>> {
        Box::pin(async move {
            let quota_bytes = self.quota_bytes?;
            // Where the store does not answer, it will not take them either, and says so.
            let used_bytes = self.service.store().storage_bytes(&self.project_id).await.ok()?;
            let is_full = used_bytes.saturating_add(asked_bytes) > quota_bytes;
            is_full.then(|| StoreError::Quota { quota_bytes, used_bytes, asked_bytes }.to_string())
        })
    }
}

/// How one attempt ended.
struct Attempt {
    outcome: Outcome,
    artifacts: Vec<ArtifactFile>,
    /// The lock that its packages were installed from.
    lock: Option<RunLock>,
    /// Whether there was one at all.
    has_run: bool,
}

impl Service {
    /// Sees an accepted run through, in a task of its own.
    pub(super) fn spawn_run(&self, live: Arc<Live>, caller: Caller, submission: RunSubmission, turn: Turn, held: Option<HeldMemory>) {
        let service = self.clone();
        let span = tracing::info_span!("run", id = %live.id);
        let task = self.run_tasks().track_future(async move {
            service.see_through(&live, &caller, &submission, turn).await;
            service.live().remove(&live.id);
            drop(held);
        });
        let task = task.instrument(span);
        tokio::spawn(task);
    }

    async fn see_through(&self, live: &Arc<Live>, caller: &Caller, submission: &RunSubmission, mut turn: Turn) {
        // What attempts wrote is held until the run is over, and so is what they have of the account of memory for it.
        let mut places = Vec::new();
        let calls = Arc::new(StorageCalls::default());
        loop {
            let was_running = live.record().status == RunState::Running;
            let attempt = match until_turn(live, turn).await {
                Some(mut place) => {
                    let attempt = self.attempt(live, caller, submission, was_running, &calls).await;
                    place.sandbox_is_gone();
                    places.push(place);
                    attempt
                }
                None => cancelled(live, submission),
            };
            if live.is_interrupted() && attempt.outcome.status == Status::Cancelled {
                // The server is being stopped. What had not begun waits for the next one; the rest is interrupted.
                if !attempt.has_run {
                    return live.abandon();
                }
            }
            let attempt = interrupted_if_stopping(live, attempt);
            let number = live.record().attempt;
            let next = next_attempt(submission.retry.as_ref(), number, attempt.outcome.status);
            let Some(pause) = next.filter(|_| !live.is_cancelled() || live.is_interrupted()) else {
                return self.conclude(live, caller, attempt, &calls).await;
            };
            match self.again(live, caller, &attempt.outcome, number + 1, pause, submission).await {
                Some(next) => turn = next,
                None if live.is_interrupted() => return live.abandon(),
                None => return self.conclude(live, caller, cancelled(live, submission), &calls).await,
            }
        }
    }

    /// Runs the program once.
    async fn attempt(
        &self,
        live: &Arc<Live>,
        caller: &Caller,
        submission: &RunSubmission,
        was_running: bool,
        calls: &Arc<StorageCalls>,
    ) -> Attempt {
        live.begin_attempt();
        let record = live.record();
        if live.is_cancelled() {
            return cancelled(live, submission);
        }
        // A run that waited is noted as running before its program starts: after a crash nobody can think that it had not begun.
        if !was_running && let Err(error) = self.store().start_run(live.id.clone(), record.attempt).await {
            return not_run(live, submission, Status::Interrupted, "Interrupted", &error.to_string());
        }
        live.change(|record| {
            record.status = RunState::Running;
            record.started_at = Some(Timestamp::now());
        });
        let (request, _held) = match self.request(caller, submission, &record).await {
            Ok(request) => request,
            Err(error) => return not_run(live, submission, Status::Refused, "Refused", &error.to_string()),
        };
        let has_storage = !request.policy.storage.read.is_empty() || !request.policy.storage.write.is_empty();
        let door = has_storage.then(|| {
            Arc::new(StorageDoor::new(self.clone(), caller.clone(), live.id.clone(), &request.policy, Arc::clone(calls))) as Arc<_>
        });
        let packages = Arc::new(self.packages_of(caller, submission));
        let options = RunOptions {
            id: Some(live.id.clone()),
            door,
            tenant: Some(live.project_id.clone()),
            environments: Some(Arc::clone(&packages) as Arc<_>),
            // As it is when this attempt starts: what was taken out of it while the run waited is not granted any more.
            ceiling: Some(self.ceilings().of(&live.project_id)),
            left_files: LeftFiles::HandedBack,
            room: Some(Arc::new(StorageRoom {
                service: self.clone(),
                project_id: live.project_id.clone(),
                quota_bytes: caller.project.settings.quotas.storage_bytes,
            })),
        };
        let mut run = self.engine().run_with(request, options);
        let canceller = run.canceller();
        let mut store_events = tokio::time::interval_at(tokio::time::Instant::now() + STORE_EVENTS_EVERY, STORE_EVENTS_EVERY);
        let mut is_cancelling = false;
        loop {
            tokio::select! {
                event = run.next_event() => match event {
                    Some(RunEvent::Event(event)) => match event.kind {
                        // The one is told already, the other when it is stored.
                        EventKind::Queued { .. } | EventKind::Finished { .. } => {}
                        kind => {
                            live.emit_at(event.timestamp, kind);
                            self.reserve_numbers(live).await;
                        }
                    },
                    Some(RunEvent::Output { .. }) => {}
                    None => break,
                },
                () = live.until_cancelled(), if !is_cancelling => {
                    is_cancelling = true;
                    canceller.cancel();
                }
                _ = store_events.tick() => {
                    let events = live.take_unstored();
                    if !events.lines.is_empty() {
                        // What is not stored now is not lost to those who watch.
                        let _ = self.store().keep_run_events(live.id.clone(), events, history_of(live, caller)).await;
                    }
                }
            }
        }
        let Finished { outcome, artifacts } = run.finished().await;
        let lock = packages.prepared().map(|prepared| RunLock {
            sha256: prepared.record.lock_sha256,
            file_name: prepared.record.ecosystem.lock_file_name().to_owned(),
            text: prepared.lock,
        });
        Attempt { outcome, artifacts, lock, has_run: true }
    }

    /// The packages that a run asks for, as far as the server and its project allow.
    fn packages_of(&self, caller: &Caller, submission: &RunSubmission) -> RunPackages {
        RunPackages::new(
            self.environments().clone(),
            submission.packages.clone(),
            submission.package_options.clone(),
            self.config().packages.within(&caller.project.settings.packages),
            Some(caller.project_id().to_owned()),
        )
    }

    /// Reserves numbers for the events to come. Where that cannot be stored, watchers wait for those that it would have been for.
    async fn reserve_numbers(&self, live: &Live) {
        let Some(end) = live.numbers_wanted() else { return };
        match self.store().reserve_event_numbers(live.id.clone(), end).await {
            Ok(()) => live.numbers_are_reserved(end),
            Err(error) => tracing::warn!(%error, "events cannot be told for now"),
        }
    }

    /// What the engine is asked, and the memory that the objects in it hold.
    async fn request(
        &self,
        caller: &Caller,
        submission: &RunSubmission,
        record: &belljar_protocol::RunRecord,
    ) -> Result<(RunRequest, HeldMemory), ServiceError> {
        let entry = submission.entry_name();
        let mut request = RunRequest::new(submission.language, submission.code.clone().unwrap_or_default());
        request.files.clear();
        if let Some(code) = &submission.code {
            request.files.push(belljar_protocol::ProgramFile { path: entry.clone(), content: code.clone().into_bytes() });
        }
        let objects = submission.files.iter().filter_map(|file| file.object.as_deref());
        let (mut left, held) = self.room_for_objects(caller, objects).await?;
        for file in &submission.files {
            let content = match (file.bytes()?, &file.object) {
                (Some(bytes), _) => bytes,
                (None, Some(name)) => {
                    let bytes = self.whole_object(caller, name, left).await?;
                    left -= bytes.len() as u64;
                    bytes
                }
                (None, None) => Vec::new(),
            };
            request.files.push(file.with(content));
        }
        request.entry = entry;
        request.runtime.clone_from(&submission.runtime);
        if let Some(parameters) = &submission.parameters {
            request.parameters.clone_from(parameters);
        }
        request.arguments.clone_from(&submission.arguments);
        request.stdin = submission.stdin.clone().unwrap_or_default().into_bytes();
        request.outputs.clone_from(&submission.outputs);
        request.policy = record.policy.clone();
        request.limits = record.limits;
        request.finish = submission.finish;
        request.seed = submission.seed;
        request.start = submission.start;
        Ok((request, held))
    }

    /// Memory for the objects that a run starts with: how much they may have together, which is as much as a submission may have.
    async fn room_for_objects(&self, caller: &Caller, names: impl Iterator<Item = &str>) -> Result<(u64, HeldMemory), ServiceError> {
        let (most, mut bytes) = (self.config().runs.most_submission_bytes.0, 0_u64);
        for name in names {
            let name = belljar_protocol::ObjectName::try_from(name)?;
            bytes = bytes.saturating_add(self.store().object(caller.project_id(), &name).await?.record.size_bytes);
        }
        if bytes > most {
            return Err(ServiceError::TooLarge(format!(
                "the objects among the files of the run have {bytes} bytes; a run can start with {most}: let the program download them with belljar.storage"
            )));
        }
        let held = self
            .hold_submission(caller.project_id(), bytes)
            .ok_or(ServiceError::Busy { detail: "the files of runs hold too much memory", retry_after_s: 1 })?;
        Ok((most, held))
    }

    /// Puts a run back into the queue, and waits until it is due. `None` when it was cancelled meanwhile.
    async fn again(
        &self,
        live: &Arc<Live>,
        caller: &Caller,
        outcome: &Outcome,
        number: u32,
        pause: Duration,
        submission: &RunSubmission,
    ) -> Option<Turn> {
        let record = live.record();
        let due_at = Timestamp::now().plus_ms(pause.as_millis() as u64);
        live.emit(EventKind::Progress {
            message: format!(
                "attempt {} of {} ended: {}; the next one starts in {} ms",
                number - 1,
                record.attempts,
                outcome.status.name(),
                pause.as_millis()
            ),
        });
        live.change(|record| {
            record.status = RunState::Queued;
            record.attempt = number;
        });
        let audit = by_belljar(&record, "run.retry", json!({"attempt": number, "status": outcome.status.name()}));
        // Where it cannot be stored, a crash before the next attempt gives an interrupted run: no worse.
        let _ = self
            .store()
            .requeue_run(live.id.clone(), due_at, live.take_unstored(), live.numbers_end(), history_of(live, caller), audit)
            .await;
        tokio::select! {
            () = tokio::time::sleep(pause) => Some(self.ask_again(live, caller, submission)),
            () = live.until_cancelled() => None,
        }
    }

    /// Asks for a place for a run that was accepted before.
    pub(super) fn ask_again(&self, live: &Live, caller: &Caller, submission: &RunSubmission) -> Turn {
        self.queue().ask(ask(caller, submission.priority, &live.record().limits), true)
    }

    /// Stores the end of a run, then tells it.
    async fn conclude(&self, live: &Arc<Live>, caller: &Caller, attempt: Attempt, calls: &StorageCalls) {
        let Attempt { mut outcome, artifacts, lock, has_run } = attempt;
        outcome.id = live.id.clone();
        let (kept, reservation) = match self.keep_artifacts(live, caller, artifacts).await {
            Ok(kept) => kept,
            Err(error) => {
                without_artifacts(live, &mut outcome, &error);
                (Vec::new(), None)
            }
        };
        let _room = self.ends().room(live, &outcome).await;
        let end = |artifacts, reservation| End { artifacts, reservation, lock: lock.clone(), has_run, storage: calls.summary() };
        let mut stored = self.store_end(live, caller, &outcome, end(kept.clone(), reservation)).await;
        if let Err(error @ (StoreError::Quota { .. } | StoreError::ObjectQuota { .. })) = stored {
            // The quota was made smaller meanwhile.
            self.forget_contents(&kept).await;
            without_artifacts(live, &mut outcome, &error.into());
            stored = self.store_end(live, caller, &outcome, end(Vec::new(), None)).await;
        }
        let (last, has_too_much) = match stored {
            Ok(stored) => stored,
            Err(error) => {
                // It stays unfinished in the store, or was never in it. Nobody may be told of an end that will not be found again.
                tracing::error!(run = %live.id, %error, "the end of a run could not be stored");
                let message = format!("the program has ended, but that could not be recorded: {error}");
                outcome = without_run(live, outcome.sandbox.runtime, Status::Interrupted, "Interrupted", &message);
                (live.last_event(&outcome), false)
            }
        };
        metrics::ended(outcome.status, &outcome.usage);
        self.callbacks_are_due();
        let (runtime, usage, status) = (outcome.sandbox.runtime.clone(), outcome.usage, outcome.status);
        let change = move |record: &mut belljar_protocol::RunRecord| {
            record.status = RunState::Ended(status);
            record.finished_at = Some(Timestamp::now());
            record.runtime = Some(runtime);
            record.usage = Some(usage);
        };
        live.end(last.line, change, outcome);
        if has_too_much {
            // Before its place is free: a project does not write faster than its old runs are dropped.
            let (project_id, quota_bytes) = history_of(live, caller);
            if let Err(error) = self.store().trim_history(&project_id, quota_bytes).await {
                tracing::error!(%error, "old history could not be dropped; it is tried again");
            }
            self.blobs_are_doomed();
        }
    }

    /// Stores the end of a run. Gives the event that tells it, and whether the project has more history than it may.
    async fn store_end(&self, live: &Live, caller: &Caller, outcome: &Outcome, end: End) -> Result<(LastEvent, bool), StoreError> {
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
        let logs_from = live.logs_from(outcome);
        let ending = Ending {
            id: live.id.clone(),
            project_id: live.project_id.clone(),
            attempt: record.attempt,
            outcome: if logs_from.is_some() { without_logs(outcome) } else { outcome.clone() },
            logs_from,
            events: live.unstored_with(&last),
            artifacts,
            reservation,
            quota: quotas.storage(),
            history_quota_bytes: quotas.history(),
            lock,
            started_at: record.started_at.filter(|_| has_run),
            audit: NewAuditEntry { actor: caller.actor.clone(), ..by_belljar(&record, "run.finish", details) },
        };
        let has_too_much = self.store().end_run(ending).await?;
        Ok((last, has_too_much))
    }

    /// Deletes contents that got no name. What cannot be deleted now is found by the sweep.
    async fn forget_contents(&self, artifacts: &[StoredArtifact]) {
        for key in artifacts.iter().filter_map(|stored| stored.blob.parse().ok()) {
            let _ = self.objects().delete(&key).await;
        }
    }

    /// Moves the files that a run left into storage. Their room is reserved before anything is copied.
    async fn keep_artifacts(
        &self,
        live: &Live,
        caller: &Caller,
        artifacts: Vec<ArtifactFile>,
    ) -> Result<(Vec<StoredArtifact>, Option<Reservation>), ServiceError> {
        if artifacts.is_empty() {
            return Ok((Vec::new(), None));
        }
        let bytes = artifacts.iter().map(|file| file.artifact.size_bytes).sum();
        let quota = caller.project.settings.quotas.storage();
        let reservation = self.store().reserve_files(&live.project_id, quota, bytes, artifacts.len() as u64).await?;
        let mut kept = Vec::new();
        for file in artifacts {
            let artifact = file.artifact.clone();
            match self.keep_file(&live.project_id, caller, file).await {
                Ok(blob) => kept.push(StoredArtifact { artifact, blob }),
                Err(error) => {
                    self.forget_contents(&kept).await;
                    return Err(error);
                }
            }
        }
        Ok((kept, Some(reservation)))
    }
}

/// What is stored with the end of a run.
struct End {
    artifacts: Vec<StoredArtifact>,
    reservation: Option<Reservation>,
    lock: Option<RunLock>,
    has_run: bool,
    /// Its storage calls.
    storage: Option<serde_json::Value>,
}

/// The project whose history a run is part of, and what that may have.
fn history_of(live: &Live, caller: &Caller) -> (String, u64) {
    (live.project_id.clone(), caller.project.settings.quotas.history())
}

/// An outcome without what its events have.
fn without_logs(outcome: &Outcome) -> Outcome {
    Outcome {
        value: outcome.value.clone(),
        error: outcome.error.clone(),
        exit_code: outcome.exit_code,
        signal: outcome.signal,
        logs: Vec::new(),
        results: Vec::new(),
        artifacts: outcome.artifacts.clone(),
        denied: outcome.denied.clone(),
        notes: outcome.notes.clone(),
        pending: outcome.pending.clone(),
        left_behind: outcome.left_behind.clone(),
        usage: outcome.usage,
        sandbox: outcome.sandbox.clone(),
        id: outcome.id.clone(),
        status: outcome.status,
    }
}

/// The outcome of a run whose files could not be kept.
fn without_artifacts(live: &Live, outcome: &mut Outcome, why: &ServiceError) {
    outcome.artifacts.clear();
    let (timestamp, level) = (Timestamp::now(), LogLevel::Warn);
    let message = format!("the artifacts could not be kept: {why}");
    live.emit_at(timestamp, EventKind::Log { level, message: message.clone() });
    outcome.logs.push(LogEntry { timestamp, level, message });
}

/// Waits for its turn; `None` when it is cancelled first.
async fn until_turn(live: &Live, turn: Turn) -> Option<Place> {
    match turn {
        Turn::Now(place) => Some(place),
        Turn::Full | Turn::ShareTaken => None,
        Turn::Later(later) => tokio::select! {
            place = later => place.ok(),
            () = live.until_cancelled() => None,
        },
    }
}

fn interrupted_if_stopping(live: &Live, mut attempt: Attempt) -> Attempt {
    if live.is_interrupted() && attempt.outcome.status == Status::Cancelled {
        attempt.outcome.status = Status::Interrupted;
        attempt.outcome.error =
            Some(RunError { name: "Interrupted".into(), message: "the server was stopped while it ran".into(), ..RunError::default() });
    }
    attempt
}

/// How long until the next attempt, if there is to be one.
fn next_attempt(retry: Option<&Retry>, number: u32, status: Status) -> Option<Duration> {
    let retry = retry.filter(|retry| number < retry.attempts && retry.covers(status))?;
    let doubled = retry.backoff_ms.saturating_mul(1 << (number - 1).min(20));
    Some(Duration::from_millis(doubled.min(3_600_000)))
}

fn cancelled(live: &Live, submission: &RunSubmission) -> Attempt {
    not_run(live, submission, Status::Cancelled, "Cancelled", "the run was cancelled before it started")
}

/// The outcome of a run whose program was not started.
fn not_run(live: &Live, submission: &RunSubmission, status: Status, name: &str, message: &str) -> Attempt {
    Attempt {
        outcome: without_run(live, wanted_runtime(submission), status, name, message),
        artifacts: Vec::new(),
        lock: None,
        has_run: false,
    }
}

pub(super) fn without_run(live: &Live, runtime: String, status: Status, name: &str, message: &str) -> Outcome {
    let error = RunError { name: name.into(), message: message.into(), ..RunError::default() };
    Outcome::without_run(live.id.clone(), SandboxInfo::none_yet(runtime), status, error)
}

/// An entry for what the server does by itself.
pub(super) fn by_belljar(record: &belljar_protocol::RunRecord, action: &'static str, details: serde_json::Value) -> NewAuditEntry {
    NewAuditEntry {
        project: Some(record.project.clone()),
        actor: BELLJAR.to_owned(),
        source: None,
        action,
        target: record.id.to_string(),
        details,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn attempts_are_further_and_further_apart() {
        let retry: Retry = serde_json::from_str(r#"{"attempts": 4, "backoff_ms": 100}"#).unwrap();
        let pauses: Vec<_> =
            (1..6).map(|number| next_attempt(Some(&retry), number, Status::Crashed).map(|pause| pause.as_millis())).collect();
        assert_eq!(pauses, [Some(100), Some(200), Some(400), None, None]);
        assert_eq!(next_attempt(Some(&retry), 1, Status::Failed), None);
        assert_eq!(next_attempt(None, 1, Status::Crashed), None);
    }
}
