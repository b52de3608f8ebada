//! What programs may touch and use, as the flags and the policy file say.

use std::path::{Path, PathBuf};

use anyhow::Context;
use belljar_protocol::{Bytes, InvalidLimit, Limits, Millis, PackageChanges, PackagePolicy, Policy, RequestedLimits};
use serde::Deserialize;

use crate::arguments::{LimitArguments, PolicyArguments};
use crate::commands::run::{MOST_INPUT_BYTES, read};

/// A policy file. What is left out is not asked for.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyFile {
    pub policy: Option<Policy>,
    pub limits: RequestedLimits,
    /// Of packages; a run has none of its own to say.
    pub packages: Option<PackageChanges>,
}

impl PolicyFile {
    /// Reads it.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read(path, "the policy", MOST_INPUT_BYTES)?;
        serde_json::from_slice(&text).with_context(|| format!("the policy in {} cannot be used", path.display()))
    }
}

/// What programs may touch and use, from the policy file and the flags, with the defaults for the rest.
pub fn policy_and_limits(policy_flags: &PolicyArguments, limit_flags: &LimitArguments) -> anyhow::Result<(Policy, Limits)> {
    let PolicyFile { policy, limits, .. } = asked(policy_flags, limit_flags)?;
    Ok((policy.unwrap_or_default(), limits.over(Limits::default())))
}

/// What of packages the policy file allows; everything but building where it says nothing.
pub fn packages(flags: &PolicyArguments) -> anyhow::Result<PackagePolicy> {
    Ok(flags
        .policy
        .as_deref()
        .map(PolicyFile::read)
        .transpose()?
        .and_then(|file| file.packages)
        .unwrap_or_default()
        .over(PackagePolicy::default()))
}

/// Only what the policy file and the flags say: the rest is for whoever is asked.
pub fn asked(policy_flags: &PolicyArguments, limit_flags: &LimitArguments) -> anyhow::Result<PolicyFile> {
    let PolicyFile { policy, mut limits, packages } = match &policy_flags.policy {
        Some(path) => PolicyFile::read(path)?,
        None => PolicyFile::default(),
    };
    let is_asked = policy.is_some();
    let mut policy = policy.unwrap_or_default();
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
    limits.memory_bytes = limit_flags.memory.or(limits.memory_bytes);
    limits.cpu_ms = limit_flags.cpu.or(limits.cpu_ms);
    limits.timeout_ms = limit_flags.timeout.or(limits.timeout_ms);
    limits.disk_bytes = limit_flags.disk.or(limits.disk_bytes);
    limits.output_bytes = limit_flags.output_limit.or(limits.output_bytes);
    limits.result_bytes = limit_flags.result_limit.or(limits.result_bytes);
    limits.processes = limit_flags.processes.or(limits.processes);
    limits.files = limit_flags.max_files.or(limits.files);
    limits.open_files = limit_flags.open_files.or(limits.open_files);
    limits.over(Limits::default()).validate().map_err(|error| anyhow::anyhow!("{}", out_of_bounds(&error)))?;
    let is_asked = is_asked || policy != Policy::default();
    Ok(PolicyFile { policy: is_asked.then_some(policy), limits, packages })
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
