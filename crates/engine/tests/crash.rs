//! A supervisor that is killed takes everything with it, at whatever moment, and the next one clears away its control groups.
//!
//! Without the usual harness: the program starts itself once more as the supervisor to be killed.

mod module;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use belljar_engine::{Ahead, Engine, EngineConfig, SandboxSpec};
use belljar_protocol::{Language, Limits, Millis, Policy, RunRequest, RuntimeName, StartMode};

/// Each at another moment.
const ROUNDS: usize = 5;
/// The promise, where the machine has time for it. The median is held to it.
const GONE_WITHIN: Duration = Duration::from_millis(100);
/// On a machine that is busy with other things, no process dies at once: then the median is held to this multiple of what as many plain processes take
/// that are killed one by one.
const MOST_TIMES_PLAIN: u32 = 4;
/// And however busy it is.
const GONE_AT_LAST: Duration = Duration::from_secs(2);
const VICTIM: &str = "--be-killed";

fn main() {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    if std::env::args().any(|argument| argument == VICTIM) {
        runtime.block_on(be_killed());
    }
    let isolation = runtime.block_on(async { Engine::new(EngineConfig::from_env().unwrap()).unwrap().isolation() });
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
    let environment = module::environment(folder.path(), Language::Python, &runtime, "spins", source, Ahead::Sandbox);
    let spec = SandboxSpec::new(runtime, &Policy::default(), &Limits::default()).unwrap().with_environment(Some(Arc::new(environment)));
    engine.park(&spec, 1).await.unwrap();
    let programs = [
        (Language::JavaScript, "for (;;);", StartMode::Fork),
        (Language::Python, "import time\nwhile True: time.sleep(0.001)", StartMode::Fork),
        (
            Language::JavaScript,
            "require('child_process').spawn('/bin/sleep', ['60'], {detached: true}); setInterval(() => {}, 1)",
            StartMode::Fork,
        ),
        (Language::Python, "import os, time\nif os.fork() == 0: os.setsid()\ntime.sleep(60)", StartMode::Fork),
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
                request.policy.exec = code.contains("spawn") || code.contains("fork");
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
            assert!(["timed_out", "succeeded"].contains(&status.as_str()), "a run of the victim ended {status}");
            missing.remove(status.as_str());
        }
    }

    /// Kills it; its descendants at that moment, and the folders that it leaves.
    fn kill(mut self) -> (HashSet<Process>, Vec<PathBuf>) {
        let pid = self.process.id();
        let family = descendants(pid);
        // Where control groups have version 2, those that are held still are frozen, which no state tells.
        let is_stopped = |process: &Process| stat(process.0).is_some_and(|(state, ..)| state == 'T');
        let is_version_1 = Path::new("/sys/fs/cgroup/memory").exists();
        assert!(!is_version_1 || family.iter().any(is_stopped), "no parked sandbox of {family:?} is stopped");
        self.process.kill().unwrap();
        self.process.wait().unwrap();
        (family, cgroups_of(pid))
    }
}

impl Drop for Victim {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn a_killed_supervisor_leaves_nothing_running() {
    let (mut times, mut plain) = (Vec::new(), Vec::new());
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
        plain.push(time_to_end_plain_processes(family.len()));
    }
    times.sort();
    plain.sort();
    println!("crash: nothing was running after {times:?}; as many plain processes took {plain:?}");
    let most = GONE_WITHIN.max(plain[ROUNDS / 2] * MOST_TIMES_PLAIN);
    assert!(times[ROUNDS / 2] <= most, "most of {ROUNDS} killed supervisors left something running for longer than {most:?}: {times:?}");
}

/// Waits until nothing of a killed supervisor runs.
fn await_end(family: &HashSet<Process>, folders: &[PathBuf], killed: Instant) {
    loop {
        // What was forked after the family was listed is in the control groups.
        let left: Vec<_> = family.iter().copied().chain(folders.iter().flat_map(|folder| members(folder))).filter(is_running).collect();
        if left.is_empty() {
            return;
        }
        assert!(killed.elapsed() < GONE_AT_LAST, "still running after {GONE_AT_LAST:?}: {left:?}");
        std::thread::yield_now();
    }
}

/// How long it takes until so many busy processes have ended, from the first signal on.
fn time_to_end_plain_processes(count: usize) -> Duration {
    let busy = || Command::new("/bin/sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
    let mut processes: Vec<Child> = (0..count).map(|_| busy()).collect();
    let began = Instant::now();
    for process in &mut processes {
        process.kill().unwrap();
    }
    for process in &mut processes {
        process.wait().unwrap();
    }
    began.elapsed()
}

async fn the_next_engine_sweeps_the_control_groups_of_a_killed_one() {
    let victim = Victim::start();
    let pid = victim.process.id();
    let (family, folders) = victim.kill();
    assert!(!folders.is_empty(), "the supervisor had no control groups");
    let killed = Instant::now();
    await_end(&family, &folders, killed);
    let engine = Engine::new(EngineConfig::from_env().unwrap()).unwrap();
    assert_eq!(cgroups_of(pid), Vec::<PathBuf>::new(), "stale control groups");
    let own = std::process::id();
    assert!(!cgroups_of(own).is_empty(), "it has some of its own now");
    engine.shutdown().await;
    assert_eq!(cgroups_of(own), Vec::<PathBuf>::new(), "left over by a shutdown");
}

/// How many runs to wait before the kill: another number each time, and from the first to well into the life of a pool.
fn moment() -> u32 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().subsec_micros() % 60
}

/// A process that a reused number is not mistaken for: its number, and when it started.
type Process = (u32, u64);

/// State, parent and start of a process.
fn stat(pid: u32) -> Option<(char, u32, u64)> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split(' ').collect();
    Some((fields[0].chars().next()?, fields[1].parse().ok()?, fields[19].parse().ok()?))
}

/// Dead ones that nobody has reaped yet do not run.
fn is_running(&(pid, started): &Process) -> bool {
    stat(pid).is_some_and(|(state, _, start)| start == started && !"ZX".contains(state))
}

fn descendants(of: u32) -> HashSet<Process> {
    let mut children: HashMap<u32, Vec<Process>> = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        if let Some((_, parent, started)) = stat(pid) {
            children.entry(parent).or_default().push((pid, started));
        }
    }
    let (mut all, mut next) = (HashSet::new(), vec![of]);
    while let Some(parent) = next.pop() {
        for child in children.remove(&parent).unwrap_or_default() {
            next.push(child.0);
            all.insert(child);
        }
    }
    all
}

/// The folders of a supervisor in all hierarchies, those of its sandboxes included.
fn cgroups_of(supervisor: u32) -> Vec<PathBuf> {
    fn walk(folder: &Path, prefix: &str, is_own: bool, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let is_own = is_own || entry.file_name().to_string_lossy().starts_with(prefix);
                if is_own {
                    found.push(entry.path());
                }
                walk(&entry.path(), prefix, is_own, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(Path::new("/sys/fs/cgroup"), &format!("belljar-{supervisor}-"), false, &mut found);
    found
}

fn members(folder: &Path) -> Vec<Process> {
    let list = fs::read_to_string(folder.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).filter_map(|pid| stat(pid).map(|(_, _, started)| (pid, started))).collect()
}
