//! One sandbox: how it is made, forked or with a runtime process of its own, up to the moment when it is parked.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::sync::{Arc, Weak};
use std::time::Duration;

use belljar_channel::stage::{self, Active, FromImporting, FromSealed, Importing, Parked, Sealed, Violation};
use belljar_channel::{ForkOrder, Packet, receive_bytes, receive_packet};
use belljar_jail::{
    Confinement, FIRST_UID, GrantPlan, IdMap, Launch, PidFd, Purpose, ResourceLimits, SandboxCgroup, WritableSpace, kill_pidfd,
    pid_of_pidfd, reap,
};
use belljar_protocol::{Limits, Policy, Start};
use rustix::pipe::{PipeFlags, pipe_with};
use tokio::io::Interest;
use tokio::io::unix::AsyncFd;
use tokio::sync::oneshot;

use crate::activation::Task;
use crate::decision::Exit;
use crate::engine::Inner;
use crate::environment::{Ahead, Environment};
use crate::error::{EngineError, system};
use crate::grants::Grants;
use crate::groups::{GroupLimits, Internet};
use crate::home::Home;
use crate::root::{self, Boot};
use crate::runtime::Runtime;
use crate::still;
use crate::watch::sample;
use crate::zygote::{BOOT_TIME, Ended, UidLease, Zygote};

/// What is fixed when a sandbox is made, and so what parked ones are told apart by.
#[derive(Clone, Debug)]
pub struct SandboxSpec {
    pub(crate) runtime: Arc<Runtime>,
    pub(crate) tenant: Option<String>,
    pub(crate) environment: Option<Arc<Environment>>,
    pub(crate) grants: Grants,
    pub(crate) exec: bool,
    pub(crate) loopback: bool,
    pub(crate) limits: Limits,
    pub(crate) task: Task,
}

/// What makes two sandboxes interchangeable.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct SpecKey {
    zygote: ZygoteKey,
    exec: bool,
    loopback: bool,
    limits: Limits,
    task: Task,
}

impl SpecKey {
    /// Whether such sandboxes are children of that zygote.
    pub(crate) fn is_of(&self, zygote: &ZygoteKey) -> bool {
        self.zygote == *zygote
    }

    pub(crate) fn zygote_key(&self) -> &ZygoteKey {
        &self.zygote
    }

    /// Whose they are.
    pub(crate) fn tenant(&self) -> Option<&str> {
        self.zygote.tenant.as_deref()
    }
}

/// What makes two sandboxes children of the same zygote.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ZygoteKey {
    runtime: String,
    tenant: Option<String>,
    environment: Option<Arc<Environment>>,
    grants: Grants,
}

impl SandboxSpec {
    /// What a policy and limits ask of a sandbox. Opens granted paths, which are taken for the caller's own.
    pub fn new(runtime: Arc<Runtime>, policy: &Policy, limits: &Limits) -> Result<Self, EngineError> {
        policy.validate()?;
        limits.validate()?;
        Ok(Self::with_grants(runtime, policy, limits, Grants::of_caller(&policy.fs)?))
    }

    /// The same with granted paths that were opened already.
    pub(crate) fn with_grants(runtime: Arc<Runtime>, policy: &Policy, limits: &Limits, grants: Grants) -> Self {
        Self {
            runtime,
            tenant: None,
            environment: None,
            grants,
            exec: policy.exec,
            loopback: policy.loopback,
            limits: *limits,
            task: Task::Run,
        }
    }

    /// The same for a tenant: it shares no zygote with another, so no address layout and no memory that was ever one.
    #[must_use]
    pub fn of_tenant(self, tenant: Option<String>) -> Self {
        Self { tenant, ..self }
    }

    /// The same with packages.
    #[must_use]
    pub fn with_environment(self, environment: Option<Arc<Environment>>) -> Self {
        Self { environment, ..self }
    }

    /// The same with nothing imported ahead; `None` where nothing is.
    pub(crate) fn without_modules(&self) -> Option<Self> {
        let environment = self.environment.as_ref().filter(|environment| !environment.modules.is_empty())?;
        Some(self.clone().with_environment(Some(Arc::new(environment.without_modules()))))
    }

