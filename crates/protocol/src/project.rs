//! Projects, their tokens and their usage. A project is a tenant: it never sees data of another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ceiling::Ceiling;
use crate::limits::{Limits, RequestedLimits};
use crate::packages::{PackageChanges, PackagePolicy};
use crate::policy::Policy;
use crate::timestamp::Timestamp;
use crate::variables::{Variables, is_named};

/// The name of a project: 1 to 63 lower-case letters, digits and `-`, of which the first is a
/// letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z][a-z0-9-]{0,62}$"))]
#[serde(transparent)]
pub struct ProjectName(String);

/// An invalid name of a project.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a valid project name: expected a lower-case letter and at most 62 lower-case \
     letters, digits and `-`"
)]
pub struct InvalidProjectName(pub String);

impl ProjectName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = InvalidProjectName;

    fn from_str(name: &str) -> Result<Self, InvalidProjectName> {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 63
            && name
                .bytes()
                .all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
        if plain {
            return Ok(Self(name.to_owned()));
        }
        Err(InvalidProjectName(name.chars().filter(|c| !c.is_control()).take(80).collect()))
    }
}

impl fmt::Display for ProjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ProjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

/// The settings of a project: the ceiling of its runs, and its share of the server.
///
/// ```
/// let settings: belljar_protocol::ProjectSettings = serde_json::from_str(r#"{
///   "policy": {"storage": {"read": [""], "write": ["outputs/"]}},
///   "limits": {"memory_bytes": 536870912}, "quotas": {"concurrent_runs": 4}
/// }"#).unwrap();
/// assert_eq!(settings.quotas.concurrent_runs, Some(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ProjectSettings {
    /// Ceiling of the policy. Default: all of the project's storage, and nothing else.
    pub policy: Policy,
    /// Ceiling of the limits. An omitted limit is a share of the server's machine; for times it is
    /// a day, and for output and result 64 MB.
    pub limits: RequestedLimits,
    /// Names of the variables that runs may pass in `env`. A `*` at the end of a name stands for
    /// any rest. Default: all names.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub env_names: Option<Vec<String>>,
    /// Package policy of the project's runs, within the policy of the server. An omitted setting is
    /// as on the server.
    #[serde(deserialize_with = "over_the_widest")]
    pub packages: PackagePolicy,
    /// Share of the server that the project may use.
    pub quotas: Quotas,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        let mut policy = Policy::default();
        policy.storage.read = vec![String::new()];
        policy.storage.write = vec![String::new()];
        Self {
            policy,
            limits: RequestedLimits::default(),
            env_names: None,
            packages: PackagePolicy::widest(),
            quotas: Quotas::default(),
        }
    }
}

fn over_the_widest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PackagePolicy, D::Error> {
    Ok(PackageChanges::deserialize(deserializer)?.over(PackagePolicy::widest()))
}

impl ProjectSettings {
    /// Returns the first variable that runs of the project may not pass in `env`.
    pub fn forbidden_variable<'a>(&self, env: &'a Variables) -> Option<&'a str> {
        let names = self.env_names.as_ref()?;
        env.keys().map(String::as_str).find(|name| !is_named(name, names))
    }

    /// Returns the ceiling of the project's runs. `default` has the limits that the settings omit.
    pub fn ceiling(&self, default: Limits) -> Ceiling {
        Ceiling { policy: self.policy.clone(), limits: self.limits.over(default) }
    }
}

/// The share of the server that a project may use. An omitted quota that has no default is bounded
/// by the server alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Maximum number of concurrent runs. Further runs wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_runs: Option<u32>,
    /// Milliseconds of CPU time per day (UTC). Further runs are refused with 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms_per_day: Option<u64>,
    /// Bytes in storage: objects including their metadata, and artifacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
    /// Number of objects and artifacts in storage. Default 100,000; with `storage_bytes` one for
    /// every 4 KB of it, the space that a file takes on a disk, but at least 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// Bytes of the history of runs: submissions, events, results and records. Default 1 GiB. When
    /// the quota is used up, the submissions and outputs of the oldest finished runs are dropped
    /// first; their records stay as long as they fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_bytes: Option<u64>,
    /// Requests per second, with a burst of at most ten seconds' worth. Further requests are
    /// refused with 429. Storage calls of the project's runs have a separate budget at the same
    /// rate, by default 100 per second, and wait for their turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

