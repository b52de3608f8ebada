//! Where the bytes are kept.

use std::fmt;
use std::path::PathBuf;

use serde::Deserialize;

/// Where the bytes are kept.
///
/// ```
/// use belljar_objects::ObjectsConfig;
///
/// let directory: ObjectsConfig = serde_json::from_str(r#"{"kind": "directory", "path": "/var/lib/belljar/objects"}"#).unwrap();
/// assert!(matches!(directory, ObjectsConfig::Directory { .. }));
/// let s3: ObjectsConfig = serde_json::from_str(
///     r#"{"kind": "s3", "bucket": "belljar", "region": "eu-north-1", "access_key_id": "AKIA", "secret_access_key": "s3cret"}"#,
/// ).unwrap();
/// assert!(!format!("{s3:?}").contains("s3cret"));
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectsConfig {
    /// A folder of this machine. It is created where it is not there, for this user alone.
    Directory {
        /// Where.
        path: PathBuf,
        /// What finished content survives.
        #[serde(default)]
        durability: Durability,
    },
    /// A bucket of an S3-compatible service.
    S3 {
        /// The bucket. It must be there.
        bucket: String,
        /// The service's address; AWS's own for the region when none.
        #[serde(default)]
        endpoint: Option<String>,
        /// The region. Services that have none accept any, `us-east-1` by custom.
        region: String,
        /// The access key's id.
        access_key_id: String,
        /// The access key's secret.
        secret_access_key: SecretAccessKey,
        /// What all keys begin with, so that a bucket can be shared. No prefix when empty.
        #[serde(default)]
        prefix: String,
        /// Whether `endpoint` may be `http://`.
        #[serde(default)]
        allow_http: bool,
    },
}

/// What finished content in a directory survives.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The end of the process, `kill -9` included.
    #[default]
    Process,
    /// The loss of power too: content is on the disk before it is acknowledged.
    Disk,
}

/// The secret half of an access key. It is not shown by `Debug` and cannot be serialized.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretAccessKey(String);

impl SecretAccessKey {
    /// Wraps it.
    pub fn new(secret: impl Into<String>) -> Self {
        Self(secret.into())
    }

    pub(crate) fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SecretAccessKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SecretAccessKey(..)")
    }
}
