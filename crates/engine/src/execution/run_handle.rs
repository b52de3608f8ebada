//! A run as its caller sees it: its events and its end.

use belljar_protocol::{
    Event, EventKind, Outcome, RunError, RunId, SandboxInfo, Status, Stream, Timestamp,
};
use tokio::sync::{mpsc, watch};

use super::artifacts::ArtifactFile;
use crate::error::{EngineError, run_error};

/// An event of a run, or output of its program.
#[derive(Debug)]
pub enum RunEvent {
    /// The program wrote bytes to a stream.
    Output {
        /// Stream that the program wrote to.
        stream: Stream,
        /// Bytes as they arrived.
        bytes: Vec<u8>,
    },
    /// An event of the protocol.
    Event(Event),
}

/// A run in progress.
#[derive(Debug)]
pub struct Run {
    pub(crate) id: RunId,
    pub(crate) events: mpsc::UnboundedReceiver<RunEvent>,
    pub(crate) finished: tokio::task::JoinHandle<Finished>,
    pub(crate) cancel: watch::Sender<bool>,
}

/// A handle that cancels a run.
#[derive(Clone, Debug)]
pub struct RunCanceller(watch::Sender<bool>);

impl RunCanceller {
    /// Ends the run immediately. Its status is `cancelled`, unless it has already ended.
    pub fn cancel(&self) {
        self.0.send_replace(true);
    }
}

/// A run that has ended.
#[derive(Debug)]
pub struct Finished {
    /// Outcome of the run.
    pub outcome: Outcome,
    /// Open files that the program left.
    pub artifacts: Vec<ArtifactFile>,
}

impl Run {
    /// Returns the id of the run.
    pub fn id(&self) -> &RunId {
        &self.id
    }

    /// Returns the next event, or `None` after the last one. Events that are not taken are queued;
    /// the run's output limit bounds the memory of the queue.
    pub async fn next_event(&mut self) -> Option<RunEvent> {
        self.events.recv().await
    }

    /// Returns a handle that cancels the run.
    pub fn canceller(&self) -> RunCanceller {
        RunCanceller(self.cancel.clone())
    }

    /// Waits until the run has ended.
    ///
    /// # Panics
    /// If the task that supervises the run has panicked, which is a defect of the engine.
    pub async fn finished(self) -> Finished {
        // `self.cancel` lives until here, because dropping it cancels the run.
        self.finished.await.expect("the supervising task does not panic")
    }
}

/// Numbers the events of a run and sends them.
pub(crate) struct Emitter {
    sender: mpsc::UnboundedSender<RunEvent>,
    seq: u64,
}

impl Emitter {
    pub(crate) fn new(sender: mpsc::UnboundedSender<RunEvent>) -> Self {
        Self { sender, seq: 0 }
    }

    pub(crate) fn emit(&mut self, kind: EventKind) {
        self.emit_at(Timestamp::now(), kind);
    }

    /// Emits an event that happened at this time.
    pub(super) fn emit_at(&mut self, timestamp: Timestamp, kind: EventKind) {
        // The receiver may be gone.
        let _ = self.sender.send(RunEvent::Event(Event { seq: self.seq, timestamp, kind }));
        self.seq += 1;
    }

    pub(super) fn output(&self, stream: Stream, bytes: &[u8]) {
        let _ = self.sender.send(RunEvent::Output { stream, bytes: bytes.to_vec() });
    }
}

/// Returns the outcome of a run that the engine refused.
pub(crate) fn refused(
    id: RunId,
    sandbox: SandboxInfo,
    mut emitter: Emitter,
    error: &EngineError,
) -> Finished {
    not_started(id, sandbox, &mut emitter, Status::Refused, run_error("Refused", error))
}

/// Returns the outcome of a run that never reached a sandbox.
pub(crate) fn not_started(
    id: RunId,
    sandbox: SandboxInfo,
    emitter: &mut Emitter,
    status: Status,
    error: RunError,
) -> Finished {
    let outcome = Outcome::without_run(id, sandbox, status, error);
    emitter.emit(EventKind::Finished { outcome: Box::new(outcome.clone()) });
    Finished { outcome, artifacts: Vec::new() }
}

/// Waits until a run is cancelled.
pub(crate) async fn until_cancelled(cancelled: &mut watch::Receiver<bool>) {
    // An error means that the handle was dropped, which also cancels the run.
    let _ = cancelled.wait_for(|cancelled| *cancelled).await;
}
