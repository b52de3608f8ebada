//! The seam between the protocol and the executor of programs: the engine of this machine
//! ([`LocalExecutor`]), or a Belljar server ([`RemoteExecutor`]). Everything that a client sees is
//! the same for both.

use std::borrow::Cow;

use belljar_protocol::{Explain, Outcome, RunSubmission};
use tokio_util::sync::CancellationToken;

use crate::arguments::InvalidArguments;
use crate::artifact_contents::ArtifactContents;
use crate::local::{LocalExecutor, LocalProgram};
use crate::progress::Progress;
use crate::remote::{RemoteExecutor, RemoteProgram};
use crate::server_error::ServerError;
use crate::terms::Terms;

/// The executor of the programs of calls.
#[derive(Debug)]
pub enum Executor {
    /// The engine of this machine.
    Local(LocalExecutor),
    /// A Belljar server.
    Remote(RemoteExecutor),
}

/// A program within the bounds of its executor, ready to start.
pub(crate) enum Program<'a> {
    Local(Box<LocalProgram<'a>>),
    Remote(Box<RemoteProgram<'a>>),
}

/// A run that has ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) outcome: Outcome,
    pub(crate) contents: ArtifactContents,
}

/// The error of a call that has no outcome.
#[derive(Debug, thiserror::Error)]
pub(crate) enum CallError {
    #[error("too many calls are waiting")]
    Busy,
    #[error("the call was cancelled")]
    Cancelled,
    #[error("the server is stopping")]
    Stopping,
    #[error(transparent)]
    Server(#[from] ServerError),
}

impl Explain for CallError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Busy => Some("wait for answers before you make more calls".into()),
            Self::Cancelled | Self::Stopping => None,
            Self::Server(error) => error.hint(),
        }
    }
}

/// The two signals that end a call early.
pub(crate) struct Ending<'a> {
    /// Cancelled when the client cancels the call.
    pub(crate) cancelled: &'a CancellationToken,
    /// Cancelled when the client disconnects or this server stops.
    pub(crate) closing: &'a CancellationToken,
}

impl Ending<'_> {
    /// Waits until the call must end, and returns the reason.
    pub(crate) async fn wanted(&self) -> CallError {
        tokio::select! {
            biased;
            () = self.cancelled.cancelled() => CallError::Cancelled,
            () = self.closing.cancelled() => CallError::Stopping,
        }
    }
}

impl Executor {
    /// Returns the grants and limits that the tool describes.
    pub(crate) fn terms(&self) -> Terms {
        match self {
            Self::Local(executor) => executor.terms(),
            Self::Remote(executor) => executor.terms(),
        }
    }

    /// Checks a submission against the flags of the operator, and completes it with them.
    pub(crate) fn accept(
        &self,
        submission: RunSubmission,
    ) -> Result<Program<'_>, InvalidArguments> {
        Ok(match self {
            Self::Local(executor) => Program::Local(Box::new(executor.accept(&submission)?)),
            Self::Remote(executor) => Program::Remote(Box::new(executor.accept(submission)?)),
        })
    }
}

impl Program<'_> {
    /// Runs the program to its end. If the call must end first, the run is cancelled.
    pub(crate) async fn execute(
        self,
        ending: &Ending<'_>,
        progress: Option<&Progress>,
    ) -> Result<Ended, CallError> {
        match self {
            Self::Local(program) => Ok(program.execute(ending, progress).await),
            Self::Remote(program) => program.execute(ending, progress).await,
        }
    }
}
