//! One jailed process, from its launch until it is reaped and everything that it used is removed.

use std::any::Any;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use belljar_jail::{Launched, PidFd, SandboxCgroup, kill_pidfd, pid_of_pidfd, reap};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use super::groups::GroupLimits;
use super::launcher::Launcher;
use super::usage::{proportional_bytes, sample};
use crate::error::{EngineError, NotReady, system};

/// The time after which a killed process that is not gone is given up.
pub(crate) const TAKE_DOWN_TIME: Duration = Duration::from_secs(10);

/// The way in which a process ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// The process exited with this code.
    Code(i32),
    /// The process was killed by this signal.
    Signal(i32),
    /// The process died together with its zygote.
    ZygoteDied,
    /// The process has not been waited for, because the program has already reported its end.
    Unknown,
}

impl Exit {
    /// Reads a wait status.
    pub(crate) fn of_wait_status(status: i32) -> Self {
        let signal = status & 0x7f;
        if signal == 0 { Self::Code((status >> 8) & 0xff) } else { Self::Signal(signal) }
    }
}

/// The end of a process, with the usage of the process and of the children that it waited for.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Ended {
    pub(crate) exit: Exit,
    pub(crate) user_us: u64,
    pub(crate) system_us: u64,
    pub(crate) peak_resident_bytes: u64,
}

impl Ended {
    pub(crate) const ZYGOTE_DIED: Self =
        Self { exit: Exit::ZygoteDied, user_us: 0, system_us: 0, peak_resident_bytes: 0 };
}

/// A jailed process with all the processes that it starts, and the resources that have to be
/// removed after it. It is reserved before the process exists, so that nothing is left over
/// whenever the caller gives up. Dropping it kills the processes, and removes the rest in the
/// background.
#[derive(Debug)]
pub(crate) struct JailedProcess {
    launcher: Arc<Launcher>,
    number: u64,
    pidfd: Option<PidFd>,
    pid: i32,
    cgroup: Option<SandboxCgroup>,
    /// None once the end has been received.
    end: Option<oneshot::Receiver<Ended>>,
    /// Values that the process needs until it is gone.
    guards: Vec<Box<dyn Any + Send + Sync>>,
}

impl JailedProcess {
    /// Reserves a number, and a control group if there are limits.
    pub(crate) fn reserve(
        launcher: &Arc<Launcher>,
        limits: Option<GroupLimits>,
    ) -> Result<Self, EngineError> {
        let number = launcher.next_number();
        let cgroup =
            limits.map(|limits| launcher.new_cgroup(number, limits)).transpose()?.flatten();
        Ok(Self {
            launcher: Arc::clone(launcher),
            number,
            pidfd: None,
            pid: 0,
            cgroup,
            end: None,
            guards: Vec::new(),
        })
    }

    /// Returns descriptors of the control group, by which a new process enters it.
    pub(crate) fn entrances(&self) -> Result<Vec<OwnedFd>, EngineError> {
        let cgroup = self.cgroup.as_ref();
        Ok(cgroup.map(SandboxCgroup::entrances).transpose()?.unwrap_or_default())
    }

    /// Launches the process on the launching thread, and reaps it when it ends. The future must not
    /// be dropped before it is done: the launch would continue, and nothing would reap the process.
    pub(crate) async fn launch(
        &mut self,
        launch: impl FnOnce(&[OwnedFd]) -> Result<Launched, EngineError> + Send + 'static,
    ) -> Result<(), EngineError> {
        let entrances = self.entrances()?;
        let Launched { pidfd, pid } = self.launcher.run(move || launch(&entrances)).await??;
        let (sender, end) = oneshot::channel();
        let reaper = Reaper { pid, ended: Some(sender) };
        let watched =
            pidfd.try_clone().and_then(|pidfd| AsyncFd::with_interest(pidfd, Interest::READABLE));
        self.pidfd = Some(pidfd);
        self.pid = pid;
        self.end = Some(end);
        // If the process cannot be watched, the reaper is dropped and waits on a thread.
        if let Ok(watched) = watched {
            self.launcher.spawn(async move {
                // A pidfd is readable once the process has ended.
                let _ = watched.readable().await;
                reaper.reap();
            });
        }
        Ok(())
    }

    /// Takes over a process that a zygote has forked, and whose end the zygote reports.
    pub(crate) fn adopt(
        &mut self,
        pidfd: PidFd,
        end: oneshot::Receiver<Ended>,
    ) -> Result<(), NotReady> {
        self.end = Some(end);
        let pidfd = self.pidfd.insert(pidfd);
        self.pid = pid_of_pidfd(pidfd.as_fd()).ok_or(NotReady::SandboxDied)?;
        Ok(())
    }

    /// Keeps a value until the process is gone. Values are dropped in the order in which they were
    /// added.
    pub(crate) fn keep(&mut self, guard: impl Any + Send + Sync) {
        self.guards.push(Box::new(guard));
    }

    /// Returns the process's number within the engine.
    pub(crate) fn number(&self) -> u64 {
        self.number
    }

