//! The loopback interface of a new network namespace, which starts down, and what bounds connections
//! that no control group counts.

use std::fs;
use std::io::{self, Write};
use std::mem;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::error::{At, SetupError, Step};
use crate::sys::{check, mount, unmount_detached};

/// Settings of the namespace. A connection is charged to a control group once it is accepted
/// (`inet_csk_accept`): what a program leaves waiting in its listeners' queues is charged to nobody, on
/// either version. So queues are short, and what one connection may hold there is small. The supervisor
/// counts the connections (`docs/concepts/jail.md`).
///
/// All four are each namespace's own since Linux 4.15, and are the namespace owner's to write.
const SETTINGS: [(&str, &str); 4] = [
    // Connections that wait in one listener's queue.
    (QUEUE_LENGTH, "128"),
    // Least, initial and most bytes that a connection may hold unread.
    ("ipv4/tcp_rmem", "4096 65536 131072"),
    // Connections of which one side has closed, kept for a minute in memory that is not counted.
    ("ipv4/tcp_max_tw_buckets", "1024"),
    // Connections half made.
    ("ipv4/tcp_max_syn_backlog", "128"),
];

const QUEUE_LENGTH: &str = "core/somaxconn";

/// Bounds what connections hold in the calling process's network namespace. Its `/proc` shows no
/// settings, so another one is mounted over it for as long as this takes.
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
        // Older kernels show it to namespaces of the first user namespace alone (seen: not in 6.1, in 6.18).
        // Then queues are as long as the host's; the number of connections is bounded all the same.
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
    let fd = check(i64::from(unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) }))?;
    // SAFETY: the kernel has just returned this descriptor to us alone.
    let socket = unsafe { OwnedFd::from_raw_fd(fd as i32) };
    // SAFETY: all-zero is a valid `ifreq`.
    let mut request: libc::ifreq = unsafe { mem::zeroed() };
    request.ifr_name[0] = b'l' as libc::c_char;
    request.ifr_name[1] = b'o' as libc::c_char;
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: SIOCSIFFLAGS reads one `ifreq`.
    check(i64::from(unsafe { libc::ioctl(socket.as_raw_fd(), libc::SIOCSIFFLAGS, &raw const request) })).map(drop)
}
