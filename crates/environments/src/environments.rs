//! Environments, from the packages that a program requires to the folder that it runs with:
//! resolved, checked against the policy, installed once, and kept.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use belljar_engine::{Engine, FoundImports, Runtime};
use belljar_protocol::{Language, PackagePolicy, ProgramFile, RuntimeName, StartMode, Timestamp};
use belljar_provision::Provisioner;

use crate::config::EnvironmentsConfig;
use crate::environment_record::EnvironmentRecord;
use crate::error::EnvironmentError;
use crate::found_imports::{FoundImportsCache, program_hash};
use crate::identity::{Origin, identity, is_key, key, parts};
use crate::installation::{ToInstall, install};
use crate::installers::Job;
use crate::kept::KeptThings;
use crate::lock::Lock;
use crate::making::making;
use crate::policy::rules;
use crate::prepared::PreparedEnvironment;
use crate::progress::Tell;
use crate::requirement::Ecosystem;
use crate::resolution::Resolution;
use crate::resolve;
use crate::store::{Store, Stored};
use crate::wanted::Wanted;

/// The maximum size of cached resolutions on the disk.
const MAX_LOCKS_BYTES: u64 = 512 << 20;

/// Creates and keeps environments. A clone shares the same environments.
#[derive(Clone, Debug)]
pub struct Environments {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    engine: Engine,
    provisioner: Arc<Provisioner>,
    config: EnvironmentsConfig,
    store: Arc<Store>,
    found: FoundImportsCache,
}

/// The environment of the requested packages that exist.
#[derive(Clone, Debug)]
pub(crate) struct Available {
    /// The environment, or `None` if none of the packages exists.
    pub(crate) prepared: Option<PreparedEnvironment>,
    /// Names of packages that no registry has.
    pub(crate) missing: Vec<String>,
    /// Notes on the installed versions.
    pub(crate) notes: Vec<String>,
}

/// The result of a garbage collection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// Number of removed environments.
    pub environments: u64,
    /// Number of environments that would have been removed, but are in use.
    pub in_use: u64,
    /// Number of freed bytes on the disk.
    pub freed_bytes: u64,
}

impl Environments {
    /// Opens the folder of environments. Nothing is created yet.
    pub fn new(engine: Engine, config: EnvironmentsConfig) -> Result<Self, EnvironmentError> {
        let provisioner = Arc::new(
            Provisioner::new(config.provision.clone()).map_err(EnvironmentError::Installer)?,
        );
        let store = Arc::new(Store::at(config.folder.clone()));
        Ok(Self {
            inner: Arc::new(Inner {
                engine,
                provisioner,
                config,
                store,
                found: FoundImportsCache::default(),
            }),
        })
    }

    /// Returns the engine that installs packages and runs programs.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// Returns the URLs of the configured Python indexes.
    pub fn indexes(&self) -> Vec<String> {
        self.inner.config.indexes()
    }

    /// Returns the imports of a program, which are found in a sandbox of `tenant` and cached.
    pub(crate) async fn found_imports(
        &self,
        language: Language,
        runtime: Option<RuntimeName>,
        tenant: Option<String>,
        start: StartMode,
        files: &[ProgramFile],
    ) -> Result<Arc<FoundImports>, EnvironmentError> {
        let program = program_hash(language, runtime.as_ref(), files);
        if let Some(found) = self.inner.found.get(&program) {
            return Ok(found);
        }
        let found = Arc::new(
            self.inner.engine.find_imports(language, runtime, tenant, start, files).await?,
        );
        self.inner.found.remember(program, &found);
        Ok(found)
    }

    /// Returns the lock of the requested packages: the given one, a cached resolution of the same
    /// request, or a new one.
    pub async fn lock(
        &self,
        wanted: &Wanted,
        policy: &PackagePolicy,
        tell: &Tell,
    ) -> Result<Lock, EnvironmentError> {
        let runtime = self.inner.runtime(wanted).await?;
        let job = self.inner.job(&runtime, wanted, policy, tell);
        resolve::lock(&job, wanted, policy).await?.into_lock(wanted.ecosystem)
    }

    /// Returns the environment of the requested packages, and creates it if necessary. If several
    /// runs request the same one at once, one of them creates it and the others wait.
    pub async fn prepare(
        &self,
        wanted: &Wanted,
        policy: &PackagePolicy,
        tell: &Tell,
    ) -> Result<PreparedEnvironment, EnvironmentError> {
        let Available { prepared, missing, .. } =
            self.prepare_what_there_is(wanted, policy, tell).await?;
        let missing = missing.first().map_or("", String::as_str);
        prepared.ok_or_else(|| EnvironmentError::not_in_registry(wanted.ecosystem, missing))
    }

    /// Returns the environment without the packages that may be missing and are.
    pub(crate) async fn prepare_what_there_is(
        &self,
        wanted: &Wanted,
        policy: &PackagePolicy,
        tell: &Tell,
    ) -> Result<Available, EnvironmentError> {
        let runtime = self.inner.runtime(wanted).await?;
        let job = self.inner.job(&runtime, wanted, policy, tell);
        let Resolution { lock, missing, notes, .. } = resolve::lock(&job, wanted, policy).await?;
        let prepared = match lock {
            Some(lock) => Some(self.prepare_lock(&job, lock, wanted, policy).await?),
            None => None,
        };
        Ok(Available { prepared, missing, notes })
    }

