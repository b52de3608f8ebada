//! How a hostile program is run: the real `belljar` with `--json`, in a folder of its own, watched for what it leaves behind.
//!
//! Each program begins with a prelude that gives it `attempt(name, function)`: what the attempt did, or the error that stopped it, is recorded under
//! its name and comes back as the run's value. An attack whose record is missing never ran, and fails its test.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

use crate::leftovers;

/// Both ways in which a sandbox comes to be.
pub const STARTS: [&str; 2] = ["fork", "exec"];

const JAVASCRIPT: &str = include_str!("prelude.js");
const PYTHON: &str = include_str!("prelude.py");

/// A run takes as long as this only if it hangs. Emulated machines are thirty times slower than real ones.
const PATIENCE: Duration = Duration::from_secs(280);

/// One hostile program, and how it is run.
#[derive(Clone, Debug)]
pub struct Attack {
    extension: &'static str,
    code: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Attack {
    /// The body of an async function in JavaScript.
    pub fn javascript(body: &str) -> Self {
        let code = format!("{JAVASCRIPT}\nasync function main(parameters) {{\n{body}\nreturn attempts;\n}}\n");
        Self::verbatim("js", &code)
    }

    /// Top-level statements in Python.
    pub fn python(body: &str) -> Self {
        Self::verbatim("py", &format!("{PYTHON}\n{body}\nattempts\n"))
    }

    /// A program without a prelude.
    pub fn verbatim(extension: &'static str, code: &str) -> Self {
        Self { extension, code: code.to_owned(), arguments: Vec::new(), environment: Vec::new() }
    }

    /// Adds command-line arguments.
    pub fn with<I: IntoIterator<Item: Into<String>>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Limits its wall-clock time: so many milliseconds here, more on a slower machine, so that the program gets as far.
    pub fn within(self, ms: u64) -> Self {
        self.with(["--timeout".to_owned(), format!("{}ms", ms * u64::from(machine().slowness))])
    }

    /// Limits its CPU time, likewise.
    pub fn with_cpu(self, ms: u64) -> Self {
        self.with(["--cpu".to_owned(), format!("{}ms", ms * u64::from(machine().slowness))])
    }

    /// Chooses how its sandbox comes to be.
    pub fn start(self, mode: &str) -> Self {
        self.with(["--start", mode])
    }

    /// Sets a variable of belljar's own environment.
    pub fn in_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts it, to be watched while it runs.
    pub fn spawn_kept(&self) -> Running {
        let folder = self.folder();
        let mut running = self.spawn_in(&folder);
        running.folder = Some(folder);
        running
    }

    fn folder(&self) -> TempDir {
        let folder = tempfile::Builder::new().prefix("belljar-security-").tempdir().expect("a temporary folder");
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        std::fs::write(folder.path().join(format!("program.{}", self.extension)), &self.code).unwrap();
        folder
    }

    fn spawn_in(&self, folder: &TempDir) -> Running {
        let mut command = Command::new(env!("CARGO_BIN_EXE_belljar"));
        command.arg("run").arg(folder.path().join(format!("program.{}", self.extension))).arg("--json");
        if !limits_available() {
            command.arg("--allow-degraded");
        }
        // What is not about time must not end by it, however slow the machine.
        for (limit, ample) in [("--timeout", "250s"), ("--cpu", "200s")] {
            if !self.arguments.iter().any(|argument| argument == limit) {
                command.args([limit, ample]);
            }
        }
        command.args(&self.arguments).envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(folder.path().join("work")).env("TMPDIR", folder.path().join("tmp"));
        Running::start(command)
    }

    /// Runs it to its end, and checks that nothing of it is left.
    pub fn run(&self) -> Outcome {
        let folder = self.folder();
        let outcome = self.spawn_in(&folder).outcome();
        leftovers::assert_none(outcome.belljar, folder.path());
        outcome
    }

    /// Runs it with each start mode and with arguments of its own, and checks both outcomes.
    pub fn in_both_starts_with_arguments(&self, arguments: &[&str], check: impl Fn(&Outcome)) {
        for start in STARTS {
            let attack = self.clone().start(start).with(["--"]).with(arguments.iter().copied());
            check(&attack.run());
        }
    }

    /// Runs it with each start mode, and checks both outcomes.
    pub fn in_both_starts(&self, check: impl Fn(&Outcome)) {
        for start in STARTS {
            check(&self.clone().start(start).run());
        }
    }
}

/// A belljar under way.
#[derive(Debug)]
pub struct Running {
    child: Child,
    stdout: Option<JoinHandle<Vec<u8>>>,
    stderr: Option<JoinHandle<Vec<u8>>>,
    started: Instant,
    folder: Option<TempDir>,
}

impl Running {
    fn start(mut command: Command) -> Self {
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = leftovers::spawn(&mut command);
        let (stdout, stderr) = (child.stdout.take().map(drain), child.stderr.take().map(drain));
        Self { child, stdout, stderr, started: Instant::now(), folder: None }
    }

    /// Its process number.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal).expect("belljar is alive");
    }

