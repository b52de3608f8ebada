//! The engine: takes requests, finds each a sandbox, and keeps house.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use belljar_jail::{CgroupVersion, Cgroups, SandboxCgroup};
use belljar_protocol::{EventKind, FsPolicy, Language, RunError, RunId, RunRequest, RuntimeName, SandboxInfo, Start, StartMode, Status};
use belljar_provision::{Provisioner, Step};
use tokio::sync::{OnceCell, Semaphore, mpsc, oneshot, watch};

use crate::artifacts::ArtifactRoom;
use crate::calls::Calls;
use crate::config::EngineConfig;
use crate::door::Door;
use crate::environment::{Environment, EnvironmentSource};
use crate::error::{EngineError, system};
use crate::grants::{CeilingGrants, Grants};
use crate::groups::{self, GroupLimits, Internet, Retired, SOCKET_SHARE};
use crate::leaving::Leaving;
use crate::left_behind::LeftFiles;
use crate::machine::{Machine, check_own_open_files};
use crate::pool::{Pool, Renewal, Watch};
use crate::protected::Protected;
use crate::python_variables;
use crate::run::{self, Emitter, Finished, Host, Run};
use crate::runtime::Runtime;
use crate::sandbox::{Body, Sandbox, SandboxSpec, SpecKey, TAKE_DOWN_TIME};
use crate::self_test::{self, SelfTest};
use crate::spawner::Spawner;
use crate::still::{Unfit, Waiting};
use crate::tool::{Check, Tool, ToolEnd};
use crate::zygote::{Ended, UidLease, Zygote};

/// Where no other is missing, a parked sandbox that was taken is replaced this much later: a fork takes the processors from the run that has just begun,
/// and from whoever records its end. Where others are missing too, there is no time to lose.
const REPLACE_AFTER: Duration = Duration::from_millis(5);
/// How often stopped sandboxes are looked at: how long one may run that has woken itself.
const WATCH_STOPPED_EVERY: Duration = Duration::from_secs(1);

/// Boots runtimes and runs programs in sandboxes. Cheap to clone; when the last clone is gone, everything it started goes with it.
#[derive(Clone, Debug)]
pub struct Engine {
    inner: Arc<Inner>,
}

#[derive(Debug)]
pub(crate) struct Inner {
    config: EngineConfig,
    /// Folders that no run may be granted.
    protected: Arc<[Protected]>,
    provisioner: Provisioner,
    pub(crate) spawner: Spawner,
    cgroups: Result<Cgroups, String>,
    machine: Machine,
    pub(crate) retired: Retired,
    pool: Pool,
    runtimes: Mutex<HashMap<RuntimeName, Arc<Runtime>>>,
    /// What the self-test says of each runtime, by its identity.
    tested: Mutex<HashMap<String, Arc<OnceCell<SelfTest>>>>,
    sandboxes: AtomicU64,
    /// What is being taken down, or will be as soon as it is there.
    leaving: Leaving,
    is_closing: AtomicBool,
    /// Whether stopped sandboxes are watched.
    is_watching: AtomicBool,
    /// Artifacts are read on as many threads as there are processors.
    pub(crate) readers: Semaphore,
    /// Things are also dropped outside of it.
    tokio: tokio::runtime::Handle,
    weak: Weak<Inner>,
}

/// What the host gives a run besides its request.
#[derive(Clone, Debug, Default)]
pub struct RunOptions {
    /// The run's id, where the host has recorded it already; else a new one.
    pub id: Option<RunId>,
    /// Who answers the calls of a run whose policy names storage. Such a run is refused without.
    pub door: Option<Arc<dyn Door>>,
    /// Whose run it is. Tenants share no zygote; runs of none share theirs.
    pub tenant: Option<String>,
    /// Who makes the environment that its packages are in. Without, it has none.
    pub environments: Option<Arc<dyn EnvironmentSource>>,
    /// The ceiling that its granted paths are asked for under. Without, they are the caller's own.
    pub ceiling: Option<Arc<CeilingGrants>>,
    /// How many bytes of artifacts the host takes. Asked once the program has ended and before any of them is read.
    pub room: Option<Arc<dyn ArtifactRoom>>,
    /// What becomes of files that the program leaves in its working folder, outside of `outputs/`.
    pub left_files: LeftFiles,
}

