//! The entries of a run's log, and the standard streams that they come from.

use serde::{Deserialize, Serialize};

use crate::timestamp::Timestamp;

/// The severity of a log entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum LogLevel {
    /// Output of `console.debug` and `logging.debug`.
    Debug,
    /// Output of `console.log` and `print`, and anything else on standard output.
    Info,
    /// Output of `console.warn` and `logging.warning`.
    Warn,
    /// Output of `console.error` and `logging.error` or worse, and anything else on standard error.
    Error,
}

/// A standard stream of the program.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// Standard output, descriptor 1.
    Stdout,
    /// Standard error, descriptor 2.
    Stderr,
}

/// An entry of a run's log.
///
/// ```
/// let entry: belljar_protocol::LogEntry = serde_json::from_str(r#"{
///   "timestamp": "2026-01-02T03:04:05.678Z", "level": "info", "message": "read 2000 rows"
/// }"#).unwrap();
/// assert_eq!(entry.message, "read 2000 rows");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct LogEntry {
    /// Time at which the supervisor received the entry.
    pub timestamp: Timestamp,
    /// Severity of the entry.
    pub level: LogLevel,
    /// Text of the entry without its last line end. Invalid UTF-8 is replaced.
    pub message: String,
}