    /// The most memory that belljar itself has held so far, bytes.
    pub fn peak_memory(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.pid())).unwrap_or_default();
        let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap_or("0");
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap_or(0) * 1024
    }

    /// CPU time that belljar itself has used so far.
    pub fn cpu_time(&self) -> Duration {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap_or_default();
        let fields = stat.rsplit_once(") ").map(|(_, rest)| rest.split(' ').skip(11).take(2)).into_iter().flatten();
        // In hundredths of a second (`USER_HZ`).
        Duration::from_millis(fields.filter_map(|ticks| ticks.parse::<u64>().ok()).sum::<u64>() * 10)
    }

    /// How many descriptors belljar has open.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).map_or(0, Iterator::count)
    }

    /// Whether it has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits for its end.
    pub fn outcome(mut self) -> Outcome {
        while !self.has_ended() {
            assert!(self.started.elapsed() < PATIENCE, "belljar hangs: {:?}", self.child.kill());
            std::thread::sleep(Duration::from_millis(2));
        }
        let took = self.started.elapsed();
        let belljar = self.pid();
        let exit = self.child.wait().expect("it is our child").code();
        leftovers::forget(belljar);
        let text = |pipe: Option<JoinHandle<Vec<u8>>>| {
            String::from_utf8_lossy(&pipe.and_then(|thread| thread.join().ok()).unwrap_or_default()).into_owned()
        };
        let (stdout, stderr) = (text(self.stdout.take()), text(self.stderr.take()));
        drop(self.folder.take());
        let json = serde_json::from_str(&stdout).unwrap_or(Value::Null);
        Outcome { json, exit, stderr, belljar, took }
    }
}

fn drain(mut pipe: impl Read + Send + 'static) -> JoinHandle<Vec<u8>> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let _ = pipe.read_to_end(&mut bytes);
        bytes
    })
}

/// How it ended.
#[derive(Debug)]
pub struct Outcome {
    /// What `--json` printed.
    pub json: Value,
    /// Belljar's exit code.
    pub exit: Option<i32>,
    /// What belljar wrote to its standard error.
    pub stderr: String,
    /// The number that belljar's process had.
    pub belljar: u32,
    /// From start to end.
    pub took: Duration,
}

impl Outcome {
    /// Its status.
    pub fn status(&self) -> &str {
        self.json["status"].as_str().unwrap_or("none")
    }

    /// Asserts how it ended.
    #[track_caller]
    pub fn must_be(&self, status: &str) -> &Self {
        assert_eq!(self.status(), status, "{}\n{}", self.json, self.stderr);
        self
    }

    /// What the attempt `name` came to: an error's name, or `done: ` and what it gave. The attempt must have been made.
    #[track_caller]
    pub fn attempt(&self, name: &str) -> &str {
        self.json["value"][name].as_str().unwrap_or_else(|| panic!("the attempt {name} was not made: {}\n{}", self.json, self.stderr))
    }

    /// Asserts what attempts came to. Several answers, separated by `|`, may be right.
    #[track_caller]
    pub fn attempts(&self, expected: &[(&str, &str)]) -> &Self {
        self.must_be("succeeded");
        let wrong: BTreeMap<&str, (&str, &str)> = expected
            .iter()
            .map(|&(name, allowed)| (name, (self.attempt(name), allowed)))
            .filter(|(_, (came_to, allowed))| !allowed.split('|').any(|one| one == *came_to))
            .collect();
        assert!(wrong.is_empty(), "attempt: (came to, should have): {wrong:#?}");
        self
    }

    /// The words of the error by which a program ends that breaks the protocol of its control channel.
    #[track_caller]
    pub fn protocol_error(&self) -> &str {
        assert_eq!(self.json["error"]["name"], "ProtocolError", "{}", self.json);
        self.json["error"]["message"].as_str().unwrap_or_default()
    }

    /// The lines that the program logged.
    pub fn logged(&self) -> Vec<&str> {
        self.json["logs"].as_array().into_iter().flatten().filter_map(|entry| entry["message"].as_str()).collect()
    }
}

/// What was found out about this machine, by one harmless run.
#[derive(Clone, Copy, Debug)]
struct Machine {
    limits: bool,
    /// How many times slower it is than a common one, 1 to 30.
    slowness: u32,
}

fn machine() -> Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    *MACHINE.get_or_init(|| {
        let harmless = |degraded: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let mut command = Command::new(env!("CARGO_BIN_EXE_belljar"));
            command.args(["run", "-e", "6 * 7", "--language", "python", "--json"]).args(degraded).current_dir(folder.path());
            Running::start(command).outcome()
        };
        let refused = |outcome: &Outcome| {
            let why = outcome.json["error"]["message"].as_str().unwrap_or_default();
            outcome.status() == "refused" && (why.contains("control group") || why.contains("cgroup"))
        };
        let mut outcome = harmless(&[]);
        let limits = !refused(&outcome);
        if !limits {
            outcome = harmless(&["--allow-degraded"]);
        }
        assert_eq!(outcome.json["value"], 42, "no run succeeds on this machine: {outcome:?}");
        // A common machine takes some 200 ms, most of it to boot Python.
        Machine { limits, slowness: u32::try_from(outcome.took.as_millis() / 500).unwrap_or(30).clamp(1, 30) }
    })
}

/// Whether this machine and user can limit memory and processes. Without, runs are refused unless degraded ones are accepted.
pub fn limits_available() -> bool {
    machine().limits
}

/// How many times slower this machine is than a common one.
pub fn slowness() -> f64 {
    f64::from(machine().slowness)
}

/// Whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Writes a file that a test needs on the host.
pub fn host_file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Opens a folder to everybody: where the file system cannot map ids, a sandbox has the access of others.
pub fn open_to_all(folder: &Path) {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
}