    /// The same with modules imported in each sandbox, where they were to be imported in the zygote.
    pub(crate) fn importing_in_sandbox(self) -> Self {
        let environment = self.environment.as_deref().cloned();
        let environment = environment.map(|environment| Arc::new(Environment { ahead: Ahead::Sandbox, ..environment }));
        Self { environment, ..self }
    }

    /// The same for another task. A sandbox that was made for one is never given another.
    pub(crate) fn for_task(self, task: Task) -> Self {
        Self { task, ..self }
    }

    pub(crate) fn key(&self) -> SpecKey {
        let Self { exec, loopback, limits, task, .. } = self;
        // What the supervisor alone enforces does not matter to what is parked.
        let limits = Limits { timeout_ms: Limits::default().timeout_ms, ..*limits };
        SpecKey { zygote: self.zygote_key(), exec: *exec, loopback: *loopback, limits, task: *task }
    }

    pub(crate) fn zygote_key(&self) -> ZygoteKey {
        ZygoteKey {
            runtime: self.runtime.identity.clone(),
            tenant: self.tenant.clone(),
            environment: self.environment.clone(),
            grants: self.grants.clone(),
        }
    }

    fn group_limits(&self) -> GroupLimits {
        GroupLimits {
            memory_bytes: self.limits.memory_bytes.0,
            processes: self.limits.processes,
            internet: if self.loopback { Internet::Sockets } else { Internet::None },
        }
    }

    /// Whether a sandbox imports modules ahead for itself, as no zygote has done so for it.
    fn imports_itself(&self, zygote: Option<&Zygote>) -> bool {
        let has_not = |ahead| ahead == Ahead::Sandbox || zygote.is_none_or(|zygote| zygote.why_not_ahead.is_some());
        self.environment.as_ref().is_some_and(|environment| !environment.modules.is_empty() && has_not(environment.ahead))
    }

    /// The back-stop: the supervisor counts in microseconds, the kernel in whole seconds of one process. The kernel counts from the start, and so what is
    /// imported ahead too, which may take as long as the sandbox may take to be ready; the supervisor counts from the activation.
    fn cpu_seconds(&self, zygote: Option<&Zygote>) -> u64 {
        let importing = if self.imports_itself(zygote) { BOOT_TIME.as_secs() } else { 0 };
        self.limits.cpu_ms.0.div_ceil(1000) + 1 + importing
    }
}

/// A sandbox, parked or active. Runs one program, then it is gone. Dropping it ends it.
#[derive(Debug)]
pub struct Sandbox<S = Parked> {
    pub(crate) control: AsyncFd<OwnedFd>,
    pub(crate) stdin: OwnedFd,
    pub(crate) stdout: AsyncFd<OwnedFd>,
    pub(crate) stderr: AsyncFd<OwnedFd>,
    pub(crate) home: Home,
    /// The stage of its control channel.
    pub(crate) stage: S,
    pub(crate) ended: oneshot::Receiver<Ended>,
    pub(crate) body: Body,
    pub(crate) start: Start,
    pub(crate) spec: SandboxSpec,
    /// Whether code of packages has run in it: it has imported modules in advance.
    pub(crate) has_imported: bool,
    /// CPU time that its set-up has used.
    pub(crate) cpu_before: (u64, u64),
}

/// What has to be taken down in the end. It is from before there is a process, so that nothing stays behind whenever whoever wanted the sandbox gives up.
#[derive(Debug)]
pub(crate) struct Body {
    pub(crate) process: Option<PidFd>,
    pub(crate) pid: i32,
    pub(crate) cgroup: Option<SandboxCgroup>,
    pub(crate) uid: Option<UidLease>,
    /// The user outside that owns its files.
    owner: u32,
    // Its zygote lives at least as long as it.
    pub(crate) zygote: Option<Arc<Zygote>>,
    engine: Weak<Inner>,
}

impl Body {
    fn new(engine: &Inner, cgroup: Option<SandboxCgroup>) -> Self {
        Self { process: None, pid: 0, cgroup, uid: None, owner: 0, zygote: None, engine: engine.weak() }
    }

