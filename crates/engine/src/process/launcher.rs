//! The launcher: it gives every jailed process a launching thread, a control group, a number, and a
//! place in the count of teardowns.

use std::sync::atomic::{AtomicU64, Ordering};

use belljar_jail::{CgroupVersion, Cgroups, SandboxCgroup};

use super::groups::{GroupLimits, Internet, Retired, SOCKET_SHARE};
use super::launch_thread::LaunchThread;
use super::teardowns::{Teardown, Teardowns};
use crate::error::{EngineError, system};

/// Shared by everything that makes processes. It knows none of them, so they can all hold it. The
/// launched processes end with the last handle, because the launching thread does.
#[derive(Debug)]
pub(crate) struct Launcher {
    thread: LaunchThread,
    cgroups: Result<Cgroups, String>,
    allow_degraded: bool,
    retired: Retired,
    processes: AtomicU64,
    /// Everything that is being torn down, or will be as soon as it has started.
    teardowns: Teardowns,
    /// Kept because processes may be dropped outside of the tokio runtime.
    tokio: tokio::runtime::Handle,
}

impl Launcher {
    /// Starts the launching thread and opens the control groups. Must be called inside a tokio
    /// runtime. Without control groups, processes are launched only if the operator has accepted
    /// degraded isolation (`allow_degraded`).
    pub(crate) fn new(allow_degraded: bool) -> Result<Self, EngineError> {
        Ok(Self {
            thread: LaunchThread::start().map_err(system("starting the launching thread"))?,
            cgroups: Cgroups::open().map_err(|error| error.to_string()),
            allow_degraded,
            retired: Retired::default(),
            processes: AtomicU64::new(0),
            teardowns: Teardowns::default(),
            tokio: tokio::runtime::Handle::current(),
        })
    }

    /// Returns the control groups of this machine, if it has any.
    pub(crate) fn cgroups(&self) -> Option<&Cgroups> {
        self.cgroups.as_ref().ok()
    }

    /// Returns the version of the control groups, or the reason why there are none.
    pub(crate) fn cgroup_version(&self) -> Result<CgroupVersion, String> {
        self.cgroups.as_ref().map(Cgroups::version).map_err(Clone::clone)
    }

    /// Fails if processes cannot be limited, and the operator has not accepted that.
    pub(crate) fn check_limits(&self) -> Result<(), EngineError> {
        match &self.cgroups {
            Err(why) if !self.allow_degraded => Err(EngineError::NoLimits(why.clone())),
            _ => Ok(()),
        }
    }

    /// Returns the missing layers of isolation or measurement.
    pub(crate) fn degraded(&self) -> Vec<String> {
        match &self.cgroups {
            Ok(_) => Vec::new(),
            Err(why) => vec![format!(
                "no control groups ({why}): memory and CPU time are sampled, and processes are not \
                 limited"
            )],
        }
    }

    /// Returns a number that no other process of this engine has.
    pub(crate) fn next_number(&self) -> u64 {
        self.processes.fetch_add(1, Ordering::Relaxed)
    }

    /// Creates the control group of a new process. Returns none only if the operator has accepted
    /// degraded isolation.
    pub(crate) fn new_cgroup(
        &self,
        number: u64,
        limits: GroupLimits,
    ) -> Result<Option<SandboxCgroup>, EngineError> {
        match &self.cgroups {
            Ok(cgroups) => {
                let cgroup = cgroups.create(&format!("s{number}"))?;
                cgroup.limit(limits.memory_bytes, u64::from(limits.processes))?;
                if limits.internet == Internet::Sockets {
                    cgroup.limit_sockets(cgroups, limits.memory_bytes / SOCKET_SHARE)?;
                }
                Ok(Some(cgroup))
            }
            Err(_) if self.allow_degraded => Ok(None),
            Err(why) => Err(EngineError::NoLimits(why.clone())),
        }
    }

    /// Removes the control group of a process that has been reaped.
    pub(super) async fn remove_cgroup(&self, cgroup: SandboxCgroup) {
        self.retired.remove(cgroup).await;
    }

    /// Runs a job on the launching thread.
    pub(crate) async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, EngineError> {
        let done = self.thread.run(job).await;
        done.ok_or(EngineError::Internal("the launching thread has ended"))
    }

    /// Runs a task in the background.
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.tokio.spawn(task);
    }

    /// Counts another teardown.
    pub(crate) fn teardown(&self) -> Teardown {
        self.teardowns.another()
    }

    /// Waits until no teardown is running.
    pub(crate) async fn all_torn_down(&self) {
        self.teardowns.none_left().await;
    }
}

impl Drop for Launcher {
    fn drop(&mut self) {
        if let Ok(cgroups) = &self.cgroups {
            self.retired.clear(cgroups);
        }
    }
}
