//! Version 2 of control groups: a single hierarchy, in which a group with processes cannot have
//! nested groups with controllers.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::{Mounts, own_name, remove_tree, sweep};
use super::{
    CgroupError, MemoryEvents, key_in, kill_members, operation, read_key, read_number, write,
};
use crate::kernel_file::read_kernel_file;
use crate::sys::extended_attribute;

/// The control groups of the supervisor.
#[derive(Debug)]
pub struct V2 {
    path: PathBuf,
}

/// The control group of a sandbox.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
}

/// The nested group to which a supervisor with a delegated group moves all processes of that group,
/// so that the group can have further nested groups.
const SUPERVISOR_LEAF: &str = "belljar-supervisor";

impl V2 {
    pub(super) fn open(mounts: &Mounts) -> Result<Self, CgroupError> {
        let (root, own) = mounts.v2.as_ref().ok_or(CgroupError::NotMounted)?;
        let has = |path: &Path| {
            let controllers =
                fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
            ["memory", "pids"]
                .iter()
                .all(|wanted| controllers.split_whitespace().any(|name| name == *wanted))
        };
        if !has(root) {
            return Err(CgroupError::NotMounted);
        }
        // A second belljar in the same delegated group is in the first one's leaf: then the
        // delegated group is the parent.
        let own = if own.file_name().is_some_and(|name| name == SUPERVISOR_LEAF) {
            own.parent().unwrap_or(own).to_owned()
        } else {
            own.clone()
        };
        // systemd marks delegated groups (CGROUP_DELEGATION.md). A supervisor with a delegated
        // group uses it, even as root, and is counted with its unit.
        if own != *root && is_delegated(&own) && has(&own) {
            return Self::make_delegated(&own).map(|path| Self { path });
        }
        // Root can create groups at the top, where the rule about processes does not apply. A user
        // can create groups only in a delegated group.
        let at_top = Self::make(root);
        match at_top {
            Ok(path) => Ok(Self { path }),
            Err(_) if own != *root && has(&own) => {
                Self::make_delegated(&own).map(|path| Self { path })
            }
            Err(error) => Err(error),
        }
    }

    fn make(parent: &Path) -> Result<PathBuf, CgroupError> {
        sweep(parent);
        let refused = |source| CgroupError::NotDelegated { path: parent.to_owned(), source };
        let path = parent.join(own_name());
        fs::create_dir(&path).map_err(refused)?;
        let enable =
            |group: &Path| fs::write(group.join("cgroup.subtree_control"), "+memory +pids");
        enable(parent).and_then(|()| enable(&path)).map_err(|source| {
            let _ = fs::remove_dir(&path);
            CgroupError::NotDelegated { path: parent.to_owned(), source }
        })?;
        Ok(path)
    }

    fn make_delegated(own: &Path) -> Result<PathBuf, CgroupError> {
        if let Ok(path) = Self::make(own) {
            return Ok(path);
        }
        // The usual case with systemd's Delegate=yes: the delegated group contains this process.
        // Move all processes to the leaf first.
        let leaf = own.join(SUPERVISOR_LEAF);
        let refused = |source| CgroupError::NotDelegated { path: own.to_owned(), source };
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(refused(error));
            }
            _ => {}
        }
        for pid in fs::read_to_string(own.join("cgroup.procs")).map_err(refused)?.lines() {
            fs::write(leaf.join("cgroup.procs"), pid).map_err(refused)?;
        }
        Self::make(own)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    pub(super) fn create(&self, name: &str) -> Result<Group, CgroupError> {
        let path = self.path.join(name);
        fs::create_dir(&path).map_err(operation("create", &path))?;
        Ok(Group { path })
    }
}

fn is_delegated(group: &Path) -> bool {
    // Only root can read the first attribute; the second exists since systemd 251.
    [c"trusted.delegate", c"user.delegate"]
        .iter()
        .any(|name| extended_attribute(group, name).is_some_and(|value| value == b"1"))
}

impl Drop for V2 {
    fn drop(&mut self) {
        remove_tree(&self.path);
    }
}

impl Group {
    pub(super) fn limit(&self, memory_bytes: u64, processes: u64) -> Result<(), CgroupError> {
        write(&self.path.join("memory.max"), &memory_bytes.to_string())?;
        // Absent where swap accounting is off.
        let swap = self.path.join("memory.swap.max");
        if swap.exists() {
            write(&swap, "0")?;
        }
        // If one process exceeds the limit, all of them are killed: a program that has lost some of
        // its processes is useless.
        write(&self.path.join("memory.oom.group"), "1")?;
        write(&self.path.join("pids.max"), &processes.to_string())
    }

    pub(super) fn file_bytes(&self) -> u64 {
        file_bytes(&self.path)
    }

    pub(super) fn drop_file_pages(&self) {
        drop_file_pages(&self.path);
    }

    pub(super) fn entrances(&self) -> Vec<PathBuf> {
        vec![self.path.join("cgroup.procs")]
    }

    pub(super) fn cpu_us(&self) -> (u64, u64) {
        let us = |key: &str| read_key(&self.path.join("cpu.stat"), key).unwrap_or(0);
        (us("user_usec"), us("system_usec"))
    }

    pub(super) fn memory(&self) -> MemoryEvents {
        MemoryEvents {
            oom_kills: read_key(&self.path.join("memory.events"), "oom_kill").unwrap_or(0),
            // Linux 5.19 or newer. Before, the current usage is the best available value.
            peak_bytes: read_number(&self.path.join("memory.peak"))
                .or_else(|| read_number(&self.path.join("memory.current")))
                .unwrap_or(0),
        }
    }

    pub(super) fn held_bytes(&self) -> Option<u64> {
        read_number(&self.path.join("memory.current"))
    }

    pub(super) fn procs(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    pub(super) fn write_freeze(&self, value: &str) -> Result<(), CgroupError> {
        write(&self.path.join("cgroup.freeze"), value)
    }

    pub(super) fn is_frozen(&self) -> bool {
        read_key(&self.path.join("cgroup.events"), "frozen") == Some(1)
    }

    pub(super) fn peak_processes(&self) -> Option<u64> {
        read_number(&self.path.join("pids.peak"))
    }

    pub(super) fn members(&self) -> PathBuf {
        self.path.join("cgroup.procs")
    }

    pub(super) fn kill(&self) {
        // `cgroup.kill` exists since Linux 5.14.
        if write(&self.path.join("cgroup.kill"), "1").is_err() {
            kill_members(&self.members());
        }
    }

    pub(super) fn check_empty(&self) -> io::Result<()> {
        match read_key(&self.path.join("cgroup.events"), "populated") {
            Some(1) => Err(io::Error::from_raw_os_error(libc::EBUSY)),
            _ => Ok(()),
        }
    }

    pub(super) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            other => other,
        }
    }
}

/// Returns the bytes of files that are charged to the group, without files of a tmpfs.
pub(super) fn file_bytes(path: &Path) -> u64 {
    let stat = read_kernel_file(&path.join("memory.stat")).unwrap_or_default();
    ["inactive_file", "active_file"].iter().filter_map(|key| key_in(&stat, key)).sum()
}

/// Evicts the pages of an empty group (Linux 5.19 or newer). Blocks.
pub(super) fn drop_file_pages(path: &Path) {
    // The error `EAGAIN` means that less than requested was evicted. One attempt evicts everything
    // possible, because nothing uses the group.
    let held = read_kernel_file(&path.join("memory.current")).unwrap_or_default();
    let _ = write(&path.join("memory.reclaim"), held.trim());
}
