//! The most that runs may be given, and the one rule by which a request is held to it. What is wider is refused and named, never quietly cut.
//!
//! Paths are compared by their words here, and nothing looks at the machine. What a path leads to is decided once, by the engine, when a run starts: the
//! ceiling's own path was opened when the ceiling was set, and what a request names is opened beneath that, through no link. A path within a folder
//! that runs may write cannot be asked for at all ([`Ceiling::narrow`]), and the ceiling's own grants must not lie in such a folder either
//! ([`Ceiling::validate`]): a program could put something else in their place.

use crate::limits::{InvalidLimit, Limits};
use crate::policy::{InvalidPolicy, Policy};
use crate::units::{Bytes, Millis};

/// The most that runs may be given.
///
/// ```
/// use belljar_protocol::{Ceiling, Limits, Policy};
///
/// let policy: Policy = serde_json::from_str(r#"{"fs": {"read": ["/data"]}, "exec": true}"#).unwrap();
/// let ceiling = Ceiling { policy, limits: Limits::default() };
/// let asked: Policy = serde_json::from_str(r#"{"fs": {"read": ["/data/2026"]}}"#).unwrap();
/// let (policy, _) = ceiling.narrow(Some(&asked), None).unwrap();
/// assert_eq!(policy, asked);
/// let asked: Policy = serde_json::from_str(r#"{"fs": {"read": ["/etc"]}}"#).unwrap();
/// assert_eq!(
///     ceiling.narrow(Some(&asked), None).unwrap_err().to_string(),
///     r#"policy.fs.read: "/etc" is more than the ceiling allows, which is ["/data"]"#,
/// );
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ceiling {
    /// The most that they may touch.
    pub policy: Policy,
    /// The most that they may use.
    pub limits: Limits,
}

/// A request that is wider than the ceiling.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {asked} is more than the ceiling allows, which is {allowed}")]
pub struct Widened {
    /// Which field of the request: `policy.fs.read`, `limits.memory_bytes`.
    pub field: &'static str,
    /// What was asked for.
    pub asked: String,
    /// What may be.
    pub allowed: String,
}

/// A ceiling that does not hold what it says.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidCeiling {
    /// Its policy cannot be meant.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// Its limits cannot be meant.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// A grant in a folder that runs may write: one of them could put a link in its place, and the next would be granted what that leads to.
    #[error(
        "policy.fs: {inner} lies in {outer}, which programs may write; grant {outer} alone, or {inner} and no folder around it for writing"
    )]
    Nested {
        /// The grant within.
        inner: String,
        /// The grant for writing around it.
        outer: String,
    },
}

impl Ceiling {
    /// Checks that it holds from one run to the next, by the words alone. The engine, which opens the paths, looks at what they lead to.
    pub fn validate(&self) -> Result<(), InvalidCeiling> {
        self.policy.validate()?;
        self.limits.validate()?;
        for outer in &self.policy.fs.write {
            for inner in self.policy.fs.read.iter().chain(&self.policy.fs.write) {
                if is_within(inner, outer) {
                    return Err(InvalidCeiling::Nested { inner: inner.clone(), outer: outer.clone() });
                }
            }
        }
        Ok(())
    }

    /// What a run gets that asks for no limits: the defaults, or the ceiling's where those are less.
    pub fn default_limits(&self) -> Limits {
        let (default, most) = (Limits::default(), &self.limits);
        Limits {
            timeout_ms: default.timeout_ms.min(most.timeout_ms),
            cpu_ms: default.cpu_ms.min(most.cpu_ms),
            memory_bytes: default.memory_bytes.min(most.memory_bytes),
            processes: default.processes.min(most.processes),
            disk_bytes: default.disk_bytes.min(most.disk_bytes),
            files: default.files.min(most.files),
            output_bytes: default.output_bytes.min(most.output_bytes),
            open_files: default.open_files.min(most.open_files),
            result_bytes: default.result_bytes.min(most.result_bytes),
        }
    }

    /// What a run gets: what it asks for, where all of that is within the ceiling. One that asks for no policy gets the ceiling's, which was granted
    /// for this purpose; one that asks for no limits gets [`Ceiling::default_limits`].
    pub fn narrow(&self, policy: Option<&Policy>, limits: Option<&Limits>) -> Result<(Policy, Limits), Widened> {
        if let Some(policy) = policy {
            self.check_policy(policy)?;
        }
        if let Some(limits) = limits {
            self.check_limits(limits)?;
        }
        Ok((policy.unwrap_or(&self.policy).clone(), limits.copied().unwrap_or_else(|| self.default_limits())))
    }

