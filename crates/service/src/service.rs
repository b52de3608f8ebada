//! The service itself: what it is made of, how it is opened and closed.

use std::collections::HashMap;
use std::fs::File;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use belljar_engine::Engine;
use belljar_environments::Environments;
use belljar_objects::{Objects, ObjectsConfig};
use belljar_protocol::{IssuedToken, NewToken, ProjectName, ProjectRecord, ProjectSettings, Scope};
use belljar_store::{NewAuditEntry, Store, Token, TokenHash};
use rustix::fs::FlockOperation;
use serde_json::json;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::callbacks::Messenger;
use crate::caller::{Caller, OPERATOR};
use crate::ceilings::Ceilings;
use crate::config::{Durability, Home, ServiceConfig};
use crate::error::ServiceError;
use crate::held::{HeldMemory, MemoryAccount};
use crate::metrics;
use crate::rate::Rates;
use crate::refusals::Refusals;
use crate::runs::{Ends, LiveRuns, Queue};
use crate::signing::Keys;
use crate::tokens::WRONG_TOKENS_BURST_S;

/// How many seconds' worth of a project's requests may come at once.
const REQUESTS_BURST_S: f64 = 10.0;
/// How long runs that were told to end are waited for.
const END_TIME: Duration = Duration::from_secs(5);

/// The use cases over one home. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Service {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    home: Home,
    config: ServiceConfig,
    engine: Engine,
    environments: Environments,
    store: Store,
    objects: Objects,
    keys: Keys,
    ceilings: Ceilings,
    live: LiveRuns,
    queue: Queue,
    ends: Ends,
    run_tasks: TaskTracker,
    /// What goes on until the service is closed.
    background: TaskTracker,
    wrong_tokens: Rates,
    requests: Rates,
    refusals: Refusals,
    /// Of runs that are not over.
    submissions: MemoryAccount,
    /// Answers that their clients have not read.
    answers: MemoryAccount,
    /// Calls from inside sandboxes.
    run_calls: Rates,
    /// Counts what was forgotten: what was looked up before that is not remembered after.
    generation: AtomicU64,
    /// This process is the only one that changes them: what is here is true.
    tokens: Mutex<HashMap<TokenHash, Arc<CachedToken>>>,
    projects: Mutex<HashMap<String, Arc<ProjectRecord>>>,
    callbacks_due: Notify,
    blobs_doomed: Notify,
    is_stopping: AtomicBool,
    closed: CancellationToken,
    _lock: File,
}

/// A token that was looked up.
#[derive(Debug)]
pub(crate) struct CachedToken {
    pub(crate) token: Token,
    touched: Mutex<Option<Instant>>,
}

impl CachedToken {
    /// Whether its last use is to be written down; it then is.
    pub(crate) fn is_touch_due(&self, every: Duration) -> bool {
        let mut touched = self.touched.lock().unwrap_or_else(PoisonError::into_inner);
        let is_due = touched.is_none_or(|at| at.elapsed() >= every);
        if is_due {
            *touched = Some(Instant::now());
        }
        is_due
    }
}

/// Tokens that are remembered; beyond, they are looked up again.
const MOST_CACHED_TOKENS: usize = 10_000;
/// Answers that wait in memory for their clients to read them, all together. A project gets no more of it than it leaves
/// free.
const MAX_ANSWERS_BYTES: u64 = 256 << 20;

impl Service {
    /// The project that is used when none is named.
    pub const FIRST_PROJECT: &str = "default";