/// What an engine found to confine and count with.
#[derive(Clone, Debug)]
pub struct Isolation {
    /// The version of control groups in use, or why there are none.
    pub cgroups: Result<CgroupVersion, String>,
    /// Layers that are missing.
    pub degraded: Vec<String>,
}

impl Engine {
    /// Opens the control groups and the cache. Boots nothing yet. Must be called inside a tokio runtime.
    pub fn new(config: EngineConfig) -> Result<Self, EngineError> {
        check_own_open_files()?;
        let provisioner = Provisioner::new(config.provision.clone())?;
        let spawner = Spawner::start().map_err(system("starting a thread"))?;
        let cgroups = Cgroups::open().map_err(|error| error.to_string());
        let cache = Protected { what: "belljar's cache", path: config.provision.cache.clone() };
        let protected = config.protected.iter().cloned().chain([cache]).collect();
        let machine = Machine::look(cgroups.as_ref().ok());
        let inner = Arc::new_cyclic(|weak| Inner {
            config,
            protected,
            provisioner,
            spawner,
            cgroups,
            machine,
            retired: Retired::default(),
            pool: Pool::default(),
            runtimes: Mutex::default(),
            tested: Mutex::default(),
            sandboxes: AtomicU64::new(0),
            leaving: Leaving::default(),
            is_closing: AtomicBool::new(false),
            is_watching: AtomicBool::new(false),
            readers: Semaphore::new(std::thread::available_parallelism().map_or(1, std::num::NonZero::get)),
            tokio: tokio::runtime::Handle::current(),
            weak: weak.clone(),
        });
        Ok(Self { inner })
    }

    /// What it found to confine and count with.
    pub fn isolation(&self) -> Isolation {
        Isolation { cgroups: self.inner.cgroups.as_ref().map(Cgroups::version).map_err(Clone::clone), degraded: self.inner.degraded() }
    }

    /// What this machine has for sandboxes. Looked at once, when the engine is made.
    pub fn machine(&self) -> Machine {
        self.inner.machine
    }

    /// Runs one program. Whatever is wrong with the request, the runtime or the machine becomes an outcome `refused` that says so.
    pub fn run(&self, request: RunRequest) -> Run {
        self.run_with(request, RunOptions::default())
    }

    /// Runs one program, with what its host gives it besides.
    pub fn run_with(&self, request: RunRequest, options: RunOptions) -> Run {
        let id = options.id.unwrap_or_default();
        // What a policy does not name, a door is not asked for.
        let calls = match options.door {
            Some(door) if names_storage(&request) => Calls::new(id.clone(), door),
            _ => Calls::default(),
        };
        let place = Place {
            tenant: options.tenant,
            environments: options.environments,
            ceiling: options.ceiling,
            room: options.room,
            left_files: options.left_files,
        };
        let (sender, events) = mpsc::unbounded_channel();
        let (cancel, cancelled) = watch::channel(false);
        let inner = Arc::clone(&self.inner);
        let finished = tokio::spawn({
            let id = id.clone();
            async move { inner.run(id, &request, place, calls, Emitter::new(sender), cancelled).await }
        });
        Run { id, events, finished, cancel }
    }

    /// Finds or fetches a runtime.
    pub async fn runtime(&self, name: &RuntimeName) -> Result<Arc<Runtime>, EngineError> {
        self.inner.runtime(name, |_| {}).await
    }

    /// Opens the paths of a ceiling, for runs under it. See [`CeilingGrants::check`] for what is wrong with them.
    pub fn ceiling(&self, policy: &FsPolicy) -> CeilingGrants {
        CeilingGrants::open(policy, Arc::clone(&self.inner.protected))
    }

