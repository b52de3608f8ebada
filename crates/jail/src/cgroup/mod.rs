//! Control groups: what limits a sandbox's memory and processes, and counts what it used. Version 1 and version 2, detected at run time.
//!
//! One folder `belljar-PID-START` a supervisor, under the supervisor's own group or the root; in it one folder a sandbox. Folders of supervisors
//! that are gone are swept by the next one.

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

/// Which of the two interfaces is in use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CgroupVersion {
    /// One hierarchy a controller.
    V1,
    /// The unified one.
    V2,
}

/// Why there are no control groups to use. It names the mend.
#[derive(Debug, thiserror::Error)]
pub enum CgroupError {
    /// Nothing mounted.
    #[error("no cgroup file system with a memory and a pids controller is mounted")]
    NotMounted,
    /// There, but not for this user.
    #[error("the cgroup {path} cannot be changed: {source}")]
    NotDelegated {
        /// The group.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// One operation failed.
    #[error("{what} of cgroup {path} failed: {source}")]
    Operation {
        /// What was tried.
        what: &'static str,
        /// On which file or folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl CgroupError {
    /// The errno behind it.
    pub fn errno(&self) -> i32 {
        match self {
            Self::NotMounted => libc::ENODEV,
            Self::NotDelegated { source, .. } | Self::Operation { source, .. } => source.raw_os_error().unwrap_or(libc::EIO),
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
        .map_err(operation("a write", path))
}

fn read_number(path: &Path) -> Option<u64> {
    read_kernel_file(path).ok()?.trim().parse().ok()
}

/// The number behind `key` in a file of `key number` lines.
fn read_key(path: &Path, key: &str) -> Option<u64> {
    key_in(&read_kernel_file(path).ok()?, key)
}

fn key_in(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix(' ')?.trim().parse().ok())
}

/// What the kernel counted about memory.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MemoryEvents {
    /// Processes killed for want of memory.
    pub oom_kills: u64,
    /// The most that was held at one time, bytes.
    pub peak_bytes: u64,
}

/// What the groups around the sandboxes' allow them together; `None` where they do not say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct GroupBounds {
    /// Memory.
    pub memory_bytes: Option<u64>,
    /// Processes and threads.
    pub processes: Option<u64>,
}

/// The supervisor's control groups.
#[derive(Debug)]
pub enum Cgroups {
    /// Version 1.
    V1(V1),
    /// Version 2.
    V2(V2),
}

/// The control group of one sandbox. Removed by [`SandboxCgroup::remove`], once it is empty.
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
    /// Finds what is usable and makes the supervisor's own folder.
    pub fn open() -> Result<Self, CgroupError> {
        let mounts = place::mounts();
        // Version 1 wins where it has the controllers: a hybrid machine has an empty version 2 beside it.
        match V1::open(&mounts) {
            Ok(v1) => Ok(Self::V1(v1)),
            Err(CgroupError::NotMounted) => V2::open(&mounts).map(Self::V2),
            Err(error) => Err(error),
        }
    }

    /// Which interface it is.
    pub fn version(&self) -> CgroupVersion {
        match self {
            Self::V1(_) => CgroupVersion::V1,
            Self::V2(_) => CgroupVersion::V2,
        }
    }

    /// Where it is, for people.
    pub fn path(&self) -> &Path {
        match self {
            Self::V1(v1) => v1.path(),
            Self::V2(v2) => v2.path(),
        }
    }

    /// What the groups around those of the sandboxes allow.
    pub fn bounds(&self) -> GroupBounds {
        let (memory, processes) = match self {
            Self::V1(v1) => ((v1.path(), "memory.limit_in_bytes"), (v1.pids(), "pids.max")),
            Self::V2(v2) => ((v2.path(), "memory.max"), (v2.path(), "pids.max")),
        };
        // "max" is no number, and no limit.
        let least = |(path, file): (&Path, &str)| path.ancestors().filter_map(|group| read_number(&group.join(file))).min();
        GroupBounds { memory_bytes: least(memory), processes: least(processes) }
    }

    /// Memory groups that are removed and not yet freed, because something is still charged to them.
    /// Of the whole machine, where the kernel only tells that.
    pub fn dead_groups(&self) -> u64 {
        match self {
            Self::V1(v1) => place::dead_memory_groups(v1.path()),
            Self::V2(v2) => read_key(&v2.path().join("../cgroup.stat"), "nr_dying_descendants").unwrap_or(0),
        }
    }

    /// Makes the group of one sandbox.
    pub fn create(&self, name: &str) -> Result<SandboxCgroup, CgroupError> {
        let kind = match self {
            Self::V1(v1) => Kind::V1(v1.create(name)?),
            Self::V2(v2) => Kind::V2(v2.create(name)?),
        };
        Ok(SandboxCgroup { kind })
    }
}

/// What freezes and thaws the processes of a group.
#[derive(Debug)]
pub struct Freezer<'a>(&'a v2::Group);

impl Freezer<'_> {
    /// Begins to freeze everything in the group.
    pub fn freeze(&self) -> Result<(), CgroupError> {
        self.0.write_freeze("1")
    }

    /// Thaws everything in the group.
    pub fn thaw(&self) -> Result<(), CgroupError> {
        self.0.write_freeze("0")
    }

    /// Whether everything in the group is frozen.
    pub fn is_frozen(&self) -> bool {
        self.0.is_frozen()
    }
}

impl SandboxCgroup {
    /// Sets what it may hold.
    pub fn limit(&self, memory_bytes: u64, processes: u64) -> Result<(), CgroupError> {
        match &self.kind {
            Kind::V1(group) => group.limit(memory_bytes, processes),
            Kind::V2(group) => group.limit(memory_bytes, processes),
        }
    }