    /// What may be read: what may be written, too.
    fn readable(&self) -> Vec<String> {
        self.policy.fs.read.iter().chain(&self.policy.fs.write).cloned().collect()
    }

    fn check_policy(&self, asked: &Policy) -> Result<(), Widened> {
        let most = &self.policy;
        let within_writable = |path: &String| most.fs.write.iter().any(|folder| is_within(path, folder));
        each("policy.fs.read", &asked.fs.read, &self.readable(), |path, granted| {
            path == granted || is_within(path, granted) && !within_writable(path)
        })?;
        // Within a folder that may be written nothing is granted by itself.
        each("policy.fs.write", &asked.fs.write, &most.fs.write, |path, granted| path == granted)?;
        each("policy.net", &asked.net, &most.net, |host, granted| host == granted)?;
        each("policy.secrets", &asked.secrets, &most.secrets, |name, granted| name == granted)?;
        each("policy.storage.read", &asked.storage.read, &most.storage.read, |prefix, granted| prefix.starts_with(granted.as_str()))?;
        each("policy.storage.write", &asked.storage.write, &most.storage.write, |prefix, granted| prefix.starts_with(granted.as_str()))?;
        for (name, value) in &asked.env {
            if most.env.get(name) != Some(value) {
                // The values are the operator's, and may be private.
                let names: Vec<&String> = most.env.keys().collect();
                let asked = if most.env.contains_key(name) { format!("another value of {name:?}") } else { format!("{name:?}") };
                return Err(Widened { field: "policy.env", asked, allowed: format!("{names:?} with the operator's values") });
            }
        }
        for (field, asked, most) in [("policy.exec", asked.exec, most.exec), ("policy.loopback", asked.loopback, most.loopback)] {
            if asked && !most {
                return Err(Widened { field, asked: "true".into(), allowed: "false".into() });
            }
        }
        Ok(())
    }

    fn check_limits(&self, asked: &Limits) -> Result<(), Widened> {
        let most = &self.limits;
        let time = |value: u64| format!("{value} ({})", Millis(value));
        let size = |value: u64| format!("{value} ({})", Bytes(value));
        let count = |value: u64| value.to_string();
        let shown: [&dyn Fn(u64) -> String; 3] = [&time, &size, &count];
        for (field, asked, most, shown) in [
            ("limits.timeout_ms", asked.timeout_ms.0, most.timeout_ms.0, shown[0]),
            ("limits.cpu_ms", asked.cpu_ms.0, most.cpu_ms.0, shown[0]),
            ("limits.memory_bytes", asked.memory_bytes.0, most.memory_bytes.0, shown[1]),
            ("limits.processes", u64::from(asked.processes), u64::from(most.processes), shown[2]),
            ("limits.disk_bytes", asked.disk_bytes.0, most.disk_bytes.0, shown[1]),
            ("limits.files", u64::from(asked.files), u64::from(most.files), shown[2]),
            ("limits.output_bytes", asked.output_bytes.0, most.output_bytes.0, shown[1]),
            ("limits.open_files", u64::from(asked.open_files), u64::from(most.open_files), shown[2]),
            ("limits.result_bytes", asked.result_bytes.0, most.result_bytes.0, shown[1]),
        ] {
            if asked > most {
                return Err(Widened { field, asked: shown(asked), allowed: format!("at most {}", shown(most)) });
            }
        }
        Ok(())
    }
}

fn each(field: &'static str, asked: &[String], granted: &[String], allows: impl Fn(&String, &String) -> bool) -> Result<(), Widened> {
    match asked.iter().find(|asked| !granted.iter().any(|granted| allows(asked, granted))) {
        Some(asked) => Err(Widened { field, asked: format!("{asked:?}"), allowed: format!("{granted:?}") }),
        None => Ok(()),
    }
}

/// Whether a path lies in a folder, by the words alone. One with `.`, `..` or nothing between two slashes lies nowhere.
fn is_within(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder)
        .and_then(|rest| rest.strip_prefix('/'))
        .is_some_and(|rest| rest.split('/').all(|part| !part.is_empty() && part != "." && part != ".."))
}

#[cfg(test)]
mod tests;
