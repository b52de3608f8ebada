//! A sandbox: one jailed process for one program.

mod descriptors;
mod start;

use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use belljar_channel::ExecutionId;
use belljar_channel::stage::{self, Active, Parked};
use belljar_protocol::{SandboxInfo, Start};
use rustix::io::Errno;
use rustix::net::RecvFlags;
use tokio::io::unix::AsyncFd;

use crate::home::Home;
use crate::process::{JailedProcess, Launcher};
use crate::spec::SandboxSpec;
use crate::zygote::Zygote;

/// A sandbox, parked or active. It runs one program and then ends. Dropping it ends it, too.
#[derive(Debug)]
pub struct Sandbox<S = Parked> {
    pub(crate) channels: Channels,
    pub(crate) home: Home,
    /// The stage of its control channel.
    pub(crate) stage: S,
    pub(crate) process: JailedProcess,
    pub(crate) start: Start,
    pub(crate) spec: SandboxSpec,
    /// Set if code of packages has run in the sandbox, because it has preloaded modules.
    pub(crate) has_imported: bool,
    /// The zygote that it was forked from.
    pub(crate) zygote: Option<Arc<Zygote>>,
    /// CPU time that the set-up has used, microseconds in user space and in the kernel.
    pub(crate) cpu_before: (u64, u64),
}

/// The supervisor's ends of a sandbox's control channel and streams.
#[derive(Debug)]
pub(crate) struct Channels {
    pub(crate) control: AsyncFd<OwnedFd>,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: AsyncFd<OwnedFd>,
    pub(crate) stderr: AsyncFd<OwnedFd>,
}

impl Sandbox {
    /// Activates the sandbox for an execution with these limits. From now on, everything that it
    /// sends may come from the program.
    pub(crate) fn activate(
        self,
        execution: ExecutionId,
        limits: stage::FrameLimits,
    ) -> Sandbox<Active> {
        let Self { channels, home, stage, process, start, spec, has_imported, zygote, cpu_before } =
            self;
        Sandbox {
            channels,
            home,
            stage: stage.activate(execution, limits),
            process,
            start,
            spec,
            has_imported,
            zygote,
            cpu_before,
        }
    }

    /// Records the CPU time of the set-up. From now on, CPU time is charged to the program.
    pub(crate) fn measure_cpu(&mut self) {
        self.cpu_before = self.process.cpu_us();
    }

    /// Returns whether the sandbox has sent something since it was parked, which only code of
    /// packages can do.
    pub(crate) fn has_spoken(&self) -> bool {
        self.has_imported && has_bytes(self.channels.control.get_ref())
    }

    /// Returns the reason why modules were preloaded in the sandbox instead of its zygote, such as
    /// "runs a thread NAME".
    pub fn why_not_preloaded(&self) -> Option<&str> {
        self.zygote.as_ref()?.why_not_preloaded.as_deref()
    }
}

impl<S> Sandbox<S> {
    /// Returns the description of the sandbox for outcomes.
    pub(crate) fn info(&self, launcher: &Launcher) -> SandboxInfo {
        SandboxInfo {
            runtime: self.spec.runtime.name.clone(),
            start: self.start,
            environment: self.spec.environment.as_ref().map(|environment| environment.key.clone()),
            degraded: launcher.degraded(),
        }
    }

    /// Returns the CPU time that the program has used so far.
    pub(crate) fn program_cpu(&self) -> Duration {
        let ((user, system), (user_before, system_before)) =
            (self.process.cpu_us(), self.cpu_before);
        Duration::from_micros((user + system).saturating_sub(user_before + system_before))
    }
}

/// Returns whether a socket that must be empty has data.
fn has_bytes(socket: &OwnedFd) -> bool {
    let mut byte = [0];
    !matches!(
        rustix::net::recv(socket.as_fd(), &mut byte, RecvFlags::PEEK | RecvFlags::DONTWAIT),
        Err(Errno::AGAIN)
    )
}
