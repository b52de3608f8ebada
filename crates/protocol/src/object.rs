//! Objects: named files in storage.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::names;
use crate::timestamp::Timestamp;

/// The name of an object: 1 to 1,024 bytes, parts divided by `/`, none of them empty, `.` or `..`, no control characters, not absolute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
#[serde(transparent)]
pub struct ObjectName(String);

/// A name that no object can have.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot name an object: {why}; use a name such as inputs/data.csv")]
pub struct InvalidObjectName {
    /// The name, cut to a printable length.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ObjectName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lies beneath one of these prefixes. A prefix is a plain beginning of names, as in S3: `in` covers `inputs/a` too.
    pub fn is_beneath(&self, prefixes: &[String]) -> bool {
        prefixes.iter().any(|prefix| self.0.starts_with(prefix.as_str()))
    }
}

impl TryFrom<String> for ObjectName {
    type Error = InvalidObjectName;

    fn try_from(name: String) -> Result<Self, InvalidObjectName> {
        match names::fault(&name) {
            None => Ok(Self(name)),
            Some(why) => Err(InvalidObjectName { name: names::printable(&name), why }),
        }
    }
}

impl TryFrom<&str> for ObjectName {
    type Error = InvalidObjectName;

    fn try_from(name: &str) -> Result<Self, InvalidObjectName> {
        Self::try_from(name.to_owned())
    }
}

impl fmt::Display for ObjectName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl<'de> Deserialize<'de> for ObjectName {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// What is known of an object.
///
/// ```
/// let record: belljar_protocol::ObjectRecord = serde_json::from_str(r#"{
///   "name": "inputs/data.csv", "size_bytes": 118, "content_type": "text/csv", "md5": "9e10", "sha256": "e3b0", "metadata": {"source": "crm"},
///   "created_at": "2026-01-02T03:04:05.678Z", "updated_at": "2026-01-02T03:04:05.678Z"
/// }"#).unwrap();
/// assert_eq!(record.name.as_str(), "inputs/data.csv");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectRecord {
    /// Its name.
    pub name: ObjectName,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Media type. `application/octet-stream` when nobody said.
    pub content_type: String,
    /// MD5 of the content, hexadecimal.
    pub md5: String,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
    /// What the uploader says of it: at most 16 names and values, each at most 1,024 bytes.
    pub metadata: BTreeMap<String, String>,
    /// When the first object of this name was uploaded.
    pub created_at: Timestamp,
    /// When this one was.
    pub updated_at: Timestamp,
}

/// Some objects, by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectPage {
    /// The objects.
    pub objects: Vec<ObjectRecord>,
    /// Gives the page after this one, as `cursor`. Null on the last.
    pub next_cursor: Option<String>,
}

/// The body of `POST /v1/object-copies`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ObjectCopy {
    /// What is copied.
    pub from: ObjectName,
    /// What it is called then. An object of that name is replaced.
    pub to: ObjectName,
}

/// What a signed address allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum SignedMethod {
    /// To download.
    Get,
    /// To upload.
    Put,
}

impl SignedMethod {
    /// The HTTP method.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

/// The body of `POST /v1/object-urls`.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedUrlRequest {
    /// Of which object.
    pub name: ObjectName,
    /// What it allows.
    pub method: SignedMethod,
    /// For how long, milliseconds: at most seven days.
    pub expires_in_ms: u64,
}

/// An address that works without a token.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedUrl {
    /// Path and query; it is used with the server's own address.
    pub url: String,
    /// Until when.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\nb", "a\0b", "a\r\nX: y"] {
            assert!(ObjectName::try_from(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "inputs/data.csv", "..a", "ünïcode.txt", "a b?c#d%2e"] {
            assert!(ObjectName::try_from(good).is_ok(), "{good:?}");
        }
        assert!(ObjectName::try_from("a".repeat(1025)).is_err());
    }

    #[test]
    fn a_prefix_is_a_beginning() {
        let name = ObjectName::try_from("inputs/a").unwrap();
        assert!(name.is_beneath(&["inputs/".into()]) && name.is_beneath(&[String::new()]));
        assert!(!name.is_beneath(&["outputs/".into()]) && !name.is_beneath(&[]));
    }
}
