//! The machine that sandboxes share: what it has, what a run can be given of it, and what is too much to ask.

use std::fs;
use std::path::Path;

use belljar_jail::{Cgroups, GroupBounds};
use belljar_protocol::{Bytes, Limits, Millis};
use rustix::process::{Resource, getrlimit};

use crate::error::EngineError;

const DAY: Millis = Millis(24 * 3600 * 1000);
/// Descriptors that a run may have without its operator's word. Each stands for memory of the kernel that no
/// control group counts.
const OPEN_FILES: u64 = 4096;
/// Each is a kilobyte of the kernel's memory.
const FILES: u32 = 1_000_000;
/// The server holds output and results, several times over.
const HELD_BYTES: Bytes = Bytes(64 << 20);

/// What there is for all sandboxes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory of the machine, or of the control group that sandboxes are made in if that has less.
    pub memory_bytes: u64,
    /// Processes and threads that there can be, likewise.
    pub processes: u32,
    /// Descriptors that this process can grant to another.
    pub open_files: u32,
}

impl Machine {
    pub(crate) fn look(cgroups: Option<&Cgroups>) -> Self {
        let info = rustix::system::sysinfo();
        let bounds = cgroups.map(Cgroups::bounds).unwrap_or_default();
        Self::of(
            (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)),
            ["kernel/pid_max", "kernel/threads-max"].map(|name| number(&Path::new("/proc/sys").join(name))),
            bounds,
            getrlimit(Resource::Nofile).maximum,
        )
    }

    fn of(memory: u64, processes: [Option<u64>; 2], bounds: GroupBounds, open_files: Option<u64>) -> Self {
        let most = Limits::MOST;
        let processes = processes.into_iter().chain([bounds.processes]).flatten().min().unwrap_or(u64::MAX);
        let at_most = |value: u64, most: u32| u32::try_from(value).unwrap_or(most).min(most);
        Self {
            memory_bytes: memory.min(bounds.memory_bytes.unwrap_or(u64::MAX)),
            processes: at_most(processes, most.processes),
            open_files: at_most(open_files.unwrap_or(u64::MAX), most.open_files),
        }
    }

    /// The most of each limit that a run may ask for where its operator has not named another: half of the memory
    /// for itself and as much for its files, a quarter of the processes, a day.
    pub fn ceiling(&self) -> Limits {
        let most = Limits::MOST;
        let half = Bytes((self.memory_bytes / 2).clamp(LEAST_MEMORY, most.memory_bytes.0));
        Limits {
            timeout_ms: DAY,
            cpu_ms: DAY,
            memory_bytes: half,
            processes: (self.processes / 4).max(1),
            disk_bytes: half,
            files: FILES,
            output_bytes: HELD_BYTES,
            open_files: self.open_files.min(OPEN_FILES as u32).max(LEAST_OPEN_FILES),
            result_bytes: HELD_BYTES,
        }
    }

    /// Refuses limits beyond what this machine has.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), EngineError> {
        let size = |bytes: u64| Bytes(bytes).to_string();
        let count = |number: u64| number.to_string();
        let shown: [&dyn Fn(u64) -> String; 2] = [&size, &count];
        for (field, asked, has, shown) in [
            ("memory_bytes", limits.memory_bytes.0, self.memory_bytes.max(LEAST_MEMORY), shown[0]),
            // Files in a sandbox are memory.
            ("disk_bytes", limits.disk_bytes.0, self.memory_bytes.max(LEAST_MEMORY), shown[0]),
            ("processes", limits.processes.into(), self.processes.into(), shown[1]),
        ] {
            if asked > has {
                return Err(EngineError::Machine { field, asked: shown(asked), has: shown(has) });
            }
        }
        let open_files = self.open_files.max(LEAST_OPEN_FILES);
        if limits.open_files > open_files {
            return Err(EngineError::OpenFilesLimit { asked: limits.open_files, has: open_files });
        }
        Ok(())
    }
}

/// The fewest open files that the supervisor works with: it moves those of a sandbox above the 64th, and has some thirty of
/// its own.
const LEAST_OWN_OPEN_FILES: u64 = 128;

/// Refuses to work with fewer open files than a sandbox needs, which would fail in the middle of making one.
pub(crate) fn check_own_open_files() -> Result<(), EngineError> {
    match getrlimit(Resource::Nofile).current {
        Some(has) if has < LEAST_OWN_OPEN_FILES => Err(EngineError::OpenFiles { has, least: LEAST_OWN_OPEN_FILES }),
        _ => Ok(()),
    }
}

/// The least that [`Limits::validate`] accepts.
const LEAST_MEMORY: u64 = 8 << 20;
const LEAST_OPEN_FILES: u32 = 32;

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine = Machine { memory_bytes: 4 << 30, processes: 32_768, open_files: 20_000 };

    #[test]
    fn a_ceiling_is_a_share_of_the_machine() {
        let ceiling = MACHINE.ceiling();
        assert_eq!((ceiling.memory_bytes, ceiling.disk_bytes), (Bytes(2 << 30), Bytes(2 << 30)));
        assert_eq!((ceiling.processes, ceiling.open_files, ceiling.timeout_ms), (8192, 4096, DAY));
        for machine in [Machine { memory_bytes: 1, processes: 1, open_files: 1 }, Machine { memory_bytes: u64::MAX, ..MACHINE }] {
            assert_eq!(machine.ceiling().validate(), Ok(()));
        }
        let this = Machine::look(None);
        assert!(this.memory_bytes > 0 && this.processes > 0 && this.open_files > 0, "{this:?}");
    }

    #[test]
    fn a_control_group_around_the_server_counts_as_the_machine() {
        let bounds = GroupBounds { memory_bytes: Some(1 << 30), processes: Some(100) };
        let machine = Machine::of(64 << 30, [Some(4_194_304), Some(500_000)], bounds, None);
        assert_eq!(machine, Machine { memory_bytes: 1 << 30, processes: 100, open_files: 65_536 });
        let alone = Machine::of(64 << 30, [Some(4_194_304), None], GroupBounds::default(), Some(1024));
        assert_eq!(alone, Machine { memory_bytes: 64 << 30, processes: 32_768, open_files: 1024 });
    }

    #[test]
    fn more_than_there_is_is_refused_by_name() {
        assert!(MACHINE.check(&Limits::default()).is_ok());
        let error = MACHINE.check(&Limits { memory_bytes: Bytes(1 << 40), ..Limits::default() }).unwrap_err().to_string();
        assert_eq!(error, "limits.memory_bytes is 1024 GB, and this machine has 4 GB; ask for less");
        assert!(MACHINE.check(&Limits { open_files: 20_001, ..Limits::default() }).unwrap_err().to_string().contains("open_files"));
    }
}
