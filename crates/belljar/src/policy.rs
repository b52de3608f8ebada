//! The policy and the limits of programs, from the flags and the policy file.

use std::collections::BTreeMap;
use std::env::VarError;
use std::path::{Path, PathBuf};

use anyhow::Context;
use belljar_protocol::{
    Exec, InvalidLimit, Limits, Network, PackageChanges, Policy, RequestedLimits,
};
use serde::Deserialize;

use crate::arguments::PolicyArguments;
use crate::hint::hinted;
use crate::input::{MAX_INPUT_BYTES, read};
use crate::limit_arguments::LimitArguments;

/// A policy file. Omitted settings are not requested.
#[derive(Debug, Default, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct PolicyFile {
    pub policy: Option<Policy>,
    pub limits: RequestedLimits,
    /// Package rules. Only an operator sets them, on a server for a project.
    pub packages: Option<PackageChanges>,
    /// Names of the variables that runs may pass. Only an operator sets them, for a project.
    pub env_names: Option<Vec<String>>,
}

impl PolicyFile {
    /// Reads a policy file.
    pub fn read(path: &Path) -> anyhow::Result<Self> {
        let text = read(path, "the policy file", MAX_INPUT_BYTES)?;
        serde_json::from_slice(&text)
            .with_context(|| format!("the policy file `{}` is invalid", path.display()))
    }

    /// Returns what the policy file and the flags together set, and nothing else. Variables of
    /// `--env` are not part of it: [`variables`] returns them.
    pub fn requested(
        policy_flags: &PolicyArguments,
        limit_flags: &LimitArguments,
    ) -> anyhow::Result<Self> {
        if !policy_flags.net.is_empty() {
            return Err(hinted(
                "--net: this version of Belljar gives programs no network",
                "get the data outside of the program, and pass it with --file",
            ));
        }
        let Self { policy, limits, packages, env_names } = match &policy_flags.policy {
            Some(path) => Self::read(path)?,
            None => Self::default(),
        };
        if env_names.is_some() {
            return Err(hinted(
                "the policy file sets `env_names`, which restricts the runs of a project",
                "remove it here, and set it with `belljar projects set NAME --policy FILE`",
            ));
        }
        let is_requested = policy.is_some();
        let mut policy = policy.unwrap_or_default();
        let absolute = |path: &PathBuf| -> anyhow::Result<String> {
            // Links in the path are not resolved here: the engine does that.
            let path = std::path::absolute(path)
                .with_context(|| format!("cannot grant `{}`", path.display()))?;
            let text = path.to_str().with_context(|| {
                format!("cannot grant `{}`: the path is not UTF-8", path.display())
            })?;
            Ok(if text.len() > 1 { text.trim_end_matches('/').to_owned() } else { text.to_owned() })
        };
        for path in &policy_flags.read {
            policy.fs.read.push(absolute(path)?);
        }
        for path in &policy_flags.write {
            policy.fs.write.push(absolute(path)?);
        }
        if policy_flags.exec {
            policy.exec = Exec::Granted;
        }
        if policy_flags.loopback {
            policy.network = policy.network.max(Network::Loopback);
        }
        let limits = limit_flags.0.or(limits);
        limits.over(Limits::default()).validate().map_err(|error| out_of_range(&error))?;
        let is_requested = is_requested || policy != Policy::default();
        Ok(Self { policy: is_requested.then_some(policy), limits, packages, env_names })
    }
}

/// Returns the variables that `--env` sets, each `NAME=VALUE` or the `NAME` of one of this shell.
pub fn variables(flags: &[String]) -> anyhow::Result<BTreeMap<String, String>> {
    let parse = |flag: &String| {
        Ok(match flag.split_once('=') {
            Some((name, value)) => (name.to_owned(), value.to_owned()),
            None => (flag.clone(), variable_of_shell(flag)?),
        })
    };
    flags.iter().map(parse).collect()
}

/// Returns the value of a variable in Belljar's own environment.
fn variable_of_shell(name: &str) -> anyhow::Result<String> {
    std::env::var(name).map_err(|error| match error {
        VarError::NotPresent => hinted(
            format!("--env {name}: this shell has no variable `{name}`"),
            format!("export it, or write --env {name}=VALUE"),
        ),
        VarError::NotUnicode(_) => hinted(
            format!("--env {name}: the value is not UTF-8"),
            "pass the bytes in a file with --file",
        ),
    })
}

/// Returns the error with the name of the flag, and with units.
fn out_of_range(InvalidLimit { limit, value }: &InvalidLimit) -> anyhow::Error {
    let shown = |value| limit.unit.display(value);
    hinted(
        format!("--{} ({}) cannot be {}", limit.flag, limit.field, shown(*value)),
        format!("use a value between {} and {}", shown(limit.min), shown(limit.max)),
    )
}
