//! From what a program asks for to the environment that it runs in: resolved, checked against the policy, installed once, kept.

use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use belljar_engine::{Ahead, Engine, Environment, FoundImports, Runtime, describe_step};
use belljar_protocol::{Language, PackagePolicy, ProgramFile, RuntimeName, StartMode, Timestamp};
use belljar_provision::{Progress, Provisioner, Step};
use sha2::{Digest, Sha256};

use crate::boot::boot_id;
use crate::config::EnvironmentsConfig;
use crate::digest::digest;
use crate::error::EnvironmentError;
use crate::install_scripts::with_install_scripts;
use crate::installers::{Installed, InstalledPackages, Job, Part, Resolved, Rules};
use crate::kept::KeptThings;
use crate::lock::{Lock, LockedPackage};
use crate::package_store::StoredPackage;
use crate::requirement::{Ecosystem, Requirement, VersionSpecifiers, merged};
use crate::resolution::{Resolution, seconds_since_1970};
use crate::store::{EnvironmentRecord, MadeLock, Making, SCHEMA, Store, Stored};
use crate::tree::{TakeOverRules, TreeLimits};

/// Told what goes on, for people.
pub type Tell = Arc<dyn Fn(String) + Send + Sync>;

/// Changes when the same request may lead to another lock than before: those that it led to are then not known any more.
const RESOLVER: u32 = 2;
/// Packages that are named to people, at the most.
const SAID_PACKAGES: usize = 4;
/// Modules that are imported ahead, at the most.
const MOST_MODULES: usize = 32;

/// Makes and keeps environments. Cheap to clone.
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
    found: Mutex<Found>,
}

/// What programs were found to import, by the hash of their files: a program that is run again is not read again.
#[derive(Debug, Default)]
struct Found {
    by_program: HashMap<[u8; 32], Arc<FoundImports>>,
    order: VecDeque<[u8; 32]>,
    bytes: usize,
}

impl Found {
    fn remember(&mut self, program: [u8; 32], found: &Arc<FoundImports>) {
        if self.by_program.insert(program, Arc::clone(found)).is_none() {
            self.order.push_back(program);
            self.bytes += bytes_of(found);
        }
        while self.bytes > MOST_FOUND_BYTES
            && let Some(oldest) = self.order.pop_front()
        {
            self.bytes -= self.by_program.remove(&oldest).map_or(0, |found| bytes_of(&found));
        }
    }
}

/// What remembering an answer takes, roughly.
fn bytes_of(found: &FoundImports) -> usize {
    let texts = found.imports.iter().map(|import| import.name.len()).chain(found.additions.iter().map(String::len));
    256 + texts.map(|bytes| bytes + 32).sum::<usize>()
}

/// What is remembered of programs together.
const MOST_FOUND_BYTES: usize = 8 << 20;
/// What the locks that are remembered may take on the disk.
const MOST_LOCKS_BYTES: u64 = 512 << 20;
/// How soon it is looked again whether another has made the same, and how late.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_millis(250);
/// Resolutions of one request. Each names one package that no registry has; beyond, all names are left out that no table knows.
const MAX_RESOLUTIONS: usize = 12;

/// What a program needs, and how it may be had.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// The runtime that it runs on.
    pub runtime: RuntimeName,
    /// Where its packages come from.
    pub ecosystem: Ecosystem,
    /// What it asks for. Not looked at where there is a lock.
    pub requirements: Vec<Requirement>,
    /// The lock that came with it.
    pub lock: Option<Lock>,
    /// Which Pythons it is for.
    pub requires_python: VersionSpecifiers,
    /// The modules of packages that it imports in any case; `None` where that is not known.
    pub modules: Option<Vec<String>>,
    /// Names that a registry may not have: they are left out.
    pub may_be_missing: BTreeSet<String>,
    /// Names that the program can do without: they are left out where they cannot be installed with the others.
    pub optional: BTreeSet<String>,
    /// Names that a comment of the program asks for.
    pub added: BTreeSet<String>,
    /// Refuse what no lock names.
    pub frozen: bool,
    /// Fetch nothing.
    pub offline: bool,
    /// Let packages' own code run to build them.
    pub allow_build: bool,
    /// Versions that are younger do not count, days. `None`: what the policy says.
    pub minimum_release_age_days: Option<u32>,
    /// Resolve again, whatever was found before.
    pub upgrade: bool,
}

impl Wanted {
    /// These packages, by the policy's rules.
    pub fn new(runtime: RuntimeName, ecosystem: Ecosystem, requirements: Vec<Requirement>) -> Self {
        Self {
            runtime,
            ecosystem,
            requirements,
            lock: None,
            requires_python: VersionSpecifiers::default(),
            modules: None,
            may_be_missing: BTreeSet::new(),
            optional: BTreeSet::new(),
            added: BTreeSet::new(),
            frozen: false,
            offline: false,
            allow_build: false,
            minimum_release_age_days: None,
            upgrade: false,
        }
    }
}

