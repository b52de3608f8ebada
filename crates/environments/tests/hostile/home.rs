//! Environments in a temporary folder. They use the real installers, and only the registry of the
//! test.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock};

use belljar_engine::{Engine, EngineConfig, RunHost};
use belljar_environments::{
    Ecosystem, EnvironmentError, Environments, EnvironmentsConfig, Lock, PreparedEnvironment,
    Requirement, RunPackages, Tell, Wanted,
};
use belljar_protocol::{Language, Outcome, PackageOptions, PackagePolicy, RunRequest};
use belljar_provision::{
    PackageIndex, ProvisionConfig, Provisioner, ProxyUse, PythonIndex, Silent,
};
use belljar_test_support::files_in;
use tempfile::TempDir;

use crate::registry::Registry;

/// Returns the installers, which are found or fetched once, as this machine is configured.
fn installers() -> &'static (PathBuf, PathBuf) {
    static FOUND: OnceLock<(PathBuf, PathBuf)> = OnceLock::new();
    FOUND.get_or_init(|| {
        let provisioner = Provisioner::new(ProvisionConfig::from_env().unwrap()).unwrap();
        (
            provisioner.uv(&mut Silent).unwrap().program,
            provisioner.pnpm(&mut Silent).unwrap().program,
        )
    })
}

pub struct Home {
    pub folder: Arc<TempDir>,
    pub environments: Environments,
    pub policy: PackagePolicy,
    reported: Arc<Mutex<Vec<String>>>,
}

impl Home {
    pub fn new(registry: &Registry) -> Self {
        Self::with(registry, |_| ())
    }

    pub fn with(registry: &Registry, change: impl FnOnce(&mut EnvironmentsConfig)) -> Self {
        Self::at(Arc::new(tempfile::tempdir().unwrap()), registry, change)
    }

    /// Returns a home that shares only the folder, as in another process.
    pub fn at_same(home: &Self, registry: &Registry) -> Self {
        Self::at_same_with(home, registry, |_| ())
    }

    pub fn at_same_with(
        home: &Self,
        registry: &Registry,
        change: impl FnOnce(&mut EnvironmentsConfig),
    ) -> Self {
        Self::at(Arc::clone(&home.folder), registry, change)
    }

    fn at(
        folder: Arc<TempDir>,
        registry: &Registry,
        change: impl FnOnce(&mut EnvironmentsConfig),
    ) -> Self {
        let config = config(folder.path(), registry, change);
        let engine = Engine::new(EngineConfig::from_env().unwrap()).unwrap();
        let environments = Environments::new(engine, config).unwrap();
        Self { folder, environments, policy: PackagePolicy::default(), reported: Arc::default() }
    }

    pub fn policy(mut self, change: impl FnOnce(&mut PackagePolicy)) -> Self {
        change(&mut self.policy);
        self
    }

    pub fn store(&self) -> PathBuf {
        self.folder.path().join("environments")
    }

    pub fn tell(&self) -> Tell {
        let reported = Arc::clone(&self.reported);
        Arc::new(move |line| reported.lock().unwrap().push(line))
    }

    pub fn reported(&self) -> Vec<String> {
        self.reported.lock().unwrap().clone()
    }

    pub async fn get(&self, wanted: &Wanted) -> Result<PreparedEnvironment, EnvironmentError> {
        self.environments.prepare(wanted, &self.policy, &self.tell()).await
    }

    pub async fn python(&self, packages: &[&str]) -> Result<PreparedEnvironment, EnvironmentError> {
        self.get(&wanted(Language::Python, packages)).await
    }

    pub async fn npm(&self, packages: &[&str]) -> Result<PreparedEnvironment, EnvironmentError> {
        self.get(&wanted(Language::JavaScript, packages)).await
    }

    /// Runs a program with packages.
    pub async fn run(
        &self,
        language: Language,
        code: &str,
        packages: &[&str],
        options: PackageOptions,
        tenant: Option<&str>,
    ) -> Outcome {
        let tenant = tenant.map(str::to_owned);
        let packages = packages.iter().map(|&text| text.to_owned()).collect();
        let source = RunPackages::new(
            self.environments.clone(),
            packages,
            options,
            self.policy.clone(),
            tenant.clone(),
        );
        let host = RunHost { environments: Some(Arc::new(source)), tenant, ..RunHost::default() };
        self.environments
            .engine()
            .run_with(RunRequest::new(language, code), host)
            .finished()
            .await
            .outcome
    }

    /// Returns the folder of an environment's Python packages.
    pub fn site_packages(prepared: &PreparedEnvironment) -> PathBuf {
        let lib = fs::read_dir(prepared.environment.folder.join("lib"))
            .unwrap()
            .flatten()
            .next()
            .unwrap();
        lib.path().join("site-packages")
    }

    /// Returns the names in a folder of the store.
    pub fn names(&self, folder: &str) -> Vec<String> {
        let entries = fs::read_dir(self.store().join(folder)).into_iter().flatten().flatten();
        entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
    }

    /// Returns the paths of all files and links beneath the folder of the home.
    pub fn all_files(&self) -> Vec<PathBuf> {
        files_in(self.folder.path())
    }
}

pub fn config(
    folder: &Path,
    registry: &Registry,
    change: impl FnOnce(&mut EnvironmentsConfig),
) -> EnvironmentsConfig {
    let mut provision = ProvisionConfig::from_env().unwrap();
    let (uv, pnpm) = installers().clone();
    (provision.uv, provision.pnpm) = (Some(uv), Some(pnpm));
    provision.python_index =
        PythonIndex::at(PackageIndex::parse(&registry.python_index()).unwrap());
    provision.registry = belljar_provision::Registry::at(&registry.npm_registry());
    provision.proxy = ProxyUse::Never;
    let mut config = EnvironmentsConfig::new(provision);
    config.folder = folder.join("environments");
    change(&mut config);
    config
}

pub fn wanted(language: Language, packages: &[&str]) -> Wanted {
    let ecosystem = Ecosystem::of(language);
    let requirements =
        packages.iter().map(|text| Requirement::parse(ecosystem, text).unwrap()).collect();
    Wanted::new(language.default_runtime(), ecosystem, requirements)
}

pub fn parse(environments: &Environments, text: &str) -> Lock {
    Lock::parse(text, &environments.indexes()).unwrap()
}
