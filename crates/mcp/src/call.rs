//! The end of a call: its run that has ended, the signals that end it early, and its errors.

use std::borrow::Cow;

use belljar_protocol::{Explain, Outcome};
use tokio_util::sync::CancellationToken;

use crate::artifact_contents::ArtifactContents;
use crate::server_error::ServerError;

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