/// An environment that is there. Nobody removes it as long as this, or the engine's part of it, is held.
#[derive(Clone, Debug)]
pub struct Prepared {
    /// For the engine.
    pub environment: Arc<Environment>,
    /// What is known of it.
    pub record: EnvironmentRecord,
    /// The lock that it was made from.
    pub lock: String,
}

/// The environment of what there is of the packages that are wanted.
#[derive(Clone, Debug)]
pub(crate) struct Available {
    /// `None` where there is none of them.
    pub(crate) prepared: Option<Prepared>,
    /// Names that no registry has.
    pub(crate) missing: Vec<String>,
    /// What there is to say of the versions.
    pub(crate) notes: Vec<String>,
}

/// What a collection has removed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Collected {
    /// Environments.
    pub environments: u64,
    /// Environments that would have gone, but are in use.
    pub in_use: u64,
    /// Bytes on the disk.
    pub freed_bytes: u64,
}

impl Environments {
    /// Opens the folder of environments. Nothing is made yet.
    pub fn new(engine: Engine, config: EnvironmentsConfig) -> Result<Self, EnvironmentError> {
        let provisioner = Arc::new(Provisioner::new(config.provision.clone()).map_err(EnvironmentError::Installer)?);
        let store = Arc::new(Store::at(config.folder.clone()));
        Ok(Self { inner: Arc::new(Inner { engine, provisioner, config, store, found: Mutex::default() }) })
    }

    /// The engine that installs and runs.
    pub fn engine(&self) -> &Engine {
        &self.inner.engine
    }

    /// The addresses that packages of Python may come from besides the public index.
    pub fn indexes(&self) -> Vec<String> {
        self.inner.config.indexes()
    }

    /// What a program imports, as a sandbox of `tenant` finds it; remembered.
    pub(crate) async fn found_imports(
        &self,
        language: Language,
        runtime: Option<RuntimeName>,
        tenant: Option<String>,
        start: StartMode,
        files: &[ProgramFile],
    ) -> Result<Arc<FoundImports>, EnvironmentError> {
        // One version of a runtime can read what another cannot.
        let runtime_name = runtime.as_ref().map(ToString::to_string).unwrap_or_default();
        let mut digest = Sha256::new();
        for part in [language.to_string().as_bytes(), runtime_name.as_bytes()]
            .into_iter()
            .chain(files.iter().flat_map(|file| [file.path.as_str().as_bytes(), &file.content]))
        {
            digest.update((part.len() as u64).to_le_bytes());
            digest.update(part);
        }
        let program: [u8; 32] = digest.finalize().into();
        if let Some(found) = self.inner.found.lock().unwrap_or_else(PoisonError::into_inner).by_program.get(&program) {
            return Ok(Arc::clone(found));
        }
        let found = Arc::new(self.inner.engine.find_imports(language, runtime, tenant, start, files).await?);
        self.inner.found.lock().unwrap_or_else(PoisonError::into_inner).remember(program, &found);
        Ok(found)
    }

    /// The lock of what is wanted: the one given, the one that the same request led to before, or a new one.
    pub async fn lock(&self, wanted: &Wanted, policy: &PackagePolicy, tell: &Tell) -> Result<Lock, EnvironmentError> {
        let runtime = self.inner.runtime(wanted).await?;
        self.inner.lock(&runtime, wanted, policy, tell).await?.into_lock(wanted.ecosystem)
    }

    /// The environment of what is wanted, made where there is none yet. Many may ask for the same at the same time: one makes it, the others wait.
    pub async fn prepare(&self, wanted: &Wanted, policy: &PackagePolicy, tell: &Tell) -> Result<Prepared, EnvironmentError> {
        let Available { prepared, missing, .. } = self.prepare_what_there_is(wanted, policy, tell).await?;
        let missing = missing.first().map_or("", String::as_str);
        prepared.ok_or_else(|| EnvironmentError::not_in_registry(wanted.ecosystem, missing))
    }

    /// The same without the packages that may be missing and are.
    pub(crate) async fn prepare_what_there_is(
        &self,
        wanted: &Wanted,
        policy: &PackagePolicy,
        tell: &Tell,
    ) -> Result<Available, EnvironmentError> {
        let runtime = self.inner.runtime(wanted).await?;
        let Resolution { lock, missing, notes, .. } = self.inner.lock(&runtime, wanted, policy, tell).await?;
        let prepared = match lock {
            Some(lock) => Some(self.prepare_lock(&runtime, lock, wanted, policy, tell).await?),
            None => None,
        };
        Ok(Available { prepared, missing, notes })
    }

