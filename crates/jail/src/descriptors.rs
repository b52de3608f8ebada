//! Descriptors of a forked sandbox. Everything that it inherited from its zygote is replaced, so that it shares no open file description with the
//! zygote or a sibling: neither an epoll, nor an event counter, nor the zygote's channel.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::error::{At, SetupError, Step};
use crate::sys::duplicate_onto;

/// The control channel's number inside a sandbox, and the zygote channel's inside a zygote.
pub const CHANNEL: RawFd = 3;

/// What the supervisor sent for a new sandbox.
#[derive(Debug)]
pub struct Stdio {
    /// The sandbox's end of its control channel.
    pub control: OwnedFd,
    /// Descriptors 0, 1 and 2.
    pub streams: [OwnedFd; 3],
}

/// The descriptors that a zygote had when it was ready to fork: from then on only those that it receives come and go.
#[derive(Debug)]
pub struct InheritedDescriptors {
    numbers: Vec<RawFd>,
}

impl InheritedDescriptors {
    /// Lists the calling process's descriptors.
    pub fn list() -> io::Result<Self> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            if let Some(number) = entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok()) {
                numbers.push(number);
            }
        }
        // The last was the listing's own, which is closed by now.
        numbers.retain(|number| is_open(*number) && *number > 2);
        Ok(Self { numbers })
    }

    /// Replaces them all, in a child: `/dev/null` on each, what was sent in its place.
    pub fn replace(&self, received: Stdio) -> Result<(), SetupError> {
        // Opened here: an inherited one would be shared with every sibling.
        let null: OwnedFd = fs::File::options().read(true).write(true).open("/dev/null").at(Step::Descriptors)?.into();
        for &number in &self.numbers {
            duplicate_onto(null.as_raw_fd(), number, libc::O_CLOEXEC).at(Step::Descriptors)?;
        }
        for (stream, number) in received.streams.iter().zip(0..) {
            duplicate_onto(stream.as_raw_fd(), number, 0).at(Step::Descriptors)?;
        }
        duplicate_onto(received.control.as_raw_fd(), CHANNEL, libc::O_CLOEXEC).at(Step::Descriptors)
        // Dropping `received` closes its originals.
    }
}

fn is_open(number: RawFd) -> bool {
    // SAFETY: asks about a number; nothing is changed.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}
