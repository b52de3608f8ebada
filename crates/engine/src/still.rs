//! Sandboxes that wait in the pool. One in which code of packages has run is held still until it is woken: it uses no CPU time that nobody is charged
//! for, and holds no more memory than was measured. One in which only Belljar's own code has run waits in its one receive call, and costs nothing more.
//!
//! On version 2 of control groups the kernel's freezer holds it. Version 1's would keep it from dying, of SIGKILL too, so there it is stopped by SIGSTOP.
//! A process that a package has left a timer in can wake itself from that (a signal of a timer may be SIGCONT): so it is looked at again while it waits,
//! and when it is woken, and ended if it has run.

use std::os::fd::{AsFd, OwnedFd};
use std::time::Duration;

use belljar_jail::{Freezer, SandboxCgroup, continue_pidfd, pidfd_open, stop_pidfd};
use rustix::io::Errno;
use rustix::net::RecvFlags;

use crate::pool::proportional_bytes;
use crate::sandbox::{Body, Sandbox};

/// How long a sandbox may take to be still.
const STOP_TIME: Duration = Duration::from_secs(2);
/// CPU time within which a stopped sandbox has not run: the last steps of its threads are counted after they are seen as stopped.
const STIR_US: u64 = 10_000;

/// A sandbox in the pool.
#[derive(Debug)]
pub(crate) struct Waiting {
    sandbox: Sandbox,
    hold: Hold,
    held_bytes: u64,
}

/// What keeps a waiting sandbox still.
#[derive(Debug)]
enum Hold {
    /// Nothing: only our own code has run in it.
    Trust,
    /// The freezer of its control group.
    Frozen,
    /// SIGSTOP, to these processes; and the CPU time that it had used then.
    Stopped { processes: Vec<OwnedFd>, cpu_us: u64 },
}

/// A sandbox that cannot wait, or is of no use after it has waited: to be taken down.
#[derive(Debug)]
pub(crate) struct Unfit {
    pub(crate) sandbox: Sandbox,
    pub(crate) why: &'static str,
}

impl Unfit {
    fn boxed(sandbox: Sandbox, why: &'static str) -> Box<Self> {
        Box::new(Self { sandbox, why })
    }
}

impl Waiting {
    /// Holds a sandbox still, and measures what it holds.
    pub(crate) async fn begin(sandbox: Sandbox) -> Result<Self, Box<Unfit>> {
        if !sandbox.has_imported {
            return Ok(Self { sandbox, hold: Hold::Trust, held_bytes: 0 });
        }
        let held = tokio::time::timeout(STOP_TIME, Hold::begin(&sandbox)).await;
        let hold = match held {
            Ok(Ok(hold)) => hold,
            Ok(Err(why)) => return Err(Unfit::boxed(sandbox, why)),
            Err(_) => return Err(Unfit::boxed(sandbox, "it did not stop in time")),
        };
        let body = &sandbox.body;
        let held_bytes = body.cgroup.as_ref().and_then(SandboxCgroup::held_bytes).or_else(|| proportional_bytes(body.pid)).unwrap_or(0);
        Ok(Self { sandbox, hold, held_bytes })
    }

    /// Memory that it holds of its own because of packages that were imported in it, bytes; 0 without.
    pub(crate) fn held_bytes(&self) -> u64 {
        self.held_bytes
    }

    /// Whether it lives.
    pub(crate) fn is_alive(&mut self) -> bool {
        self.sandbox.is_alive()
    }

    /// Whether something keeps it still.
    pub(crate) fn is_held(&self) -> bool {
        !matches!(self.hold, Hold::Trust)
    }

    /// Whether it has to be looked at while it waits.
    pub(crate) fn can_stir(&self) -> bool {
        matches!(self.hold, Hold::Stopped { .. })
    }

    /// Whether it has run although it was stopped.
    pub(crate) fn has_stirred(&self) -> bool {
        let Hold::Stopped { cpu_us, .. } = &self.hold else { return false };
        cpu_us_of(&self.sandbox.body).saturating_sub(*cpu_us) > STIR_US
    }

    /// Whether it is still as it was left.
    fn is_still(&self) -> bool {
        let is_stopped = || !self.can_stir() || is_stopped(&processes(&self.sandbox.body));
        !self.has_stirred() && is_stopped()
    }