    async fn prepare_lock(
        &self,
        runtime: &Arc<Runtime>,
        lock: Lock,
        wanted: &Wanted,
        policy: &PackagePolicy,
        tell: &Tell,
    ) -> Result<Prepared, EnvironmentError> {
        let rules = self.inner.rules(wanted, policy);
        let origin = self.inner.origin(wanted, &lock)?;
        let identity = identity(&lock, origin, runtime, rules);
        let key = key(lock.ecosystem, &identity);
        if let Some(stored) = self.inner.open(&key, &identity).await? {
            if stored.record.boot.is_some() && !stored.is_synced {
                self.inner.store.sync_in_background();
            }
            return Ok(prepared(stored, lock, wanted.modules.as_deref(), runtime, policy));
        }
        let making = self.inner.making(&key, tell).await?;
        // Whoever was first may have made it.
        if let Some(stored) = self.inner.open(&key, &identity).await? {
            return Ok(prepared(stored, lock, wanted.modules.as_deref(), runtime, policy));
        }
        let making_of = ToMake { key: &key, identity: &identity, parts: parts(&lock, origin, runtime, rules) };
        self.inner.make(making_of, &lock, runtime, wanted, rules, tell).await?;
        drop(making);
        self.inner.store.sync_in_background();
        let stored = self
            .inner
            .open(&key, &identity)
            .await?
            .ok_or_else(|| EnvironmentError::Internal("the environment is gone as soon as it was made".into()))?;
        let kept = prepared(stored, lock, wanted.modules.as_deref(), runtime, policy);
        // What is used least makes room, off this run's way.
        let environments = self.clone();
        tokio::task::spawn_blocking(move || environments.collect(None));
        Ok(kept)
    }

    /// An environment that is there, by its key.
    pub fn find(&self, key: &str) -> Result<Option<(EnvironmentRecord, String)>, EnvironmentError> {
        if !is_key(key) {
            return Ok(None);
        }
        Ok(self.inner.store.open(key)?.map(|stored| (stored.record, stored.lock)))
    }

    /// The environments that there are, those used last first, with the time of last use.
    pub fn list(&self) -> Vec<(EnvironmentRecord, Timestamp)> {
        let all = self.inner.store.list().into_iter();
        all.map(|(record, used)| (record, Timestamp::from_system(used))).collect()
    }

    /// Removes environments that were not used for `unused_for`, and then those used least until the rest is within the configured size. Those in use
    /// stay. Blocks.
    pub fn collect(&self, unused_for: Option<Duration>) -> Result<Collected, EnvironmentError> {
        let mut collected = Collected::default();
        let store = &self.inner.store;
        let mut kept = KeptThings::new(store.list(), store.list_packages());
        let mut removed = false;
        while let Some(least) = kept.least_used() {
            let is_old = unused_for.is_some_and(|age| least.used.elapsed().is_ok_and(|unused| unused >= age));
            if !is_old && kept.bytes <= self.inner.config.most_bytes {
                break;
            }
            let is_gone = if least.is_package { store.remove_package(&least.key)? } else { store.remove(&least.key)? };
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
        let before = unused_for.and_then(|age| SystemTime::now().checked_sub(age)).unwrap_or(SystemTime::UNIX_EPOCH);
        collected.freed_bytes += self.inner.store.forget_locks(before, MOST_LOCKS_BYTES);
        if removed || unused_for.is_some() {
            collected.freed_bytes += self.inner.store.sweep_contents()?;
        }
        Ok(collected)
    }
}

/// Whether a text has the form of a key: it becomes part of a path.
fn is_key(key: &str) -> bool {
    key.len() <= 80 && !key.is_empty() && key.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-')
}

impl Inner {
    fn rules(&self, wanted: &Wanted, policy: &PackagePolicy) -> Rules {
        let days = wanted.minimum_release_age_days.unwrap_or(policy.minimum_release_age_days);
        Rules {
            minimum_release_age_days: days.max(policy.least_release_age_days),
            allow_build: wanted.allow_build,
            offline: wanted.offline || self.config.provision.offline,
        }
    }

    /// The runtime that packages are for.
    async fn runtime(&self, wanted: &Wanted) -> Result<Arc<Runtime>, EnvironmentError> {
        let is_of = match &wanted.runtime {
            RuntimeName::Python(_) => Ecosystem::PyPi,
            RuntimeName::Node(_) => Ecosystem::Npm,
        };
        if is_of != wanted.ecosystem {
            let why = format!("{} has no packages of {}; choose a runtime of the program's language", wanted.runtime, wanted.ecosystem);
            return Err(EnvironmentError::Manifest(why));
        }
        Ok(self.engine.runtime(&wanted.runtime).await?)
    }

