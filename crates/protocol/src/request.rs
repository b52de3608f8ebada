//! The request for a run, as the engine takes it.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::explain::Explain;
use crate::language::{Language, RuntimeName};
use crate::limits::Limits;
use crate::names;
use crate::policy::Policy;

/// The path of a file in a sandbox, relative to its working folder. It has at most 1,024 bytes, no
/// `..` and no control characters, and is not absolute.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct ProgramName(String);

/// An invalid name of a file in a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` is not a valid file name: {why}")]
pub struct InvalidName {
    /// The name, cut to a printable length.
    pub name: String,
    /// The rule that the name breaks.
    pub why: &'static str,
}

impl Explain for InvalidName {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some("use a relative path such as data/in.csv".into())
    }
}

impl ProgramName {
    /// Returns the name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProgramName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        // File systems limit the length of each part.
        let too_long = || {
            name.split('/')
                .any(|part| part.len() > 255)
                .then_some("a part of it is longer than 255 bytes")
        };
        match names::fault(&name).or_else(too_long) {
            None => Ok(Self(name)),
            Some(why) => Err(InvalidName { name: names::printable(&name), why }),
        }
    }
}

impl TryFrom<&str> for ProgramName {
    type Error = InvalidName;

    fn try_from(name: &str) -> Result<Self, InvalidName> {
        Self::try_from(name.to_owned())
    }
}

impl<'de> Deserialize<'de> for ProgramName {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Self::try_from(String::deserialize(deserializer)?).map_err(serde::de::Error::custom)
    }
}

/// A file that is in the working folder when the run starts.
#[derive(Clone, Debug)]
pub struct ProgramFile {
    /// Path of the file, relative to the working folder.
    pub path: ProgramName,
    /// Content of the file.
    pub content: Vec<u8>,
}

/// The condition on which a run ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Finish {
    /// The run ends when the result is available and no timers, I/O or threads are pending.
    #[default]
    Idle,
    /// The run ends as soon as the result is available.
    Settled,
}

/// The way in which the caller wants the sandbox to be started.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StartMode {
    /// Fork a zygote if this runtime and this machine allow it, else start a new process.
    #[default]
    Auto,
    /// Fork a zygote, and refuse the run if that is not possible.
    Fork,
    /// Start a new process, which has an address layout of its own.
    Exec,
}

/// The request to run one program once.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// Language of the program.
    pub language: Language,
    /// Runtime to use, or `None` for the default runtime of the language.
    pub runtime: Option<RuntimeName>,
    /// Name of the program among `files`.
    pub entry: ProgramName,
    /// All files of the run, including the program.
    pub files: Vec<ProgramFile>,
    /// JSON argument of the program's `main` function.
    pub parameters: Box<RawValue>,
    /// Arguments that follow the program's name in `process.argv` and `sys.argv`.
    pub arguments: Vec<String>,
    /// Content of standard input.
    pub stdin: Vec<u8>,
    /// Names of files to return in addition to those in `outputs/`.
    pub outputs: Vec<ProgramName>,
    /// Access rights of the run.
    pub policy: Policy,
    /// Resource limits of the run.
    pub limits: Limits,
    /// Condition on which the run ends.
    pub finish: Finish,
    /// Seed that makes the program's random numbers repeatable.
    pub seed: Option<u32>,
    /// Way in which the sandbox is started.
    pub start: StartMode,
}

impl RunRequest {
    /// Returns a request for a program in one file, with the default parameters, policy and limits.
    pub fn new(language: Language, code: impl Into<Vec<u8>>) -> Self {
        let entry = ProgramName(language.default_entry().to_owned());
        Self {
            language,
            runtime: None,
            files: vec![ProgramFile { path: entry.clone(), content: code.into() }],
            entry,
            parameters: Self::no_parameters(),
            arguments: Vec::new(),
            stdin: Vec::new(),
            outputs: Vec::new(),
            policy: Policy::default(),
            limits: Limits::default(),
            finish: Finish::default(),
            seed: None,
            start: StartMode::default(),
        }
    }

    /// Returns the default parameters, an empty JSON object.
    pub fn no_parameters() -> Box<RawValue> {
        RawValue::from_string("{}".to_owned()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in
            ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\nb", "a\0b", "a\u{7f}"]
        {
            assert!(ProgramName::try_from(bad).is_err(), "{bad:?}");
        }
        for good in ["a", "data/in.csv", "..a", "a..", "ünïcode.txt", ".hidden"] {
            assert!(ProgramName::try_from(good).is_ok(), "{good:?}");
        }
        assert!(ProgramName::try_from("a/".repeat(600) + "b").is_err());
    }

    proptest! {
        #[test]
        fn an_accepted_name_stays_beneath_its_folder(name in "[a./\\\\\0]{0,12}") {
            if let Ok(name) = ProgramName::try_from(name) {
                let mut depth = 0_i32;
                for part in std::path::Path::new(name.as_str()).components() {
                    prop_assert!(matches!(part, std::path::Component::Normal(_)));
                    depth += 1;
                }
                prop_assert!(depth > 0);
            }
        }
    }
}
