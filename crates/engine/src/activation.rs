//! The activation of a parked sandbox: the files of the run and then the activation itself, as
//! frames on the control channel.

use belljar_channel::{ExecutionId, encode_execution_header, kind};
use belljar_protocol::{Language, RunId, RunRequest, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::EngineError;

/// The task of a sandbox. It is internal to the engine: no request can choose it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Run the program.
    Run,
    /// Find the imports of the files without running any of them.
    FindImports,
}

/// The JSON that activates a sandbox. `docs/concepts/drivers.md` documents it.
#[derive(Serialize)]
struct Activation<'a> {
    task: Task,
    run: ActivatedRun<'a>,
    language: Language,
    entry: &'a str,
    arguments: &'a [String],
    parameters: &'a RawValue,
    env: &'a std::collections::BTreeMap<String, String>,
    seed: Option<u32>,
    finish: belljar_protocol::Finish,
    policy: &'a belljar_protocol::Policy,
    limits: &'a belljar_protocol::Limits,
}

#[derive(Serialize)]
struct ActivatedRun<'a> {
    id: &'a str,
    deadline: Timestamp,
    timeout_ms: u64,
}

/// Returns the frames that activate a sandbox and start an execution in it: its files, then the
/// activation. `entry` replaces the content of the program's own file.
pub(crate) fn activation(
    execution: ExecutionId,
    id: &RunId,
    request: &RunRequest,
    entry: Option<&str>,
    task: Task,
) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    for file in &request.files {
        let content =
            entry.filter(|_| file.path == request.entry).map_or(&file.content[..], str::as_bytes);
        let path = file.path.as_str().as_bytes();
        let length = u16::try_from(path.len())
            .map_err(|_| EngineError::Internal("the name of a file is too long"))?;
        bytes.extend_from_slice(&encode_execution_header(
            kind::FILE,
            execution,
            2 + path.len() + 8,
        ));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend_from_slice(content);
    }
    let activation = text(id, request, request.entry.as_str(), task)?;
    bytes.extend_from_slice(&encode_execution_header(kind::EXECUTE, execution, activation.len()));
    bytes.extend_from_slice(activation.as_bytes());
    Ok(bytes)
}

/// Returns the activation with which a zygote rehearses: that of a program of the driver, where
/// `entry` is its path relative to the working folder. It is created like every other activation,
/// so that a runtime which has parsed it has seen the shape of all.
pub(crate) fn rehearsal(language: Language, entry: &str) -> String {
    text(&RunId::new(), &RunRequest::new(language, ""), entry, Task::Run)
        .expect("a request of the engine itself can be serialized")
}

fn text(id: &RunId, request: &RunRequest, entry: &str, task: Task) -> Result<String, EngineError> {
    let timeout_ms = request.limits.timeout_ms.0;
    let activation = Activation {
        task,
        run: ActivatedRun {
            id: id.as_str(),
            deadline: Timestamp::now().plus_ms(timeout_ms),
            timeout_ms,
        },
        language: request.language,
        entry,
        arguments: &request.arguments,
        parameters: &request.parameters,
        env: &request.policy.env,
        seed: request.seed,
        finish: request.finish,
        policy: &request.policy,
        limits: &request.limits,
    };
    serde_json::to_string(&activation)
        .map_err(|_| EngineError::Internal("the activation cannot be serialized"))
}
