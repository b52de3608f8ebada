//! The installation of an environment, from packages that all environments share or as a whole.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use belljar_protocol::Timestamp;

use crate::boot::boot_id;
use crate::digest::digest;
use crate::environment_record::{EnvironmentRecord, SCHEMA};
use crate::error::EnvironmentError;
use crate::identity::runtime_line;
use crate::install_scripts::with_install_scripts;
use crate::installers::{Installed, InstalledPackages, Job, Part};
use crate::lock::{Lock, LockedPackage};
use crate::package_store::StoredPackage;
use crate::preload_modules::{MAX_MODULES, preload_modules};
use crate::requirement::Ecosystem;
use crate::tree::{TakeOverRules, TreeLimits};
use crate::wanted::Wanted;

/// The maximum number of packages that are named in a message.
const SAID_PACKAGES: usize = 4;

/// An environment to be installed.
pub(crate) struct ToInstall<'a> {
    pub(crate) key: &'a str,
    pub(crate) identity: &'a str,
    /// Parts that it is linked from, if it is.
    pub(crate) parts: Option<Vec<Part>>,
}

/// Installs an environment: from packages that are stored for all environments if possible, or else
/// as a whole.
pub(crate) async fn install(
    job: &Job<'_>,
    to_install: ToInstall<'_>,
    lock: &Lock,
    wanted: &Wanted,
) -> Result<(), EnvironmentError> {
    let since = Instant::now();
    let record = EnvironmentRecord {
        schema: SCHEMA,
        key: to_install.key.to_owned(),
        ecosystem: lock.ecosystem,
        runtime: runtime_line(job.runtime),
        requirements: wanted.requirements.iter().map(ToString::to_string).collect(),
        packages: lock.packages.clone(),
        modules: Vec::new(),
        files: 0,
        size_bytes: 0,
        content_sha256: String::new(),
        lock_sha256: lock.sha256(),
        identity: to_install.identity.to_owned(),
        linked_from: Vec::new(),
        unbuilt: Vec::new(),
        boot: None,
        allow_build: job.rules.allow_build,
        created_at: Timestamp::now(),
    };
    let installed = match to_install.parts {
        Some(parts) => {
            match assemble(job, record.clone(), parts, lock, wanted).await {
                // uv knows more about the whole lock than about single packages, so installing
                // all packages at once may succeed.
                Err(
                    error @ (EnvironmentError::Resolution(_) | EnvironmentError::NeedsBuild(_)),
                ) => {
                    tracing::debug!(%error, "packages were not installed one by one");
                    None
                }
                result => Some(result?),
            }
        }
        None => None,
    };
    let installed = match installed {
        Some(installed) => installed,
        None => {
            install_all(job, record, lock, wanted).await?;
            lock.packages.clone()
        }
    };
    if !installed.is_empty() {
        (job.tell)(format!(
            "installed {} in {:.1} s",
            said(&installed, wanted),
            since.elapsed().as_secs_f64()
        ));
    }
    Ok(())
}

