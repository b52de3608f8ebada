//! Errors of requirements, and the bounds that every requirement's text has to respect.

use std::borrow::Cow;

use belljar_protocol::{Ecosystem, Explain};

use crate::sanitize::sanitize;

/// The maximum length of one requirement's text, in bytes. The longest name of npm has 214; the
/// rest is for versions, extras and a marker.
pub const MAX_REQUIREMENT_BYTES: usize = 512;

/// The maximum number of requirements of one program. A program that needs more provides a lock
/// file.
pub const MAX_REQUIREMENTS: usize = 256;

/// An error of a text that is not a requirement.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequirementError {
    /// The text is empty.
    #[error("the requirement is empty")]
    Empty,
    /// The text is longer than [`MAX_REQUIREMENT_BYTES`].
    #[error(
        "the requirement has {bytes} bytes, which exceeds the limit of {MAX_REQUIREMENT_BYTES}"
    )]
    TooLong {
        /// Length of the text.
        bytes: usize,
    },
    /// The text contains a control character or a line break.
    #[error("`{}` contains a control character", sanitize(text))]
    ControlCharacter {
        /// The text of the requirement.
        text: String,
    },
    /// The text is a URL, a path, a repository or a workspace.
    #[error("`{}` is not a package of a registry", sanitize(text))]
    Reference {
        /// The text of the requirement.
        text: String,
    },
    /// The text is an option of an installer.
    #[error("`{}` is an option of an installer", sanitize(text))]
    InstallerOption {
        /// The text of the requirement.
        text: String,
    },
    /// The text gives a package another name than its own.
    #[error("`{}` is an alias of a package, which is not supported", sanitize(text))]
    Alias {
        /// The text of the requirement.
        text: String,
    },
    /// The registry does not allow such a name.
    #[error("`{}` is not a valid package name of {ecosystem}: {why}", sanitize(name))]
    Name {
        /// The ecosystem that the name would belong to.
        ecosystem: Ecosystem,
        /// The invalid name.
        name: String,
        /// The rule that the name violates.
        why: &'static str,
    },
    /// The text after the name is not a version.
    #[error("`{}` is not a valid version of {ecosystem}: {why}", sanitize(text))]
    Version {
        /// The ecosystem that the version would belong to.
        ecosystem: Ecosystem,
        /// The text of the version, or of the whole requirement.
        text: String,
        /// The rule that the text violates.
        why: &'static str,
        /// A valid requirement, for the hint.
        example: &'static str,
    },
    /// The text after the semicolon is not a marker of PEP 508.
    #[error("`{}` is not a valid marker: {why}", sanitize(marker))]
    Marker {
        /// The text after the semicolon.
        marker: String,
        /// The rule that the marker violates.
        why: &'static str,
    },
    /// One npm package has two ranges.
    #[error("`{first}` and `{second}` require different versions of one package")]
    AskedTwice {
        /// One of the requirements.
        first: String,
        /// The other requirement.
        second: String,
    },
    /// There are more requirements than [`MAX_REQUIREMENTS`].
    #[error("the program requires {count} packages, which exceeds the limit of {MAX_REQUIREMENTS}")]
    TooMany {
        /// The number of requirements.
        count: usize,
    },
}

impl Explain for RequirementError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(match self {
            Self::Version { example, .. } => format!("write it like `{example}`").into(),
            Self::Marker { .. } => "write a condition such as `python_version < \"3.12\"`".into(),
            Self::AskedTwice { .. } => "keep one of them".into(),
            Self::TooMany { .. } => "provide a lock file instead".into(),
            _ => "name a package of the registry, and a version if it matters".into(),
        })
    }
}

/// Returns the text without surrounding white space. It fails if the text is empty, too long or
/// longer than a line.
pub(super) fn bounded(text: &str) -> Result<&str, RequirementError> {
    let text = text.trim_matches([' ', '\t', '\n', '\r']);
    if text.is_empty() {
        return Err(RequirementError::Empty);
    }
    if text.len() > MAX_REQUIREMENT_BYTES {
        return Err(RequirementError::TooLong { bytes: text.len() });
    }
    if text.chars().any(|character| character.is_control() && character != '\t') {
        return Err(RequirementError::ControlCharacter { text: text.to_owned() });
    }
    Ok(text)
}
