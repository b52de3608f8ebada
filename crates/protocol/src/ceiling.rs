//! The ceiling of a run: the widest policy and the highest limits it may request. A request that
//! exceeds the ceiling is refused with the name of the field; it is never cut down silently.
//!
//! This module compares paths as text and does not look at the machine. The engine resolves a path
//! once, when a run starts: it opened the ceiling's own path when the ceiling was set, and opens a
//! requested path beneath that descriptor without following symbolic links. A request cannot name a
//! path inside a folder that runs may write ([`Ceiling::check`]), and the ceiling's own grants
//! must not be inside such a folder either ([`Ceiling::validate`]), because a program could replace
//! them.

use std::borrow::Cow;

use crate::explain::Explain;
use crate::limits::{InvalidLimit, Limit, LimitUnit, Limits};
use crate::policy::{InvalidPolicy, Policy};

/// The widest policy and the highest limits that runs may request.
///
/// ```
/// use belljar_protocol::{Ceiling, Limits, Policy};
///
/// let policy: Policy =
///     serde_json::from_str(r#"{"fs": {"read": ["/data"]}, "exec": true}"#).unwrap();
/// let ceiling = Ceiling { policy, limits: Limits::default() };
/// let asked: Policy = serde_json::from_str(r#"{"fs": {"read": ["/data/2026"]}}"#).unwrap();
/// assert!(ceiling.check(&asked, &Limits::default()).is_ok());
/// let asked: Policy = serde_json::from_str(r#"{"fs": {"read": ["/etc"]}}"#).unwrap();
/// assert_eq!(
///     ceiling.check(&asked, &Limits::default()).unwrap_err().to_string(),
///     r#"policy.fs.read: "/etc" is more than the ceiling allows, which is ["/data"]"#,
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// The widest policy.
    pub policy: Policy,
    /// The highest value of each limit.
    pub limits: Limits,
}

/// A request that exceeds the ceiling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {asked} is more than the ceiling allows, which is {allowed}")]
pub struct Widened {
    /// The field of the request: `policy.fs.read`, `limits.memory_bytes`.
    pub field: &'static str,
    /// The requested value, as text.
    pub asked: String,
    /// The value or values that the ceiling allows, as text.
    pub allowed: String,
}

impl Explain for Widened {
    /// Returns `None`: the interface through which the request came decides who can raise the
    /// ceiling, so that interface adds the hint.
    fn hint(&self) -> Option<Cow<'_, str>> {
        None
    }
}

/// An invalid ceiling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCeiling {
    /// The policy is invalid.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A limit is out of range.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// A grant inside a folder that runs may write. One run could replace it with a symbolic link,
    /// and the next run would be granted the target of that link.
    #[error("policy.fs: `{inner}` is inside `{outer}`, which programs may write")]
    Nested {
        /// The inner path.
        inner: String,
        /// The writable folder that contains it.
        outer: String,
    },
}

impl Explain for InvalidCeiling {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Policy(error) => error.hint(),
            Self::Limit(error) => error.hint(),
            Self::Nested { inner, outer } => Some(
                format!(
                    "grant only {outer}, or grant {inner} and make no folder around it writable"
                )
                .into(),
            ),
        }
    }
}

impl Ceiling {
    /// Checks that no run can change what the ceiling grants to the next one, by comparing paths as
    /// text. The engine checks what the paths resolve to.
    pub fn validate(&self) -> Result<(), InvalidCeiling> {
        self.policy.validate()?;
        self.limits.validate()?;
        for outer in &self.policy.fs.write {
            for inner in self.policy.fs.read.iter().chain(&self.policy.fs.write) {
                if is_within(inner, outer) {
                    return Err(InvalidCeiling::Nested {
                        inner: inner.clone(),
                        outer: outer.clone(),
                    });
                }
            }
        }
        Ok(())
    }

    /// Checks that a policy and limits are within this ceiling. It does not matter whether they are
    /// valid in themselves.
    pub fn check(&self, policy: &Policy, limits: &Limits) -> Result<(), Widened> {
        self.check_policy(policy)?;
        self.check_limits(limits)
    }

    /// Returns all readable paths. A writable path is readable, too.
    fn readable(&self) -> Vec<String> {
        self.policy.fs.read.iter().chain(&self.policy.fs.write).cloned().collect()
    }

    fn check_policy(&self, asked: &Policy) -> Result<(), Widened> {
        let most = &self.policy;
        let within_writable =
            |path: &String| most.fs.write.iter().any(|folder| is_within(path, folder));
        each("policy.fs.read", &asked.fs.read, &self.readable(), |path, granted| {
            path == granted || is_within(path, granted) && !within_writable(path)
        })?;
        // A path inside a writable folder cannot be granted separately.
        each("policy.fs.write", &asked.fs.write, &most.fs.write, |path, granted| path == granted)?;
        each("policy.net", &asked.net, &most.net, |host, granted| host == granted)?;
        each("policy.secrets", &asked.secrets, &most.secrets, |name, granted| name == granted)?;
        each("policy.storage.read", &asked.storage.read, &most.storage.read, |prefix, granted| {
            prefix.starts_with(granted.as_str())
        })?;
        each(
            "policy.storage.write",
            &asked.storage.write,
            &most.storage.write,
            |prefix, granted| prefix.starts_with(granted.as_str()),
        )?;
        for (name, value) in &asked.env {
            if most.env.get(name) != Some(value) {
                // The message must not show values: the operator set them, and they may be private.
                let names: Vec<&String> = most.env.keys().collect();
                let asked = if most.env.contains_key(name) {
                    format!("another value of {name:?}")
                } else {
                    format!("{name:?}")
                };
                return Err(Widened {
                    field: "policy.env",
                    asked,
                    allowed: format!("{names:?} with the operator's values"),
                });
            }
        }
        for (field, is_more) in [
            ("policy.exec", asked.exec > most.exec),
            ("policy.loopback", asked.network > most.network),
        ] {
            if is_more {
                return Err(Widened { field, asked: "true".into(), allowed: "false".into() });
            }
        }
        Ok(())
    }

    fn check_limits(&self, asked: &Limits) -> Result<(), Widened> {
        for ((limit, asked), (_, most)) in asked.each().zip(self.limits.each()) {
            if asked > most {
                return Err(Widened {
                    field: limit.field,
                    asked: shown(limit, asked),
                    allowed: format!("at most {}", shown(limit, most)),
                });
            }
        }
        Ok(())
    }
}

/// Returns the value of a limit as it is in JSON, and in a readable unit if it has one.
fn shown(limit: &Limit, value: u64) -> String {
    match limit.unit {
        LimitUnit::Count => value.to_string(),
        unit => format!("{value} ({})", unit.display(value)),
    }
}

fn each(
    field: &'static str,
    asked: &[String],
    granted: &[String],
    allows: impl Fn(&String, &String) -> bool,
) -> Result<(), Widened> {
    match asked.iter().find(|asked| !granted.iter().any(|granted| allows(asked, granted))) {
        Some(asked) => {
            Err(Widened { field, asked: format!("{asked:?}"), allowed: format!("{granted:?}") })
        }
        None => Ok(()),
    }
}

/// Returns whether a path is inside a folder, comparing text only. A path with a `.`, `..` or empty
/// component is inside no folder.
fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).and_then(|rest| rest.strip_prefix('/')).is_some_and(|rest| {
        rest.split('/').all(|part| !part.is_empty() && part != "." && part != "..")
    })
}

#[cfg(test)]
mod tests;
