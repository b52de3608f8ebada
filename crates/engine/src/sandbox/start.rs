//! The two ways to start a sandbox, until it is parked: as a fork of a zygote, or with a runtime
//! process of its own.

use std::ffi::CString;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use belljar_channel::stage::{FromImporting, FromSealed, Importing, Parked, Sealed};
use belljar_channel::{ForkOrder, Packet, receive_bytes, receive_packet};
use belljar_jail::{
    Confinement, FIRST_UID, GrantPlan, IdMap, Launch, Purpose, ResourceLimits, WritableSpace,
};
use belljar_protocol::{Limits, Start};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;

use super::descriptors::Descriptors;
use super::{Channels, Sandbox};
use crate::environment::Preload;
use crate::error::{EngineError, NotReady, system};
use crate::home::Home;
use crate::process::{JailedProcess, Launcher};
use crate::root::{self, Boot};
use crate::runtime::Runtime;
use crate::spec::SandboxSpec;
use crate::zygote::{BOOT_TIME, Zygote, did_not_boot};

/// CPU time that the boot of a runtime may take: 0.1 s here, 5 s in an emulated machine.
const BOOT_CPU: Duration = Duration::from_secs(15);

/// Returns the kernel's limit on CPU time, which is a backstop: the supervisor counts in
/// microseconds, and the kernel in whole seconds of one process. The kernel counts from the start
/// of the process: it includes the boot of a runtime that is started for this sandbox, and the
/// preloading of modules, which may take as long as a sandbox may take to get ready. The supervisor
/// counts from the activation.
fn cpu_seconds(spec: &SandboxSpec, start: Start, preloads: bool) -> u64 {
    let booting = if start == Start::Exec { BOOT_CPU.as_secs() } else { 0 };
    let importing = if preloads { BOOT_TIME.as_secs() } else { 0 };
    spec.limits.cpu_ms.0.div_ceil(1000) + 1 + booting + importing
}

/// A sandbox whose process has been started.
struct Started {
    process: JailedProcess,
    descriptors: Descriptors,
    /// The host's user id that owns the sandbox's files.
    owner: u32,
    start: Start,
    preloads: bool,
    zygote: Option<Arc<Zygote>>,
}

impl Sandbox {
    /// Forks a sandbox from a zygote, and waits until it is parked.
    pub(crate) async fn fork(
        launcher: &Arc<Launcher>,
        zygote: &Arc<Zygote>,
        spec: SandboxSpec,
    ) -> Result<Self, EngineError> {
        let mut process = JailedProcess::reserve(launcher, Some(spec.group_limits()))?;
        let (descriptors, theirs) = Descriptors::new()?;
        let lease = zygote.lease_uid()?;
        let uid = lease.uid();
        process.keep(lease);
        // After the lease: the zygote outlives its sandboxes and their user ids.
        process.keep(Arc::clone(zygote));
        let preloads = spec.preloads_itself(zygote.preload());
        let mounts = zygote.grant_mounts(&spec, uid).await?;
        let order = ForkOrder {
            sandbox: process.number(),
            uid,
            disk_bytes: spec.limits.disk_bytes.0,
            files: u64::from(spec.limits.files),
            open_files: u64::from(spec.limits.open_files),
            cpu_seconds: cpu_seconds(&spec, Start::Fork, preloads),
            memory_bytes: spec.limits.memory_bytes.0,
            exec: spec.exec,
            network: spec.network,
            grants: u8::try_from(mounts.len()).unwrap_or(u8::MAX),
        };
        let entrances = process.entrances()?;
        let sent: Vec<BorrowedFd<'_>> =
            theirs.iter().chain(&mounts).chain(&entrances).map(OwnedFd::as_fd).collect();
        let forked = zygote.fork(order, &sent).await?;
        drop((theirs, mounts, entrances));
        process.adopt(forked.pidfd, forked.end)?;
        let started = Started {
            process,
            descriptors,
            owner: zygote.host_uid(uid),
            start: Start::Fork,
            preloads,
            zygote: Some(Arc::clone(zygote)),
        };
        started.parked(spec).await
    }