    /// Bounds the buffers of its Internet sockets, TCP and UDP together. Version 2 counts them as memory,
    /// and needs no bound of their own.
    pub fn limit_sockets(&self, cgroups: &Cgroups, bytes: u64) -> Result<(), CgroupError> {
        match (&self.kind, cgroups) {
            (Kind::V1(group), Cgroups::V1(v1)) => {
                v1.count_sockets();
                group.limit_sockets(bytes)
            }
            _ => Ok(()),
        }
    }

    /// The most that the buffers of its Internet sockets held, where that is not part of
    /// [`SandboxCgroup::memory`].
    pub fn peak_socket_bytes(&self) -> u64 {
        match &self.kind {
            Kind::V1(group) => group.peak_socket_bytes(),
            Kind::V2(_) => 0,
        }
    }

    /// Bytes of the page cache that are charged to it: files that it was the first to read, or that it
    /// wrote. The kernel keeps a removed group for as long as there are any.
    pub fn file_bytes(&self) -> u64 {
        match &self.kind {
            Kind::V1(group) => group.file_bytes(),
            Kind::V2(group) => group.file_bytes(),
        }
    }

    /// Evicts what an empty group still holds of the page cache. Blocks, about a millisecond for each
    /// 8 MB (measured: `docs/concepts/jail.md`).
    pub fn drop_file_pages(&self) {
        match &self.kind {
            Kind::V1(group) => group.drop_file_pages(),
            Kind::V2(group) => group.drop_file_pages(),
        }
    }

    /// Removes what of an empty group holds no pages: on version 1 all but its memory folder. Fails with
    /// `EBUSY` while something is in it.
    pub fn remove_all_but_memory(&self) -> io::Result<()> {
        match &self.kind {
            Kind::V1(group) => group.remove_all_but_memory(),
            Kind::V2(group) => group.check_empty(),
        }
    }

    /// The files by which a process that has one thread enters it: see [`enter`]. Opened by the supervisor, whose rights count (the kernel checks those of
    /// the opener, since 5.16).
    pub fn entrances(&self) -> Result<Vec<OwnedFd>, CgroupError> {
        let paths = match &self.kind {
            Kind::V1(group) => group.entrances(),
            Kind::V2(group) => group.entrances(),
        };
        let open = |path: PathBuf| fs::OpenOptions::new().write(true).open(&path).map(OwnedFd::from).map_err(operation("opening", &path));
        paths.into_iter().map(open).collect()
    }

    /// CPU time used so far, user and system, microseconds.
    pub fn cpu_us(&self) -> (u64, u64) {
        match &self.kind {
            Kind::V1(group) => group.cpu_us(),
            Kind::V2(group) => group.cpu_us(),
        }
    }

    /// What the kernel counted about memory so far.
    pub fn memory(&self) -> MemoryEvents {
        match &self.kind {
            Kind::V1(group) => group.memory(),
            Kind::V2(group) => group.memory(),
        }
    }

    /// Memory that is charged to it now, bytes.
    pub fn held_bytes(&self) -> Option<u64> {
        match &self.kind {
            Kind::V1(group) => group.held_bytes(),
            Kind::V2(group) => group.held_bytes(),
        }
    }

    /// The processes in it, by their numbers in the caller's PID namespace.
    pub fn members(&self) -> Vec<libc::pid_t> {
        let procs = match &self.kind {
            Kind::V1(group) => group.procs(),
            Kind::V2(group) => group.procs(),
        };
        fs::read_to_string(procs).unwrap_or_default().lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect()
    }

    /// The freezer of the group: version 2 only (Linux 5.2). Tasks that version 1's freezer has frozen do not die of SIGKILL, so it is not used: those of
    /// a supervisor that was killed would stay for ever.
    pub fn freezer(&self) -> Option<Freezer<'_>> {
        match &self.kind {
            Kind::V1(_) => None,
            Kind::V2(group) => Some(Freezer(group)),
        }
    }

    /// The most processes and threads at one time, where the kernel counts them (version 1; version 2 from Linux 6.8).
    pub fn peak_processes(&self) -> Option<u64> {
        match &self.kind {
            Kind::V1(group) => group.peak_processes(),
            Kind::V2(group) => group.peak_processes(),
        }
    }

    /// Numbers of its processes.
    pub fn processes(&self) -> Vec<libc::pid_t> {
        let members = match &self.kind {
            Kind::V1(group) => group.members(),
            Kind::V2(group) => group.members(),
        };
        let list = fs::read_to_string(members).unwrap_or_default();
        list.lines().filter_map(|line| line.parse().ok()).collect()
    }

    /// Kills everything in it.
    pub fn kill(&self) {
        match &self.kind {
            Kind::V1(group) => group.kill(),
            Kind::V2(group) => group.kill(),
        }
    }

    /// Removes it. Fails with `EBUSY` while something is in it.
    pub fn remove(&self) -> io::Result<()> {
        match &self.kind {
            Kind::V1(group) => group.remove(),
            Kind::V2(group) => group.remove(),
        }
    }
}

/// Moves the calling process, which must have one thread, into the control group behind these files. By itself, and as a thread: for that alone
/// version 1 does without the lock over all processes of the machine, for which a supervisor that moves another process waits 10 ms and more
/// (`cgroup_procs_write_start` in the kernel; measured: `docs/concepts/jail.md`).
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
        let pids: Vec<libc::pid_t> = list.lines().filter_map(|line| line.parse().ok()).filter(|pid| *pid > 1).collect();
        if pids.is_empty() {
            return;
        }
        for pid in pids {
            // SAFETY: no memory is touched. The number comes from the kernel's list of this group's members, which nothing but Belljar fills.
            unsafe { libc::kill(pid, libc::SIGKILL) };
        }
    }
}