    /// A sandbox of its own, parked. What runs in it is up to [`Engine::execute`].
    pub async fn sandbox(&self, spec: SandboxSpec, start: StartMode) -> Result<Sandbox, EngineError> {
        spec.grants.check(&self.inner.protected)?;
        self.inner.sandbox(spec, start).await
    }

    /// Runs a program in a sandbox. The request's policy and limits must be those that the sandbox was made for.
    pub async fn execute(&self, sandbox: Sandbox, request: &RunRequest) -> Finished {
        let (sender, _events) = mpsc::unbounded_channel();
        let (_cancel, cancelled) = watch::channel(false);
        run::execute(&self.inner, sandbox, RunId::new(), request, Host::default(), Emitter::new(sender), cancelled).await
    }

    /// Forks sandboxes of a runtime exactly as production does and proves that they share nothing. Always runs, and remembers what it finds.
    pub async fn self_test(&self, runtime: &Arc<Runtime>) -> Result<SelfTest, EngineError> {
        let result = self_test::run(&self.inner, runtime).await?;
        self_test::remember(&self.inner.config.provision.cache, runtime, &result);
        Ok(result)
    }

    /// Parks `count` sandboxes of a spec ahead of time.
    pub async fn park(&self, spec: &SandboxSpec, count: usize) -> Result<(), EngineError> {
        while self.inner.pool.parked(&spec.key()) < count {
            let sandbox = self.inner.fresh(spec.clone(), StartMode::Auto).await?;
            let waiting = self.inner.hold(sandbox).await.map_err(|why| EngineError::NotReady(why.into()))?;
            let gone = self.inner.pool.park(spec.key(), waiting, self.inner.config.parked_memory_bytes);
            self.inner.let_go(gone);
        }
        Ok(())
    }

    /// The number of sandboxes that are parked for a spec.
    pub fn parked(&self, spec: &SandboxSpec) -> usize {
        self.inner.pool.parked(&spec.key())
    }

    /// Lets all zygotes and parked sandboxes go. The next run boots a zygote of its own.
    pub fn forget_zygotes(&self) {
        self.inner.let_go(self.inner.pool.clear());
    }

    /// Runs a tool in a jail of its own, to its end. Its output goes to `lines`, line by line, and it waits where nobody takes them; `check` is asked every
    /// half second whether it may go on. When the returned future is dropped, the tool ends.
    pub async fn run_tool(&self, tool: Tool, lines: mpsc::Sender<String>, check: Check) -> Result<ToolEnd, EngineError> {
        let (_wants, wanted) = oneshot::channel();
        let (engine, leaver) = (Arc::clone(&self.inner), self.inner.leaving.one_more());
        let running = tokio::spawn(async move {
            let end = engine.run_tool(tool, lines, check, wanted).await;
            drop(leaver);
            end
        });
        running.await.map_err(|_| EngineError::NotReady("running the tool panicked".into()))?
    }

    /// Ends a sandbox that nothing was run in.
    pub fn discard(&self, sandbox: Sandbox) {
        self.inner.take_down(sandbox.body, Some(sandbox.ended));
    }

    /// Ends everything and waits until it is gone, at most ten seconds.
    pub async fn shutdown(self) {
        self.inner.is_closing.store(true, Ordering::Release);
        let gone = async {
            // Twice: what was on its way to be parked may have got there in the meantime.
            for _ in 0..2 {
                self.forget_zygotes();
                self.inner.leaving.none_left().await;
            }
        };
        let _ = tokio::time::timeout(TAKE_DOWN_TIME, gone).await;
    }
}