    /// Starts a sandbox with a runtime process of its own, and waits until it is parked. The future
    /// must not be dropped before it is done: the launch would continue, and nothing would reap the
    /// process.
    pub(crate) async fn exec(
        launcher: &Arc<Launcher>,
        spec: SandboxSpec,
    ) -> Result<Self, EngineError> {
        let mut process = JailedProcess::reserve(launcher, Some(spec.group_limits()))?;
        let (descriptors, theirs) = Descriptors::new()?;
        let ids = IdMap::available();
        let preloads = spec.preloads_itself(Preload::InSandbox);
        let plan = root::plan(
            &spec.runtime,
            &spec.grants,
            spec.environment.as_deref(),
            Boot {
                start: Start::Exec,
                ids,
                exec: spec.exec,
                network: spec.network,
                memory_bytes: spec.limits.memory_bytes.0,
            },
        );
        let confinement = Confinement {
            uid: FIRST_UID,
            may_set_groups: ids == IdMap::Own,
            space: WritableSpace {
                disk_bytes: spec.limits.disk_bytes.0,
                files: u64::from(spec.limits.files),
                exec: spec.exec,
                staged: plan.staged(),
            },
            grants: GrantPlan::default(),
            write: spec.grants.writable(),
            limits: ResourceLimits {
                open_files: u64::from(spec.limits.open_files),
                cpu_seconds: cpu_seconds(&spec, Start::Exec, preloads),
                file_bytes: spec.limits.disk_bytes.0,
            },
            exec: spec.exec,
            network: spec.network,
        };
        let runtime = Arc::clone(&spec.runtime);
        let exec = spec.exec;
        let launch = move |entrances: &[OwnedFd]| {
            let [control, stdin, stdout, stderr] = &theirs;
            let launch = Launch {
                root: &plan,
                ids,
                executable: CString::new(runtime.executable.as_os_str().as_encoded_bytes())
                    .unwrap_or_default(),
                arguments: runtime.arguments(Start::Exec),
                environment: Runtime::environment(exec),
                streams: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
                channel: control.as_fd(),
                purpose: Purpose::Sandbox(confinement),
                cgroup: entrances,
            };
            launch.launch().map_err(EngineError::Launch)
        };
        process.launch(launch).await?;
        let owner = ids.host_uid(process.pid());
        let started =
            Started { process, descriptors, owner, start: Start::Exec, preloads, zygote: None };
        started.parked(spec).await
    }
}

impl Started {
    /// Waits until the sandbox is parked. If it does not get ready, it is ended.
    async fn parked(self, spec: SandboxSpec) -> Result<Sandbox, EngineError> {
        let Descriptors { control, stdin, stdout, stderr } = self.descriptors;
        let watch = |fd| AsyncFd::new(fd).map_err(system("watching a sandbox"));
        let (control, stdout, stderr) = (watch(control)?, watch(stdout)?, watch(stderr)?);
        let arrival = Arrival { control: &control, owner: self.owner, limits: &spec.limits };
        let parked = tokio::select! {
            parked = arrival.parked() => parked,
            () = tokio::time::sleep(BOOT_TIME) => {
                Err(NotReady::TimedOut(BOOT_TIME.as_secs()).into())
            }
        };
        let (home, stage) = parked.map_err(|error| match error {
            EngineError::NotReady(NotReady::ChannelClosed) => did_not_boot(stderr.get_ref()).into(),
            error => error,
        })?;
        let mut sandbox = Sandbox {
            channels: Channels { control, stdin, stdout, stderr },
            home,
            stage,
            process: self.process,
            start: self.start,
            spec,
            has_imported: self.preloads,
            zygote: self.zygote,
            cpu_before: (0, 0),
        };
        sandbox.measure_cpu();
        Ok(sandbox)
    }
}

/// A sandbox that is starting, and the facts by which its messages are checked.
struct Arrival<'a> {
    control: &'a AsyncFd<OwnedFd>,
    owner: u32,
    limits: &'a Limits,
}

impl Arrival<'_> {
    /// Waits for the working folder and then for the report that the sandbox is parked. If the
    /// sandbox dies in the meantime, its channel is closed.
    async fn parked(&self) -> Result<(Home, Parked), EngineError> {
        let (home, importing) = self.sealed().await?;
        Ok((home, self.imported(importing).await?))
    }

    async fn sealed(&self) -> Result<(Home, Importing), EngineError> {
        let mut stage = Sealed::default();
        loop {
            let mut buffer = [0; 4096];
            let receive = |channel: &OwnedFd| Ok(receive_packet(channel.as_fd(), &mut buffer)?);
            let received = self.control.async_io(Interest::READABLE, receive).await;
            let Packet { length, descriptors, lost } =
                received.map_err(system("receiving from a sandbox"))?;
            if length == 0 {
                return Err(NotReady::ChannelClosed.into());
            }
            let heard = stage.hear(&buffer[..length], descriptors, lost);
            match heard.map_err(NotReady::from)? {
                FromSealed::Waiting(same) => stage = same,
                FromSealed::Home(folder, importing) => {
                    let home = Home::verified(folder, self.owner, self.limits);
                    return Ok((home.map_err(NotReady::from)?, importing));
                }
                FromSealed::Fault(why) => return Err(NotReady::SetUp(why).into()),
            }
        }
    }

    async fn imported(&self, mut stage: Importing) -> Result<Parked, EngineError> {
        loop {
            let mut buffer = [0; 4096];
            let receive = |channel: &OwnedFd| Ok(receive_bytes(channel.as_fd(), &mut buffer)?);
            let received = self.control.async_io(Interest::READABLE, receive).await;
            let (length, lost) = received.map_err(system("receiving from a sandbox"))?;
            if length == 0 {
                return Err(NotReady::ChannelClosed.into());
            }
            match stage.hear(&buffer[..length], lost).map_err(NotReady::from)? {
                FromImporting::Waiting(same) => stage = same,
                FromImporting::Parked(parked) => return Ok(parked),
                FromImporting::Fault(why) => return Err(NotReady::SetUp(why).into()),
            }
        }
    }
}
