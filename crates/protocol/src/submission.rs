//! What is asked of the service: a program to run, and how the caller wants to hear of it.

use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::depth::nests_too_deep;
use crate::language::{Language, RuntimeName};
use crate::limits::RequestedLimits;
use crate::outcome::Status;
use crate::packages::PackageOptions;
use crate::policy::Policy;
use crate::request::{Finish, ProgramFile, ProgramName, StartMode};

/// The body of `POST /v1/runs`. Either `code`, or `files` and which of them is the `entry`; everything else has a default.
///
/// ```
/// let submission: belljar_protocol::RunSubmission = serde_json::from_str(
///     r#"{"language": "python", "code": "6 * 7", "parameters": {"city": "Oslo"}, "limits": {"timeout_ms": 5000}, "wait": true}"#,
/// ).unwrap();
/// assert!(submission.check().is_ok());
/// assert!(serde_json::from_str::<belljar_protocol::RunSubmission>(r#"{"language": "python", "source": "1"}"#).is_err());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[cfg_attr(feature = "openapi", schema(example = json!({"language": "javascript", "code": "1 + 1", "wait": true})))]
#[serde(deny_unknown_fields)]
pub struct RunSubmission {
    /// What it is written in.
    pub language: Language,
    /// The program, where it is one text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Files that the run starts with. With `code` they lie beside it; without, `entry` names the program among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SubmittedFile>,
    /// What the program is called in its working folder. Default `main.js`, `main.ts` or `main.py`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<ProgramName>,
    /// Which runtime, `node@22`; the language's default when none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub runtime: Option<RuntimeName>,
    /// What `main` is called with. Default `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub parameters: Option<Box<RawValue>>,
    /// What follows the program in `process.argv` and `sys.argv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// What its standard input gives.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Files to hand back besides those in `outputs/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ProgramName>,
    /// Packages from `PyPI` or npm, in their own notation: `pandas==2.2`, `lodash@4`. They are added to what its manifest names and its code imports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// How its packages are to be had.
    #[serde(default, skip_serializing_if = "PackageOptions::is_default")]
    pub package_options: PackageOptions,
    /// What it may touch. Default: all that the project's ceiling allows for storage, and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// What it may use. What is left out has its default, or the ceiling's where that is less.
    #[serde(default)]
    pub limits: RequestedLimits,
    /// When it is over.
    #[serde(default)]
    pub finish: Finish,
    /// Makes its randomness repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// How its sandbox comes to be.
    #[serde(default)]
    pub start: StartMode,
    /// Whether it is run again by the service itself, and after what.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// Where its end is told, by a signed `POST`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
    /// Names and values to find it by: at most 16, each at most 128 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// A word for people, at most 1,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Who goes first where runs wait.
    #[serde(default)]
    pub priority: Priority,
    /// A repeated request with the same key, within a day, gets the first one's run. At most 128 bytes; the header `Idempotency-Key` says the same.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// `true`: answer with the outcome; a number: the same, but wait at most so many milliseconds; else answer at once with the run's record.
    #[serde(default, skip_serializing_if = "Wait::is_no")]
    pub wait: Wait,
}

/// A file that a run starts with: exactly one of `content`, `content_base64` and `object`.
///
/// ```
/// let file: belljar_protocol::SubmittedFile = serde_json::from_str(r#"{"path": "data.csv", "content": "a,b\n1,2\n"}"#).unwrap();
/// assert_eq!(file.path.as_str(), "data.csv");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubmittedFile {
    /// Where, relative to the working folder.
    pub path: ProgramName,
    /// What is in it, text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// What is in it, bytes in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// The object in storage whose content it has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

/// Whether a run is run again by the service itself.
///
/// ```
/// let retry: belljar_protocol::Retry = serde_json::from_str(r#"{"attempts": 3}"#).unwrap();
/// assert!(retry.covers(belljar_protocol::Status::Interrupted));
/// assert!(!retry.covers(belljar_protocol::Status::Failed));
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Retry {
    /// How often it is run at most, the first time included: 1 to 10.
    pub attempts: u32,
    /// After which ends. Default `interrupted` and `crashed`.
    #[serde(default = "Retry::default_ends")]
    pub on: Vec<Status>,
    /// Milliseconds until the next attempt, doubled each time. Default 1,000, at most an hour.
    #[serde(default = "Retry::default_backoff")]
    pub backoff_ms: u64,
}

impl Retry {
    fn default_ends() -> Vec<Status> {
        vec![Status::Interrupted, Status::Crashed]
    }

    fn default_backoff() -> u64 {
        1000
    }

    /// Whether a run that ended so is run again, while attempts are left.
    pub fn covers(&self, status: Status) -> bool {
        self.on.contains(&status)
    }
}

