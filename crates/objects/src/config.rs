//! The configuration of the storage of objects: a directory or a bucket.

use std::fmt;
use std::path::PathBuf;

use belljar_protocol::Durability;
use serde::Deserialize;

/// The configuration of the storage of objects.
///
/// ```
/// use belljar_objects::ObjectsConfig;
///
/// let directory: ObjectsConfig = serde_json::from_str(
///     r#"{"kind": "directory", "path": "/var/lib/belljar/objects"}"#,
/// )
/// .unwrap();
/// assert!(matches!(directory, ObjectsConfig::Directory { .. }));
/// let s3: ObjectsConfig = serde_json::from_str(
///     r#"{"kind": "s3", "bucket": "belljar", "region": "eu-north-1",
///         "access_key_id": "AKIA", "secret_access_key": "s3cret"}"#,
/// )
/// .unwrap();
/// assert!(!format!("{s3:?}").contains("s3cret"));
/// ```
#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case", deny_unknown_fields)]
pub enum ObjectsConfig {
    /// A folder of this machine. If it is missing, it is created for this user only.
    Directory {
        /// Path of the folder.
        path: PathBuf,
        /// Events that acknowledged content survives. Default: the end of the process.
        #[serde(default)]
        durability: Durability,
    },
    /// A bucket of an S3-compatible service.
    S3 {
        /// Name of the bucket, which must exist.
        bucket: String,
        /// URL of the service. Default: the one of AWS for the region.
        #[serde(default)]
        endpoint: Option<String>,
        /// Region of the bucket. Services without regions accept any, by convention `us-east-1`.
        region: String,
        /// Id of the access key.
        access_key_id: String,
        /// Secret of the access key.
        secret_access_key: SecretAccessKey,
        /// Prefix of all keys, so that a bucket can be shared. Default: none.
        #[serde(default)]
        prefix: String,
        /// Whether `endpoint` may be an `http://` URL. Default: false.
        #[serde(default)]
        allow_http: bool,
    },
}

/// The secret of an access key. `Debug` does not show it, and it cannot be serialized.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct SecretAccessKey(String);

impl SecretAccessKey {
    /// Wraps a secret.
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
