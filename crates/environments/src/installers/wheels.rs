//! Resolution with wheels only. If a version has no wheel, uv falls back to a version that does not
//! need it, however old. The program would then run with an unintended version, so fallbacks and
//! old versions are examined.

use std::collections::{BTreeMap, BTreeSet};

use serde::Deserialize;

use super::uv::{self, PreReleases, Traced};
use super::{Job, Resolved};
use crate::digest::digest;
use crate::error::EnvironmentError;
use crate::lock::Lock;
use crate::requirement::{Ecosystem, PyPiRequirement, Requirement};

/// The maximum number of packages of one request that are examined, and of resolutions for this.
const MAX_PROBES: usize = 4;
/// The age in days of versions that may be fallbacks without a trace: if newer versions have no
/// wheels at all, uv does not examine them.
const OLD_DAYS: u64 = 540;
/// The time in seconds for which a version counts as the newest of its package after a registry
/// reported it.
const NEWEST_FOR: u64 = 24 * 3600;

/// The properties of a package in a lock.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Chosen {
    version: String,
    has_wheel: bool,
    /// Day on which its first file was uploaded, as days since 1970, if the index reports it.
    uploaded_day: Option<u64>,
}

/// A package for which the resolution may have fallen back to an older version.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Suspect {
    name: String,
    /// The newest version that was examined, if there was one.
    newest: Option<String>,
    /// The reason of the fallback: a dependency without a wheel, and the package that requires it,
    /// such as `odfpy` and `pandas[excel]`.
    conflict: Option<(String, String)>,
}

/// Resolves requirements, and reports packages without a wheel instead of falling back far.
pub(super) async fn resolve(
    job: &Job<'_>,
    requirements: &[Requirement],
    optional: &BTreeSet<String>,
) -> Result<Resolved, EnvironmentError> {
    let mut left_out: Vec<String> = Vec::new();
    let mut notes = Vec::new();
    let mut resolved = uv::resolve(job, requirements, &left_out, PreReleases::WhereNeeded).await?;
    if job.rules.allow_build {
        return Ok(Resolved { lock: resolved.lock, notes });
    }
    for _ in 0..MAX_PROBES {
        let extra = suspects(&resolved, requirements, optional).into_iter().find_map(|suspect| {
            suspect.conflict.filter(|(what, whose)| whose.contains('[') && !left_out.contains(what))
        });
        let Some((what, whose)) = extra else { break };
        // A package can do without a dependency that only an extra requires.
        left_out.push(what.clone());
        let without = uv::resolve(job, requirements, &left_out, PreReleases::WhereNeeded).await?;
        notes.push(format!(
            "left out {what}, required by {whose}: it has no wheel, but --allow-build \
             (package_options.allow_build) can build it"
        ));
        resolved = without;
    }
    for suspect in suspects(&resolved, requirements, optional).into_iter().take(MAX_PROBES) {
        let Some(chosen) = chosen(&resolved.lock).remove(&suspect.name) else { continue };
        let Some(newer) = newer(job, requirements, &suspect, &chosen, &left_out).await? else {
            continue;
        };
        let Missing { version, what } = newer;
        let has = if what == suspect.name {
            "has no wheel".to_owned()
        } else {
            format!("needs {what}, which has no wheel")
        };
        if let Some(version) =
            version.as_deref().filter(|version| is_near(version, &chosen.version))
        {
            notes.push(format!(
                "installed {} {}: {version} {has}, but --allow-build \
                 (package_options.allow_build) can build it",
                suspect.name, chosen.version
            ));
            continue;
        }
        let newest = version.map_or_else(
            || "a newer version".to_owned(),
            |version| format!("{} {version}", suspect.name),
        );
        let (name, old) = (&suspect.name, &chosen.version);
        return Err(EnvironmentError::NeedsBuild(format!(
            "{newest} {has}, and the newest version with wheels is {name}=={old}"
        )));
    }
    Ok(Resolved { lock: resolved.lock, notes })
}

/// The reason why a newer version cannot be installed.
struct Missing {
    version: Option<String>,
    /// The package without a wheel.
    what: String,
}