    fn job<'a>(&'a self, runtime: &'a Runtime, rules: Rules, tell: &'a Tell) -> Job<'a> {
        Job { engine: &self.engine, provisioner: &self.provisioner, config: &self.config, store: &self.store, runtime, rules, tell }
    }

    async fn lock(&self, runtime: &Runtime, wanted: &Wanted, policy: &PackagePolicy, tell: &Tell) -> Result<Resolution, EnvironmentError> {
        check_request(wanted, policy)?;
        check_python(wanted, runtime)?;
        if let Some(lock) = &wanted.lock {
            if lock.ecosystem != wanted.ecosystem {
                return Err(crate::lock::LockError::OtherEcosystem { found: lock.ecosystem, wanted: wanted.ecosystem }.into());
            }
            check_lock(lock, policy)?;
            self.check_given_lock(lock, policy)?;
            return Ok(Resolution { lock: Some(lock.clone()), missing: Vec::new(), notes: Vec::new(), resolved_at: 0 });
        }
        let requirements = merged(wanted.requirements.iter().cloned())?;
        if wanted.frozen {
            let names: Vec<&str> = requirements.iter().map(Requirement::name).collect();
            return Err(EnvironmentError::Unlocked(names.join(", ")));
        }
        let rules = self.rules(wanted, policy);
        let request = request_sha256(&requirements, wanted, runtime, rules, &self.config.sources(wanted.ecosystem));
        if let Some(known) = self.known_resolution(&request, wanted, rules, policy)? {
            return Ok(known);
        }
        let resolving = self.making(&format!("lock-{}", &request[..32]), tell).await?;
        if let Some(known) = self.known_resolution(&request, wanted, rules, policy)? {
            return Ok(known);
        }
        let resolution = self.resolve(runtime, wanted, requirements, rules, policy, tell).await?;
        self.store.remember_resolution(&request, &resolution)?;
        drop(resolving);
        if let Some(lock) = &resolution.lock {
            check_lock(lock, policy)?;
        }
        Ok(resolution)
    }

    /// What the same request led to before.
    fn known_resolution(
        &self,
        request: &str,
        wanted: &Wanted,
        rules: Rules,
        policy: &PackagePolicy,
    ) -> Result<Option<Resolution>, EnvironmentError> {
        if wanted.upgrade {
            return Ok(None);
        }
        let Some(known) = self.store.known_resolution(request)?.filter(|known| rules.offline || !known.is_stale()) else { return Ok(None) };
        if let Some(lock) = &known.lock {
            check_lock(lock, policy)?;
        }
        Ok(Some(known))
    }

    /// Resolves requirements. Those that may be missing are left out where no registry has them, and those that are optional where they do not go together
    /// with the others.
    async fn resolve(
        &self,
        runtime: &Runtime,
        wanted: &Wanted,
        mut requirements: Vec<Requirement>,
        rules: Rules,
        policy: &PackagePolicy,
        tell: &Tell,
    ) -> Result<Resolution, EnvironmentError> {
        let mut missing: Vec<String> = Vec::new();
        let is_optional = |requirement: &Requirement| wanted.optional.contains(requirement.name());
        let is_guess = |requirement: &Requirement| {
            wanted.may_be_missing.contains(requirement.name()) && !crate::known::is_known(wanted.ecosystem, requirement.name())
        };
        for attempt in 0.. {
            if requirements.is_empty() {
                return Ok(Resolution { lock: None, missing, notes: Vec::new(), resolved_at: seconds_since_1970() });
            }
            let resolved = self.job(runtime, rules, tell).resolve(wanted.ecosystem, &requirements, &wanted.optional).await;
            let has_optional = requirements.iter().any(is_optional);
            match resolved {
                Ok(Resolved { lock, .. }) if has_optional && check_lock(&lock, policy).is_err() => {
                    requirements.retain(|one| !is_optional(one));
                }
                Ok(Resolved { lock, notes }) => {
                    let names = requirements.iter().map(|requirement| requirement.name().to_owned()).collect();
                    let made = MadeLock { names, minimum_release_age_days: rules.minimum_release_age_days };
                    self.store.remember_made(&lock, &made)?;
                    return Ok(Resolution { lock: Some(lock), missing, notes, resolved_at: seconds_since_1970() });
                }
                Err(EnvironmentError::NotInRegistry { name, .. })
                    if wanted.may_be_missing.contains(&name) && requirements.iter().any(|one| one.name() == name) =>
                {
                    requirements.retain(|one| one.name() != name);
                    missing.push(name);
                    if attempt >= MAX_RESOLUTIONS {
                        missing.extend(requirements.iter().filter(|one| is_guess(one)).map(|one| one.name().to_owned()));
                        requirements.retain(|one| !is_guess(one));
                    }
                }
                Err(
                    error @ (EnvironmentError::Resolution(_)
                    | EnvironmentError::TooYoung { .. }
                    | EnvironmentError::NeedsBuild(_)
                    | EnvironmentError::Offline(_)),
                ) if has_optional => {
                    let words = error.to_string();
                    let is_named = |one: &Requirement| is_optional(one) && words.contains(one.name());
                    let has_named = requirements.iter().any(is_named);
                    requirements.retain(|one| if has_named { !is_named(one) } else { !is_optional(one) });
                }
                // What is not in the cache may be in no registry either.
                Err(EnvironmentError::Offline(_)) if requirements.iter().any(is_guess) => {
                    missing.extend(requirements.iter().filter(|one| is_guess(one)).map(|one| one.name().to_owned()));
                    requirements.retain(|one| !is_guess(one));
                }
                Err(error) => return Err(error),
            }
        }
        Err(EnvironmentError::Internal("resolving has no end".into()))
    }

    /// The environment of a key, if it is of this identity, of which a key is only a part.
    async fn open(&self, key: &str, identity: &str) -> Result<Option<Stored>, EnvironmentError> {
        let of = key.to_owned();
        match self.store.off_the_async_threads(move |store| store.open(&of)).await? {
            Some(stored) if stored.record.identity != identity => {
                Err(EnvironmentError::Internal(format!("the environment {key} is one of other packages")))
            }
            stored => Ok(stored),
        }
    }

    /// Whether a lock was made here, also where it came with the run.
    fn origin(&self, wanted: &Wanted, lock: &Lock) -> Result<Origin, EnvironmentError> {
        let is_ours = wanted.lock.is_none() || lock.installs_all || self.store.made_lock(lock)?.is_some();
        Ok(if is_ours { Origin::Here } else { Origin::Given })
    }

    /// Waits until nobody else makes the same. Whoever stops waiting leaves nothing behind.
    async fn making(&self, key: &str, tell: &Tell) -> Result<Making, EnvironmentError> {
        let mut pause = FIRST_PAUSE;
        loop {
            if let Some(making) = self.store.try_making(key)? {
                return Ok(making);
            }
            if pause == FIRST_PAUSE {
                tell("waiting for another run that installs the same".to_owned());
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(LONGEST_PAUSE);
        }
    }

    /// A lock that came with the run says what it likes about who needs whom, and how old a version is. Where a policy depends on either, every package of
    /// it has to be allowed, or the lock to be one that was made here within that policy.
    fn check_given_lock(&self, lock: &Lock, policy: &PackagePolicy) -> Result<(), EnvironmentError> {
        let made = self.store.made_lock(lock)?;
        let is_made_within = |made: &MadeLock| {
            made.names.iter().all(|name| policy.allows(lock.ecosystem, name))
                && made.minimum_release_age_days >= policy.least_release_age_days
        };
        if made.as_ref().is_some_and(is_made_within) {
            return Ok(());
        }
        if let Some(package) = lock.packages.iter().find(|package| !policy.allows(lock.ecosystem, &package.name)) {
            return Err(EnvironmentError::Refused {
                what: format!("the package {} of the lock", package.name),
                why: "it is not among the allowed ones, and the lock was not made here; make it here with `belljar env lock`, or ask the operator",
            });
        }
        // pnpm looks up how old the versions of a lock are.
        if policy.least_release_age_days > 0 && lock.ecosystem == Ecosystem::PyPi {
            return Err(EnvironmentError::Refused {
                what: "the lock".to_owned(),
                why: "there is a least release age, and it was not made here by it; make it here with `belljar env lock`, or ask the operator",
            });
        }
        Ok(())
    }

    async fn make(
        &self,
        to_make: ToMake<'_>,
        lock: &Lock,
        runtime: &Runtime,
        wanted: &Wanted,
        rules: Rules,
        tell: &Tell,
    ) -> Result<(), EnvironmentError> {
        let since = Instant::now();
        let record = EnvironmentRecord {
            schema: SCHEMA,
            key: to_make.key.to_owned(),
            ecosystem: lock.ecosystem,
            runtime: runtime_line(runtime),
            requirements: wanted.requirements.iter().map(ToString::to_string).collect(),
            packages: lock.packages.clone(),
            modules: Vec::new(),
            files: 0,
            size_bytes: 0,
            content_sha256: String::new(),
            lock_sha256: lock.sha256(),
            identity: to_make.identity.to_owned(),
            linked_from: Vec::new(),
            unbuilt: Vec::new(),
            boot: None,
            allow_build: rules.allow_build,
            created_at: Timestamp::now(),
        };
        let installed = match to_make.parts {
            Some(parts) => match self.assemble(record.clone(), parts, lock, runtime, wanted, rules, tell).await {
                // uv knows more of what goes where than its list of one package says: all at once it may be able to.
                Err(error @ (EnvironmentError::Resolution(_) | EnvironmentError::NeedsBuild(_))) => {
                    tracing::debug!(%error, "packages were not installed one by one");
                    None
                }
                result => Some(result?),
            },
            None => None,
        };
        let installed = match installed {
            Some(installed) => installed,
            None => {
                self.install_all(record, lock, runtime, wanted, rules, tell).await?;
                lock.packages.clone()
            }
        };
        if !installed.is_empty() {
            tell(format!("installed {} in {:.1} s", said(&installed, wanted), since.elapsed().as_secs_f64()));
        }
        Ok(())
    }

    /// Links an environment together from packages, of which those that are not here yet are installed. Returns those.
    #[expect(clippy::too_many_arguments, reason = "what `make` has, and the parts")]
    async fn assemble(
        &self,
        record: EnvironmentRecord,
        parts: Vec<Part>,
        lock: &Lock,
        runtime: &Runtime,
        wanted: &Wanted,
        rules: Rules,
        tell: &Tell,
    ) -> Result<Vec<LockedPackage>, EnvironmentError> {
        let limits = TreeLimits { files: self.config.limits.files, bytes: self.config.limits.environment_bytes };
        let all = parts.clone();
        let here = self
            .store
            .off_the_async_threads(move |store| all.iter().map(|part| store.open_package(&part.key)).collect::<Result<Vec<_>, _>>())
            .await?;
        let missing: Vec<Part> = parts.iter().zip(&here).filter(|(_, package)| package.is_none()).map(|(part, _)| part.clone()).collect();
        let new: Vec<LockedPackage> = missing.iter().filter_map(|part| part.package.clone()).collect();
        if !missing.is_empty() {
            tell(format!("installing {}", said(&new, wanted)));
            // The virtual environment is made where no archive is unpacked: all environments have it in common.
            let (venv, packages): (Vec<Part>, Vec<Part>) = missing.into_iter().partition(|part| part.package.is_none());
            for parts in [venv, packages].into_iter().filter(|parts| !parts.is_empty()) {
                self.install_parts(parts, runtime, rules, limits, tell).await?;
            }
        }
        let lock = lock.clone();
        self.store
            .off_the_async_threads(move |store| {
                let opened = parts.iter().map(|part| store.open_package(&part.key)).collect::<Result<Vec<_>, _>>()?;
                // One that was removed in the meantime is not waited for: the environment is then installed as a whole.
                let Some(packages) = opened.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
                store.assemble(&packages, limits, &lock, |root| EnvironmentRecord {
                    modules: crate::modules::imported_ahead(&lock, root, &record.requirements, &[], MOST_MODULES),
                    files: packages.iter().map(|package| package.record.files).sum(),
                    size_bytes: packages.iter().map(|package| package.record.size_bytes).sum(),
                    content_sha256: content_of(&packages),
                    linked_from: packages.iter().map(|package| package.record.key.clone()).collect(),
                    boot: Some(boot_id()),
                    ..record
                })?;
                Ok(Some(new))
            })
            .await?
            .ok_or_else(|| EnvironmentError::Resolution("a package was removed while it was linked".into()))
    }

    /// Installs parts, and keeps each for all environments.
    async fn install_parts(
        &self,
        parts: Vec<Part>,
        runtime: &Runtime,
        rules: Rules,
        limits: TreeLimits,
        tell: &Tell,
    ) -> Result<(), EnvironmentError> {
        let installed = self.job(runtime, rules, tell).install_packages(&parts).await?;
        let waiting = Here::default();
        let unwanted = Arc::clone(&waiting.has_left);
        let store = Arc::clone(&self.store);
        let keeping = tokio::task::spawn_blocking(move || {
            let InstalledPackages { staging, roots, may_point_to, leaves } = installed;
            let kept = parts.iter().zip(&roots).try_for_each(|(part, root)| {
                let rules = TakeOverRules { limits, leaves: &leaves, may_point_to: &may_point_to, unwanted: &unwanted };
                store.publish_package(root, rules, &part.key)
            });
            drop(staging);
            if kept.is_err() {
                // What was taken over before is nobody's.
                let _ = store.sweep_contents();
            }
            kept
        });
        let kept = keeping.await;
        drop(waiting);
        Ok(kept.map_err(|_| EnvironmentError::Internal("keeping the packages panicked".into()))??)
    }

    /// Installs an environment as a whole.
    async fn install_all(
        &self,
        record: EnvironmentRecord,
        lock: &Lock,
        runtime: &Runtime,
        wanted: &Wanted,
        rules: Rules,
        tell: &Tell,
    ) -> Result<(), EnvironmentError> {
        tell(format!("installing {}", said(&lock.packages, wanted)));
        let installed = self.job(runtime, rules, tell).install(lock).await?;
        tell("keeping the files".to_owned());
        let limits = TreeLimits { files: self.config.limits.files, bytes: self.config.limits.environment_bytes };
        let (store, lock) = (Arc::clone(&self.store), lock.clone());
        let is_unbuilt = lock.ecosystem == Ecosystem::Npm && !rules.allow_build;
        let here = Here::default();
        let unwanted = Arc::clone(&here.has_left);
        let publishing = tokio::task::spawn_blocking(move || {
            let Installed { staging, root, may_point_to, leaves } = installed;
            let rules = TakeOverRules { limits, leaves: &leaves, may_point_to: &may_point_to, unwanted: &unwanted };
            let result = store.publish(&root, rules, &lock, |taken, summary| EnvironmentRecord {
                // Of what was taken over: no link in it leads to a file of the host.
                modules: crate::modules::imported_ahead(&lock, taken, &record.requirements, &[], MOST_MODULES),
                files: summary.files,
                size_bytes: summary.bytes,
                content_sha256: summary.sha256,
                unbuilt: if is_unbuilt { with_install_scripts(taken) } else { Vec::new() },
                ..record
            });
            drop(staging);
            if result.is_err() {
                // What was taken over before is nobody's.
                let _ = store.sweep_contents();
            }
            result
        });
        let published = publishing.await;
        drop(here);
        Ok(published.map_err(|_| EnvironmentError::Internal("keeping the environment panicked".into()))??)
    }
}

