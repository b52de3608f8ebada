//! A run that is not over: its record, its events so far, and whoever watches. Watchers read from one shared log, each at its own pace: a slow one holds
//! up nobody, and costs nothing but its place in the log.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use belljar_protocol::{Event, EventKind, Outcome, RunId, RunRecord, Timestamp};
use belljar_store::{EVENT_NUMBERS, EventLines, last_event_stub};
use tokio::sync::watch;

/// One event, as JSON.
#[derive(Clone, Debug)]
pub struct EventLine {
    /// Its number.
    pub seq: u64,
    /// Its kind, as in its `type`.
    pub kind: &'static str,
    /// Its JSON, one line without the end.
    pub json: Arc<str>,
}

/// A run that is not over.
#[derive(Debug)]
pub(crate) struct Live {
    pub(crate) id: RunId,
    pub(crate) project_id: String,
    state: Mutex<State>,
    /// Changes with each event; true once there will be no more.
    changed: watch::Sender<bool>,
    cancelled: watch::Sender<bool>,
    /// Whether the server was asked to stop: the run is interrupted, not cancelled.
    interrupted: AtomicBool,
}

#[derive(Debug)]
struct State {
    record: RunRecord,
    outcome: Option<Arc<Outcome>>,
    events: Vec<EventLine>,
    /// The number of the first of `events`: those of before a restart are in the store only.
    first_seq: u64,
    /// How many of `events` are stored.
    stored: usize,
    /// Events with numbers below this one may be told: the store knows that they may have been, and after a crash none of them is used again.
    numbers_end: u64,
    attempt: AttemptEvents,
}

/// What the events of the latest attempt have: its outcome need not have it as well, where that is stored.
#[derive(Clone, Copy, Debug)]
struct AttemptEvents {
    /// The number of its first.
    first_seq: u64,
    logs: usize,
    results: usize,
}

/// The last event of a run, which is told when it is stored.
#[derive(Debug)]
pub(crate) struct LastEvent {
    pub(crate) line: EventLine,
    /// What is stored of it. The outcome is stored beside it.
    stub: String,
}