/// Returns the newer version that lacks nothing but a wheel, if there is one.
async fn newer(
    job: &Job<'_>,
    requirements: &[Requirement],
    suspect: &Suspect,
    chosen: &Chosen,
    left_out: &[String],
) -> Result<Option<Missing>, EnvironmentError> {
    let versions = suspect
        .newest
        .as_ref()
        .map_or_else(|| format!(">{}", chosen.version), |newest| format!("=={newest}"));
    let Ok(probe) = PyPiRequirement::parse(&format!("{}{versions}", suspect.name)) else {
        return Ok(None);
    };
    let question = question(job, &suspect.name, &chosen.version);
    let known = job.store.known_newest(&question)?;
    if known.is_some_and(|asked| {
        crate::resolution::seconds_since_1970().saturating_sub(asked) < NEWEST_FOR
    }) {
        return Ok(None);
    }
    let mut requirements = requirements.to_vec();
    requirements.push(Requirement::PyPi(probe));
    match uv::resolve(job, &requirements, left_out, PreReleases::Never).await {
        Ok(Traced { lock, .. }) => {
            let all = self::chosen(&lock);
            let version = all.get(&suspect.name).map(|chosen| chosen.version.clone());
            let without = all.into_iter().find(|(_, chosen)| !chosen.has_wheel);
            Ok(without.map(|(what, _)| Missing { version, what }))
        }
        Err(EnvironmentError::NeedsBuild(words)) => {
            let (what, from) =
                without_wheels(&words).unwrap_or_else(|| (suspect.name.clone(), None));
            // If the package itself has no wheel, uv reports the first such version.
            let version = suspect.newest.clone().or(from.filter(|_| what == suspect.name));
            Ok(Some(Missing { version, what }))
        }
        // Other packages require the older version, or there is no newer one.
        Err(error) => {
            if !job.rules.offline
                && is_the_newest(&error.to_string(), &suspect.name, &chosen.version)
            {
                job.store.remember_newest(&question)?;
            }
            Ok(None)
        }
    }
}

/// Returns the hash of the question whether there is a newer version of a package, by these rules
/// and in these indexes.
fn question(job: &Job<'_>, name: &str, version: &str) -> String {
    let rules = format!("newest {} {}", job.runtime.name, job.rules.minimum_release_age_days);
    let mut parts = vec![rules, name.to_owned(), version.to_owned()];
    parts.extend(job.config.sources(Ecosystem::PyPi));
    digest(&parts.iter().map(String::as_bytes).collect::<Vec<_>>())
}

/// Returns whether uv reports that no version is newer, regardless of other requirements: `Because
/// only six<=1.17.0 is available and ...`.
fn is_the_newest(words: &str, name: &str, version: &str) -> bool {
    words.contains(&format!("ecause only {name}<={version} is available and"))
}

/// Returns the package that has no wheels according to uv, and the first such version: `Because
/// rouge-score>=0.0.7 has no usable wheels`.
fn without_wheels(words: &str) -> Option<(String, Option<String>)> {
    let before = &words
        [..words.find(" has no usable wheels").or_else(|| words.find(" have no usable wheels"))?];
    let said = before.split_whitespace().next_back()?;
    let end = said.find(['<', '>', '=', '!', '~']).unwrap_or(said.len());
    let from = [">=", "=="]
        .iter()
        .find_map(|operator| said[end..].split(',').find_map(|part| part.strip_prefix(operator)));
    Some((said[..end].to_owned(), from.map(str::to_owned)))
}

/// Returns the packages that were required in any version, and that were resolved to an old
/// version, or to an older one than was examined first.
fn suspects(
    resolved: &Traced,
    requirements: &[Requirement],
    optional: &BTreeSet<String>,
) -> Vec<Suspect> {
    let chosen = chosen(&resolved.lock);
    let today = crate::resolution::seconds_since_1970() / (24 * 3600);
    let is_free =
        |requirement: &&Requirement| !requirement.names_versions() && !requirement.has_marker();
    let free = requirements
        .iter()
        .filter(is_free)
        .filter(|requirement| !optional.contains(requirement.name()));
    let suspects = free.filter_map(|requirement| {
        let (name, chosen) = (requirement.name(), chosen.get(requirement.name())?);
        let first = first_selected(&resolved.trace, name);
        let is_back = first.as_ref().is_some_and(|first| *first != chosen.version);
        let is_old = chosen.uploaded_day.is_some_and(|day| today.saturating_sub(day) > OLD_DAYS);
        let conflict = conflict(&resolved.trace, name).filter(|_| is_back);
        (is_back || is_old).then(|| Suspect {
            name: name.to_owned(),
            newest: first.filter(|_| is_back),
            conflict,
        })
    });
    let mut suspects: Vec<Suspect> = suspects.collect();
    suspects.dedup();
    suspects
}