    /// Whether its first process has not been reaped.
    pub(crate) fn is_running(&self) -> bool {
        self.process.as_ref().is_some_and(|process| pid_of_pidfd(process.as_fd()).is_some())
    }

    /// Its processes, as far as they can be known.
    pub(crate) fn processes(&self) -> Vec<i32> {
        self.cgroup.as_ref().map_or_else(|| vec![self.pid], SandboxCgroup::processes)
    }

    /// Ends all its processes: its first is PID 1 of their namespace.
    pub(crate) fn kill(&self) {
        if let Some(process) = &self.process {
            let _ = kill_pidfd(process.as_fd());
        }
    }
}

impl Drop for Body {
    fn drop(&mut self) {
        self.kill();
        if self.cgroup.is_none() && self.uid.is_none() && self.zygote.is_none() {
            return;
        }
        if let Some(engine) = self.engine.upgrade() {
            engine.clear_away::<Ended>(self.cgroup.take(), None, (self.uid.take(), self.zygote.take()));
        }
    }
}

fn entrances(cgroup: Option<&SandboxCgroup>) -> Result<Vec<OwnedFd>, EngineError> {
    Ok(cgroup.map(SandboxCgroup::entrances).transpose()?.unwrap_or_default())
}

/// The supervisor's descriptors of one sandbox.
struct Ends {
    control: OwnedFd,
    stdin: OwnedFd,
    stdout: OwnedFd,
    stderr: OwnedFd,
}

impl Ends {
    /// Ours, and theirs: control, standard input, output, error. Theirs must be gone here before the sandbox is waited for, so that their closing is
    /// seen.
    fn new() -> Result<(Self, [OwnedFd; 4]), EngineError> {
        let (control, their_control) = rustix::net::socketpair(
            rustix::net::AddressFamily::UNIX,
            rustix::net::SocketType::STREAM,
            rustix::net::SocketFlags::CLOEXEC,
            None,
        )
        .map_err(system("making a control channel"))?;
        let pipe = || pipe_with(PipeFlags::CLOEXEC).map_err(system("making a pipe"));
        let (their_stdin, stdin) = pipe()?;
        let (stdout, their_stdout) = pipe()?;
        let (stderr, their_stderr) = pipe()?;
        // Only this side: a program expects its own to block.
        for ours in [&control, &stdin, &stdout, &stderr] {
            rustix::io::ioctl_fionbio(ours, true).map_err(system("making a pipe"))?;
        }
        Ok((Self { control, stdin, stdout, stderr }, [their_control, their_stdin, their_stdout, their_stderr]))
    }
}

impl Sandbox {
    /// Forks one from a zygote, and waits until it is parked.
    pub(crate) async fn fork(engine: &Inner, zygote: &Arc<Zygote>, spec: SandboxSpec) -> Result<Self, EngineError> {
        let id = engine.next_sandbox();
        let mut body = Body::new(engine, engine.make_cgroup(id, spec.group_limits())?);
        body.zygote = Some(Arc::clone(zygote));
        let (ends, theirs) = Ends::new()?;
        let lease = zygote.lease_uid()?;
        let uid = lease.uid;
        body.owner = zygote.host_uid(uid);
        body.uid = Some(lease);
        let mounts = zygote.grant_mounts(&engine.spawner, &spec, uid).await?;
        let order = ForkOrder {
            sandbox: id,
            uid,
            disk_bytes: spec.limits.disk_bytes.0,
            files: u64::from(spec.limits.files),
            open_files: u64::from(spec.limits.open_files),
            cpu_seconds: spec.cpu_seconds(Some(zygote)),
            memory_bytes: spec.limits.memory_bytes.0,
            exec: spec.exec,
            loopback: spec.loopback,
            grants: u8::try_from(mounts.len()).unwrap_or(u8::MAX),
        };
        let entrances = entrances(body.cgroup.as_ref())?;
        let descriptors: Vec<BorrowedFd<'_>> = theirs.iter().chain(&mounts).chain(&entrances).map(OwnedFd::as_fd).collect();
        let forked = zygote.fork(order, &descriptors).await?;
        drop((theirs, mounts, entrances));
        let pidfd = body.process.insert(forked.pidfd);
        body.pid = pid_of_pidfd(pidfd.as_fd()).ok_or_else(|| EngineError::NotReady("the sandbox died at once".into()))?;
        Self::park(engine, ends, body, forked.ended, Start::Fork, spec).await
    }

