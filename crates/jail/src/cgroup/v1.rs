//! Version 1: one folder in each of three hierarchies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::{Mounts, own_name, remove_tree, sweep};
use super::{CgroupError, MemoryEvents, kill_members, operation, read_key, read_number, write};

/// The supervisor's folders.
#[derive(Debug)]
pub struct V1 {
    memory: PathBuf,
    pids: PathBuf,
    cpuacct: PathBuf,
}

/// One sandbox's folders.
#[derive(Debug)]
pub(super) struct Group {
    memory: PathBuf,
    pids: PathBuf,
    cpuacct: PathBuf,
}

impl V1 {
    pub(super) fn open(mounts: &Mounts) -> Result<Self, CgroupError> {
        let find = |controller: &str| mounts.v1.iter().find(|(name, _)| name == controller).map(|(_, path)| path.clone());
        let (Some(memory), Some(pids), Some(cpuacct)) = (find("memory"), find("pids"), find("cpuacct")) else {
            return Err(CgroupError::NotMounted);
        };
        let name = own_name();
        let make = |parent: PathBuf| {
            sweep(&parent);
            let path = parent.join(&name);
            fs::create_dir(&path).map_err(|source| CgroupError::NotDelegated { path: parent, source })?;
            Ok(path)
        };
        Ok(Self { memory: make(memory)?, pids: make(pids)?, cpuacct: make(cpuacct)? })
    }

    pub(super) fn path(&self) -> &Path {
        &self.memory
    }

    pub(super) fn create(&self, name: &str) -> Result<Group, CgroupError> {
        let make = |parent: &Path| {
            let path = parent.join(name);
            fs::create_dir(&path).map_err(operation("making", &path)).map(|()| path)
        };
        Ok(Group { memory: make(&self.memory)?, pids: make(&self.pids)?, cpuacct: make(&self.cpuacct)? })
    }
}

impl Drop for V1 {
    fn drop(&mut self) {
        for path in [&self.memory, &self.pids, &self.cpuacct] {
            remove_tree(path);
        }
    }
}

impl Group {
    pub(super) fn limit(&self, memory_bytes: u64, processes: u64) -> Result<(), CgroupError> {
        let bytes = memory_bytes.to_string();
        write(&self.memory.join("memory.limit_in_bytes"), &bytes)?;
        // With swap together: without this a sandbox could push others' memory out. Absent where swap accounting is off.
        let with_swap = self.memory.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            write(&with_swap, &bytes)?;
        }
        write(&self.pids.join("pids.max"), &processes.to_string())
    }

    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        [&self.memory, &self.pids, &self.cpuacct].map(|path| path.join("tasks")).into()
    }

    pub(super) fn cpu_us(&self) -> (u64, u64) {
        let ns = |file: &str| read_number(&self.cpuacct.join(file)).unwrap_or(0);
        let total = ns("cpuacct.usage");
        // The sum is exact; how it divides is sampled at the clock's ticks, so only their ratio says something (as version 2 does by itself).
        let (user, system) = (ns("cpuacct.usage_user"), ns("cpuacct.usage_sys"));
        let user = match user + system {
            0 => total,
            ticks => (u128::from(total) * u128::from(user) / u128::from(ticks)) as u64,
        };
        (user / 1000, (total - user) / 1000)
    }

    pub(super) fn memory(&self) -> MemoryEvents {
        MemoryEvents {
            oom_kills: read_key(&self.memory.join("memory.oom_control"), "oom_kill").unwrap_or(0),
            peak_bytes: read_number(&self.memory.join("memory.max_usage_in_bytes")).unwrap_or(0),
        }
    }

    pub(super) fn held_bytes(&self) -> Option<u64> {
        read_number(&self.memory.join("memory.usage_in_bytes"))
    }

    pub(super) fn procs(&self) -> PathBuf {
        self.pids.join("cgroup.procs")
    }

    pub(super) fn peak_processes(&self) -> Option<u64> {
        read_number(&self.pids.join("pids.peak"))
    }

    pub(super) fn kill(&self) {
        kill_members(&self.procs());
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        for path in [&self.memory, &self.pids, &self.cpuacct] {
            match fs::remove_dir(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        Ok(())
    }
}