impl Inner {
    async fn run(
        self: Arc<Self>,
        id: RunId,
        request: &RunRequest,
        place: Place,
        calls: Calls,
        mut emitter: Emitter,
        mut cancelled: watch::Receiver<bool>,
    ) -> Finished {
        emitter.emit(EventKind::Queued { id: id.clone() });
        if names_storage(request) && !calls.has_door() {
            let info = SandboxInfo::none_yet(request.language.default_runtime().to_string());
            return run::refused(id, info, emitter, &EngineError::NoDoor);
        }
        let name = request.runtime.clone().unwrap_or_else(|| request.language.default_runtime());
        let mut info = SandboxInfo::none_yet(name.to_string());
        let (environments, room, left_files) = (place.environments.clone(), place.room.clone(), place.left_files);
        let prepared = tokio::select! {
            biased;
            () = until_cancelled(&mut cancelled) => {
                let error = RunError { name: "Cancelled".into(), message: "the run was cancelled before it started".into(), ..RunError::default() };
                return run::not_started(id, info, &mut emitter, Status::Cancelled, error);
            }
            prepared = self.prepare(&name, request, place, &mut emitter, &mut info) => prepared,
        };
        match prepared {
            Ok(sandbox) => {
                run::execute(&self, sandbox, id, request, Host { calls, environments, room, left_files }, emitter, cancelled).await
            }
            Err(EngineError::Environment(error)) => run::not_started(id, info, &mut emitter, Status::Refused, error),
            Err(error) => run::refused(id, info, emitter, &error),
        }
    }

    async fn prepare(
        &self,
        name: &RuntimeName,
        request: &RunRequest,
        place: Place,
        emitter: &mut Emitter,
        info: &mut SandboxInfo,
    ) -> Result<Sandbox, EngineError> {
        check(name, request)?;
        request.policy.validate()?;
        request.limits.validate()?;
        self.machine.check(&request.limits)?;
        // Before anything else, and once: what the names lead to while packages are installed or a zygote boots does not matter any more.
        let grants = self.grants(&request.policy.fs, place.ceiling).await?;
        let runtime = telling(emitter, None, |tell| self.runtime(name, move |message| tell(message))).await?;
        *info = self.sandbox_info(&runtime, None, if request.start == StartMode::Exec { Start::Exec } else { Start::Fork });
        let environment = match place.environments {
            Some(source) => telling(emitter, None, |tell| source.environment(request, tell)).await.map_err(EngineError::Environment)?,
            None => None,
        };
        // What a program sets for its packages to read has to be there before they are imported.
        let environment = environment
            .map(|environment| if request.policy.env.is_empty() { environment } else { Arc::new(environment.without_modules()) });
        info.environment = environment.as_ref().map(|environment| environment.key.clone());
        let modules = environment.as_ref().map(|environment| environment.modules.join(", ")).filter(|modules| !modules.is_empty());
        let spec = SandboxSpec::with_grants(runtime, &request.policy, &request.limits, grants)
            .of_tenant(place.tenant)
            .with_environment(environment);
        let what = modules.map(|modules| format!("importing {modules}"));
        telling(emitter, what, |_| self.sandbox(spec, request.start)).await
    }

    /// Opens what a run is granted: beneath its ceiling, or by the caller's own names.
    async fn grants(&self, policy: &FsPolicy, ceiling: Option<Arc<CeilingGrants>>) -> Result<Grants, EngineError> {
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
        // A file system that does not answer must not hold up everybody.
        tokio::task::spawn_blocking(open).await.map_err(|_| EngineError::NotReady("opening what is granted panicked".into()))?
    }

