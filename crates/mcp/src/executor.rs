//! The seam between the protocol and the executor of programs: the engine of this machine
//! ([`LocalExecutor`]), or a Belljar server ([`RemoteExecutor`]). Everything that a client sees is
//! the same for both.

use belljar_protocol::RunSubmission;

use crate::arguments::InvalidArguments;
use crate::call::{CallError, Ended, Ending};
use crate::local::{LocalExecutor, LocalProgram};
use crate::progress::Progress;
use crate::remote::{RemoteExecutor, RemoteProgram};
use crate::terms::Terms;

/// The executor of the programs of calls.
#[derive(Debug)]
pub enum Executor {
    /// The engine of this machine.
    Local(Box<LocalExecutor>),
    /// A Belljar server.
    Remote(Box<RemoteExecutor>),
}

/// A program within the bounds of its executor, ready to start.
pub(crate) enum Program<'a> {
    Local(Box<LocalProgram<'a>>),
    Remote(Box<RemoteProgram<'a>>),
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
