//! The engine: takes requests, finds a sandbox for each, and runs it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use belljar_jail::{CgroupVersion, NamespaceProbe, probe_namespaces};
use belljar_protocol::{
    Bytes, EventKind, FsPolicy, Language, Limit, LimitTerms, RunError, RunId, RunRequest,
    RuntimeName, SandboxInfo, Start, StartMode, Status,
};
use belljar_provision::{ProvisionError, Provisioner, Silent, Step};
use tokio::sync::{Semaphore, mpsc, oneshot, watch};

use crate::config::EngineConfig;
use crate::error::EngineError;
use crate::execution::{
    Calls, Emitter, Finished, Job, Run, RunHost, execute, not_started, refused, until_cancelled,
};
use crate::grants::{CeilingGrants, Grants};
use crate::machine::{Machine, check_own_open_files};
use crate::pool::{SelfTest, Supply};
use crate::process::{Launcher, TAKE_DOWN_TIME};
use crate::progress::{describe_step, with_progress};
use crate::protected::Protected;
use crate::python_variables;
use crate::runtime::Runtime;
use crate::sandbox::Sandbox;
use crate::spec::SandboxSpec;
use crate::tool::{self, Check, Tool, ToolEnd};

/// Boots runtimes and runs programs in sandboxes. It is cheap to clone. When the last clone is
/// dropped, everything that it started ends, except sandboxes that the caller holds
/// ([`Engine::sandbox`]): they end when they are dropped.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    config: EngineConfig,
    /// Folders that no run may be granted.
    protected: Arc<[Protected]>,
    provisioner: Arc<Provisioner>,
    machine: Machine,
    launcher: Arc<Launcher>,
    supply: Arc<Supply>,
    runtimes: Mutex<HashMap<RuntimeName, Arc<Runtime>>>,
    /// Limits the threads that read artifacts to the number of processors.
    readers: Arc<Semaphore>,
}

/// The isolation features that an engine has found on this machine.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// The version of control groups in use, or the reason why there are none.
    pub cgroups: Result<CgroupVersion, String>,
    /// Missing layers of isolation or measurement.
    pub degraded: Vec<String>,
}

