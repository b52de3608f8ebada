//! The audit trail: the actor, time, origin, action and target of every change.

use std::str::FromStr;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::timestamp::Timestamp;

/// An entry of the audit trail. It contains the hash of the previous entry, so that no entry can be
/// changed or removed without a trace.
///
/// ```
/// let entry: belljar_protocol::AuditEntry = serde_json::from_str(r#"{
///   "seq": 7, "timestamp": "2026-01-02T03:04:05.678Z", "project": "default",
///   "actor": "tok_019a", "source": "127.0.0.1", "action": "run.finish", "target": "run_019a",
///   "details": {"status": "succeeded"}, "previous": "00", "hash": "ab"
/// }"#).unwrap();
/// assert_eq!(entry.action, "run.finish");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Sequence number, from 1 without gaps, over all projects.
    pub seq: u64,
    /// Time of the action.
    pub timestamp: Timestamp,
    /// Name of the project, or null for an action that concerns the server.
    pub project: Option<String>,
    /// Id of the token that acted, or `operator`, `anonymous` or `belljar` (the server itself).
    pub actor: String,
    /// Network address that the request came from, `socket`, or null for an action of the server
    /// itself.
    pub source: Option<String>,
    /// Name of the action, such as `run.submit`, `run.finish`, `object.put`, `token.create` or
    /// `request.refuse`.
    pub action: String,
    /// Id or name of the thing that was acted on.
    pub target: String,
    /// Further facts about the action.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub details: Box<RawValue>,
    /// Hash of the previous entry, hexadecimal. Zeros in the first entry.
    pub previous: String,
    /// SHA-256 over `previous` and all fields above, as documented in docs/reference/audit.md.
    pub hash: String,
    /// Name of the token that acted. It is not part of the hash: the entry with the action
    /// `token.create` and this token as its target proves it. Omitted for other actors.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub actor_name: Option<String>,
}

/// The order of audit entries. In text `oldest` or `latest`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum AuditOrder {
    /// The oldest entry first.
    #[default]
    Oldest,
    /// The latest entry first.
    Latest,
}

impl AuditOrder {
    /// Returns the name of the order on the wire.
    pub fn name(self) -> &'static str {
        match self {
            Self::Oldest => "oldest",
            Self::Latest => "latest",
        }
    }
}

impl FromStr for AuditOrder {
    type Err = &'static str;

    fn from_str(name: &str) -> Result<Self, Self::Err> {
        [Self::Oldest, Self::Latest]
            .into_iter()
            .find(|order| order.name() == name)
            .ok_or("expected oldest or latest")
    }
}

/// One page of entries, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The entries of this page.
    pub entries: Vec<AuditEntry>,
    /// Pass this as `cursor` to get the next page. Null on the last page.
    pub next_cursor: Option<String>,
}

/// A filter of audit entries. The default matches all entries of the caller's project.
#[derive(Clone, Debug, Default)]
pub struct AuditFilter {
    /// Matches actions of the token with this name or id, of the run with this id, or of the
    /// `operator`, `belljar`, `anonymous` or `signed-url`.
    pub actor: Option<String>,
    /// Matches this action, or all actions with this prefix, such as `run.`.
    pub action: Option<String>,
    /// Matches actions on the object with this id or name.
    pub target: Option<String>,
    /// Matches actions at or after this time.
    pub since: Option<Timestamp>,
    /// Matches actions before this time.
    pub until: Option<Timestamp>,
    /// Whether to include all projects and the server itself. Only the operator may.
    pub all: bool,
    /// The order of the entries, and thus which ones are on the first page.
    pub order: AuditOrder,
}

/// The result of a verification of the whole trail.
///
/// ```
/// use belljar_protocol::AuditVerification;
///
/// let verification: AuditVerification = serde_json::from_str(r#"{
///   "verdict": "intact", "entries": 4120,
///   "head": "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"
/// }"#).unwrap();
/// assert!(matches!(verification, AuditVerification::Intact { entries: 4120, .. }));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum AuditVerification {
    /// Every entry is chained to the previous one.
    Intact {
        /// Number of entries.
        entries: u64,
        /// Hash of the last entry. A copy kept elsewhere also proves that the end was not cut off.
        head: String,
    },
    /// An entry is not chained to the previous one.
    Broken {
        /// Sequence number of the first such entry.
        seq: u64,
        /// The check that the entry fails.
        why: String,
    },
}