    async fn prepare_lock(
        &self,
        job: &Job<'_>,
        lock: Lock,
        wanted: &Wanted,
        policy: &PackagePolicy,
    ) -> Result<PreparedEnvironment, EnvironmentError> {
        let (store, runtime, imported) = (job.store, job.runtime, wanted.modules.as_deref());
        let origin = self.inner.origin(wanted, &lock)?;
        let identity = identity(&lock, origin, runtime, job.rules);
        let key = key(lock.ecosystem, &identity);
        if let Some(stored) = self.inner.open(&key, &identity).await? {
            if stored.record.boot.is_some() && !stored.is_synced {
                store.sync_in_background();
            }
            return Ok(PreparedEnvironment::new(stored, lock, imported, runtime, policy));
        }
        let making = making(store, &key, job.tell).await?;
        // Another run may have finished it meanwhile.
        if let Some(stored) = self.inner.open(&key, &identity).await? {
            return Ok(PreparedEnvironment::new(stored, lock, imported, runtime, policy));
        }
        let parts = parts(&lock, origin, runtime, job.rules);
        let to_install = ToInstall { key: &key, identity: &identity, parts };
        install(job, to_install, &lock, wanted).await?;
        drop(making);
        store.sync_in_background();
        let stored = self.inner.open(&key, &identity).await?.ok_or_else(|| {
            EnvironmentError::Internal("the environment was removed as soon as it was made".into())
        })?;
        let kept = PreparedEnvironment::new(stored, lock, imported, runtime, policy);
        // Unused environments are removed in the background.
        let environments = self.clone();
        tokio::task::spawn_blocking(move || environments.collect(None));
        Ok(kept)
    }

    /// Returns an existing environment and its lock by its key.
    pub fn find(&self, key: &str) -> Result<Option<(EnvironmentRecord, String)>, EnvironmentError> {
        if !is_key(key) {
            return Ok(None);
        }
        Ok(self.inner.store.open(key)?.map(|stored| (stored.record, stored.lock)))
    }

    /// Returns all environments with the time of their last use, the most recent first.
    pub fn list(&self) -> Vec<(EnvironmentRecord, Timestamp)> {
        let all = self.inner.store.list().into_iter();
        all.map(|(record, used)| (record, Timestamp::from_system(used))).collect()
    }

    /// Removes environments that were not used for `unused_for`, then the least recently used ones
    /// until the rest has at most the configured size. Environments in use stay. Blocks.
    pub fn collect(&self, unused_for: Option<Duration>) -> Result<Collected, EnvironmentError> {
        let mut collected = Collected::default();
        let store = &self.inner.store;
        let mut kept = KeptThings::new(store.list(), store.list_packages());
        let mut removed = false;
        while let Some(least) = kept.least_used() {
            let is_old = unused_for
                .is_some_and(|age| least.used.elapsed().is_ok_and(|unused| unused >= age));
            if !is_old && kept.bytes <= self.inner.config.max_total_bytes {
                break;
            }
            let is_gone = if least.is_package {
                store.remove_package(&least.key)?
            } else {
                store.remove(&least.key)?
            };
            match (least.is_package, is_gone) {
                (true, _) => {}
                (false, true) => collected.environments += 1,
                (false, false) => collected.in_use += 1,
            }
            if is_gone {
                kept.removed(&least);
                removed = true;
            }
        }
        let before = unused_for
            .and_then(|age| SystemTime::now().checked_sub(age))
            .unwrap_or(SystemTime::UNIX_EPOCH);
        collected.freed_bytes += self.inner.store.forget_locks(before, MAX_LOCKS_BYTES);
        if removed || unused_for.is_some() {
            collected.freed_bytes += self.inner.store.sweep_blobs()?;
        }
        Ok(collected)
    }
}

impl Inner {
    /// Returns the runtime that the packages are for.
    async fn runtime(&self, wanted: &Wanted) -> Result<Arc<Runtime>, EnvironmentError> {
        let is_of = match &wanted.runtime {
            RuntimeName::Python(_) => Ecosystem::PyPi,
            RuntimeName::Node(_) => Ecosystem::Npm,
        };
        if is_of != wanted.ecosystem {
            return Err(EnvironmentError::Request {
                problem: format!("{} has no packages of {}", wanted.runtime, wanted.ecosystem),
                hint: "choose a runtime of the program's language",
            });
        }
        Ok(self.engine.runtime(&wanted.runtime).await?)
    }

    fn job<'a>(
        &'a self,
        runtime: &'a Runtime,
        wanted: &Wanted,
        policy: &PackagePolicy,
        tell: &'a Tell,
    ) -> Job<'a> {
        Job {
            engine: &self.engine,
            provisioner: &self.provisioner,
            config: &self.config,
            store: &self.store,
            runtime,
            rules: rules(wanted, policy, &self.config),
            tell,
        }
    }

    /// Opens the environment with a key, and checks its identity, of which the key is only a part.
    async fn open(&self, key: &str, identity: &str) -> Result<Option<Stored>, EnvironmentError> {
        let of = key.to_owned();
        match self.store.off_the_async_threads(move |store| store.open(&of)).await? {
            Some(stored) if stored.record.identity != identity => Err(EnvironmentError::Internal(
                format!("the environment `{key}` contains other packages"),
            )),
            stored => Ok(stored),
        }
    }

    /// Returns whether a lock was made here, even if it was submitted with a run.
    fn origin(&self, wanted: &Wanted, lock: &Lock) -> Result<Origin, EnvironmentError> {
        let is_ours =
            wanted.lock.is_none() || lock.installs_all || self.store.made_lock(lock)?.is_some();
        Ok(if is_ours { Origin::Here } else { Origin::Given })
    }
}
