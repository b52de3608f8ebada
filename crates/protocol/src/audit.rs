//! The audit trail: who did what, when, from where, to what.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::timestamp::Timestamp;

/// One entry. Each holds the hash of the one before it, so that none can be changed or taken out unseen.
///
/// ```
/// let entry: belljar_protocol::AuditEntry = serde_json::from_str(r#"{
///   "seq": 7, "timestamp": "2026-01-02T03:04:05.678Z", "project": "default", "actor": "tok_019a", "source": "127.0.0.1", "action": "run.finish",
///   "target": "run_019a", "details": {"status": "succeeded"}, "previous": "00", "hash": "ab"
/// }"#).unwrap();
/// assert_eq!(entry.action, "run.finish");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditEntry {
    /// Counts up from 1 without gaps, over all projects.
    pub seq: u64,
    /// When.
    pub timestamp: Timestamp,
    /// In which project, its name; null for what concerns the server.
    pub project: Option<String>,
    /// Who: a token's id, `operator`, `anonymous`, or `belljar` itself.
    pub actor: String,
    /// From where: an address, `socket`, or null for what the server did by itself.
    pub source: Option<String>,
    /// What was done, such as `run.submit`, `run.finish`, `object.put`, `token.create`, `request.refuse`.
    pub action: String,
    /// To what: an id or a name.
    pub target: String,
    /// What else is known of it.
    #[cfg_attr(feature = "openapi", schema(value_type = serde_json::Value))]
    pub details: Box<RawValue>,
    /// The hash of the entry before, hexadecimal; of the first, zeros.
    pub previous: String,
    /// SHA-256 over `previous` and all of the above, as docs/reference/audit.md says.
    pub hash: String,
}

/// Some entries, in order.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct AuditPage {
    /// The entries.
    pub entries: Vec<AuditEntry>,
    /// Gives the page after this one, as `cursor`. Null on the last.
    pub next_cursor: Option<String>,
}

/// What walking the trail found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(tag = "verdict", rename_all = "snake_case")]
pub enum AuditVerification {
    /// Every entry is chained to the one before.
    Intact {
        /// How many there are.
        entries: u64,
        /// The hash of the last. Kept elsewhere, it shows a cut-off end too.
        head: String,
    },
    /// One does not fit.
    Broken {
        /// The first such.
        seq: u64,
        /// What is wrong with it.
        why: String,
    },
}
