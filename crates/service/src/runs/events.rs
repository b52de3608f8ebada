//! The events and logs of a run, from the store and from memory.

use std::sync::Arc;

use belljar_protocol::{Event, EventKind, LogEntry, RunId, Scope};

use super::Runs;
use super::live::{EventLine, Live};
use crate::caller::Caller;
use crate::error::ServiceError;

/// The maximum number of events that a watcher gets at once.
const MAX_EVENTS_AT_A_TIME: usize = 256;

/// The events of one run, starting at a number and continuing until the last one.
#[derive(Debug)]
pub struct Events {
    /// Events that are already stored.
    stored: std::vec::IntoIter<EventLine>,
    live: Option<Arc<Live>>,
    next_seq: u64,
    /// Events that were read from the live run, to be returned one by one.
    ready: std::vec::IntoIter<EventLine>,
}

impl Events {
    /// Returns the next event, or `None` after the last one and when the server stops.
    pub async fn next(&mut self) -> Option<EventLine> {
        if let Some(line) = self.stored.next() {
            self.next_seq = line.seq + 1;
            return Some(line);
        }
        loop {
            if let Some(line) = self.ready.next() {
                self.next_seq = line.seq + 1;
                return Some(line);
            }
            let live = self.live.as_ref()?;
            let mut changed = live.watch();
            let is_over = *changed.borrow_and_update();
            let (_, lines) = live.events_from(self.next_seq, MAX_EVENTS_AT_A_TIME);
            if !lines.is_empty() {
                self.ready = lines.into_iter();
                continue;
            }
            // The sender is in `live`, so it still exists.
            if is_over || changed.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Runs {
    /// Returns a run's events after a number, including future ones.
    pub async fn events(
        &self,
        caller: &Caller,
        id: &RunId,
        after: Option<u64>,
    ) -> Result<Events, ServiceError> {
        if !caller.scopes.contains(&Scope::Run) {
            caller.must(Scope::Read)?;
        }
        let next_seq = after.map_or(0, |after| after.saturating_add(1));
        // The live run is looked up before the store, because a run that ends in between is in
        // both.
        let live = self.live.get(caller.project_id(), id);
        if live.is_none() {
            self.run_with_history(caller, id).await?;
        }
        let first_live = live.as_ref().map(|live| live.events_from(0, 0).0);
        let mut stored = Vec::new();
        if first_live.is_none_or(|first| next_seq < first) {
            for piece in self.store.run_events(id, next_seq).await? {
                for (seq, line) in (piece.seq..).zip(piece.lines.lines()) {
                    if seq >= next_seq && first_live.is_none_or(|first| seq < first) {
                        stored.push(EventLine { seq, kind: kind_of(line), json: line.into() });
                    }
                }
            }
        }
        let next_seq = next_seq.max(first_live.unwrap_or(0));
        Ok(Events { stored: stored.into_iter(), live, next_seq, ready: Vec::new().into_iter() })
    }

    /// Returns the log entries that a run has written so far.
    pub async fn logs(&self, caller: &Caller, id: &RunId) -> Result<Vec<LogEntry>, ServiceError> {
        caller.must(Scope::Read)?;
        let Some(live) = self.live.get(caller.project_id(), id) else {
            self.run_with_history(caller, id).await?;
            return self.stored_logs(id).await;
        };
        let mut logs =
            if live.events_from(0, 0).0 > 0 { self.stored_logs(id).await? } else { Vec::new() };
        logs.extend(
            live.events_from(0, usize::MAX).1.iter().filter_map(|line| log_entry(&line.json)),
        );
        Ok(logs)
    }

    /// Returns the log entries of a run that are stored.
    async fn stored_logs(&self, id: &RunId) -> Result<Vec<LogEntry>, ServiceError> {
        let pieces = self.store.stored_events(id, 0).await?;
        Ok(pieces.iter().flat_map(|piece| piece.lines.lines()).filter_map(log_entry).collect())
    }
}

/// Returns the log entry of an event, or `None` for other events.
fn log_entry(event: &str) -> Option<LogEntry> {
    // The text alone rules out most other events, and an outcome can be large.
    if !event.contains("\"type\":\"log\"") {
        return None;
    }
    match serde_json::from_str(event) {
        Ok(Event { timestamp, kind: EventKind::Log { level, message }, .. }) => {
            Some(LogEntry { timestamp, level, message })
        }
        _ => None,
    }
}

/// Returns the type of a stored event.
fn kind_of(line: &str) -> &'static str {
    match serde_json::from_str::<Event>(line).map(|event| event.kind) {
        Ok(EventKind::Queued { .. }) => "queued",
        Ok(EventKind::Started { .. }) => "started",
        Ok(EventKind::Log { .. }) => "log",
        Ok(EventKind::Result { .. }) => "result",
        Ok(EventKind::Artifact { .. }) => "artifact",
        Ok(EventKind::Denied { .. }) => "denied",
        Ok(EventKind::Progress { .. }) => "progress",
        Ok(EventKind::Finished { .. }) => "finished",
        Err(_) => "message",
    }
}