/// An environment that is to be made.
struct ToMake<'a> {
    key: &'a str,
    identity: &'a str,
    /// What it is linked together from, where it is.
    parts: Option<Vec<Part>>,
}

/// What linked packages hold together, as a hash: of the same lock the same.
fn content_of(packages: &[StoredPackage]) -> String {
    let contents: Vec<&[u8]> = packages.iter().map(|package| package.record.content_sha256.as_bytes()).collect();
    digest(&contents)
}

/// What of packages was asked for, with their versions, and how many come with them: for people.
fn said(packages: &[LockedPackage], wanted: &Wanted) -> String {
    let is_asked = |package: &&LockedPackage| wanted.requirements.iter().any(|requirement| requirement.name() == package.name);
    let asked = packages.iter().filter(is_asked).take(SAID_PACKAGES);
    let named: Vec<String> = asked.map(|package| format!("{} {}", package.name, package.version)).collect();
    let others = packages.len() - named.len();
    match (named.is_empty(), others) {
        (true, _) => count(others),
        (false, 0) => named.join(", "),
        (false, 1) => format!("{} and 1 other package", named.join(", ")),
        (false, others) => format!("{} and {others} other packages", named.join(", ")),
    }
}

/// Whoever waits. Dropped with the future that does.
#[derive(Default)]
struct Here {
    has_left: Arc<AtomicBool>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.has_left.store(true, Ordering::Relaxed);
    }
}

