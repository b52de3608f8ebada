//! Packages: what a run may ask for, and what a policy lets it have.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::Language;

/// Where packages come from. In text `pypi` and `npm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Ecosystem {
    /// Python's: distributions by their names of PEP 503.
    PyPi,
    /// That of Node.js.
    Npm,
}

impl Ecosystem {
    /// The one whose packages programs of this language import.
    pub fn of(language: Language) -> Self {
        match language {
            Language::Python => Self::PyPi,
            Language::JavaScript | Language::TypeScript => Self::Npm,
        }
    }

    /// The file that its installer keeps a lock in.
    pub fn lock_file_name(self) -> &'static str {
        match self {
            Self::PyPi => "uv.lock",
            Self::Npm => "pnpm-lock.yaml",
        }
    }

    /// `pypi` or `npm`.
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

/// What of packages a server, a project or an operator allows. The default allows all but building. Names in it count for both registries.
///
/// ```
/// use belljar_protocol::Ecosystem::{Npm, PyPi};
///
/// let policy: belljar_protocol::PackagePolicy = serde_json::from_str(
///     r#"{"allowed": ["pandas", "numpy", "@acme/*"], "blocked": ["left-pad"], "minimum_release_age_days": 7}"#).unwrap();
/// assert!(policy.allows(PyPi, "pandas") && policy.allows(Npm, "@acme/tools") && !policy.allows(PyPi, "requests"));
/// assert!(policy.blocks("left-pad") && policy.enabled && !policy.allow_build);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PackagePolicy {
    /// Whether runs can have packages at all. Default true.
    pub enabled: bool,
    /// The packages that a run may ask for; what those need comes with them. `*` stands for any text. Empty, the default: every package.
    pub allowed: Vec<String>,
    /// Packages that are never installed, also not because another needs them. `*` stands for any text. Default: none.
    pub blocked: Vec<String>,
    /// Versions that are younger do not count, in days. Default 3: most packages that were taken over have been found out by then.
    pub minimum_release_age_days: u32,
    /// How far a run may shorten that, in days. Default 0.
    pub least_release_age_days: u32,
    /// Whether a run may ask for packages to be built, which runs their own code in the installer's jail, with its network. Default false.
    pub allow_build: bool,
    /// Packages whose code may run in a zygote, where it is imported once for all sandboxes of a project instead of in each. An environment is treated so
    /// only where all of its packages are trusted. `*` stands for any text. Default: none.
    pub trusted: Vec<String>,
}

impl Default for PackagePolicy {
    fn default() -> Self {
        Self {
            enabled: true,
            allowed: Vec::new(),
            blocked: Vec::new(),
            minimum_release_age_days: 3,
            least_release_age_days: 0,
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
    /// The one that narrows no other.
    pub fn widest() -> Self {
        Self { minimum_release_age_days: 0, allow_build: true, trusted: vec!["*".to_owned()], ..Self::default() }
    }

    /// What both allow.
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
                // A pattern of the one counts as far as a pattern of the other covers it. Where nothing is left, nothing is allowed: no package has an
                // empty name.
                _ => Some(covered(&self.allowed, &other.allowed)).filter(|both| !both.is_empty()).unwrap_or_else(|| vec![String::new()]),
            },
            blocked,
            minimum_release_age_days: self.minimum_release_age_days.max(other.minimum_release_age_days),
            least_release_age_days: self.least_release_age_days.max(other.least_release_age_days),
            allow_build: self.allow_build && other.allow_build,
            trusted: covered(&self.trusted, &other.trusted),
        }
    }

    /// Whether a run may ask for this package.
    pub fn allows(&self, ecosystem: Ecosystem, name: &str) -> bool {
        self.allowed.is_empty() || matches_any(&self.allowed, name, spelling(ecosystem))
    }

    /// Whether this package is never installed. Other spellings of a name are blocked with it, in either registry.
    pub fn blocks(&self, name: &str) -> bool {
        matches_any(&self.blocked, name, canonical)
    }

    /// Whether its code may run in a zygote.
    pub fn trusts(&self, ecosystem: Ecosystem, name: &str) -> bool {
        matches_any(&self.trusted, name, spelling(ecosystem))
    }
}

/// Changes of a [`PackagePolicy`]: what is left out stays as it is.
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
    pub least_release_age_days: Option<u32>,
    pub allow_build: Option<bool>,
    pub trusted: Option<Vec<String>>,
}

impl PackageChanges {
    /// A policy, changed.
    #[must_use]
    pub fn over(self, policy: PackagePolicy) -> PackagePolicy {
        PackagePolicy {
            enabled: self.enabled.unwrap_or(policy.enabled),
            allowed: self.allowed.unwrap_or(policy.allowed),
            blocked: self.blocked.unwrap_or(policy.blocked),
            minimum_release_age_days: self.minimum_release_age_days.unwrap_or(policy.minimum_release_age_days),
            least_release_age_days: self.least_release_age_days.unwrap_or(policy.least_release_age_days),
            allow_build: self.allow_build.unwrap_or(policy.allow_build),
            trusted: self.trusted.unwrap_or(policy.trusted),
        }
    }
}

