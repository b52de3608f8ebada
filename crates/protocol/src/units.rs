//! Sizes and durations. On the wire they are plain integers; on the command line they may have a
//! unit, as in `64MB` and `5s`.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// A number of bytes. Parses `4096`, `64K`, `64KB`, `64KiB`, `1.5G`. Every unit is a power of 1024,
/// as is usual for memory and disk limits (`docker run --memory`, systemd).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = u64))]
pub struct Bytes(pub u64);

/// A duration in whole milliseconds. Parses `250ms`, `5s`, `1.5m`, `2h`. A number without a unit is
/// in seconds, as for `timeout(1)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = u64))]
pub struct Millis(pub u64);

/// A size or duration that cannot be parsed. Its message ends with an example, because command-line
/// parsers show nothing but the message.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidUnit {
    /// A text that does not begin with a number.
    #[error("`{0}` is not a number with a unit: expected {1}")]
    NotANumber(String, &'static str),
    /// A number below zero.
    #[error("`{0}` is negative: expected {1}")]
    Negative(String, &'static str),
    /// An unknown unit.
    #[error("`{unit}` in `{text}` is not a unit: expected {example}")]
    UnknownUnit {
        /// The whole text.
        text: String,
        /// The part of the text that is not a unit.
        unit: String,
        /// An example of a valid text.
        example: &'static str,
    },
    /// A value that does not fit into 64 bits.
    #[error("`{0}` is too large")]
    TooLarge(String),
}

const BYTES_EXAMPLE: &str = "a size such as 65536, 64K, 128M or 1.5G";
const MILLIS_EXAMPLE: &str = "a time such as 250ms, 5s, 1.5m or 2h";

fn parse_with_units(
    text: &str,
    default_scale: u64,
    units: &[(&str, u64)],
    example: &'static str,
) -> Result<u64, InvalidUnit> {
    let trimmed = text.trim();
    if trimmed
        .strip_prefix('-')
        .is_some_and(|rest| rest.starts_with(|c: char| c.is_ascii_digit() || c == '.'))
    {
        return Err(InvalidUnit::Negative(text.to_owned(), example));
    }
    let unit_start =
        trimmed.find(|c: char| !(c.is_ascii_digit() || c == '.')).unwrap_or(trimmed.len());
    let (number, unit) = trimmed.split_at(unit_start);
    if number.is_empty() {
        return Err(InvalidUnit::NotANumber(text.to_owned(), example));
    }
    let unit = unit.trim();
    let scale = if unit.is_empty() {
        default_scale
    } else {
        let lower = unit.to_ascii_lowercase();
        units.iter().find(|(name, _)| *name == lower).map(|(_, scale)| *scale).ok_or_else(|| {
            InvalidUnit::UnknownUnit { text: text.to_owned(), unit: unit.to_owned(), example }
        })?
    };
    if let Ok(whole) = number.parse::<u64>() {
        return whole.checked_mul(scale).ok_or_else(|| InvalidUnit::TooLarge(text.to_owned()));
    }
    if number.bytes().all(|b| b.is_ascii_digit()) {
        return Err(InvalidUnit::TooLarge(text.to_owned()));
    }
    let fraction: f64 =
        number.parse().map_err(|_| InvalidUnit::NotANumber(text.to_owned(), example))?;
    let scaled = fraction * scale as f64;
    if scaled >= u64::MAX as f64 {
        return Err(InvalidUnit::TooLarge(text.to_owned()));
    }
    Ok(scaled as u64)
}

impl FromStr for Bytes {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        const K: u64 = 1024;
        let units = [
            ("b", 1),
            ("k", K),
            ("kb", K),
            ("kib", K),
            ("m", K * K),
            ("mb", K * K),
            ("mib", K * K),
            ("g", K * K * K),
            ("gb", K * K * K),
            ("gib", K * K * K),
        ];
        parse_with_units(text, 1, &units, BYTES_EXAMPLE).map(Bytes)
    }
}

impl FromStr for Millis {
    type Err = InvalidUnit;

    fn from_str(text: &str) -> Result<Self, InvalidUnit> {
        let units = [
            ("ms", 1),
            ("s", 1000),
            ("m", 60_000),
            ("min", 60_000),
            ("h", 3_600_000),
            ("d", 86_400_000),
        ];
        parse_with_units(text, 1000, &units, MILLIS_EXAMPLE).map(Millis)
    }
}

impl fmt::Display for Bytes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (scale, name) in [(1 << 30, "GB"), (1 << 20, "MB"), (1 << 10, "KB")] {
            if self.0 >= scale {
                let value = self.0 as f64 / scale as f64;
                let digits = usize::from(value.fract() != 0.0);
                return write!(f, "{value:.digits$} {name}");
            }
        }
        write!(f, "{} B", self.0)
    }
}

impl fmt::Display for Millis {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0 < 1000 {
            write!(f, "{} ms", self.0)
        } else {
            write!(f, "{} s", self.0 as f64 / 1000.0)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sizes_are_read_as_people_write_them() {
        for (text, bytes) in [
            ("0", 0),
            ("4096", 4096),
            ("64K", 65_536),
            ("64 kb", 65_536),
            ("128M", 134_217_728),
            ("1.5GiB", 1_610_612_736),
        ] {
            assert_eq!(text.parse::<Bytes>().unwrap(), Bytes(bytes), "{text}");
        }
    }

    #[test]
    fn times_are_read_as_people_write_them() {
        for (text, ms) in [
            ("5", 5000),
            ("250ms", 250),
            ("5s", 5000),
            ("1.5m", 90_000),
            ("2h", 7_200_000),
            ("30d", 2_592_000_000),
        ] {
            assert_eq!(text.parse::<Millis>().unwrap(), Millis(ms), "{text}");
        }
    }

    #[test]
    fn what_is_wrong_is_named() {
        assert_eq!(
            "12 parsecs".parse::<Millis>().unwrap_err().to_string(),
            "`parsecs` in `12 parsecs` is not a unit: expected a time such as 250ms, 5s, 1.5m or 2h"
        );
        assert!(matches!("-5M".parse::<Bytes>(), Err(InvalidUnit::Negative(..))));
        assert!(matches!("".parse::<Bytes>(), Err(InvalidUnit::NotANumber(..))));
        assert!(matches!("M".parse::<Bytes>(), Err(InvalidUnit::NotANumber(..))));
        assert!(matches!("--json".parse::<Bytes>(), Err(InvalidUnit::NotANumber(..))));
        assert!(matches!("1.2.3M".parse::<Bytes>(), Err(InvalidUnit::NotANumber(..))));
        assert!(matches!("99999999999999999999".parse::<Bytes>(), Err(InvalidUnit::TooLarge(..))));
        assert!(matches!("99999999999999999G".parse::<Bytes>(), Err(InvalidUnit::TooLarge(..))));
    }

    proptest! {
        #[test]
        fn no_text_makes_the_parsers_panic(text in ".{0,40}") {
            let _ = text.parse::<Bytes>();
            let _ = text.parse::<Millis>();
        }

        #[test]
        fn plain_numbers_are_themselves(n in 0_u64..u64::MAX / 1000) {
            prop_assert_eq!(n.to_string().parse::<Bytes>().unwrap(), Bytes(n));
            prop_assert_eq!(format!("{n}ms").parse::<Millis>().unwrap(), Millis(n));
        }
    }
}
