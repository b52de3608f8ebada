//! What wakes a parked sandbox: the files of its run, then the activation, as frames on its control channel.

use belljar_channel::{encode_header, kind};
use belljar_protocol::{Language, RunId, RunRequest, Timestamp};
use serde::Serialize;
use serde_json::value::RawValue;

use crate::error::EngineError;

/// What a sandbox does with the files that it is given. The engine's own business: no request can say it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Task {
    /// Runs the program.
    Run,
    /// Reads what they import, and runs nothing of them.
    FindImports,
}

/// What the sandbox is told when it is activated. `docs/concepts/drivers.md` shows it.
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

/// The frames that activate a sandbox: its files, then the activation. `entry` is what the program's own file holds, where that is not what was given.
pub(crate) fn activation(id: &RunId, request: &RunRequest, entry: Option<&str>, task: Task) -> Result<Vec<u8>, EngineError> {
    let mut bytes = Vec::new();
    for file in &request.files {
        let content = entry.filter(|_| file.path == request.entry).map_or(&file.content[..], str::as_bytes);
        let path = file.path.as_str().as_bytes();
        let length = u16::try_from(path.len()).map_err(|_| EngineError::Request("a file name is too long".into()))?;
        bytes.extend_from_slice(&encode_header(kind::FILE, 2 + path.len() + 8));
        bytes.extend_from_slice(&length.to_le_bytes());
        bytes.extend_from_slice(path);
        bytes.extend_from_slice(&(content.len() as u64).to_le_bytes());
        bytes.extend_from_slice(content);
    }
    let activation = text(id, request, request.entry.as_str(), task)?;
    bytes.extend_from_slice(&encode_header(kind::ACTIVATE, activation.len()));
    bytes.extend_from_slice(activation.as_bytes());
    Ok(bytes)
}

/// What a zygote rehearses with: the activation of a program that its driver brings along, `entry` as seen from the working folder. Written as every
/// other, so that a runtime which has read it knows the shape of them all.
pub(crate) fn rehearsal(language: Language, entry: &str) -> String {
    text(&RunId::new(), &RunRequest::new(language, ""), entry, Task::Run).expect("a request of the engine's own can be written as JSON")
}

fn text(id: &RunId, request: &RunRequest, entry: &str, task: Task) -> Result<String, EngineError> {
    let timeout_ms = request.limits.timeout_ms.0;
    let activation = Activation {
        task,
        run: ActivatedRun { id: id.as_str(), deadline: Timestamp::now().plus_ms(timeout_ms), timeout_ms },
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
    serde_json::to_string(&activation).map_err(|error| EngineError::Request(error.to_string()))
}
