//! The machine that sandboxes share: its resources, and the share of them that a run may request.

use std::fs;
use std::path::Path;

use belljar_jail::{Cgroups, GroupBounds};
use belljar_protocol::{Bytes, Limits};
use rustix::process::{Resource, getrlimit};

use crate::error::EngineError;

/// The resources for all sandboxes together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Machine {
    /// Memory of the machine, or of the control group of the sandboxes if that has less, bytes.
    pub memory_bytes: u64,
    /// Maximum number of processes and threads of the machine, or of the control group of the
    /// sandboxes if that allows fewer.
    pub processes: u32,
    /// Maximum number of open files that this process can set for another.
    pub open_files: u32,
}

impl Machine {
    pub(crate) fn look(cgroups: Option<&Cgroups>) -> Self {
        let info = rustix::system::sysinfo();
        let bounds = cgroups.map(Cgroups::bounds).unwrap_or_default();
        Self::of(
            (info.totalram as u64).saturating_mul(u64::from(info.mem_unit)),
            ["kernel/pid_max", "kernel/threads-max"]
                .map(|name| number(&Path::new("/proc/sys").join(name))),
            bounds,
            getrlimit(Resource::Nofile).maximum,
        )
    }

    fn of(
        memory: u64,
        processes: [Option<u64>; 2],
        bounds: GroupBounds,
        open_files: Option<u64>,
    ) -> Self {
        let highest = Limits::MAX;
        let processes =
            processes.into_iter().chain([bounds.processes]).flatten().min().unwrap_or(u64::MAX);
        let at_most = |value: u64, most: u32| u32::try_from(value).unwrap_or(most).min(most);
        Self {
            memory_bytes: memory.min(bounds.memory_bytes.unwrap_or(u64::MAX)),
            processes: at_most(processes, highest.processes),
            open_files: at_most(open_files.unwrap_or(u64::MAX), highest.open_files),
        }
    }

    /// Returns the ceiling of a project that sets none: half of the memory for a run and the same
    /// for its files, a quarter of the processes, and [`Limits::PROJECT_CEILING`] for the rest.
    pub fn ceiling(&self) -> Limits {
        let (min, most) = (Limits::MIN, Limits::PROJECT_CEILING);
        let half = Bytes((self.memory_bytes / 2).clamp(min.memory_bytes.0, most.memory_bytes.0));
        Limits {
            memory_bytes: half,
            processes: (self.processes / 4).max(min.processes),
            disk_bytes: half,
            open_files: self.open_files.min(most.open_files).max(min.open_files),
            ..most
        }
    }

    /// Returns the limits of a run of this user's own that requests none: [`Limits::LOCAL`], but at
    /// most half of the memory for a run and the same for its files, and never less than the
    /// default of a server.
    pub fn local_defaults(&self) -> Limits {
        let (local, least) = (Limits::LOCAL, Limits::default());
        let half = Bytes(self.memory_bytes / 2);
        Limits {
            memory_bytes: local.memory_bytes.min(half).max(least.memory_bytes),
            disk_bytes: local.disk_bytes.min(half).max(least.disk_bytes),
            ..local
        }
    }

    /// Returns the highest limits that a run on this machine can request.
    pub fn most(&self) -> Limits {
        let (min, max) = (Limits::MIN, Limits::MAX);
        let memory = Bytes(self.memory_bytes.clamp(min.memory_bytes.0, max.memory_bytes.0));
        Limits {
            memory_bytes: memory,
            processes: self.processes.max(min.processes),
            disk_bytes: memory,
            open_files: self.open_files.max(min.open_files),
            ..max
        }
    }