    async fn runtime(&self, name: &RuntimeName, progress: impl Fn(String) + Send + 'static) -> Result<Arc<Runtime>, EngineError> {
        if let Some(runtime) = self.runtimes.lock().unwrap_or_else(PoisonError::into_inner).get(name) {
            return Ok(Arc::clone(runtime));
        }
        let engine = self.strong()?;
        let wanted = name.clone();
        let found = tokio::task::spawn_blocking(move || {
            let mut last = String::new();
            let mut tell = |step: Step<'_>| {
                let message = describe_step(step);
                if message != last {
                    progress(message.clone());
                    last = message;
                }
            };
            Runtime::provision(&engine.provisioner, &engine.config.provision.cache, &wanted, &mut tell)
        });
        let runtime = Arc::new(found.await.map_err(|_| EngineError::NotReady("finding the runtime panicked".into()))??);
        self.runtimes.lock().unwrap_or_else(PoisonError::into_inner).insert(name.clone(), Arc::clone(&runtime));
        Ok(runtime)
    }

    fn strong(&self) -> Result<Arc<Self>, EngineError> {
        self.weak.upgrade().ok_or_else(|| EngineError::NotReady("the engine is shutting down".into()))
    }

    /// One that is ready. Where modules that are imported ahead keep it from getting there, one without: the program then meets what is wrong with them.
    async fn sandbox(&self, spec: SandboxSpec, start: StartMode) -> Result<Sandbox, EngineError> {
        let Some(without_modules) = spec.without_modules() else { return self.ready_sandbox(spec, start).await };
        let key = spec.zygote_key();
        if self.pool.is_out(&key) {
            return self.ready_sandbox(without_modules, start).await;
        }
        match self.ready_sandbox(spec, start).await {
            Err(EngineError::NotReady(_)) if !self.is_closing.load(Ordering::Acquire) => {
                self.pool.strike(key);
                self.ready_sandbox(without_modules, start).await
            }
            sandbox => sandbox,
        }
    }

    /// A parked sandbox if there is one, else a fresh one; and then another one parked in its place.
    async fn ready_sandbox(&self, spec: SandboxSpec, start: StartMode) -> Result<Sandbox, EngineError> {
        if start == StartMode::Exec || self.config.parked == 0 {
            return self.fresh(spec, start).await;
        }
        let key = spec.key();
        let parked = self.take_parked(&key);
        if let Some(engine) = self.weak.upgrade() {
            let spec = spec.clone();
            let leaver = self.leaving.one_more();
            tokio::spawn(async move {
                if engine.pool.parked(&spec.key()) + 1 >= engine.config.parked {
                    tokio::time::sleep(REPLACE_AFTER).await;
                }
                engine.refill(spec).await;
                drop((engine, leaver));
            });
        }
        match parked {
            Some(sandbox) => Ok(sandbox),
            None => self.fresh(spec, start).await,
        }
    }

    async fn refill(&self, spec: SandboxSpec) {
        if let Some(place) = self.pool.reserve(spec.key(), self.config.parked)
            && let Ok(sandbox) = self.fresh(spec, StartMode::Auto).await
            && let Ok(waiting) = self.hold(sandbox).await
        {
            if self.is_closing.load(Ordering::Acquire) {
                self.let_go(vec![waiting]);
            } else {
                self.let_go(place.park(waiting, self.config.parked_memory_bytes));
            }
        }
    }

    /// One of the pool that is of use.
    fn take_parked(&self, key: &SpecKey) -> Option<Sandbox> {
        loop {
            let waiting = self.pool.take(key)?;
            let was_held = waiting.is_held();
            match waiting.wake() {
                Ok(sandbox) => {
                    if was_held {
                        self.pool.forgive(key.zygote_key());
                    }
                    return Some(sandbox);
                }
                Err(unfit) => self.throw_away(*unfit),
            }
        }
    }

    /// Holds a sandbox still that is to wait. One that cannot be held is taken down, and why not is returned.
    async fn hold(&self, sandbox: Sandbox) -> Result<Waiting, &'static str> {
        match Waiting::begin(sandbox).await {
            Ok(waiting) => {
                if waiting.can_stir() {
                    self.watch_the_stopped();
                }
                Ok(waiting)
            }
            Err(unfit) => {
                let why = unfit.why;
                self.throw_away(*unfit);
                Err(why)
            }
        }
    }

    /// Takes a sandbox down that packages have made useless. Where they do so each time, they are no longer imported in advance.
    fn throw_away(&self, Unfit { sandbox, .. }: Unfit) {
        self.pool.strike(sandbox.spec.zygote_key());
        self.take_down(sandbox.body, Some(sandbox.ended));
    }

    pub(crate) fn let_go(&self, waiting: Vec<Waiting>) {
        for waiting in waiting {
            let sandbox = waiting.into_sandbox();
            self.take_down(sandbox.body, Some(sandbox.ended));
        }
    }

    /// Ends stopped sandboxes that run all the same, for as long as any are parked.
    fn watch_the_stopped(&self) {
        if self.is_watching.swap(true, Ordering::AcqRel) {
            return;
        }
        let weak = self.weak();
        self.tokio.spawn(async move {
            loop {
                tokio::time::sleep(WATCH_STOPPED_EVERY).await;
                let Some(engine) = weak.upgrade() else { return };
                // Before the pool is looked at: one that is parked from here on starts another watch.
                engine.is_watching.store(false, Ordering::Release);
                let looking = Arc::clone(&engine);
                let looked = tokio::task::spawn_blocking(move || looking.pool.take_stirred()).await;
                let Ok((gone, struck, watch)) = looked else { return };
                for key in struck {
                    engine.pool.strike(key);
                }
                engine.let_go(gone);
                if watch == Watch::Ends || engine.is_watching.swap(true, Ordering::AcqRel) {
                    return;
                }
            }
        });
    }

    async fn fresh(&self, spec: SandboxSpec, start: StartMode) -> Result<Sandbox, EngineError> {
        if self.is_closing.load(Ordering::Acquire) {
            return Err(EngineError::NotReady("the engine is shutting down".into()));
        }
        if start == StartMode::Exec {
            return self.exec(spec).await;
        }
        let tested = self.tested(&spec.runtime).await?;
        if !tested.passed() {
            return match start {
                StartMode::Fork => Err(EngineError::CannotFork { runtime: tested.runtime.clone(), why: tested.failures() }),
                _ => self.exec(spec).await,
            };
        }
        let zygote = self.zygote(&spec).await?;
        Sandbox::fork(self, &zygote, spec).await
    }

    /// In a task of its own, which goes on when nobody waits any longer: its sandbox is then dropped.
    async fn exec(&self, spec: SandboxSpec) -> Result<Sandbox, EngineError> {
        let (engine, leaver) = (self.strong()?, self.leaving.one_more());
        let made = tokio::spawn(async move {
            let made = Sandbox::exec(&engine, spec).await;
            drop(engine);
            // Together: where nobody takes them, the sandbox goes first.
            (made, leaver)
        });
        made.await.map_err(|_| EngineError::NotReady("launching it panicked".into()))?.0
    }

    /// What the self-test says of a runtime: remembered, or found out now.
    async fn tested(&self, runtime: &Arc<Runtime>) -> Result<SelfTest, EngineError> {
        let cell = Arc::clone(self.tested.lock().unwrap_or_else(PoisonError::into_inner).entry(runtime.identity.clone()).or_default());
        let test = || async {
            let cache = &self.config.provision.cache;
            if let Some(known) = self_test::recall(cache, runtime) {
                return Ok(known);
            }
            let result = self_test::run(&self.strong()?, runtime).await?;
            self_test::remember(cache, runtime, &result);
            Ok(result)
        };
        cell.get_or_try_init(test).await.cloned()
    }

    pub(crate) async fn zygote(&self, spec: &SandboxSpec) -> Result<Arc<Zygote>, EngineError> {
        let key = spec.zygote_key();
        self.pool.forget_dead();
        let cell = self.pool.zygote_cell(&key, Renewal { forks: self.config.zygote_forks, age_s: self.config.zygote_age_s });
        let is_new = cell.get().is_none();
        let boot = || async {
            let boot = Zygote::boot(self.spawner.clone(), spec.clone(), self.leaving.clone());
            let leaver = self.leaving.one_more();
            // In a task of its own, which goes on when nobody waits any longer: its zygote is then dropped.
            let booted = tokio::spawn(async move { (boot.await, leaver) });
            booted.await.map_err(|_| EngineError::NotReady("booting panicked".into()))?.0
        };
        let booted = cell.get_or_try_init(boot).await.cloned();
        drop(cell);
        if booted.is_err() {
            self.pool.forget_dead();
        } else if is_new {
            self.let_go(self.pool.evict(self.config.zygote_memory_bytes, &key));
        }
        booted
    }

    pub(crate) fn next_sandbox(&self) -> u64 {
        self.sandboxes.fetch_add(1, Ordering::Relaxed)
    }

    /// The control group of a new sandbox; none only where the caller has accepted that.
    pub(crate) fn make_cgroup(&self, sandbox: u64, limits: GroupLimits) -> Result<Option<SandboxCgroup>, EngineError> {
        match &self.cgroups {
            Ok(cgroups) => {
                let cgroup = cgroups.create(&format!("s{sandbox}"))?;
                cgroup.limit(limits.memory_bytes, u64::from(limits.processes))?;
                if limits.internet == Internet::Sockets {
                    cgroup.limit_sockets(cgroups, limits.memory_bytes / SOCKET_SHARE)?;
                }
                Ok(Some(cgroup))
            }
            Err(_) if self.config.allow_degraded => Ok(None),
            Err(why) => Err(EngineError::NoLimits(why.clone())),
        }
    }

    fn degraded(&self) -> Vec<String> {
        match &self.cgroups {
            Ok(_) => Vec::new(),
            Err(why) => vec![format!("no control groups ({why}): memory and CPU time are sampled, processes are not limited")],
        }
    }

    pub(crate) fn sandbox_info(&self, runtime: &Runtime, environment: Option<&Environment>, start: Start) -> SandboxInfo {
        let environment = environment.map(|environment| environment.key.clone());
        SandboxInfo { runtime: runtime.name.clone(), start, environment, degraded: self.degraded() }
    }

    /// Ends a sandbox and removes what it had, in the background.
    pub(crate) fn take_down(&self, mut body: Body, ended: Option<oneshot::Receiver<Ended>>) {
        body.kill();
        self.clear_away(body.cgroup.take(), ended, (body.uid.take(), body.zygote.take()));
    }

    /// Removes what a killed sandbox had, in the background; `rest` is dropped at the very end.
    pub(crate) fn clear_away<T: Send + 'static>(
        &self,
        cgroup: Option<SandboxCgroup>,
        ended: Option<oneshot::Receiver<T>>,
        rest: (Option<UidLease>, Option<Arc<Zygote>>),
    ) {
        // The control groups must not go before those in them.
        let Some(engine) = self.weak.upgrade() else { return };
        let leaver = self.leaving.one_more();
        self.tokio.spawn(async move {
            // Whoever has heard of its end already has taken the message.
            if let Some(ended) = ended.filter(|ended| !ended.is_terminated()) {
                let _ = tokio::time::timeout(TAKE_DOWN_TIME, ended).await;
            }
            if let Some(cgroup) = cgroup {
                groups::remove(&engine, cgroup).await;
            }
            // The uid goes back only now.
            drop((rest, engine, leaver));
        });
    }

    pub(crate) fn weak(&self) -> Weak<Self> {
        Weak::clone(&self.weak)
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        if let Ok(cgroups) = &self.cgroups {
            self.retired.clear(cgroups);
        }
    }
}

