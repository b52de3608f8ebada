//! Packages: the options of a run, and the policy of a server or a project.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Language;

/// A kind of package registry. In text `pypi` or `npm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Registries of Python packages, which are named by PEP 503.
    PyPi,
    /// Registries of Node.js packages.
    Npm,
}

impl Ecosystem {
    /// Returns the ecosystem for programs in this language.
    pub fn of(language: Language) -> Self {
        match language {
            Language::Python => Self::PyPi,
            Language::JavaScript | Language::TypeScript => Self::Npm,
        }
    }

    /// Returns the name of the installer's lock file.
    pub fn lock_file_name(self) -> &'static str {
        match self {
            Self::PyPi => "uv.lock",
            Self::Npm => "pnpm-lock.yaml",
        }
    }

    /// Returns `pypi` or `npm`.
    pub fn name(self) -> &'static str {
        match self {
            Self::PyPi => "pypi",
            Self::Npm => "npm",
        }
    }
}

impl fmt::Display for Ecosystem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// The packages that a server, a project or an operator allows. The default allows everything
/// except building. The names count for both registries.
///
/// ```
/// use belljar_protocol::Ecosystem::{Npm, PyPi};
///
/// let policy: belljar_protocol::PackagePolicy = serde_json::from_str(r#"{
///   "allowed": ["pandas", "numpy", "@acme/*"], "blocked": ["left-pad"],
///   "minimum_release_age_days": 7
/// }"#).unwrap();
/// assert!(policy.allows(PyPi, "pandas") && policy.allows(Npm, "@acme/tools"));
/// assert!(!policy.allows(PyPi, "requests"));
/// assert!(policy.blocks("left-pad") && policy.enabled && !policy.allow_build);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PackagePolicy {
    /// Lets runs have packages. Default true.
    pub enabled: bool,
    /// Packages that a run may request; their dependencies are installed with them. `*` matches any
    /// text. Default: an empty list, which allows every package.
    pub allowed: Vec<String>,
    /// Packages that are never installed, not even as a dependency. `*` matches any text. Default:
    /// an empty list.
    pub blocked: Vec<String>,
    /// Minimum age of a version in days; younger versions are ignored. Default 3, because most
    /// compromised packages have been discovered by then.
    pub minimum_release_age_days: u32,
    /// The lowest minimum age that a run may request, in days. Default 0.
    #[serde(rename = "least_release_age_days")]
    pub min_requested_release_age_days: u32,
    /// Lets a run request that packages are built. This runs the packages' own code in the
    /// installer's jail, with access to the installer's network. Default false.
    pub allow_build: bool,
    /// Packages whose code may run in a zygote, where it is imported once for all sandboxes of a
    /// project instead of once in each. This applies only to an environment all of whose packages
    /// are trusted. `*` matches any text. Default: an empty list.
    pub trusted: Vec<String>,
}

impl Default for PackagePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed: Vec::new(),
            blocked: Vec::new(),
            minimum_release_age_days: 3,
            min_requested_release_age_days: 0,
            allow_build: false,
            trusted: Vec::new(),
        }
    }
}

impl PackageOptions {
    pub(crate) fn is_default(&self) -> bool {
        *self == Self::default()
    }
}

impl PackagePolicy {
    /// Returns the policy that does not narrow any other policy.
    pub fn widest() -> Self {
        Self {
            minimum_release_age_days: 0,
            allow_build: true,
            trusted: vec!["*".to_owned()],
            ..Self::default()
        }
    }

    /// Returns the policy that allows what both policies allow.
    #[must_use]
    pub fn within(&self, other: &Self) -> Self {
        let mut blocked = [&self.blocked[..], &other.blocked].concat();
        blocked.sort();
        blocked.dedup();
        Self {
            enabled: self.enabled && other.enabled,
            allowed: match (self.allowed.is_empty(), other.allowed.is_empty()) {
                (true, _) => other.allowed.clone(),
                (_, true) => self.allowed.clone(),
                // A pattern counts if a pattern of the other policy covers it. If none is left, the
                // empty pattern allows nothing, because no package has an empty name.
                _ => Some(covered(&self.allowed, &other.allowed))
                    .filter(|both| !both.is_empty())
                    .unwrap_or_else(|| vec![String::new()]),
            },
            blocked,
            minimum_release_age_days: self
                .minimum_release_age_days
                .max(other.minimum_release_age_days),
            min_requested_release_age_days: self
                .min_requested_release_age_days
                .max(other.min_requested_release_age_days),
            allow_build: self.allow_build && other.allow_build,
            trusted: covered(&self.trusted, &other.trusted),
        }
    }

    /// Returns whether a run may request this package.
    pub fn allows(&self, ecosystem: Ecosystem, name: &str) -> bool {
        self.allowed.is_empty() || matches_any(&self.allowed, name, spelling(ecosystem))
    }

