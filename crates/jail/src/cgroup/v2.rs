//! Version 2: one folder, and the rule that a group with processes in it cannot have groups with controllers below.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use super::place::{Mounts, own_name, remove_tree, sweep};
use super::{CgroupError, MemoryEvents, key_in, kill_members, operation, read_key, read_number, write};
use crate::kernel_file::read_kernel_file;
use crate::sys::extended_attribute;

/// The supervisor's folder.
#[derive(Debug)]
pub struct V2 {
    path: PathBuf,
}

/// One sandbox's folder.
#[derive(Debug)]
pub(super) struct Group {
    path: PathBuf,
}

/// Where a supervisor that was given a group moves itself and what else is in it, so that the group can have groups below.
const SUPERVISOR_LEAF: &str = "belljar-supervisor";

impl V2 {
    pub(super) fn open(mounts: &Mounts) -> Result<Self, CgroupError> {
        let (root, own) = mounts.v2.as_ref().ok_or(CgroupError::NotMounted)?;
        let has = |path: &Path| {
            let controllers = fs::read_to_string(path.join("cgroup.controllers")).unwrap_or_default();
            ["memory", "pids"].iter().all(|wanted| controllers.split_whitespace().any(|name| name == *wanted))
        };
        if !has(root) {
            return Err(CgroupError::NotMounted);
        }
        // A second belljar in the same delegated group finds the first one's leaf around itself: then the group is one up.
        let own =
            if own.file_name().is_some_and(|name| name == SUPERVISOR_LEAF) { own.parent().unwrap_or(own).to_owned() } else { own.clone() };
        // systemd marks what it delegates (CGROUP_DELEGATION.md): whoever has that stays in it, root as well, and is counted with its unit.
        if own != *root && is_delegated(&own) && has(&own) {
            return Self::make_delegated(&own).map(|path| Self { path });
        }
        // Root may work at the top, where the rule about processes does not hold; a user only in what was delegated.
        let at_top = Self::make(root);
        match at_top {
            Ok(path) => Ok(Self { path }),
            Err(_) if own != *root && has(&own) => Self::make_delegated(&own).map(|path| Self { path }),
            Err(error) => Err(error),
        }
    }

    fn make(parent: &Path) -> Result<PathBuf, CgroupError> {
        sweep(parent);
        let refused = |source| CgroupError::NotDelegated { path: parent.to_owned(), source };
        let path = parent.join(own_name());
        fs::create_dir(&path).map_err(refused)?;
        let enable = |group: &Path| fs::write(group.join("cgroup.subtree_control"), "+memory +pids");
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
        // The usual case under systemd's Delegate=yes: our own group has us in it. Move out of the way first.
        let leaf = own.join(SUPERVISOR_LEAF);
        let refused = |source| CgroupError::NotDelegated { path: own.to_owned(), source };
        match fs::create_dir(&leaf) {
            Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(refused(error)),
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
        fs::create_dir(&path).map_err(operation("making", &path))?;
        Ok(Group { path })
    }
}

fn is_delegated(group: &Path) -> bool {
    // The one is root's to read; the other is there since systemd 251.
    [c"trusted.delegate", c"user.delegate"].iter().any(|name| extended_attribute(group, name).is_some_and(|value| value == b"1"))
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
        // One process short of memory ends them all: a program without a part of itself is no use to anyone.
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
            // Linux 5.19 and up; before, what it holds now is the best there is.
            peak_bytes: read_number(&self.path.join("memory.peak")).or_else(|| read_number(&self.path.join("memory.current"))).unwrap_or(0),
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
        // cgroup.kill is there from Linux 5.14.
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

/// Bytes of files that are charged to the group, those of a tmpfs not included.
pub(super) fn file_bytes(path: &Path) -> u64 {
    let stat = read_kernel_file(&path.join("memory.stat")).unwrap_or_default();
    ["inactive_file", "active_file"].iter().filter_map(|key| key_in(&stat, key)).sum()
}

/// Evicts what an empty group holds. Linux 5.19 and up. Blocks.
pub(super) fn drop_file_pages(path: &Path) {
    // `EAGAIN`: less was evicted than asked for. One attempt evicts what can be, as nothing uses the group.
    let held = read_kernel_file(&path.join("memory.current")).unwrap_or_default();
    let _ = write(&path.join("memory.reclaim"), held.trim());
}