    /// Opens a home, makes it where there is none, and takes up what was left when it was last closed. Fails where another server uses it.
    pub async fn open(home: PathBuf, config: ServiceConfig, engine: Engine, environments: Environments) -> Result<Self, ServiceError> {
        metrics::describe();
        let home = Home::new(home);
        make_private(&home)?;
        let lock = lock(&home)?;
        let store = Store::open(&home.database(), store_durability(&config)).await?;
        let objects = Objects::open(&objects_config(&home, &config))?;
        let keys = Keys::open(&home.key()).map_err(|error| ServiceError::Home { what: "opening the signing key".into(), error })?;
        let messenger = Messenger::new(config.callbacks.allow_private)?;
        let queue = Queue::new(crate::runs::capacity(&config.runs, engine.machine()));
        let submissions = MemoryAccount::new(config.runs.submissions_bytes.0);
        let answers = MemoryAccount::new(MAX_ANSWERS_BYTES);
        let ceilings = Ceilings::open(&engine, &store.projects().await?);
        let inner = Inner {
            home,
            config,
            engine,
            environments,
            store,
            objects,
            keys,
            ceilings,
            live: LiveRuns::default(),
            queue,
            ends: Ends::default(),
            run_tasks: TaskTracker::new(),
            background: TaskTracker::new(),
            wrong_tokens: Rates::new(WRONG_TOKENS_BURST_S),
            requests: Rates::new(REQUESTS_BURST_S),
            refusals: Refusals::default(),
            submissions,
            answers,
            run_calls: Rates::new(REQUESTS_BURST_S),
            generation: AtomicU64::new(0),
            tokens: Mutex::default(),
            projects: Mutex::default(),
            callbacks_due: Notify::new(),
            blobs_doomed: Notify::new(),
            is_stopping: AtomicBool::new(false),
            closed: CancellationToken::new(),
            _lock: lock,
        };
        let service = Self { inner: Arc::new(inner) };
        service.recover_runs().await?;
        service.inner.background.spawn(service.clone().make_callbacks(messenger));
        service.inner.background.spawn(service.clone().sweep());
        Ok(service)
    }

    /// On a home's first start: makes the first project and a token for it, which is shown this once.
    pub async fn first_start(&self) -> Result<Option<IssuedToken>, ServiceError> {
        if !self.store().projects().await?.is_empty() {
            return Ok(None);
        }
        let name: ProjectName = Self::FIRST_PROJECT.parse()?;
        let audit = NewAuditEntry {
            project: Some(name.to_string()),
            actor: OPERATOR.into(),
            source: None,
            action: "project.create",
            target: name.to_string(),
            details: json!({}),
        };
        let project = self.store().create_project(name, ProjectSettings::default(), audit).await?;
        let caller = Caller { source: None, ..self.operator(project.name.as_str()).await? };
        let new = NewToken { name: "first".into(), scopes: Scope::ALL.to_vec(), expires_in_ms: None };
        Ok(Some(self.issue(&project, &caller, new).await?))
    }

    /// Whether everything that a run or an object needs is there.
    pub async fn check(&self) -> Result<(), ServiceError> {
        if self.is_stopping() {
            return Err(ServiceError::Stopping);
        }
        self.store().check().await?;
        Ok(self.objects().check().await?)
    }

    /// Runs under way and runs that wait; told to the metrics too.
    pub fn queue_counts(&self) -> (u32, u32) {
        let (running, waiting) = self.queue().counts();
        metrics::queue(running, waiting);
        (running, waiting)
    }

    /// Accepts nothing more, waits for the runs under way as long as is configured, interrupts the rest, and closes. Runs that wait, wait on in the
    /// store.
    pub async fn stop(&self) {
        self.inner.is_stopping.store(true, Ordering::Release);
        self.run_tasks().close();
        for live in self.live().all() {
            if !live.record().status.is_ended() && live.record().status == belljar_protocol::RunState::Queued {
                live.interrupt();
            }
        }
        let drain = Duration::from_millis(self.config().runs.drain_ms.0);
        if tokio::time::timeout(drain, self.run_tasks().wait()).await.is_err() {
            for live in self.live().all() {
                live.interrupt();
            }
            let _ = tokio::time::timeout(END_TIME, self.run_tasks().wait()).await;
        }
        self.inner.closed.cancel();
        // What is at work in the store ends what it is at, before the store is closed under it.
        self.inner.background.close();
        let _ = tokio::time::timeout(END_TIME, self.inner.background.wait()).await;
        self.note_left_out().await;
        self.inner.engine.clone().shutdown().await;
        self.store().close().await;
    }

