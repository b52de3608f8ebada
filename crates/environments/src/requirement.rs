//! Requirements: a package and its acceptable versions. They are parsed once, and are known to be
//! plain afterwards. A plain requirement can be written into an installer's input and cannot be
//! mistaken for anything else: it has no URLs, paths, options or control characters, and a single
//! canonical spelling.
//!
//! [`pypi`] and [`npm`] contain the syntax of each registry, and [`merged`] combines several
//! requirements into one list.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use belljar_protocol::Ecosystem;

pub use error::{MAX_REQUIREMENT_BYTES, MAX_REQUIREMENTS, RequirementError};
pub use npm::NpmRequirement;
pub use pypi::{PyPiRequirement, VersionSpecifiers};

mod error;
pub(crate) mod npm;
pub(crate) mod pypi;

#[cfg(test)]
mod tests;

/// A package and its acceptable versions. Equal requirements have the same text. They are ordered
/// by ecosystem, name and version, so that a sorted list of them can be hashed.
///
/// ```
/// use belljar_environments::{Ecosystem, Requirement};
///
/// let pandas = Requirement::parse(Ecosystem::PyPi, "Pandas[excel] >= 2, < 3").unwrap();
/// assert_eq!(pandas.to_string(), "pandas[excel]<3,>=2");
/// let pinned = Requirement::parse(Ecosystem::Npm, "lodash=4.17.21").unwrap();
/// assert_eq!(pinned.to_string(), "lodash@4.17.21");
/// assert!(Requirement::parse(Ecosystem::Npm, "git+ssh://example.com/x.git").is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Requirement {
    /// A distribution of `PyPI`.
    PyPi(PyPiRequirement),
    /// A package of npm.
    Npm(NpmRequirement),
}

impl Requirement {
    /// Parses a requirement in the registry's own notation, or as `name=1.2.3` or `name@1.2.3` in
    /// either. Surrounding white space is ignored.
    pub fn parse(ecosystem: Ecosystem, text: &str) -> Result<Self, RequirementError> {
        match ecosystem {
            Ecosystem::PyPi => PyPiRequirement::parse(text).map(Self::PyPi),
            Ecosystem::Npm => NpmRequirement::parse(text).map(Self::Npm),
        }
    }

    /// Returns a requirement for any version of a package.
    pub fn any(ecosystem: Ecosystem, name: &str) -> Result<Self, RequirementError> {
        match ecosystem {
            Ecosystem::PyPi => PyPiRequirement::any(name).map(Self::PyPi),
            Ecosystem::Npm => NpmRequirement::any(name).map(Self::Npm),
        }
    }

    /// Returns the ecosystem of the package.
    pub fn ecosystem(&self) -> Ecosystem {
        match self {
            Self::PyPi(_) => Ecosystem::PyPi,
            Self::Npm(_) => Ecosystem::Npm,
        }
    }

    /// Returns the package's name in its registry, such as `google-cloud-storage` or `@scope/name`.
    pub fn name(&self) -> &str {
        match self {
            Self::PyPi(requirement) => requirement.name(),
            Self::Npm(requirement) => requirement.name(),
        }
    }

    /// Returns whether it requires only the package itself, without versions, extras or markers.
    pub fn is_any(&self) -> bool {
        match self {
            Self::PyPi(requirement) => requirement.is_any(),
            Self::Npm(requirement) => requirement.is_any(),
        }
    }

    /// Returns whether it restricts the versions.
    pub(crate) fn names_versions(&self) -> bool {
        match self {
            Self::PyPi(requirement) => requirement.names_versions(),
            Self::Npm(requirement) => !requirement.is_any(),
        }
    }

    /// Returns whether it has a marker.
    pub(crate) fn has_marker(&self) -> bool {
        self.as_pypi().is_some_and(|requirement| requirement.marker().is_some())
    }

    /// Returns the requirement of `PyPI`, if it is one.
    pub fn as_pypi(&self) -> Option<&PyPiRequirement> {
        match self {
            Self::PyPi(requirement) => Some(requirement),
            Self::Npm(_) => None,
        }
    }

    /// Returns the requirement of npm, if it is one.
    pub fn as_npm(&self) -> Option<&NpmRequirement> {
        match self {
            Self::Npm(requirement) => Some(requirement),
            Self::PyPi(_) => None,
        }
    }
}

impl fmt::Display for Requirement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PyPi(requirement) => requirement.fmt(f),
            Self::Npm(requirement) => requirement.fmt(f),
        }
    }
}

/// Combines requirements into a sorted list without duplicates, of at most [`MAX_REQUIREMENTS`].
///
/// A bare name is dropped if the same package is also required with a version. Otherwise, a package
/// of `PyPI` may occur several times, because its resolvers combine all of them. The manifest of
/// npm has one range per name, so two different ones are an error.
pub fn merged(
    requirements: impl IntoIterator<Item = Requirement>,
) -> Result<Vec<Requirement>, RequirementError> {
    let mut by_name: BTreeMap<(Ecosystem, String), BTreeSet<Requirement>> = BTreeMap::new();
    for requirement in requirements {
        by_name
            .entry((requirement.ecosystem(), requirement.name().to_owned()))
            .or_default()
            .insert(requirement);
    }
    let mut list = Vec::new();
    for (_, mut asked) in by_name {
        if asked.iter().any(|requirement| !requirement.is_any() && !requirement.has_marker()) {
            asked.retain(|requirement| !requirement.is_any());
        }
        if let [Requirement::Npm(first), Requirement::Npm(second), ..] =
            asked.iter().collect::<Vec<_>>()[..]
        {
            return Err(RequirementError::AskedTwice {
                first: first.to_string(),
                second: second.to_string(),
            });
        }
        list.extend(asked);
    }
    if list.len() > MAX_REQUIREMENTS {
        return Err(RequirementError::TooMany { count: list.len() });
    }
    Ok(list)
}

/// Combines detected requirements with requested ones. A requested version replaces a detected one.
pub fn over(found: Vec<Requirement>, asked: Vec<Requirement>) -> Vec<Requirement> {
    let takes_its_place = |one: &Requirement| {
        let of_name = |other: &&Requirement| {
            other.name() == one.name() && other.ecosystem() == one.ecosystem()
        };
        asked.iter().filter(of_name).any(Requirement::names_versions)
    };
    let mut all: Vec<Requirement> = found.into_iter().filter(|one| !takes_its_place(one)).collect();
    let is_there: BTreeSet<(Ecosystem, String)> =
        all.iter().map(|one| (one.ecosystem(), one.name().to_owned())).collect();
    // The bare name of an npm package adds nothing to its range.
    let says_nothing = |one: &Requirement| {
        one.is_any() && is_there.contains(&(one.ecosystem(), one.name().to_owned()))
    };
    all.extend(asked.into_iter().filter(|one| !says_nothing(one)));
    all
}
