//! The submission of a run to the service: the program, and how the caller wants to receive the
//! outcome.

use std::borrow::Cow;
use std::collections::BTreeMap;

use base64::Engine as _;
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::value::RawValue;

use crate::depth::{MAX_JSON_DEPTH, nests_too_deep};
use crate::explain::Explain;
use crate::language::{Language, RuntimeName};
use crate::limits::RequestedLimits;
use crate::outcome::Status;
use crate::packages::PackageOptions;
use crate::policy::Policy;
use crate::request::{Finish, ProgramFile, ProgramName, StartMode};
use crate::variables::Variables;

/// The body of `POST /v1/runs`. It needs either `code`, or `files` with the program's name in
/// `entry`. Everything else has a default.
///
/// ```
/// use belljar_protocol::RunSubmission;
///
/// let submission: RunSubmission = serde_json::from_str(r#"{
///   "language": "javascript",
///   "code": "export default ({prices}) => ({total: prices[0] + prices[1]})",
///   "parameters": {"prices": [18, 23]},
///   "limits": {"timeout_ms": 5000},
///   "wait": true
/// }"#).unwrap();
/// assert!(submission.check().is_ok());
/// let unknown_field = r#"{"language": "python", "source": "1"}"#;
/// assert!(serde_json::from_str::<RunSubmission>(unknown_field).is_err());
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct RunSubmission {
    /// Language of the program.
    pub language: Language,
    /// Text of the program, if it is a single file.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub code: Option<String>,
    /// Files in the working folder when the run starts. With `code` they are next to the program;
    /// without `code`, `entry` names the program among them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub files: Vec<SubmittedFile>,
    /// Name of the program in its working folder. Default `main.js`, `main.ts` or `main.py`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub entry: Option<ProgramName>,
    /// Runtime to use, such as `node@22`. Default: the default runtime of the language.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<String>))]
    pub runtime: Option<RuntimeName>,
    /// Argument of the program's `main` function. Default `{}`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[cfg_attr(feature = "openapi", schema(value_type = Option<serde_json::Value>))]
    pub parameters: Option<Box<RawValue>>,
    /// Environment variables of the program: the caller's own data, at most 256 KB. The values are
    /// in no record, event or search. The server keeps them, encrypted, until the run has ended.
    #[serde(default, skip_serializing_if = "is_empty")]
    pub env: Variables,
    /// Arguments that follow the program's name in `process.argv` and `sys.argv`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub arguments: Vec<String>,
    /// Content of the program's standard input.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stdin: Option<String>,
    /// Names of files to return in addition to those in `outputs/`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub outputs: Vec<ProgramName>,
    /// Packages from `PyPI` or npm, in the notation of their registry: `pandas==2.2`, `lodash@4`.
    /// They are added to the packages that the manifest names and the code imports.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub packages: Vec<String>,
    /// Options for resolving and installing packages.
    #[serde(default, skip_serializing_if = "PackageOptions::is_default")]
    pub package_options: PackageOptions,
    /// Access rights of the run. Default: everything that the project's ceiling allows for storage,
    /// and nothing else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub policy: Option<Policy>,
    /// Resource limits of the run. An omitted limit has its default value, or the ceiling's value
    /// where that is lower.
    #[serde(default)]
    pub limits: RequestedLimits,
    /// Condition on which the run ends.
    #[serde(default)]
    pub finish: Finish,
    /// Seed that makes the program's random numbers repeatable.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seed: Option<u32>,
    /// Way in which the sandbox is started.
    #[serde(default)]
    pub start: StartMode,
    /// Statuses after which the service runs the program again, and how often.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub retry: Option<Retry>,
    /// URL to which the service sends a signed `POST` when the run has ended.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub callback: Option<Callback>,
    /// Names and values to search for: at most 16, each at most 128 bytes.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub labels: BTreeMap<String, String>,
    /// Comment shown in listings, at most 1,000 bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub comment: Option<String>,
    /// Priority in the queue.
    #[serde(default)]
    pub priority: Priority,
    /// Idempotency key, at most 128 bytes. A repeated request with the same key within a day
    /// returns the run of the first one. The header `Idempotency-Key` has the same effect.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub idempotency_key: Option<String>,
    /// `true`: answer with the outcome. A number: the same, but wait at most that many
    /// milliseconds. Otherwise: answer at once with the run's record.
    #[serde(default, skip_serializing_if = "Wait::is_no")]
    pub wait: Wait,
}

fn is_empty(variables: &Variables) -> bool {
    variables.is_empty()
}

/// The body of `POST /v1/runs/{id}/rerun`, which may be omitted.
///
/// ```
/// let body: belljar_protocol::Rerun =
///     serde_json::from_str(r#"{"env": {"API_KEY": "abc123"}}"#).unwrap();
/// assert_eq!(body.env["API_KEY"], "abc123");
/// ```
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(default, deny_unknown_fields)]
pub struct Rerun {
    /// The values of all environment variables that the run had in `env`, because its record has
    /// only their names.
    #[serde(skip_serializing_if = "is_empty")]
    pub env: Variables,
}

