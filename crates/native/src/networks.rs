//! The network namespaces of a zygote's sandboxes. Making one takes a millisecond of processor time, and entering one that exists some microseconds
//! (Linux 6.18): so each sandbox has one for itself while it lives, and the next sandbox gets it if nothing is left in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use belljar_jail::{enter_network, read_kernel_file};

/// Of the calling thread: a runtime's process may have others.
const PLACE: &str = "/proc/thread-self/ns/net";
/// Its first line counts the sockets of the namespace, of every kind, in whatever process.
const COUNTS: &str = "/proc/thread-self/net/sockstat";
const NO_SOCKETS: &str = "sockets: used 0\n";

/// The namespaces that nobody uses, and the zygote's own, in which it always is outside of these calls.
#[derive(Debug)]
pub struct Networks {
    own: OwnedFd,
    free: Vec<OwnedFd>,
}

/// The zygote is in another namespace than its own and cannot go back: no further sandbox may be made from it.
#[derive(Debug)]
pub struct Lost;

impl Networks {
    /// None yet, but the caller's own.
    pub fn new() -> io::Result<Self> {
        Ok(Self { own: File::open(PLACE)?.into(), free: Vec::new() })
    }

    /// One that nobody uses, without interfaces but a `lo` that is down.
    pub fn lease(&mut self) -> Result<io::Result<OwnedFd>, Lost> {
        match self.free.pop() {
            Some(network) => Ok(Ok(network)),
            None => self.make(),
        }
    }

    /// Makes one in advance, where there is none.
    pub fn stock(&mut self) -> Result<(), Lost> {
        if self.free.is_empty()
            && let Ok(network) = self.make()?
        {
            self.free.push(network);
        }
        Ok(())
    }

    /// Takes one back whose sandbox has been reaped, all of its processes with it. A socket can be left all the same: in flight, in a message that nobody
    /// has received, or held by a program outside that a granted folder leads to. Then the namespace is not used again.
    pub fn take_back(&mut self, network: OwnedFd) -> Result<(), Lost> {
        if self.within(&network, has_no_sockets)?.unwrap_or(false) {
            self.free.push(network);
        }
        Ok(())
    }

    fn make(&self) -> Result<io::Result<OwnedFd>, Lost> {
        // SAFETY: changes where sockets are made, and nothing else.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Ok(Err(io::Error::last_os_error()));
        }
        let made = File::open(PLACE).map(OwnedFd::from);
        self.return_home()?;
        Ok(made)
    }

    fn within<T>(&self, network: &OwnedFd, look: impl FnOnce() -> io::Result<T>) -> Result<io::Result<T>, Lost> {
        if let Err(error) = enter_network(network.as_fd()) {
            return Ok(Err(error));
        }
        let seen = look();
        self.return_home()?;
        Ok(seen)
    }

    fn return_home(&self) -> Result<(), Lost> {
        enter_network(self.own.as_fd()).map_err(|_| Lost)
    }
}

fn has_no_sockets() -> io::Result<bool> {
    read_kernel_file(COUNTS.as_ref()).map(|counts| counts.starts_with(NO_SOCKETS))
}
