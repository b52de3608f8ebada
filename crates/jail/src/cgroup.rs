//! Control groups, which limit a sandbox's memory and processes and count its usage. Both version 1
//! and version 2 are supported, and detected at run time.
//!
//! Each supervisor has a folder `belljar-PID-START` under its own group or the root, with one
//! folder per sandbox inside. A new supervisor removes the folders of those that are gone.

mod place;
mod v1;
mod v2;

use std::fs;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::{Path, PathBuf};

pub use place::sweep_stale;

use crate::error::{At, SetupError, Step};
use crate::kernel_file::read_kernel_file;
use crate::sys::check;

use v1::V1;
use v2::V2;

/// The version of the control group interface.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// Version 1, with one hierarchy per controller.
    V1,
    /// Version 2, with a single unified hierarchy.
    V2,
}

/// An error of the control groups.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// No usable cgroup file system is mounted.
    #[error("no cgroup file system with a memory and a pids controller is mounted")]
    NotMounted,
    /// The control groups are not delegated to this user.
    #[error("cannot change the cgroup `{path}`: {source}")]
    NotDelegated {
        /// Path of the group.
        path: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
    /// An operation on a file or folder failed.
    #[error("cannot {what} `{path}`: {source}")]
    Operation {
        /// The attempted operation, such as "write to".
        what: &'static str,
        /// Path of the file or folder.
        path: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
}

impl CgroupError {
    /// Returns the errno of the failed system call.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotMounted => libc::ENODEV,
            Self::NotDelegated { source, .. } | Self::Operation { source, .. } => {
                source.raw_os_error().unwrap_or(libc::EIO)
            }
        }
    }
}

fn operation(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> CgroupError {
    let path = path.to_owned();
    move |source| CgroupError::Operation { what, path, source }
}

fn write(path: &Path, value: &str) -> Result<(), CgroupError> {
    fs::OpenOptions::new()
        .write(true)
        .open(path)
        .and_then(|mut file| io::Write::write_all(&mut file, value.as_bytes()))
        .map_err(operation("write to", path))
}

fn read_number(path: &Path) -> Option<u64> {
    read_kernel_file(path).ok()?.trim().parse().ok()
}

/// Returns the number after `key` in a file of `key number` lines.
fn read_key(path: &Path, key: &str) -> Option<u64> {
    key_in(&read_kernel_file(path).ok()?, key)
}

fn key_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// The kernel's counters of memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Number of processes killed because of the memory limit.
    pub oom_kills: u64,
    /// Peak memory in bytes.
    pub peak_bytes: u64,
}

/// The limits that the surrounding groups set for all sandboxes together. `None` means no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBounds {
    /// Memory in bytes.
    pub memory_bytes: Option<u64>,
    /// Number of processes and threads.
    pub processes: Option<u64>,
}

/// The supervisor's control groups.
#[derive(Debug)]
pub enum Cgroups {
    /// Groups of version 1.
    V1(V1),
    /// Groups of version 2.
    V2(V2),
}

/// The control group of one sandbox. [`SandboxCgroup::remove`] removes it once it is empty.
#[derive(Debug)]
pub struct SandboxCgroup {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    V1(v1::Group),
    V2(v2::Group),
}

impl Cgroups {
    /// Finds the usable version and creates the supervisor's own folder.
    pub fn open() -> Result<Self, CgroupError> {
        let mounts = place::mounts();
        // Version 1 wins if it has the controllers: a hybrid machine also has a version 2 without
        // any.
        match V1::open(&mounts) {
            Ok(v1) => Ok(Self::V1(v1)),
            Err(CgroupError::NotMounted) => V2::open(&mounts).map(Self::V2),
            Err(error) => Err(error),
        }
    }

    /// Returns the version of the interface.
    pub fn version(&self) -> CgroupVersion {
        match self {
            Self::V1(_) => CgroupVersion::V1,
            Self::V2(_) => CgroupVersion::V2,
        }
    }

    /// Returns the path of the supervisor's folder, for messages.
    pub fn path(&self) -> &Path {
        match self {
            Self::V1(v1) => v1.path(),
            Self::V2(v2) => v2.path(),
        }
    }

