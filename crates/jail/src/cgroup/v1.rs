//! Version 1 of control groups: a folder in each of three hierarchies.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use super::place::{Mounts, own_name, remove_tree, sweep};
use super::{
    CgroupError, MemoryEvents, key_in, kill_members, operation, read_key, read_number, write,
};
use crate::kernel_file::read_kernel_file;

/// The control groups of the supervisor.
#[derive(Debug)]
pub struct V1 {
    memory: PathBuf,
    pids: PathBuf,
    cpuacct: PathBuf,
    counts_sockets: OnceLock<()>,
}

/// The control group of a sandbox.
#[derive(Debug)]
pub(super) struct Group {
    memory: PathBuf,
    pids: PathBuf,
    cpuacct: PathBuf,
}

impl V1 {
    pub(super) fn open(mounts: &Mounts) -> Result<Self, CgroupError> {
        let find = |controller: &str| {
            mounts.v1.iter().find(|(name, _)| name == controller).map(|(_, path)| path.clone())
        };
        let (Some(memory), Some(pids), Some(cpuacct)) =
            (find("memory"), find("pids"), find("cpuacct"))
        else {
            return Err(CgroupError::NotMounted);
        };
        let name = own_name();
        let make = |parent: PathBuf| {
            sweep(&parent);
            let path = parent.join(&name);
            fs::create_dir(&path)
                .map_err(|source| CgroupError::NotDelegated { path: parent, source })?;
            Ok(path)
        };
        Ok(Self {
            memory: make(memory)?,
            pids: make(pids)?,
            cpuacct: make(cpuacct)?,
            counts_sockets: OnceLock::new(),
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.memory
    }

    pub(super) fn pids(&self) -> &Path {
        &self.pids
    }

    pub(super) fn create(&self, name: &str) -> Result<Group, CgroupError> {
        let make = |parent: &Path| {
            let path = parent.join(name);
            fs::create_dir(&path).map_err(operation("create", &path)).map(|()| path)
        };
        Ok(Group {
            memory: make(&self.memory)?,
            pids: make(&self.pids)?,
            cpuacct: make(&self.cpuacct)?,
        })
    }

    /// Keeps socket accounting enabled as long as this supervisor runs. The first limit in the
    /// hierarchy patches the kernel's code (`memcg_sockets_enabled_key`), and removing the last one
    /// undoes it.
    pub(super) fn count_sockets(&self) {
        self.counts_sockets.get_or_init(|| {
            // Absent in a kernel without networking or kernel memory accounting: see
            // `Group::limit_sockets`.
            let _ = write(&self.memory.join(SOCKET_LIMIT), "-1");
        });
    }
}

/// The limit of socket buffers. Despite its name it applies to TCP and UDP: to every protocol that
/// counts its buffers (`__sk_mem_raise_allocated`).
const SOCKET_LIMIT: &str = "memory.kmem.tcp.limit_in_bytes";

impl Drop for V1 {
    fn drop(&mut self) {
        remove_tree(&self.pids);
        remove_tree(&self.cpuacct);
        remove_tree(&self.memory);
    }
}

impl Group {
    pub(super) fn limit(&self, memory_bytes: u64, processes: u64) -> Result<(), CgroupError> {
        let bytes = memory_bytes.to_string();
        write(&self.memory.join("memory.limit_in_bytes"), &bytes)?;
        // The limit includes swap: otherwise a sandbox could displace the memory of others. The
        // file is absent if swap accounting is disabled.
        let with_swap = self.memory.join("memory.memsw.limit_in_bytes");
        if with_swap.exists() {
            write(&with_swap, &bytes)?;
        }
        write(&self.pids.join("pids.max"), &processes.to_string())
    }

    /// Limits the buffers of Internet sockets, which version 1 counts separately from other memory.
    pub(super) fn limit_sockets(&self, bytes: u64) -> Result<(), CgroupError> {
        write(&self.memory.join(SOCKET_LIMIT), &bytes.to_string())
    }

    pub(super) fn peak_socket_bytes(&self) -> u64 {
        read_number(&self.memory.join("memory.kmem.tcp.max_usage_in_bytes")).unwrap_or(0)
    }

    pub(super) fn file_bytes(&self) -> u64 {
        file_bytes(&self.memory)
    }

    pub(super) fn drop_file_pages(&self) {
        drop_file_pages(&self.memory);
    }

    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        [&self.memory, &self.pids, &self.cpuacct].map(|path| path.join("tasks")).into()
    }

    pub(super) fn cpu_us(&self) -> (u64, u64) {
        let ns = |file: &str| read_number(&self.cpuacct.join(file)).unwrap_or(0);
        let total = ns("cpuacct.usage");
        // The total is exact, but the parts are sampled at clock ticks, so only their ratio is
        // meaningful (version 2 applies the ratio by itself).
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

    pub(super) fn members(&self) -> PathBuf {
        self.pids.join("cgroup.procs")
    }

    pub(super) fn kill(&self) {
        kill_members(&self.members());
    }

    /// Removes the folders that count processes and time, but not the one that holds pages.
    pub(super) fn remove_all_but_memory(&self) -> io::Result<()> {
        remove_folders(&[&self.pids, &self.cpuacct])
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        remove_folders(&[&self.memory, &self.pids, &self.cpuacct])
    }
}

fn remove_folders(folders: &[&PathBuf]) -> io::Result<()> {
    for path in folders {
        match fs::remove_dir(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

/// Returns the bytes of files that are charged to the group at `memory`, without files of a tmpfs.
pub(super) fn file_bytes(memory: &Path) -> u64 {
    let stat = read_kernel_file(&memory.join("memory.stat")).unwrap_or_default();
    ["inactive_file", "active_file"].iter().filter_map(|key| key_in(&stat, key)).sum()
}

/// Evicts the pages of an empty group, after writing dirty ones. Blocks.
pub(super) fn drop_file_pages(memory: &Path) {
    // This fails if a page cannot be evicted. The group is removed nevertheless.
    let _ = write(&memory.join("memory.force_empty"), "0");
}
