//! Projects, their tokens, and what they used. A project is the tenant: nothing of one is seen by another.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Deserializer, Serialize};

use crate::ceiling::Ceiling;
use crate::limits::{Limits, RequestedLimits};
use crate::packages::{PackageChanges, PackagePolicy};
use crate::policy::Policy;
use crate::timestamp::Timestamp;

/// The name of a project: 1 to 63 lower-case letters, digits and `-`, beginning with a letter.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String, pattern = "^[a-z][a-z0-9-]{0,62}$"))]
#[serde(transparent)]
pub struct ProjectName(String);

/// A name that no project can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` cannot name a project; use 1 to 63 lower-case letters, digits and `-`, beginning with a letter")]
pub struct InvalidProjectName(pub String);

impl ProjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for ProjectName {
    type Err = InvalidProjectName;

    fn from_str(name: &str) -> Result<Self, InvalidProjectName> {
        let plain = name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.len() <= 63
            && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-');
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

/// What the runs of a project may touch and use at most, and how much of the server it may take.
///
/// ```
/// let settings: belljar_protocol::ProjectSettings = serde_json::from_str(
///     r#"{"policy": {"storage": {"read": [""], "write": ["outputs/"]}}, "limits": {"memory_bytes": 536870912}, "quotas": {"concurrent_runs": 4}}"#,
/// ).unwrap();
/// assert_eq!(settings.quotas.concurrent_runs, Some(4));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct ProjectSettings {
    /// The policy ceiling. Default: all of the project's storage, and nothing else.
    pub policy: Policy,
    /// The ceiling of limits. What is left out is a share of what the server's machine has; a day for times, and
    /// 64 MB for output and result.
    pub limits: RequestedLimits,
    /// What of packages its runs may have, within what the server allows. What is left out is as the server has it.
    #[serde(deserialize_with = "over_the_widest")]
    pub packages: PackagePolicy,
    /// How much of the server it may take.
    pub quotas: Quotas,
}

impl Default for ProjectSettings {
    fn default() -> Self {
        let mut policy = Policy::default();
        policy.storage.read = vec![String::new()];
        policy.storage.write = vec![String::new()];
        Self { policy, limits: RequestedLimits::default(), packages: PackagePolicy::widest(), quotas: Quotas::default() }
    }
}

fn over_the_widest<'de, D: Deserializer<'de>>(deserializer: D) -> Result<PackagePolicy, D::Error> {
    Ok(PackageChanges::deserialize(deserializer)?.over(PackagePolicy::widest()))
}

impl ProjectSettings {
    /// The most that runs of the project may be given. `unnamed` is the most of each limit that the settings do
    /// not name.
    pub fn ceiling(&self, unnamed: Limits) -> Ceiling {
        Ceiling { policy: self.policy.clone(), limits: self.limits.over(unnamed) }
    }
}

/// How much of the server a project may take. Where a quota has no default, what is left out is bounded by the server alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Quotas {
    /// Runs at one time; the others wait.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub concurrent_runs: Option<u32>,
    /// Milliseconds of CPU time a day, by UTC. Further runs are refused with 429.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms_per_day: Option<u64>,
    /// Bytes in storage: objects with their metadata, and artifacts.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub storage_bytes: Option<u64>,
    /// Files in storage, objects and artifacts together. Default 100,000; with `storage_bytes` one for each 4 KB of that, which is what a
    /// file takes on a disk, but at least 1,000.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub objects: Option<u64>,
    /// Bytes of the history of runs: submissions, events, results and records. Default 1 GiB. Beyond it, what the oldest finished runs
    /// submitted and wrote is dropped first; their records stay as long as they fit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub history_bytes: Option<u64>,
    /// Requests a second, ten seconds' worth at once at most. Further ones are refused with 429. Storage calls of the project's runs
    /// have the same rate of their own, 100 a second by default, and wait for their turn.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub requests_per_second: Option<u32>,
}

impl Quotas {
    /// Files in storage where nothing else is set.
    pub const DEFAULT_OBJECTS: u64 = 100_000;
    /// The same where few bytes may be stored.
    const MIN_DEFAULT_OBJECTS: u64 = 1000;
    /// What the smallest file takes on most file systems.
    const BLOCK_BYTES: u64 = 4096;
    /// Bytes of history where nothing else is set.
    pub const DEFAULT_HISTORY_BYTES: u64 = 1 << 30;
    /// Storage calls of runs a second where no rate of requests is set.
    pub const DEFAULT_CALLS_PER_SECOND: u32 = 100;

