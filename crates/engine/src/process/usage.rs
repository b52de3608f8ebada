//! The usage of processes by the counters of the kernel, and the schedule of the checks, which
//! enforces a limit within a few milliseconds without constant polling.

use std::time::Duration;

/// The minimum interval between two checks.
const MIN_INTERVAL: Duration = Duration::from_millis(2);
/// The maximum interval between two checks, because a process may be killed at any time for
/// exceeding the memory limit.
const MAX_INTERVAL: Duration = Duration::from_millis(50);

/// Returns the time until the next check: using up `left_us` microseconds of CPU time takes at
/// least this long on `processors` processors.
pub(crate) fn until_cpu_limit(left_us: u64, processors: u64) -> Duration {
    Duration::from_micros(left_us / processors.max(1)).clamp(MIN_INTERVAL, MAX_INTERVAL)
}

/// Samples a process, for machines without control groups: returns its CPU time (user, system) in
/// microseconds, and the bytes of its own memory. A tick is a hundredth of a second (`USER_HZ`,
/// which is fixed by the kernel's interface).
pub(super) fn sample(pid: i32) -> Option<((u64, u64), u64)> {
    const TICK_US: u64 = 10_000;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let kilobytes = |key: &str| -> u64 {
        let line = status.lines().find_map(|line| line.strip_prefix(key));
        line.and_then(|rest| rest.trim().split(' ').next()?.parse().ok()).unwrap_or(0)
    };
    Some((
        (user * TICK_US, system * TICK_US),
        (kilobytes("RssAnon:") + kilobytes("RssShmem:")) * 1024,
    ))
}

/// The bytes of a run's memory limit that allow for one TCP connection. Data in a listener's queue
/// is charged to no control group, and takes at most 128 KB (`loopback.rs` in the jail).
const CONNECTION_BYTES: u64 = 256 << 10;
/// The minimum number of allowed connections. A server under test has some hundred connections to
/// itself.
const MIN_CONNECTIONS: u64 = 512;

/// Returns the maximum number of TCP connections of a run, including its listeners and the
/// connections in their queues.
pub(crate) fn max_connections(memory_bytes: u64) -> u64 {
    (memory_bytes / CONNECTION_BYTES).max(MIN_CONNECTIONS)
}

/// Returns the number of TCP sockets in the network namespace of a process, including connections
/// that have not been accepted.
pub(crate) fn connections(pid: i32) -> u64 {
    let in_use = |file: &str, protocol: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
        let number = text.lines().find_map(|line| {
            line.strip_prefix(protocol)?
                .trim()
                .strip_prefix("inuse ")?
                .split(' ')
                .next()?
                .parse()
                .ok()
        });
        number.unwrap_or(0_u64)
    };
    in_use("sockstat", "TCP:") + in_use("sockstat6", "TCP6:")
}

/// Returns the proportional set size of a process in bytes.
pub(crate) fn proportional_bytes(pid: i32) -> Option<u64> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).ok()?;
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kilobytes| kilobytes * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_closer_the_look() {
        assert_eq!(until_cpu_limit(10_000_000, 2), MAX_INTERVAL);
        assert_eq!(until_cpu_limit(40_000, 2), Duration::from_millis(20));
        assert_eq!(until_cpu_limit(0, 2), MIN_INTERVAL);
    }

    #[test]
    fn connections_are_counted_whether_or_not_they_are_accepted() {
        let own = i32::try_from(std::process::id()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> =
            (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        assert!(connections(own) > 2 * clients.len() as u64);
        assert_eq!((max_connections(64 << 20), max_connections(1 << 30)), (512, 4096));
    }

    #[test]
    fn this_process_can_be_sampled() {
        let (_, memory) = sample(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(memory > 0);
    }
}
