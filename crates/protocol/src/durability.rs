//! The failures that acknowledged data survives.

use serde::Deserialize;

/// The failures that acknowledged data survives: commits to the database, and contents in a folder.
///
/// ```
/// let durability: belljar_protocol::Durability = serde_json::from_str(r#""disk""#).unwrap();
/// assert_eq!(durability, belljar_protocol::Durability::Disk);
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Durability {
    /// The end of the process, including `kill -9`.
    #[default]
    Process,
    /// A loss of power as well: data is on the disk before it is acknowledged.
    Disk,
}
