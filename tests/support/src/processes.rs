//! The processes of this machine, as `proc(5)` shows them.

use std::fs;
use std::time::Duration;

/// A process. Its start time tells it apart from a later process with the same id.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Process {
    /// The process id.
    pub pid: u32,
    started: u64,
}

impl Process {
    /// Returns the process that has this id now, or `None` if there is none.
    pub fn find(pid: u32) -> Option<Self> {
        stat(pid).map(|stat| Self { pid, started: stat.started })
    }

    /// Returns whether the process still runs. A dead process that has not been reaped does not.
    pub fn is_running(self) -> bool {
        stat(self.pid).is_some_and(|stat| stat.started == self.started && stat.is_running())
    }
}

/// The state of a process, from `/proc/PID/stat`.
#[derive(Clone, Debug)]
pub struct Stat {
    /// Name of the program, of at most 15 bytes.
    pub name: String,
    /// State, such as `S` for asleep, `T` for stopped and `Z` for a zombie.
    pub state: char,
    /// Process id of the parent.
    pub parent: u32,
    /// CPU time so far, without that of children. Linux counts it in ticks of 10 ms.
    pub cpu_time: Duration,
    /// Start time in ticks since the boot.
    pub started: u64,
}

impl Stat {
    /// Returns whether the process runs, and is not a zombie.
    pub fn is_running(&self) -> bool {
        !['Z', 'X'].contains(&self.state)
    }
}

/// Returns the state of a process, or `None` if it is gone.
pub fn stat(pid: u32) -> Option<Stat> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name is in parentheses, and can contain both spaces and parentheses.
    let (start, rest) = text.rsplit_once(") ")?;
    let (_, name) = start.split_once('(')?;
    let fields: Vec<&str> = rest.split(' ').collect();
    let number = |index: usize| fields.get(index)?.parse::<u64>().ok();
    Some(Stat {
        name: name.to_owned(),
        state: fields.first()?.chars().next()?,
        parent: fields.get(1)?.parse().ok()?,
        cpu_time: Duration::from_millis(10 * (number(11)? + number(12)?)),
        started: number(19)?,
    })
}

/// Returns all processes of this machine, by id.
pub fn all() -> impl Iterator<Item = (u32, Stat)> {
    fs::read_dir("/proc").expect("/proc is mounted").flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, stat(pid)?))
    })
}

/// Returns every process beneath `ancestor`, parents before their children. Zombies are included.
pub fn descendants(ancestor: u32) -> Vec<Process> {
    let all: Vec<(u32, Stat)> = all().collect();
    let mut found = Vec::new();
    let mut parent = ancestor;
    for next in 0.. {
        found.extend(
            all.iter()
                .filter(|(_, stat)| stat.parent == parent)
                .map(|(pid, stat)| Process { pid: *pid, started: stat.started }),
        );
        let Some(process) = found.get(next) else { break };
        parent = process.pid;
    }
    found
}

/// Returns the resident memory of a process in bytes, or 0 if it is gone.
pub fn resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmRSS:")
}

/// Returns the peak of the resident memory of a process so far in bytes, or 0 if it is gone.
pub fn peak_resident_bytes(pid: u32) -> u64 {
    status_bytes(pid, "VmHWM:")
}

fn status_bytes(pid: u32, field: &str) -> u64 {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap_or("0 kB");
    let kilobytes: u64 = line.trim().trim_end_matches(" kB").parse().expect("a number of kB");
    kilobytes << 10
}

/// Returns the number of descriptors that a process has open, or 0 if it is gone.
pub fn descriptors(pid: u32) -> usize {
    fs::read_dir(format!("/proc/{pid}/fd")).map_or(0, Iterator::count)
}
