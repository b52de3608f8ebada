//! The calls of one run: sockets handed out on demand, each served by the door in a task of its own.

use std::os::fd::OwnedFd;
use std::sync::Arc;

use belljar_channel::CallOpening;
use belljar_protocol::{Denial, RunId};
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::net::UnixStream;
use tokio::task::JoinSet;

use crate::door::Door;

/// Calls of one run at a time. Each is a socket here, and whatever the door opens for it.
const MOST_CALLS: usize = 16;

/// The calls that are open. Dropping it ends them. By default nobody can be called.
#[derive(Debug, Default)]
pub(crate) struct Calls {
    door: Option<(RunId, Arc<dyn Door>)>,
    open: JoinSet<Vec<Denial>>,
}

impl Calls {
    /// None yet.
    pub(crate) fn new(run: RunId, door: Arc<dyn Door>) -> Self {
        Self { door: Some((run, door)), open: JoinSet::new() }
    }

    /// Begins one: what the sandbox is told, and the socket that it gets.
    pub(crate) fn open(&mut self) -> (CallOpening, Option<OwnedFd>) {
        let Some((run, door)) = &self.door else { return (CallOpening::Refused, None) };
        if self.open.len() >= MOST_CALLS {
            return (CallOpening::Busy, None);
        }
        // Where this process has no descriptors left, the sandbox may find some later.
        let Ok((ours, theirs)) = sockets() else { return (CallOpening::Busy, None) };
        self.open.spawn(door.serve(run.clone(), ours));
        (CallOpening::Opened, Some(theirs))
    }

    pub(crate) fn has_door(&self) -> bool {
        self.door.is_some()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    /// Waits until one has ended: what was refused. `None` when none is open.
    pub(crate) async fn ended(&mut self) -> Option<Vec<Denial>> {
        // One that panicked is a defect of the door; its socket is closed, which the program is told.
        self.open.join_next().await.map(Result::unwrap_or_default)
    }

    /// Ends those that are open, and waits until none of them does anything any more.
    pub(crate) async fn abort(&mut self) {
        self.open.shutdown().await;
    }
}

/// Ours, for the runtime, and theirs, which blocks.
fn sockets() -> std::io::Result<(UnixStream, OwnedFd)> {
    let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)?;
    rustix::io::ioctl_fionbio(&ours, true)?;
    Ok((UnixStream::from_std(ours.into())?, theirs))
}