    /// Returns whether this package must never be installed. Other spellings of a blocked name are
    /// blocked, too, in both registries.
    pub fn blocks(&self, name: &str) -> bool {
        matches_any(&self.blocked, name, canonical)
    }

    /// Returns whether the code of this package may run in a zygote.
    pub fn trusts(&self, ecosystem: Ecosystem, name: &str) -> bool {
        matches_any(&self.trusted, name, spelling(ecosystem))
    }
}

/// Changes to a [`PackagePolicy`]. Omitted settings stay as they are.
///
/// ```
/// use belljar_protocol::{PackageChanges, PackagePolicy};
///
/// let changes: PackageChanges = serde_json::from_str(r#"{"blocked": ["left-pad"]}"#).unwrap();
/// let policy = changes.over(PackagePolicy::widest());
/// assert!(policy.blocks("left-pad") && policy.allow_build);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[expect(missing_docs, reason = "as in PackagePolicy")]
pub struct PackageChanges {
    pub enabled: Option<bool>,
    pub allowed: Option<Vec<String>>,
    pub blocked: Option<Vec<String>>,
    pub minimum_release_age_days: Option<u32>,
    // The name that stored settings and clients of the HTTP API have.
    #[serde(rename = "least_release_age_days")]
    pub min_requested_release_age_days: Option<u32>,
    pub allow_build: Option<bool>,
    pub trusted: Option<Vec<String>>,
}

impl PackageChanges {
    /// Returns the policy with these changes.
    #[must_use]
    pub fn over(self, policy: PackagePolicy) -> PackagePolicy {
        PackagePolicy {
            enabled: self.enabled.unwrap_or(policy.enabled),
            allowed: self.allowed.unwrap_or(policy.allowed),
            blocked: self.blocked.unwrap_or(policy.blocked),
            minimum_release_age_days: self
                .minimum_release_age_days
                .unwrap_or(policy.minimum_release_age_days),
            min_requested_release_age_days: self
                .min_requested_release_age_days
                .unwrap_or(policy.min_requested_release_age_days),
            allow_build: self.allow_build.unwrap_or(policy.allow_build),
            trusted: self.trusted.unwrap_or(policy.trusted),
        }
    }
}

/// Returns the patterns of each list that a pattern of the other list covers.
fn covered(one: &[String], other: &[String]) -> Vec<String> {
    // npm's rule is the stricter one: fewer spellings are equal.
    let beneath = |inner: &[String], outer: &[String]| -> Vec<String> {
        inner
            .iter()
            .filter(|pattern| matches_any(outer, pattern, spelling(Ecosystem::Npm)))
            .cloned()
            .collect()
    };
    let mut both = [beneath(one, other), beneath(other, one)].concat();
    both.sort();
    both.dedup();
    both
}

fn matches_any(patterns: &[String], name: &str, spelled: fn(&str) -> String) -> bool {
    let name = spelled(name);
    patterns.iter().any(|pattern| matches(spelled(pattern).as_bytes(), name.as_bytes()))
}

/// Returns the function that normalizes the names of a registry.
fn spelling(ecosystem: Ecosystem) -> fn(&str) -> String {
    match ecosystem {
        Ecosystem::PyPi => canonical,
        // `socket.io` and `socket-io` are two packages.
        Ecosystem::Npm => str::to_lowercase,
    }
}

/// Normalizes a name of a Python package, as PEP 503 does.
fn canonical(name: &str) -> String {
    if name.starts_with('@') {
        name.to_lowercase()
    } else {
        name.to_lowercase().replace(['_', '.'], "-")
    }
}

/// Returns whether a pattern with `*` matches the whole text. Takes time linear in both, except for
/// the last star.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut at, mut from, mut star) = (0, 0, None);
    while from < text.len() {
        if pattern.get(at) == Some(&b'*') {
            star = Some((at, from));
            at += 1;
        } else if pattern.get(at) == Some(&text[from]) {
            at += 1;
            from += 1;
        } else if let Some((star_at, matched)) = star {
            star = Some((star_at, matched + 1));
            at = star_at + 1;
            from = matched + 1;
        } else {
            return false;
        }
    }
    pattern[at..].iter().all(|byte| *byte == b'*')
}

/// Options for resolving and installing the packages of a run.
///
/// ```
/// let options: belljar_protocol::PackageOptions =
///     serde_json::from_str(r#"{"frozen": true, "lock": "version = 1\n"}"#).unwrap();
/// assert!(options.frozen && !options.offline);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PackageOptions {
    /// Text of a `uv.lock` or `pnpm-lock.yaml`. Exactly the packages in it are installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Fail if a required package is missing from the lock file.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// Use only packages in the cache, and download nothing.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// Let packages run their own code to build themselves, if the policy allows it.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_build: bool,
    /// Minimum age of a version in days, within the range that the policy allows. Younger versions
    /// are ignored.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_release_age_days: Option<u32>,
    /// Install no packages, whatever the program imports.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
    /// Install only the packages that the run lists, without those that its manifest names or its
    /// code imports.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub only: bool,
}

