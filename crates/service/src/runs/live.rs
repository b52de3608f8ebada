//! Unfinished runs: their records, events and watchers. Watchers read from one shared log, each at
//! its own pace. A slow watcher delays no one, and costs nothing but its position in the log.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use belljar_protocol::{Event, EventKind, Outcome, RunId, RunRecord, Timestamp};
use belljar_store::{EVENT_NUMBERS, EventLines};
use tokio::sync::watch;

/// The time that a cancellation waits for the end of the run.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// An event as JSON.
#[derive(Clone, Debug)]
pub struct EventLine {
    /// The number of the event.
    pub seq: u64,
    /// The type of the event, such as `log`.
    pub kind: &'static str,
    /// The JSON of the event, in one line without its end.
    pub json: Arc<str>,
}

/// An unfinished run.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: RunId,
    pub(crate) project_id: String,
    /// Time at which the run was accepted, possibly by an earlier server.
    pub(crate) accepted_at: Instant,
    state: Mutex<State>,
    /// Changes with each event. The value becomes true after the last one.
    changed: watch::Sender<bool>,
    cancelled: watch::Sender<bool>,
    /// Set when the server is stopping, so that the run is interrupted and not cancelled.
    interrupted: AtomicBool,
}

#[derive(Debug)]
struct State {
    record: RunRecord,
    outcome: Option<Arc<Outcome>>,
    events: Vec<EventLine>,
    /// The number of the first of `events`. Events of before a restart are only in the store.
    first_seq: u64,
    /// The number of `events` that are stored.
    stored: usize,
    /// Only events below this number may be published. The store knows that these numbers may have
    /// been used, so none of them is used again after a crash.
    numbers_end: u64,
    attempt: AttemptEvents,
}

/// The contents of the latest attempt's events. The stored outcome need not repeat what they
/// contain.
#[derive(Clone, Copy, Debug)]
struct AttemptEvents {
    /// The number of the attempt's first event.
    first_seq: u64,
    logs: usize,
    results: usize,
}

/// The last event of a run, which is published after it is stored.
#[derive(Debug)]
pub(crate) struct LastEvent {
    pub(crate) line: EventLine,
    pub(crate) timestamp: Timestamp,
}

impl State {
    fn unstored(&self) -> EventLines {
        let events = &self.events[self.stored..];
        let bytes = events.iter().map(|event| event.json.len() + 1).sum();
        let mut lines = String::with_capacity(bytes);
        for event in events {
            lines.push_str(&event.json);
            lines.push('\n');
        }
        EventLines { seq: self.first_seq + self.stored as u64, lines }
    }
}