impl Engine {
    /// Creates an engine: opens the control groups and the cache, but boots nothing yet. Must be
    /// called inside a tokio runtime.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        check_own_open_files()?;
        let provisioner = Arc::new(Provisioner::new(config.provision.clone())?);
        let launcher = Arc::new(Launcher::new(config.allow_degraded)?);
        let cache = Protected { what: "belljar's cache", path: config.provision.cache.clone() };
        let protected = config.protected.iter().cloned().chain([cache]).collect();
        let machine = Machine::look(launcher.cgroups());
        let supply = Supply::new(config.clone(), Arc::clone(&launcher));
        let readers = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        let inner = Inner {
            config,
            protected,
            provisioner,
            machine,
            launcher,
            supply,
            runtimes: Mutex::default(),
            readers: Arc::new(Semaphore::new(readers)),
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// Returns the isolation features of this machine.
    pub fn isolation(&self) -> Isolation {
        let launcher = &self.inner.launcher;
        Isolation { cgroups: launcher.cgroup_version(), degraded: launcher.degraded() }
    }

    /// Returns the resources of this machine, as they were when the engine was created.
    pub fn machine(&self) -> Machine {
        self.inner.machine
    }

    /// Checks whether this machine allows sandboxes at all, in a millisecond or two. The error has
    /// a fix for this machine as its hint.
    pub async fn check_isolation(&self) -> Result<(), EngineError> {
        self.inner.launcher.check_limits()?;
        tokio::task::spawn_blocking(check_namespaces)
            .await
            .map_err(|_| EngineError::Internal("the task that probes namespaces panicked"))?
    }

    /// Runs one program. Any problem with the request, the runtime or the machine results in an
    /// outcome with the status `refused` and the reason.
    pub fn run(&self, request: RunRequest) -> Run {
        self.run_with(request, RunHost::default())
    }

    /// Runs one program, which may use these parts of the host.
    pub fn run_with(&self, request: RunRequest, host: RunHost) -> Run {
        let id = host.id.clone().unwrap_or_default();
        let (sender, events) = mpsc::unbounded_channel();
        let (cancel, cancelled) = watch::channel(false);
        let inner = Arc::clone(&self.inner);
        let finished = tokio::spawn({
            let id = id.clone();
            async move { inner.run(id, &request, host, Emitter::new(sender), cancelled).await }
        });
        Run { id, events, finished, cancel }
    }

    /// Finds a runtime, or downloads it.
    pub async fn runtime(&self, name: &RuntimeName) -> Result<Arc<Runtime>, EngineError> {
        self.inner.runtime(name, |_| {}).await
    }

    /// Opens the paths of a ceiling. Use [`CeilingGrants::check`] to find out whether they can be
    /// granted.
    pub fn ceiling(&self, policy: &FsPolicy) -> CeilingGrants {
        CeilingGrants::open(policy, Arc::clone(&self.inner.protected))
    }

    /// Creates a parked sandbox for [`Engine::execute`].
    pub async fn sandbox(
        &self,
        spec: SandboxSpec,
        start: StartMode,
    ) -> Result<Sandbox, EngineError> {
        spec.grants.check(&self.inner.protected)?;
        self.inner.supply.sandbox(spec, start).await
    }

    /// Runs a program in a sandbox. The request must have the policy and limits for which the
    /// sandbox was created.
    pub async fn execute(&self, sandbox: Sandbox, request: &RunRequest) -> Finished {
        execute(sandbox, Job::alone(&self.inner.launcher, request)).await
    }

    /// Forks sandboxes of a runtime in the same way as for runs, and proves that they share
    /// nothing. The test always runs, and its result is stored.
    pub async fn self_test(&self, runtime: &Arc<Runtime>) -> Result<SelfTest, EngineError> {
        self.inner.supply.self_test(runtime).await
    }

    /// Parks `count` sandboxes of a spec in advance.
    pub async fn park(&self, spec: &SandboxSpec, count: usize) -> Result<(), EngineError> {
        self.inner.supply.park(spec, count).await
    }

    /// Returns the number of parked sandboxes of a spec.
    pub fn parked(&self, spec: &SandboxSpec) -> usize {
        self.inner.supply.parked(spec)
    }

    /// Ends all zygotes and parked sandboxes. The next run boots a new zygote.
    pub fn forget_zygotes(&self) {
        self.inner.supply.clear();
    }

    /// Runs a tool in a jail of its own until it ends. Its output is sent to `lines` line by line,
    /// and the tool waits while the channel is full. `check` is called every 500 ms and can stop
    /// the tool. Dropping the returned future ends the tool.
    pub async fn run_tool(
        &self,
        tool: Tool,
        lines: mpsc::Sender<String>,
        check: Check,
    ) -> Result<ToolEnd, EngineError> {
        let (_wants, wanted) = oneshot::channel();
        let launcher = Arc::clone(&self.inner.launcher);
        let teardown = launcher.teardown();
        let running = tokio::spawn(async move {
            let end = tool::run(&launcher, tool, lines, check, wanted).await;
            drop(teardown);
            end
        });
        running.await.map_err(|_| EngineError::Internal("the task that runs the tool panicked"))?
    }

    /// Ends an unused sandbox.
    pub fn discard(&self, sandbox: Sandbox) {
        drop(sandbox);
    }

    /// Ends everything that the engine started, and waits at most ten seconds until it is gone.
    pub async fn shutdown(self) {
        self.inner.supply.close();
        let gone = async {
            // Twice, because a sandbox that was starting may have been parked in the meantime.
            for _ in 0..2 {
                self.inner.supply.clear();
                self.inner.launcher.all_torn_down().await;
            }
        };
        let _ = tokio::time::timeout(TAKE_DOWN_TIME, gone).await;
    }
}

impl Inner {
    async fn run(
        &self,
        id: RunId,
        request: &RunRequest,
        host: RunHost,
        mut emitter: Emitter,
        mut cancelled: watch::Receiver<bool>,
    ) -> Finished {
        let accepted_at = host.accepted_at.unwrap_or_else(Instant::now);
        emitter.emit(EventKind::Queued { id: id.clone() });
        let name = request.runtime.clone().unwrap_or_else(|| request.language.default_runtime());
        let mut info = SandboxInfo::none_yet(name.to_string());
        // A run whose policy names no storage cannot make calls.
        let calls = match (&host.calls, names_storage(request)) {
            (Some(handler), true) => Calls::new(id.clone(), Arc::clone(handler)),
            (None, true) => return refused(id, info, emitter, &EngineError::NoCallHandler),
            (_, false) => Calls::default(),
        };
        let prepared = tokio::select! {
            biased;
            () = until_cancelled(&mut cancelled) => {
                let message = "the run was cancelled before it started";
                let error = RunError::new("Cancelled", message);
                return not_started(id, info, &mut emitter, Status::Cancelled, error);
            }
            prepared = self.prepare(&name, request, &host, &mut emitter, &mut info) => prepared,
        };
        match prepared {
            Ok(sandbox) => {
                let job = Job {
                    id,
                    request,
                    launcher: &self.launcher,
                    calls,
                    host,
                    readers: Arc::clone(&self.readers),
                    emitter,
                    accepted_at,
                    cancelled,
                };
                execute(sandbox, job).await
            }
            Err(EngineError::Environment(error)) => {
                not_started(id, info, &mut emitter, Status::Refused, *error)
            }
            Err(error) => refused(id, info, emitter, &error),
        }
    }

