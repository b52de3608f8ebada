//! Finding runs, watching them, ending them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use belljar_protocol::{
    Artifact, CancelledRun, Event, EventKind, LogEntry, RunId, RunPage, RunRecord, RunState, RunStatus, Scope, Timestamp,
};
use belljar_store::{RunFilter, RunLock};
use serde_json::json;

use super::live::{EventLine, Live};
use crate::caller::Caller;
use crate::error::ServiceError;
use crate::service::Service;
use crate::storage::Download;

/// Events that a watcher is given at a time.
const MOST_EVENTS_AT_A_TIME: usize = 256;
/// How long a request to cancel waits for the end.
const CANCEL_WAIT: Duration = Duration::from_secs(2);

/// Which runs are wanted.
#[derive(Clone, Debug, Default)]
pub struct RunQuery {
    /// In one of these states; any when empty.
    pub states: Vec<RunState>,
    /// With all of these labels.
    pub labels: BTreeMap<String, String>,
    /// Accepted not before.
    pub since: Option<Timestamp>,
    /// Accepted before.
    pub until: Option<Timestamp>,
    /// With this text in the comment or the program.
    pub text: Option<String>,
    /// What the page before gave.
    pub cursor: Option<String>,
    /// At most so many, 1 to 1,000.
    pub limit: u32,
}

/// The events of one run, from a number on, as they come, to the last.
#[derive(Debug)]
pub struct Events {
    /// Those that are stored already.
    stored: std::vec::IntoIter<EventLine>,
    live: Option<Arc<Live>>,
    next_seq: u64,
    /// The latest that are given out one by one.
    ready: std::vec::IntoIter<EventLine>,
}

impl Events {
    /// The next event; `None` after the last, and when the server stops.
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
            let (_, lines) = live.events_from(self.next_seq, MOST_EVENTS_AT_A_TIME);
            if !lines.is_empty() {
                self.ready = lines.into_iter();
                continue;
            }
            // The sender is in `live`: it cannot be gone.
            if is_over || changed.changed().await.is_err() {
                return None;
            }
        }
    }
}

impl Service {
    /// Some runs of the caller's project, the latest first.
    pub async fn runs(&self, caller: &Caller, query: &RunQuery) -> Result<RunPage, ServiceError> {
        caller.must(Scope::Read)?;
        let before = query.cursor.as_ref().map(|cursor| cursor.parse::<RunId>()).transpose();
        let before = before.map_err(|_| ServiceError::invalid("cursor: not one that a page gave"))?;
        let filter = RunFilter {
            states: query.states.clone(),
            labels: query.labels.clone(),
            since: query.since,
            until: query.until,
            text: query.text.clone(),
            search_time: Duration::from_millis(self.config().runs.search_ms.0),
            before,
            limit: query.limit,
        };
        Ok(self.store().runs(caller.project_id(), &filter).await?)
    }

    /// A run's record, with its outcome once there is one.
    pub async fn run(&self, caller: &Caller, id: &RunId) -> Result<RunRecord, ServiceError> {
        caller.must(Scope::Read)?;
        self.run_record(caller, id).await
    }

    async fn run_record(&self, caller: &Caller, id: &RunId) -> Result<RunRecord, ServiceError> {
        if let Some(live) = self.live().get(caller.project_id(), id) {
            return Ok(RunRecord { outcome: live.outcome().map(|outcome| Box::new(outcome.as_ref().clone())), ..live.record() });
        }
        let record = self.store().run(caller.project_id(), id).await?;
        Ok(RunRecord { outcome: self.store().run_outcome(id).await?.map(Box::new), ..record })
    }

    /// A finished run's record. Refused where what it wrote was dropped.
    pub(super) async fn run_with_history(&self, caller: &Caller, id: &RunId) -> Result<RunRecord, ServiceError> {
        let record = self.store().run(caller.project_id(), id).await?;
        if record.history_dropped_at.is_some() { Err(ServiceError::HistoryDropped(record.id)) } else { Ok(record) }
    }

    /// The lock that a run's packages were installed from, once it is over.
    pub async fn run_lock(&self, caller: &Caller, id: &RunId) -> Result<RunLock, ServiceError> {
        self.run(caller, id).await?;
        self.store().run_lock(id).await?.ok_or_else(|| ServiceError::not_found("lock of the run", id.as_str()))
    }

    /// The record of a run that the caller has just asked for: whoever may start it may see that much.
    pub async fn submitted_run(&self, caller: &Caller, id: &RunId) -> Result<RunRecord, ServiceError> {
        self.run_record(caller, id).await
    }

