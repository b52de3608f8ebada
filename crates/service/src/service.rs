//! The service: builds the use cases over a home, and gives access to them.

use std::fs::File;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use belljar_engine::Engine;
use belljar_environments::Environments;
use belljar_objects::Objects;
use belljar_store::Store;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::access::ceilings::Ceilings;
use crate::access::signing::Keys;
use crate::access::{Access, ServerRules};
use crate::audit::Audit;
use crate::callbacks::Callbacks;
use crate::config::ServiceConfig;
use crate::error::ServiceError;
use crate::home::Home;
use crate::memory_account::MemoryAccount;
use crate::metrics;
use crate::runs::Runs;
use crate::runs::completion::Completion;
use crate::runs::live::LiveRuns;
use crate::runs::queue::{Capacity, Queue};
use crate::runs::supervise::Supervisor;
use crate::storage::Storage;
use crate::upkeep::Upkeep;

/// The time that background tasks have to finish their work.
const END_TIME: Duration = Duration::from_secs(5);

/// The use cases over one home. A clone shares the same service.
#[derive(Clone, Debug)]
pub struct Service {
    parts: Arc<Parts>,
}

#[derive(Debug)]
struct Parts {
    access: Access,
    runs: Arc<Runs>,
    storage: Arc<Storage>,
    audit: Arc<Audit>,
    callbacks: Arc<Callbacks>,
    upkeep: Arc<Upkeep>,
    engine: Engine,
    store: Store,
    /// Tasks that continue until the service is closed.
    background: TaskTracker,
    closed: CancellationToken,
    _lock: File,
}

impl Service {
    /// Opens a home, creates it if necessary, and resumes the runs that were unfinished when it was
    /// last closed. Fails if another server uses the home.
    pub async fn open(
        home: PathBuf,
        config: ServiceConfig,
        engine: Engine,
        environments: Environments,
    ) -> Result<Self, ServiceError> {
        metrics::describe();
        let home = Home::new(home);
        home.create()?;
        let lock = home.lock()?;
        let store = Store::open(&home.database(), config.durability).await?;
        let objects = Objects::open(&home.objects(&config))?;
        let keys = Keys::open(&home.key()).map_err(|error| match error.kind() {
            ErrorKind::InvalidData => ServiceError::InvalidKey(home.key()),
            _ => ServiceError::Home { what: "opening the signing key".into(), error },
        })?;
        let ceilings = Arc::new(Ceilings::open(&engine, &store.projects().await?));
        let live = Arc::new(LiveRuns::default());
        let blobs_doomed = Arc::new(Notify::new());
        let is_stopping = Arc::new(AtomicBool::new(false));

        let audit = Arc::new(Audit::new(store.clone()));
        let callbacks = Callbacks::new(store.clone(), keys.clone(), &config.callbacks)?;
        let callbacks = Arc::new(callbacks);
        let storage =
            Storage::new(store.clone(), objects.clone(), keys.clone(), Arc::clone(&blobs_doomed));
        let storage = Arc::new(storage);
        let capacity = Capacity::new(&config.runs, engine.machine());
        let access = Access::new(
            store.clone(),
            keys.clone(),
            engine.clone(),
            ServerRules { packages: config.packages.clone(), concurrent_runs: capacity.runs },
            Arc::clone(&ceilings),
            Arc::clone(&live),
        );
        let supervisor = Supervisor {
            engine: engine.clone(),
            environments,
            packages: config.packages,
            max_submission_bytes: config.runs.max_submission_bytes.0,
            ceilings,
            keys,
            store: store.clone(),
            storage: Arc::clone(&storage),
            live,
            queue: Queue::new(capacity),
            submissions: MemoryAccount::new(config.runs.submissions_bytes.0),
            completion: Completion::new(
                store.clone(),
                Arc::clone(&storage),
                Arc::clone(&callbacks),
            ),
            tasks: TaskTracker::new(),
        };
        let upkeep = Upkeep::new(
            home,
            engine.clone(),
            store.clone(),
            objects,
            Arc::clone(&audit),
            &config.runs,
            blobs_doomed,
            Arc::clone(&is_stopping),
        );
        let upkeep = Arc::new(upkeep);
        let runs = Arc::new(Runs::new(config.runs, supervisor, is_stopping));

        runs.recover().await?;
        let (background, closed) = (TaskTracker::new(), CancellationToken::new());
        background.spawn(Arc::clone(&callbacks).send_until(closed.clone()));
        background.spawn(Arc::clone(&upkeep).sweep_until(closed.clone()));
        Ok(Self {
            parts: Arc::new(Parts {
                access,
                runs,
                storage,
                audit,
                callbacks,
                upkeep,
                engine,
                store,
                background,
                closed,
                _lock: lock,
            }),
        })
    }

    /// Stops the service: refuses new runs, waits for running ones for the configured time,
    /// interrupts the rest, and closes. Queued runs stay in the store and start after the restart.
    pub async fn stop(&self) {
        let parts = &self.parts;
        parts.runs.stop().await;
        parts.closed.cancel();
        // Background tasks finish their work before the store is closed.
        parts.background.close();
        let _ = tokio::time::timeout(END_TIME, parts.background.wait()).await;
        parts.audit.record_left_out().await;
        parts.engine.clone().shutdown().await;
        parts.store.close().await;
    }

    /// Returns the use cases of callers, projects and tokens.
    pub fn access(&self) -> &Access {
        &self.parts.access
    }

    /// Returns the use cases of runs.
    pub fn runs(&self) -> &Arc<Runs> {
        &self.parts.runs
    }

    /// Returns the use cases of objects.
    pub fn storage(&self) -> &Storage {
        &self.parts.storage
    }

    /// Returns the use cases of the audit trail.
    pub fn audit(&self) -> &Audit {
        &self.parts.audit
    }

    /// Returns the use cases of callbacks.
    pub fn callbacks(&self) -> &Callbacks {
        &self.parts.callbacks
    }

    /// Returns the use cases of the home itself.
    pub fn upkeep(&self) -> &Upkeep {
        &self.parts.upkeep
    }
}
