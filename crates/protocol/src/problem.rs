//! What a refused request is answered with.

use serde::{Deserialize, Serialize};

/// An RFC 9457 problem document.
///
/// ```
/// let problem: belljar_protocol::Problem = serde_json::from_str(
///     r#"{"type": "urn:belljar:problem:not-found", "title": "not found", "status": 404, "detail": "there is no run run_019a"}"#,
/// ).unwrap();
/// assert_eq!(problem.status, 404);
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Problem {
    /// What kind of problem, `urn:belljar:problem:` and its name.
    #[serde(rename = "type")]
    pub kind: String,
    /// The same in a few words.
    pub title: String,
    /// The status code.
    pub status: u16,
    /// What is wrong with this very request.
    pub detail: String,
    /// What to do about it, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
}