/// Returns the version that uv tried first: `Selecting: hydra-core==1.3.8 [compatible] (...)`.
fn first_selected(trace: &[String], name: &str) -> Option<String> {
    trace.iter().find_map(|step| {
        let (selected, rest) = step.strip_prefix("Selecting: ")?.split_once("==")?;
        (selected == name).then(|| rest.split_whitespace().next().unwrap_or_default().to_owned())
    })
}

/// Returns the dependency that caused a package's fallback, and the package with the extra that
/// requires it: `Recording unit propagation conflict of X from incompatibility of (NAME)`.
fn conflict(trace: &[String], name: &str) -> Option<(String, String)> {
    trace.iter().find_map(|step| {
        let (what, whose) = step
            .strip_prefix("Recording unit propagation conflict of ")?
            .split_once(" from incompatibility of (")?;
        let whose = whose.trim_end_matches(')');
        let is_its = whose.split('[').next() == Some(name) && what.split('[').next() != Some(name);
        is_its.then(|| (what.to_owned(), whose.to_owned()))
    })
}

/// Returns the packages of a lock.
fn chosen(lock: &Lock) -> BTreeMap<String, Chosen> {
    #[derive(Deserialize)]
    struct File {
        #[serde(default)]
        package: Vec<Package>,
    }
    #[derive(Deserialize)]
    struct Package {
        name: String,
        #[serde(default)]
        version: String,
        #[serde(default)]
        source: BTreeMap<String, toml::Value>,
        #[serde(default)]
        wheels: Vec<Wheel>,
    }
    #[derive(Deserialize)]
    struct Wheel {
        #[serde(default, rename = "upload-time")]
        uploaded: Option<String>,
    }
    let file: File = toml::from_str(&lock.text).unwrap_or(File { package: Vec::new() });
    let packages =
        file.package.into_iter().filter(|package| package.source.contains_key("registry"));
    let chosen = packages.map(|package| {
        let uploaded_day =
            package.wheels.iter().filter_map(|wheel| day_of(wheel.uploaded.as_deref()?)).min();
        (
            package.name,
            Chosen {
                version: package.version,
                has_wheel: !package.wheels.is_empty(),
                uploaded_day,
            },
        )
    });
    chosen.collect()
}

/// Returns the days since 1970 of a time such as `2026-05-18T23:37:14.07Z`.
fn day_of(time: &str) -> Option<u64> {
    let mut parts = time.get(..10)?.split('-').map(|part| part.parse::<u64>().ok());
    let (year, month, day) = (parts.next()??, parts.next()??, parts.next()??);
    // The result is precise enough to count years: months of 30.6 days from March on, as calendars
    // are computed.
    let (year, month) = if month < 3 { (year - 1, month + 12) } else { (year, month) };
    let days = 365 * year + year / 4 - year / 100 + year / 400 + (153 * (month - 3) + 2) / 5 + day;
    days.checked_sub(719_469)
}

