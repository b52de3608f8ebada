//! The real server in a home of its own, and its clients.

use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::belljar::{belljar_without_server, binary, is_root};
use crate::http::{Answer, Request, read_answer};

/// A server under test, which is killed when it is dropped.
pub struct Server {
    /// The home of the server.
    pub home: PathBuf,
    /// URL of its port on loopback.
    pub url: String,
    /// The token that the first start of a home prints. On a later start it is empty.
    pub token: String,
    /// The text that the start printed.
    pub greeting: String,
    process: Child,
    watcher: Child,
    /// The folder that contains a new home. It is removed with the server.
    _folder: Option<TempDir>,
}

impl Server {
    /// Starts a server with a new home.
    pub fn start() -> Self {
        let folder = TempDir::new().unwrap();
        Self::launch(&[], &folder.path().join("home"), &[], Some(folder))
    }

    /// Starts a server with a new home and this content of `belljar.toml`.
    pub fn start_with(config: &str) -> Self {
        Self::start_through(&[], config)
    }

    /// Starts a server by a command that gets the command of the server as further arguments, and
    /// replaces itself with it.
    pub fn start_through(command: &[&str], config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("belljar.toml"), config).unwrap();
        Self::launch(command, &home, &[], Some(folder))
    }

    /// Starts a server with this home, which may exist, and these flags.
    pub fn start_in(home: &Path, flags: &[&str]) -> Self {
        Self::launch(&[], home, flags, None)
    }

    fn launch(through: &[&str], home: &Path, flags: &[&str], folder: Option<TempDir>) -> Self {
        let is_first = !home.join("belljar.db").exists();
        let mut command = Command::new("sh");
        command
            // With the soft limit on open files that most sessions have.
            .args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\""])
            .args(through)
            .args([binary(), "serve", "--listen", "127.0.0.1:0"])
            .args(flags)
            .env("BELLJAR_HOME", home)
            .env("BELLJAR_LOG", "warn")
            .env("NO_COLOR", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped());
        if !is_root() {
            // An ordinary user without delegated control groups accepts the missing limits.
            command.arg("--allow-degraded");
        }
        let mut process = command.spawn().unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut greeting = String::new();
        // The first start ends by naming the documentation.
        let last = if is_first { "/docs." } else { "belljar is ready" };
        while !greeting.contains(last) {
            let read = out.read_line(&mut greeting).unwrap();
            assert!(read > 0, "the server ended after it had printed: {greeting}");
        }
        // Later output must not fill a pipe that no one reads.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let word = |start: &str| {
            let word = greeting.split_whitespace().find(|word| word.starts_with(start));
            word.unwrap_or_default().trim_end_matches(',').to_owned()
        };
        let (url, token) = (word("http"), word("bjr_"));
        let watcher = watch(process.id(), folder.as_ref().map(TempDir::path));
        Self { home: home.to_owned(), url, token, greeting, process, watcher, _folder: folder }
    }

    /// Returns the process id of the server.
    pub fn pid(&self) -> u32 {
        self.process.id()
    }

    /// Kills the server with SIGKILL.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks the server to stop, and waits until it has.
    pub fn stop(&mut self) -> ExitStatus {
        kill_process(Pid::from_child(&self.process), Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }

    /// Returns a `belljar` command of the operator, over the socket.
    pub fn operator<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = belljar_without_server(arguments);
        command.env("BELLJAR_HOME", &self.home);
        command
    }

    /// Returns a `belljar` command of a client with this server's token, over the port.
    pub fn client<S: AsRef<OsStr>>(&self, arguments: impl IntoIterator<Item = S>) -> Command {
        let mut command = belljar_without_server(arguments);
        command.env("BELLJAR_URL", &self.url).env("BELLJAR_TOKEN", &self.token);
        command
    }

    /// Connects to the port. Reads time out after a minute.
    pub fn connect(&self) -> TcpStream {
        let address = self.url.strip_prefix("http://").expect("a server without TLS");
        let socket = TcpStream::connect(address).unwrap();
        socket.set_read_timeout(Some(Duration::from_mins(1))).unwrap();
        socket
    }

    /// Returns a request with this server's token, to be sent.
    pub fn ask(&self, method: &str, path: &str) -> Request {
        Request::new(method, &format!("{}{path}", self.url)).token(&self.token)
    }

    /// Sends a GET request with this server's token.
    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    /// Sends a POST request with this server's token.
    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path).json(body).send()
    }

    /// Runs a program to its end and returns its outcome.
    #[track_caller]
    pub fn run(&self, language: &str, code: &str) -> Value {
        self.post("/v1/runs", json!({"language": language, "code": code, "wait": true})).is(200)
    }

    /// Starts a run and returns its id.
    #[track_caller]
    pub fn start_run(&self, body: Value) -> String {
        self.post("/v1/runs", body).is(202)["id"].as_str().unwrap().to_owned()
    }

    /// Waits until the record of a run meets a condition, and returns it.
    #[track_caller]
    pub fn until(&self, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        self.until_as(&self.token, id, holds)
    }

    /// Waits as [`Server::until`] does, with another token.
    #[track_caller]
    pub fn until_as(&self, token: &str, id: &str, holds: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_mins(2);
        loop {
            let record = self.ask("GET", &format!("/v1/runs/{id}")).token(token).send().is(200);
            if holds(&record) {
                return record;
            }
            assert!(Instant::now() < end, "{record}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Waits until a run has ended, and returns its record.
    #[track_caller]
    pub fn until_over(&self, id: &str) -> Value {
        self.until(id, |record| !record["finished_at"].is_null())
    }

    /// Waits until a run has this status, and returns its record. Panics if it ends with another.
    #[track_caller]
    pub fn until_status(&self, id: &str, status: &str) -> Value {
        let record =
            self.until(id, |record| record["status"] == status || !record["finished_at"].is_null());
        assert_eq!(record["status"], status, "{record}");
        record
    }

    /// Sends a request of the operator, over the socket, in the project `default`.
    pub fn operate(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.operate_in("default", method, path, body)
    }

    /// Sends a request of the operator, over the socket, in this project.
    pub fn operate_in(
        &self,
        project: &str,
        method: &str,
        path: &str,
        body: Option<Value>,
    ) -> Answer {
        let mut socket = UnixStream::connect(self.home.join("server.sock")).unwrap();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\
             Belljar-Project: {project}\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        read_answer(&mut socket)
    }

    /// Creates a project with these settings, and returns a token with every scope of it.
    pub fn project(&self, name: &str, settings: Value) -> String {
        self.operate("POST", "/v1/projects", Some(json!({"name": name, "settings": settings})))
            .is(201);
        let new = json!({"name": "test", "scopes": ["run", "read", "storage", "admin"]});
        let issued = self.operate_in(name, "POST", "/v1/tokens", Some(new)).is(201);
        issued["token"].as_str().unwrap().to_owned()
    }
}

/// Starts a process that kills the server and removes its folder when this process ends in any way:
/// a server that tests share is never dropped.
fn watch(server: u32, folder: Option<&Path>) -> Child {
    let script = r#"cat >/dev/null; kill -9 "$0"; sleep 0.1; rm -rf -- "$@""#;
    let mut shell = Command::new("sh");
    shell.args(["-c", script, &server.to_string()]).args(folder);
    shell.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(Stdio::null()).spawn().unwrap()
}

impl Drop for Server {
    fn drop(&mut self) {
        // First, or it could kill another process that has the same id by then.
        let _ = self.watcher.kill();
        let _ = self.watcher.wait();
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