    /// Starts one with a runtime process of its own, and waits until it is parked. Not to be dropped half way: the launch would go on without anyone to
    /// reap what it makes.
    pub(crate) async fn exec(engine: &Inner, spec: SandboxSpec) -> Result<Self, EngineError> {
        let id = engine.next_sandbox();
        let mut body = Body::new(engine, engine.make_cgroup(id, spec.group_limits())?);
        let (ends, theirs) = Ends::new()?;
        let ids = IdMap::available();
        let plan = root::plan(
            &spec.runtime,
            &spec.grants,
            spec.environment.as_deref(),
            Boot { start: Start::Exec, ids, exec: spec.exec, loopback: spec.loopback, memory_bytes: spec.limits.memory_bytes.0 },
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
                cpu_seconds: spec.cpu_seconds(None),
                file_bytes: spec.limits.disk_bytes.0,
            },
            exec: spec.exec,
            loopback: spec.loopback,
        };
        let runtime = Arc::clone(&spec.runtime);
        let has_init = spec.exec;
        let entrances = entrances(body.cgroup.as_ref())?;
        let launched = engine
            .spawner
            .run(move || {
                let [control, stdin, stdout, stderr] = &theirs;
                let launch = Launch {
                    root: &plan,
                    ids,
                    executable: std::ffi::CString::new(runtime.executable.as_os_str().as_encoded_bytes()).unwrap_or_default(),
                    arguments: runtime.arguments(Start::Exec),
                    environment: Runtime::environment(has_init),
                    streams: [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()],
                    channel: control.as_fd(),
                    purpose: Purpose::Sandbox(confinement),
                    cgroup: &entrances,
                };
                launch.launch()
            })
            .await
            .ok_or_else(|| EngineError::NotReady("the launching thread is gone".into()))??;
        let (sender, ended) = oneshot::channel();
        let watched = AsyncFd::with_interest(launched.pidfd.try_clone().map_err(system("copying a descriptor"))?, Interest::READABLE)
            .map_err(system("watching a process"))?;
        let pid = launched.pid;
        tokio::spawn(async move {
            // A pidfd is readable once the process has ended.
            let _ = watched.readable().await;
            let ended = reap(pid).map_or(Ended::ZYGOTE_DIED, |reaped| Ended {
                exit: Exit::of_wait_status(reaped.wait_status),
                user_us: reaped.user_us,
                system_us: reaped.system_us,
                peak_resident_bytes: reaped.peak_resident_bytes,
            });
            let _ = sender.send(ended);
        });
        body.process = Some(launched.pidfd);
        body.pid = pid;
        body.owner = ids.host_uid(pid);
        Self::park(engine, ends, body, ended, Start::Exec, spec).await
    }

    async fn park(
        engine: &Inner,
        ends: Ends,
        body: Body,
        ended: oneshot::Receiver<Ended>,
        start: Start,
        spec: SandboxSpec,
    ) -> Result<Self, EngineError> {
        let Ends { control, stdin, stdout, stderr } = ends;
        let watch = |fd| AsyncFd::new(fd).map_err(system("watching a sandbox"));
        let (control, stdout, stderr) = (watch(control)?, watch(stdout)?, watch(stderr)?);
        let arrival = Arrival { control: &control, owner: body.owner, limits: &spec.limits };
        let parked = tokio::select! {
            parked = arrival.parked() => parked,
            () = tokio::time::sleep(BOOT_TIME) => Err(EngineError::NotReady("it did not answer in time".into())),
        };
        match parked {
            Ok((home, stage)) => {
                let has_imported = spec.imports_itself(body.zygote.as_deref());
                let mut sandbox =
                    Self { control, stdin, stdout, stderr, home, stage, ended, body, start, spec, has_imported, cpu_before: (0, 0) };
                sandbox.measure_cpu();
                Ok(sandbox)
            }
            Err(error) => {
                engine.take_down(body, Some(ended));
                Err(match error {
                    EngineError::NotReady(why) if why == CLOSED => EngineError::NotReady(crate::zygote::last_words(stderr.get_ref())),
                    error => error,
                })
            }
        }
    }

    /// The same for a run with these limits: from here on what it says is the program's word.
    pub(crate) fn activate(self, limits: stage::Limits) -> Sandbox<Active> {
        let Self { control, stdin, stdout, stderr, home, stage, ended, body, start, spec, has_imported, cpu_before } = self;
        let stage = stage.activate(limits);
        Sandbox { control, stdin, stdout, stderr, home, stage, ended, body, start, spec, has_imported, cpu_before }
    }

    /// Notes what its set-up has used: from here on CPU time is the program's.
    pub(crate) fn measure_cpu(&mut self) {
        self.cpu_before = match &self.body.cgroup {
            Some(cgroup) => cgroup.cpu_us(),
            None => sample(self.body.pid).map_or((0, 0), |(cpu, _)| cpu),
        };
    }

    /// Whether it has said something since it was parked, which only code of packages can have done.
    pub(crate) fn has_spoken(&self) -> bool {
        self.has_imported && still::has_bytes(self.control.get_ref())
    }

    /// What its modules do because of which they were imported in it and not in its zygote, as in "runs a thread NAME".
    pub fn why_not_ahead(&self) -> Option<&str> {
        self.body.zygote.as_ref()?.why_not_ahead.as_deref()
    }

    /// Whether a parked sandbox still lives.
    pub(crate) fn is_alive(&mut self) -> bool {
        matches!(self.ended.try_recv(), Err(oneshot::error::TryRecvError::Empty))
    }
}