    /// Refuses limits that exceed the resources of this machine.
    pub(crate) fn check(&self, limits: &Limits) -> Result<(), EngineError> {
        let size = |bytes: u64| Bytes(bytes).to_string();
        let count = |number: u64| number.to_string();
        let shown: [&dyn Fn(u64) -> String; 2] = [&size, &count];
        let memory_bytes = self.memory_bytes.max(Limits::MIN.memory_bytes.0);
        for (field, asked, has, shown) in [
            ("memory_bytes", limits.memory_bytes.0, memory_bytes, shown[0]),
            // Files in a sandbox are in memory.
            ("disk_bytes", limits.disk_bytes.0, memory_bytes, shown[0]),
            ("processes", limits.processes.into(), self.processes.into(), shown[1]),
        ] {
            if asked > has {
                return Err(EngineError::Machine { field, asked: shown(asked), has: shown(has) });
            }
        }
        let open_files = self.open_files.max(Limits::MIN.open_files);
        if limits.open_files > open_files {
            return Err(EngineError::OpenFilesLimit { asked: limits.open_files, has: open_files });
        }
        Ok(())
    }
}

/// The minimum limit on open files of the supervisor: it moves the descriptors of a sandbox above
/// the 64th, and has some thirty of its own.
const MIN_OWN_OPEN_FILES: u64 = 128;

/// Refuses to start with fewer open files than a sandbox needs, because creating a sandbox would
/// fail halfway.
pub(crate) fn check_own_open_files() -> Result<(), EngineError> {
    match getrlimit(Resource::Nofile).current {
        Some(has) if has < MIN_OWN_OPEN_FILES => {
            Err(EngineError::OpenFiles { has, needed: MIN_OWN_OPEN_FILES })
        }
        _ => Ok(()),
    }
}

fn number(path: &Path) -> Option<u64> {
    fs::read_to_string(path).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MACHINE: Machine =
        Machine { memory_bytes: 4 << 30, processes: 32_768, open_files: 20_000 };

    #[test]
    fn a_ceiling_is_a_share_of_the_machine() {
        let ceiling = MACHINE.ceiling();
        assert_eq!((ceiling.memory_bytes, ceiling.disk_bytes), (Bytes(2 << 30), Bytes(2 << 30)));
        assert_eq!((ceiling.processes, ceiling.open_files), (8192, 4096));
        assert_eq!(ceiling.timeout_ms, Limits::PROJECT_CEILING.timeout_ms);
        for machine in [
            Machine { memory_bytes: 1, processes: 1, open_files: 1 },
            Machine { memory_bytes: u64::MAX, ..MACHINE },
        ] {
            assert_eq!(machine.ceiling().validate(), Ok(()));
        }
        let this = Machine::look(None);
        assert!(this.memory_bytes > 0 && this.processes > 0 && this.open_files > 0, "{this:?}");
    }

    #[test]
    fn local_defaults_leave_half_of_the_memory() {
        let defaults = |memory_bytes| {
            let limits = Machine { memory_bytes, ..MACHINE }.local_defaults();
            (limits.memory_bytes.0 >> 20, limits.disk_bytes.0 >> 20)
        };
        assert_eq!(defaults(4 << 30), (1024, 512));
        assert_eq!(defaults(1600 << 20), (800, 512));
        assert_eq!(defaults(600 << 20), (300, 300));
        assert_eq!(defaults(100 << 20), (256, 64));
    }

    #[test]
    fn a_control_group_around_the_server_counts_as_the_machine() {
        let bounds = GroupBounds { memory_bytes: Some(1 << 30), processes: Some(100) };
        let machine = Machine::of(64 << 30, [Some(4_194_304), Some(500_000)], bounds, None);
        assert_eq!(machine, Machine { memory_bytes: 1 << 30, processes: 100, open_files: 65_536 });
        let alone =
            Machine::of(64 << 30, [Some(4_194_304), None], GroupBounds::default(), Some(1024));
        assert_eq!(alone, Machine { memory_bytes: 64 << 30, processes: 32_768, open_files: 1024 });
    }

    #[test]
    fn more_than_there_is_is_refused_by_name() {
        assert!(MACHINE.check(&Limits::default()).is_ok());
        let error = MACHINE
            .check(&Limits { memory_bytes: Bytes(1 << 40), ..Limits::default() })
            .unwrap_err()
            .to_string();
        assert_eq!(error, "limits.memory_bytes is 1024 GB, but this machine has 4 GB");
        assert!(
            MACHINE
                .check(&Limits { open_files: 20_001, ..Limits::default() })
                .unwrap_err()
                .to_string()
                .contains("open_files")
        );
    }
}
