//! Proves, before a zygote is used, that its forks share nothing and work: forks sandboxes exactly as production does and compares them. Remembered per
//! runtime, carried code and kernel. A failure means `exec` start.

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use belljar_jail::shared_descriptions;
use belljar_protocol::{Language, Limits, Millis, Policy, RunId, RunRequest, Status};
use serde::{Deserialize, Serialize};
use tokio::sync::{mpsc, watch};

use crate::carried;
use crate::engine::Inner;
use crate::error::EngineError;
use crate::run::{self, Emitter, Host};
use crate::runtime::{Runtime, RuntimeKind};
use crate::sandbox::{Sandbox, SandboxSpec};

/// How many forks are compared. What is shared between forks is shared between any two; the third tells a coincidence from a rule.
const FORKS: usize = 3;

/// What the self-test found.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct SelfTest {
    /// The runtime, at its exact version.
    pub runtime: String,
    /// Each check by name, and what is wrong with it, if anything.
    pub checks: BTreeMap<String, Option<String>>,
    /// Whether the zygote knows from its scout what memory a run touches. Where not, forks are as safe, and slower.
    pub scout_came_back: bool,
}

impl SelfTest {
    /// Whether forks of this runtime can be used here.
    pub fn passed(&self) -> bool {
        self.checks.values().all(Option::is_none)
    }

    /// What failed, for people.
    pub fn failures(&self) -> String {
        let failures: Vec<String> = self.checks.iter().filter_map(|(name, wrong)| Some(format!("{name}: {}", wrong.as_ref()?))).collect();
        failures.join("; ")
    }
}

/// What a probe tells.
#[derive(Deserialize)]
struct Probe {
    draws: BTreeMap<String, String>,
    worked: BTreeMap<String, Option<String>>,
    shared: Vec<String>,
}

/// Runs the test now.
pub(crate) async fn run(engine: &Arc<Inner>, runtime: &Arc<Runtime>) -> Result<SelfTest, EngineError> {
    let (language, code) = match runtime.kind {
        RuntimeKind::Node => (Language::JavaScript, include_str!("self_test/probe.js")),
        RuntimeKind::Python => (Language::Python, include_str!("self_test/probe.py")),
    };
    let mut request = RunRequest::new(language, code);
    request.policy = Policy { loopback: true, ..Policy::default() };
    // An emulated machine takes thirty times as long, and a slow runtime is no reason not to fork it.
    request.limits = Limits { cpu_ms: Millis(120_000), timeout_ms: Millis(240_000), ..Limits::default() };
    let spec = SandboxSpec::new(Arc::clone(runtime), &request.policy, &request.limits)?;
    let zygote = engine.zygote(&spec).await?;
    let mut sandboxes = Vec::new();
    for _ in 0..FORKS {
        sandboxes.push(Sandbox::fork(engine, &zygote, spec.clone()).await?);
    }
    let mut checks = BTreeMap::new();
    checks.insert("no shared descriptors".to_owned(), descriptors(zygote.pid(), &sandboxes));
    let mut probes = Vec::new();
    for sandbox in sandboxes {
        let (sender, _events) = mpsc::unbounded_channel();
        let (_cancel, cancelled) = watch::channel(false);
        let finished = run::execute(engine, sandbox, RunId::new(), &request, Host::default(), Emitter::new(sender), cancelled).await;
        let outcome = finished.outcome;
        let ended = (outcome.status != Status::Succeeded)
            .then(|| format!("{}: {}", outcome.status.name(), outcome.error.map_or(String::new(), |error| error.message)));
        checks.entry("a natural end".to_owned()).or_insert(None).keep_first(ended);
        if let Some(probe) = outcome.value.and_then(|value| serde_json::from_str::<Probe>(value.get()).ok()) {
            probes.push(probe);
        }
    }
    if probes.len() < FORKS {
        checks.entry("a natural end".to_owned()).or_insert(None).keep_first(Some("a probe gave no answer".into()));
    }
    compare(&probes, &mut checks);
    Ok(SelfTest { runtime: runtime.name.clone(), checks, scout_came_back: zygote.has_learned })
}

/// The first thing wrong with a check stays.
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
        let drawn: Vec<Option<&String>> = probes.iter().map(|probe| probe.draws.get(source)).collect();
        let all_differ = (0..drawn.len()).all(|a| (0..a).all(|b| drawn[a].is_some() && drawn[a] != drawn[b]));
        checks.insert(format!("randomness of {source}"), (!all_differ).then(|| "two sandboxes drew the same".to_owned()));
    }
    for probe in probes {
        for (name, wrong) in &probe.worked {
            checks.entry(name.clone()).or_insert(None).keep_first(wrong.clone());
        }
        let shared = (!probe.shared.is_empty()).then(|| probe.shared.join(", "));
        checks.entry("no shared writable memory".to_owned()).or_insert(None).keep_first(shared);
    }
}

/// Compares open file descriptions, which only the kernel can: a zygote's with each sandbox's, and the sandboxes' with each other's.
fn descriptors(zygote: i32, sandboxes: &[Sandbox]) -> Option<String> {
    let mut pids = vec![zygote];
    pids.extend(sandboxes.iter().filter(|sandbox| sandbox.body.is_running()).map(|sandbox| sandbox.body.pid));
    for (index, &one) in pids.iter().enumerate() {
        for &other in &pids[..index] {
            match shared_descriptions(one, other) {
                Ok(shared) if shared.is_empty() => {}
                Ok(shared) => return Some(format!("descriptors {shared:?} are shared")),
                Err(error) => return Some(format!("descriptors could not be compared: {error}")),
            }
        }
    }
    None
}

/// Where the result is remembered: by what could change it.
fn record(cache: &std::path::Path, runtime: &Runtime) -> PathBuf {
    let kernel = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let kernel: String = kernel.trim().chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let identity = &runtime.identity[..runtime.identity.len().min(16)];
    cache.join("self-test").join(format!("{}-{identity}-{}-{kernel}.json", runtime.driver_folder(), carried::ID))
}

/// What was found earlier.
pub(crate) fn recall(cache: &std::path::Path, runtime: &Runtime) -> Option<SelfTest> {
    serde_json::from_slice(&fs::read(record(cache, runtime)).ok()?).ok()
}

/// Remembers what was found. Not being able to only costs time.
pub(crate) fn remember(cache: &std::path::Path, runtime: &Runtime, result: &SelfTest) {
    let path = record(cache, runtime);
    let stage = path.with_extension(format!("{}", std::process::id()));
    let written =
        path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&stage, serde_json::to_vec(result).unwrap_or_default()));
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
        assert_eq!(failures(&[probe("1", &[]), probe("2", &[]), probe("1", &[])]), ["randomness of random"]);
        assert_eq!(failures(&[probe("1", &[]), probe("2", &["7f00 rw-s"])]), ["no shared writable memory"]);
    }
}
