//! The access rights of a run. Empty by default: no host files, no network, no environment
//! variables, no other programs.

use std::borrow::Cow;
use std::collections::BTreeMap;

use belljar_access::{Exec, Network};
use serde::{Deserialize, Serialize};

use crate::explain::Explain;
use crate::variables::{InvalidVariable, check_variables};

/// The access rights of a run. Everything that is not granted here is denied.
///
/// ```
/// let policy: belljar_protocol::Policy = serde_json::from_str(r#"{
///   "fs": {"read": ["/data"], "write": []}, "loopback": true,
///   "env": {"CITY": "Oslo"}, "exec": false
/// }"#).unwrap();
/// assert_eq!(policy.fs.read, ["/data"]);
/// assert!(serde_json::from_str::<belljar_protocol::Policy>(r#"{"filesystem": []}"#).is_err());
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Policy {
    /// Host files and folders that the program may read or write.
    pub fs: FsPolicy,
    /// Hosts that the program may connect to: `name`, `name:port` or `address:port`. This version
    /// cannot enforce the list, so it refuses a run that names any host.
    pub net: Vec<String>,
    /// Gives the run a network namespace of its own with a loopback interface and nothing else.
    #[serde(rename = "loopback", with = "loopback")]
    #[cfg_attr(feature = "openapi", schema(value_type = bool, default = false))]
    pub network: Network,
    /// Environment variables of the program, by name.
    pub env: BTreeMap<String, String>,
    /// Lets the program fork and start other programs.
    #[serde(with = "exec")]
    #[cfg_attr(feature = "openapi", schema(value_type = bool, default = false))]
    pub exec: Exec,
    /// Names of secrets. This version has none, so it refuses a run that names any.
    pub secrets: Vec<String>,
    /// Prefixes of object names. Only a run on a server has storage; any other run that names a
    /// prefix is refused.
    pub storage: StoragePolicy,
}

/// The JSON form of a network: true for one with a loopback interface. No JSON form reads as a
/// network of granted hosts.
mod loopback {
    use belljar_access::Network;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(network: &Network, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bool(match network {
            Network::None => false,
            // The hosts of a granted network are in the policy's list, not here.
            Network::Loopback | Network::Granted => true,
        })
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Network, D::Error> {
        Ok(if bool::deserialize(from)? { Network::Loopback } else { Network::None })
    }
}

/// The JSON form of the right to start programs: true if it is granted.
mod exec {
    use belljar_access::Exec;
    use serde::{Deserialize, Deserializer, Serializer};

    #[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
    pub(super) fn serialize<S: Serializer>(exec: &Exec, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_bool(*exec == Exec::Granted)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Exec, D::Error> {
        Ok(if bool::deserialize(from)? { Exec::Granted } else { Exec::Denied })
    }
}

/// Absolute host paths. Each appears in the sandbox at the same path.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct FsPolicy {
    /// Files and folders that the program may read.
    pub read: Vec<String>,
    /// Files and folders that the program may read and write.
    pub write: Vec<String>,
}

/// Prefixes of object names in storage.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StoragePolicy {
    /// Prefixes of the objects that the program may list and download.
    pub read: Vec<String>,
    /// Prefixes of the objects that the program may upload and delete.
    pub write: Vec<String>,
}

/// The longest object name is 1,024 bytes, and a prefix need not be longer.
const MAX_PREFIX_BYTES: usize = 1024;

/// An invalid policy.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPolicy {
    /// A grant that this version cannot enforce. The run fails closed.
    #[error("policy.{0} is not available in this version of belljar")]
    NotAvailable(&'static str),
    /// A path that is not absolute or not canonical.
    #[error("policy.fs: `{0}` is not an absolute path without `.` and `..`")]
    Path(String),
    /// More paths than can be mounted into a sandbox.
    #[error("policy.fs: {0} paths exceed the maximum of {max}", max = FsPolicy::MAX_PATHS)]
    TooManyPaths(usize),
    /// The root folder.
    #[error("policy.fs: `/` cannot be granted")]
    Root,
    /// A prefix that no object name can begin with.
    #[error("policy.storage: `{}` is not a valid prefix of an object name", .0.escape_debug())]
    Prefix(String),
    /// A variable that no program can have.
    #[error("policy.env: {0}")]
    Env(#[from] InvalidVariable),
}

impl Explain for InvalidPolicy {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::NotAvailable(_) => "remove it from the policy",
            Self::Path(_) => "write the full path from the root, such as /data/in.csv",
            Self::TooManyPaths(_) => "grant the folders that contain these files",
            Self::Root => "name the folders that the program needs",
            Self::Prefix(_) => "use a prefix such as inputs/, or an empty one for all objects",
            Self::Env(_) => return None,
        }))
    }
}

