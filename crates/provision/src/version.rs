//! Versions of runtimes and installers.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The oldest minor version of `CPython` 3 that the driver and the native library run on.
pub const OLDEST_PYTHON_MINOR: u32 = 10;

/// The supported major versions of Node, for messages.
pub(crate) const SUPPORTED_NODES: &str = "22, 24 or 26";

/// A released version, `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// The major version.
    pub major: u32,
    /// The minor version.
    pub minor: u32,
    /// The patch version (Python calls it micro).
    pub patch: u32,
}

impl Version {
    /// Returns the version `major.minor.patch`.
    pub const fn new(major: u32, minor: u32, patch: u32) -> Self {
        Self { major, minor, patch }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}.{}", self.major, self.minor, self.patch)
    }
}

impl FromStr for Version {
    type Err = NotAVersion;

    fn from_str(text: &str) -> Result<Self, NotAVersion> {
        match numbers(text).as_deref() {
            Some(&[major, minor, patch]) => Ok(Self { major, minor, patch }),
            _ => Err(NotAVersion),
        }
    }
}

/// The error of a text that is not three numbers separated by dots.
#[derive(Debug, thiserror::Error)]
#[error("not a version of the form 1.2.3")]
pub struct NotAVersion;

impl TryFrom<String> for Version {
    type Error = NotAVersion;

    fn try_from(text: String) -> Result<Self, NotAVersion> {
        text.parse()
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.to_string()
    }
}

/// Reads one to three plain decimal numbers separated by dots. Signs, spaces and leading zeros are
/// not allowed, so that a version has one spelling.
pub(crate) fn numbers(text: &str) -> Option<Vec<u32>> {
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    (numbers.len() <= 3).then_some(numbers)
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty()
        && text.bytes().all(|byte| byte.is_ascii_digit())
        && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}
