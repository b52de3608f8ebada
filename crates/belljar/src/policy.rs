//! What programs may touch and use, as the flags and the policy file say.

use std::path::PathBuf;

use anyhow::Context;
use belljar_protocol::{Bytes, InvalidLimit, Limits, Millis, Policy};
use serde::Deserialize;

use crate::arguments::{LimitArguments, PolicyArguments};
use crate::commands::run::{MOST_INPUT_BYTES, read};

/// A policy file.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
struct PolicyFile {
    policy: Policy,
    limits: Limits,
}

/// What programs may touch and use, from the policy file and the flags.
pub fn policy_and_limits(policy_flags: &PolicyArguments, limit_flags: &LimitArguments) -> anyhow::Result<(Policy, Limits)> {
    let PolicyFile { mut policy, mut limits } = match &policy_flags.policy {
        Some(path) => {
            let text = read(path, "the policy", MOST_INPUT_BYTES)?;
            serde_json::from_slice(&text).with_context(|| format!("the policy in {} cannot be used", path.display()))?
        }
        None => PolicyFile::default(),
    };
    let absolute = |path: &PathBuf| -> anyhow::Result<String> {
        // Made absolute by the words alone: links in it are the engine's to follow.
        let path = std::path::absolute(path).with_context(|| format!("cannot grant {}", path.display()))?;
        let text = path.to_str().with_context(|| format!("cannot grant {}: it is not UTF-8", path.display()))?;
        Ok(if text.len() > 1 { text.trim_end_matches('/').to_owned() } else { text.to_owned() })
    };
    for path in &policy_flags.read {
        policy.fs.read.push(absolute(path)?);
    }
    for path in &policy_flags.write {
        policy.fs.write.push(absolute(path)?);
    }
    for variable in &policy_flags.env {
        let (name, value) = variable.split_once('=').with_context(|| format!("`{variable}` is not NAME=VALUE; write --env CITY=Oslo"))?;
        policy.env.insert(name.to_owned(), value.to_owned());
    }
    policy.exec |= policy_flags.exec;
    policy.loopback |= policy_flags.loopback;
    let set = |target: &mut u64, value: Option<u64>| *target = value.unwrap_or(*target);
    set(&mut limits.memory_bytes.0, limit_flags.memory.map(|n| n.0));
    set(&mut limits.cpu_ms.0, limit_flags.cpu.map(|n| n.0));
    set(&mut limits.timeout_ms.0, limit_flags.timeout.map(|n| n.0));
    set(&mut limits.disk_bytes.0, limit_flags.disk.map(|n| n.0));
    set(&mut limits.output_bytes.0, limit_flags.output_limit.map(|n| n.0));
    set(&mut limits.result_bytes.0, limit_flags.result_limit.map(|n| n.0));
    limits.processes = limit_flags.processes.unwrap_or(limits.processes);
    limits.files = limit_flags.max_files.unwrap_or(limits.files);
    limits.open_files = limit_flags.open_files.unwrap_or(limits.open_files);
    limits.validate().map_err(|error| anyhow::anyhow!("{}", out_of_bounds(&error)))?;
    Ok((policy, limits))
}

/// The same words with the flag, and numbers as people write them.
fn out_of_bounds(error: &InvalidLimit) -> String {
    let flag = match error.field {
        "timeout_ms" => "--timeout",
        "cpu_ms" => "--cpu",
        "memory_bytes" => "--memory",
        "processes" => "--processes",
        "disk_bytes" => "--disk",
        "files" => "--max-files",
        "output_bytes" => "--output-limit",
        "open_files" => "--open-files",
        _ => "--result-limit",
    };
    let shown = |value: u64| match error.field {
        field if field.ends_with("_ms") => Millis(value).to_string(),
        field if field.ends_with("_bytes") => Bytes(value).to_string(),
        _ => value.to_string(),
    };
    format!(
        "{flag} (limits.{}) cannot be {}; it must be between {} and {}",
        error.field,
        shown(error.value),
        shown(error.least),
        shown(error.most)
    )
}
