//! One package and what is asked of its version: parsed once from text, and then known to be plain. What is plain can be written into an
//! installer's input without being taken for anything else: no addresses, paths or options, no control characters, one canonical spelling.
//!
//! The spellings of the registries are in [`pypi`] and [`npm`]; several requirements become one list in [`merged`].

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

pub use belljar_protocol::Ecosystem;

pub use npm::NpmRequirement;
pub use pypi::{PyPiRequirement, VersionSpecifiers};

pub(crate) mod npm;
pub(crate) mod pypi;

#[cfg(test)]
mod tests;

/// Bytes of one requirement's text. The longest name of npm is 214; the rest is for versions, extras and a marker.
pub const MOST_REQUIREMENT_BYTES: usize = 512;

/// Requirements of one program. A program that needs more gives a lock.
pub const MOST_REQUIREMENTS: usize = 256;

/// A package and what is asked of its version. Equal requirements have one text, and their order is that of ecosystem, name and version:
/// a sorted list of them can be hashed.
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
    /// What the text asks for, in the registry's own notation, or as `name=1.2.3` and `name@1.2.3` in either. White space around it is
    /// passed over.
    pub fn parse(ecosystem: Ecosystem, text: &str) -> Result<Self, RequirementError> {
        match ecosystem {
            Ecosystem::PyPi => PyPiRequirement::parse(text).map(Self::PyPi),
            Ecosystem::Npm => NpmRequirement::parse(text).map(Self::Npm),
        }
    }

    /// Any version of the package.
    pub fn any(ecosystem: Ecosystem, name: &str) -> Result<Self, RequirementError> {
        match ecosystem {
            Ecosystem::PyPi => PyPiRequirement::any(name).map(Self::PyPi),
            Ecosystem::Npm => NpmRequirement::any(name).map(Self::Npm),
        }
    }

    /// Where the package comes from.
    pub fn ecosystem(&self) -> Ecosystem {
        match self {
            Self::PyPi(_) => Ecosystem::PyPi,
            Self::Npm(_) => Ecosystem::Npm,
        }
    }

    /// The package's name as its registry has it: `google-cloud-storage`, `@scope/name`.
    pub fn name(&self) -> &str {
        match self {
            Self::PyPi(requirement) => requirement.name(),
            Self::Npm(requirement) => requirement.name(),
        }
    }

    /// Whether nothing is asked but the package itself.
    pub fn is_any(&self) -> bool {
        match self {
            Self::PyPi(requirement) => requirement.is_any(),
            Self::Npm(requirement) => requirement.is_any(),
        }
    }

    /// Whether it says which versions will do.
    pub(crate) fn names_versions(&self) -> bool {
        match self {
            Self::PyPi(requirement) => requirement.names_versions(),
            Self::Npm(requirement) => !requirement.is_any(),
        }
    }

    /// Whether it holds only where a marker does.
    pub(crate) fn has_marker(&self) -> bool {
        self.as_pypi().is_some_and(|requirement| requirement.marker().is_some())
    }

    /// The requirement, where it is one of `PyPI`.
    pub fn as_pypi(&self) -> Option<&PyPiRequirement> {
        match self {
            Self::PyPi(requirement) => Some(requirement),
            Self::Npm(_) => None,
        }
    }

    /// The requirement, where it is one of npm.
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

/// The list that all these make together: sorted, each once, at most [`MOST_REQUIREMENTS`].
///
/// A bare name says nothing where the same package is asked for with a version. Otherwise `PyPI`'s may ask for one package several times,
/// as its resolvers take all of it together; npm's manifest has one range per name, so two different ones are an error.
pub fn merged(requirements: impl IntoIterator<Item = Requirement>) -> Result<Vec<Requirement>, RequirementError> {
    let mut by_name: BTreeMap<(Ecosystem, String), BTreeSet<Requirement>> = BTreeMap::new();
    for requirement in requirements {
        by_name.entry((requirement.ecosystem(), requirement.name().to_owned())).or_default().insert(requirement);
    }
    let mut list = Vec::new();
    for (_, mut asked) in by_name {
        if asked.iter().any(|requirement| !requirement.is_any() && !requirement.has_marker()) {
            asked.retain(|requirement| !requirement.is_any());
        }
        if let [Requirement::Npm(first), Requirement::Npm(second), ..] = asked.iter().collect::<Vec<_>>()[..] {
            return Err(RequirementError::AskedTwice { first: first.to_string(), second: second.to_string() });
        }
        list.extend(asked);
    }
    if list.len() > MOST_REQUIREMENTS {
        return Err(RequirementError::TooMany { count: list.len() });
    }
    Ok(list)
}

