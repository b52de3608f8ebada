//! The self-test of a zygote, which proves before its use that its forks work and share nothing: it
//! forks sandboxes in the same way as for runs, and compares them. The result is stored by runtime,
//! version of the drivers and kernel. After a failure, sandboxes are started by `exec`.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use belljar_jail::shared_descriptions;
use belljar_protocol::{Language, Limits, Millis, Network, Policy, RunRequest, Status};
use serde::{Deserialize, Serialize};

use crate::carried;
use crate::error::EngineError;
use crate::execution::{Job, execute};
use crate::process::Launcher;
use crate::runtime::{Runtime, RuntimeKind};
use crate::sandbox::Sandbox;
use crate::spec::SandboxSpec;
use crate::zygote::Zygote;

/// The number of forks that are compared. Anything that forks share is shared by any two of them; a
/// third distinguishes coincidence from rule.
const FORKS: usize = 3;

/// The result of a self-test.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SelfTest {
    /// Runtime with its exact version.
    pub runtime: String,
    /// Result of each check by name: the failure, or `None`.
    pub checks: BTreeMap<String, Option<String>>,
    /// True if the zygote knows from its scout which memory a run touches. Otherwise forks are just
    /// as safe, but slower.
    pub scout_came_back: bool,
}

impl SelfTest {
    /// Returns whether forks of this runtime can be used on this machine.
    pub fn passed(&self) -> bool {
        self.checks.values().all(Option::is_none)
    }

    /// Returns the failed checks as text.
    pub fn failures(&self) -> String {
        let failures: Vec<String> = self
            .checks
            .iter()
            .filter_map(|(name, wrong)| Some(format!("{name}: {}", wrong.as_ref()?)))
            .collect();
        failures.join(", ")
    }
}

/// The answer of a probe.
#[derive(Deserialize)]
struct Probe {
    draws: BTreeMap<String, String>,
    worked: BTreeMap<String, Option<String>>,
    shared: Vec<String>,
}

/// Returns the spec of the sandboxes that the test compares.
pub(super) fn spec(runtime: &Arc<Runtime>) -> Result<SandboxSpec, EngineError> {
    let request = request(runtime);
    SandboxSpec::new(Arc::clone(runtime), &request.policy, &request.limits)
}

fn request(runtime: &Runtime) -> RunRequest {
    let (language, code) = match runtime.kind {
        RuntimeKind::Node => (Language::JavaScript, include_str!("self_test/probe.js")),
        RuntimeKind::Python => (Language::Python, include_str!("self_test/probe.py")),
    };
    let mut request = RunRequest::new(language, code);
    request.policy = Policy { network: Network::Loopback, ..Policy::default() };
    // An emulated machine takes thirty times as long, and a slow runtime can still be forked.
    request.limits =
        Limits { cpu_ms: Millis(120_000), timeout_ms: Millis(240_000), ..Limits::default() };
    request
}

/// Runs the test now, with forks of a zygote.
pub(super) async fn run(
    launcher: &Arc<Launcher>,
    zygote: &Arc<Zygote>,
    runtime: &Runtime,
    spec: SandboxSpec,
) -> Result<SelfTest, EngineError> {
    let request = request(runtime);
    let mut sandboxes = Vec::new();
    for _ in 0..FORKS {
        sandboxes.push(Sandbox::fork(launcher, zygote, spec.clone()).await?);
    }
    let mut checks = BTreeMap::new();
    checks.insert("no shared descriptors".to_owned(), descriptors(zygote.pid(), &sandboxes));
    let mut probes = Vec::new();
    for sandbox in sandboxes {
        let finished = execute(sandbox, Job::alone(launcher, &request)).await;
        let outcome = finished.outcome;
        let ended = (outcome.status != Status::Succeeded).then(|| {
            format!(
                "{}: {}",
                outcome.status.name(),
                outcome.error.map_or(String::new(), |error| error.message)
            )
        });
        checks.entry("a natural end".to_owned()).or_insert(None).keep_first(ended);
        if let Some(probe) =
            outcome.value.and_then(|value| serde_json::from_str::<Probe>(value.get()).ok())
        {
            probes.push(probe);
        }
    }
    if probes.len() < FORKS {
        checks
            .entry("a natural end".to_owned())
            .or_insert(None)
            .keep_first(Some("a probe returned no answer".into()));
    }
    compare(&probes, &mut checks);
    Ok(SelfTest { runtime: runtime.name.clone(), checks, scout_came_back: zygote.has_learned })
}