impl Live {
    /// A run whose next events have these numbers, which are reserved.
    pub(crate) fn new(record: RunRecord, project_id: String, numbers: Range<u64>) -> Arc<Self> {
        let id = record.id.clone();
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
            state: Mutex::new(state),
            changed: watch::Sender::new(false),
            cancelled: watch::Sender::new(false),
            interrupted: AtomicBool::new(false),
        })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Its record as it is now.
    pub(crate) fn record(&self) -> RunRecord {
        self.state().record.clone()
    }

    pub(crate) fn change(&self, change: impl FnOnce(&mut RunRecord)) {
        change(&mut self.state().record);
    }

    /// Its outcome, once it is stored.
    pub(crate) fn outcome(&self) -> Option<Arc<Outcome>> {
        self.state().outcome.clone()
    }

    /// Adds an event of now and tells the watchers, if its number is reserved.
    pub(crate) fn emit(&self, kind: EventKind) {
        self.emit_at(Timestamp::now(), kind);
    }

    /// The same, of an event that was seen at this moment. A log entry has the same moment in the outcome.
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

    /// Another attempt begins: the events from now on are its.
    pub(crate) fn begin_attempt(&self) {
        let mut state = self.state();
        let first_seq = state.first_seq + state.events.len() as u64;
        state.attempt = AttemptEvents { first_seq, logs: 0, results: 0 };
    }

    /// The number of the first event that has the logs and results of this outcome, if events have all of them.
    pub(crate) fn logs_from(&self, outcome: &Outcome) -> Option<u64> {
        let attempt = self.state().attempt;
        (outcome.logs.len() == attempt.logs && outcome.results.len() == attempt.results).then_some(attempt.first_seq)
    }

    /// What its events have, as JSON.
    pub(crate) fn event_bytes(&self) -> usize {
        self.state().events.iter().map(|event| event.json.len()).sum()
    }

    /// Up to where numbers are reserved.
    pub(crate) fn numbers_end(&self) -> u64 {
        self.state().numbers_end
    }

    /// Up to where numbers are to be reserved next, if it is time for it: well before they are used up.
    pub(crate) fn numbers_wanted(&self) -> Option<u64> {
        let state = self.state();
        let next = state.first_seq + state.events.len() as u64;
        (next + EVENT_NUMBERS / 2 > state.numbers_end).then(|| (next / EVENT_NUMBERS + 2) * EVENT_NUMBERS)
    }

    /// Numbers are reserved up to here: what has them may be told.
    pub(crate) fn numbers_are_reserved(&self, end: u64) {
        self.state().numbers_end = end;
        self.changed.send_modify(|_| {});
    }

    /// The events that are not stored yet, with one more that the watchers are not to hear of before all are: the last.
    pub(crate) fn unstored_with(&self, last: &LastEvent) -> EventLines {
        let state = self.state();
        let mut lines = take_lines(&state.events[state.stored..]);
        lines.push_str(&last.stub);
        lines.push('\n');
        EventLines { seq: state.first_seq + state.stored as u64, lines }
    }

    /// What the last event will be.
    pub(crate) fn last_event(&self, outcome: &Outcome) -> LastEvent {
        let (seq, timestamp) = {
            let state = self.state();
            (state.first_seq + state.events.len() as u64, Timestamp::now())
        };
        let line = line(seq, timestamp, EventKind::Finished { outcome: Box::new(outcome.clone()) });
        LastEvent { line, stub: last_event_stub(seq, timestamp) }
    }

    /// The events that are not stored yet; they are taken as stored from now on.
    pub(crate) fn take_unstored(&self) -> EventLines {
        let mut state = self.state();
        let lines = EventLines { seq: state.first_seq + state.stored as u64, lines: take_lines(&state.events[state.stored..]) };
        state.stored = state.events.len();
        lines
    }

    /// It is over, and that is stored: the watchers hear the last event.
    pub(crate) fn end(&self, last: EventLine, record: impl FnOnce(&mut RunRecord), outcome: Outcome) {
        let mut state = self.state();
        record(&mut state.record);
        state.outcome = Some(Arc::new(outcome));
        state.events.push(last);
        // All of them are stored: there is no crash that could bring another of these numbers.
        state.numbers_end = u64::MAX;
        drop(state);
        self.changed.send_replace(true);
    }

    /// It will not be heard of again, and not because it ended: the server stops.
    pub(crate) fn abandon(&self) {
        self.changed.send_replace(true);
    }

    /// Told of each change; true once there will be no more.
    pub(crate) fn watch(&self) -> watch::Receiver<bool> {
        self.changed.subscribe()
    }

    /// At most `most` events from this number on that may be told, and the number of the first that is here at all.
    pub(crate) fn events_from(&self, seq: u64, most: usize) -> (u64, Vec<EventLine>) {
        let state = self.state();
        let skip = usize::try_from(seq.saturating_sub(state.first_seq)).unwrap_or(usize::MAX);
        let may_be_told = |line: &&EventLine| line.seq < state.numbers_end;
        (state.first_seq, state.events.iter().skip(skip).take_while(may_be_told).take(most).cloned().collect())
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

    /// Waits until it is cancelled.
    pub(crate) async fn until_cancelled(&self) {
        // The sender is in `self`: it cannot be gone.
        let _ = self.cancelled.subscribe().wait_for(|cancelled| *cancelled).await;
    }

    /// Waits until nothing more will happen.
    pub(crate) async fn until_over(&self) {
        let _ = self.changed.subscribe().wait_for(|over| *over).await;
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
    let json = serde_json::to_string(&Event { seq, timestamp, kind }).expect("the protocol's types have JSON");
    EventLine { seq, kind: name, json: json.into() }
}

fn take_lines(events: &[EventLine]) -> String {
    let mut lines = String::with_capacity(events.iter().map(|event| event.json.len() + 1).sum());
    for event in events {
        lines.push_str(&event.json);
        lines.push('\n');
    }
    lines
}

/// All runs that are not over.
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

    /// The run, if it is this project's.
    pub(crate) fn get(&self, project_id: &str, id: &RunId) -> Option<Arc<Live>> {
        self.runs().get(id).filter(|live| live.project_id == project_id).cloned()
    }

    pub(crate) fn all(&self) -> Vec<Arc<Live>> {
        self.runs().values().cloned().collect()
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
        let numbers = |from, most| live.events_from(from, most).1.iter().map(|line| line.seq).collect::<Vec<_>>();
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
