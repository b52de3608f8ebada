//! Resource limits of a run. The kernel and the supervisor enforce them, whatever the program does.
//!
//! The table at the end of this file defines every limit once. [`Limits`], [`RequestedLimits`] and
//! [`LIMITS`] are made from it. From those come the bounds that are checked, the flags of the
//! command line and the schemas of HTTP and of the Model Context Protocol.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use crate::explain::Explain;
use crate::units::{Bytes, Millis};

const DAY_MS: u64 = 24 * 3600 * 1000;
const WEEK_MS: u64 = 7 * DAY_MS;
const MIB: u64 = 1 << 20;
const GIB: u64 = 1 << 30;
const TIB: u64 = 1 << 40;

/// The definition of a limit. Values are in its unit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limit {
    /// Name in JSON, such as `memory_bytes`.
    pub name: &'static str,
    /// Path in a request, such as `limits.memory_bytes`.
    pub field: &'static str,
    /// Unit of the values.
    pub unit: LimitUnit,
    /// Value for a run on a server that requests none.
    pub default: u64,
    /// Value for a run of `belljar run` or `belljar mcp` that requests none, on a machine that has
    /// twice as much memory.
    pub local_default: u64,
    /// Smallest accepted value: what a booted runtime needs to run anything.
    pub min: u64,
    /// Largest accepted value: far below the bounds of arithmetic and of kernel interfaces.
    pub max: u64,
    /// Name of the flag on the command line, without dashes.
    pub flag: &'static str,
    /// Summary of the flag in the help, without the default.
    pub help: &'static str,
    /// Second paragraph of the flag in the help.
    pub details: Option<&'static str>,
    /// Description in schemas, with the unit.
    pub description: &'static str,
}

/// The unit of a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LimitUnit {
    /// A duration in milliseconds.
    Time,
    /// A number of bytes.
    Size,
    /// A plain number.
    Count,
}

impl LimitUnit {
    /// Returns a value in a readable unit: `30 s`, `256 MB`, `64`.
    pub fn display(self, value: u64) -> String {
        match self {
            Self::Time => Millis(value).to_string(),
            Self::Size => Bytes(value).to_string(),
            Self::Count => value.to_string(),
        }
    }

    /// Returns a value as it is typed on the command line: `10s`, `256M`, `64`.
    pub fn typed(self, value: u64) -> String {
        let scales: &[(u64, &str)] = match self {
            Self::Time => &[(1000, "s"), (1, "ms")],
            Self::Size => &[(1 << 30, "G"), (1 << 20, "M"), (1 << 10, "K")],
            Self::Count => &[],
        };
        match scales.iter().find(|(scale, _)| value.is_multiple_of(*scale)) {
            Some((scale, name)) => format!("{}{name}", value / scale),
            None => value.to_string(),
        }
    }
}

/// The type of a limit's value in Rust.
trait LimitValue {
    const UNIT: LimitUnit;

    /// Returns the value for a number, or the largest one if the number is too large.
    fn of(number: u64) -> Self;

    fn number(self) -> u64;
}

impl LimitValue for Millis {
    const UNIT: LimitUnit = LimitUnit::Time;

    fn of(number: u64) -> Self {
        Self(number)
    }

    fn number(self) -> u64 {
        self.0
    }
}

impl LimitValue for Bytes {
    const UNIT: LimitUnit = LimitUnit::Size;

    fn of(number: u64) -> Self {
        Self(number)
    }

    fn number(self) -> u64 {
        self.0
    }
}

impl LimitValue for u32 {
    const UNIT: LimitUnit = LimitUnit::Count;

    fn of(number: u64) -> Self {
        Self::try_from(number).unwrap_or(Self::MAX)
    }

    fn number(self) -> u64 {
        self.into()
    }
}

