//! From flags to the packages of a run.

use std::collections::BTreeSet;
use std::path::Path;

use belljar_engine::{Engine, EngineConfig};
use belljar_environments::{Environments, EnvironmentsConfig, MOST_LOCK_BYTES, RunPackages};
use belljar_protocol::{PackageChanges, PackageOptions, PackagePolicy};

use crate::arguments::{InstallArguments, PackageArguments, RunArguments};
use crate::commands::run::read;
use crate::environment_settings::EnvironmentSettings;
use crate::policy::{self, PolicyFile};

/// Entries of the program's folder that are looked at.
const MOST_BESIDE: usize = 10_000;

/// The environments beside the runtimes in this user's cache, by these settings and what variables say over them.
pub fn environments(engine: &Engine, config: &EngineConfig, settings: &EnvironmentSettings) -> anyhow::Result<Environments> {
    let mut environments = EnvironmentsConfig::new(config.provision.clone());
    settings.clone().with_variables(|name| std::env::var(name).ok())?.apply(&mut environments);
    Ok(Environments::new(engine.clone(), environments)?)
}

/// What the flags ask for besides packages.
pub fn options(arguments: &PackageArguments) -> anyhow::Result<PackageOptions> {
    Ok(PackageOptions {
        lock: arguments.lock.as_deref().map(lock).transpose()?,
        frozen: arguments.frozen,
        none: arguments.no_packages,
        only: arguments.only_packages,
        ..installed_by(&arguments.install)
    })
}

/// What the flags ask for that a run and what is made ahead of it have in common.
pub fn installed_by(arguments: &InstallArguments) -> PackageOptions {
    PackageOptions {
        offline: arguments.offline,
        allow_build: arguments.allow_build,
        minimum_release_age_days: arguments.minimum_release_age,
        ..PackageOptions::default()
    }
}

/// The text of a lock.
pub fn lock(path: &Path) -> anyhow::Result<String> {
    let bytes = read(path, "the lock", MOST_LOCK_BYTES as u64)?;
    String::from_utf8(bytes).map_err(|_| anyhow::anyhow!("{} is not UTF-8; give a uv.lock or pnpm-lock.yaml", path.display()))
}

/// What is allowed on this machine, whose user is its own operator: also to build, where their policy file does not say otherwise.
fn allowed(by_file: Option<PackageChanges>) -> PackagePolicy {
    match by_file {
        Some(changes) => changes.over(PackagePolicy::default()),
        None => PackagePolicy { allow_build: true, ..PackagePolicy::default() },
    }
}

/// The same, from a policy file.
pub fn policy(file: Option<&Path>) -> anyhow::Result<PackagePolicy> {
    Ok(allowed(file.map(PolicyFile::read).transpose()?.and_then(|file| file.packages)))
}

/// The packages of a run on this machine.
pub fn of_run(environments: Environments, arguments: &RunArguments) -> anyhow::Result<RunPackages> {
    let policy = allowed(policy::asked(&arguments.policy, &arguments.limits)?.packages);
    let of = &arguments.packages;
    let beside = arguments.file.as_deref().map(modules_beside).unwrap_or_default();
    Ok(RunPackages::new(environments, of.packages.clone(), options(of)?, policy, None).lying_beside(beside))
}

/// The modules of Python in the folder of a program, which plain Python would find there.
fn modules_beside(program: &Path) -> BTreeSet<String> {
    let folder = program.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries = std::fs::read_dir(folder).into_iter().flatten().flatten().take(MOST_BESIDE);
    let modules = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        match name.strip_suffix(".py") {
            Some(module) => Some(module.to_owned()),
            None => entry.path().join("__init__.py").is_file().then_some(name),
        }
    });
    modules.collect()
}