/// A file that is in the working folder when a run starts. It has exactly one of `content`,
/// `content_base64` and `object`.
///
/// ```
/// let file: belljar_protocol::SubmittedFile =
///     serde_json::from_str(r#"{"path": "data.csv", "content": "a,b\n1,2\n"}"#).unwrap();
/// assert_eq!(file.path.as_str(), "data.csv");
/// ```
#[derive(Clone, Debug, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct SubmittedFile {
    /// Path of the file, relative to the working folder.
    pub path: ProgramName,
    /// Content of the file as text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content: Option<String>,
    /// Content of the file in base64.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub content_base64: Option<String>,
    /// Name of the object in storage that holds the content.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
}

/// The conditions on which the service runs a program again.
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
    /// Maximum number of attempts, including the first one: 1 to 10.
    pub attempts: u32,
    /// Statuses after which the service tries again. Default `interrupted` and `crashed`.
    #[serde(default = "Retry::default_statuses")]
    pub on: Vec<Status>,
    /// Milliseconds until the next attempt, doubled for each further one. Default 1,000, at most an
    /// hour.
    #[serde(default = "Retry::default_backoff")]
    pub backoff_ms: u64,
}

impl Retry {
    fn default_statuses() -> Vec<Status> {
        vec![Status::Interrupted, Status::Crashed]
    }

    fn default_backoff() -> u64 {
        1000
    }

    /// Returns whether the service tries again after a run with this status, as long as attempts
    /// are left.
    pub fn covers(&self, status: Status) -> bool {
        self.on.contains(&status)
    }
}

/// The URL that is notified when a run has ended.
///
/// ```
/// let callback: belljar_protocol::Callback =
///     serde_json::from_str(r#"{"url": "https://example.com/done"}"#).unwrap();
/// assert_eq!(callback.url, "https://example.com/done");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(deny_unknown_fields)]
pub struct Callback {
    /// An `https` or `http` URL. It receives the run's record with its outcome, and a signature in
    /// the header `Belljar-Signature`.
    pub url: String,
}

/// The priority of a run in the queue.
#[derive(
    Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[cfg_attr(feature = "openapi", derive(utoipa::ToSchema))]
#[serde(rename_all = "lowercase")]
pub enum Priority {
    /// A person or a program is waiting for the outcome. Such runs start first.
    #[default]
    Interactive,
    /// Nothing is waiting for the outcome.
    Scheduled,
}

/// The time for which a caller waits for the outcome. In JSON `true`, `false` or a number of
/// milliseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Wait {
    /// Do not wait.
    #[default]
    No,
    /// Wait until the run ends.
    UntilTheEnd,
    /// Wait at most this many milliseconds.
    AtMostMs(u64),
}

#[cfg(feature = "openapi")]
impl utoipa::PartialSchema for Wait {
    fn schema() -> utoipa::openapi::RefOr<utoipa::openapi::Schema> {
        use utoipa::openapi::schema::{ObjectBuilder, OneOfBuilder, Type};
        OneOfBuilder::new()
            .description(Some(
                "The time for which a caller waits for the outcome: `true` for any time, `false` \
                 for none, or a number of milliseconds.",
            ))
            .item(ObjectBuilder::new().schema_type(Type::Boolean))
            .item(
                ObjectBuilder::new()
                    .schema_type(Type::Integer)
                    .minimum(Some(0))
                    .maximum(Some(u32::MAX)),
            )
            .into()
    }
}

#[cfg(feature = "openapi")]
impl utoipa::ToSchema for Wait {}

impl Wait {
    #[allow(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
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
                    return Err(E::custom("`wait` exceeds the maximum of 4294967295 milliseconds"));
                }
                Ok(Wait::AtMostMs(ms))
            }
        }
        deserializer.deserialize_any(Visitor)
    }
}

/// An invalid submission.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSubmission {
    /// The submission has neither code nor files.
    #[error("the submission contains no program")]
    NoProgram,
    /// The entry is not one of the submitted files.
    #[error("entry: `{0}` is not one of the submitted files")]
    NoEntry(String),
    /// Two files have the same name.
    #[error("files: `{0}` is listed twice")]
    Twice(String),
    /// A file has no content, or more than one.
    #[error("files: `{0}` needs exactly one of content, content_base64 and object")]
    Content(String),
    /// The `content_base64` of a file is not base64.
    #[error("files: the content_base64 of `{0}` is not valid base64")]
    Base64(String),
    /// A field is too long, too short or has too many entries.
    #[error("{field}: {why}")]
    Field {
        /// Name of the field.
        field: &'static str,
        /// The rule that the value breaks.
        why: String,
    },
}

impl Explain for InvalidSubmission {
    fn hint(&self) -> Option<Cow<'_, str>> {
        Some(Cow::Borrowed(match self {
            Self::NoProgram => "send it as `code`, or as one of `files` and name it in `entry`",
            Self::NoEntry(_) => "add the file, or name another one in `entry`",
            Self::Twice(_) => "rename or remove one of the two files",
            Self::Content(_) | Self::Base64(_) | Self::Field { .. } => return None,
        }))
    }
}