impl Quotas {
    /// The default number of objects and artifacts in storage.
    pub const DEFAULT_OBJECTS: u64 = 100_000;
    /// The smallest default number of objects and artifacts, for a small `storage_bytes`.
    const MIN_DEFAULT_OBJECTS: u64 = 1000;
    /// The size of the smallest file on most file systems.
    const BLOCK_BYTES: u64 = 4096;
    /// The default number of bytes of history.
    pub const DEFAULT_HISTORY_BYTES: u64 = 1 << 30;
    /// The default number of storage calls per second of a project's runs.
    pub const DEFAULT_CALLS_PER_SECOND: u32 = 100;

    /// Returns the quota of storage.
    pub fn storage(&self) -> StorageQuota {
        let blocks =
            self.storage_bytes.map_or(Self::DEFAULT_OBJECTS, |bytes| bytes / Self::BLOCK_BYTES);
        let default = blocks.clamp(Self::MIN_DEFAULT_OBJECTS, Self::DEFAULT_OBJECTS);
        StorageQuota { bytes: self.storage_bytes, objects: self.objects.unwrap_or(default) }
    }

    /// Returns the quota of history in bytes.
    pub fn history(&self) -> u64 {
        self.history_bytes.unwrap_or(Self::DEFAULT_HISTORY_BYTES)
    }
}

/// The quota of a project's storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageQuota {
    /// Bytes of objects and artifacts, or `None` if unlimited.
    pub bytes: Option<u64>,
    /// Number of objects and artifacts.
    pub objects: u64,
}

/// The record of a project.
///
/// ```
/// let record: belljar_protocol::ProjectRecord = serde_json::from_str(r#"{
///   "id": "prj_019a1b2c3d4e7f008a1b2c3d4e5f6071", "name": "team-a",
///   "settings": {"quotas": {"concurrent_runs": 4}}, "created_at": "2026-01-02T03:04:05.678Z"
/// }"#).unwrap();
/// assert_eq!(record.settings.quotas.concurrent_runs, Some(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectRecord {
    /// Id of the project: `prj_` and a `UUIDv7`.
    pub id: String,
    /// Name of the project.
    pub name: ProjectName,
    /// Ceiling and quotas of the project.
    pub settings: ProjectSettings,
    /// Time at which the project was created.
    pub created_at: Timestamp,
    /// The settings in force: those of the project, with the defaults and the rules of the server
    /// applied to them. Lists omit them.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_force: Option<Box<ProjectSettings>>,
}

/// The body of `POST /v1/projects`.
///
/// ```
/// let new: belljar_protocol::NewProject = serde_json::from_str(
///     r#"{"name": "team-b", "settings": {"quotas": {"concurrent_runs": 4}}}"#,
/// ).unwrap();
/// assert_eq!(new.name.as_str(), "team-b");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Name of the project.
    pub name: ProjectName,
    /// Ceiling and quotas of the project.
    #[serde(default)]
    pub settings: ProjectSettings,
}

/// A list of projects, sorted by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectList {
    /// All projects of the server.
    pub projects: Vec<ProjectRecord>,
}

/// A right of a token within its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// Start, cancel and delete runs.
    Run,
    /// Read runs, their code, logs and artifacts, objects, and usage.
    Read,
    /// Upload, copy and delete objects, and sign URLs.
    Storage,
    /// Manage secrets. No request needs this scope yet.
    Secrets,
    /// Manage the project's tokens and read its audit trail.
    Admin,
}

impl Scope {
    /// All scopes that a token can have.
    pub const ALL: [Self; 5] = [Self::Run, Self::Read, Self::Storage, Self::Secrets, Self::Admin];

