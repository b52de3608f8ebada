//! What the model gives `run_code`, and the run that it asks for.

use belljar_protocol::{
    Ceiling, Finish, InvalidLimit, InvalidPolicy, InvalidSubmission, Language, Policy, ProgramName, RequestedLimits, RunRequest,
    RunSubmission, SubmittedFile, UnknownLanguage, Widened,
};
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
    finish: Option<Finish>,
    #[serde(default)]
    policy: Option<Policy>,
    #[serde(default)]
    limits: Option<RequestedLimits>,
}

/// Why there is no run. It is told to the model, which can mend it.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InvalidArguments {
    /// They do not fit the schema.
    #[error("the arguments cannot be used: {field}{why}")]
    Shape { field: String, why: serde_json::Error },
    /// No such language.
    #[error("language: {0}")]
    Language(#[from] UnknownLanguage),
    /// The files contradict each other.
    #[error(transparent)]
    Submission(#[from] InvalidSubmission),
    /// A file is said to be in storage.
    #[error("files: `{0}` names an object, and there is no storage here; give its content")]
    Object(String),
    /// The policy cannot be meant.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// A limit cannot be meant.
    #[error(transparent)]
    Limit(#[from] InvalidLimit),
    /// More than the operator allows.
    #[error("{0}; ask for less, or leave it out: the operator who started this server sets the ceiling")]
    Widened(#[from] Widened),
}

/// The run that a call asks for, within the ceiling, and the packages that it names.
pub(crate) fn request(arguments: serde_json::Value, ceiling: &Ceiling) -> Result<(RunRequest, Vec<String>), InvalidArguments> {
    let given: Arguments = serde_path_to_error::deserialize(arguments).map_err(|error| {
        let path = error.path().to_string();
        // At the top the error itself names the field.
        let field = if path == "." { String::new() } else { format!("{path}: ") };
        InvalidArguments::Shape { field, why: error.into_inner() }
    })?;
    let language: Language = given.language.parse()?;
    let mut submission = RunSubmission::new(language, given.code);
    submission.entry = given.entry;
    submission.files = given.files.unwrap_or_default();
    submission.check()?;

    let mut request = RunRequest::new(language, submission.code.take().unwrap_or_default());
    if let Some(entry) = submission.entry.take() {
        request.files[0].path = entry.clone();
        request.entry = entry;
    }
    for file in &submission.files {
        let content = file.bytes()?.ok_or_else(|| InvalidArguments::Object(file.path.as_str().to_owned()))?;
        request.files.push(file.with(content));
    }
    if let Some(parameters) = given.parameters {
        request.parameters = RawValue::from_string(parameters.to_string()).unwrap_or_default();
    }
    request.stdin = given.stdin.unwrap_or_default().into_bytes();
    request.outputs = given.outputs.unwrap_or_default();
    request.finish = given.finish.unwrap_or_default();

    let limits = given.limits.map(|limits| limits.over(ceiling.default_limits()));
    (request.policy, request.limits) = ceiling.narrow(given.policy.as_ref(), limits.as_ref())?;
    request.policy.validate()?;
    request.limits.validate()?;
    Ok((request, given.packages.unwrap_or_default()))
}

#[cfg(test)]
mod tests {
    use belljar_protocol::{Bytes, Limits};
    use serde_json::json;

    use super::*;

    fn refused(arguments: serde_json::Value) -> String {
        request(arguments, &Ceiling::default()).expect_err("it cannot be used").to_string()
    }

    #[test]
    fn what_is_wrong_is_named_with_its_place() {
        for (arguments, words) in [
            (json!({"code": "1"}), "missing field `language`"),
            (json!({"language": "python"}), "missing field `code`"),
            (json!({"language": "ruby", "code": "1"}), "`ruby` is not a language"),
            (json!({"language": "python", "code": "1", "package": []}), "unknown field `package`"),
            (json!({"language": "python", "code": 1}), "code: invalid type"),
            (json!({"language": "python", "code": "1", "limits": {"timeout_ms": "5s"}}), "limits.timeout_ms: invalid type"),
            (json!({"language": "python", "code": "1", "limits": {"timeout_ms": 0}}), "limits.timeout_ms is 0"),
            (json!({"language": "python", "code": "1", "limits": {"memory": 1}}), "unknown field `memory`"),
            (json!({"language": "python", "code": "1", "policy": {"fs": {"reads": []}}}), "unknown field `reads`"),
            (json!({"language": "python", "code": "1", "files": [{"path": "../x", "content": ""}]}), "files[0].path: `../x` cannot name"),
            (json!({"language": "python", "code": "1", "files": [{"path": "x"}]}), "`x` needs exactly one of"),
            (json!({"language": "python", "code": "1", "files": [{"path": "x", "object": "x"}]}), "there is no storage here"),
            (json!({"language": "python", "code": "1", "files": [{"path": "x", "content_base64": "?"}]}), "is not base64"),
            (json!({"language": "python", "code": "1", "files": [{"path": "main.py", "content": ""}]}), "`main.py` is there twice"),
            (
                json!({"language": "python", "code": "1", "finish": "at once"}),
                "finish: unknown variant `at once`, expected `idle` or `settled`",
            ),
            (json!({"language": "python", "code": "1", "outputs": ["/etc/passwd"]}), "outputs[0]: `/etc/passwd` cannot name"),
            (json!({"language": "python", "code": "1", "entry": "../main.py"}), "entry: `../main.py` cannot name"),
            (json!({"language": "js", "code": "1", "entry": "x", "files": [{"path": "x", "content": ""}]}), "`x` is there twice"),
        ] {
            let told = refused(arguments.clone());
            assert!(told.contains(words), "{arguments}: {told}");
        }
    }

    #[test]
    fn a_program_in_a_folder_keeps_its_place() {
        let arguments = json!({"language": "ts", "code": "1", "entry": "src/main.ts", "files": [{"path": "src/a.ts", "content": ""}]});
        let (request, _) = request(arguments, &Ceiling::default()).unwrap();
        let paths: Vec<&str> = request.files.iter().map(|file| file.path.as_str()).collect();
        assert_eq!((request.entry.as_str(), paths), ("src/main.ts", vec!["src/main.ts", "src/a.ts"]));
    }

    #[test]
    fn a_run_ends_with_its_result_where_that_is_asked_for() {
        let finish = |arguments| request(arguments, &Ceiling::default()).unwrap().0.finish;
        assert_eq!(finish(json!({"language": "js", "code": "1", "finish": "settled"})), Finish::Settled);
        assert_eq!(finish(json!({"language": "js", "code": "1"})), Finish::Idle);
    }

    #[test]
    fn what_is_left_out_is_the_ceilings_policy_and_the_default_limits_beneath_it() {
        let policy: Policy = serde_json::from_value(json!({"fs": {"read": ["/data"]}, "env": {"A": "1"}})).unwrap();
        let limits = Limits { memory_bytes: Bytes(1 << 30), timeout_ms: belljar_protocol::Millis(2000), ..Limits::default() };
        let ceiling = Ceiling { policy, limits };
        let (plain, _) = request(json!({"language": "js", "code": "1"}), &ceiling).unwrap();
        assert_eq!(plain.policy, ceiling.policy);
        assert_eq!((plain.limits.memory_bytes, plain.limits.timeout_ms.0), (Bytes(256 << 20), 2000));
        let narrowed = json!({"language": "js", "code": "1", "policy": {}, "limits": {"memory_bytes": 1 << 30}});
        let (narrowed, _) = request(narrowed, &ceiling).unwrap();
        assert_eq!(narrowed.policy, Policy::default());
        assert_eq!((narrowed.limits.memory_bytes, narrowed.limits.timeout_ms.0), (Bytes(1 << 30), 2000));
    }
}
