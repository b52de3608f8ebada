//! Runs hostile programs with the real `belljar` and `--json`, each in a folder of its own, and
//! checks that they leave nothing behind.
//!
//! Each program begins with a prelude that defines `attempt(name, function)`. The result of the
//! attempt, or the error that stopped it, is recorded under its name and returned as the run's
//! value. An attempt without a record never ran, and fails its test.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use belljar_test_support::{STARTS, binary, processes};
use serde_json::Value;
use tempfile::TempDir;

use crate::leftovers;

const JAVASCRIPT: &str = include_str!("prelude.js");
const PYTHON: &str = include_str!("prelude.py");

/// Time after which a run counts as hanging. Emulated machines are thirty times slower than real
/// ones.
const PATIENCE: Duration = Duration::from_secs(280);

/// A hostile program with the arguments and environment of its run.
#[derive(Clone, Debug)]
pub struct Attack {
    extension: &'static str,
    code: String,
    arguments: Vec<String>,
    environment: Vec<(String, String)>,
}

impl Attack {
    /// An attack with the body of an async function in JavaScript.
    pub fn javascript(body: &str) -> Self {
        let code = format!(
            "{JAVASCRIPT}\nasync function main(parameters) {{\n{body}\nreturn attempts;\n}}\n"
        );
        Self::verbatim("js", &code)
    }

    /// An attack with top-level statements in Python.
    pub fn python(body: &str) -> Self {
        Self::verbatim("py", &format!("{PYTHON}\n{body}\nattempts\n"))
    }

    /// An attack with a complete program, without the prelude.
    pub fn verbatim(extension: &'static str, code: &str) -> Self {
        Self { extension, code: code.to_owned(), arguments: Vec::new(), environment: Vec::new() }
    }

    /// Adds command-line arguments.
    pub fn with<I: IntoIterator<Item: Into<String>>>(mut self, arguments: I) -> Self {
        self.arguments.extend(arguments.into_iter().map(Into::into));
        self
    }

    /// Limits the wall-clock time to `ms` milliseconds, multiplied by the slowness of the machine
    /// so that the program gets equally far.
    pub fn within(self, ms: u64) -> Self {
        self.with(["--timeout".to_owned(), format!("{}ms", ms * u64::from(machine().slowness))])
    }

    /// Limits the CPU time to `ms` milliseconds, multiplied by the slowness of the machine.
    pub fn with_cpu(self, ms: u64) -> Self {
        self.with(["--cpu".to_owned(), format!("{}ms", ms * u64::from(machine().slowness))])
    }

    /// Sets the start mode, `fork` or `exec`.
    pub fn start(self, mode: &str) -> Self {
        self.with(["--start", mode])
    }

    /// Sets a variable of belljar's own environment.
    pub fn in_environment(mut self, name: &str, value: &str) -> Self {
        self.environment.push((name.to_owned(), value.to_owned()));
        self
    }

    /// Starts the attack and returns at once. Its folder is kept until the outcome is taken.
    pub fn spawn_kept(&self) -> Running {
        let folder = self.folder();
        let mut running = self.spawn_in(&folder);
        running.folder = Some(folder);
        running
    }

    fn folder(&self) -> TempDir {
        let folder = tempfile::Builder::new()
            .prefix("belljar-security-")
            .tempdir()
            .expect("a temporary folder");
        std::fs::create_dir(folder.path().join("tmp")).unwrap();
        std::fs::create_dir(folder.path().join("work")).unwrap();
        std::fs::write(folder.path().join(format!("program.{}", self.extension)), &self.code)
            .unwrap();
        folder
    }

    fn spawn_in(&self, folder: &TempDir) -> Running {
        let mut command = Command::new(binary());
        command
            .arg("run")
            .arg(folder.path().join(format!("program.{}", self.extension)))
            .arg("--json");
        if !limits_available() {
            command.arg("--allow-degraded");
        }
        // An attack that is not about time must not time out, however slow the machine is.
        for (limit, ample) in [("--timeout", "250s"), ("--cpu", "200s")] {
            if !self.arguments.iter().any(|argument| argument == limit) {
                command.args([limit, ample]);
            }
        }
        command
            .args(&self.arguments)
            .envs(self.environment.iter().map(|(name, value)| (name, value)));
        command.current_dir(folder.path().join("work")).env("TMPDIR", folder.path().join("tmp"));
        Running::start(command)
    }

    /// Runs the attack to its end and checks that it leaves nothing behind.
    pub fn run(&self) -> Outcome {
        let folder = self.folder();
        let outcome = self.spawn_in(&folder).outcome();
        leftovers::assert_none(outcome.belljar, folder.path());
        outcome
    }

    /// Runs the attack in each start mode with arguments for the program, and checks both outcomes.
    pub fn in_both_starts_with_arguments(&self, arguments: &[&str], check: impl Fn(&Outcome)) {
        for start in STARTS {
            let attack = self.clone().start(start).with(["--"]).with(arguments.iter().copied());
            check(&attack.run());
        }
    }

