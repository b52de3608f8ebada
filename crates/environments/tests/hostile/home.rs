//! Environments in a folder of the test's own, with the real installers, that know no registry but the test's.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use belljar_engine::{Engine, EngineConfig, RunOptions};
use belljar_environments::{
    Ecosystem, EnvironmentError, Environments, EnvironmentsConfig, Lock, Prepared, Requirement, RunPackages, Tell, Wanted,
};
use belljar_protocol::{Language, Outcome, PackageOptions, PackagePolicy, RunRequest};
use belljar_provision::{PackageIndex, ProvisionConfig, Provisioner, ProxyUse, PythonIndex, Silent};
use tempfile::TempDir;

use crate::registry::Registry;

/// The installers, found or fetched as this machine is configured, once.
fn installers() -> &'static (PathBuf, PathBuf) {
    static FOUND: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FOUND.get_or_init(|| {
        let provisioner = Provisioner::new(ProvisionConfig::from_env().unwrap()).unwrap();
        (provisioner.uv(&mut Silent).unwrap().program, provisioner.pnpm(&mut Silent).unwrap().program)
    })
}

pub struct Home {
    pub folder: Arc<TempDir>,
    pub environments: Environments,
    pub policy: PackagePolicy,
    told: Arc<Mutex<Vec<String>>>,
}

impl Home {
    pub fn new(registry: &Registry) -> Self {
        Self::with(registry, |_| ())
    }

    pub fn with(registry: &Registry, change: impl FnOnce(&mut EnvironmentsConfig)) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), registry, change)
    }

    /// Another process's: the same folder, and nothing else.
    pub fn at_same(home: &Self, registry: &Registry) -> Self {
        Self::at_same_with(home, registry, |_| ())
    }

    pub fn at_same_with(home: &Self, registry: &Registry, change: impl FnOnce(&mut EnvironmentsConfig)) -> Self {
        Self::at(Arc::clone(&home.folder), registry, change)
    }

    fn at(folder: Arc<TempDir>, registry: &Registry, change: impl FnOnce(&mut EnvironmentsConfig)) -> Self {
        let config = config(folder.path(), registry, change);
        let engine = Engine::new(EngineConfig::from_env().unwrap()).unwrap();
        let environments = Environments::new(engine, config).unwrap();
        Self { folder, environments, policy: PackagePolicy::default(), told: Arc::default() }
    }

    pub fn policy(mut self, change: impl FnOnce(&mut PackagePolicy)) -> Self {
        change(&mut self.policy);
        self
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("environments")
    }

    pub fn tell(&self) -> Tell {
        let told = Arc::clone(&self.told);
        Arc::new(move |line| told.lock().unwrap().push(line))
    }

    pub fn told(&self) -> Vec<String> {
        self.told.lock().unwrap().clone()
    }

    pub async fn get(&self, wanted: &Wanted) -> Result<Prepared, EnvironmentError> {
        self.environments.prepare(wanted, &self.policy, &self.tell()).await
    }

    pub async fn python(&self, packages: &[&str]) -> Result<Prepared, EnvironmentError> {
        self.get(&wanted(Language::Python, packages)).await
    }

    pub async fn npm(&self, packages: &[&str]) -> Result<Prepared, EnvironmentError> {
        self.get(&wanted(Language::JavaScript, packages)).await
    }

    /// Runs a program as a run with these packages does.
    pub async fn run(&self, language: Language, code: &str, packages: &[&str], options: PackageOptions, tenant: Option<&str>) -> Outcome {
        let tenant = tenant.map(str::to_owned);
        let packages = packages.iter().map(|&text| text.to_owned()).collect();
        let source = RunPackages::new(self.environments.clone(), packages, options, self.policy.clone(), tenant.clone());
        let options = RunOptions { environments: Some(Arc::new(source)), tenant, ..RunOptions::default() };
        self.environments.engine().run_with(RunRequest::new(language, code), options).finished().await.outcome
    }

    /// The folder of an environment's Python packages.
    pub fn site_packages(prepared: &Prepared) -> PathBuf {
        let lib = fs::read_dir(prepared.environment.folder.join("lib")).unwrap().flatten().next().unwrap();
        lib.path().join("site-packages")
    }

    /// What is in a folder of the store.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Every file and link beneath the whole folder, with its path.
    pub fn all_files(&self) -> Vec<PathBuf> {
        files_in(self.folder.path())
    }
}

pub fn config(folder: &Path, registry: &Registry, change: impl FnOnce(&mut EnvironmentsConfig)) -> EnvironmentsConfig {
    let mut provision = ProvisionConfig::from_env().unwrap();
    let (uv, pnpm) = installers().clone();
    (provision.uv, provision.pnpm) = (Some(uv), Some(pnpm));
    provision.python_index = PythonIndex::at(PackageIndex::parse(&registry.python_index()).unwrap());
    provision.registry = belljar_provision::Registry::at(&registry.npm_registry());
    provision.proxy = ProxyUse::Never;
    let mut config = EnvironmentsConfig::new(provision);
    config.folder = folder.join("environments");
    change(&mut config);
    config
}

pub fn wanted(language: Language, packages: &[&str]) -> Wanted {
    let ecosystem = Ecosystem::of(language);
    let requirements = packages.iter().map(|text| Requirement::parse(ecosystem, text).unwrap()).collect();
    Wanted::new(language.default_runtime(), ecosystem, requirements)
}

pub fn parse(environments: &Environments, text: &str) -> Lock {
    Lock::parse(text, &environments.indexes()).unwrap()
}

pub fn files_in(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().unwrap().is_dir() {
            found.extend(files_in(&entry.path()));
        } else {
            found.push(entry.path());
        }
    }
    found
}

/// Waits until something is so. A lock that this process holds is for a moment also held by what it forks to launch a jail, so that collections may have to be
/// asked again.
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !is_so() {
        assert!(Instant::now() < deadline, "{what}");
        std::thread::yield_now();
    }
}