impl Live {
    /// Returns an unfinished run whose next events have these reserved numbers.
    pub(crate) fn new(record: RunRecord, project_id: String, numbers: Range<u64>) -> Arc<Self> {
        let id = record.id.clone();
        let age_ms = Timestamp::now().unix_ms() - record.created_at.unix_ms();
        let age = Duration::from_millis(age_ms.max(0).unsigned_abs());
        let accepted_at = Instant::now().checked_sub(age).unwrap_or_else(Instant::now);
        let state = State {
            record,
            outcome: None,
            events: Vec::new(),
            first_seq: numbers.start,
            stored: 0,
            numbers_end: numbers.end,
            attempt: AttemptEvents { first_seq: numbers.start, logs: 0, results: 0 },
        };
        Arc::new(Self {
            id,
            project_id,
            accepted_at,
            state: Mutex::new(state),
            changed: watch::Sender::new(false),
            cancelled: watch::Sender::new(false),
            interrupted: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Returns the current record of the run.
    pub(crate) fn record(&self) -> RunRecord {
        self.state().record.clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut RunRecord)) {
        change(&mut self.state().record);
    }

    /// Returns the outcome of the run after it is stored.
    pub(crate) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.state().outcome.clone()
    }

    /// Adds an event with the current time, and publishes it if its number is reserved.
    pub(crate) fn emit(&self, kind: EventKind) {
        self.emit_at(Timestamp::now(), kind);
    }

    /// Adds an event with the given time. A log entry has the same time in the outcome.
    pub(crate) fn emit_at(&self, timestamp: Timestamp, kind: EventKind) {
        let mut state = self.state();
        match &kind {
            EventKind::Log { .. } => state.attempt.logs += 1,
            EventKind::Result { .. } => state.attempt.results += 1,
            _ => {}
        }
        let line = line(state.first_seq + state.events.len() as u64, timestamp, kind);
        state.events.push(line);
        drop(state);
        self.changed.send_modify(|_| {});
    }

    /// Starts another attempt. All later events belong to it.
    pub(crate) fn begin_attempt(&self) {
        let mut state = self.state();
        let first_seq = state.first_seq + state.events.len() as u64;
        state.attempt = AttemptEvents { first_seq, logs: 0, results: 0 };
    }

    /// Returns the number of the first event of the latest attempt, if events contain all logs and
    /// results of the outcome.
    pub(crate) fn logs_from(&self, outcome: &Outcome) -> Option<u64> {
        let attempt = self.state().attempt;
        (outcome.logs.len() == attempt.logs && outcome.results.len() == attempt.results)
            .then_some(attempt.first_seq)
    }

    /// Returns the size of the events as JSON.
    pub(crate) fn event_bytes(&self) -> usize {
        self.state().events.iter().map(|event| event.json.len()).sum()
    }

    /// Returns the end of the reserved numbers.
    pub(crate) fn numbers_end(&self) -> u64 {
        self.state().numbers_end
    }

    /// Returns the end of the numbers to be reserved next, well before the reserved ones are used
    /// up. Returns `None` if it is too early.
    pub(crate) fn numbers_wanted(&self) -> Option<u64> {
        let state = self.state();
        let next = state.first_seq + state.events.len() as u64;
        (next + EVENT_NUMBERS / 2 > state.numbers_end)
            .then(|| (next / EVENT_NUMBERS + 2) * EVENT_NUMBERS)
    }

    /// Notes that numbers are reserved up to `end`, so that events with these numbers may be
    /// published.
    pub(crate) fn numbers_are_reserved(&self, end: u64) {
        self.state().numbers_end = end;
        self.changed.send_modify(|_| {});
    }

    /// Returns the events that are not stored yet. They still count as not stored afterwards.
    pub(crate) fn unstored(&self) -> EventLines {
        self.state().unstored()
    }

    /// Returns the last event of the run.
    pub(crate) fn last_event(&self, outcome: &Outcome) -> LastEvent {
        let (seq, timestamp) = {
            let state = self.state();
            (state.first_seq + state.events.len() as u64, Timestamp::now())
        };
        let line = line(seq, timestamp, EventKind::Finished { outcome: Box::new(outcome.clone()) });
        LastEvent { line, timestamp }
    }

    /// Takes the events that are not stored yet. They count as stored afterwards.
    pub(crate) fn take_unstored(&self) -> EventLines {
        let mut state = self.state();
        let lines = state.unstored();
        state.stored = state.events.len();
        lines
    }

    /// Ends the run after its end is stored, and publishes the last event.
    pub(crate) fn end(
        &self,
        last: EventLine,
        record: impl FnOnce(&mut RunRecord),
        outcome: Outcome,
    ) {
        let mut state = self.state();
        record(&mut state.record);
        state.outcome = Some(Arc::new(outcome));
        state.events.push(last);
        // All events are stored, so a crash cannot lead to other events with these numbers.
        state.numbers_end = u64::MAX;
        drop(state);
        self.changed.send_replace(true);
    }

    /// Ends the watches without an end of the run, because the server stops.
    pub(crate) fn abandon(&self) {
        self.changed.send_replace(true);
    }

    /// Returns a receiver of changes. Its value becomes true after the last one.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    /// Returns at most `most` events from a number on that may be published, and the number of the
    /// first event that is in memory.
    pub(crate) fn events_from(&self, seq: u64, most: usize) -> (u64, Vec<EventLine>) {
        let state = self.state();
        let skip = usize::try_from(seq.saturating_sub(state.first_seq)).unwrap_or(usize::MAX);
        let may_be_published = |line: &&EventLine| line.seq < state.numbers_end;
        (
            state.first_seq,
            state
                .events
                .iter()
                .skip(skip)
                .take_while(may_be_published)
                .take(most)
                .cloned()
                .collect(),
        )
    }

    pub(crate) fn cancel(&self) {
        self.cancelled.send_replace(true);
    }

    pub(crate) fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.cancel();
    }

    pub(crate) fn is_interrupted(&self) -> bool {
        self.interrupted.load(Ordering::Acquire)
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        *self.cancelled.borrow()
    }