impl RunSubmission {
    /// Returns a submission with the program as its only field.
    pub fn new(language: Language, code: impl Into<String>) -> Self {
        Self {
            language,
            code: Some(code.into()),
            files: Vec::new(),
            entry: None,
            runtime: None,
            parameters: None,
            env: Variables::default(),
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

    fn is_in_policy(&self, variable: &str) -> bool {
        self.policy.as_ref().is_some_and(|policy| policy.env.contains_key(variable))
    }

    /// Returns the name of the program in its working folder.
    ///
    /// # Panics
    /// Never: the default names are valid.
    pub fn entry_name(&self) -> ProgramName {
        self.entry.clone().unwrap_or_else(|| {
            ProgramName::try_from(self.language.default_entry())
                .expect("the default names are valid")
        })
    }

    /// Checks everything that depends on the submission alone.
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
            let given =
                [file.content.is_some(), file.content_base64.is_some(), file.object.is_some()];
            if given.iter().filter(|given| **given).count() != 1 {
                return Err(InvalidSubmission::Content(file.path.as_str().to_owned()));
            }
        }
        if self.packages.len() > 256
            || self
                .packages
                .iter()
                .any(|package| package.len() > 512 || package.chars().any(char::is_control))
        {
            return Err(field(
                "packages",
                "expected at most 256, each at most 512 bytes long and without control characters",
            ));
        }
        if self.parameters.as_ref().is_some_and(|json| nests_too_deep(json.get())) {
            let why = format!("the JSON is nested deeper than {MAX_JSON_DEPTH} levels");
            return Err(field("parameters", &why));
        }
        self.env.check().map_err(|error| field("env", &error.to_string()))?;
        if let Some(name) = self.env.keys().find(|name| self.is_in_policy(name)) {
            return Err(field("env", &format!("`{name}` is also in policy.env")));
        }
        if self.labels.len() > 16 {
            return Err(field("labels", "expected at most 16"));
        }
        for (name, value) in &self.labels {
            let plain = |text: &str| text.len() <= 128 && !text.chars().any(char::is_control);
            if name.is_empty() || name.contains(':') || !plain(name) || !plain(value) {
                return Err(field(
                    "labels",
                    "names and values must have at most 128 bytes and no control characters, and \
                     names at least one byte and no `:`",
                ));
            }
        }
        if self.comment.as_ref().is_some_and(|comment| comment.len() > 1000) {
            return Err(field("comment", "expected at most 1,000 bytes"));
        }
        if self.idempotency_key.as_ref().is_some_and(|key| {
            key.is_empty() || key.len() > 128 || key.chars().any(char::is_control)
        }) {
            let why = "expected 1 to 128 bytes without control characters";
            return Err(field("idempotency_key", why));
        }
        if let Some(retry) = &self.retry {
            if !(1..=10).contains(&retry.attempts) {
                return Err(field("retry.attempts", "expected 1 to 10"));
            }
            if retry.backoff_ms > 3_600_000 {
                return Err(field("retry.backoff_ms", "expected at most 3600000 (an hour)"));
            }
            if retry.on.iter().any(|status| {
                matches!(status, Status::Succeeded | Status::Cancelled | Status::Refused)
            }) {
                return Err(field(
                    "retry.on",
                    "a run that succeeded, was cancelled or was refused cannot be retried",
                ));
            }
        }
        Ok(())
    }
}

impl SubmittedFile {
    /// Returns the content of the file, or `None` if the content is in an object.
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

    /// Returns a file of a run with this path and the given content.
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
            (
                r#"{"language": "python", "files": [{"path": "a.py", "content": "1"}]}"#,
                Err(InvalidSubmission::NoEntry("main.py".into())),
            ),
            (
                r#"{"language": "python", "entry": "a.py", "files": [{"path": "a.py", "content": "1"}]}"#,
                Ok(()),
            ),
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
    fn variables_are_either_the_callers_or_of_the_policy() {
        for (json, expected) in [
            (r#""env": {"A": "1"}, "policy": {"env": {"B": "1"}}"#, Ok(())),
            (
                r#""env": {"A": "1"}, "policy": {"env": {"A": "1"}}"#,
                Err("`A` is also in policy.env"),
            ),
            (r#""env": {"A=": "1"}"#, Err("`A=` is not a valid name of an environment variable")),
        ] {
            let json = format!(r#"{{"language": "python", "code": "1", {json}}}"#);
            let expected = expected
                .map_err(|why: &str| InvalidSubmission::Field { field: "env", why: why.into() });
            assert_eq!(submission(&json).check(), expected, "{json}");
        }
    }

    #[test]
    fn waiting_is_said_by_a_word_or_a_number() {
        for (json, wait) in
            [("true", Wait::UntilTheEnd), ("false", Wait::No), ("250", Wait::AtMostMs(250))]
        {
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