    async fn prepare(
        &self,
        name: &RuntimeName,
        request: &RunRequest,
        host: &RunHost,
        emitter: &mut Emitter,
        info: &mut SandboxInfo,
    ) -> Result<Sandbox, EngineError> {
        self.launcher.check_limits()?;
        check(name, request)?;
        request.policy.validate()?;
        request.limits.validate()?;
        self.machine.check(&request.limits)?;
        check_files(request, &host.terms)?;
        // First, and only once: a later change of what the names lead to, while packages are
        // installed or a zygote boots, has no effect.
        let grants = self.grants(&request.policy.fs, host.ceiling.clone()).await?;
        let runtime =
            with_progress(emitter, None, |report| self.runtime(name, move |step| report(step)))
                .await?;
        let start = if request.start == StartMode::Exec { Start::Exec } else { Start::Fork };
        let degraded = self.launcher.degraded();
        *info = SandboxInfo { runtime: runtime.name.clone(), start, environment: None, degraded };
        let environment = match &host.environments {
            Some(source) => {
                with_progress(emitter, None, |report| source.environment(request, report))
                    .await
                    .map_err(|error| EngineError::Environment(Box::new(error)))?
            }
            None => None,
        };
        // Packages may read the program's variables when they are imported, so with any variables
        // nothing can be imported in advance.
        let environment = environment.map(|environment| {
            if request.policy.env.is_empty() {
                environment
            } else {
                Arc::new(environment.without_modules())
            }
        });
        info.environment = environment.as_ref().map(|environment| environment.key.clone());
        let modules = environment
            .as_ref()
            .map(|environment| environment.modules.join(", "))
            .filter(|modules| !modules.is_empty());
        let spec = SandboxSpec::with_grants(runtime, &request.policy, &request.limits, grants)
            .of_tenant(host.tenant.clone())
            .with_environment(environment);
        let what = modules.map(|modules| format!("importing {modules}"));
        with_progress(emitter, what, |_| self.supply.sandbox(spec, request.start)).await
    }

