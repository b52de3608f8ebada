//! The packages of runs on this machine: their environments, options and policy.

use std::collections::BTreeSet;
use std::path::Path;

use belljar_engine::{Engine, EngineConfig};
use belljar_environments::{Environments, EnvironmentsConfig, MAX_LOCK_BYTES};
use belljar_protocol::{PackageChanges, PackageOptions, PackagePolicy};

use crate::arguments::{InstallArguments, PackageArguments};
use crate::environment_settings::EnvironmentSettings;
use crate::hint::hinted;
use crate::input::read;
use crate::policy::PolicyFile;

/// The maximum number of entries read from the folder of a program.
const MAX_FOLDER_ENTRIES: usize = 10_000;

/// Opens the environments in this user's cache. Environment variables override the settings.
pub fn environments(
    engine: &Engine,
    config: &EngineConfig,
    settings: &EnvironmentSettings,
) -> anyhow::Result<Environments> {
    let mut environments = EnvironmentsConfig::new(config.provision.clone());
    settings.clone().with_variables(|name| std::env::var(name).ok())?.apply(&mut environments);
    Ok(Environments::new(engine.clone(), environments)?)
}

/// Returns the package options of a run.
pub fn options(arguments: &PackageArguments) -> anyhow::Result<PackageOptions> {
    Ok(PackageOptions {
        lock: arguments.lock.as_deref().map(lock).transpose()?,
        frozen: arguments.frozen,
        none: arguments.no_packages,
        only: arguments.only_packages,
        ..install_options(&arguments.install)
    })
}

/// Returns the package options that `run` and `env` share.
pub fn install_options(arguments: &InstallArguments) -> PackageOptions {
    PackageOptions {
        offline: arguments.offline,
        allow_build: arguments.allow_build,
        minimum_release_age_days: arguments.minimum_release_age,
        ..PackageOptions::default()
    }
}

/// Reads a lock file.
pub fn lock(path: &Path) -> anyhow::Result<String> {
    let bytes = read(path, "the lock file", MAX_LOCK_BYTES as u64)?;
    String::from_utf8(bytes).map_err(|_| {
        hinted(format!("`{}` is not UTF-8", path.display()), "use a uv.lock or pnpm-lock.yaml")
    })
}

/// Returns the package policy on this machine, where the user is the operator: building is allowed
/// unless the policy file forbids it.
pub fn policy(rules: Option<PackageChanges>) -> PackagePolicy {
    match rules {
        Some(changes) => changes.over(PackagePolicy::default()),
        None => PackagePolicy { allow_build: true, ..PackagePolicy::default() },
    }
}

/// Reads the package policy on this machine from a policy file.
pub fn policy_of_file(file: Option<&Path>) -> anyhow::Result<PackagePolicy> {
    Ok(policy(file.map(PolicyFile::read).transpose()?.and_then(|file| file.packages)))
}

/// Returns the Python modules in the folder of a program, which plain Python would import.
pub fn modules_next_to(program: &Path) -> BTreeSet<String> {
    let folder =
        program.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let entries =
        std::fs::read_dir(folder).into_iter().flatten().flatten().take(MAX_FOLDER_ENTRIES);
    let modules = entries.filter_map(|entry| {
        let name = entry.file_name().into_string().ok()?;
        match name.strip_suffix(".py") {
            Some(module) => Some(module.to_owned()),
            None => entry.path().join("__init__.py").is_file().then_some(name),
        }
    });
    modules.collect()
}
