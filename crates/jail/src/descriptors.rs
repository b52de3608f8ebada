//! The descriptors of a forked sandbox. All inherited descriptors are replaced, so that the sandbox
//! shares no open file description with its zygote or a sibling: no epoll, no event counter, and
//! not the zygote's channel.

use std::fs;
use std::io;
use std::os::fd::{AsRawFd, OwnedFd, RawFd};

use crate::error::{At, SetupError, Step};
use crate::sys::duplicate_onto;

/// The number of the control channel in a sandbox, and of the zygote channel in a zygote.
pub const CHANNEL: RawFd = 3;

/// The descriptors that the supervisor sent for a new sandbox.
#[derive(Debug)]
pub struct Stdio {
    /// The sandbox's end of its control channel.
    pub control: OwnedFd,
    /// Standard input, output and error: descriptors 0, 1 and 2.
    pub streams: [OwnedFd; 3],
}

/// The descriptors that a zygote had when it was ready to fork. From then on, it only opens and
/// closes those that it receives.
#[derive(Debug)]
pub struct InheritedDescriptors {
    numbers: Vec<RawFd>,
}

impl InheritedDescriptors {
    /// Lists the calling process's descriptors.
    pub fn list() -> io::Result<Self> {
        let mut numbers = Vec::new();
        for entry in fs::read_dir("/proc/self/fd")? {
            if let Some(number) =
                entry?.file_name().to_str().and_then(|name| name.parse::<RawFd>().ok())
            {
                numbers.push(number);
            }
        }
        // One was the listing's own descriptor, which is closed by now.
        numbers.retain(|number| is_open(*number) && *number > 2);
        Ok(Self { numbers })
    }

    /// Replaces all of them in a child, by the received descriptors and `/dev/null`.
    pub fn replace(&self, received: Stdio) -> Result<(), SetupError> {
        // Opened here, because an inherited one would be shared with every sibling.
        let null: OwnedFd = fs::File::options()
            .read(true)
            .write(true)
            .open("/dev/null")
            .at(Step::Descriptors)?
            .into();
        for &number in &self.numbers {
            duplicate_onto(null.as_raw_fd(), number, libc::O_CLOEXEC).at(Step::Descriptors)?;
        }
        for (stream, number) in received.streams.iter().zip(0..) {
            duplicate_onto(stream.as_raw_fd(), number, 0).at(Step::Descriptors)?;
        }
        duplicate_onto(received.control.as_raw_fd(), CHANNEL, libc::O_CLOEXEC).at(Step::Descriptors)
        // Dropping `received` closes the originals.
    }
}

fn is_open(number: RawFd) -> bool {
    // SAFETY: queries a number and changes nothing.
    unsafe { libc::fcntl(number, libc::F_GETFD) != -1 }
}