    /// The bound on what is in storage.
    pub fn storage(&self) -> StorageQuota {
        let blocks = self.storage_bytes.map_or(Self::DEFAULT_OBJECTS, |bytes| bytes / Self::BLOCK_BYTES);
        let default = blocks.clamp(Self::MIN_DEFAULT_OBJECTS, Self::DEFAULT_OBJECTS);
        StorageQuota { bytes: self.storage_bytes, objects: self.objects.unwrap_or(default) }
    }

    /// The bound on the history of runs, bytes.
    pub fn history(&self) -> u64 {
        self.history_bytes.unwrap_or(Self::DEFAULT_HISTORY_BYTES)
    }
}

/// The bound on what a project has in storage.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct StorageQuota {
    /// Bytes of objects and artifacts; unbounded when none.
    pub bytes: Option<u64>,
    /// Objects and artifacts.
    pub objects: u64,
}

/// A project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectRecord {
    /// `prj_` and a `UUIDv7`.
    pub id: String,
    /// Its name.
    pub name: ProjectName,
    /// What it may touch and use.
    pub settings: ProjectSettings,
    /// When it was made.
    pub created_at: Timestamp,
}

/// The body of `POST /v1/projects`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewProject {
    /// Its name.
    pub name: ProjectName,
    /// What it may touch and use.
    #[serde(default)]
    pub settings: ProjectSettings,
}

/// Projects, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ProjectList {
    /// The projects.
    pub projects: Vec<ProjectRecord>,
}

/// What a token allows within its project.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Scope {
    /// To start, cancel and delete runs.
    Run,
    /// To see runs, their logs and artifacts, objects, and usage.
    Read,
    /// To upload, copy and delete objects, and to sign addresses.
    Storage,
    /// To manage secrets. Nothing asks for it yet.
    Secrets,
    /// To manage the project's tokens and to read its audit trail.
    Admin,
}

impl Scope {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Run, Self::Read, Self::Storage, Self::Secrets, Self::Admin];

    /// The name on the wire.
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
        Self::ALL
            .into_iter()
            .find(|scope| scope.name() == name)
            .ok_or_else(|| format!("`{name}` is not a scope; use run, read, storage, secrets or admin"))
    }
}

/// What is kept of a token. The token itself is not: only a hash of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenRecord {
    /// `tok_` and a `UUIDv7`.
    pub id: String,
    /// What it is for.
    pub name: String,
    /// Its first characters, to know it by.
    pub hint: String,
    /// What it allows.
    pub scopes: Vec<Scope>,
    /// When it was made.
    pub created_at: Timestamp,
    /// Until when it works.
    pub expires_at: Option<Timestamp>,
    /// When it was last used, to the minute.
    pub last_used_at: Option<Timestamp>,
    /// When it was revoked.
    pub revoked_at: Option<Timestamp>,
}

/// The body of `POST /v1/tokens`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct NewToken {
    /// What it is for, 1 to 100 bytes.
    pub name: String,
    /// What it allows. A token cannot make one that allows more than itself.
    pub scopes: Vec<Scope>,
    /// For how long, milliseconds; for ever when left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_in_ms: Option<u64>,
}

/// A new token. This is the only time that it is shown.
#[derive(Clone, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct IssuedToken {
    /// The token, `bjr_` and 43 characters.
    pub token: String,
    /// What is kept of it.
    pub record: TokenRecord,
}

impl fmt::Debug for IssuedToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("IssuedToken").field("record", &self.record).finish_non_exhaustive()
    }
}

/// Tokens, the latest first.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct TokenList {
    /// The tokens.
    pub tokens: Vec<TokenRecord>,
}

/// What a project used on one day.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageDay {
    /// Whose.
    pub project: ProjectName,
    /// The day in UTC, `2026-01-02`.
    pub day: String,
    /// Runs that ended.
    pub runs: u64,
    /// CPU time of them, milliseconds.
    pub cpu_ms: u64,
    /// Their time from start to end, milliseconds.
    pub wall_ms: u64,
}

/// What was used, by project and day.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct UsageReport {
    /// The days, the latest first.
    pub days: Vec<UsageDay>,
    /// What is kept now, by project.
    pub storage: Vec<StorageUsage>,
}

/// What the server keeps for a project.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct StorageUsage {
    /// Whose.
    pub project: ProjectName,
    /// Objects.
    pub objects: u64,
    /// Bytes of objects, with their metadata, and of artifacts.
    pub storage_bytes: u64,
    /// Artifacts of runs. They count as objects do.
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
        let objects = |storage_bytes, objects| Quotas { storage_bytes, objects, ..Quotas::default() }.storage().objects;
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