/// Where the end of a run is told.
///
/// ```
/// let callback: belljar_protocol::Callback = serde_json::from_str(r#"{"url": "https://example.com/done"}"#).unwrap();
/// assert_eq!(callback.url, "https://example.com/done");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// An `https` or `http` address. It gets the run's record with its outcome, signed in `Belljar-Signature`.
    pub url: String,
}

/// Who goes first where runs wait.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// Somebody waits for it.
    #[default]
    Interactive,
    /// Nobody does.
    Scheduled,
}

/// How long a caller waits for the outcome. In JSON `true`, `false` or a number of milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Not at all.
    #[default]
    No,
    /// Until the end.
    UntilTheEnd,
    /// So many milliseconds at most.
    AtMostMs(u64),
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Wait {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
        OneOfBuilder::new()
            .item(ObjectBuilder::new().schema_type(Type::Boolean))
            .item(ObjectBuilder::new().schema_type(Type::Integer).minimum(Some(0)).maximum(Some(u32::MAX)))
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Wait {}

impl Wait {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde asks with a reference")]
    fn is_no(&self) -> bool {
        *self == Self::No
    }
}

impl Serialize for Wait {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::No => serializer.serialize_bool(false),
            Self::UntilTheEnd => serializer.serialize_bool(true),
            Self::AtMostMs(ms) => serializer.serialize_u64(*ms),
        }
    }
}

impl<'de> Deserialize<'de> for Wait {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Visitor;
        impl serde::de::Visitor<'_> for Visitor {
            type Value = Wait;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("true, false or a number of milliseconds")
            }

            fn visit_bool<E>(self, yes: bool) -> Result<Wait, E> {
                Ok(if yes { Wait::UntilTheEnd } else { Wait::No })
            }

            fn visit_u64<E: serde::de::Error>(self, ms: u64) -> Result<Wait, E> {
                if ms > u64::from(u32::MAX) {
                    return Err(E::custom("wait is at most 4294967295 milliseconds"));
                }
                Ok(Wait::AtMostMs(ms))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// A submission that cannot be meant.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubmission {
    /// Neither code nor files.
    #[error("there is no program: give it as `code`, or as one of `files` and name it in `entry`")]
    NoProgram,
    /// The entry point is no file of the run.
    #[error("entry: `{0}` is not among the files of the run")]
    NoEntry(String),
    /// Two files of one name.
    #[error("files: `{0}` is there twice")]
    Twice(String),
    /// A file with no content, or several.
    #[error("files: `{0}` needs exactly one of content, content_base64 and object")]
    Content(String),
    /// Base64 that is none.
    #[error("files: the content_base64 of `{0}` is not base64")]
    Base64(String),
    /// A field that is too long, too many, or empty.
    #[error("{field}: {why}")]
    Field {
        /// Which.
        field: &'static str,
        /// What is wrong, and what is right.
        why: String,
    },
}

impl RunSubmission {
    /// A program in one text, and nothing else.
    pub fn new(language: Language, code: impl Into<String>) -> Self {
        Self {
            language,
            code: Some(code.into()),
            files: Vec::new(),
            entry: None,
            runtime: None,
            parameters: None,
            arguments: Vec::new(),
            stdin: None,
            outputs: Vec::new(),
            packages: Vec::new(),
            package_options: PackageOptions::default(),
            policy: None,
            limits: RequestedLimits::default(),
            finish: Finish::default(),
            seed: None,
            start: StartMode::default(),
            retry: None,
            callback: None,
            labels: BTreeMap::new(),
            comment: None,
            priority: Priority::default(),
            idempotency_key: None,
            wait: Wait::default(),
        }
    }

    /// The program's name in its working folder.
    ///
    /// # Panics
    /// Never: the default names are plain.
    pub fn entry_name(&self) -> ProgramName {
        self.entry.clone().unwrap_or_else(|| ProgramName::try_from(self.language.default_entry()).expect("the default names are plain"))
    }