/// Returns whether two versions are compatible: 2.3 and 2.1 are, but 3.0 and 2.1, or 0.4 and 0.3,
/// are not.
fn is_near(one: &str, other: &str) -> bool {
    let significant = |version: &str| {
        let numbers: Vec<&str> = version.split('.').collect();
        if numbers.first() == Some(&"0") {
            numbers.iter().take(2).map(ToString::to_string).collect()
        } else {
            vec![numbers[0].to_owned()]
        }
    };
    let (one, other): (Vec<String>, Vec<String>) = (significant(one), significant(other));
    one == other
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trace(lines: &[&str]) -> Vec<String> {
        lines.iter().map(|&line| line.to_owned()).collect()
    }

    fn lock(text: &str) -> Lock {
        let project =
            crate::lock::LockedPackage { name: "environment".into(), version: "0".into() };
        let (specifiers, hashes) = (BTreeMap::new(), BTreeMap::new());
        Lock {
            ecosystem: Ecosystem::PyPi,
            text: text.to_owned(),
            project,
            specifiers,
            packages: Vec::new(),
            hashes,
            installs_all: false,
        }
    }

    const LOCK: &str = "[[package]]\nname = \"hydra-core\"\nversion = \"0.11.3\"\nsource = { registry = \"x\" }\nwheels = [{ upload-time = \"2019-12-29T01:02:03Z\" }]\n\n[[package]]\nname = \"new\"\nversion = \"1.0\"\nsource = { registry = \"x\" }\nwheels = [{}]\n";

    #[test]
    fn what_was_gone_back_with_is_found_in_the_steps() {
        let trace = trace(&[
            "Selecting: hydra-core==1.3.8 [compatible] (hydra_core-1.3.8-py3-none-any.whl)",
            "Recording unit propagation conflict of antlr4-python3-runtime from incompatibility of (hydra-core)",
            "Selecting: hydra-core==0.11.3 [compatible] (x.whl)",
            "Selecting: new==1.0 [compatible] (x.whl)",
        ]);
        let resolved = Traced { lock: lock(LOCK), trace };
        let asked = |texts: &[&str]| {
            texts
                .iter()
                .map(|text| Requirement::parse(Ecosystem::PyPi, text).unwrap())
                .collect::<Vec<_>>()
        };
        let none = BTreeSet::new();
        let found = suspects(&resolved, &asked(&["hydra-core", "new"]), &none);
        let conflict = Some(("antlr4-python3-runtime".to_owned(), "hydra-core".to_owned()));
        assert_eq!(
            found,
            [Suspect { name: "hydra-core".into(), newest: Some("1.3.8".into()), conflict }]
        );
        assert!(
            suspects(&resolved, &asked(&["hydra-core==0.11.3"]), &none).is_empty(),
            "that version was asked for"
        );
        // Without a trace it is its age that tells.
        let old = suspects(
            &Traced { lock: lock(LOCK), trace: Vec::new() },
            &asked(&["hydra-core", "new"]),
            &none,
        );
        assert_eq!(old, [Suspect { name: "hydra-core".into(), newest: None, conflict: None }]);
    }

    #[test]
    fn the_extra_that_wants_what_has_no_wheel_is_named() {
        let trace = trace(&[
            "Recording unit propagation conflict of odfpy from incompatibility of (pandas[excel])",
        ]);
        assert_eq!(
            conflict(&trace, "pandas"),
            Some(("odfpy".to_owned(), "pandas[excel]".to_owned()))
        );
        assert_eq!(conflict(&trace, "odfpy"), None);
    }

    #[test]
    fn what_has_no_wheels_is_read_off_the_words_of_uv() {
        let words = "No solution found when resolving dependencies: Because rouge-score>=0.0.7 has no usable wheels and only the following";
        assert_eq!(
            without_wheels(words),
            Some(("rouge-score".to_owned(), Some("0.0.7".to_owned())))
        );
        let words = "Because antlr4-python3-runtime>=4.9,<=4.9.3 has no usable wheels";
        assert_eq!(
            without_wheels(words),
            Some(("antlr4-python3-runtime".to_owned(), Some("4.9".to_owned())))
        );
        assert_eq!(without_wheels("Because x==1 is not available"), None);
    }

    #[test]
    fn a_version_is_the_newest_where_uv_says_so_of_it_and_no_other() {
        let words = "cannot be resolved: No solution found: Because only six<=1.17.0 is available and your project depends on six>1.17.0, we";
        assert!(is_the_newest(words, "six", "1.17.0"));
        assert!(!is_the_newest(words, "six", "1.17") && !is_the_newest(words, "x", "1.17.0"));
        assert!(!is_the_newest(
            "Because a==1 depends on six<=1.17.0 and six>1.17.0 was asked for",
            "six",
            "1.17.0"
        ));
    }

    #[test]
    fn days_and_versions_are_compared() {
        assert_eq!(
            (day_of("1970-01-01T00:00:00Z"), day_of("2026-11-29T00:00:00Z"), day_of("x")),
            (Some(0), Some(20_786), None)
        );
        assert!(is_near("2.3", "2.1.4") && is_near("0.4.1", "0.4.9"));
        assert!(!is_near("3.1.1", "1.5.3") && !is_near("0.1.2", "0.0.4"));
    }
}