pub(crate) async fn until_cancelled(cancelled: &mut watch::Receiver<bool>) {
    // An error means that the handle was dropped, which cancels as well.
    let _ = cancelled.wait_for(|cancelled| *cancelled).await;
}

/// How long nothing new is told before it is said that it goes on.
const STILL_AFTER: Duration = Duration::from_secs(2);

/// Waits for something, and emits what it tells meanwhile as progress: each thing when it begins, and again with its seconds while nothing else is told.
/// What is waited for first is `what`, told only where it takes its time.
async fn telling<F: Future>(
    emitter: &mut Emitter,
    what: Option<String>,
    begin: impl FnOnce(Arc<dyn Fn(String) + Send + Sync>) -> F,
) -> F::Output {
    let (progress, mut messages) = mpsc::unbounded_channel::<String>();
    let mut waiting = std::pin::pin!(begin(Arc::new(move |message| drop(progress.send(message)))));
    let (mut last, mut since) = (what, tokio::time::Instant::now());
    let mut still = tokio::time::interval_at(since + STILL_AFTER, STILL_AFTER);
    loop {
        tokio::select! {
            biased;
            Some(message) = messages.recv() => {
                since = tokio::time::Instant::now();
                still.reset();
                last = Some(message.clone());
                emitter.emit(EventKind::Progress { message });
            }
            done = &mut waiting => return done,
            _ = still.tick() => {
                if let Some(last) = &last {
                    emitter.emit(EventKind::Progress { message: format!("{last} ({} s)", since.elapsed().as_secs()) });
                }
            }
        }
    }
}

