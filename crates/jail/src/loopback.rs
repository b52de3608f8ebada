//! The loopback interface of a new network namespace, which is down at first, and the limits of
//! connections that no control group counts.

use std::fs;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::error::{At, SetupError, Step};
use crate::sys::{check, mount, unmount_detached};

/// Settings of the namespace. A connection is charged to a control group only when it is accepted
/// (`inet_csk_accept`): connections that a program leaves in its listeners' queues are charged to
/// no group, on either version. Therefore queues are short, and a connection in a queue can hold
/// little data. The supervisor counts the connections (`docs/concepts/jail.md`).
///
/// All four settings are separate for each namespace since Linux 4.15, and its owner can change
/// them.
const SETTINGS: [(&str, &str); 4] = [
    // The length of a listener's queue.
    (QUEUE_LENGTH, "128"),
    // The minimum, initial and maximum number of unread bytes of a connection.
    ("ipv4/tcp_rmem", "4096 65536 131072"),
    // Connections that one side has closed, which are kept for a minute in uncounted memory.
    ("ipv4/tcp_max_tw_buckets", "1024"),
    // Half-open connections.
    ("ipv4/tcp_max_syn_backlog", "128"),
];

const QUEUE_LENGTH: &str = "core/somaxconn";

/// Limits the memory of connections in the calling process's network namespace. Its `/proc` shows
/// no settings, so another one is temporarily mounted over it.
pub(crate) fn bound_connections() -> Result<(), SetupError> {
    let flags = libc::MS_NOSUID | libc::MS_NODEV | libc::MS_NOEXEC;
    mount(Some(c"proc"), c"/proc", Some(c"proc"), flags, None).at(Step::Loopback)?;
    let written = SETTINGS.iter().try_for_each(|(name, value)| write_setting(name, value));
    unmount_detached(c"/proc").at(Step::Loopback)?;
    written.at(Step::Loopback)
}

fn write_setting(name: &str, value: &str) -> io::Result<()> {
    match fs::OpenOptions::new().write(true).open(format!("/proc/sys/net/{name}")) {
        Ok(mut setting) => setting.write_all(value.as_bytes()),
        // Older kernels show it only to namespaces of the initial user namespace (observed: 6.1
        // does not show it, 6.18 does). Queues are then as long as the host's, but the number of
        // connections is limited nevertheless.
        Err(error) if error.kind() == io::ErrorKind::NotFound && name == QUEUE_LENGTH => Ok(()),
        Err(error) => Err(error),
    }
}

/// Brings `lo` up in the calling thread's network namespace.
pub(crate) fn bring_up() -> Result<(), SetupError> {
    set_flags().at(Step::Loopback)
}

fn set_flags() -> io::Result<()> {
    // SAFETY: no pointers.
    let fd = check(i64::from(unsafe {
        libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0)
    }))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`.
    check(i64::from(unsafe {
        libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request)
    }))
    .map(drop)
}
