//! A sandbox's channel and streams: reading and writing what there is, and no more.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use belljar_channel::{CallOpening, Lost, receive_bytes, send_packet};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// Answers that wait to be sent. A sandbox has one question open at a time; one that asks and does not listen gets no more of them.
const MOST_ANSWERS: usize = 64;

/// What a sandbox is still to be sent: its activation, then the answers to its calls.
#[derive(Debug, Default)]
pub(crate) struct Outgoing {
    activation: Vec<u8>,
    sent: usize,
    answers: VecDeque<(CallOpening, Option<OwnedFd>)>,
}

impl Outgoing {
    pub(crate) fn new(activation: Vec<u8>) -> Self {
        Self { activation, ..Self::default() }
    }

    /// Whether one more answer may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.answers.len() < MOST_ANSWERS
    }

    /// Adds an answer, with the socket that goes along.
    pub(crate) fn answer(&mut self, (opening, socket): (CallOpening, Option<OwnedFd>)) {
        self.answers.push_back((opening, socket));
    }

    /// Whether all of the activation has been sent.
    pub(crate) fn has_activated(&self) -> bool {
        self.activation.is_empty()
    }

    /// What has to be waited for on the control channel.
    pub(crate) fn interest(&self) -> Interest {
        if self.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE }
    }

    fn is_empty(&self) -> bool {
        self.activation.is_empty() && self.answers.is_empty()
    }

    /// Sends what can be sent without waiting. A sandbox that is gone takes nothing; its end is seen elsewhere.
    pub(crate) fn advance(&mut self, control: &AsyncFd<OwnedFd>) {
        while !self.is_empty() {
            match control.try_io(Interest::WRITABLE, |fd| self.send(fd.as_fd())) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
                Err(_) => *self = Self::default(),
            }
        }
    }

    fn send(&mut self, control: BorrowedFd<'_>) -> io::Result<()> {
        if !self.activation.is_empty() {
            self.sent += rustix::net::send(control, &self.activation[self.sent..], rustix::net::SendFlags::NOSIGNAL)?;
            if self.sent == self.activation.len() {
                // It may have large files in it.
                self.activation = Vec::new();
            }
        } else if let Some((opening, socket)) = self.answers.front() {
            // So few bytes go whole or not at all.
            let socket: Vec<BorrowedFd<'_>> = socket.iter().map(OwnedFd::as_fd).collect();
            match send_packet(control, &opening.encode(), &socket) {
                // This user has too many descriptors under way, its sandboxes' included.
                Err(rustix::io::Errno::TOOMANYREFS) => self.answers[0] = (CallOpening::Busy, None),
                sent => {
                    sent?;
                    self.answers.pop_front();
                }
            }
        }
        Ok(())
    }
}

/// Bytes that a buffer has at first, and when what is read has filled it often enough.
const PIECE_BYTES: usize = 4 << 10;
const MAX_PIECE_BYTES: usize = 64 << 10;

/// A buffer for what is read, a piece at a time. Made once for a run, and small until a read fills it: most runs write little, and to fill three large
/// buffers with zeros takes a tenth of the page faults of a short run.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    bytes: Vec<u8>,
    /// Whether the last read filled it.
    is_full: bool,
}

impl Piece {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; PIECE_BYTES], is_full: false }
    }

    /// What can be read of a pipe without waiting. Nothing at its end, which it marks.
    pub(crate) fn take(&mut self, pipe: &AsyncFd<OwnedFd>, open: &mut bool) -> &[u8] {
        self.grow();
        let length = take(pipe, open, |pipe| rustix::io::read(pipe, &mut self.bytes));
        self.taken(length)
    }

    /// What can be read of a control channel without waiting, likewise, and whether descriptors came along: the kernel closes them, unseen.
    pub(crate) fn take_frames(&mut self, control: &AsyncFd<OwnedFd>, open: &mut bool) -> (&[u8], Lost) {
        self.grow();
        let mut lost = Lost::Nothing;
        let length = take(control, open, |control| {
            let (length, with) = receive_bytes(control.as_fd(), &mut self.bytes)?;
            lost = with;
            Ok(length)
        });
        (self.taken(length), lost)
    }

    fn grow(&mut self) {
        if self.is_full && self.bytes.len() < MAX_PIECE_BYTES {
            self.bytes = vec![0; self.bytes.len() * 4];
        }
    }

    fn taken(&mut self, length: Option<usize>) -> &[u8] {
        let length = length.unwrap_or(0);
        self.is_full = length == self.bytes.len();
        &self.bytes[..length]
    }
}

/// Reads once without waiting: how many bytes; `None` where there are none now. Marks the end.
fn take(fd: &AsyncFd<OwnedFd>, open: &mut bool, mut read: impl FnMut(&OwnedFd) -> rustix::io::Result<usize>) -> Option<usize> {
    if !*open {
        return None;
    }
    loop {
        let mut read = |fd: &OwnedFd| read(fd).map_err(io::Error::from);
        let result = match fd.try_io(Interest::READABLE, &mut read) {
            // That may only mean that tokio has not heard of what is there: it asks the kernel when every task waits.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => read(fd.get_ref()),
            result => result,
        };
        match result {
            Ok(length @ 1..) => return Some(length),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return None,
            Ok(0) | Err(_) => {
                *open = false;
                return None;
            }
        }
    }
}

/// Feeds standard input. True when it is to be closed: all of it is written, or nobody reads.
pub(crate) async fn feed(stdin: Option<&AsyncFd<OwnedFd>>, input: &mut &[u8]) -> bool {
    let Some(stdin) = stdin else { return std::future::pending().await };
    let Ok(mut guard) = stdin.writable().await else { return true };
    match guard.try_io(|fd| rustix::io::write(fd, input).map_err(io::Error::from)) {
        Ok(Ok(written)) => {
            *input = &input[written..];
            input.is_empty()
        }
        Ok(Err(error)) => error.kind() != io::ErrorKind::Interrupted,
        Err(_would_block) => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_a_program_wrote_last_is_taken_before_tokio_hears_of_it() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (reader, mut open, mut piece) = (AsyncFd::new(reader).unwrap(), true, Piece::new());
        rustix::io::write(&writer, b"hello").unwrap();
        // No await between: tokio has not asked the kernel yet.
        assert_eq!(piece.take(&reader, &mut open), b"hello");
        assert_eq!(piece.take(&reader, &mut open), b"");
        assert!(open);
        drop(writer);
        assert_eq!(piece.take(&reader, &mut open), b"");
        assert!(!open);
    }

    #[tokio::test]
    async fn a_buffer_grows_with_what_is_read() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (reader, mut open, mut piece) = (AsyncFd::new(reader).unwrap(), true, Piece::new());
        let mut lengths = Vec::new();
        for _ in 0..2 {
            rustix::io::write(&writer, &vec![7; 60_000]).unwrap();
            loop {
                let taken = piece.take(&reader, &mut open);
                if taken.is_empty() {
                    break;
                }
                assert!(taken.iter().all(|byte| *byte == 7));
                lengths.push(taken.len());
            }
        }
        assert_eq!(lengths, [4096, 16_384, 39_520, 60_000]);
    }
}