    pub(crate) fn home(&self) -> &Home {
        &self.inner.home
    }

    pub(crate) fn config(&self) -> &ServiceConfig {
        &self.inner.config
    }

    /// The largest request that is accepted, bytes.
    pub fn most_submission_bytes(&self) -> usize {
        usize::try_from(self.config().runs.most_submission_bytes.0).unwrap_or(usize::MAX)
    }

    pub(crate) fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    pub(crate) fn environments(&self) -> &Environments {
        &self.inner.environments
    }

    pub(crate) fn store(&self) -> &Store {
        &self.inner.store
    }

    pub(crate) fn objects(&self) -> &Objects {
        &self.inner.objects
    }

    pub(crate) fn keys(&self) -> &Keys {
        &self.inner.keys
    }

    pub(crate) fn ceilings(&self) -> &Ceilings {
        &self.inner.ceilings
    }

    pub(crate) fn live(&self) -> &LiveRuns {
        &self.inner.live
    }

    pub(crate) fn queue(&self) -> &Queue {
        &self.inner.queue
    }

    pub(crate) fn ends(&self) -> &Ends {
        &self.inner.ends
    }

    pub(crate) fn run_tasks(&self) -> &TaskTracker {
        &self.inner.run_tasks
    }

    pub(crate) fn run_calls(&self) -> &Rates {
        &self.inner.run_calls
    }

    pub(crate) fn wrong_tokens(&self) -> &Rates {
        &self.inner.wrong_tokens
    }

    pub(crate) fn refusals(&self) -> &Refusals {
        &self.inner.refusals
    }

    pub(crate) fn requests(&self) -> &Rates {
        &self.inner.requests
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.inner.is_stopping.load(Ordering::Acquire)
    }

    pub(crate) async fn until_closed(&self) {
        self.inner.closed.cancelled().await;
    }

    pub(crate) fn callbacks_are_due(&self) {
        self.inner.callbacks_due.notify_one();
    }

    pub(crate) async fn until_callbacks_are_due(&self) {
        self.inner.callbacks_due.notified().await;
    }

    pub(crate) fn blobs_are_doomed(&self) {
        self.inner.blobs_doomed.notify_one();
    }

    pub(crate) async fn until_blobs_are_doomed(&self) {
        self.inner.blobs_doomed.notified().await;
    }

