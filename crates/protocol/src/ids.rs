//! Ids. Each is a prefix for the kind of thing and a `UUIDv7`, which sorts by time.

use std::fmt;

use serde::{Deserialize, Serialize};

/// The id of a run: `run_` and a `UUIDv7`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct RunId(String);

impl RunId {
    /// Returns a new id with the current time.
    pub fn new() -> Self {
        Self(format!("run_{}", uuid::Uuid::now_v7().simple()))
    }

    /// Returns the id as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// A text that is not the id of a run.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{0}` is not a run id: expected an id such as run_019a1b2c3d4e7f008a1b2c3d4e5f6071, or at \
     least the first 6 characters after `run_`"
)]
pub struct InvalidRunId(pub String);

impl std::str::FromStr for RunId {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let is_id = text.strip_prefix("run_").is_some_and(|rest| {
            rest.len() == 32 && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
        });
        if is_id {
            return Ok(Self(text.to_owned()));
        }
        Err(InvalidRunId(text.chars().filter(|c| !c.is_control()).take(80).collect()))
    }
}

/// The first characters of a run's id, or all of it. In text it has at least 6 characters of the
/// `UUIDv7`, with or without `run_` before them.
///
/// ```
/// let prefix: belljar_protocol::RunIdPrefix = "019a1b2c".parse().unwrap();
/// assert_eq!(prefix.as_str(), "run_019a1b2c");
/// assert!(prefix.complete().is_none());
/// assert!("run_019a1".parse::<belljar_protocol::RunIdPrefix>().is_err());
/// ```
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RunIdPrefix(String);

impl RunIdPrefix {
    /// The minimum number of characters after `run_`.
    pub const MIN_CHARS: usize = 6;

    /// Returns the prefix as text, with `run_`.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns the id, if the prefix is a complete one.
    pub fn complete(&self) -> Option<RunId> {
        self.0.parse().ok()
    }
}

impl std::str::FromStr for RunIdPrefix {
    type Err = InvalidRunId;

    fn from_str(text: &str) -> Result<Self, InvalidRunId> {
        let rest = text.strip_prefix("run_").unwrap_or(text);
        let is_prefix = (Self::MIN_CHARS..=32).contains(&rest.len())
            && rest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
        if is_prefix {
            return Ok(Self(format!("run_{rest}")));
        }
        Err(InvalidRunId(text.chars().filter(|c| !c.is_control()).take(80).collect()))
    }
}

impl fmt::Display for RunIdPrefix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
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