    /// Returns the limits of the groups around those of the sandboxes.
    pub fn bounds(&self) -> GroupBounds {
        let (memory, processes) = match self {
            Self::V1(v1) => ((v1.path(), "memory.limit_in_bytes"), (v1.pids(), "pids.max")),
            Self::V2(v2) => ((v2.path(), "memory.max"), (v2.path(), "pids.max")),
        };
        // "max" is not a number, and stands for no limit.
        let lowest = |(path, file): (&Path, &str)| {
            path.ancestors().filter_map(|group| read_number(&group.join(file))).min()
        };
        GroupBounds { memory_bytes: lowest(memory), processes: lowest(processes) }
    }

    /// Returns the number of memory groups that are removed but not yet freed, because pages are
    /// still charged to them. On version 1 the kernel only reports the number for the whole
    /// machine.
    pub fn dead_groups(&self) -> u64 {
        match self {
            Self::V1(v1) => place::dead_memory_groups(v1.path()),
            Self::V2(v2) => {
                read_key(&v2.path().join("../cgroup.stat"), "nr_dying_descendants").unwrap_or(0)
            }
        }
    }

    /// Creates the group of a sandbox.
    pub fn create(&self, name: &str) -> Result<SandboxCgroup, CgroupError> {
        let kind = match self {
            Self::V1(v1) => Kind::V1(v1.create(name)?),
            Self::V2(v2) => Kind::V2(v2.create(name)?),
        };
        Ok(SandboxCgroup { kind })
    }
}

/// The freezer of a group, which stops and resumes its processes.
#[derive(Debug)]
pub struct Freezer<'a>(&'a v2::Group);

impl Freezer<'_> {
    /// Starts freezing all processes of the group.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.0.write_freeze("1")
    }

    /// Thaws all processes of the group.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.0.write_freeze("0")
    }

    /// Returns whether all processes of the group are frozen.
    pub fn is_frozen(&self) -> bool {
        self.0.is_frozen()
    }
}

impl SandboxCgroup {
    /// Sets the limits of the group.
    pub fn limit(&self, memory_bytes: u64, processes: u64) -> Result<(), CgroupError> {
        match &self.kind {
            Kind::V1(group) => group.limit(memory_bytes, processes),
            Kind::V2(group) => group.limit(memory_bytes, processes),
        }
    }

    /// Limits the buffers of Internet sockets, TCP and UDP together. On version 2 they count as
    /// memory and need no separate limit.
    pub fn limit_sockets(&self, cgroups: &Cgroups, bytes: u64) -> Result<(), CgroupError> {
        match (&self.kind, cgroups) {
            (Kind::V1(group), Cgroups::V1(v1)) => {
                v1.count_sockets();
                group.limit_sockets(bytes)
            }
            _ => Ok(()),
        }
    }

    /// Returns the peak size of the buffers of Internet sockets, if it is not part of
    /// [`SandboxCgroup::memory`].
    pub fn peak_socket_bytes(&self) -> u64 {
        match &self.kind {
            Kind::V1(group) => group.peak_socket_bytes(),
            Kind::V2(_) => 0,
        }
    }

    /// Returns the bytes of the page cache that are charged to the group: files that it was the
    /// first to read, or that it wrote. The kernel keeps a removed group until none are left.
    pub fn file_bytes(&self) -> u64 {
        match &self.kind {
            Kind::V1(group) => group.file_bytes(),
            Kind::V2(group) => group.file_bytes(),
        }
    }

    /// Evicts the page cache of an empty group. Blocks for about a millisecond per 8 MB (measured:
    /// `docs/concepts/jail.md`).
    pub fn drop_file_pages(&self) {
        match &self.kind {
            Kind::V1(group) => group.drop_file_pages(),
            Kind::V2(group) => group.drop_file_pages(),
        }
    }

    /// Removes the parts of an empty group that hold no pages: on version 1 all folders except the
    /// memory controller's. Fails with `EBUSY` while a process is in the group.
    pub fn remove_all_but_memory(&self) -> io::Result<()> {
        match &self.kind {
            Kind::V1(group) => group.remove_all_but_memory(),
            Kind::V2(group) => group.check_empty(),
        }
    }