/// What is asked for besides packages, against the policy.
fn check_request(wanted: &Wanted, policy: &PackagePolicy) -> Result<(), EnvironmentError> {
    let refused = |what: String, why| Err(EnvironmentError::Refused { what, why });
    if !policy.enabled {
        return refused("packages".to_owned(), "they are switched off here; use what the runtime brings along, or ask the operator");
    }
    if wanted.allow_build && !policy.allow_build {
        return refused("building packages".to_owned(), "their own code would run; ask for versions that come built, or ask the operator");
    }
    if wanted.minimum_release_age_days.is_some_and(|days| days < policy.least_release_age_days) {
        return refused("a shorter minimum release age".to_owned(), "the operator has set the least; leave it out, or ask the operator");
    }
    if wanted.lock.is_none()
        && let Some(requirement) = wanted.requirements.iter().find(|requirement| !policy.allows(wanted.ecosystem, requirement.name()))
    {
        return refused(
            format!("the package {}", requirement.name()),
            "it is not among the allowed ones; do without it, or ask the operator",
        );
    }
    Ok(())
}

/// Whether the runtime is one that the program is for.
fn check_python(wanted: &Wanted, runtime: &Runtime) -> Result<(), EnvironmentError> {
    let Some(version) = runtime.name.strip_prefix("python@") else { return Ok(()) };
    let version: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if wanted.requires_python.accept(&version) {
        return Ok(());
    }
    Err(EnvironmentError::Manifest(format!(
        "the program is for Python {}, and this is {}; choose another with --runtime python@VERSION",
        wanted.requires_python, runtime.name
    )))
}

