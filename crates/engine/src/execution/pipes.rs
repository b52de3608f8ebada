//! Non-blocking reads and writes on a sandbox's channel and streams.

use std::collections::VecDeque;
use std::io;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use belljar_channel::{CallOpening, Lost, receive_bytes, send_packet};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

/// The maximum number of answers that wait to be sent. The library in a sandbox has one request
/// open at a time; a sandbox that sends requests without reading gets no further answers.
const MAX_ANSWERS: usize = 64;

/// The data that is still to be sent to a sandbox: its activation, then the answers to its calls.
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

    /// Returns whether another answer may wait.
    pub(crate) fn has_room(&self) -> bool {
        self.answers.len() < MAX_ANSWERS
    }

    /// Adds an answer with the socket of the call.
    pub(crate) fn answer(&mut self, (opening, socket): (CallOpening, Option<OwnedFd>)) {
        self.answers.push_back((opening, socket));
    }

    /// Returns whether the whole activation has been sent.
    pub(crate) fn has_activated(&self) -> bool {
        self.activation.is_empty()
    }

    /// Returns the events of the control channel to wait for.
    pub(crate) fn interest(&self) -> Interest {
        if self.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE }
    }

    fn is_empty(&self) -> bool {
        self.activation.is_empty() && self.answers.is_empty()
    }

    /// Sends as much as possible without waiting. If the sandbox is gone, the data is dropped; its
    /// end is noticed elsewhere.
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
            self.sent += rustix::net::send(
                control,
                &self.activation[self.sent..],
                rustix::net::SendFlags::NOSIGNAL,
            )?;
            if self.sent == self.activation.len() {
                // Free the memory: the activation may contain large files.
                self.activation = Vec::new();
            }
        } else if let Some((opening, socket)) = self.answers.front() {
            // So few bytes are sent completely or not at all.
            let socket: Vec<BorrowedFd<'_>> = socket.iter().map(OwnedFd::as_fd).collect();
            match send_packet(control, &opening.encode(), &socket) {
                // This user, including its sandboxes, has too many descriptors in transit.
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

/// The initial size of a buffer.
const PIECE_BYTES: usize = 4 << 10;
/// The maximum size of a buffer, which it reaches after reads have filled it repeatedly.
const MAX_PIECE_BYTES: usize = 64 << 10;

/// A read buffer. It is created once per run, and stays small until a read fills it: most runs
/// write little, and zeroing three large buffers causes a tenth of the page faults of a short run.
#[derive(Debug, Default)]
pub(crate) struct Piece {
    bytes: Vec<u8>,
    /// Set if the last read filled the buffer.
    is_full: bool,
}

impl Piece {
    pub(crate) fn new() -> Self {
        Self { bytes: vec![0; PIECE_BYTES], is_full: false }
    }

    /// Reads from a pipe without waiting. At its end, returns nothing and clears `open`.
    pub(crate) fn take(&mut self, pipe: &AsyncFd<OwnedFd>, open: &mut bool) -> &[u8] {
        self.grow();
        let length = take(pipe, open, |pipe| rustix::io::read(pipe, &mut self.bytes));
        self.taken(length)
    }

    /// Reads from a control channel without waiting. Also tells whether descriptors arrived, which
    /// the kernel closes. At the end, returns nothing and clears `open`.
    pub(crate) fn take_frames(
        &mut self,
        control: &AsyncFd<OwnedFd>,
        open: &mut bool,
    ) -> (&[u8], Lost) {
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

/// Reads once without waiting. Returns the number of bytes, or `None` if there are none now. Clears
/// `open` at the end.
fn take(
    fd: &AsyncFd<OwnedFd>,
    open: &mut bool,
    mut read: impl FnMut(&OwnedFd) -> rustix::io::Result<usize>,
) -> Option<usize> {
    if !*open {
        return None;
    }
    loop {
        let mut read = |fd: &OwnedFd| read(fd).map_err(io::Error::from);
        let result = match fd.try_io(Interest::READABLE, &mut read) {
            // This may only mean that tokio does not know of the data yet: it polls the kernel when
            // all tasks wait.
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

/// Writes to standard input. Returns true when it has to be closed, because everything is written
/// or no process reads.
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
    async fn the_last_output_of_a_program_is_read_before_tokio_knows_of_it() {
        let (reader, writer) = rustix::pipe::pipe_with(rustix::pipe::PipeFlags::NONBLOCK).unwrap();
        let (reader, mut open, mut piece) = (AsyncFd::new(reader).unwrap(), true, Piece::new());
        rustix::io::write(&writer, b"hello").unwrap();
        // No await in between, so tokio has not polled the kernel yet.
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