impl FsPolicy {
    /// The maximum number of granted paths, for reading and writing together. Each is mounted into
    /// every sandbox.
    pub const MAX_PATHS: usize = 64;
}

impl Policy {
    /// Checks everything that does not depend on the machine.
    pub fn validate(&self) -> Result<(), InvalidPolicy> {
        if !self.net.is_empty() || self.network == Network::Granted {
            return Err(InvalidPolicy::NotAvailable("net"));
        }
        if !self.secrets.is_empty() {
            return Err(InvalidPolicy::NotAvailable("secrets"));
        }
        for prefix in self.storage.read.iter().chain(&self.storage.write) {
            let can_begin_a_name = prefix.len() <= MAX_PREFIX_BYTES
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
                && path
                    .split('/')
                    .skip(1)
                    .all(|part| !part.is_empty() && part != "." && part != "..");
            if !canonical {
                return Err(InvalidPolicy::Path(path.clone()));
            }
        }
        check_variables(&self.env)?;
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
    fn a_network_is_none_or_loopback_in_json_and_nothing_else() {
        let read = |json: &str| serde_json::from_str::<Policy>(json);
        for (json, network) in [
            ("{}", Network::None),
            (r#"{"loopback": false}"#, Network::None),
            (r#"{"loopback": true}"#, Network::Loopback),
        ] {
            let policy = read(json).unwrap();
            assert_eq!(policy.network, network, "{json}");
            assert_eq!(read(&serde_json::to_string(&policy).unwrap()).unwrap(), policy);
        }
        for json in [
            r#"{"loopback": "granted"}"#,
            r#"{"loopback": "Granted"}"#,
            r#"{"loopback": 2}"#,
            r#"{"network": "granted"}"#,
            r#"{"network": true}"#,
        ] {
            assert!(read(json).is_err(), "{json}");
        }
    }

    #[test]
    fn a_network_of_granted_hosts_is_refused_and_never_read() {
        let policy = Policy { network: Network::Granted, ..Policy::default() };
        assert_eq!(policy.validate(), Err(InvalidPolicy::NotAvailable("net")));
        let read: Policy = serde_json::from_str(&serde_json::to_string(&policy).unwrap()).unwrap();
        assert_eq!(read.network, Network::Loopback);
    }

    #[test]
    fn prefixes_begin_the_name_of_an_object() {
        let reading = |prefix: &str| Policy {
            storage: StoragePolicy { read: vec![prefix.into()], write: vec![] },
            ..Policy::default()
        };
        for good in ["", "inputs/", "in", "a/b", "..a", &"a".repeat(1024)] {
            assert_eq!(reading(good).validate(), Ok(()), "{good:?}");
        }
        for bad in ["/", "/etc", "..", "a/../b", "a\n", "a\0", &"a".repeat(1025)] {
            assert!(matches!(reading(bad).validate(), Err(InvalidPolicy::Prefix(_))), "{bad:?}");
        }
        let writing = Policy {
            storage: StoragePolicy { read: vec![], write: vec!["../x".into()] },
            ..Policy::default()
        };
        assert!(writing.validate().is_err());
    }

    #[test]
    fn environment_names_are_checked() {
        for bad in ["", "A=B", "A\0"] {
            let policy =
                Policy { env: [(bad.to_owned(), String::new())].into(), ..Policy::default() };
            assert!(
                matches!(policy.validate(), Err(InvalidPolicy::Env(InvalidVariable::Name(_)))),
                "{bad:?}"
            );
        }
    }
}
