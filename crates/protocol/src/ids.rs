//! Ids: a prefix that says what it names, and a `UUIDv7`, which sorts by time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of one run, `run_` and a `UUIDv7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct RunId(String);

impl RunId {
    /// A new id, of now.
    pub fn new() -> Self {
        Self(format!("run_{}", uuid::Uuid::now_v7().simple()))
    }

    /// The id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is no id of a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not the id of a run; ids look like run_019a1b2c3d4e7f008a1b2c3d4e5f6071")]
pub struct InvalidRunId(pub String);

impl std::str::FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let is_id = text
            .strip_prefix("run_")
            .is_some_and(|rest| rest.len() == 32 && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f')));
        if is_id {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidRunId(text.chars().filter(|c| !c.is_control()).take(80).collect()))
    }
}

impl Default for RunId {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Display for RunId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}
