//! Objects: named files in storage.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Deserializer, Serialize};

use crate::explain::Explain;
use crate::names;
use crate::timestamp::Timestamp;

/// The name of an object: 1 to 1,024 bytes without control characters. The parts between slashes
/// are never empty, `.` or `..`, and the name does not begin with a slash.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
#[serde(transparent)]
pub struct ObjectName(String);

/// An invalid name of an object.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a valid object name: {why}")]
pub struct InvalidObjectName {
    /// The name, cut to a printable length.
    pub name: String,
    /// The rule that the name breaks.
    pub why: &'static str,
}

impl Explain for InvalidObjectName {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some("use a name such as inputs/data.csv".into())
    }
}

impl ObjectName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Returns whether the name begins with one of the prefixes. A prefix is plain text, as in S3:
    /// `in` covers `inputs/a` too.
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

/// The metadata of an object.
///
/// ```
/// let record: belljar_protocol::ObjectRecord = serde_json::from_str(r#"{
///   "name": "inputs/data.csv", "size_bytes": 118, "content_type": "text/csv",
///   "md5": "9e10", "sha256": "e3b0", "metadata": {"source": "crm"},
///   "created_at": "2026-01-02T03:04:05.678Z", "updated_at": "2026-01-02T03:04:05.678Z"
/// }"#).unwrap();
/// assert_eq!(record.name.as_str(), "inputs/data.csv");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectRecord {
    /// Name of the object.
    pub name: ObjectName,
    /// Size in bytes.
    pub size_bytes: u64,
    /// Media type. `application/octet-stream` if the uploader named none.
    pub content_type: String,
    /// MD5 of the content, hexadecimal.
    pub md5: String,
    /// SHA-256 of the content, hexadecimal.
    pub sha256: String,
    /// Metadata from the uploader: at most 16 names and values, each at most 1,024 bytes.
    pub metadata: BTreeMap<String, String>,
    /// Time of the first upload under this name.
    pub created_at: Timestamp,
    /// Time of the latest upload under this name.
    pub updated_at: Timestamp,
}

/// One page of objects, sorted by name.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct ObjectPage {
    /// The objects of this page.
    pub objects: Vec<ObjectRecord>,
    /// Pass this as `cursor` to get the next page. Null on the last page.
    pub next_cursor: Option<String>,
}

/// The body of `POST /v1/object-copies`.
///
/// ```
/// let copy: belljar_protocol::ObjectCopy =
///     serde_json::from_str(r#"{"from": "inputs/data.csv", "to": "archive/data.csv"}"#).unwrap();
/// assert_eq!(copy.to.as_str(), "archive/data.csv");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct ObjectCopy {
    /// Name of the object to copy.
    pub from: ObjectName,
    /// Name of the copy. An existing object of that name is replaced.
    pub to: ObjectName,
}

/// The method that a signed URL allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "UPPERCASE")]
pub enum SignedMethod {
    /// Downloads the object.
    Get,
    /// Uploads the object.
    Put,
}

impl SignedMethod {
    /// Returns the name of the HTTP method.
    pub fn name(self) -> &'static str {
        match self {
            Self::Get => "GET",
            Self::Put => "PUT",
        }
    }
}

/// The body of `POST /v1/object-urls`.
///
/// ```
/// let request: belljar_protocol::SignedUrlRequest = serde_json::from_str(
///     r#"{"name": "inputs/data.csv", "method": "GET", "expires_in_ms": 3600000}"#,
/// ).unwrap();
/// assert_eq!(request.method.name(), "GET");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SignedUrlRequest {
    /// Name of the object.
    pub name: ObjectName,
    /// Method that the URL allows.
    pub method: SignedMethod,
    /// Lifetime of the URL in milliseconds, at most seven days.
    pub expires_in_ms: u64,
}

/// A URL that works without a token.
///
/// ```
/// let signed: belljar_protocol::SignedUrl = serde_json::from_str(r#"{
///   "url": "/v1/objects/data.csv?project=prj_019a&method=GET&expires=1767326645678&signature=ab",
///   "expires_at": "2026-01-02T04:04:05.678Z"
/// }"#).unwrap();
/// assert_eq!(signed.expires_at.unix_ms(), 1_767_326_645_678);
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct SignedUrl {
    /// Path and query, relative to the server's own URL.
    pub url: String,
    /// Time at which the URL expires.
    pub expires_at: Timestamp,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in
            ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\nb", "a\0b", "a\r\nX: y"]
        {
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
