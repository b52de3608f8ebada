//! Watching the usage of an active sandbox.

use std::time::Duration;

use belljar_channel::stage::Active;
use belljar_protocol::{Limits, Network, Usage};

use super::decision::Stop;
use super::granted::GrantedSpace;
use crate::process::{Ended, connections, max_connections, until_cpu_limit};
use crate::sandbox::Sandbox;

/// The interval of checks without control groups, where memory has to be sampled.
const SAMPLE_EVERY: Duration = Duration::from_millis(5);

/// Returns the time until the first check.
pub(super) fn first_check(limits: &Limits) -> Duration {
    until_cpu_limit(limits.cpu_ms.0 * 1000, processors())
}

/// Checks the usage of a sandbox. Returns the time until the next check, or the exceeded limit.
pub(super) async fn check(
    sandbox: &Sandbox<Active>,
    limits: &Limits,
    granted: Option<&mut GrantedSpace>,
) -> Result<Duration, Stop> {
    let process = &sandbox.process;
    let (user, system) = match process.cgroup() {
        Some(cgroup) => {
            if cgroup.memory().oom_kills > 0 {
                return Err(Stop::MemoryExceeded);
            }
            cgroup.cpu_us()
        }
        None => {
            let Some((cpu, memory)) = process.sample() else { return Ok(SAMPLE_EVERY) };
            if memory > limits.memory_bytes.0 {
                return Err(Stop::MemoryExceeded);
            }
            cpu
        }
    };
    if sandbox.spec.network != Network::None
        && connections(process.pid()) > max_connections(limits.memory_bytes.0)
    {
        return Err(Stop::ConnectionsExceeded);
    }
    if let Some(granted) = granted {
        granted.look(&process.processes()).await?;
    }
    let used = (user + system).saturating_sub(sandbox.cpu_before.0 + sandbox.cpu_before.1);
    let left = (limits.cpu_ms.0 * 1000).checked_sub(used).ok_or(Stop::CpuExceeded)?;
    let next = until_cpu_limit(left, processors());
    Ok(if process.cgroup().is_none() { next.min(SAMPLE_EVERY) } else { next })
}

/// Returns the usage of a run, and the number of processes that the kernel killed because of the
/// memory limit. `ended` is the end of the first process, if it is known. `prepared` and `wall` are
/// the durations until activation and after it.
pub(super) fn usage(
    sandbox: &Sandbox<Active>,
    ended: Option<Ended>,
    (prepared, wall): (Duration, Duration),
    output_bytes: u64,
) -> (Usage, u64) {
    let process = &sandbox.process;
    let ((user, system), peak_memory_bytes, processes, oom_kills) = match process.cgroup() {
        Some(cgroup) => {
            let memory = cgroup.memory();
            let sockets = match sandbox.spec.network {
                Network::None => 0,
                Network::Loopback | Network::Granted => cgroup.peak_socket_bytes(),
            };
            (
                cgroup.cpu_us(),
                memory.peak_bytes.saturating_add(sockets),
                cgroup.peak_processes().unwrap_or(1),
                memory.oom_kills,
            )
        }
        None => {
            let by_exit = ended.map(|ended| (ended.user_us, ended.system_us));
            let peak_bytes = ended.map_or(0, |ended| ended.peak_resident_bytes);
            (by_exit.unwrap_or_else(|| process.cpu_us()), peak_bytes, 1, 0)
        }
    };
    let since = |now: u64, before: u64| round(now.saturating_sub(before) as f64 / 1000.0);
    let usage = Usage {
        wall_ms: milliseconds(wall),
        prepare_ms: milliseconds(prepared),
        cpu_user_ms: since(user, sandbox.cpu_before.0),
        cpu_system_ms: since(system, sandbox.cpu_before.1),
        peak_memory_bytes,
        output_bytes,
        processes,
    };
    (usage, oom_kills)
}

/// Returns a duration in milliseconds, to the microsecond.
fn milliseconds(duration: Duration) -> f64 {
    round(duration.as_secs_f64() * 1000.0)
}

fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

fn processors() -> u64 {
    static COUNT: std::sync::OnceLock<u64> = std::sync::OnceLock::new();
    *COUNT
        .get_or_init(|| std::thread::available_parallelism().map_or(1, |count| count.get() as u64))
}
