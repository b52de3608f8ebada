//! Sandboxes that wait in the pool. A sandbox in which code of packages has run is held still until
//! it is woken, so that it uses no CPU time that is charged to no run, and no more memory than was
//! measured. A sandbox in which only Belljar's own code has run waits in a receive call, and needs
//! nothing more.
//!
//! On version 2 of control groups the kernel's freezer holds the sandbox. The freezer of version 1
//! would also keep it from dying of SIGKILL, so there it is stopped with SIGSTOP. If a package has
//! left a timer in the process, the process can wake itself (the signal of a timer may be SIGCONT).
//! Therefore it is checked while it waits and when it is woken, and ended if it has run.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use belljar_jail::{Freezer, SandboxCgroup, continue_pidfd, pidfd_open, stop_pidfd};
use belljar_protocol::Exec;

use crate::process::JailedProcess;
use crate::sandbox::Sandbox;

/// The time that a sandbox may take to stop.
const STOP_TIME: Duration = Duration::from_secs(2);
/// The CPU time up to which a stopped sandbox counts as still: the last steps of its threads are
/// counted only after the threads appear as stopped.
const STIR_US: u64 = 10_000;

/// A sandbox in the pool.
#[derive(Debug)]
pub(super) struct ParkedSandbox {
    sandbox: Sandbox,
    hold: Hold,
    held_bytes: u64,
}

/// The way in which a waiting sandbox is held still.
#[derive(Debug)]
enum Hold {
    /// Not at all, because only Belljar's own code has run in it.
    Trust,
    /// By the freezer of its control group.
    Frozen,
    /// By SIGSTOP to these processes, with the CPU time that the sandbox had used by then.
    Stopped { processes: Vec<OwnedFd>, cpu_us: u64 },
}

/// A sandbox that cannot wait, or is unusable after it has waited. It must be ended.
#[derive(Debug)]
pub(super) struct Unfit {
    pub(super) sandbox: Sandbox,
    pub(super) why: &'static str,
}

impl Unfit {
    fn boxed(sandbox: Sandbox, why: &'static str) -> Box<Self> {
        Box::new(Self { sandbox, why })
    }
}

impl ParkedSandbox {
    /// Holds a sandbox still, and measures its memory.
    pub(super) async fn begin(sandbox: Sandbox) -> Result<Self, Box<Unfit>> {
        if !sandbox.has_imported {
            return Ok(Self { sandbox, hold: Hold::Trust, held_bytes: 0 });
        }
        let held = tokio::time::timeout(STOP_TIME, Hold::begin(&sandbox)).await;
        let hold = match held {
            Ok(Ok(hold)) => hold,
            Ok(Err(why)) => return Err(Unfit::boxed(sandbox, why)),
            Err(_) => return Err(Unfit::boxed(sandbox, "it did not stop in time")),
        };
        let held_bytes = sandbox.process.held_bytes();
        Ok(Self { sandbox, hold, held_bytes })
    }

    /// Returns the memory of the sandbox in bytes if packages were imported in it, else 0.
    pub(super) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Returns whether the sandbox has not ended.
    pub(super) fn is_alive(&mut self) -> bool {
        self.sandbox.process.has_not_ended()
    }

    /// Returns whether the sandbox is held still.
    pub(super) fn is_held(&self) -> bool {
        !matches!(self.hold, Hold::Trust)
    }

    /// Returns whether the sandbox could wake itself, so that it has to be watched.
    pub(super) fn can_stir(&self) -> bool {
        matches!(self.hold, Hold::Stopped { .. })
    }

    /// Returns whether the sandbox has run although it was stopped.
    pub(super) fn has_stirred(&self) -> bool {
        let Hold::Stopped { cpu_us, .. } = &self.hold else { return false };
        cpu_us_of(&self.sandbox.process).saturating_sub(*cpu_us) > STIR_US
    }

    /// Returns whether the sandbox has been still since it was held.
    fn is_still(&self) -> bool {
        let is_stopped = || !self.can_stir() || is_stopped(&processes(&self.sandbox.process));
        !self.has_stirred() && is_stopped()
    }

