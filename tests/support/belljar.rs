//! Starts the real binary and reads what it says.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Child, Command, Output, Stdio};

use serde_json::Value;

pub const BINARY: &str = env!("CARGO_BIN_EXE_belljar");
pub const STARTS: [&str; 2] = ["exec", "fork"];

/// `belljar` with arguments, in an environment without colours and proxies of the caller's choice.
pub fn belljar<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("NO_COLOR", "1");
    command
}

/// `belljar run`. An ordinary user without delegated control groups accepts what that lacks.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = belljar(["run"]);
    command.args(arguments);
    if !is_root() {
        command.arg("--allow-degraded");
    }
    command
}

pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// How a command ended, as text.
#[derive(Debug)]
pub struct Said {
    pub code: Option<i32>,
    pub stdout: String,
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self { code: output.status.code(), stdout: text(&output.stdout), stderr: text(&output.stderr) }
    }
}

impl Said {
    /// The outcome that `--json` printed, and nothing else.
    pub fn outcome(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line of JSON: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Holds the exit code and that standard error has every one of these in it.
    #[track_caller]
    pub fn fails(&self, code: i32, says: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for words in says {
            assert!(self.stderr.contains(words), "no `{words}` in {self:?}");
        }
    }

    /// Holds the exit code and standard output.
    #[track_caller]
    pub fn prints(&self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(0), stdout), "{self:?}");
    }
}

/// Runs it to its end.
pub fn said(command: &mut Command) -> Said {
    command.output().expect("belljar starts").into()
}

/// Runs it to its end with something on standard input.
pub fn said_with_input(command: &mut Command, input: &[u8]) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("belljar starts");
    // It may have ended without reading: its exit says why.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("belljar ends").into()
}

/// `belljar run --json` of a program.
pub fn outcome(language: &str, code: &str, flags: &[&str]) -> Value {
    said(run(["--language", language, "--eval", code, "--json"]).args(flags)).outcome()
}

/// Starts it, and gives it back for the test to talk to.
pub fn spawn(command: &mut Command) -> Child {
    command.spawn().expect("belljar starts")
}

/// Whether a process has left a control group behind. They are named for the process that made them.
pub fn control_groups_of(pid: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut folders = vec![std::path::PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                if entry.file_name().to_string_lossy().starts_with(&format!("belljar-{pid}-")) {
                    found.push(entry.path().display().to_string());
                }
                folders.push(entry.path());
            }
        }
    }
    found
}