/// Keeps the first failure of a check.
trait KeepFirst {
    fn keep_first(&mut self, wrong: Option<String>);
}

impl KeepFirst for Option<String> {
    fn keep_first(&mut self, wrong: Option<String>) {
        if self.is_none() {
            *self = wrong;
        }
    }
}

fn compare(probes: &[Probe], checks: &mut BTreeMap<String, Option<String>>) {
    let Some(first) = probes.first() else { return };
    for source in first.draws.keys() {
        let drawn: Vec<Option<&String>> =
            probes.iter().map(|probe| probe.draws.get(source)).collect();
        let all_differ =
            (0..drawn.len()).all(|a| (0..a).all(|b| drawn[a].is_some() && drawn[a] != drawn[b]));
        checks.insert(
            format!("randomness of {source}"),
            (!all_differ).then(|| "two sandboxes drew the same".to_owned()),
        );
    }
    for probe in probes {
        for (name, wrong) in &probe.worked {
            checks.entry(name.clone()).or_insert(None).keep_first(wrong.clone());
        }
        let shared = (!probe.shared.is_empty()).then(|| probe.shared.join(", "));
        checks.entry("no shared writable memory".to_owned()).or_insert(None).keep_first(shared);
    }
}

/// Compares open file descriptions, which only the kernel can do: those of the zygote with those of
/// each sandbox, and those of the sandboxes with each other.
fn descriptors(zygote: i32, sandboxes: &[Sandbox]) -> Option<String> {
    let mut pids = vec![zygote];
    pids.extend(
        sandboxes
            .iter()
            .filter(|sandbox| sandbox.process.is_running())
            .map(|sandbox| sandbox.process.pid()),
    );
    for (index, &one) in pids.iter().enumerate() {
        for &other in &pids[..index] {
            match shared_descriptions(one, other) {
                Ok(shared) if shared.is_empty() => {}
                Ok(shared) => return Some(format!("descriptors {shared:?} are shared")),
                Err(error) => return Some(format!("cannot compare descriptors: {error}")),
            }
        }
    }
    None
}

/// Returns the path of the stored result, which contains everything that could change it.
fn record(cache: &std::path::Path, runtime: &Runtime) -> PathBuf {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: String = kernel
        .trim()
        .chars()
        .map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' })
        .collect();
    let identity = &runtime.identity[..runtime.identity.len().min(16)];
    cache.join("self-test").join(format!(
        "{}-{identity}-{}-{kernel}.json",
        runtime.driver_folder(),
        carried::ID
    ))
}

/// Returns the stored result.
pub(super) fn recall(cache: &std::path::Path, runtime: &Runtime) -> Option<SelfTest> {
    serde_json::from_slice(&fs::read(record(cache, runtime)).ok()?).ok()
}

/// Stores a result. If that fails, the test runs again the next time.
pub(super) fn remember(cache: &std::path::Path, runtime: &Runtime, result: &SelfTest) {
    let path = record(cache, runtime);
    let stage = path.with_extension(format!("{}", std::process::id()));
    let written = path
        .parent()
        .map_or(Ok(()), fs::create_dir_all)
        .and_then(|()| fs::write(&stage, serde_json::to_vec(result).unwrap_or_default()));
    if written.and_then(|()| fs::rename(&stage, &path)).is_err() {
        let _ = fs::remove_file(&stage);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn probe(random: &str, shared: &[&str]) -> Probe {
        Probe {
            draws: [("random".to_owned(), random.to_owned())].into(),
            worked: [("threads".to_owned(), None)].into(),
            shared: shared.iter().map(|&line| line.to_owned()).collect(),
        }
    }

    fn failures(probes: &[Probe]) -> Vec<String> {
        let mut checks = BTreeMap::new();
        compare(probes, &mut checks);
        checks.into_iter().filter_map(|(name, wrong)| wrong.map(|_| name)).collect()
    }

    #[test]
    fn forks_that_differ_pass() {
        assert!(failures(&[probe("1", &[]), probe("2", &[]), probe("3", &[])]).is_empty());
    }

    #[test]
    fn what_two_forks_share_is_found() {
        assert_eq!(
            failures(&[probe("1", &[]), probe("2", &[]), probe("1", &[])]),
            ["randomness of random"]
        );
        assert_eq!(
            failures(&[probe("1", &[]), probe("2", &["7f00 rw-s"])]),
            ["no shared writable memory"]
        );
    }
}
