//! The body of an answer to a request that failed.

use serde::{Deserialize, Serialize};

/// An RFC 9457 problem document.
///
/// ```
/// let problem: belljar_protocol::Problem = serde_json::from_str(r#"{
///   "type": "urn:belljar:problem:not-found", "title": "not found", "status": 404,
///   "detail": "there is no run run_019a"
/// }"#).unwrap();
/// assert_eq!(problem.status, 404);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// Kind of the problem: `urn:belljar:problem:` and a name.
    #[serde(rename = "type")]
    pub kind: String,
    /// Kind of the problem in a few words.
    pub title: String,
    /// Status code of the HTTP answer.
    pub status: u16,
    /// Reason why this request failed.
    pub detail: String,
    /// Advice to the caller, in the imperative.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