    /// Lets it run again. Not one that has run meanwhile, or has said something.
    pub(crate) fn wake(self) -> Result<Sandbox, Box<Unfit>> {
        let is_still = self.is_still();
        let Self { mut sandbox, hold, .. } = self;
        if matches!(hold, Hold::Trust) {
            return Ok(sandbox);
        }
        if !is_still {
            return Err(Unfit::boxed(sandbox, "it has run while it was to wait"));
        }
        if sandbox.has_spoken() {
            return Err(Unfit::boxed(sandbox, "it has spoken while it was parked"));
        }
        // What happened before is not the program's.
        sandbox.measure_cpu();
        match hold.end(&sandbox.body) {
            Ok(()) => Ok(sandbox),
            Err(why) => Err(Unfit::boxed(sandbox, why)),
        }
    }

    /// The sandbox, to be taken down.
    pub(crate) fn into_sandbox(self) -> Sandbox {
        self.sandbox
    }
}

impl Hold {
    async fn begin(sandbox: &Sandbox) -> Result<Self, &'static str> {
        let body = &sandbox.body;
        if let Some(freezer) = body.cgroup.as_ref().and_then(SandboxCgroup::freezer) {
            freezer.freeze().map_err(|_| "its control group cannot be frozen")?;
            while !freezer.is_frozen() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            return Ok(Self::Frozen);
        }
        if sandbox.spec.exec && body.cgroup.is_none() {
            return Err("its processes cannot be found without a control group");
        }
        loop {
            let members = processes(body);
            let stopped = stop(body, &members)?;
            // None can start another between: one that is stopped has finished what it began.
            while !is_stopped(&members) {
                tokio::time::sleep(Duration::from_millis(1)).await;
                if processes(body) != members {
                    break;
                }
            }
            if is_stopped(&members) && processes(body) == members {
                return Ok(Self::Stopped { processes: stopped, cpu_us: cpu_us_of(body) });
            }
        }
    }

    fn end(&self, body: &Body) -> Result<(), &'static str> {
        const CANNOT: &str = "it cannot be woken";
        match self {
            Self::Trust => Ok(()),
            Self::Frozen => {
                body.cgroup.as_ref().and_then(SandboxCgroup::freezer).as_ref().map_or(Ok(()), Freezer::thaw).map_err(|_| CANNOT)
            }
            Self::Stopped { processes, .. } => processes.iter().try_for_each(|process| continue_pidfd(process.as_fd())).map_err(|_| CANNOT),
        }
    }
}

/// The processes of a sandbox: without an exec grant there is one.
fn processes(body: &Body) -> Vec<i32> {
    let mut members = body.cgroup.as_ref().map_or_else(|| vec![body.pid], SandboxCgroup::members);
    members.sort_unstable();
    members
}

/// Stops processes, each by a descriptor: a number that was given to another process meanwhile is no longer in the list.
fn stop(body: &Body, members: &[i32]) -> Result<Vec<OwnedFd>, &'static str> {
    let opened: Vec<(i32, OwnedFd)> = members.iter().filter_map(|&pid| Some((pid, pidfd_open(pid).ok()?))).collect();
    let still = processes(body);
    let ours = opened.into_iter().filter(|(pid, _)| still.contains(pid)).map(|(_, process)| process);
    let ours: Vec<OwnedFd> = ours.collect();
    for process in &ours {
        stop_pidfd(process.as_fd()).map_err(|_| "it cannot be stopped")?;
    }
    Ok(ours)
}

/// Whether every thread of the processes is stopped by a signal (`T` in the manual's `proc_pid_stat`).
fn is_stopped(members: &[i32]) -> bool {
    let thread_is_stopped = |path: std::path::PathBuf| {
        std::fs::read_to_string(path.join("stat")).is_ok_and(|stat| stat.rsplit_once(") ").is_some_and(|(_, rest)| rest.starts_with('T')))
    };
    let process_is_stopped = |pid: &i32| {
        let threads = std::fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten().flatten();
        let states: Vec<bool> = threads.map(|thread| thread_is_stopped(thread.path())).collect();
        !states.is_empty() && states.into_iter().all(|is_stopped| is_stopped)
    };
    !members.is_empty() && members.iter().all(process_is_stopped)
}

fn cpu_us_of(body: &Body) -> u64 {
    let (user, system) = match &body.cgroup {
        Some(cgroup) => cgroup.cpu_us(),
        None => crate::watch::sample(body.pid).map_or((0, 0), |(cpu, _)| cpu),
    };
    user + system
}

/// Whether bytes wait on a socket that nobody may have sent yet.
pub(crate) fn has_bytes(socket: &OwnedFd) -> bool {
    let mut byte = [0];
    !matches!(rustix::net::recv(socket, &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT), Err(Errno::AGAIN))
}
