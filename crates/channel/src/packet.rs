//! Sending and receiving bytes and descriptors over a Unix socket.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};

/// The maximum number of descriptors in a packet without grants: control channel, standard input,
/// output and error, and the control groups to join.
const MAX_DESCRIPTORS: usize = 8;
/// The maximum number of descriptors in an order to fork, which may have a mount for each grant of
/// a policy. The kernel passes at most 253 (`SCM_MAX_FD`).
const MAX_ORDER_DESCRIPTORS: usize = MAX_DESCRIPTORS + MAX_GRANTS;

/// The maximum number of mounts of grants in an order to fork.
pub const MAX_GRANTS: usize = 64;

/// Sends `bytes` and copies of `descriptors`.
pub fn send_packet(
    socket: BorrowedFd<'_>,
    bytes: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> Result<(), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_ORDER_DESCRIPTORS))];
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

/// The result of one receive.
#[derive(Debug)]
pub struct Packet {
    /// Number of bytes in the buffer; 0 if the other side has closed the socket.
    pub length: usize,
    /// Received descriptors, close-on-exec.
    pub descriptors: Vec<OwnedFd>,
    /// Tells whether the kernel closed further descriptors because there was no room for them.
    pub lost: Lost,
}

/// Tells whether the kernel closed received descriptors before this process could see them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    /// No descriptor was closed.
    Nothing,
    /// At least one descriptor was closed.
    Descriptors,
}

impl Lost {
    fn of(flags: ReturnFlags) -> Self {
        if flags.contains(ReturnFlags::CTRUNC) { Self::Descriptors } else { Self::Nothing }
    }
}

/// Receives a packet with its descriptors.
pub fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
    receive(socket, buffer, &mut space)
}

/// Receives a packet that may be an order to fork with the mounts of grants.
pub fn receive_order(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<Packet, Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_ORDER_DESCRIPTORS))];
    receive(socket, buffer, &mut space)
}

fn receive(
    socket: BorrowedFd<'_>,
    buffer: &mut [u8],
    space: &mut [MaybeUninit<u8>],
) -> Result<Packet, Errno> {
    loop {
        let mut ancillary = RecvAncillaryBuffer::new(space);
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut ancillary,
            RecvFlags::CMSG_CLOEXEC,
        ) {
            Err(Errno::INTR) => {}
            Err(error) => return Err(error),
            Ok(message) => {
                let mut descriptors = Vec::new();
                for part in ancillary.drain() {
                    if let RecvAncillaryMessage::ScmRights(received) = part {
                        descriptors.extend(received);
                    }
                }
                return Ok(Packet {
                    length: message.bytes,
                    descriptors,
                    lost: Lost::of(message.flags),
                });
            }
        }
    }
}

/// Receives bytes but no descriptors. The kernel closes received descriptors, and reports that
/// there were some.
pub fn receive_bytes(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Lost), Errno> {
    loop {
        match recvmsg(
            socket,
            &mut [IoSliceMut::new(buffer)],
            &mut RecvAncillaryBuffer::default(),
            RecvFlags::CMSG_CLOEXEC,
        ) {
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
    fn unexpected_descriptors_are_closed_and_reported() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
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
    fn more_descriptors_than_there_is_room_for_are_reported() {
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::STREAM, SocketFlags::CLOEXEC, None)
                .unwrap();
        // Another program may send more descriptors than `send_packet` can.
        let mut space =
            [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(3 * MAX_DESCRIPTORS))];
        let mut ancillary = SendAncillaryBuffer::new(&mut space);
        let many = [theirs.as_fd(); 3 * MAX_DESCRIPTORS];
        assert!(ancillary.push(SendAncillaryMessage::ScmRights(&many)));
        sendmsg(theirs.as_fd(), &[IoSlice::new(b"x")], &mut ancillary, SendFlags::NOSIGNAL)
            .unwrap();
        let packet = receive_packet(ours.as_fd(), &mut [0; 4]).unwrap();
        assert_eq!((packet.length, packet.lost), (1, Lost::Descriptors));
        assert!(packet.descriptors.len() < many.len());
    }
}
