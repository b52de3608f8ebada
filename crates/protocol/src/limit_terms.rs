//! The terms on which a run has its limits: who set each of them, and how far it can be raised.
//! Errors and hints about a limit come from here, in the words of the caller who reads them.

use crate::limits::{LIMITS, Limit, LimitUnit, Limits, RequestedLimits};

/// The reader of a run's errors and hints: its caller.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Audience {
    /// A person or a script with the flags of the command line.
    CommandLine,
    /// A client of the HTTP API.
    #[default]
    Api,
    /// A language model that calls a tool.
    Model,
}

/// The terms on which a run has its limits. By default nothing was requested, and every limit can
/// be raised up to [`Limits::MAX`].
#[derive(Clone, Copy, Debug)]
pub struct LimitTerms {
    /// Reader of the errors and hints.
    pub audience: Audience,
    /// Limits that the caller set, with flags or with fields of its request.
    pub requested: RequestedLimits,
    /// Limits that a policy file set.
    pub of_file: RequestedLimits,
    /// Limits of a run that requests none.
    pub defaults: Limits,
    /// Highest limits that the caller can request.
    pub most: Limits,
}

impl Default for LimitTerms {
    fn default() -> Self {
        let (requested, of_file) = (RequestedLimits::default(), RequestedLimits::default());
        let (audience, defaults) = (Audience::default(), Limits::default());
        Self { audience, requested, of_file, defaults, most: Limits::MAX }
    }
}

impl LimitTerms {
    /// Returns the source of a limit's value, such as `set by --memory` or `the default`.
    pub fn source(&self, limit: &Limit, value: u64) -> String {
        let set = |limits: &RequestedLimits| limits.get(limit).is_some();
        if set(&self.requested) {
            return match self.audience {
                Audience::CommandLine => format!("set by --{}", limit.flag),
                Audience::Api | Audience::Model => format!("set by {}", limit.field),
            };
        }
        if set(&self.of_file) {
            return "set by the policy file".to_owned();
        }
        // Without a request, a value below the default can only come from the ceiling.
        if value == self.most.get(limit) && value < self.defaults.get(limit) {
            return self.ceiling().to_owned();
        }
        "the default".to_owned()
    }

    /// Returns how to raise a limit, with a value to try, or `instead` if the limit is already as
    /// high as this caller can set it.
    pub fn advice(&self, limit: &Limit, value: u64, instead: &str) -> String {
        self.advice_for(limit, value, value.saturating_mul(2), instead)
    }

    /// Returns how to raise a limit so that it covers a use that is known.
    pub fn advice_for(&self, limit: &Limit, value: u64, needed: u64, instead: &str) -> String {
        let most = self.most.get(limit);
        if value >= most || needed > most && value.saturating_mul(2) < needed {
            let most = limit.unit.display(most);
            return match self.audience {
                Audience::CommandLine => format!("{instead}: the limit can be at most {most}"),
                Audience::Api => format!(
                    "{instead}: {} allows at most {most}, and only its operator can raise that",
                    self.ceiling()
                ),
                Audience::Model => format!("{instead}: {} allows at most {most}", self.ceiling()),
            };
        }
        let suggested = rounded(limit.unit, needed).min(most);
        match self.audience {
            Audience::CommandLine => {
                format!("try --{} {}", limit.flag, limit.unit.typed(suggested))
            }
            Audience::Api | Audience::Model => match limit.unit {
                LimitUnit::Count => format!("try {}: {suggested}", limit.field),
                unit => format!("try {}: {suggested} ({})", limit.field, unit.display(suggested)),
            },
        }
    }

    /// Returns the words for the limits that the caller cannot exceed.
    fn ceiling(&self) -> &'static str {
        match self.audience {
            Audience::CommandLine => "this machine",
            Audience::Api => "the project's ceiling",
            Audience::Model => "the ceiling of this server",
        }
    }
}