    /// Checks what can be checked by looking at it alone.
    pub fn check(&self) -> Result<(), InvalidSubmission> {
        let field = |field, why: &str| InvalidSubmission::Field { field, why: why.to_owned() };
        let entry = self.entry_name();
        let mut names: Vec<&str> = self.files.iter().map(|file| file.path.as_str()).collect();
        match (&self.code, names.contains(&entry.as_str())) {
            (Some(_), true) => return Err(InvalidSubmission::Twice(entry.as_str().to_owned())),
            (None, false) if self.files.is_empty() => return Err(InvalidSubmission::NoProgram),
            (None, false) => return Err(InvalidSubmission::NoEntry(entry.as_str().to_owned())),
            _ => {}
        }
        names.sort_unstable();
        if let Some(twice) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(InvalidSubmission::Twice(twice[0].to_owned()));
        }
        for file in &self.files {
            let given = [file.content.is_some(), file.content_base64.is_some(), file.object.is_some()];
            if given.iter().filter(|given| **given).count() != 1 {
                return Err(InvalidSubmission::Content(file.path.as_str().to_owned()));
            }
        }
        if self.packages.len() > 256 || self.packages.iter().any(|package| package.len() > 512 || package.chars().any(char::is_control)) {
            return Err(field("packages", "at most 256 of them, each at most 512 bytes and without control characters"));
        }
        if self.parameters.as_ref().is_some_and(|json| nests_too_deep(json.get())) {
            return Err(field("parameters", "they nest deeper than 120 levels"));
        }
        if self.labels.len() > 16 {
            return Err(field("labels", "at most 16 of them"));
        }
        for (name, value) in &self.labels {
            let plain = |text: &str| text.len() <= 128 && !text.chars().any(char::is_control);
            if name.is_empty() || name.contains(':') || !plain(name) || !plain(value) {
                return Err(field(
                    "labels",
                    "names and values have at most 128 bytes and no control characters, names at least one and no `:`",
                ));
            }
        }
        if self.comment.as_ref().is_some_and(|comment| comment.len() > 1000) {
            return Err(field("comment", "at most 1,000 bytes"));
        }
        if self.idempotency_key.as_ref().is_some_and(|key| key.is_empty() || key.len() > 128 || key.chars().any(char::is_control)) {
            return Err(field("idempotency_key", "1 to 128 bytes, no control characters"));
        }
        if let Some(retry) = &self.retry {
            if !(1..=10).contains(&retry.attempts) {
                return Err(field("retry.attempts", "1 to 10"));
            }
            if retry.backoff_ms > 3_600_000 {
                return Err(field("retry.backoff_ms", "at most 3600000, an hour"));
            }
            if retry.on.iter().any(|status| matches!(status, Status::Succeeded | Status::Cancelled | Status::Refused)) {
                return Err(field("retry.on", "a run that succeeded, was cancelled or refused is not run again"));
            }
        }
        Ok(())
    }
}

impl SubmittedFile {
    /// What is in it; `None` when an object has it.
    pub fn bytes(&self) -> Result<Option<Vec<u8>>, InvalidSubmission> {
        Ok(match (&self.content, &self.content_base64) {
            (Some(text), _) => Some(text.clone().into_bytes()),
            (None, Some(encoded)) => Some(
                base64::engine::general_purpose::STANDARD
                    .decode(encoded)
                    .map_err(|_| InvalidSubmission::Base64(self.path.as_str().to_owned()))?,
            ),
            (None, None) => None,
        })
    }

    /// A file of a run with this content.
    pub fn with(&self, content: Vec<u8>) -> ProgramFile {
        ProgramFile { path: self.path.clone(), content }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn submission(json: &str) -> RunSubmission {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_program_is_code_or_one_of_the_files() {
        for (json, expected) in [
            (r#"{"language": "python"}"#, Err(InvalidSubmission::NoProgram)),
            (r#"{"language": "python", "files": [{"path": "a.py", "content": "1"}]}"#, Err(InvalidSubmission::NoEntry("main.py".into()))),
            (r#"{"language": "python", "entry": "a.py", "files": [{"path": "a.py", "content": "1"}]}"#, Ok(())),
            (
                r#"{"language": "python", "code": "1", "files": [{"path": "main.py", "content": "1"}]}"#,
                Err(InvalidSubmission::Twice("main.py".into())),
            ),
            (
                r#"{"language": "python", "code": "1", "files": [{"path": "a", "content": "1", "object": "a"}]}"#,
                Err(InvalidSubmission::Content("a".into())),
            ),
        ] {
            assert_eq!(submission(json).check(), expected, "{json}");
        }
    }

    #[test]
    fn waiting_is_said_by_a_word_or_a_number() {
        for (json, wait) in [("true", Wait::UntilTheEnd), ("false", Wait::No), ("250", Wait::AtMostMs(250))] {
            assert_eq!(serde_json::from_str::<Wait>(json).unwrap(), wait);
            assert_eq!(serde_json::to_string(&wait).unwrap(), json);
        }
        for bad in ["-1", "\"yes\"", "1.5", "null", "99999999999"] {
            assert!(serde_json::from_str::<Wait>(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_submission_is_read_as_it_was_written() {
        let json = r#"{"language":"javascript","code":"1","parameters":{"a":1.0},"limits":{"timeout_ms":5},"finish":"idle","start":"auto","labels":{"team":"a"},"priority":"scheduled","wait":7}"#;
        assert_eq!(serde_json::to_string(&submission(json)).unwrap(), json);
    }
}