    /// Waits until the run is cancelled.
    pub(crate) async fn until_cancelled(&self) {
        // The sender is in `self`, so it still exists.
        let _ = self.cancelled.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    /// Waits until the run ends or is abandoned.
    pub(crate) async fn until_over(&self) {
        let _ = self.changed.subscribe().wait_for(|over| *over).await;
    }

    /// Waits until a cancelled run ends, but not for long.
    pub(crate) async fn until_over_or_late(&self) {
        let _ = tokio::time::timeout(CANCEL_WAIT, self.until_over()).await;
    }
}

fn line(seq: u64, timestamp: Timestamp, kind: EventKind) -> EventLine {
    let name = match &kind {
        EventKind::Queued { .. } => "queued",
        EventKind::Started { .. } => "started",
        EventKind::Log { .. } => "log",
        EventKind::Result { .. } => "result",
        EventKind::Artifact { .. } => "artifact",
        EventKind::Denied { .. } => "denied",
        EventKind::Progress { .. } => "progress",
        EventKind::Finished { .. } => "finished",
    };
    let json = serde_json::to_string(&Event { seq, timestamp, kind })
        .expect("the protocol's types have JSON");
    EventLine { seq, kind: name, json: json.into() }
}

/// All unfinished runs.
#[derive(Debug, Default)]
pub(crate) struct LiveRuns(Mutex<HashMap<RunId, Arc<Live>>>);

impl LiveRuns {
    fn runs(&self) -> MutexGuard<'_, HashMap<RunId, Arc<Live>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn add(&self, live: &Arc<Live>) {
        self.runs().insert(live.id.clone(), Arc::clone(live));
    }

    pub(crate) fn remove(&self, id: &RunId) {
        self.runs().remove(id);
    }

    /// Returns a run if it belongs to the project.
    pub(crate) fn get(&self, project_id: &str, id: &RunId) -> Option<Arc<Live>> {
        self.runs().get(id).filter(|live| live.project_id == project_id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        self.runs().values().cloned().collect()
    }

    /// Cancels all runs of a project, and waits for a short time for each of them to end.
    pub(crate) async fn cancel_all_of(&self, project_id: &str) {
        let live: Vec<_> =
            self.all().into_iter().filter(|live| live.project_id == project_id).collect();
        for live in &live {
            live.cancel();
        }
        for live in live {
            live.until_over_or_late().await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn live() -> Arc<Live> {
        let record = serde_json::from_str(
            r#"{"id": "run_019a", "project": "default", "status": "queued", "language": "python", "runtime": null, "entry": "main.py",
            "code_sha256": "e3b0", "created_at": "2026-01-02T03:04:05.678Z", "started_at": null, "finished_at": null, "labels": {},
            "comment": null, "priority": "interactive", "attempt": 1, "attempts": 1, "rerun_of": null, "token": "tok_1", "usage": null,
            "policy": {}, "limits": {}}"#,
        )
        .unwrap();
        Live::new(record, "prj_1".into(), 3..7)
    }

    #[test]
    fn events_are_numbered_on_from_those_of_before() {
        let live = live();
        for n in 0..5 {
            live.emit(EventKind::Progress { message: n.to_string() });
        }
        let numbers = |from, most| {
            live.events_from(from, most).1.iter().map(|line| line.seq).collect::<Vec<_>>()
        };
        assert_eq!(numbers(0, 9), [3, 4, 5, 6], "7 is not reserved");
        let end = live.numbers_wanted().unwrap();
        assert_eq!(end % EVENT_NUMBERS, 0);
        live.numbers_are_reserved(end);
        assert_eq!(live.numbers_wanted(), None);
        assert_eq!(numbers(0, 9), [3, 4, 5, 6, 7]);
        assert_eq!(numbers(6, 9), [6, 7]);
        assert_eq!(numbers(6, 1), [6]);
        assert_eq!(numbers(99, 9), Vec::<u64>::new());
    }

    #[test]
    fn each_event_is_stored_once() {
        let live = live();
        live.emit(EventKind::Progress { message: "a".into() });
        let first = live.take_unstored();
        assert_eq!((first.seq, first.lines.lines().count()), (3, 1));
        live.emit(EventKind::Progress { message: "b".into() });
        live.emit(EventKind::Progress { message: "c".into() });
        let rest = live.take_unstored();
        assert_eq!((rest.seq, rest.lines.lines().count()), (4, 2));
        assert!(live.take_unstored().lines.is_empty());
    }
}