/// Returns a value that is easy to read and type: sizes are powers of two, times whole seconds.
fn rounded(unit: LimitUnit, value: u64) -> u64 {
    match unit {
        LimitUnit::Size => value.checked_next_power_of_two().unwrap_or(value),
        LimitUnit::Time if value >= 1000 => value.div_ceil(1000).saturating_mul(1000),
        LimitUnit::Time | LimitUnit::Count => value,
    }
}

/// Returns a hint that suggests fields of a request as one that suggests flags: `limits.disk_bytes:
/// 268435456 (256 MB)` becomes `--disk 256M`, and `limits.disk_bytes` becomes `--disk`.
pub fn hint_with_flags(hint: &str) -> String {
    let mut text = hint.to_owned();
    for limit in &LIMITS {
        let flag = format!("--{}", limit.flag);
        if let Some(typed) = with_typed_value(&text, limit, &flag) {
            text = typed;
        }
        text = text.replace(&format!("{} ({flag})", limit.field), &flag);
        text = text.replace(limit.field, &flag);
    }
    text
}

/// Returns a hint with the flag of a limit and a value in place of its field and the value.
fn with_typed_value(hint: &str, limit: &Limit, flag: &str) -> Option<String> {
    let (before, rest) = hint.split_once(&format!("{}: ", limit.field))?;
    let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
    let value = rest[..digits].parse().ok()?;
    let readable = format!(" ({})", limit.unit.display(value));
    let after = rest[digits..].strip_prefix(&readable).unwrap_or(&rest[digits..]);
    Some(format!("{before}{flag} {}{after}", limit.unit.typed(value)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory() -> &'static Limit {
        LIMITS.iter().find(|limit| limit.name == "memory_bytes").unwrap()
    }

    fn terms(audience: Audience) -> LimitTerms {
        LimitTerms { audience, ..LimitTerms::default() }
    }

    #[test]
    fn a_hint_names_what_its_reader_can_set() {
        let advice = |audience| terms(audience).advice(memory(), 100 << 20, "use less");
        assert_eq!(advice(Audience::CommandLine), "try --memory 256M");
        assert_eq!(advice(Audience::Api), "try limits.memory_bytes: 268435456 (256 MB)");
        assert_eq!(hint_with_flags(&advice(Audience::Api)), advice(Audience::CommandLine));
        assert_eq!(hint_with_flags("request a lower limits.disk_bytes"), "request a lower --disk");
        assert_eq!(hint_with_flags("raise limits.disk_bytes (--disk)"), "raise --disk");
    }

    #[test]
    fn no_value_above_the_ceiling_is_suggested() {
        let most: Limits = serde_json::from_str(r#"{"memory_bytes": 150000000}"#).unwrap();
        let defaults = Limits::LOCAL;
        let terms = LimitTerms { defaults, most, ..terms(Audience::Model) };
        assert_eq!(
            terms.advice(memory(), 100_000_000, "use less"),
            "try limits.memory_bytes: 150000000 (143.1 MB)"
        );
        assert_eq!(
            terms.advice(memory(), 150_000_000, "use less"),
            "use less: the ceiling of this server allows at most 143.1 MB"
        );
        assert_eq!(terms.source(memory(), 150_000_000), "the ceiling of this server");
    }

    #[test]
    fn a_source_is_a_request_a_file_or_the_default() {
        let set: RequestedLimits = serde_json::from_str(r#"{"memory_bytes": 100}"#).unwrap();
        let flags = LimitTerms { requested: set, ..terms(Audience::CommandLine) };
        assert_eq!(flags.source(memory(), 100), "set by --memory");
        let field = LimitTerms { requested: set, ..terms(Audience::Api) };
        assert_eq!(field.source(memory(), 100), "set by limits.memory_bytes");
        let file = LimitTerms { of_file: set, ..terms(Audience::CommandLine) };
        assert_eq!(file.source(memory(), 100), "set by the policy file");
        assert_eq!(terms(Audience::Api).source(memory(), 256 << 20), "the default");
    }
}
