//! What a run asks for.

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;

use crate::language::{Language, RuntimeName};
use crate::limits::Limits;
use crate::names;
use crate::policy::Policy;

/// A file's path inside a sandbox, relative to its working folder: no `..`, no absolute path, no control characters, at most 1,024 bytes.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(transparent)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(value_type = String))]
pub struct ProgramName(String);

/// A file name that cannot be used inside a sandbox.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{name}` cannot name a file of a run: {why}; use a relative path such as data/in.csv")]
pub struct InvalidName {
    /// The name, cut to a printable length.
    pub name: String,
    /// What is wrong with it.
    pub why: &'static str,
}

impl ProgramName {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl TryFrom<String> for ProgramName {
    type Error = InvalidName;

    fn try_from(name: String) -> Result<Self, InvalidName> {
        // Of a file system, which has the last word about each part.
        let too_long = || name.split('/').any(|part| part.len() > 255).then_some("a part of it is longer than 255 bytes");
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

/// A file that the run starts with, in its working folder.
#[derive(Clone, Debug)]
pub struct ProgramFile {
    /// Where.
    pub path: ProgramName,
    /// What is in it.
    pub content: Vec<u8>,
}

/// When a run is over.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum Finish {
    /// When the result is settled and nothing is pending.
    #[default]
    Idle,
    /// As soon as the result is settled.
    Settled,
}

/// Which start the caller wants.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
pub enum StartMode {
    /// `fork` where this runtime and this machine allow it, else `exec`.
    #[default]
    Auto,
    /// A fork of a zygote, or a refusal.
    Fork,
    /// A process of its own, with an address layout of its own.
    Exec,
}

/// One program to run once.
#[derive(Clone, Debug)]
pub struct RunRequest {
    /// What it is written in.
    pub language: Language,
    /// Which runtime; the language's default when none.
    pub runtime: Option<RuntimeName>,
    /// Which of `files` is the program.
    pub entry: ProgramName,
    /// The program and all that lies beside it.
    pub files: Vec<ProgramFile>,
    /// What `main` is called with, JSON.
    pub parameters: Box<RawValue>,
    /// What follows the program in `process.argv` and `sys.argv`.
    pub arguments: Vec<String>,
    /// What standard input gives, then its end.
    pub stdin: Vec<u8>,
    /// Files to hand back besides those in `outputs/`.
    pub outputs: Vec<ProgramName>,
    /// What it may touch.
    pub policy: Policy,
    /// What it may use.
    pub limits: Limits,
    /// When it is over.
    pub finish: Finish,
    /// Makes its randomness repeatable.
    pub seed: Option<u32>,
    /// How its sandbox comes to be.
    pub start: StartMode,
}

impl RunRequest {
    /// A program in one file, with no parameters, grants or limits but the default ones.
    pub fn new(language: Language, code: impl Into<Vec<u8>>) -> Self {
        let entry = ProgramName(language.default_entry().to_owned());
        Self {
            language,
            runtime: None,
            files: vec![ProgramFile { path: entry.clone(), content: code.into() }],
            entry,
            parameters: RawValue::from_string("{}".to_owned()).unwrap_or_default(),
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
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn names_that_lead_elsewhere_are_refused() {
        for bad in ["", "/etc/passwd", "..", "a/../b", "a//b", "a/", "./a", "a\nb", "a\0b", "a\u{7f}"] {
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