    /// Returns the name of the scope on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Run => "run",
            Self::Read => "read",
            Self::Storage => "storage",
            Self::Secrets => "secrets",
            Self::Admin => "admin",
        }
    }
}

impl FromStr for Scope {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        Self::ALL.into_iter().find(|scope| scope.name() == name).ok_or_else(|| {
            format!("`{name}` is not a scope: expected run, read, storage, secrets or admin")
        })
    }
}

/// The record of a token. The server stores only a hash of the token itself.
///
/// ```
/// let record: belljar_protocol::TokenRecord = serde_json::from_str(r#"{
///   "id": "tok_019a1b2c3d4e7f008a1b2c3d4e5f6071", "name": "ci", "hint": "bjr_Zk3v",
///   "scopes": ["run", "read"], "created_at": "2026-01-02T03:04:05.678Z",
///   "expires_at": "2026-02-01T03:04:05.678Z", "last_used_at": null, "revoked_at": null
/// }"#).unwrap();
/// assert_eq!(record.scopes.len(), 2);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRecord {
    /// Id of the token: `tok_` and a `UUIDv7`.
    pub id: String,
    /// Name that tells what the token is used for.
    pub name: String,
    /// First characters of the token, to recognize it by.
    pub hint: String,
    /// Rights of the token.
    pub scopes: Vec<Scope>,
    /// Time at which the token was created.
    pub created_at: Timestamp,
    /// Time at which the token expires.
    pub expires_at: Option<Timestamp>,
    /// Time of the last use, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// Time at which the token was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The body of `POST /v1/tokens`.
///
/// ```
/// let new: belljar_protocol::NewToken = serde_json::from_str(
///     r#"{"name": "ci", "scopes": ["run", "read"], "expires_in_ms": 2592000000}"#,
/// ).unwrap();
/// assert_eq!(new.expires_in_ms, Some(30 * 24 * 3600 * 1000));
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// Name that tells what the token is used for, 1 to 100 bytes.
    pub name: String,
    /// Rights of the token. A token cannot create another one with more rights than its own.
    pub scopes: Vec<Scope>,
    /// Lifetime in milliseconds. Default: the token does not expire.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
}

/// A new token. No other answer contains it.
///
/// ```
/// let issued: belljar_protocol::IssuedToken = serde_json::from_str(r#"{
///   "token": "bjr_Zk3vN8qLw2Xc5Rt7Yb1Hd9Fg4Js6Pm0Va2Ue8Qi3Oo5",
///   "record": {
///     "id": "tok_019a1b2c3d4e7f008a1b2c3d4e5f6071", "name": "ci", "hint": "bjr_Zk3v",
///     "scopes": ["run", "read"], "created_at": "2026-01-02T03:04:05.678Z",
///     "expires_at": "2026-02-01T03:04:05.678Z", "last_used_at": null, "revoked_at": null
///   }
/// }"#).unwrap();
/// assert!(issued.token.starts_with(&issued.record.hint));
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedToken {
    /// The token itself: `bjr_` and 43 characters.
    pub token: String,
    /// The record of the token.
    pub record: TokenRecord,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("record", &self.record).finish_non_exhaustive()
    }
}

/// A list of tokens, the latest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// All tokens of the project.
    pub tokens: Vec<TokenRecord>,
}

/// The key that signs the callbacks of a project.
///
/// ```
/// let key: belljar_protocol::CallbackKey = serde_json::from_str(r#"{
///   "key": "6f1c0d2e9b8a47356f1c0d2e9b8a47356f1c0d2e9b8a47356f1c0d2e9b8a4735"
/// }"#).unwrap();
/// assert_eq!(key.key.len(), 64);
/// ```
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct CallbackKey {
    /// 64 hexadecimal digits. The key is this text itself, not the bytes that it encodes.
    pub key: String,
}

impl fmt::Debug for CallbackKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CallbackKey(..)")
    }
}