/// What a lock would install, against the policy.
fn check_lock(lock: &Lock, policy: &PackagePolicy) -> Result<(), EnvironmentError> {
    match lock.packages.iter().find(|package| policy.blocks(&package.name)) {
        Some(package) => Err(EnvironmentError::Refused {
            what: format!("the package {}", package.name),
            why: "it is blocked, also where another package needs it; do without it, or ask the operator",
        }),
        None => Ok(()),
    }
}

/// A number of packages, in words.
pub(crate) fn count(packages: usize) -> String {
    if packages == 1 { "1 package".to_owned() } else { format!("{packages} packages") }
}

/// What tells a request from others, and so which lock it led to.
fn request_sha256(requirements: &[Requirement], wanted: &Wanted, runtime: &Runtime, rules: Rules, sources: &[String]) -> String {
    let list: Vec<String> = requirements.iter().map(ToString::to_string).collect();
    let rules = format!("{SCHEMA} {RESOLVER} {} {} {}", rules.minimum_release_age_days, rules.allow_build, std::env::consts::ARCH);
    let names = |names: &BTreeSet<String>| names.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
    let (list, sources, ecosystem) = (list.join("\n"), sources.join("\n"), wanted.ecosystem.name());
    let (may_be_missing, optional) = (names(&wanted.may_be_missing), names(&wanted.optional));
    let parts = [&rules, ecosystem, &runtime_line(runtime), &list, &sources, &may_be_missing, &optional];
    digest(&parts.map(str::as_bytes))
}

/// Where a lock is from.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Origin {
    /// It was made here, or says itself that all that is in it is installed.
    Here,
    /// It came with a run: what of it is installed, only its whole text says.
    Given,
}

