//! Resolution of requirements to a lock, which is cached.

use belljar_engine::Runtime;
use belljar_protocol::PackagePolicy;

use crate::error::EnvironmentError;
use crate::identity::request_sha256;
use crate::installers::{Job, Resolved};
use crate::lock::LockError;
use crate::making::making;
use crate::policy::{check_given_lock, check_lock, check_request};
use crate::popular_packages::is_popular;
use crate::requirement::{Requirement, merged};
use crate::resolution::{Resolution, seconds_since_1970};
use crate::store::lock_records::MadeLock;
use crate::wanted::Wanted;

/// The maximum number of resolutions of one request. Each one finds one package that no registry
/// has. After that, all packages that are not in the tables are left out.
const MAX_RESOLUTIONS: usize = 12;

/// Returns the lock of the requested packages: the given one, a cached resolution of the same
/// request, or a new one.
pub(crate) async fn lock(
    job: &Job<'_>,
    wanted: &Wanted,
    policy: &PackagePolicy,
) -> Result<Resolution, EnvironmentError> {
    check_request(wanted, policy)?;
    check_python(wanted, job.runtime)?;
    if let Some(lock) = &wanted.lock {
        if lock.ecosystem != wanted.ecosystem {
            return Err(LockError::OtherEcosystem {
                found: lock.ecosystem,
                wanted: wanted.ecosystem,
            }
            .into());
        }
        check_lock(lock, policy)?;
        check_given_lock(lock, job.store.made_lock(lock)?.as_ref(), policy)?;
        return Ok(Resolution {
            lock: Some(lock.clone()),
            missing: Vec::new(),
            notes: Vec::new(),
            resolved_at: 0,
        });
    }
    let requirements = merged(wanted.requirements.iter().cloned())?;
    if wanted.frozen {
        let names: Vec<&str> = requirements.iter().map(Requirement::name).collect();
        return Err(EnvironmentError::Unlocked(names.join(", ")));
    }
    let sources = job.config.sources(wanted.ecosystem);
    let request = request_sha256(&requirements, wanted, job.runtime, job.rules, &sources);
    if let Some(known) = known_resolution(job, &request, wanted, policy)? {
        return Ok(known);
    }
    let resolving = making(job.store, &format!("lock-{}", &request[..32]), job.tell).await?;
    if let Some(known) = known_resolution(job, &request, wanted, policy)? {
        return Ok(known);
    }
    let resolution = resolve(job, wanted, requirements, policy).await?;
    job.store.remember_resolution(&request, &resolution)?;
    drop(resolving);
    if let Some(lock) = &resolution.lock {
        check_lock(lock, policy)?;
    }
    Ok(resolution)
}

/// Returns the cached resolution of a request.
fn known_resolution(
    job: &Job<'_>,
    request: &str,
    wanted: &Wanted,
    policy: &PackagePolicy,
) -> Result<Option<Resolution>, EnvironmentError> {
    if wanted.upgrade {
        return Ok(None);
    }
    let Some(known) =
        job.store.known_resolution(request)?.filter(|known| job.rules.offline || !known.is_stale())
    else {
        return Ok(None);
    };
    if let Some(lock) = &known.lock {
        check_lock(lock, policy)?;
    }
    Ok(Some(known))
}

/// Resolves requirements. Packages that may be missing are left out if no registry has them,
/// and optional ones if they conflict with the others.
async fn resolve(
    job: &Job<'_>,
    wanted: &Wanted,
    mut requirements: Vec<Requirement>,
    policy: &PackagePolicy,
) -> Result<Resolution, EnvironmentError> {
    let mut missing: Vec<String> = Vec::new();
    let is_optional = |requirement: &Requirement| wanted.optional.contains(requirement.name());
    let is_guess = |requirement: &Requirement| {
        wanted.may_be_missing.contains(requirement.name())
            && !is_popular(wanted.ecosystem, requirement.name())
    };
    for attempt in 0.. {
        if requirements.is_empty() {
            return Ok(Resolution {
                lock: None,
                missing,
                notes: Vec::new(),
                resolved_at: seconds_since_1970(),
            });
        }
        let resolved = job.resolve(wanted.ecosystem, &requirements, &wanted.optional).await;
        let has_optional = requirements.iter().any(is_optional);
        match resolved {
            Ok(Resolved { lock, .. }) if has_optional && check_lock(&lock, policy).is_err() => {
                requirements.retain(|one| !is_optional(one));
            }
            Ok(Resolved { lock, notes }) => {
                let names =
                    requirements.iter().map(|requirement| requirement.name().to_owned()).collect();
                let made = MadeLock {
                    names,
                    minimum_release_age_days: job.rules.minimum_release_age_days,
                };
                job.store.remember_made(&lock, &made)?;
                return Ok(Resolution {
                    lock: Some(lock),
                    missing,
                    notes,
                    resolved_at: seconds_since_1970(),
                });
            }
            Err(EnvironmentError::NotInRegistry { name, .. })
                if wanted.may_be_missing.contains(&name)
                    && requirements.iter().any(|one| one.name() == name) =>
            {
                requirements.retain(|one| one.name() != name);
                missing.push(name);
                if attempt >= MAX_RESOLUTIONS {
                    missing.extend(
                        requirements
                            .iter()
                            .filter(|one| is_guess(one))
                            .map(|one| one.name().to_owned()),
                    );
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
                requirements
                    .retain(|one| if has_named { !is_named(one) } else { !is_optional(one) });
            }
            // A package that is not in the cache may also be in no registry.
            Err(EnvironmentError::Offline(_)) if requirements.iter().any(is_guess) => {
                missing.extend(
                    requirements
                        .iter()
                        .filter(|one| is_guess(one))
                        .map(|one| one.name().to_owned()),
                );
                requirements.retain(|one| !is_guess(one));
            }
            Err(error) => return Err(error),
        }
    }
    Err(EnvironmentError::Internal("the resolution does not end".into()))
}

/// Checks that the program supports the runtime's version of Python.
fn check_python(wanted: &Wanted, runtime: &Runtime) -> Result<(), EnvironmentError> {
    let Some(version) = runtime.name.strip_prefix("python@") else { return Ok(()) };
    let version: Vec<u32> = version.split('.').filter_map(|part| part.parse().ok()).collect();
    if wanted.requires_python.accept(&version) {
        return Ok(());
    }
    Err(EnvironmentError::Request {
        problem: format!(
            "the program requires Python {}, but the runtime is {}",
            wanted.requires_python, runtime.name
        ),
        hint: "choose another runtime with --runtime python@VERSION (runtime)",
    })
}