/// What was found and what is asked for besides, of which the latter has the last word: a version in it takes the place of one that was found.
pub fn over(found: Vec<Requirement>, asked: Vec<Requirement>) -> Vec<Requirement> {
    let takes_its_place = |one: &Requirement| {
        let of_name = |other: &&Requirement| other.name() == one.name() && other.ecosystem() == one.ecosystem();
        asked.iter().filter(of_name).any(Requirement::names_versions)
    };
    let mut all: Vec<Requirement> = found.into_iter().filter(|one| !takes_its_place(one)).collect();
    let is_there: BTreeSet<(Ecosystem, String)> = all.iter().map(|one| (one.ecosystem(), one.name().to_owned())).collect();
    // The bare name of a package of npm says nothing that its range does not.
    let says_nothing = |one: &Requirement| one.is_any() && is_there.contains(&(one.ecosystem(), one.name().to_owned()));
    all.extend(asked.into_iter().filter(|one| !says_nothing(one)));
    all
}

/// Why a text is not a requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementError {
    /// There is nothing in it.
    #[error("a requirement without a name; packages come from the registry by name and version")]
    Empty,
    /// More than [`MOST_REQUIREMENT_BYTES`].
    #[error(
        "a requirement of {bytes} bytes, and at most {MOST_REQUIREMENT_BYTES} are taken; packages come from the registry by name and version"
    )]
    TooLong {
        /// How long it is.
        bytes: usize,
    },
    /// A control character or a line break.
    #[error("{text:?} has a control character; packages come from the registry by name and version")]
    ControlCharacter {
        /// The text.
        text: String,
    },
    /// An address, a path, a repository or a workspace.
    #[error("{text:?} leads outside of the registry; packages come from the registry by name and version")]
    Reference {
        /// The text.
        text: String,
    },
    /// A line for an installer.
    #[error("{text:?} is an installer's option; packages come from the registry by name and version")]
    InstallerOption {
        /// The text.
        text: String,
    },
    /// A package under another name than its own.
    #[error("{text:?} gives a package another name, which is not supported; packages come from the registry by name and version")]
    Alias {
        /// The text.
        text: String,
    },
    /// The name is not one that the registry allows.
    #[error("{name:?} is not a name of {ecosystem}: {why}; packages come from the registry by name and version")]
    Name {
        /// Whose name it would be.
        ecosystem: Ecosystem,
        /// The name.
        name: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// What follows the name cannot be understood.
    #[error("{text:?} does not say a version of {ecosystem}: {why}; packages come from the registry by name and version, as in {example}")]
    Version {
        /// Whose version it would be.
        ecosystem: Ecosystem,
        /// The text.
        text: String,
        /// What is wrong with it.
        why: &'static str,
        /// What could have been asked for.
        example: &'static str,
    },
    /// What follows the semicolon is no marker of PEP 508.
    #[error("{marker:?} is not a condition such as python_version < \"3.12\": {why}; packages come from the registry by name and version")]
    Marker {
        /// The text after the semicolon.
        marker: String,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Two ranges for one package of npm.
    #[error("{first} and {second} ask for different versions of one package; keep one of them")]
    AskedTwice {
        /// The one.
        first: String,
        /// The other.
        second: String,
    },
    /// More than [`MOST_REQUIREMENTS`].
    #[error("the program asks for {count} packages, and at most {MOST_REQUIREMENTS} can be asked for by name; give a lock instead")]
    TooMany {
        /// How many there are.
        count: usize,
    },
}

/// The text without the white space around it, where it is of a bearable length and of one line.
fn bounded(text: &str) -> Result<&str, RequirementError> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if text.is_empty() {
        return Err(RequirementError::Empty);
    }
    if text.len() > MOST_REQUIREMENT_BYTES {
        return Err(RequirementError::TooLong { bytes: text.len() });
    }
    if text.chars().any(|character| character.is_control() && character != '\t') {
        return Err(RequirementError::ControlCharacter { text: text.to_owned() });
    }
    Ok(text)
}