/// The usage of a project, or of one of its tokens, on one day.
///
/// ```
/// let day: belljar_protocol::UsageDay = serde_json::from_str(r#"{
///   "project": "default", "day": "2026-01-02", "runs": 1204, "cpu_ms": 96412, "wall_ms": 183020
/// }"#).unwrap();
/// assert_eq!(day.runs, 1204);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageDay {
    /// Name of the project.
    pub project: ProjectName,
    /// The day in UTC, such as `2026-01-02`.
    pub day: String,
    /// Number of runs that ended on this day.
    pub runs: u64,
    /// CPU time of these runs, milliseconds.
    pub cpu_ms: u64,
    /// Time of these runs from start to end, milliseconds.
    pub wall_ms: u64,
    /// Id of the token that submitted these runs, or `operator`. Omitted unless the report is by
    /// token, and for runs that ended before usage was counted by token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token: Option<String>,
    /// Name of that token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_name: Option<String>,
}

/// The rows into which a report divides the usage of a day. In text `project` or `token`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum UsageGroup {
    /// One row for each project.
    #[default]
    Project,
    /// One row for each token of each project.
    Token,
}

impl UsageGroup {
    /// Returns the name of the group on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Project => "project",
            Self::Token => "token",
        }
    }
}

impl FromStr for UsageGroup {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Project, Self::Token]
            .into_iter()
            .find(|group| group.name() == name)
            .ok_or("expected project or token")
    }
}

/// The usage of the server, by project and day.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageReport {
    /// Usage of each day, the latest first.
    pub days: Vec<UsageDay>,
    /// Current storage of each project.
    pub storage: Vec<StorageUsage>,
}

/// A filter of usage. The default matches all days of the caller's project.
#[derive(Clone, Debug, Default)]
pub struct UsageFilter {
    /// Whether to include all projects. Only the operator may.
    pub all: bool,
    /// The first day, such as `2026-01-02`.
    pub since: Option<String>,
    /// The last day, such as `2026-01-02`.
    pub until: Option<String>,
    /// The rows for each day.
    pub group: UsageGroup,
}

/// The data that the server stores for a project.
///
/// ```
/// let usage: belljar_protocol::StorageUsage = serde_json::from_str(r#"{
///   "project": "default", "objects": 12, "storage_bytes": 48213991, "artifacts": 40,
///   "history_bytes": 1843200
/// }"#).unwrap();
/// assert_eq!(usage.artifacts, 40);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageUsage {
    /// Name of the project.
    pub project: ProjectName,
    /// Number of objects.
    pub objects: u64,
    /// Bytes of artifacts, and of objects including their metadata.
    pub storage_bytes: u64,
    /// Number of artifacts. They count towards the same quota as objects.
    #[serde(default)]
    pub artifacts: u64,
    /// Bytes of the history of runs.
    #[serde(default)]
    pub history_bytes: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn project_names_are_plain() {
        for bad in ["", "A", "1a", "-a", "a_b", "a/b", "a\n", "ä"] {
            assert!(bad.parse::<ProjectName>().is_err(), "{bad:?}");
        }
        assert!("team-7".parse::<ProjectName>().is_ok());
        assert!("a".repeat(64).parse::<ProjectName>().is_err());
    }

    #[test]
    fn a_small_quota_of_bytes_is_one_of_files_as_well() {
        let objects = |storage_bytes, objects| {
            Quotas { storage_bytes, objects, ..Quotas::default() }.storage().objects
        };
        assert_eq!(objects(None, None), 100_000);
        assert_eq!(objects(Some(10 << 20), None), 2560);
        assert_eq!((objects(Some(1), None), objects(Some(1 << 40), None)), (1000, 100_000));
        assert_eq!(objects(Some(1), Some(7)), 7);
    }

    #[test]
    fn a_token_is_not_printed_by_accident() {
        let issued = IssuedToken {
            token: "bjr_very-secret".into(),
            record: TokenRecord {
                id: "tok_1".into(),
                name: "ci".into(),
                hint: "bjr_ver".into(),
                scopes: vec![Scope::Run],
                created_at: Timestamp::from_unix_ms(0),
                expires_at: None,
                last_used_at: None,
                revoked_at: None,
            },
        };
        assert!(!format!("{issued:?}").contains("secret"));
    }
}