    /// Opens the granted paths of a run: beneath its ceiling, or by the caller's own paths.
    async fn grants(
        &self,
        policy: &FsPolicy,
        ceiling: Option<Arc<CeilingGrants>>,
    ) -> Result<Grants, EngineError> {
        if policy.read.is_empty() && policy.write.is_empty() {
            return Ok(Grants::default());
        }
        let (policy, protected) = (policy.clone(), Arc::clone(&self.protected));
        let open = move || {
            let grants = match ceiling {
                Some(ceiling) => ceiling.resolve(&policy)?,
                None => Grants::of_caller(&policy)?,
            };
            grants.check(&protected)?;
            Ok(grants)
        };
        // A file system that does not answer must not block other runs.
        tokio::task::spawn_blocking(open)
            .await
            .map_err(|_| EngineError::Internal("the task that opens granted paths panicked"))?
    }

    async fn runtime(
        &self,
        name: &RuntimeName,
        progress: impl Fn(String) + Send + 'static,
    ) -> Result<Arc<Runtime>, EngineError> {
        if let Some(runtime) =
            self.runtimes.lock().unwrap_or_else(PoisonError::into_inner).get(name)
        {
            return Ok(Arc::clone(runtime));
        }
        let local = self.provisioner.offline();
        let (provisioner, cache) =
            (Arc::clone(&self.provisioner), self.config.provision.cache.clone());
        let wanted = name.clone();
        let found = tokio::task::spawn_blocking(move || {
            let mut last = String::new();
            let mut report = |step: Step<'_>| {
                let message = describe_step(step);
                if message != last {
                    progress(message.clone());
                    last = message;
                }
            };
            match Runtime::provision(&local, &cache, &wanted, &mut Silent) {
                Err(EngineError::Provision(ProvisionError::Offline { .. })) => {
                    // Not before: the probe takes as long as the start of a sandbox.
                    check_namespaces()?;
                    Runtime::provision(&provisioner, &cache, &wanted, &mut report)
                }
                found => found,
            }
        });
        let runtime =
            Arc::new(found.await.map_err(|_| {
                EngineError::Internal("the task that finds the runtime panicked")
            })??);
        self.runtimes
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .insert(name.clone(), Arc::clone(&runtime));
        Ok(runtime)
    }
}

fn check_namespaces() -> Result<(), EngineError> {
    match probe_namespaces() {
        NamespaceProbe::Works => Ok(()),
        NamespaceProbe::Fails(error) => Err(EngineError::NoNamespaces(error)),
    }
}

/// Refuses files that do not fit the disk limit: the program could not start.
fn check_files(request: &RunRequest, terms: &LimitTerms) -> Result<(), EngineError> {
    let size: u64 = request.files.iter().map(|file| file.content.len() as u64).sum();
    let disk = request.limits.disk_bytes;
    if size <= disk.0 {
        return Ok(());
    }
    let limit = Limit::disk_bytes();
    let hint = terms.advice_for(limit, disk.0, size.saturating_mul(2), "pass smaller files");
    Err(EngineError::Files {
        size: Bytes(size),
        disk,
        source_of_limit: terms.source(limit, disk.0),
        hint,
    })
}

fn names_storage(request: &RunRequest) -> bool {
    let storage = &request.policy.storage;
    !storage.read.is_empty() || !storage.write.is_empty()
}

fn check(name: &RuntimeName, request: &RunRequest) -> Result<(), EngineError> {
    if request.language == Language::Python {
        python_variables::check(&request.policy.env)?;
    }
    if !name.runs(request.language) {
        let (runtime, language) = (name.clone(), request.language);
        return Err(EngineError::WrongRuntime { runtime, language });
    }
    if !request.files.iter().any(|file| file.path == request.entry) {
        return Err(EngineError::NoProgram(request.entry.as_str().to_owned()));
    }
    Ok(())
}