    /// A run's events after this number, those to come included.
    pub async fn events(&self, caller: &Caller, id: &RunId, after: Option<u64>) -> Result<Events, ServiceError> {
        if !caller.scopes.contains(&Scope::Run) {
            caller.must(Scope::Read)?;
        }
        let next_seq = after.map_or(0, |after| after.saturating_add(1));
        // First the live run, then the store: one that ends between is in both.
        let live = self.live().get(caller.project_id(), id);
        if live.is_none() {
            self.run_with_history(caller, id).await?;
        }
        let first_live = live.as_ref().map(|live| live.events_from(0, 0).0);
        let mut stored = Vec::new();
        if first_live.is_none_or(|first| next_seq < first) {
            for piece in self.store().run_events(id, next_seq).await? {
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

    /// What a run wrote so far.
    pub async fn logs(&self, caller: &Caller, id: &RunId) -> Result<Vec<LogEntry>, ServiceError> {
        caller.must(Scope::Read)?;
        let Some(live) = self.live().get(caller.project_id(), id) else {
            self.run_with_history(caller, id).await?;
            return self.stored_logs(id).await;
        };
        let mut logs = if live.events_from(0, 0).0 > 0 { self.stored_logs(id).await? } else { Vec::new() };
        logs.extend(live.events_from(0, usize::MAX).1.iter().filter_map(|line| log_entry(&line.json)));
        Ok(logs)
    }

    /// What a run wrote, as far as it is stored.
    async fn stored_logs(&self, id: &RunId) -> Result<Vec<LogEntry>, ServiceError> {
        let pieces = self.store().stored_events(id, 0).await?;
        Ok(pieces.iter().flat_map(|piece| piece.lines.lines()).filter_map(log_entry).collect())
    }

    /// Ends a run. What it is then, as far as the caller may read it; a run that is over already stays as it is.
    pub async fn cancel(&self, caller: &Caller, id: &RunId) -> Result<CancelledRun, ServiceError> {
        caller.must(Scope::Run)?;
        if let Some(live) = self.live().get(caller.project_id(), id) {
            self.store().record_audit(caller.did("run.cancel", id.as_str(), json!({}))).await?;
            live.cancel();
            let _ = tokio::time::timeout(CANCEL_WAIT, live.until_over()).await;
        }
        let record = self.run_record(caller, id).await?;
        Ok(if caller.scopes.contains(&Scope::Read) {
            CancelledRun::Record(Box::new(record))
        } else {
            CancelledRun::Status(RunStatus { id: record.id, status: record.status })
        })
    }

    pub(crate) async fn cancel_all_of(&self, project_id: &str) {
        let live: Vec<_> = self.live().all().into_iter().filter(|live| live.project_id == project_id).collect();
        for live in &live {
            live.cancel();
        }
        for live in live {
            let _ = tokio::time::timeout(CANCEL_WAIT, live.until_over()).await;
        }
    }

    /// Deletes a run that is over with all that it has.
    pub async fn delete_run(&self, caller: &Caller, id: &RunId) -> Result<(), ServiceError> {
        caller.must(Scope::Run)?;
        if self.live().get(caller.project_id(), id).is_some_and(|live| live.outcome().is_none()) {
            return Err(ServiceError::Conflict(format!("the run {id} is under way; cancel it first")));
        }
        let audit = caller.did("run.delete", id.as_str(), json!({}));
        self.store().delete_run(caller.project_id().to_owned(), id.clone(), audit).await?;
        self.blobs_are_doomed();
        Ok(())
    }

    /// The files that a run left.
    pub async fn artifacts(&self, caller: &Caller, id: &RunId) -> Result<Vec<Artifact>, ServiceError> {
        caller.must(Scope::Read)?;
        self.run_record(caller, id).await?;
        Ok(self.store().artifacts(id).await?.into_iter().map(|stored| stored.artifact).collect())
    }

    /// The content of a file that a run left.
    pub async fn artifact(&self, caller: &Caller, id: &RunId, name: &str) -> Result<(Artifact, Download), ServiceError> {
        caller.must(Scope::Read)?;
        self.store().run(caller.project_id(), id).await?;
        let stored = self.store().artifacts(id).await?.into_iter().find(|stored| stored.artifact.name == name);
        let stored = stored.ok_or_else(|| ServiceError::not_found("artifact", name))?;
        let download = self.content(&stored.blob, None).await?;
        Ok((stored.artifact, download))
    }
}

/// The entry that an event is about, if it is one of the log.
fn log_entry(event: &str) -> Option<LogEntry> {
    // Most of what is not a log is told by its text, and an outcome can be large.
    if !event.contains("\"type\":\"log\"") {
        return None;
    }
    match serde_json::from_str(event) {
        Ok(Event { timestamp, kind: EventKind::Log { level, message }, .. }) => Some(LogEntry { timestamp, level, message }),
        _ => None,
    }
}

/// The kind of a stored event.
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