#[cfg(test)]
mod tests {
    use super::Ecosystem::{Npm, PyPi};
    use super::*;

    #[test]
    fn a_star_stands_for_any_text() {
        for (pattern, name, expected) in [
            ("*", "anything", true),
            ("pandas", "pandas", true),
            ("pandas", "pandas-stubs", false),
            ("pandas*", "pandas-stubs", true),
            ("@acme/*", "@acme/tools", true),
            ("@acme/*", "@acmeevil/tools", false),
            ("*-stubs", "pandas-stubs", true),
            ("a*b*c", "aXbYc", true),
            ("a*b*c", "aXbY", false),
            ("Ruamel.YAML", "ruamel_yaml", true),
        ] {
            assert_eq!(
                matches_any(&[pattern.to_owned()], name, canonical),
                expected,
                "{pattern} {name}"
            );
        }
    }

    #[test]
    fn settings_keep_the_name_that_is_stored() {
        let changes: PackageChanges =
            serde_json::from_str(r#"{"least_release_age_days": 2}"#).unwrap();
        assert_eq!(changes.min_requested_release_age_days, Some(2));
        let policy = serde_json::to_value(PackagePolicy::default()).unwrap();
        assert_eq!(policy["least_release_age_days"], 0);
    }

    #[test]
    fn spellings_of_one_name_are_one_package_in_python_only() {
        let socket = vec!["Socket.IO".to_owned()];
        let policy = PackagePolicy {
            allowed: socket.clone(),
            blocked: socket.clone(),
            trusted: socket,
            ..PackagePolicy::default()
        };
        assert!(
            policy.allows(Npm, "socket.io")
                && policy.trusts(Npm, "socket.io")
                && policy.blocks("socket.io")
        );
        assert!(
            !policy.allows(Npm, "socket-io")
                && !policy.trusts(Npm, "socket-io")
                && policy.blocks("socket-io")
        );
        assert!(policy.allows(PyPi, "socket-io") && policy.trusts(PyPi, "socket_io"));
    }

    #[test]
    fn what_a_project_leaves_out_is_as_the_server_has_it() {
        let settings: crate::ProjectSettings =
            serde_json::from_str(r#"{"packages": {"blocked": ["left-pad"]}}"#).unwrap();
        let server = PackagePolicy {
            minimum_release_age_days: 1,
            allow_build: true,
            trusted: vec!["numpy".into()],
            ..PackagePolicy::default()
        };
        let both = server.within(&settings.packages);
        assert_eq!(both, PackagePolicy { blocked: vec!["left-pad".into()], ..server });
        assert!(
            serde_json::from_str::<crate::ProjectSettings>(r#"{"packages": {"blocks": []}}"#)
                .is_err()
        );
    }

    #[test]
    fn the_widest_narrows_no_other() {
        let policy = PackagePolicy {
            allowed: vec!["a".into()],
            minimum_release_age_days: 1,
            allow_build: true,
            trusted: vec!["b*".into()],
            ..PackagePolicy::default()
        };
        for policy in [policy, PackagePolicy::default()] {
            assert_eq!(policy.within(&PackagePolicy::widest()), policy);
        }
    }

    #[test]
    fn what_both_allow_is_more_than_neither_allows() {
        let allowing = |allowed: &[&str]| PackagePolicy {
            allowed: allowed.iter().map(|&text| text.to_owned()).collect(),
            ..PackagePolicy::default()
        };
        let both =
            allowing(&["@acme/*", "pandas"]).within(&allowing(&["@acme/tools", "*", "numpy"]));
        assert!(
            both.allows(Npm, "@acme/tools")
                && both.allows(Npm, "@acme/x")
                && both.allows(PyPi, "pandas")
                && !both.allows(PyPi, "numpy")
        );
        let none = allowing(&["pandas"]).within(&allowing(&["numpy"]));
        assert!(
            !none.allows(PyPi, "pandas") && !none.allows(PyPi, "numpy") && !none.allows(Npm, "x")
        );
        let all = PackagePolicy::default().within(&PackagePolicy {
            blocked: vec!["x".into()],
            allow_build: true,
            ..PackagePolicy::default()
        });
        assert!(all.allows(PyPi, "pandas") && all.blocks("x") && !all.allow_build);
        assert!(
            !PackagePolicy { trusted: vec!["*".into()], ..PackagePolicy::default() }
                .within(&PackagePolicy::default())
                .trusts(PyPi, "numpy")
        );
    }
}
