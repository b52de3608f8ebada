//! What a caller asks for: versions of Node and Python, parsed once and then known to be supported.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::ProvisionError;
use crate::pins;

/// A released version, `major.minor.patch`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    /// The first number.
    pub major: u32,
    /// The second number.
    pub minor: u32,
    /// The third number (Python calls it micro).
    pub patch: u32,
}

impl Version {
    /// The version `major.minor.patch`.
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

/// The text is not three numbers with dots between them.
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

/// One to three plain decimal numbers with dots between them. No signs, spaces, or leading zeros, so that a version has one spelling.
fn numbers(text: &str) -> Option<Vec<u32>> {
    let numbers: Vec<u32> = text.split('.').map(number).collect::<Option<_>>()?;
    (numbers.len() <= 3).then_some(numbers)
}

fn number(text: &str) -> Option<u32> {
    let plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) && (text.len() == 1 || !text.starts_with('0'));
    if plain { text.parse().ok() } else { None }
}

/// Which Node is wanted: any supported one (the default), a major (`24`) or an exact version (`24.21.0`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeRequest {
    major: Option<u32>,
    exact: Option<Version>,
}

impl NodeRequest {
    /// Whether this version answers the request. Only supported majors ever do.
    pub fn accepts(&self, version: Version) -> bool {
        pins::is_supported(version.major)
            && self.major.is_none_or(|major| major == version.major)
            && self.exact.is_none_or(|exact| exact == version)
    }

    /// The version to look for in the cache, and to fetch where nothing else answers.
    pub(crate) fn pinned(&self) -> Version {
        self.exact.unwrap_or_else(|| pins::pin(self.major.unwrap_or(pins::DEFAULT_MAJOR)).version)
    }
}

impl FromStr for NodeRequest {
    type Err = ProvisionError;

    fn from_str(text: &str) -> Result<Self, ProvisionError> {
        let unreadable = || ProvisionError::UnreadableRequest { language: "node", text: text.to_owned(), example: "24 or 24.21.0" };
        let plain = text.strip_prefix('v').unwrap_or(text);
        let (major, exact) = match *numbers(plain).ok_or_else(unreadable)?.as_slice() {
            [major] => (major, None),
            [major, minor, patch] => (major, Some(Version { major, minor, patch })),
            _ => return Err(unreadable()),
        };
        if !pins::is_supported(major) {
            return Err(ProvisionError::UnsupportedNode { version: plain.to_owned(), why: pins::why_unsupported(major) });
        }
        Ok(Self { major: Some(major), exact })
    }
}

impl fmt::Display for NodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.exact, self.major) {
            (Some(version), _) => write!(f, "node {version}"),
            (None, Some(major)) => write!(f, "node {major}"),
            (None, None) => write!(f, "node {}", pins::SUPPORTED_IN_WORDS),
        }
    }
}

/// The oldest `CPython` 3 that the driver and the native library run on.
pub const OLDEST_PYTHON_MINOR: u32 = 10;

/// Which `CPython` is wanted: any supported one (the default, also `3`), a minor (`3.11`) or an exact version (`3.11.7`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PythonRequest {
    minor: Option<u32>,
    exact: Option<Version>,
}

impl PythonRequest {
    /// Whether this version answers the request. Only supported ones ever do.
    pub fn accepts(&self, version: Version) -> bool {
        version.major == 3
            && version.minor >= OLDEST_PYTHON_MINOR
            && self.minor.is_none_or(|minor| minor == version.minor)
            && self.exact.is_none_or(|exact| exact == version)
    }

    /// Any patch of a minor.
    pub(crate) fn of_minor(minor: u32) -> Self {
        Self { minor: Some(minor), exact: None }
    }

    /// The version to fetch, as it is pinned; `None` where nothing is.
    pub(crate) fn pinned(&self) -> Option<Version> {
        self.exact.or_else(|| pins::python(self.minor.unwrap_or(pins::PYTHON_MINORS[0])))
    }

    /// The minor that was asked for, which names the `python3.X` to look for.
    pub(crate) fn minor(&self) -> Option<u32> {
        self.minor
    }
}

impl FromStr for PythonRequest {
    type Err = ProvisionError;