    /// Runs the attack in each start mode and checks both outcomes.
    pub fn in_both_starts(&self, check: impl Fn(&Outcome)) {
        for start in STARTS {
            check(&self.clone().start(start).run());
        }
    }
}

/// A running belljar.
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

    /// The pid of belljar.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Sends belljar a signal.
    pub fn signal(&self, signal: rustix::process::Signal) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), signal)
            .expect("belljar is alive");
    }

    /// Peak resident memory of belljar itself so far, in bytes.
    pub fn peak_memory(&self) -> u64 {
        processes::peak_resident_bytes(self.pid())
    }

    /// CPU time that belljar itself has used so far.
    pub fn cpu_time(&self) -> Duration {
        processes::stat(self.pid()).map_or(Duration::ZERO, |stat| stat.cpu_time)
    }

    /// Number of descriptors that belljar has open.
    pub fn descriptors(&self) -> usize {
        processes::descriptors(self.pid())
    }

    /// Whether belljar has ended.
    pub fn has_ended(&mut self) -> bool {
        self.child.try_wait().expect("it is our child").is_some()
    }

    /// Waits until belljar has ended.
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
            String::from_utf8_lossy(&pipe.and_then(|thread| thread.join().ok()).unwrap_or_default())
                .into_owned()
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

/// The end of an attack's run.
#[derive(Debug)]
pub struct Outcome {
    /// The outcome that `--json` printed.
    pub json: Value,
    /// Exit code of belljar, or `None` if a signal killed it.
    pub exit: Option<i32>,
    /// Standard error of belljar.
    pub stderr: String,
    /// Pid that belljar had.
    pub belljar: u32,
    /// Time from the start to the end of belljar.
    pub took: Duration,
}

impl Outcome {
    /// Status of the run, or `none` if belljar printed no outcome.
    pub fn status(&self) -> &str {
        self.json["status"].as_str().unwrap_or("none")
    }

    /// Asserts the status of the run.
    #[track_caller]
    pub fn must_be(&self, status: &str) -> &Self {
        assert_eq!(self.status(), status, "{}\n{}", self.json, self.stderr);
        self
    }

    /// Result of the attempt `name`: the name of an error, or `done: ` and the value. Panics if the
    /// attempt was not made.
    #[track_caller]
    pub fn attempt(&self, name: &str) -> &str {
        self.json["value"][name].as_str().unwrap_or_else(|| {
            panic!("the attempt {name} was not made: {}\n{}", self.json, self.stderr)
        })
    }

    /// Asserts the results of attempts. Several results, separated by `|`, may be allowed.
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

    /// Message of the error that ends a run for violating the protocol of the control channel.
    #[track_caller]
    pub fn protocol_error(&self) -> &str {
        assert_eq!(self.json["error"]["name"], "ProtocolError", "{}", self.json);
        self.json["error"]["message"].as_str().unwrap_or_default()
    }

    /// Messages that the program logged.
    pub fn logged(&self) -> Vec<&str> {
        self.json["logs"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|entry| entry["message"].as_str())
            .collect()
    }
}

/// Properties of this machine, measured with one harmless run.
#[derive(Clone, Copy, Debug)]
struct Machine {
    limits: bool,
    /// Run time relative to that on a common machine, 1 to 30.
    slowness: u32,
}

fn machine() -> Machine {
    static MACHINE: OnceLock<Machine> = OnceLock::new();
    *MACHINE.get_or_init(|| {
        let harmless = |degraded: &[&str]| {
            let folder = tempfile::tempdir().unwrap();
            let mut command = Command::new(binary());
            command
                .args(["run", "-e", "6 * 7", "--language", "python", "--json"])
                .args(degraded)
                .current_dir(folder.path());
            Running::start(command).outcome()
        };
        let refused = |outcome: &Outcome| {
            let why = outcome.json["error"]["message"].as_str().unwrap_or_default();
            outcome.status() == "refused"
                && (why.contains("control group") || why.contains("cgroup"))
        };
        let mut outcome = harmless(&[]);
        let limits = !refused(&outcome);
        if !limits {
            outcome = harmless(&["--allow-degraded"]);
        }
        assert_eq!(outcome.json["value"], 42, "no run succeeds on this machine: {outcome:?}");
        // A common machine takes some 200 ms, most of it to boot Python.
        Machine {
            limits,
            slowness: u32::try_from(outcome.took.as_millis() / 500).unwrap_or(30).clamp(1, 30),
        }
    })
}

/// Whether memory and processes can be limited on this machine as this user. If not, runs are
/// refused unless degraded ones are allowed.
pub fn limits_available() -> bool {
    machine().limits
}

/// Run time on this machine relative to that on a common one, 1 to 30.
pub fn slowness() -> f64 {
    f64::from(machine().slowness)
}

/// Writes a file on the host and returns its path.
pub fn host_file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    std::fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Gives everyone access to a folder. If the file system cannot map ids, a sandbox has the access
/// of others.
pub fn open_to_all(folder: &Path) {
    std::fs::set_permissions(folder, std::os::unix::fs::PermissionsExt::from_mode(0o777)).unwrap();
}
