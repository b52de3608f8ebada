//! Bytes and descriptors over a Unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg,
    sendmsg,
};

/// Most descriptors in one packet but an order to fork: control, standard input, output and error, and the control groups to enter.
const MOST_DESCRIPTORS: usize = 8;
/// The same with the mounts of as many grants as a policy may have. The kernel passes at most 253 (`SCM_MAX_FD`).
const MOST_ORDER_DESCRIPTORS: usize = MOST_DESCRIPTORS + MOST_GRANTS;

/// Mounts of grants that an order to fork can carry.
pub const MOST_GRANTS: usize = 64;

/// Sends `bytes` and copies of `descriptors`.
pub fn send_packet(socket: BorrowedFd<'_>, bytes: &[u8], descriptors: &[BorrowedFd<'_>]) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_ORDER_DESCRIPTORS))];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() && !ancillary.push(SendAncillaryMessage::ScmRights(descriptors)) {
        return Err(Errno::INVAL);
    }
    loop {
        match sendmsg(socket, &[IoSlice::new(bytes)], &mut ancillary, SendFlags::NOSIGNAL) {
            Err(Errno::INTR) => {}
            other => return other.map(|_| ()),
        }
    }
}

/// One receive: the bytes that it filled and the descriptors that came along.
#[derive(Debug)]
pub struct Packet {
    /// Bytes of the buffer that were filled; 0 when the other side is gone.
    pub length: usize,
    /// The descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Descriptors that came along and that the kernel has closed: there was no room for them.
    pub lost: Lost,
}

/// Descriptors that came along with bytes and were closed by the kernel, unseen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// There were none.
    Nothing,
    /// There were some.
    Descriptors,
}

impl Lost {
    fn of(flags: ReturnFlags) -> Self {
        if flags.contains(ReturnFlags::CTRUNC) { Self::Descriptors } else { Self::Nothing }
    }
}

/// Receives one packet with its descriptors.
pub fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    receive(socket, buffer, &mut space)
}

/// The same for a packet that may be an order to fork, with the mounts of grants.
pub fn receive_order(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_ORDER_DESCRIPTORS))];
    receive(socket, buffer, &mut space)
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], space: &mut [MaybeUninit<u8>]) -> Result<Packet, Errno> {
    loop {
        let mut ancillary = RecvAncillaryBuffer::new(space);
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut ancillary, RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(message) => {
                let mut descriptors = Vec::new();
                for part in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = part {
                        descriptors.extend(received);
                    }
                }
                return Ok(Packet { length: message.bytes, descriptors, lost: Lost::of(message.flags) });
            }
        }
    }
}

/// Receives bytes and no descriptors: the kernel closes those that come along, and says that there were some.
pub fn receive_bytes(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Lost), Errno> {
    loop {
        match recvmsg(socket, &mut [IoSliceMut::new(buffer)], &mut RecvAncillaryBuffer::default(), RecvFlags::CMSG_CLOEXEC) {
            Err(Errno::INTR) => {}
            received => return received.map(|message| (message.bytes, Lost::of(message.flags))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::net::{AddressFamily, SocketFlags, SocketType, socketpair};
    use std::os::fd::AsFd;

    #[test]
    fn descriptors_that_nobody_asked_for_are_closed_and_noticed() {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        let mut buffer = [0; 16];
        send_packet(theirs.as_fd(), b"plain", &[]).unwrap();
        assert_eq!(receive_bytes(ours.as_fd(), &mut buffer), Ok((5, Lost::Nothing)));
        let (kept, sent) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        send_packet(theirs.as_fd(), b"more", &[sent.as_fd()]).unwrap();
        drop(sent);
        assert_eq!(receive_bytes(ours.as_fd(), &mut buffer), Ok((4, Lost::Descriptors)));
        // The only writing end is gone.
        assert_eq!(rustix::io::read(&kept, &mut buffer), Ok(0));
    }

    #[test]
    fn more_descriptors_than_there_is_room_for_are_noticed() {
        let (ours, theirs) = socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None).unwrap();
        // Sent by another program, which may send more than this one can.
        let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3 * MOST_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let many = [theirs.as_fd(); 3 * MOST_DESCRIPTORS];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&many)));
        sendmsg(theirs.as_fd(), &[IoSlice::new(b"x")], &mut ancillary, SendFlags::NOSIGNAL).unwrap();
        let packet = receive_packet(ours.as_fd(), &mut [0; 4]).unwrap();
        assert_eq!((packet.length, packet.lost), (1, Lost::Descriptors));
        assert!(packet.descriptors.len() < many.len());
    }
}
