//! A sandbox's channel and streams: reading and writing what there is, and no more.

use std::io;
use std::os::fd::OwnedFd;

use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

pub(crate) fn control_interest(to_send: &[u8]) -> Interest {
    if to_send.is_empty() { Interest::READABLE } else { Interest::READABLE | Interest::WRITABLE }
}

/// Sends what can be sent without waiting. A sandbox that is gone takes nothing; its end is seen elsewhere.
pub(crate) fn advance(control: &AsyncFd<OwnedFd>, to_send: &mut &[u8]) {
    while !to_send.is_empty() {
        let send = |fd: &OwnedFd| rustix::net::send(fd, to_send, rustix::net::SendFlags::NOSIGNAL).map_err(io::Error::from);
        match control.try_io(Interest::WRITABLE, send) {
            Ok(sent) => *to_send = &to_send[sent..],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return,
            Err(_) => *to_send = &[],
        }
    }
}

/// What can be read without waiting, a bounded piece. Nothing at the end, which it marks.
pub(crate) fn take(fd: &AsyncFd<OwnedFd>, open: &mut bool) -> Vec<u8> {
    if !*open {
        return Vec::new();
    }
    let mut buffer = vec![0; 64 << 10];
    loop {
        // `read` on the socket too: descriptors that a sandbox sends along are closed by the kernel, unseen.
        let mut read = |fd: &OwnedFd| rustix::io::read(fd, &mut buffer).map_err(io::Error::from);
        let result = match fd.try_io(Interest::READABLE, &mut read) {
            // That may only mean that tokio has not heard of what is there: it asks the kernel when every task waits.
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => read(fd.get_ref()),
            result => result,
        };
        match result {
            Ok(0) => {
                *open = false;
                return Vec::new();
            }
            Ok(length) => {
                buffer.truncate(length);
                return buffer;
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Vec::new(),
            Err(_) => {
                *open = false;
                return Vec::new();
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
        let (reader, mut open) = (AsyncFd::new(reader).unwrap(), true);
        rustix::io::write(&writer, b"hello").unwrap();
        // No await between: tokio has not asked the kernel yet.
        assert_eq!(take(&reader, &mut open), b"hello");
        assert_eq!(take(&reader, &mut open), b"");
        assert!(open);
        drop(writer);
        assert_eq!(take(&reader, &mut open), b"");
        assert!(!open);
    }
}
