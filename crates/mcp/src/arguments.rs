//! The arguments of `run_code`, and the run that they request.

use std::borrow::Cow;

use belljar_protocol::{
    Ceiling, Explain, Finish, InvalidSubmission, Language, Limits, Policy, ProgramName,
    RequestedLimits, RunSubmission, SubmittedFile, UnknownLanguage, Widened,
};
use belljar_runner::{ContentsError, InvalidAccess, OmittedPolicy, Permit, RequestedAccess};
use serde::Deserialize;
use serde_json::value::RawValue;

/// The arguments of a call.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Arguments {
    language: String,
    code: String,
    #[serde(default)]
    entry: Option<ProgramName>,
    #[serde(default)]
    parameters: Option<serde_json::Value>,
    #[serde(default)]
    files: Option<Vec<SubmittedFile>>,
    #[serde(default)]
    stdin: Option<String>,
    #[serde(default)]
    outputs: Option<Vec<ProgramName>>,
    #[serde(default)]
    packages: Option<Vec<String>>,
    #[serde(default)]
    packages_only: bool,
    #[serde(default)]
    finish: Option<Finish>,
    #[serde(default)]
    policy: Option<Policy>,
    #[serde(default)]
    limits: Option<RequestedLimits>,
}

/// An error that prevents a run. The model sees it and can correct its call.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidArguments {
    /// The arguments do not match the schema.
    #[error("invalid arguments: {field}{why}")]
    Shape { field: String, why: serde_json::Error },
    /// The language is unknown.
    #[error("language: {0}")]
    Language(#[from] UnknownLanguage),
    /// The program and its files are not valid together.
    #[error(transparent)]
    Submission(#[from] InvalidSubmission),
    /// The content of a file is invalid, or in an object in storage.
    #[error(transparent)]
    Contents(#[from] ContentsError),
    /// The policy or a limit is invalid.
    #[error(transparent)]
    Access(#[from] InvalidAccess),
    /// The request exceeds the ceiling.
    #[error(transparent)]
    Widened(#[from] Widened),
}

impl Explain for InvalidArguments {
    fn hint(&self) -> Option<Cow<'_, str>> {
        match self {
            Self::Shape { .. } | Self::Language(_) => None,
            Self::Submission(error) => error.hint(),
            Self::Contents(error) => error.hint(),
            Self::Access(error) => error.hint(),
            Self::Widened(_) => Some(
                "request less, or leave the field out (the operator who started this server sets \
                 the ceiling)"
                    .into(),
            ),
        }
    }
}

/// Permits the access that a submission requests, if it is within the ceiling and valid. An omitted
/// policy is that of the ceiling.
pub(crate) fn permit(
    submission: &RunSubmission,
    ceiling: &Ceiling,
    defaults: Limits,
) -> Result<Permit, InvalidArguments> {
    let access = RequestedAccess::of(submission, ceiling, OmittedPolicy::WholeCeiling, defaults);
    // The ceiling comes first: the schema shows a model its bounds, and not those of validity.
    let permit = access.permit()?;
    access.validate()?;
    Ok(permit)
}

/// Returns the run that a call requests.
pub(crate) fn submission(arguments: serde_json::Value) -> Result<RunSubmission, InvalidArguments> {
    let given: Arguments = serde_path_to_error::deserialize(arguments).map_err(|error| {
        let path = error.path().to_string();
        // At the top level, the error itself names the field.
        let field = if path == "." { String::new() } else { format!("{path}: ") };
        InvalidArguments::Shape { field, why: error.into_inner() }
    })?;
    let language: Language = given.language.parse()?;
    let mut submission = RunSubmission::new(language, given.code);
    submission.entry = given.entry;
    submission.files = given.files.unwrap_or_default();
    submission.parameters = given
        .parameters
        .map(|parameters| RawValue::from_string(parameters.to_string()).unwrap_or_default());
    submission.stdin = given.stdin;
    submission.outputs = given.outputs.unwrap_or_default();
    submission.packages = given.packages.unwrap_or_default();
    submission.package_options.only = given.packages_only;
    submission.finish = given.finish.unwrap_or_default();
    submission.policy = given.policy;
    submission.limits = given.limits.unwrap_or_default();
    submission.check()?;
    Ok(submission)
}

#[cfg(test)]
mod tests {
    use belljar_runner::Contents;
    use serde_json::json;

    use super::*;

    struct RequestedRun {
        submission: RunSubmission,
        contents: Contents,
        permit: Permit,
    }

    fn requested_run(
        arguments: serde_json::Value,
        ceiling: &Ceiling,
        defaults: Limits,
    ) -> Result<RequestedRun, InvalidArguments> {
        let submission = submission(arguments)?;
        let contents = Contents::of(&submission, [])?;
        let permit = permit(&submission, ceiling, defaults)?;
        Ok(RequestedRun { submission, contents, permit })
    }

    fn refused(arguments: serde_json::Value) -> String {
        requested_run(arguments, &Ceiling::default(), Limits::default())
            .err()
            .expect("invalid arguments")
            .to_string()
    }

    #[test]
    fn an_invalid_argument_is_named_with_its_path() {
        for (arguments, words) in [
            (json!({"code": "1"}), "missing field `language`"),
            (json!({"language": "python"}), "missing field `code`"),
            (json!({"language": "ruby", "code": "1"}), "`ruby` is not a language"),
            (json!({"language": "python", "code": "1", "package": []}), "unknown field `package`"),
            (json!({"language": "python", "code": 1}), "code: invalid type"),
            (
                json!({"language": "python", "code": "1", "limits": {"timeout_ms": "5s"}}),
                "limits.timeout_ms: invalid type",
            ),
            (
                json!({"language": "python", "code": "1", "limits": {"timeout_ms": 0}}),
                "limits.timeout_ms is 0",
            ),
            (
                json!({"language": "python", "code": "1", "limits": {"memory": 1}}),
                "unknown field `memory`",
            ),
            (
                json!({"language": "python", "code": "1", "policy": {"fs": {"reads": []}}}),
                "unknown field `reads`",
            ),
            (
                json!({"language": "python", "code": "1", "files": [{"path": "../x", "content": ""}]}),
                "files[0].path: `../x` is not a valid file name",
            ),
            (
                json!({"language": "python", "code": "1", "files": [{"path": "x"}]}),
                "`x` needs exactly one of",
            ),
            (
                json!({"language": "python", "code": "1", "files": [{"path": "x", "object": "x"}]}),
                "this server has no storage",
            ),
            (
                json!({"language": "python", "code": "1", "files": [{"path": "x", "content_base64": "?"}]}),
                "is not valid base64",
            ),
            (
                json!({"language": "python", "code": "1", "files": [{"path": "main.py", "content": ""}]}),
                "`main.py` is listed twice",
            ),
            (
                json!({"language": "python", "code": "1", "finish": "at once"}),
                "finish: unknown variant `at once`, expected `idle` or `settled`",
            ),
            (
                json!({"language": "python", "code": "1", "outputs": ["/etc/passwd"]}),
                "outputs[0]: `/etc/passwd` is not a valid file name",
            ),
            (
                json!({"language": "python", "code": "1", "entry": "../main.py"}),
                "entry: `../main.py` is not a valid file name",
            ),
            (
                json!({"language": "js", "code": "1", "entry": "x", "files": [{"path": "x", "content": ""}]}),
                "`x` is listed twice",
            ),
        ] {
            let message = refused(arguments.clone());
            assert!(message.contains(words), "{arguments}: {message}");
        }
    }

    #[test]
    fn a_program_in_a_folder_keeps_its_place() {
        let arguments = json!({"language": "ts", "code": "1", "entry": "src/main.ts", "files": [{"path": "src/a.ts", "content": ""}]});
        let run = requested_run(arguments, &Ceiling::default(), Limits::default()).unwrap();
        let paths: Vec<&str> = run.contents.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!(
            (run.submission.entry_name().as_str(), paths),
            ("src/main.ts", vec!["src/main.ts", "src/a.ts"])
        );
    }

    #[test]
    fn a_run_ends_with_its_result_if_requested() {
        let finish = |arguments| {
            requested_run(arguments, &Ceiling::default(), Limits::default())
                .unwrap()
                .submission
                .finish
        };
        assert_eq!(
            finish(json!({"language": "js", "code": "1", "finish": "settled"})),
            Finish::Settled
        );
        assert_eq!(finish(json!({"language": "js", "code": "1"})), Finish::Idle);
    }

    #[test]
    fn an_omitted_policy_is_that_of_the_ceiling() {
        let policy: Policy =
            serde_json::from_value(json!({"fs": {"read": ["/data"]}, "env": {"A": "1"}})).unwrap();
        let ceiling = Ceiling { policy, ..Ceiling::default() };
        let granted = |arguments| {
            requested_run(arguments, &ceiling, Limits::default()).unwrap().permit.into_parts().0
        };
        assert_eq!(granted(json!({"language": "js", "code": "1"})), ceiling.policy);
        let narrowed = json!({"language": "js", "code": "1", "policy": {}});
        assert_eq!(granted(narrowed), Policy::default());
    }
}
