//! What a run may use. Enforced by the kernel and the supervisor, whatever the program does.

use serde::{Deserialize, Serialize};

use crate::units::{Bytes, Millis};

const WEEK_MS: u64 = 7 * 24 * 3600 * 1000;
const TIB: u64 = 1 << 40;

/// What a run may use. Every field has a default, and every field is always enforced.
///
/// ```
/// let limits: belljar_protocol::Limits = serde_json::from_str(r#"{"timeout_ms": 5000, "memory_bytes": 134217728}"#).unwrap();
/// assert_eq!(limits.timeout_ms.0, 5000);
/// assert_eq!(limits.cpu_ms.0, 10_000);
/// assert!(limits.validate().is_ok());
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub struct Limits {
    /// Wall-clock time from activation to the end. Default 30 s.
    pub timeout_ms: Millis,
    /// CPU time, user and system, of all processes of the run together. Default 10 s.
    pub cpu_ms: Millis,
    /// Memory of all processes of the run together, files in its `/tmp` and home included. Default 256 MB.
    pub memory_bytes: Bytes,
    /// Processes and threads at one time. Default 64.
    pub processes: u32,
    /// Bytes in `/tmp`, the home folder and `/dev/shm` together, and as much again in granted folders. Default 64 MB.
    pub disk_bytes: Bytes,
    /// Files and folders in the same, likewise. Default 10,000.
    pub files: u32,
    /// Bytes of standard output, standard error and rich results together. Default 1 MB.
    pub output_bytes: Bytes,
    /// Open file descriptors of each process. Default 256.
    pub open_files: u32,
    /// Bytes of the result as JSON. Default 10 MB.
    pub result_bytes: Bytes,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            timeout_ms: Millis(30_000),
            cpu_ms: Millis(10_000),
            memory_bytes: Bytes(256 << 20),
            processes: 64,
            disk_bytes: Bytes(64 << 20),
            files: 10_000,
            output_bytes: Bytes(1 << 20),
            open_files: 256,
            result_bytes: Bytes(10 << 20),
        }
    }
}

/// Limits of which some may be left open. See [`Limits`] for what each means.
///
/// ```
/// let asked: belljar_protocol::RequestedLimits = serde_json::from_str(r#"{"timeout_ms": 5000}"#).unwrap();
/// let limits = asked.over(belljar_protocol::Limits::default());
/// assert_eq!((limits.timeout_ms.0, limits.cpu_ms.0), (5000, 10_000));
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct RequestedLimits {
    /// Wall-clock time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub timeout_ms: Option<Millis>,
    /// CPU time.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cpu_ms: Option<Millis>,
    /// Memory.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memory_bytes: Option<Bytes>,
    /// Processes and threads.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub processes: Option<u32>,
    /// Bytes of files.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub disk_bytes: Option<Bytes>,
    /// Files and folders.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub files: Option<u32>,
    /// Bytes of output.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output_bytes: Option<Bytes>,
    /// Open file descriptors.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub open_files: Option<u32>,
    /// Bytes of the result.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub result_bytes: Option<Bytes>,
}

impl RequestedLimits {
    /// The limits asked for; what is left open as in `base`.
    pub fn over(self, base: Limits) -> Limits {
        Limits {
            timeout_ms: self.timeout_ms.unwrap_or(base.timeout_ms),
            cpu_ms: self.cpu_ms.unwrap_or(base.cpu_ms),
            memory_bytes: self.memory_bytes.unwrap_or(base.memory_bytes),
            processes: self.processes.unwrap_or(base.processes),
            disk_bytes: self.disk_bytes.unwrap_or(base.disk_bytes),
            files: self.files.unwrap_or(base.files),
            output_bytes: self.output_bytes.unwrap_or(base.output_bytes),
            open_files: self.open_files.unwrap_or(base.open_files),
            result_bytes: self.result_bytes.unwrap_or(base.result_bytes),
        }
    }
}

/// A limit outside of what can be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("limits.{field} is {value}; it must be between {least} and {most}")]
pub struct InvalidLimit {
    /// The field's name.
    pub field: &'static str,
    /// What was asked for.
    pub value: u64,
    /// The least that works.
    pub least: u64,
    /// The most that is accepted.
    pub most: u64,
}

impl Limits {
    /// The most that is accepted of each: far from the ends of arithmetic and of kernel interfaces.
    pub const MOST: Self = Self {
        timeout_ms: Millis(WEEK_MS),
        cpu_ms: Millis(WEEK_MS),
        memory_bytes: Bytes(TIB),
        processes: 32_768,
        disk_bytes: Bytes(TIB),
        files: 100_000_000,
        output_bytes: Bytes(1 << 30),
        open_files: 65_536,
        result_bytes: Bytes(1 << 30),
    };

    /// Checks each limit against what a sandbox can work with: the least is what a booted runtime needs to run anything.
    pub fn validate(&self) -> Result<(), InvalidLimit> {
        let most = Self::MOST;
        for (field, value, least, most) in [
            ("timeout_ms", self.timeout_ms.0, 1, most.timeout_ms.0),
            ("cpu_ms", self.cpu_ms.0, 1, most.cpu_ms.0),
            ("memory_bytes", self.memory_bytes.0, 8 << 20, most.memory_bytes.0),
            ("processes", u64::from(self.processes), 1, most.processes.into()),
            ("disk_bytes", self.disk_bytes.0, 1 << 16, most.disk_bytes.0),
            ("files", u64::from(self.files), 16, most.files.into()),
            ("output_bytes", self.output_bytes.0, 1, most.output_bytes.0),
            ("open_files", u64::from(self.open_files), 32, most.open_files.into()),
            ("result_bytes", self.result_bytes.0, 2, most.result_bytes.0),
        ] {
            if value < least || value > most {
                return Err(InvalidLimit { field, value, least, most });
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_those_of_the_documentation() {
        assert_eq!(
            serde_json::to_string(&Limits::default()).unwrap(),
            r#"{"timeout_ms":30000,"cpu_ms":10000,"memory_bytes":268435456,"processes":64,"disk_bytes":67108864,"files":10000,"output_bytes":1048576,"open_files":256,"result_bytes":10485760}"#
        );
        assert_eq!(Limits::default().validate(), Ok(()));
    }

    #[test]
    fn nought_and_absurd_are_refused_by_name() {
        let error = Limits { timeout_ms: Millis(0), ..Limits::default() }.validate().unwrap_err();
        assert_eq!(error.to_string(), "limits.timeout_ms is 0; it must be between 1 and 604800000");
        assert_eq!(Limits { memory_bytes: Bytes(u64::MAX), ..Limits::default() }.validate().unwrap_err().field, "memory_bytes");
    }

    #[test]
    fn unknown_and_negative_fields_are_refused() {
        assert!(serde_json::from_str::<Limits>(r#"{"memory": 1}"#).unwrap_err().to_string().contains("memory"));
        assert!(serde_json::from_str::<Limits>(r#"{"processes": -1}"#).is_err());
    }
}