    fn cached_tokens(&self) -> MutexGuard<'_, HashMap<TokenHash, Arc<CachedToken>>> {
        self.inner.tokens.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn cached_projects(&self) -> MutexGuard<'_, HashMap<String, Arc<ProjectRecord>>> {
        self.inner.projects.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) async fn token(&self, hash: &TokenHash) -> Result<Option<Arc<CachedToken>>, ServiceError> {
        if let Some(known) = self.cached_tokens().get(hash) {
            return Ok(Some(Arc::clone(known)));
        }
        let generation = self.generation();
        let Some(token) = self.store().token(hash).await? else { return Ok(None) };
        let known = Arc::new(CachedToken { token, touched: Mutex::default() });
        let mut cached = self.cached_tokens();
        if known.token.record.revoked_at.is_none() && self.generation() == generation {
            if cached.len() >= MOST_CACHED_TOKENS {
                cached.clear();
            }
            cached.insert(hash.clone(), Arc::clone(&known));
        }
        Ok(Some(known))
    }

    fn generation(&self) -> u64 {
        self.inner.generation.load(Ordering::Acquire)
    }

    pub(crate) fn forget_token(&self, hash: &TokenHash) {
        let mut cached = self.cached_tokens();
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        cached.remove(hash);
    }

    /// After a change of projects: they, and their tokens, are looked up again.
    pub(crate) fn forget_projects(&self) {
        let (mut projects, mut tokens) = (self.cached_projects(), self.cached_tokens());
        self.inner.generation.fetch_add(1, Ordering::AcqRel);
        projects.clear();
        tokens.clear();
    }

    pub(crate) async fn project_of_id(&self, id: &str) -> Result<Arc<ProjectRecord>, ServiceError> {
        if let Some(known) = self.cached_projects().get(id) {
            return Ok(Arc::clone(known));
        }
        let generation = self.generation();
        let project = Arc::new(self.store().project(id).await?);
        self.remember_project(&project, generation);
        Ok(project)
    }

    pub(crate) async fn project_of_name(&self, name: &str) -> Result<Arc<ProjectRecord>, ServiceError> {
        if let Some(known) = self.cached_projects().values().find(|project| project.name.as_str() == name) {
            return Ok(Arc::clone(known));
        }
        let generation = self.generation();
        let project = Arc::new(self.store().project_named(name).await?);
        self.remember_project(&project, generation);
        Ok(project)
    }

    fn remember_project(&self, project: &Arc<ProjectRecord>, generation: u64) {
        let mut cached = self.cached_projects();
        if self.generation() == generation {
            cached.insert(project.id.clone(), Arc::clone(project));
        }
    }

    /// Bytes of the submissions of a project's runs that are not over.
    pub(crate) fn held_submissions(&self, project_id: &str) -> u64 {
        self.inner.submissions.of(project_id)
    }

    /// Memory for an answer of the project's until its client has read it. Fails where others that nobody reads hold too much.
    pub fn hold_answer(&self, project_id: &str, bytes: u64) -> Result<HeldMemory, ServiceError> {
        self.inner
            .answers
            .hold(project_id, bytes)
            .ok_or(ServiceError::Busy { detail: "too many large answers of the project are not read yet", retry_after_s: 5 })
    }

    /// Takes memory for a submission until its run is over; `None` when there is no room for it.
    pub(crate) fn hold_submission(&self, project_id: &str, bytes: u64) -> Option<HeldMemory> {
        self.inner.submissions.hold(project_id, bytes)
    }
}

fn make_private(home: &Home) -> Result<(), ServiceError> {
    use std::os::unix::fs::DirBuilderExt;
    let failed = |error| ServiceError::Home { what: format!("making the home {}", home.path().display()), error };
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(home.path()).map_err(failed)
}

/// One server a home.
fn lock(home: &Home) -> Result<File, ServiceError> {
    let path = home.lock();
    let failed = |error| ServiceError::Home { what: format!("opening {}", path.display()), error };
    let file = File::options().create(true).append(true).open(&path).map_err(failed)?;
    match rustix::fs::flock(&file, FlockOperation::NonBlockingLockExclusive) {
        Ok(()) => Ok(file),
        Err(rustix::io::Errno::WOULDBLOCK) => Err(ServiceError::Conflict(format!(
            "another server uses {}; stop it, or choose another home with BELLJAR_HOME",
            home.path().display()
        ))),
        Err(error) => Err(failed(error.into())),
    }
}

pub(crate) fn store_durability(config: &ServiceConfig) -> belljar_store::Durability {
    match config.durability {
        Durability::Process => belljar_store::Durability::Process,
        Durability::Disk => belljar_store::Durability::Disk,
    }
}

/// Where contents are: as configured, else in the home.
pub(crate) fn objects_config(home: &Home, config: &ServiceConfig) -> ObjectsConfig {
    config.objects.clone().unwrap_or_else(|| ObjectsConfig::Directory {
        path: home.objects(),
        durability: match config.durability {
            Durability::Process => belljar_objects::Durability::Process,
            Durability::Disk => belljar_objects::Durability::Disk,
        },
    })
}
