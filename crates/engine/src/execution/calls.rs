//! The calls of a run: sockets that are created on demand, each served by the handler in a task of
//! its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use belljar_channel::CallOpening;
use belljar_protocol::{Denial, RunId};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::call_handler::CallHandler;

/// The maximum number of concurrent calls of a run. Each needs a socket, and whatever the handler
/// opens for it.
const MAX_CALLS: usize = 16;

/// The open calls of a run. Dropping it ends them. By default there is no handler, and calls are
/// refused.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    handler: Option<(RunId, Arc<dyn CallHandler>)>,
    open: JoinSet<Vec<Denial>>,
}

impl Calls {
    /// Returns a value without open calls.
    pub(crate) fn new(run: RunId, handler: Arc<dyn CallHandler>) -> Self {
        Self { handler: Some((run, handler)), open: JoinSet::new() }
    }

    /// Opens a call. Returns the answer to the sandbox, and the socket for it.
    pub(crate) fn open(&mut self) -> (CallOpening, Option<OwnedFd>) {
        let Some((run, handler)) = &self.handler else { return (CallOpening::Refused, None) };
        if self.open.len() >= MAX_CALLS {
            return (CallOpening::Busy, None);
        }
        // If this process has no free descriptors, the sandbox may try again later.
        let Ok((ours, theirs)) = sockets() else { return (CallOpening::Busy, None) };
        self.open.spawn(handler.serve(run.clone(), ours));
        (CallOpening::Opened, Some(theirs))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Waits until a call has ended, and returns its denials. Returns `None` if no call is open.
    pub(crate) async fn ended(&mut self) -> Option<Vec<Denial>> {
        // A panic is a defect of the handler. It closes the socket, which the program notices.
        self.open.join_next().await.map(Result::unwrap_or_default)
    }

    /// Aborts all open calls, and waits until they have stopped.
    pub(crate) async fn abort(&mut self) {
        self.open.shutdown().await;
    }
}

/// Returns the supervisor's end, registered with the async runtime, and the sandbox's blocking end.
fn sockets() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) =
        socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((UnixStream::from_std(ours.into())?, theirs))
}
