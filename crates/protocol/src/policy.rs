//! What a run may touch. Empty by default: no host files, no network, no environment, no other programs.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

/// What a run may touch. Everything is denied unless named here.
///
/// ```
/// let policy: belljar_protocol::Policy = serde_json::from_str(
///     r#"{"fs": {"read": ["/data"], "write": []}, "loopback": true, "env": {"CITY": "Oslo"}, "exec": false}"#,
/// ).unwrap();
/// assert_eq!(policy.fs.read, ["/data"]);
/// assert!(serde_json::from_str::<belljar_protocol::Policy>(r#"{"filesystem": []}"#).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Policy {
    /// Host files and folders.
    pub fs: FsPolicy,
    /// Hosts that may be reached, `name`, `name:port`, `address:port`. Not enforced by this version: a run that names any is refused.
    pub net: Vec<String>,
    /// A network of its own with only a loopback interface.
    pub loopback: bool,
    /// Environment variables of the program.
    pub env: BTreeMap<String, String>,
    /// Whether it may start other programs and fork.
    pub exec: bool,
    /// Names of secrets. Not enforced by this version: a run that names any is refused.
    pub secrets: Vec<String>,
    /// Object name prefixes. Only for a run with a server behind it: any other that names some is refused.
    pub storage: StoragePolicy,
}

/// Host paths, absolute. Each appears in the sandbox at the same path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FsPolicy {
    /// Files and folders that may be read.
    pub read: Vec<String>,
    /// Files and folders that may be read and written.
    pub write: Vec<String>,
}

/// Prefixes of object names in storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoragePolicy {
    /// Prefixes that may be listed and downloaded.
    pub read: Vec<String>,
    /// Prefixes that may be uploaded to and deleted from.
    pub write: Vec<String>,
}

/// As long as an object's name may be.
const MOST_PREFIX_BYTES: usize = 1024;

/// A policy that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A grant that this version cannot enforce. It fails closed.
    #[error("policy.{0} is not available in this version of belljar; remove it")]
    NotAvailable(&'static str),
    /// A path that is not absolute or not canonical.
    #[error("policy.fs: `{0}` is not an absolute path without `.` and `..`; write it from the root, such as /data/in.csv")]
    Path(String),
    /// More paths than a sandbox can be handed.
    #[error("policy.fs: {0} paths are granted, and at most {max} can be; grant the folders that they are in", max = FsPolicy::MAX_PATHS)]
    TooManyPaths(usize),
    /// The root folder.
    #[error("policy.fs: all of / cannot be granted; name the folders that are needed")]
    Root,
    /// A prefix that no object's name begins with.
    #[error("policy.storage: `{}` begins no object's name; write a prefix such as inputs/, or an empty one for every object", .0.escape_debug())]
    Prefix(String),
    /// A name no environment variable can have.
    #[error("policy.env: `{0}` cannot be the name of an environment variable")]
    EnvName(String),
    /// A NUL byte in a value.
    #[error("policy.env: the value of `{0}` has a NUL byte in it")]
    EnvValue(String),
}

impl FsPolicy {
    /// Granted paths, all together. Each is a mount that is made for each sandbox.
    pub const MAX_PATHS: usize = 64;
}

impl Policy {
    /// Checks what can be checked without looking at the machine.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        for (given, name) in [(!self.net.is_empty(), "net"), (!self.secrets.is_empty(), "secrets")] {
            if given {
                return Err(InvalidPolicy::NotAvailable(name));
            }
        }
        for prefix in self.storage.read.iter().chain(&self.storage.write) {
            let can_begin_a_name = prefix.len() <= MOST_PREFIX_BYTES
                && !prefix.starts_with('/')
                && !prefix.chars().any(char::is_control)
                && prefix.split('/').all(|part| part != "..");
            if !can_begin_a_name {
                return Err(InvalidPolicy::Prefix(prefix.clone()));
            }
        }
        let paths = self.fs.read.len() + self.fs.write.len();
        if paths > FsPolicy::MAX_PATHS {
            return Err(InvalidPolicy::TooManyPaths(paths));
        }
        for path in self.fs.read.iter().chain(&self.fs.write) {
            if path == "/" {
                return Err(InvalidPolicy::Root);
            }
            let canonical = path.starts_with('/')
                && !path.contains('\0')
                && path.split('/').skip(1).all(|part| !part.is_empty() && part != "." && part != "..");
            if !canonical {
                return Err(InvalidPolicy::Path(path.clone()));
            }
        }
        for (name, value) in &self.env {
            if name.is_empty() || name.contains(['=', '\0']) {
                return Err(InvalidPolicy::EnvName(name.clone()));
            }
            if value.contains('\0') {
                return Err(InvalidPolicy::EnvValue(name.clone()));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reading(path: &str) -> Policy {
        Policy { fs: FsPolicy { read: vec![path.into()], write: vec![] }, ..Policy::default() }
    }

    #[test]
    fn the_default_grants_nothing() {
        let policy = Policy::default();
        assert_eq!(policy.validate(), Ok(()));
        assert_eq!(
            serde_json::to_string(&policy).unwrap(),
            r#"{"fs":{"read":[],"write":[]},"net":[],"loopback":false,"env":{},"exec":false,"secrets":[],"storage":{"read":[],"write":[]}}"#
        );
    }

    #[test]
    fn paths_must_be_absolute_and_plain() {
        assert_eq!(reading("/data/in.csv").validate(), Ok(()));
        assert_eq!(reading("/").validate(), Err(InvalidPolicy::Root));
        for bad in ["data", "", "/data/../etc", "/data//x", "/data/", "/a\0b", "/./x"] {
            assert!(matches!(reading(bad).validate(), Err(InvalidPolicy::Path(_))), "{bad:?}");
        }
    }

    #[test]
    fn what_cannot_be_enforced_is_refused() {
        let policy = Policy { net: vec!["example.com".into()], ..Policy::default() };
        assert_eq!(policy.validate(), Err(InvalidPolicy::NotAvailable("net")));
    }

    #[test]
    fn prefixes_begin_the_name_of_an_object() {
        let reading = |prefix: &str| Policy { storage: StoragePolicy { read: vec![prefix.into()], write: vec![] }, ..Policy::default() };
        for good in ["", "inputs/", "in", "a/b", "..a", &"a".repeat(1024)] {
            assert_eq!(reading(good).validate(), Ok(()), "{good:?}");
        }
        for bad in ["/", "/etc", "..", "a/../b", "a\n", "a\0", &"a".repeat(1025)] {
            assert!(matches!(reading(bad).validate(), Err(InvalidPolicy::Prefix(_))), "{bad:?}");
        }
        let writing = Policy { storage: StoragePolicy { read: vec![], write: vec!["../x".into()] }, ..Policy::default() };
        assert!(writing.validate().is_err());
    }

    #[test]
    fn environment_names_are_checked() {
        for bad in ["", "A=B", "A\0"] {
            let policy = Policy { env: [(bad.to_owned(), String::new())].into(), ..Policy::default() };
            assert!(matches!(policy.validate(), Err(InvalidPolicy::EnvName(_))), "{bad:?}");
        }
    }
}
