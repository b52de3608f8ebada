//! One packet with descriptors, over a sequenced-packet socket between trusted parties.

use std::io::{IoSlice, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{BorrowedFd, OwnedFd};

use rustix::io::Errno;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer, SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
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

/// Receives one packet: how many bytes of `buffer` it filled (0: the other side is gone) and its descriptors, close-on-exec.
pub fn receive_packet(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_DESCRIPTORS))];
    receive(socket, buffer, &mut space)
}

/// The same for a packet that may be an order to fork, with the mounts of grants.
pub fn receive_order(socket: BorrowedFd<'_>, buffer: &mut [u8]) -> Result<(usize, Vec<OwnedFd>), Errno> {
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MOST_ORDER_DESCRIPTORS))];
    receive(socket, buffer, &mut space)
}

fn receive(socket: BorrowedFd<'_>, buffer: &mut [u8], space: &mut [MaybeUninit<u8>]) -> Result<(usize, Vec<OwnedFd>), Errno> {
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
                return Ok((message.bytes, descriptors));
            }
        }
    }
}