    /// Returns the process id in the supervisor's namespace.
    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    /// Returns the control group of the process and its children.
    pub(crate) fn cgroup(&self) -> Option<&SandboxCgroup> {
        self.cgroup.as_ref()
    }

    /// Returns whether the process has not been reaped.
    pub(crate) fn is_running(&self) -> bool {
        self.pidfd.as_ref().is_some_and(|pidfd| pid_of_pidfd(pidfd.as_fd()).is_some())
    }

    /// Returns whether the end of the process has not been reported.
    pub(crate) fn has_not_ended(&mut self) -> bool {
        self.end
            .as_mut()
            .is_some_and(|end| matches!(end.try_recv(), Err(oneshot::error::TryRecvError::Empty)))
    }

    /// Waits for the end of the process. Never returns if the end has been returned before.
    pub(crate) async fn ended(&mut self) -> Ended {
        let Some(end) = &mut self.end else { return std::future::pending().await };
        let ended = end.await.unwrap_or(Ended::ZYGOTE_DIED);
        self.end = None;
        ended
    }

    /// Returns the known processes.
    pub(crate) fn processes(&self) -> Vec<i32> {
        self.cgroup.as_ref().map_or_else(|| vec![self.pid], SandboxCgroup::processes)
    }

    /// Returns the CPU time of all processes in user space and in the kernel, microseconds. Without
    /// a control group, it is the first process's.
    pub(crate) fn cpu_us(&self) -> (u64, u64) {
        match &self.cgroup {
            Some(cgroup) => cgroup.cpu_us(),
            None => sample(self.pid).map_or((0, 0), |(cpu, _)| cpu),
        }
    }

    /// Samples the first process, for machines without control groups: returns its CPU time in user
    /// space and in the kernel, microseconds, and the bytes of its own memory.
    pub(crate) fn sample(&self) -> Option<((u64, u64), u64)> {
        sample(self.pid)
    }

    /// Returns the memory of all processes that is not shared with others, bytes.
    pub(crate) fn held_bytes(&self) -> u64 {
        let by_group = self.cgroup.as_ref().and_then(SandboxCgroup::held_bytes);
        by_group.or_else(|| proportional_bytes(self.pid)).unwrap_or(0)
    }

    /// Returns the number of processes that the kernel killed because of the memory limit.
    pub(crate) fn oom_kills(&self) -> u64 {
        self.cgroup.as_ref().map_or(0, |cgroup| cgroup.memory().oom_kills)
    }

    /// Kills all processes: the first one is PID 1 of their namespace.
    pub(crate) fn kill(&self) {
        if let Some(pidfd) = &self.pidfd {
            let _ = kill_pidfd(pidfd.as_fd());
        }
    }
}

impl Drop for JailedProcess {
    fn drop(&mut self) {
        self.kill();
        let (cgroup, guards) = (self.cgroup.take(), std::mem::take(&mut self.guards));
        let end = self.end.take().filter(|end| !end.is_terminated());
        if cgroup.is_none() && guards.is_empty() && end.is_none() {
            return;
        }
        let (launcher, teardown) = (Arc::clone(&self.launcher), self.launcher.teardown());
        self.launcher.spawn(async move {
            if let Some(end) = end {
                let _ = tokio::time::timeout(TAKE_DOWN_TIME, end).await;
            }
            if let Some(cgroup) = cgroup {
                launcher.remove_cgroup(cgroup).await;
            }
            // Only now may a user id be leased again, and a zygote end.
            drop((guards, launcher, teardown));
        });
    }
}

/// Reaps a process that this process has launched, and reports its end. Dropping it instead, for
/// example with a tokio runtime that shuts down, does the same on a thread.
struct Reaper {
    pid: i32,
    ended: Option<oneshot::Sender<Ended>>,
}

impl Reaper {
    fn reap(mut self) {
        if let Some(ended) = self.ended.take() {
            reap_and_report(self.pid, ended);
        }
    }
}

impl Drop for Reaper {
    fn drop(&mut self) {
        if let Some(ended) = self.ended.take() {
            let pid = self.pid;
            // Without another thread the process stays a zombie until this process ends.
            let _ = std::thread::Builder::new().spawn(move || reap_and_report(pid, ended));
        }
    }
}

fn reap_and_report(pid: i32, ended: oneshot::Sender<Ended>) {
    let end = reap(pid).map_or(Ended::ZYGOTE_DIED, |reaped| Ended {
        exit: Exit::of_wait_status(reaped.wait_status),
        user_us: reaped.user_us,
        system_us: reaped.system_us,
        peak_resident_bytes: reaped.peak_resident_bytes,
    });
    let _ = ended.send(end);
}

/// Creates a pipe: the reading end, which does not block, and the writing end.
pub(crate) fn pipe() -> Result<(OwnedFd, OwnedFd), EngineError> {
    let (read, write) = pipe_with(PipeFlags::CLOEXEC).map_err(system("creating a pipe"))?;
    rustix::io::ioctl_fionbio(&read, true).map_err(system("creating a pipe"))?;
    Ok((read, write))
}
