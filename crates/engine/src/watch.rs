//! When to look next at what a run has used, so that a limit is met within a few milliseconds without constant polling.

use std::time::Duration;

/// Never look more often than this.
const LEAST: Duration = Duration::from_millis(2);
/// Nor less often, where something must be noticed that has no time of its own: a process of the run that was killed for want of memory.
const MOST: Duration = Duration::from_millis(50);

/// How long it takes at the least to use up `left_us` microseconds of CPU time on `processors` processors: that long nothing can happen.
pub(crate) fn until_cpu_limit(left_us: u64, processors: u64) -> Duration {
    Duration::from_micros(left_us / processors.max(1)).clamp(LEAST, MOST)
}

/// What is known of a process where there are no control groups: CPU time in microseconds, and bytes of its own memory. Ticks are hundredths of a
/// second (`USER_HZ`, fixed by the kernel's interface).
pub(crate) fn sample(pid: i32) -> Option<((u64, u64), u64)> {
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
    Some(((user * TICK_US, system * TICK_US), (kilobytes("RssAnon:") + kilobytes("RssShmem:")) * 1024))
}

/// The share of a run's memory limit that its TCP connections have to have each. What waits in a listener's
/// queue is charged to no control group and holds 128 KB at the most (`loopback.rs` in the jail).
const CONNECTION_BYTES: u64 = 256 << 10;
/// A server of a test has some hundred connections to itself.
const LEAST_CONNECTIONS: u64 = 512;

/// The most TCP connections that a run may have, its listeners and what waits in their queues included.
pub(crate) fn most_connections(memory_bytes: u64) -> u64 {
    (memory_bytes / CONNECTION_BYTES).max(LEAST_CONNECTIONS)
}

/// TCP sockets in the network namespace of a process, also those that nobody has accepted.
pub(crate) fn connections(pid: i32) -> u64 {
    let in_use = |file: &str, protocol: &str| {
        let text = std::fs::read_to_string(format!("/proc/{pid}/net/{file}")).unwrap_or_default();
        let number =
            text.lines().find_map(|line| line.strip_prefix(protocol)?.trim().strip_prefix("inuse ")?.split(' ').next()?.parse().ok());
        number.unwrap_or(0_u64)
    };
    in_use("sockstat", "TCP:") + in_use("sockstat6", "TCP6:")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearer_the_limit_the_closer_the_look() {
        assert_eq!(until_cpu_limit(10_000_000, 2), MOST);
        assert_eq!(until_cpu_limit(40_000, 2), Duration::from_millis(20));
        assert_eq!(until_cpu_limit(0, 2), LEAST);
    }

    #[test]
    fn connections_are_counted_whether_or_not_they_are_accepted() {
        let own = i32::try_from(std::process::id()).unwrap();
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let clients: Vec<_> = (0..20).map(|_| std::net::TcpStream::connect(address).unwrap()).collect();
        assert!(connections(own) > 2 * clients.len() as u64);
        assert_eq!((most_connections(64 << 20), most_connections(1 << 30)), (512, 4096));
    }

    #[test]
    fn this_process_can_be_sampled() {
        let (_, memory) = sample(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(memory > 0);
    }
}