/// What an environment is, hexadecimal: what is installed, for which runtime and by which rules. Two locks that install the same have one.
fn identity(lock: &Lock, origin: Origin, runtime: &Runtime, rules: Rules) -> String {
    // pnpm holds what it installs to the release age, whoever made the lock: an environment is as old as it was held to be.
    let age = if lock.ecosystem == Ecosystem::Npm { rules.minimum_release_age_days } else { 0 };
    let form = format!("{SCHEMA} {} {age} {}", rules.allow_build, std::env::consts::ARCH);
    // A virtual environment has a link to its interpreter.
    let interpreter = if lock.ecosystem == Ecosystem::PyPi { runtime.executable.as_os_str().as_encoded_bytes() } else { b"" };
    let installed = match (origin, lock.ecosystem) {
        (Origin::Given, _) => lock.text.clone(),
        (Origin::Here, Ecosystem::PyPi) => {
            let mut packages: Vec<String> = lock.packages.iter().map(|package| package_line(lock, package)).collect();
            packages.sort();
            // Not what an earlier Belljar installed as a whole.
            format!("linked\n{}", packages.join("\n"))
        }
        // Which range led to a version does not matter to what is installed.
        (Origin::Here, Ecosystem::Npm) => {
            lock.text.lines().filter(|line| !line.starts_with("        specifier: ")).collect::<Vec<_>>().join("\n")
        }
    };
    digest(&[form.as_bytes(), runtime_line(runtime).as_bytes(), interpreter, installed.as_bytes()])
}

/// A package of Python with the files that it may be.
fn package_line(lock: &Lock, package: &LockedPackage) -> String {
    let hashes = lock.hashes.get(&package.name).map(|hashes| hashes.join(" ")).unwrap_or_default();
    format!("{}=={} {hashes}", package.name, package.version)
}

/// The beginning of an identity, short enough to be read.
fn key(ecosystem: Ecosystem, identity: &str) -> String {
    format!("{}-{}", ecosystem.name(), &identity[..24])
}

/// The packages of a lock, each as what is kept for all environments; `None` where they are not installed one by one.
fn parts(lock: &Lock, origin: Origin, runtime: &Runtime, rules: Rules) -> Option<Vec<Part>> {
    if origin == Origin::Given || lock.ecosystem == Ecosystem::Npm || rules.allow_build {
        return None;
    }
    let installed_for = format!("{SCHEMA} {} {} {}", runtime_line(runtime), runtime.executable.display(), std::env::consts::ARCH);
    let part = |package: &LockedPackage| {
        let line = package_line(lock, package);
        let is_single = lock.packages.iter().filter(|other| other.name == package.name).count() == 1;
        // Plain enough for a line of an installer's input, whoever wrote the lock.
        let is_plain = |hash: &String| {
            hash.strip_prefix("sha256:").is_some_and(|digits| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_hexdigit()))
        };
        let hashes = lock.hashes.get(&package.name).filter(|hashes| !hashes.is_empty() && hashes.iter().all(is_plain) && is_single)?;
        let requirement = format!(
            "{}=={} {}",
            package.name,
            package.version,
            hashes.iter().map(|hash| format!("--hash={hash}")).collect::<Vec<_>>().join(" ")
        );
        let key = format!("pypi-{}-{}", package.name, &digest(&[installed_for.as_bytes(), line.as_bytes()])[..24]);
        Some(Part { key, requirement, package: Some(package.clone()) })
    };
    let mut all = lock.packages.iter().map(part).collect::<Option<Vec<_>>>()?;
    all.sort_by(|one, other| one.key.cmp(&other.key));
    // The interpreter and what else every environment has.
    let key = format!("venv-{}", &digest(&[installed_for.as_bytes()])[..24]);
    all.insert(0, Part { key, requirement: String::new(), package: None });
    Some(all)
}

/// The runtime, without what does not matter to packages.
fn runtime_line(runtime: &Runtime) -> String {
    let (language, version) = runtime.name.split_once('@').unwrap_or((&runtime.name, ""));
    let parts = if language == "node" { 1 } else { 2 };
    format!("{language}@{}", version.split('.').take(parts).collect::<Vec<_>>().join("."))
}

fn prepared(stored: Stored, lock: Lock, imported: Option<&[String]>, runtime: &Runtime, policy: &PackagePolicy) -> Prepared {
    let Stored { mut record, root, lease, .. } = stored;
    let is_trusted = !record.packages.is_empty() && record.packages.iter().all(|package| policy.trusts(record.ecosystem, &package.name));
    // Other programs may use this environment too: what is imported in advance is what this one imports.
    match imported {
        None => {}
        Some([]) => record.modules.clear(),
        Some(imported) => {
            record.modules = crate::modules::imported_ahead(&lock, &root, &record.requirements, imported, MOST_MODULES);
        }
    }
    // Another lock may have led to the same.
    record.lock_sha256 = lock.sha256();
    let environment = Environment {
        key: record.key.clone(),
        folder: std::fs::canonicalize(&root).unwrap_or(root),
        place: Environment::place(runtime.kind).to_owned(),
        modules: record.modules.clone(),
        ahead: if is_trusted { Ahead::Zygote } else { Ahead::Sandbox },
        lease: Some(lease),
    };
    Prepared { environment: Arc::new(environment), record, lock: lock.text }
}

/// Passes on what provisioning does, each thing once.
pub(crate) struct Steps {
    tell: Tell,
    last: String,
}

impl Steps {
    pub(crate) fn told_to(tell: Tell) -> Self {
        Self { tell, last: String::new() }
    }
}

impl Progress for Steps {
    fn step(&mut self, step: Step<'_>) {
        let message = describe_step(step);
        if message != self.last {
            (self.tell)(message.clone());
            self.last = message;
        }
    }
}
