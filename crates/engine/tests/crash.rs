//! A supervisor that is killed takes everything with it, at whatever moment, and the next one
//! clears away its control groups.
//!
//! Without the usual harness: the program starts itself once more as the supervisor to be killed.

mod module;

use std::collections::HashSet;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_engine::{Engine, EngineConfig, Preload, SandboxSpec};
use belljar_protocol::{
    Exec, Language, Limits, Millis, Policy, RunRequest, RuntimeName, StartMode,
};
use belljar_test_support::control_groups;
use belljar_test_support::processes::{Process, descendants, stat};

/// Each at another moment.
const ROUNDS: usize = 5;
/// The longest time that anything may survive. It takes 9 to 50 ms on a machine that is not
/// emulated (docs/reliability.md); the bound has room for an emulated and busy one.
const GONE_WITHIN: Duration = Duration::from_secs(10);
const VICTIM: &str = "--be-killed";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|argument| argument == VICTIM) {
        runtime.block_on(be_killed());
    }
    let isolation = runtime
        .block_on(async { Engine::new(EngineConfig::from_env().unwrap()).unwrap().isolation() });
    if let Err(why) = isolation.cgroups {
        println!("crash: left out, there are no control groups here: {why}");
        return;
    }
    a_killed_supervisor_leaves_nothing_running();
    runtime.block_on(the_next_engine_sweeps_the_control_groups_of_a_killed_one());
    println!("crash: ok");
}

/// Runs programs of all kinds for ever, and prints a line when one has ended.
async fn be_killed() {
    let mut config = EngineConfig::from_env().unwrap();
    config.parked = 2;
    let engine = Engine::new(config).unwrap();
    // One more sandbox, in which a package has run: it is held still until the end.
    let runtime = engine.runtime(&RuntimeName::Python(None)).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let source = "import threading\nthreading.Thread(target=lambda: [None for _ in iter(int, 1)], daemon=True).start()\n";
    let environment = module::environment(
        folder.path(),
        Language::Python,
        &runtime,
        "spins",
        source,
        Preload::InSandbox,
    );
    let spec = SandboxSpec::new(runtime, &Policy::default(), &Limits::default())
        .unwrap()
        .with_environment(Some(Arc::new(environment)));
    engine.park(&spec, 1).await.unwrap();
    let programs = [
        (Language::JavaScript, "for (;;);", StartMode::Fork),
        (Language::Python, "import time\nwhile True: time.sleep(0.001)", StartMode::Fork),
        (
            Language::JavaScript,
            "require('child_process').spawn('/bin/sleep', ['60'], {detached: true}); setInterval(() => {}, 1)",
            StartMode::Fork,
        ),
        (
            Language::Python,
            "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(60)",
            StartMode::Fork,
        ),
        (Language::Python, "import time\ntime.sleep(60)", StartMode::Exec),
        (Language::JavaScript, "1 + 1", StartMode::Fork),
    ];
    let mut workers = tokio::task::JoinSet::new();
    for (language, code, start) in programs {
        let engine = engine.clone();
        workers.spawn(async move {
            loop {
                let mut request = RunRequest::new(language, code);
                request.start = start;
                if code.contains("spawn") || code.contains("fork") {
                    request.policy.exec = Exec::Granted;
                }
                request.limits = Limits { timeout_ms: Millis(300), ..Limits::default() };
                let outcome = engine.run(request).finished().await.outcome;
                println!("{}", outcome.status.name());
            }
        });
    }
    workers.join_next().await;
}

/// A supervisor at work; killed when dropped.
struct Victim {
    process: Child,
    lines: std::io::Lines<BufReader<std::process::ChildStdout>>,
}

impl Victim {
    fn start() -> Self {
        let mut process = Command::new(std::env::current_exe().unwrap())
            .arg(VICTIM)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("the test starts itself");
        let lines = BufReader::new(process.stdout.take().unwrap()).lines();
        let mut victim = Self { process, lines };
        // Every kind of program has been seen: each fails to end by itself but one.
        victim.await_statuses(&["timed_out", "succeeded"]);
        victim
    }

    fn await_statuses(&mut self, wanted: &[&str]) {
        let mut missing: HashSet<&str> = wanted.iter().copied().collect();
        while !missing.is_empty() {
            let status = self.lines.next().expect("it runs on").unwrap();
            assert!(
                ["timed_out", "succeeded"].contains(&status.as_str()),
                "a run of the victim ended {status}"
            );
            missing.remove(status.as_str());
        }
    }

    /// Kills it; its descendants at that moment, and the folders that it leaves.
    fn kill(mut self) -> (Vec<Process>, Vec<PathBuf>) {
        let pid = self.process.id();
        let family = descendants(pid);
        // Where control groups have version 2, those that are held still are frozen, which no state
        // tells.
        let is_stopped =
            |process: &Process| stat(process.pid).is_some_and(|stat| stat.state == 'T');
        let is_version_1 = Path::new("/sys/fs/cgroup/memory").exists();
        assert!(
            !is_version_1 || family.iter().any(is_stopped),
            "no parked sandbox of {family:?} is stopped"
        );
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        (family, control_groups::with_subgroups(&control_groups::of_belljar(pid)))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn a_killed_supervisor_leaves_nothing_running() {
    let mut times = Vec::new();
    for round in 0..ROUNDS {
        let mut victim = Victim::start();
        for _ in 0..moment() {
            victim.await_statuses(&["succeeded"]);
        }
        let pid = victim.process.id();
        let (family, folders) = victim.kill();
        let killed = Instant::now();
        // Two zygotes, and at least as many sandboxes at work.
        assert!(family.len() >= 4, "round {round}: there was next to nothing to kill: {family:?}");
        assert!(!folders.is_empty(), "round {round}: the supervisor {pid} had no control groups");
        await_end(&family, &folders, killed);
        times.push(killed.elapsed());
    }
    times.sort();
    println!("crash: nothing was running after {times:?}");
}

/// Waits until nothing of a killed supervisor runs.
fn await_end(family: &[Process], folders: &[PathBuf], killed: Instant) {
    loop {
        // What was forked after the family was listed is in the control groups.
        let left: Vec<_> = family
            .iter()
            .copied()
            .chain(folders.iter().flat_map(|folder| control_groups::members(folder)))
            .filter(|process| process.is_running())
            .collect();
        if left.is_empty() {
            return;
        }
        assert!(killed.elapsed() < GONE_WITHIN, "still running after {GONE_WITHIN:?}: {left:?}");
        std::thread::yield_now();
    }
}

async fn the_next_engine_sweeps_the_control_groups_of_a_killed_one() {
    let victim = Victim::start();
    let pid = victim.process.id();
    let (family, folders) = victim.kill();
    assert!(!folders.is_empty(), "the supervisor had no control groups");
    let killed = Instant::now();
    await_end(&family, &folders, killed);
    let engine = Engine::new(EngineConfig::from_env().unwrap()).unwrap();
    assert!(control_groups::of_belljar(pid).is_empty(), "stale control groups");
    let own = std::process::id();
    assert!(!control_groups::of_belljar(own).is_empty(), "it has some of its own now");
    engine.shutdown().await;
    assert!(control_groups::of_belljar(own).is_empty(), "left over by a shutdown");
}

/// Returns the number of runs to wait for before the kill: another number each time, from the first
/// run to well into the life of a pool.
fn moment() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_micros() % 60
}
