//! The network namespaces of a zygote's sandboxes. Creating one takes a millisecond of CPU time,
//! and entering an existing one some microseconds (Linux 6.18). Therefore each sandbox has one for
//! itself while it lives, and the next sandbox reuses it if nothing is left in it.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, OwnedFd};

use belljar_jail::{enter_network, read_kernel_file};

/// The namespace of the calling thread, because other threads of a runtime may be in another.
const PLACE: &str = "/proc/thread-self/ns/net";
/// A file whose first line has the number of all sockets in the namespace, of any kind and process.
const COUNTS: &str = "/proc/thread-self/net/sockstat";
const NO_SOCKETS: &str = "sockets: used 0\n";

/// The unused namespaces, and the zygote's own. The zygote is in its own, except during these
/// calls.
#[derive(Debug)]
pub struct Networks {
    own: OwnedFd,
    free: Vec<OwnedFd>,
}

/// The error that the zygote is in another namespace and cannot return to its own. It must not fork
/// further sandboxes.
#[derive(Debug)]
pub struct CannotReturn;

impl Networks {
    /// Returns a value with the caller's own namespace and no unused ones.
    pub fn new() -> io::Result<Self> {
        Ok(Self { own: File::open(PLACE)?.into(), free: Vec::new() })
    }

    /// Leases an unused namespace, whose only interface is a `lo` that is down.
    pub fn lease(&mut self) -> Result<io::Result<OwnedFd>, CannotReturn> {
        match self.free.pop() {
            Some(network) => Ok(Ok(network)),
            None => self.make(),
        }
    }

    /// Creates a namespace in advance if there is no unused one.
    pub fn stock(&mut self) -> Result<(), CannotReturn> {
        if self.free.is_empty()
            && let Ok(network) = self.make()?
        {
            self.free.push(network);
        }
        Ok(())
    }

    /// Takes back the namespace of a sandbox that has been reaped with all its processes. A socket
    /// may still exist: in transit in an unreceived message, or held by a program outside that the
    /// sandbox reached through a granted folder. In that case the namespace is not reused.
    pub fn take_back(&mut self, network: OwnedFd) -> Result<(), CannotReturn> {
        if self.within(&network, has_no_sockets)?.unwrap_or(false) {
            self.free.push(network);
        }
        Ok(())
    }

    fn make(&self) -> Result<io::Result<OwnedFd>, CannotReturn> {
        // SAFETY: changes where sockets are made, and nothing else.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            return Ok(Err(io::Error::last_os_error()));
        }
        let made = File::open(PLACE).map(OwnedFd::from);
        self.return_home()?;
        Ok(made)
    }

    fn within<T>(
        &self,
        network: &OwnedFd,
        look: impl FnOnce() -> io::Result<T>,
    ) -> Result<io::Result<T>, CannotReturn> {
        if let Err(error) = enter_network(network.as_fd()) {
            return Ok(Err(error));
        }
        let seen = look();
        self.return_home()?;
        Ok(seen)
    }

    fn return_home(&self) -> Result<(), CannotReturn> {
        enter_network(self.own.as_fd()).map_err(|_| CannotReturn)
    }
}

fn has_no_sockets() -> io::Result<bool> {
    read_kernel_file(COUNTS.as_ref()).map(|counts| counts.starts_with(NO_SOCKETS))
}