    /// Opens the files by which a process with one thread joins the group: see [`enter`]. The
    /// supervisor opens them, because the kernel checks the rights of the opener (since 5.16).
    pub fn entrances(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let paths = match &self.kind {
            Kind::V1(group) => group.entrances(),
            Kind::V2(group) => group.entrances(),
        };
        let open = |path: PathBuf| {
            fs::OpenOptions::new()
                .write(true)
                .open(&path)
                .map(OwnedFd::from)
                .map_err(operation("open", &path))
        };
        paths.into_iter().map(open).collect()
    }

    /// Returns the CPU time used so far (user, system) in microseconds.
    pub fn cpu_us(&self) -> (u64, u64) {
        match &self.kind {
            Kind::V1(group) => group.cpu_us(),
            Kind::V2(group) => group.cpu_us(),
        }
    }

    /// Returns the kernel's counters of memory.
    pub fn memory(&self) -> MemoryEvents {
        match &self.kind {
            Kind::V1(group) => group.memory(),
            Kind::V2(group) => group.memory(),
        }
    }

    /// Returns the memory that is currently charged to the group, in bytes.
    pub fn held_bytes(&self) -> Option<u64> {
        match &self.kind {
            Kind::V1(group) => group.held_bytes(),
            Kind::V2(group) => group.held_bytes(),
        }
    }

    /// Returns the processes in the group, by their ids in the caller's PID namespace.
    pub fn members(&self) -> Vec<libc::pid_t> {
        let procs = match &self.kind {
            Kind::V1(group) => group.procs(),
            Kind::V2(group) => group.procs(),
        };
        fs::read_to_string(procs)
            .unwrap_or_default()
            .lines()
            .filter_map(|line| line.parse().ok())
            .filter(|pid| *pid > 1)
            .collect()
    }

    /// Returns the freezer of the group, on version 2 only (Linux 5.2). Version 1's freezer is not
    /// used, because SIGKILL does not end frozen tasks there: those of a killed supervisor would
    /// stay for ever.
    pub fn freezer(&self) -> Option<Freezer<'_>> {
        match &self.kind {
            Kind::V1(_) => None,
            Kind::V2(group) => Some(Freezer(group)),
        }
    }

    /// Returns the peak number of processes and threads, if the kernel counts them (version 1, and
    /// version 2 from Linux 6.8).
    pub fn peak_processes(&self) -> Option<u64> {
        match &self.kind {
            Kind::V1(group) => group.peak_processes(),
            Kind::V2(group) => group.peak_processes(),
        }
    }

    /// Returns the ids of all processes in the group.
    pub fn processes(&self) -> Vec<libc::pid_t> {
        let members = match &self.kind {
            Kind::V1(group) => group.members(),
            Kind::V2(group) => group.members(),
        };
        let list = fs::read_to_string(members).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills all processes of the group.
    pub fn kill(&self) {
        match &self.kind {
            Kind::V1(group) => group.kill(),
            Kind::V2(group) => group.kill(),
        }
    }

    /// Removes the group. Fails with `EBUSY` while a process is in it.
    pub fn remove(&self) -> io::Result<()> {
        match &self.kind {
            Kind::V1(group) => group.remove(),
            Kind::V2(group) => group.remove(),
        }
    }
}

/// Moves the calling process, which must have a single thread, into the control group of these
/// files. The process moves itself, and as a thread: only in this case version 1 does not take the
/// lock over all processes of the machine, for which a supervisor that moves another process waits
/// 10 ms or more (`cgroup_procs_write_start` in the kernel; measured: `docs/concepts/jail.md`).
pub fn enter(entrances: &[impl AsFd]) -> Result<(), SetupError> {
    for entrance in entrances {
        // SAFETY: one readable byte.
        let written = unsafe { libc::write(entrance.as_fd().as_raw_fd(), c"0".as_ptr().cast(), 1) };
        check(written as i64).at(Step::Cgroup)?;
    }
    Ok(())
}

/// Kills each process that `procs` lists, until it lists none.
fn kill_members(procs: &Path) {
    for _ in 0..100 {
        let Ok(list) = fs::read_to_string(procs) else { return };
        let pids: Vec<libc::pid_t> =
            list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // SAFETY: no memory is touched. The number comes from the kernel's list of this group's
            // members, which nothing but Belljar fills.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}
