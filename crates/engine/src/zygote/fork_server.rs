//! The channel to a zygote: orders of forks, and reports of new sandboxes and of exits.

use std::collections::HashMap;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Mutex, PoisonError};

use belljar_channel::{
    ExitReport, ForkOrder, Lost, Packet, ZygoteReport, receive_packet, send_packet,
};
use belljar_jail::PidFd;
use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::error::{EngineError, NotReady, system};
use crate::process::{Ended, Exit};

/// A forked sandbox that is not parked yet.
#[derive(Debug)]
pub(crate) struct Forked {
    pub(crate) pidfd: PidFd,
    /// The zygote's report of the sandbox's end.
    pub(crate) end: oneshot::Receiver<Ended>,
}

/// The supervisor's end of a zygote's channel.
#[derive(Debug)]
pub(super) struct ForkServer {
    channel: AsyncFd<OwnedFd>,
    /// The sandboxes whose reports are outstanding, by number. None once the zygote is gone.
    waiting: Mutex<Option<HashMap<u64, AwaitedReports>>>,
}

/// The channels to those that await the reports on one sandbox.
#[derive(Debug)]
struct AwaitedReports {
    forked: Option<oneshot::Sender<Result<PidFd, NotReady>>>,
    end: oneshot::Sender<Ended>,
}

impl ForkServer {
    /// Creates the channel. Returns the supervisor's end and the zygote's.
    pub(super) fn new() -> Result<(Self, OwnedFd), EngineError> {
        const WHAT: &str = "creating the channel of a zygote";
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)
                .map_err(system(WHAT))?;
        rustix::io::ioctl_fionbio(&ours, true).map_err(system(WHAT))?;
        let channel = AsyncFd::new(ours).map_err(system("watching the channel of a zygote"))?;
        Ok((Self { channel, waiting: Mutex::new(Some(HashMap::new())) }, theirs))
    }

    /// Orders a fork, and waits for its report.
    pub(super) async fn fork(
        &self,
        order: ForkOrder,
        descriptors: &[BorrowedFd<'_>],
    ) -> Result<Forked, EngineError> {
        let (forked_sender, forked) = oneshot::channel();
        let (end_sender, end) = oneshot::channel();
        {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let table = waiting.as_mut().ok_or(NotReady::ZygoteDied)?;
            let entry = AwaitedReports { forked: Some(forked_sender), end: end_sender };
            table.insert(order.sandbox, entry);
        }
        let mut unordered = Unordered { server: self, sandbox: Some(order.sandbox) };
        let packet = order.encode();
        let send = |channel: &OwnedFd| {
            send_packet(channel.as_fd(), &packet, descriptors).map_err(std::io::Error::from)
        };
        self.channel.async_io(Interest::WRITABLE, send).await.map_err(system("ordering a fork"))?;
        unordered.sandbox = None;
        match forked.await {
            Ok(Ok(pidfd)) => Ok(Forked { pidfd, end }),
            Ok(Err(error)) => Err(error.into()),
            Err(_) => Err(NotReady::ZygoteDied.into()),
        }
    }

    /// Returns whether the zygote can still be heard.
    pub(super) fn is_alive(&self) -> bool {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner).is_some()
    }

    /// Returns the next report, or none if the zygote is gone or violates the protocol.
    pub(super) async fn next_report(&self) -> Option<(ZygoteReport, Vec<OwnedFd>)> {
        let mut packet = [0; ZygoteReport::MAX_BYTES];
        let receive = |channel: &OwnedFd| {
            receive_packet(channel.as_fd(), &mut packet).map_err(std::io::Error::from)
        };
        let Packet { length, descriptors, lost } =
            self.channel.async_io(Interest::READABLE, receive).await.ok()?;
        let report = ZygoteReport::decode(&packet[..length])?;
        // A fork comes with one descriptor, unless this process may not open another one. Every
        // other report comes without.
        let in_order = match report {
            ZygoteReport::Forked { .. } => descriptors.len() <= 1,
            _ => descriptors.is_empty() && lost == Lost::Nothing,
        };
        in_order.then_some((report, descriptors))
    }

    /// Dispatches reports until the zygote is gone, and then ends all waits.
    pub(super) async fn listen(self: Arc<Self>) {
        while let Some((report, descriptors)) = self.next_report().await {
            let mut waiting = self.waiting.lock().unwrap_or_else(PoisonError::into_inner);
            let Some(table) = waiting.as_mut() else { break };
            dispatch(table, report, descriptors);
        }
        let abandoned = self.waiting.lock().unwrap_or_else(PoisonError::into_inner).take();
        for (_, entry) in abandoned.into_iter().flatten() {
            let _ = entry.end.send(Ended::ZYGOTE_DIED);
        }
    }
}

/// Gives a report to the one who waits for it.
fn dispatch(
    table: &mut HashMap<u64, AwaitedReports>,
    report: ZygoteReport,
    mut descriptors: Vec<OwnedFd>,
) {
    match report {
        ZygoteReport::Booted { .. } | ZygoteReport::NotToBeForked { .. } => {}
        ZygoteReport::Forked { sandbox } => {
            let answer = descriptors.pop().ok_or(NotReady::NoProcess);
            if let Some(forked) = table.get_mut(&sandbox).and_then(|entry| entry.forked.take()) {
                let _ = forked.send(answer);
            }
        }
        ZygoteReport::ForkFailed { sandbox, step, errno } => {
            if let Some(forked) = table.remove(&sandbox).and_then(|entry| entry.forked) {
                let source = std::io::Error::from_raw_os_error(errno);
                let _ = forked.send(Err(NotReady::ForkFailed { step, source }));
            }
        }
        ZygoteReport::Exited(ExitReport {
            sandbox,
            wait_status,
            user_us,
            system_us,
            peak_resident_bytes,
        }) => {
            if let Some(entry) = table.remove(&sandbox) {
                let exit = Exit::of_wait_status(wait_status);
                let _ = entry.end.send(Ended { exit, user_us, system_us, peak_resident_bytes });
            }
        }
    }
}

/// A fork that has not been ordered yet. If the caller gives up before, no report about it will
/// arrive, so its entry has to be removed.
struct Unordered<'a> {
    server: &'a ForkServer,
    sandbox: Option<u64>,
}

impl Drop for Unordered<'_> {
    fn drop(&mut self) {
        if let (Some(sandbox), Some(table)) = (
            self.sandbox,
            self.server.waiting.lock().unwrap_or_else(PoisonError::into_inner).as_mut(),
        ) {
            table.remove(&sandbox);
        }
    }
}