const CLOSED: &str = "its channel closed";

/// A sandbox that is on its way to be parked, and what is known of it.
struct Arrival<'a> {
    control: &'a AsyncFd<OwnedFd>,
    owner: u32,
    limits: &'a Limits,
}

impl Arrival<'_> {
    /// Hears of its working folder, and then that it is parked. Where it dies meanwhile, its channel closes.
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
            let Packet { length, descriptors, lost } = received.map_err(system("hearing from a sandbox"))?;
            if length == 0 {
                return Err(EngineError::NotReady(CLOSED.into()));
            }
            match stage.hear(&buffer[..length], descriptors, lost).map_err(|violation| violated(&violation))? {
                FromSealed::Waiting(same) => stage = same,
                FromSealed::Home(folder, importing) => {
                    let home = Home::verified(folder, self.owner, self.limits);
                    return Ok((home.map_err(|error| EngineError::NotReady(error.to_string()))?, importing));
                }
                FromSealed::Fault(why) => return Err(EngineError::NotReady(why)),
            }
        }
    }

    async fn imported(&self, mut stage: Importing) -> Result<Parked, EngineError> {
        loop {
            let mut buffer = [0; 4096];
            let receive = |channel: &OwnedFd| Ok(receive_bytes(channel.as_fd(), &mut buffer)?);
            let received = self.control.async_io(Interest::READABLE, receive).await;
            let (length, lost) = received.map_err(system("hearing from a sandbox"))?;
            if length == 0 {
                return Err(EngineError::NotReady(CLOSED.into()));
            }
            match stage.hear(&buffer[..length], lost).map_err(|violation| violated(&violation))? {
                FromImporting::Waiting(same) => stage = same,
                FromImporting::Parked(parked) => return Ok(parked),
                FromImporting::Fault(why) => return Err(EngineError::NotReady(why)),
            }
        }
    }
}

fn violated(violation: &Violation) -> EngineError {
    EngineError::NotReady(format!("it broke the protocol of its control channel: {violation}"))
}

/// How long a killed sandbox may take to be gone before it is reported as left over.
pub(crate) const TAKE_DOWN_TIME: Duration = Duration::from_secs(10);
