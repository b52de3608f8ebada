//! Supervision of an accepted run, from its turn to its stored end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_engine::{Engine, Finished, LeftFiles, RunEvent, RunHost};
use belljar_environments::Environments;
use belljar_protocol::{
    Audience, EventKind, LimitTerms, Outcome, PackagePolicy, RunRecord, RunState, RunSubmission,
    Status, Timestamp,
};
use belljar_runner::{Contents, GrantedAccess, Packages, Permit, PreparedRun};
use belljar_store::{NextAttempt, RunLock, Store};
use serde_json::json;
use tokio_util::task::TaskTracker;
use tracing::Instrument;

use super::attempt::{Attempt, cancelled, interrupted_if_stopping, next_attempt, not_run};
use super::completion::{Completion, history_of};
use super::live::{Live, LiveRuns};
use super::queue::{Ask, Place, Queue, Turn};
use crate::access::ceilings::Ceilings;
use crate::access::signing::Keys;
use crate::caller::{Caller, by_belljar};
use crate::error::ServiceError;
use crate::memory_account::{HeldMemory, MemoryAccount};
use crate::storage::run_calls::StorageCalls;
use crate::storage::storage_calls::StorageDoor;
use crate::storage::storage_room::StorageRoom;
use crate::storage::{DOWNLOAD_INSTEAD, Storage};
use crate::trace::continue_trace;

/// The interval at which the events of a running run are stored. If the server dies, the events
/// since then are lost.
const STORE_EVENTS_EVERY: Duration = Duration::from_millis(500);

/// Follows each accepted run from its turn to its end.
#[derive(Debug)]
pub(crate) struct Supervisor {
    pub(crate) engine: Engine,
    pub(crate) environments: Environments,
    /// The package policy of the server, which that of a project narrows.
    pub(crate) packages: PackagePolicy,
    /// Maximum size of the objects that a run starts with.
    pub(crate) max_submission_bytes: u64,
    pub(crate) ceilings: Arc<Ceilings>,
    /// Encrypt the variables of unfinished runs.
    pub(crate) keys: Keys,
    pub(crate) store: Store,
    pub(crate) storage: Arc<Storage>,
    pub(crate) live: Arc<LiveRuns>,
    pub(crate) queue: Queue,
    /// Memory of the submissions of unfinished runs.
    pub(crate) submissions: MemoryAccount,
    pub(crate) completion: Completion,
    /// The tasks of all unfinished runs.
    pub(crate) tasks: TaskTracker,
}

impl Supervisor {
    /// Supervises an accepted run in a task of its own.
    pub(super) fn spawn_run(
        self: &Arc<Self>,
        live: Arc<Live>,
        caller: Caller,
        submission: RunSubmission,
        turn: Turn,
        held: Option<HeldMemory>,
    ) {
        let supervisor = Arc::clone(self);
        let span = tracing::info_span!("run", id = %live.id);
        // The span of a request is the parent of its run, and continues the trace of the caller. A
        // run of an earlier server has no request.
        if tracing::Span::current().is_none()
            && let Some(parent) = &live.record().traceparent
        {
            continue_trace(&span, parent);
        }
        let task = self.tasks.track_future(async move {
            supervisor.see_through(&live, &caller, &submission, turn).await;
            supervisor.live.remove(&live.id);
            drop(held);
        });
        let task = task.instrument(span);
        tokio::spawn(task);
    }