    /// Resumes the sandbox, unless it has run or sent something in the meantime.
    pub(super) fn wake(self) -> Result<Sandbox, Box<Unfit>> {
        let is_still = self.is_still();
        let Self { mut sandbox, hold, .. } = self;
        if matches!(hold, Hold::Trust) {
            return Ok(sandbox);
        }
        if !is_still {
            return Err(Unfit::boxed(sandbox, "it ran while it was stopped"));
        }
        if sandbox.has_spoken() {
            return Err(Unfit::boxed(sandbox, "it sent data while it was parked"));
        }
        // CPU time from before is not charged to the program.
        sandbox.measure_cpu();
        match hold.end(&sandbox.process) {
            Ok(()) => Ok(sandbox),
            Err(why) => Err(Unfit::boxed(sandbox, why)),
        }
    }
}

impl Hold {
    async fn begin(sandbox: &Sandbox) -> Result<Self, &'static str> {
        let process = &sandbox.process;
        if let Some(freezer) = process.cgroup().and_then(SandboxCgroup::freezer) {
            freezer.freeze().map_err(|_| "its control group cannot be frozen")?;
            while !freezer.is_frozen() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return Ok(Self::Frozen);
        }
        if sandbox.spec.exec == Exec::Granted && process.cgroup().is_none() {
            return Err("its processes cannot be found without a control group");
        }
        loop {
            let members = processes(process);
            let stopped = stop(process, &members)?;
            // No process can start another in between: a stopped process has finished its fork.
            while !is_stopped(&members) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if processes(process) != members {
                    break;
                }
            }
            if is_stopped(&members) && processes(process) == members {
                return Ok(Self::Stopped { processes: stopped, cpu_us: cpu_us_of(process) });
            }
        }
    }

    fn end(&self, process: &JailedProcess) -> Result<(), &'static str> {
        const CANNOT: &str = "it cannot be woken";
        match self {
            Self::Trust => Ok(()),
            Self::Frozen => process
                .cgroup()
                .and_then(SandboxCgroup::freezer)
                .as_ref()
                .map_or(Ok(()), Freezer::thaw)
                .map_err(|_| CANNOT),
            Self::Stopped { processes, .. } => processes
                .iter()
                .try_for_each(|process| continue_pidfd(process.as_fd()))
                .map_err(|_| CANNOT),
        }
    }
}

/// Returns the processes of a sandbox. Without an exec grant there is one.
fn processes(process: &JailedProcess) -> Vec<i32> {
    let mut members = process.cgroup().map_or_else(|| vec![process.pid()], SandboxCgroup::members);
    members.sort_unstable();
    members
}

/// Stops processes, each by a descriptor. A process id that was reused in the meantime is no longer
/// in the list.
fn stop(process: &JailedProcess, members: &[i32]) -> Result<Vec<OwnedFd>, &'static str> {
    let opened: Vec<(i32, OwnedFd)> =
        members.iter().filter_map(|&pid| Some((pid, pidfd_open(pid).ok()?))).collect();
    let still = processes(process);
    let ours =
        opened.into_iter().filter(|(pid, _)| still.contains(pid)).map(|(_, process)| process);
    let ours: Vec<OwnedFd> = ours.collect();
    for process in &ours {
        stop_pidfd(process.as_fd()).map_err(|_| "it cannot be stopped")?;
    }
    Ok(ours)
}

/// Returns whether a signal has stopped every thread of the processes (`T` in `proc_pid_stat(5)`).
fn is_stopped(members: &[i32]) -> bool {
    let thread_is_stopped = |path: std::path::PathBuf| {
        std::fs::read_to_string(path.join("stat"))
            .is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    };
    let process_is_stopped = |pid: &i32| {
        let threads =
            std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let states: Vec<bool> = threads.map(|thread| thread_is_stopped(thread.path())).collect();
        !states.is_empty() && states.into_iter().all(|is_stopped| is_stopped)
    };
    !members.is_empty() && members.iter().all(process_is_stopped)
}

fn cpu_us_of(process: &JailedProcess) -> u64 {
    let (user, system) = process.cpu_us();
    user + system
}