/// Creates an environment from links to packages, of which the missing ones are installed
/// first. Returns the installed ones.
async fn assemble(
    job: &Job<'_>,
    record: EnvironmentRecord,
    parts: Vec<Part>,
    lock: &Lock,
    wanted: &Wanted,
) -> Result<Vec<LockedPackage>, EnvironmentError> {
    let limits = limits(job);
    let all = parts.clone();
    let here = job
        .store
        .off_the_async_threads(move |store| {
            all.iter().map(|part| store.open_package(&part.key)).collect::<Result<Vec<_>, _>>()
        })
        .await?;
    let missing: Vec<Part> = parts
        .iter()
        .zip(&here)
        .filter(|(_, package)| package.is_none())
        .map(|(part, _)| part.clone())
        .collect();
    let new: Vec<LockedPackage> = missing.iter().filter_map(|part| part.package.clone()).collect();
    if !missing.is_empty() {
        (job.tell)(format!("installing {}", said(&new, wanted)));
        // The virtual environment is installed separately from the packages: all environments
        // share it, so no archive may be unpacked next to it.
        let (venv, packages): (Vec<Part>, Vec<Part>) =
            missing.into_iter().partition(|part| part.package.is_none());
        for parts in [venv, packages].into_iter().filter(|parts| !parts.is_empty()) {
            install_parts(job, parts, limits).await?;
        }
    }
    let lock = lock.clone();
    job.store
        .off_the_async_threads(move |store| {
            let opened = parts
                .iter()
                .map(|part| store.open_package(&part.key))
                .collect::<Result<Vec<_>, _>>()?;
            // If a package was removed meanwhile, the environment is installed as a whole.
            let Some(packages) = opened.into_iter().collect::<Option<Vec<_>>>() else {
                return Ok(None);
            };
            store.assemble(&packages, limits, &lock, |root| EnvironmentRecord {
                modules: preload_modules(&lock, root, &record.requirements, &[], MAX_MODULES),
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
        .ok_or_else(|| {
            EnvironmentError::Resolution("a package was removed while it was being linked".into())
        })
}

/// Installs parts, and stores each for all environments.
async fn install_parts(
    job: &Job<'_>,
    parts: Vec<Part>,
    limits: TreeLimits,
) -> Result<(), EnvironmentError> {
    let installed = job.install_packages(&parts).await?;
    let waiting = Here::default();
    let unwanted = Arc::clone(&waiting.has_left);
    let store = Arc::clone(job.store);
    let keeping = tokio::task::spawn_blocking(move || {
        let InstalledPackages { staging, roots, may_point_to, leaves } = installed;
        let kept = parts.iter().zip(&roots).try_for_each(|(part, root)| {
            let rules = TakeOverRules {
                limits,
                leaves: &leaves,
                may_point_to: &may_point_to,
                unwanted: &unwanted,
            };
            store.publish_package(root, rules, &part.key)
        });
        drop(staging);
        if kept.is_err() {
            // Blobs that were stored before the failure are not used.
            let _ = store.sweep_blobs();
        }
        kept
    });
    let kept = keeping.await;
    drop(waiting);
    Ok(kept.map_err(|_| EnvironmentError::Internal("storing the packages panicked".into()))??)
}

/// Installs an environment as a whole.
async fn install_all(
    job: &Job<'_>,
    record: EnvironmentRecord,
    lock: &Lock,
    wanted: &Wanted,
) -> Result<(), EnvironmentError> {
    (job.tell)(format!("installing {}", said(&lock.packages, wanted)));
    let installed = job.install(lock).await?;
    (job.tell)("storing the files".to_owned());
    let limits = limits(job);
    let (store, lock) = (Arc::clone(job.store), lock.clone());
    let is_unbuilt = lock.ecosystem == Ecosystem::Npm && !job.rules.allow_build;
    let here = Here::default();
    let unwanted = Arc::clone(&here.has_left);
    let publishing = tokio::task::spawn_blocking(move || {
        let Installed { staging, root, may_point_to, leaves } = installed;
        let rules = TakeOverRules {
            limits,
            leaves: &leaves,
            may_point_to: &may_point_to,
            unwanted: &unwanted,
        };
        let result = store.publish(&root, rules, &lock, |taken, summary| EnvironmentRecord {
            // These are names in the stored copy, in which no link leads to a file of the host.
            modules: preload_modules(&lock, taken, &record.requirements, &[], MAX_MODULES),
            files: summary.files,
            size_bytes: summary.bytes,
            content_sha256: summary.sha256,
            unbuilt: if is_unbuilt { with_install_scripts(taken) } else { Vec::new() },
            ..record
        });
        drop(staging);
        if result.is_err() {
            // Blobs that were stored before the failure are not used.
            let _ = store.sweep_blobs();
        }
        result
    });
    let published = publishing.await;
    drop(here);
    Ok(published
        .map_err(|_| EnvironmentError::Internal("storing the environment panicked".into()))??)
}

/// Returns the limits of an environment.
fn limits(job: &Job<'_>) -> TreeLimits {
    let limits = &job.config.limits;
    TreeLimits { files: limits.files, bytes: limits.environment_bytes }
}

/// Returns the combined hash of linked packages, which is the same for the same lock.
fn content_of(packages: &[StoredPackage]) -> String {
    let contents: Vec<&[u8]> =
        packages.iter().map(|package| package.record.content_sha256.as_bytes()).collect();
    digest(&contents)
}

/// Returns a description of packages: the requested ones with their versions, and the number of
/// others.
fn said(packages: &[LockedPackage], wanted: &Wanted) -> String {
    let is_asked = |package: &&LockedPackage| {
        wanted.requirements.iter().any(|requirement| requirement.name() == package.name)
    };
    let asked = packages.iter().filter(is_asked).take(SAID_PACKAGES);
    let named: Vec<String> =
        asked.map(|package| format!("{} {}", package.name, package.version)).collect();
    let others = packages.len() - named.len();
    match (named.is_empty(), others) {
        (true, _) => count(others),
        (false, 0) => named.join(", "),
        (false, 1) => format!("{} and 1 other package", named.join(", ")),
        (false, others) => format!("{} and {others} other packages", named.join(", ")),
    }
}

/// A marker that its future is still waiting. Dropping it sets `has_left`.
#[derive(Default)]
struct Here {
    has_left: Arc<AtomicBool>,
}

impl Drop for Here {
    fn drop(&mut self) {
        self.has_left.store(true, Ordering::Relaxed);
    }
}

/// Returns a number of packages as text.
fn count(packages: usize) -> String {
    if packages == 1 { "1 package".to_owned() } else { format!("{packages} packages") }
}
