//! The package policy: which packages may be installed, and under which rules.

use belljar_protocol::PackagePolicy;

use crate::config::EnvironmentsConfig;
use crate::error::EnvironmentError;
use crate::installers::Rules;
use crate::lock::Lock;
use crate::requirement::Ecosystem;
use crate::store::lock_records::MadeLock;
use crate::wanted::Wanted;

/// Returns the rules for resolving and installing packages.
pub(crate) fn rules(wanted: &Wanted, policy: &PackagePolicy, config: &EnvironmentsConfig) -> Rules {
    let days = wanted.minimum_release_age_days.unwrap_or(policy.minimum_release_age_days);
    Rules {
        minimum_release_age_days: days.max(policy.min_requested_release_age_days),
        allow_build: wanted.allow_build,
        offline: wanted.offline || config.provision.offline,
    }
}

/// Checks a request against the policy, except for the packages of its lock.
pub(crate) fn check_request(
    wanted: &Wanted,
    policy: &PackagePolicy,
) -> Result<(), EnvironmentError> {
    let refused = |what: String, why, hint| Err(EnvironmentError::Refused { what, why, hint });
    if !policy.enabled {
        return refused(
            "packages".to_owned(),
            "they are disabled",
            "use what the runtime includes, or ask the operator",
        );
    }
    if wanted.allow_build && !policy.allow_build {
        return refused(
            "building packages".to_owned(),
            "their own code would run",
            "request versions with a wheel, or ask the operator",
        );
    }
    if wanted
        .minimum_release_age_days
        .is_some_and(|days| days < policy.min_requested_release_age_days)
    {
        return refused(
            "a shorter minimum release age".to_owned(),
            "it is below the operator's minimum",
            "omit it, or ask the operator",
        );
    }
    if wanted.lock.is_none()
        && let Some(requirement) = wanted
            .requirements
            .iter()
            .find(|requirement| !policy.allows(wanted.ecosystem, requirement.name()))
    {
        return refused(
            format!("the package `{}`", requirement.name()),
            "it is not an allowed package",
            "remove it, or ask the operator",
        );
    }
    Ok(())
}

/// Checks the packages of a lock against the policy.
pub(crate) fn check_lock(lock: &Lock, policy: &PackagePolicy) -> Result<(), EnvironmentError> {
    match lock.packages.iter().find(|package| policy.blocks(&package.name)) {
        Some(package) => Err(EnvironmentError::Refused {
            what: format!("the package `{}`", package.name),
            why: "it is blocked, even as a dependency of another package",
            hint: "remove the package that needs it, or ask the operator",
        }),
        None => Ok(()),
    }
}

/// Checks a lock that was submitted with a run. Its author determines what it says about
/// dependencies and ages of versions. If the policy depends on either, every package must be
/// allowed, or the lock must have been `made` here within that policy.
pub(crate) fn check_given_lock(
    lock: &Lock,
    made: Option<&MadeLock>,
    policy: &PackagePolicy,
) -> Result<(), EnvironmentError> {
    let is_made_within = |made: &MadeLock| {
        made.names.iter().all(|name| policy.allows(lock.ecosystem, name))
            && made.minimum_release_age_days >= policy.min_requested_release_age_days
    };
    if made.is_some_and(is_made_within) {
        return Ok(());
    }
    if let Some(package) =
        lock.packages.iter().find(|package| !policy.allows(lock.ecosystem, &package.name))
    {
        return Err(EnvironmentError::Refused {
            what: format!("the package `{}` of the lock file", package.name),
            why: "it is not an allowed package, and the lock file was not made here",
            hint: "make the lock file here with `belljar env lock`, or ask the operator",
        });
    }
    // pnpm looks up the ages of a lock's versions itself.
    if policy.min_requested_release_age_days > 0 && lock.ecosystem == Ecosystem::PyPi {
        return Err(EnvironmentError::Refused {
            what: "the lock file".to_owned(),
            why: "versions must have a minimum release age, and it was not made here under it",
            hint: "make the lock file here with `belljar env lock`, or ask the operator",
        });
    }
    Ok(())
}