/// The patterns of each that a pattern of the other covers.
fn covered(one: &[String], other: &[String]) -> Vec<String> {
    // By npm's rule, in which fewer spellings are the same.
    let beneath = |inner: &[String], outer: &[String]| -> Vec<String> {
        inner.iter().filter(|pattern| matches_any(outer, pattern, spelling(Ecosystem::Npm))).cloned().collect()
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

/// How the names of a registry are spelled in one way.
fn spelling(ecosystem: Ecosystem) -> fn(&str) -> String {
    match ecosystem {
        Ecosystem::PyPi => canonical,
        // `socket.io` and `socket-io` are two packages.
        Ecosystem::Npm => str::to_lowercase,
    }
}

/// Names of Python's packages are written in many ways and mean one.
fn canonical(name: &str) -> String {
    if name.starts_with('@') { name.to_lowercase() } else { name.to_lowercase().replace(['_', '.'], "-") }
}

/// Whether a pattern with `*` matches all of a text. Takes time linear in both, but for the last star.
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

/// How the packages of a run are to be had, besides which.
///
/// ```
/// let options: belljar_protocol::PackageOptions = serde_json::from_str(r#"{"frozen": true, "lock": "version = 1\n"}"#).unwrap();
/// assert!(options.frozen && !options.offline);
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct PackageOptions {
    /// A `uv.lock` or `pnpm-lock.yaml`, as text. Exactly what is in it is installed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lock: Option<String>,
    /// Refuse what no lock names.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub frozen: bool,
    /// Fetch nothing: only what is in the cache.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub offline: bool,
    /// Let packages' own code run to build them, where the policy does.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub allow_build: bool,
    /// Versions that are younger do not count, days, where the policy lets a run choose.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub minimum_release_age_days: Option<u32>,
    /// No packages, whatever the program imports.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub none: bool,
    /// Only the packages that the run lists: what its manifest names and its code imports is not added to them.
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
            assert_eq!(matches_any(&[pattern.to_owned()], name, canonical), expected, "{pattern} {name}");
        }
    }

    #[test]
    fn spellings_of_one_name_are_one_package_in_python_only() {
        let socket = vec!["Socket.IO".to_owned()];
        let policy = PackagePolicy { allowed: socket.clone(), blocked: socket.clone(), trusted: socket, ..PackagePolicy::default() };
        assert!(policy.allows(Npm, "socket.io") && policy.trusts(Npm, "socket.io") && policy.blocks("socket.io"));
        assert!(!policy.allows(Npm, "socket-io") && !policy.trusts(Npm, "socket-io") && policy.blocks("socket-io"));
        assert!(policy.allows(PyPi, "socket-io") && policy.trusts(PyPi, "socket_io"));
    }

    #[test]
    fn what_a_project_leaves_out_is_as_the_server_has_it() {
        let settings: crate::ProjectSettings = serde_json::from_str(r#"{"packages": {"blocked": ["left-pad"]}}"#).unwrap();
        let server =
            PackagePolicy { minimum_release_age_days: 1, allow_build: true, trusted: vec!["numpy".into()], ..PackagePolicy::default() };
        let both = server.within(&settings.packages);
        assert_eq!(both, PackagePolicy { blocked: vec!["left-pad".into()], ..server });
        assert!(serde_json::from_str::<crate::ProjectSettings>(r#"{"packages": {"blocks": []}}"#).is_err());
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
        let allowing =
            |allowed: &[&str]| PackagePolicy { allowed: allowed.iter().map(|&text| text.to_owned()).collect(), ..PackagePolicy::default() };
        let both = allowing(&["@acme/*", "pandas"]).within(&allowing(&["@acme/tools", "*", "numpy"]));
        assert!(
            both.allows(Npm, "@acme/tools") && both.allows(Npm, "@acme/x") && both.allows(PyPi, "pandas") && !both.allows(PyPi, "numpy")
        );
        let none = allowing(&["pandas"]).within(&allowing(&["numpy"]));
        assert!(!none.allows(PyPi, "pandas") && !none.allows(PyPi, "numpy") && !none.allows(Npm, "x"));
        let all =
            PackagePolicy::default().within(&PackagePolicy { blocked: vec!["x".into()], allow_build: true, ..PackagePolicy::default() });
        assert!(all.allows(PyPi, "pandas") && all.blocks("x") && !all.allow_build);
        assert!(
            !PackagePolicy { trusted: vec!["*".into()], ..PackagePolicy::default() }
                .within(&PackagePolicy::default())
                .trusts(PyPi, "numpy")
        );
    }
}