/// A limit out of range.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} is {value}, but must be between {} and {}", .limit.field, .limit.min, .limit.max)]
pub struct InvalidLimit {
    /// The limit and its range.
    pub limit: &'static Limit,
    /// The requested value.
    pub value: u64,
}

impl Explain for InvalidLimit {
    /// The message states the accepted range, so there is nothing to add.
    fn hint(&self) -> Option<Cow<'_, str>> {
        None
    }
}

impl Limits {
    /// Returns the value of a limit.
    pub fn get(&self, limit: &Limit) -> u64 {
        let found = self.each().find(|(other, _)| other.name == limit.name);
        found.map_or(limit.default, |(_, value)| value)
    }

    /// Checks that each limit is in its range.
    pub fn validate(&self) -> Result<(), InvalidLimit> {
        match self.each().find(|(limit, value)| *value < limit.min || *value > limit.max) {
            Some((limit, value)) => Err(InvalidLimit { limit, value }),
            None => Ok(()),
        }
    }
}

/// Makes the types and the table of limits from their definitions. `local` is the value in
/// [`Limits::LOCAL`], and `ceiling` that in [`Limits::PROJECT_CEILING`].
macro_rules! limits {
    (@value Millis $number:expr) => { Millis($number) };
    (@value Bytes $number:expr) => { Bytes($number) };
    (@value u32 $number:expr) => { $number };

    ($(
        $(#[doc = $doc:tt])+
        $name:ident: $type:ident {
            default: $default:expr, local: $local:expr, min: $min:expr, max: $max:expr,
            ceiling: $ceiling:expr,
            flag: $flag:tt, help: $help:tt, $(details: $details:tt,)?
            description: $description:tt,
        }
    )+) => {
        /// Resource limits of a run. Every limit has a default, and every limit is always enforced.
        ///
        /// ```
        /// let limits: belljar_protocol::Limits =
        ///     serde_json::from_str(r#"{"timeout_ms": 5000, "memory_bytes": 134217728}"#).unwrap();
        /// assert_eq!(limits.timeout_ms.0, 5000);
        /// assert_eq!(limits.cpu_ms.0, 10_000);
        /// assert!(limits.validate().is_ok());
        /// ```
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        pub struct Limits {
            $($(#[doc = $doc])+ pub $name: $type,)+
        }

        impl Default for Limits {
            fn default() -> Self {
                Self { $($name: limits!(@value $type $default),)+ }
            }
        }

        impl Limits {
            /// The limits of a run of `belljar run` or `belljar mcp` that requests none, on a
            /// machine of any size.
            pub const LOCAL: Self = Self { $($name: limits!(@value $type $local),)+ };
            /// The smallest accepted value of each limit.
            pub const MIN: Self = Self { $($name: limits!(@value $type $min),)+ };
            /// The largest accepted value of each limit.
            pub const MAX: Self = Self { $($name: limits!(@value $type $max),)+ };
            /// The ceiling of a project that sets none, on a machine of any size.
            pub const PROJECT_CEILING: Self = Self { $($name: limits!(@value $type $ceiling),)+ };

            /// Returns each limit with its value, in the order of [`LIMITS`].
            pub fn each(&self) -> impl Iterator<Item = (&'static Limit, u64)> + use<> {
                LIMITS.iter().zip([$(self.$name.number()),+])
            }

            /// Returns the lower value of each limit.
            #[must_use]
            pub fn at_most(self, other: Self) -> Self {
                Self { $($name: self.$name.min(other.$name),)+ }
            }
        }

        /// Limits of which some may be omitted. [`Limits`] documents each of them.
        ///
        /// ```
        /// let asked: belljar_protocol::RequestedLimits =
        ///     serde_json::from_str(r#"{"timeout_ms": 5000}"#).unwrap();
        /// let limits = asked.over(belljar_protocol::Limits::default());
        /// assert_eq!((limits.timeout_ms.0, limits.cpu_ms.0), (5000, 10_000));
        /// ```
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
        #[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
        #[serde(default, deny_unknown_fields)]
        pub struct RequestedLimits {
            $(
                #[doc = $description]
                #[serde(skip_serializing_if = "Option::is_none")]
                pub $name: Option<$type>,
            )+
        }

        impl From<Limits> for RequestedLimits {
            fn from(limits: Limits) -> Self {
                Self { $($name: Some(limits.$name),)+ }
            }
        }

        impl RequestedLimits {
            /// Returns the limits for which `value` returns a value.
            pub fn from_each(value: impl FnMut(&'static Limit) -> Option<u64>) -> Self {
                let [$($name),+] = LIMITS.each_ref().map(value);
                Self { $($name: $name.map(LimitValue::of),)+ }
            }

            /// Returns the requested value of a limit.
            pub fn get(&self, limit: &Limit) -> Option<u64> {
                match limit.name {
                    $(stringify!($name) => self.$name.map(LimitValue::number),)+
                    _ => None,
                }
            }

            /// Returns these limits, with the omitted ones taken from `base`.
            pub fn over(self, base: Limits) -> Limits {
                Limits { $($name: self.$name.unwrap_or(base.$name),)+ }
            }

            /// Returns these limits, with the omitted ones taken from `other`.
            #[must_use]
            pub fn or(self, other: Self) -> Self {
                Self { $($name: self.$name.or(other.$name),)+ }
            }
        }

        #[allow(non_camel_case_types, reason = "the variants are the names of the limits")]
        enum Row { $($name),+ }

        impl Limit {
            $(
                #[doc = concat!("Returns the definition of `", stringify!($name), "`.")]
                pub fn $name() -> &'static Self {
                    &LIMITS[Row::$name as usize]
                }
            )+
        }

        /// All limits, in the order in which [`Limits`] has them.
        pub static LIMITS: [Limit; [$(stringify!($name)),+].len()] = [$(
            Limit {
                name: stringify!($name),
                field: concat!("limits.", stringify!($name)),
                unit: <$type as LimitValue>::UNIT,
                default: $default,
                local_default: $local,
                min: $min,
                max: $max,
                flag: $flag,
                help: $help,
                details: limits!(@details $($details)?),
                description: $description,
            },
        )+];
    };

    (@details) => { None };
    (@details $details:tt) => { Some($details) };
}

limits! {
    /// Wall-clock time from activation to the end of the run. Default 30 s.
    timeout_ms: Millis {
        default: 30_000, local: 30_000, min: 1, max: WEEK_MS, ceiling: DAY_MS,
        flag: "timeout", help: "Limit the wall-clock time",
        description: "Wall-clock time, milliseconds.",
    }
    /// CPU time (user and system) of all processes of the run together. Default 10 s.
    cpu_ms: Millis {
        default: 10_000, local: 10_000, min: 1, max: WEEK_MS, ceiling: DAY_MS,
        flag: "cpu", help: "Limit the CPU time of all processes together",
        description: "CPU time of all processes, milliseconds.",
    }
    /// Memory of all processes of the run together, including files in its `/tmp` and home folder.
    /// Default 256 MB.
    memory_bytes: Bytes {
        default: 256 * MIB, local: GIB, min: 8 * MIB, max: TIB, ceiling: TIB,
        flag: "memory", help: "Limit the memory of all processes together",
        description: "Memory of all processes, bytes.",
    }
    /// Maximum number of concurrent processes and threads. Default 64.
    processes: u32 {
        default: 64, local: 64, min: 1, max: 32_768, ceiling: 32_768,
        flag: "processes", help: "Limit the number of processes and threads",
        description: "Concurrent processes and threads.",
    }
    /// Bytes in `/tmp`, the home folder and `/dev/shm` together, and the same number again in
    /// granted folders. Default 64 MB.
    disk_bytes: Bytes {
        default: 64 * MIB, local: 512 * MIB, min: 64 << 10, max: TIB, ceiling: TIB,
        flag: "disk", help: "Limit the bytes written to /tmp and the home folder",
        details: "The same number of bytes can be written to granted folders.",
        description: "Bytes in files that the program writes.",
    }
    /// Files and folders in `/tmp`, the home folder and `/dev/shm` together, and the same number
    /// again in granted folders. Default 10,000.
    files: u32 {
        // Each file takes a kilobyte of the kernel's memory.
        default: 10_000, local: 10_000, min: 16, max: 100_000_000, ceiling: 1_000_000,
        flag: "max-files", help: "Limit the files created in /tmp and the home folder",
        details: "The same number of files can be created in granted folders.",
        description: "Files that the program creates.",
    }
    /// Bytes of standard output, standard error and rich results together. Default 1 MB.
    output_bytes: Bytes {
        // A server holds several copies of output and results.
        default: MIB, local: MIB, min: 1, max: GIB, ceiling: 64 * MIB,
        flag: "output-limit", help: "Limit the output",
        details: "Standard output, standard error and displayed results count together.",
        description: "Bytes of logs and displayed results.",
    }
    /// Open file descriptors of each process. Default 256.
    open_files: u32 {
        // Each takes memory of the kernel that no control group counts.
        default: 256, local: 256, min: 32, max: 65_536, ceiling: 4096,
        flag: "open-files", help: "Limit the open files of each process",
        description: "Open files of each process.",
    }
    /// Bytes of the result as JSON. Default 10 MB.
    result_bytes: Bytes {
        default: 10 * MIB, local: 10 * MIB, min: 2, max: GIB, ceiling: 64 * MIB,
        flag: "result-limit", help: "Limit the size of the result as JSON",
        description: "Bytes of the value as JSON.",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_is_typed_with_its_largest_unit() {
        for (unit, value, shown) in [
            (LimitUnit::Time, 30_000, "30s"),
            (LimitUnit::Time, 1500, "1500ms"),
            (LimitUnit::Size, 256 << 20, "256M"),
            (LimitUnit::Size, 1000, "1000"),
            (LimitUnit::Count, 10_000, "10000"),
        ] {
            assert_eq!(unit.typed(value), shown);
        }
    }

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
        assert_eq!(
            error.to_string(),
            "limits.timeout_ms is 0, but must be between 1 and 604800000"
        );
        assert_eq!(
            Limits { memory_bytes: Bytes(u64::MAX), ..Limits::default() }
                .validate()
                .unwrap_err()
                .limit
                .name,
            "memory_bytes"
        );
    }

    #[test]
    fn unknown_and_negative_fields_are_refused() {
        assert!(
            serde_json::from_str::<Limits>(r#"{"memory": 1}"#)
                .unwrap_err()
                .to_string()
                .contains("memory")
        );
        assert!(serde_json::from_str::<Limits>(r#"{"processes": -1}"#).is_err());
    }

    #[test]
    fn the_table_and_the_types_agree() {
        let ranges = Limits::MIN.each().zip(Limits::MAX.each());
        for (((limit, default), ((_, min), (_, max))), (_, ceiling)) in
            Limits::default().each().zip(ranges).zip(Limits::PROJECT_CEILING.each())
        {
            assert_eq!((limit.default, limit.min, limit.max), (default, min, max), "{limit:?}");
            assert!((default..=max).contains(&limit.local_default), "{limit:?}");
            assert!((min..=max).contains(&default) && (default..=max).contains(&ceiling));
        }
        let json = serde_json::to_value(Limits::default()).unwrap();
        for limit in &LIMITS {
            assert_eq!(json[limit.name], limit.default, "{limit:?}");
            let requested =
                RequestedLimits::from_each(|other| (other == limit).then_some(limit.max));
            let json = serde_json::to_value(requested).unwrap();
            assert_eq!(json, serde_json::json!({(limit.name): limit.max}));
        }
    }
}
