//! The real binary as a child process, and what it prints.

use std::ffi::OsStr;
use std::io::Write;
use std::process::{Command, Output, Stdio};
use std::sync::OnceLock;

use serde_json::Value;

/// Both start modes of a sandbox.
pub const STARTS: [&str; 2] = ["fork", "exec"];

/// Returns the path of the binary, which cargo builds for the tests of its package and names in
/// their environment.
pub fn binary() -> &'static str {
    static PATH: OnceLock<String> = OnceLock::new();
    PATH.get_or_init(|| {
        std::env::var("CARGO_BIN_EXE_belljar")
            .expect("cargo sets CARGO_BIN_EXE_belljar for tests of the package `belljar`")
    })
}

/// Returns whether the tests run as root.
pub fn is_root() -> bool {
    rustix::process::geteuid().is_root()
}

/// Returns a `belljar` command with arguments and piped output, without colours.
pub fn belljar<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(binary());
    command
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .env("NO_COLOR", "1");
    command
}

/// Returns a `belljar` command that knows no server: it finds neither a home nor a profile.
pub fn belljar_without_server<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = belljar(arguments);
    for name in ["BELLJAR_URL", "BELLJAR_TOKEN", "BELLJAR_CONFIG"] {
        command.env_remove(name);
    }
    command.env("BELLJAR_HOME", "/nonexistent/home").env("XDG_CONFIG_HOME", "/nonexistent/config");
    command
}

/// Returns a `belljar run` command. An ordinary user without delegated control groups accepts the
/// missing limits.
pub fn run<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = belljar(["run"]);
    command.args(arguments);
    if !is_root() {
        command.arg("--allow-degraded");
    }
    command
}

/// The exit code and the output of a command.
#[derive(Debug)]
pub struct Said {
    /// Exit code, or `None` if a signal ended the command.
    pub code: Option<i32>,
    /// Standard output, as text.
    pub stdout: String,
    /// Standard error, as text.
    pub stderr: String,
}

impl From<Output> for Said {
    fn from(output: Output) -> Self {
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Self {
            code: output.status.code(),
            stdout: text(&output.stdout),
            stderr: text(&output.stderr),
        }
    }
}

impl Said {
    /// Returns the outcome that `--json` printed, however the run ended, and asserts that it
    /// printed nothing else.
    #[track_caller]
    pub fn outcome(&self) -> Value {
        assert_eq!(self.stdout.lines().count(), 1, "one line of JSON: {self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Asserts success and returns the one line of JSON that was printed.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!(self.code, Some(0), "{self:?}");
        self.outcome()
    }

    /// Asserts success and that standard output contains each of these.
    #[track_caller]
    pub fn shows(&self, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        for word in words {
            assert!(self.stdout.contains(word), "no `{word}` in {self:?}");
        }
        self
    }

    /// Asserts the exit code and that standard error contains each of these.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in {self:?}");
        }
    }

    /// Asserts success and the content of standard output.
    #[track_caller]
    pub fn prints(&self, stdout: &str) {
        assert_eq!((self.code, self.stdout.as_str()), (Some(0), stdout), "{self:?}");
    }
}

/// Runs a command to its end.
pub fn said(command: &mut Command) -> Said {
    command.output().expect("belljar starts").into()
}

/// Runs a command to its end, with this input on standard input.
pub fn said_with_input(command: &mut Command, input: &[u8]) -> Said {
    let mut child = command.stdin(Stdio::piped()).spawn().expect("belljar starts");
    // The command may end without reading its input. The exit code shows why.
    let _ = child.stdin.take().expect("a pipe").write_all(input);
    child.wait_with_output().expect("belljar ends").into()
}

/// Runs a program with `belljar run --json` and returns the outcome.
pub fn outcome(language: &str, code: &str, flags: &[&str]) -> Value {
    said(run(["--language", language, "--eval", code, "--json"]).args(flags)).outcome()
}