    async fn see_through(
        &self,
        live: &Arc<Live>,
        caller: &Caller,
        submission: &RunSubmission,
        mut turn: Turn,
    ) {
        // The output of all attempts is held until the run ends, so their memory stays reserved
        // too.
        let mut places = Vec::new();
        let calls = Arc::new(StorageCalls::default());
        let mut due_at = live.accepted_at;
        loop {
            let was_running = live.record().status == RunState::Running;
            let attempt = match until_turn(live, turn).await {
                Some(mut place) => {
                    let host = RunHost { accepted_at: Some(due_at), ..RunHost::default() };
                    let attempt =
                        self.attempt(live, caller, submission, was_running, host, &calls).await;
                    place.sandbox_is_gone();
                    places.push(place);
                    attempt
                }
                None => cancelled(live, submission),
            };
            if live.is_interrupted() && attempt.outcome.status == Status::Cancelled {
                // The server is stopping. A run that had not begun stays queued for the next
                // server, and others are interrupted.
                if !attempt.has_run {
                    return live.abandon();
                }
            }
            let attempt = interrupted_if_stopping(live, attempt);
            let number = live.record().attempt;
            let next = next_attempt(submission.retry.as_ref(), number, attempt.outcome.status);
            let Some(pause) = next.filter(|_| !live.is_cancelled() || live.is_interrupted()) else {
                return self.completion.conclude(live, caller, attempt, &calls).await;
            };
            match self.again(live, caller, &attempt.outcome, number + 1, pause, submission).await {
                Some(next) => (turn, due_at) = (next, Instant::now()),
                None if live.is_interrupted() => return live.abandon(),
                None => {
                    let attempt = cancelled(live, submission);
                    return self.completion.conclude(live, caller, attempt, &calls).await;
                }
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
        host: RunHost,
        calls: &Arc<StorageCalls>,
    ) -> Attempt {
        live.begin_attempt();
        let record = live.record();
        if live.is_cancelled() {
            return cancelled(live, submission);
        }
        // A queued run is recorded as running before its program starts, so that after a crash it
        // does not look as if it had not begun.
        if !was_running
            && let Err(error) = self.store.start_run(live.id.clone(), record.attempt).await
        {
            let error = ServiceError::from(error).run_error("Interrupted");
            return not_run(live, submission, Status::Interrupted, error);
        }
        live.change(|record| {
            record.status = RunState::Running;
            record.started_at = Some(Timestamp::now());
        });
        let (prepared, _held) =
            match self.prepare(live, caller, submission, &record, host, calls).await {
                Ok(prepared) => prepared,
                Err(error) => {
                    return not_run(live, submission, Status::Refused, error.run_error("Refused"));
                }
            };
        let PreparedRun { request, host, packages } = prepared;
        let mut run = self.engine.run_with(request, host);
        let canceller = run.canceller();
        let mut store_events = tokio::time::interval_at(
            tokio::time::Instant::now() + STORE_EVENTS_EVERY,
            STORE_EVENTS_EVERY,
        );
        let mut is_cancelling = false;
        loop {
            tokio::select! {
                event = run.next_event() => match event {
                    Some(RunEvent::Event(event)) => match event.kind {
                        // The first is already published, and the second is published when the run
                        // is stored.
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
                        // Watchers receive events that are not stored, too.
                        let (id, history) = (live.id.clone(), history_of(live, caller));
                        let _ = self.store.keep_run_events(id, events, history).await;
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

    /// Reserves numbers for future events. If that cannot be stored, watchers wait for the events
    /// that would have them.
    async fn reserve_numbers(&self, live: &Live) {
        let Some(end) = live.numbers_wanted() else { return };
        match self.store.reserve_event_numbers(live.id.clone(), end).await {
            Ok(()) => live.numbers_are_reserved(end),
            Err(error) => tracing::warn!(%error, "events cannot be published for now"),
        }
    }

    /// Prepares a run that was accepted. Returns it with the memory for the objects in it.
    async fn prepare(
        &self,
        live: &Live,
        caller: &Caller,
        submission: &RunSubmission,
        record: &RunRecord,
        host: RunHost,
        calls: &Arc<StorageCalls>,
    ) -> Result<(PreparedRun, HeldMemory), ServiceError> {
        let names = submission.files.iter().filter_map(|file| file.object.as_deref());
        let (mut left, held) = self.room_for_objects(caller, names.clone()).await?;
        let mut objects = Vec::new();
        for name in names {
            let bytes = self.storage.whole_object(caller, name, left).await?;
            left -= bytes.len() as u64;
            objects.push(bytes);
        }
        let contents =
            Contents::of(submission, objects).map_err(|error| ServiceError::explained(&error))?;
        // The ceiling at the start of this attempt: paths that were removed from it while the run
        // was queued are not granted.
        let ceiling = self.ceilings.of(&live.project_id);
        let access = GrantedAccess::under_ceiling(Permit::of_record(record), ceiling);
        let settings = &caller.project.settings;
        let packages = Packages::new(self.environments.clone(), self.packages.clone())
            .within(&settings.packages);
        let storage = &record.policy.storage;
        let has_storage = !storage.read.is_empty() || !storage.write.is_empty();
        let handler = has_storage.then(|| {
            Arc::new(StorageDoor::new(
                Arc::clone(&self.storage),
                caller.clone(),
                live.id.clone(),
                &record.policy,
                Arc::clone(calls),
            )) as Arc<_>
        });
        let host = RunHost {
            id: Some(live.id.clone()),
            calls: handler,
            tenant: Some(live.project_id.clone()),
            left_files: LeftFiles::HandedBack,
            room: Some(Arc::new(StorageRoom {
                store: self.store.clone(),
                project_id: live.project_id.clone(),
                quota_bytes: settings.quotas.storage_bytes,
            })),
            terms: LimitTerms {
                audience: Audience::Api,
                requested: submission.limits,
                most: settings.ceiling(self.engine.machine().ceiling()).limits,
                ..LimitTerms::default()
            },
            ..host
        };
        Ok((PreparedRun::new(submission, contents, access, packages, host), held))
    }

    /// Reserves memory for the objects that a run starts with, which together may have the size of
    /// a submission. Returns the maximum size and the reservation.
    async fn room_for_objects(
        &self,
        caller: &Caller,
        names: impl Iterator<Item = &str>,
    ) -> Result<(u64, HeldMemory), ServiceError> {
        let (most, mut bytes) = (self.max_submission_bytes, 0_u64);
        for name in names {
            let name = belljar_protocol::ObjectName::try_from(name)?;
            bytes = bytes.saturating_add(
                self.store.object(caller.project_id(), &name).await?.record.size_bytes,
            );
        }
        if bytes > most {
            return Err(ServiceError::TooLarge {
                detail: format!(
                    "the objects among the files of the run have {bytes} bytes, which exceeds the \
                     limit of {most}"
                ),
                hint: Some(DOWNLOAD_INSTEAD),
            });
        }
        let held = self.submissions.hold(caller.project_id(), bytes).ok_or(ServiceError::Busy {
            detail: "the files of runs use up the memory for submissions",
            retry_after_s: 1,
        })?;
        Ok((most, held))
    }

    /// Queues a run again, and waits until its next attempt is due. Returns `None` if the run was
    /// cancelled meanwhile.
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
                "attempt {} of {} ended as {}, and the next one starts in {} ms",
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
        let audit = by_belljar(
            Some(record.project.clone()),
            "run.retry",
            record.id.as_str(),
            json!({"attempt": number, "status": outcome.status.name()}),
        );
        // If this cannot be stored, a crash before the next attempt makes the run an interrupted
        // one, which is no worse.
        let _ = self
            .store
            .requeue_run(
                live.id.clone(),
                NextAttempt { number, due_at },
                live.take_unstored(),
                live.numbers_end(),
                history_of(live, caller),
                audit,
            )
            .await;
        tokio::select! {
            () = tokio::time::sleep(pause) => Some(self.ask_again(live, caller, submission)),
            () = live.until_cancelled() => None,
        }
    }

    /// Requests a place for a run that was accepted before.
    pub(super) fn ask_again(
        &self,
        live: &Live,
        caller: &Caller,
        submission: &RunSubmission,
    ) -> Turn {
        self.queue.ask(Ask::new(caller, submission.priority, &live.record().limits), true)
    }
}

/// Waits for a run's turn. Returns `None` if the run is cancelled first.
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
