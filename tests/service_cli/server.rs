//! Starts the real server in a home of its own, and the real binary as whoever speaks to it.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_belljar");

/// A server under test. Killed when it is dropped.
pub struct Server {
    pub home: PathBuf,
    pub url: String,
    /// Of the first start; else empty.
    pub token: String,
    process: Child,
    watcher: Child,
    _folder: Option<TempDir>,
}

/// `belljar` with arguments, in an environment that knows of no server.
pub fn belljar<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).env("NO_COLOR", "1");
    for name in ["BELLJAR_URL", "BELLJAR_TOKEN", "BELLJAR_CONFIG", "BELLJAR_HOME"] {
        command.env_remove(name);
    }
    command.env("BELLJAR_HOME", "/nonexistent/home").env("XDG_CONFIG_HOME", "/nonexistent/config");
    command
}

impl Server {
    /// A server with a new home.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        Self::launch(&folder.path().join("home"), &[], Some(folder))
    }

    /// A server with this home, and flags.
    pub fn start_in(home: &Path, flags: &[&str]) -> Self {
        Self::launch(home, flags, None)
    }

    fn launch(home: &Path, flags: &[&str], folder: Option<TempDir>) -> Self {
        let is_first = !home.join("belljar.db").exists();
        let mut command = belljar(["serve", "--listen", "127.0.0.1:0"]);
        command.args(flags).env("BELLJAR_HOME", home).env("BELLJAR_LOG", "warn").stderr(Stdio::inherit());
        if !rustix::process::geteuid().is_root() {
            // An ordinary user without delegated control groups accepts what that lacks.
            command.arg("--allow-degraded");
        }
        let mut process = command.spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut printed = String::new();
        while !(printed.contains("\n  bjr_") || !is_first && printed.contains("belljar is ready")) {
            assert!(out.read_line(&mut printed).unwrap() > 0, "the server ended, having printed: {printed}");
        }
        let word = |start: &str| {
            printed.split_whitespace().find(|word| word.starts_with(start)).unwrap_or_default().trim_end_matches(',').to_owned()
        };
        let (url, token) = (word("http"), word("bjr_"));
        // What it says later must not fill a pipe that nobody reads.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let watcher = watch(process.id(), folder.as_ref().map(TempDir::path));
        Self { home: home.to_owned(), url, token, process, watcher, _folder: folder }
    }

    /// `belljar` of the operator, over the socket.
    pub fn operator<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = belljar(arguments);
        command.env("BELLJAR_HOME", &self.home);
        command
    }

    /// `belljar` of whoever has the first token, over the port.
    pub fn client<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = belljar(arguments);
        command.env("BELLJAR_URL", &self.url).env("BELLJAR_TOKEN", &self.token);
        command
    }

    /// Starts a run of JavaScript, and gives its id.
    #[track_caller]
    pub fn start_run(&self, code: &str, flags: &[&str]) -> String {
        let said = said(self.client(["run", "--remote", "--detach", "-l", "js", "-e", code]).args(flags));
        assert_eq!(said.code, Some(0), "{said:?}");
        said.stdout.trim().to_owned()
    }

    /// A run's record once it is in this state.
    #[track_caller]
    pub fn until(&self, id: &str, status: &str) -> Value {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let record = said(&mut self.client(["runs", "show", id, "--json"])).json();
            if record["status"] == status {
                return record;
            }
            assert!(Instant::now() < end && record["finished_at"].is_null(), "{record}");
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Kills it as nothing can be killed more.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }
}

/// Ends a server when this process ends, however that comes, and takes its folder away: one that is shared by tests is never dropped.
fn watch(server: u32, folder: Option<&Path>) -> Child {
    let mut shell = Command::new("sh");
    shell.args(["-c", r#"cat >/dev/null; kill -9 "$0"; sleep 0.1; rm -rf -- "$@""#, &server.to_string()]).args(folder);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        // First, or it would end whatever is called by that number then.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
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
    /// The one line of JSON that it printed, having done well.
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!((self.code, self.stdout.lines().count()), (Some(0), 1), "{self:?}");
        serde_json::from_str(&self.stdout).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// Holds that it did well and that standard output has every one of these in it.
    #[track_caller]
    pub fn shows(&self, words: &[&str]) -> &Self {
        assert_eq!(self.code, Some(0), "{self:?}");
        for word in words {
            assert!(self.stdout.contains(word), "no `{word}` in {self:?}");
        }
        self
    }

    /// Holds the exit code and that standard error has every one of these in it.
    #[track_caller]
    pub fn fails(&self, code: i32, words: &[&str]) {
        assert_eq!(self.code, Some(code), "{self:?}");
        for word in words {
            assert!(self.stderr.contains(word), "no `{word}` in {self:?}");
        }
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
