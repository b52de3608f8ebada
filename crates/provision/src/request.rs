//! Requests for versions of Node and Python, which are checked when they are parsed.

use std::fmt;
use std::str::FromStr;

use crate::error::ProvisionError;
use crate::pins;
use crate::version::{OLDEST_PYTHON_MINOR, SUPPORTED_NODES, Version, numbers};

/// A request for a Node: any supported one (the default), a major version (`24`) or an exact
/// version (`24.21.0`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct NodeRequest {
    major: Option<u32>,
    exact: Option<Version>,
}

impl NodeRequest {
    /// Returns whether a version meets the request. Only supported major versions do.
    pub fn accepts(&self, version: Version) -> bool {
        pins::is_supported(version.major)
            && self.major.is_none_or(|major| major == version.major)
            && self.exact.is_none_or(|exact| exact == version)
    }

    /// Returns the version to look for in the cache, and to fetch if no other meets the request.
    pub(crate) fn pinned(&self) -> Version {
        self.exact.unwrap_or_else(|| pins::pin(self.major.unwrap_or(pins::DEFAULT_MAJOR)).version)
    }
}

impl FromStr for NodeRequest {
    type Err = ProvisionError;

    fn from_str(text: &str) -> Result<Self, ProvisionError> {
        let unreadable = || ProvisionError::UnreadableRequest {
            language: "node",
            text: text.to_owned(),
            example: "24 or 24.21.0",
        };
        let plain = text.strip_prefix('v').unwrap_or(text);
        let (major, exact) = match *numbers(plain).ok_or_else(unreadable)?.as_slice() {
            [major] => (major, None),
            [major, minor, patch] => (major, Some(Version { major, minor, patch })),
            _ => return Err(unreadable()),
        };
        if !pins::is_supported(major) {
            return Err(ProvisionError::UnsupportedNode {
                version: plain.to_owned(),
                why: pins::why_unsupported(major),
            });
        }
        Ok(Self { major: Some(major), exact })
    }
}

impl fmt::Display for NodeRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.exact, self.major) {
            (Some(version), _) => write!(f, "node {version}"),
            (None, Some(major)) => write!(f, "node {major}"),
            (None, None) => write!(f, "node {SUPPORTED_NODES}"),
        }
    }
}

/// A request for a `CPython`: any supported one (the default, also `3`), a minor version (`3.11`)
/// or an exact version (`3.11.7`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct PythonRequest {
    minor: Option<u32>,
    exact: Option<Version>,
}

impl PythonRequest {
    /// Returns whether a version meets the request. Only supported versions do.
    pub fn accepts(&self, version: Version) -> bool {
        version.major == 3
            && version.minor >= OLDEST_PYTHON_MINOR
            && self.minor.is_none_or(|minor| minor == version.minor)
            && self.exact.is_none_or(|exact| exact == version)
    }

    /// Returns a request for any patch of a minor version.
    pub(crate) fn of_minor(minor: u32) -> Self {
        Self { minor: Some(minor), exact: None }
    }

    /// Returns the pinned version to fetch, or `None` if there is none.
    pub(crate) fn pinned(&self) -> Option<Version> {
        self.exact.or_else(|| pins::python(self.minor.unwrap_or(pins::PYTHON_MINORS[0])))
    }

    /// Returns the requested minor version, which names the `python3.X` to look for.
    pub(crate) fn minor(&self) -> Option<u32> {
        self.minor
    }
}

impl FromStr for PythonRequest {
    type Err = ProvisionError;

    fn from_str(text: &str) -> Result<Self, ProvisionError> {
        let unreadable = || ProvisionError::UnreadableRequest {
            language: "python",
            text: text.to_owned(),
            example: "3.11 or 3.11.7",
        };
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
    use belljar_protocol::Explain;
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn node_20_is_refused_with_a_reason_and_a_hint() {
        for text in ["20", "20.20.2", "v20.1.0", "18", "0"] {
            let error = text.parse::<NodeRequest>().unwrap_err();
            assert!(error.to_string().contains("out of support"), "{error}");
            assert!(error.hint().is_some_and(|hint| hint.contains("22, 24 or 26")), "{error:?}");
        }
        assert!("25".parse::<NodeRequest>().unwrap_err().to_string().contains("odd"));
        assert!("28".parse::<NodeRequest>().unwrap_err().to_string().contains("newer"));
    }

    #[test]
    fn a_request_that_is_not_a_version_is_refused() {
        for text in [
            "",
            "latest",
            "lts",
            "24.21",
            "24.",
            ".24",
            "24.21.0.1",
            "+24",
            " 24",
            "024",
            "24.21.0-rc1",
            "99999999999",
            "24.21.00",
            "vv24",
        ] {
            assert!(
                matches!(
                    text.parse::<NodeRequest>(),
                    Err(ProvisionError::UnreadableRequest { .. })
                ),
                "{text:?}"
            );
        }
        for text in ["", "python", "3.", "3.x", "3.11.7.1", "3.11rc1", "-3", "3.011"] {
            assert!(
                matches!(
                    text.parse::<PythonRequest>(),
                    Err(ProvisionError::UnreadableRequest { .. })
                ),
                "{text:?}"
            );
        }
        for text in ["2", "2.7.18", "3.9", "3.9.18", "4"] {
            assert!(
                matches!(
                    text.parse::<PythonRequest>(),
                    Err(ProvisionError::UnsupportedPython { .. })
                ),
                "{text:?}"
            );
        }
    }

    #[test]
    fn a_major_selects_its_pinned_version_and_the_default_is_24() {
        assert_eq!("22".parse::<NodeRequest>().unwrap().pinned().major, 22);
        assert_eq!(NodeRequest::default().pinned().major, 24);
        assert_eq!("24.20.0".parse::<NodeRequest>().unwrap().pinned(), Version::new(24, 20, 0));
    }

    proptest! {
        #[test]
        fn an_exact_request_accepts_that_version_and_no_other(
            major in prop::sample::select(vec![22u32, 24, 26]),
            minor in 0u32..40,
            patch in 0u32..10,
            other in 0u32..10,
        ) {
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
            let accepts = |request: String, version: Version| {
                request.parse::<PythonRequest>().unwrap().accepts(version)
            };
            prop_assert!(accepts("3".to_owned(), version));
            let other_minor = Version::new(3, other, patch);
            prop_assert_eq!(accepts(format!("3.{minor}"), other_minor), other == minor);
            let other_patch = Version::new(3, minor, other);
            prop_assert_eq!(accepts(version.to_string(), other_patch), other == patch);
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