    fn from_str(text: &str) -> Result<Self, ProvisionError> {
        let unreadable = || ProvisionError::UnreadableRequest { language: "python", text: text.to_owned(), example: "3.11 or 3.11.7" };
        let (major, minor, exact) = match *numbers(text).ok_or_else(unreadable)?.as_slice() {
            [major] => (major, None, None),
            [major, minor] => (major, Some(minor), None),
            [major, minor, patch] => (major, Some(minor), Some(Version { major, minor, patch })),
            _ => return Err(unreadable()),
        };
        if major != 3 || minor.is_some_and(|minor| minor < OLDEST_PYTHON_MINOR) {
            return Err(ProvisionError::UnsupportedPython { version: text.to_owned() });
        }
        Ok(Self { minor, exact })
    }
}

impl fmt::Display for PythonRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.exact, self.minor) {
            (Some(version), _) => write!(f, "python {version}"),
            (None, Some(minor)) => write!(f, "python 3.{minor}"),
            (None, None) => write!(f, "python 3.{OLDEST_PYTHON_MINOR} or newer"),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn node_20_is_refused_with_why_and_the_mend() {
        for text in ["20", "20.20.2", "v20.1.0", "18", "0"] {
            let error = text.parse::<NodeRequest>().unwrap_err();
            assert!(error.to_string().contains("out of support"), "{error}");
            assert!(error.hint().contains("22, 24 or 26"), "{}", error.hint());
        }
        assert!("25".parse::<NodeRequest>().unwrap_err().to_string().contains("odd"));
        assert!("28".parse::<NodeRequest>().unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn a_request_that_is_not_a_version_is_refused() {
        for text in
            ["", "latest", "lts", "24.21", "24.", ".24", "24.21.0.1", "+24", " 24", "024", "24.21.0-rc1", "99999999999", "24.21.00", "vv24"]
        {
            assert!(matches!(text.parse::<NodeRequest>(), Err(ProvisionError::UnreadableRequest { .. })), "{text:?}");
        }
        for text in ["", "python", "3.", "3.x", "3.11.7.1", "3.11rc1", "-3", "3.011"] {
            assert!(matches!(text.parse::<PythonRequest>(), Err(ProvisionError::UnreadableRequest { .. })), "{text:?}");
        }
        for text in ["2", "2.7.18", "3.9", "3.9.18", "4"] {
            assert!(matches!(text.parse::<PythonRequest>(), Err(ProvisionError::UnsupportedPython { .. })), "{text:?}");
        }
    }

    #[test]
    fn a_major_stands_for_its_pinned_version_and_the_default_is_24() {
        assert_eq!("22".parse::<NodeRequest>().unwrap().pinned().major, 22);
        assert_eq!(NodeRequest::default().pinned().major, 24);
        assert_eq!("24.20.0".parse::<NodeRequest>().unwrap().pinned(), Version::new(24, 20, 0));
    }

    proptest! {
        #[test]
        fn an_exact_request_accepts_that_version_and_no_other(major in prop::sample::select(vec![22u32, 24, 26]), minor in 0u32..40, patch in 0u32..10, other in 0u32..10) {
            let version = Version::new(major, minor, patch);
            let request: NodeRequest = version.to_string().parse().unwrap();
            prop_assert!(request.accepts(version));
            prop_assert_eq!(request.accepts(Version::new(major, minor, other)), other == patch);
            prop_assert!(major.to_string().parse::<NodeRequest>().unwrap().accepts(version));
            prop_assert!(NodeRequest::default().accepts(version));
        }

        #[test]
        fn python_requests_narrow(minor in 10u32..30, patch in 0u32..30, other in 0u32..40) {
            let version = Version::new(3, minor, patch);
            prop_assert!("3".parse::<PythonRequest>().unwrap().accepts(version));
            prop_assert_eq!(format!("3.{minor}").parse::<PythonRequest>().unwrap().accepts(Version::new(3, other, patch)), other == minor);
            prop_assert_eq!(version.to_string().parse::<PythonRequest>().unwrap().accepts(Version::new(3, minor, other)), other == patch);
        }

        #[test]
        fn no_text_makes_the_parsers_panic(text in "\\PC*") {
            let _ = text.parse::<NodeRequest>();
            let _ = text.parse::<PythonRequest>();
            if let Ok(version) = text.parse::<Version>() {
                prop_assert_eq!(version.to_string(), text);
            }
        }
    }
}