/// Where a run belongs: whose it is, with which packages, and under which ceiling.
struct Place {
    tenant: Option<String>,
    environments: Option<Arc<dyn EnvironmentSource>>,
    ceiling: Option<Arc<CeilingGrants>>,
    room: Option<Arc<dyn ArtifactRoom>>,
    left_files: LeftFiles,
}

fn names_storage(request: &RunRequest) -> bool {
    let storage = &request.policy.storage;
    !storage.read.is_empty() || !storage.write.is_empty()
}

fn check(name: &RuntimeName, request: &RunRequest) -> Result<(), EngineError> {
    if request.language == Language::Python
        && let Some(why) = python_variables::why_refused(&request.policy.env)
    {
        return Err(EngineError::Request(why));
    }
    if !name.runs(request.language) {
        return Err(EngineError::Request(format!("{name} does not run {}", request.language)));
    }
    if !request.files.iter().any(|file| file.path == request.entry) {
        return Err(EngineError::Request(format!("the program {} is not among the files of the run", request.entry.as_str())));
    }
    Ok(())
}

/// What a step of provisioning is, in words for people.
pub fn describe_step(step: Step<'_>) -> String {
    match step {
        Step::Asking { path } => format!("looking at {}", path.display()),
        Step::Waiting => "waiting for another process that installs the same".into(),
        Step::Discarding { path, why } => format!("discarding {}: {why}", path.display()),
        Step::FallingBack { why } => format!("trying the next source: {why}"),
        Step::Downloading { what, version, bytes, total } => match total {
            Some(total) => format!("downloading {what} {version}: {} of {} MB", bytes >> 20, total >> 20),
            None => format!("downloading {what} {version}: {} MB", bytes >> 20),
        },
        Step::Verifying => "verifying".into(),
        Step::Unpacking => "unpacking".into(),
        _ => "working".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::RunEvent;

    async fn told(what: Option<&str>, messages: &'static [&'static str], takes: Duration) -> Vec<String> {
        let (sender, mut events) = mpsc::unbounded_channel();
        let begin = |tell: Arc<dyn Fn(String) + Send + Sync>| async move {
            for message in messages {
                tell((*message).to_owned());
            }
            tokio::time::sleep(takes).await;
        };
        telling(&mut Emitter::new(sender), what.map(str::to_owned), begin).await;
        let mut told = Vec::new();
        while let Ok(RunEvent::Event(event)) = events.try_recv() {
            if let EventKind::Progress { message } = event.kind {
                told.push(message);
            }
        }
        told
    }

    #[tokio::test]
    async fn what_takes_long_is_told_again_with_its_seconds() {
        let long = STILL_AFTER + STILL_AFTER / 2;
        assert_eq!(told(None, &["resolving", "installing"], long).await, ["resolving", "installing", "installing (2 s)"]);
        assert_eq!(told(Some("importing x"), &[], long).await, ["importing x (2 s)"]);
        assert!(told(None, &[], long).await.is_empty() && told(Some("importing x"), &[], Duration::ZERO).await.is_empty());
    }
}
