//! Starts the real server in a home of its own, and speaks to it.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{LazyLock, Mutex};
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tempfile::TempDir;

pub const BINARY: &str = env!("CARGO_BIN_EXE_belljar");

/// A server under test. Killed, with all that it started, when it is dropped.
pub struct Server {
    pub home: PathBuf,
    pub url: String,
    pub token: String,
    process: Child,
    /// Ends when this process does, however it does, and kills the server then: one that is shared is never dropped.
    guard: Child,
    /// What the home is in, gone with the server.
    folder: Option<TempDir>,
}

/// An answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|error| panic!("{error}: {}", self.text()))
    }

    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str())
    }

    /// Holds the status, and gives the JSON.
    #[track_caller]
    pub fn is(&self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        if self.body.is_empty() { Value::Null } else { serde_json::from_slice(&self.body).unwrap_or(Value::Null) }
    }

    /// Holds that it is a problem document of this status and kind, whose detail has these words in it.
    #[track_caller]
    pub fn is_problem(&self, status: u16, kind: &str, words: &str) {
        let problem = self.is(status);
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{self:?}");
        assert_eq!(problem["type"], format!("urn:belljar:problem:{kind}"), "{problem}");
        assert_eq!(problem["status"], status, "{problem}");
        assert!(problem["detail"].as_str().unwrap().contains(words), "no `{words}` in {problem}");
    }
}

/// One server for the tests that only add runs and objects of their own.
pub static SHARED: LazyLock<Server> = LazyLock::new(Server::start);

impl Server {
    /// A server with a new home.
    pub fn start() -> Self {
        Self::start_with("")
    }

    /// The same, with a configuration.
    pub fn start_with(config: &str) -> Self {
        let folder = TempDir::new().unwrap();
        let home = folder.path().join("home");
        std::fs::create_dir(&home).unwrap();
        std::fs::write(home.join("belljar.toml"), config).unwrap();
        let mut server = Self::start_in(&home);
        server.folder = Some(folder);
        server
    }

    /// A server with a home that may be there. Its token is empty unless it is the first start.
    pub fn start_in(home: &Path) -> Self {
        // With the soft limit on open files that most sessions have.
        let mut process = Command::new("sh")
            .args(["-c", "ulimit -Sn 1024; exec \"$0\" \"$@\"", BINARY, "serve", "--listen", "127.0.0.1:0"])
            .env("BELLJAR_HOME", home)
            .env("BELLJAR_LOG", "warn")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        let mut out = BufReader::new(process.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        let url = line.split_whitespace().find(|word| word.starts_with("http")).unwrap_or_else(|| panic!("no address in {line:?}"));
        let url = url.trim_end_matches(',').to_owned();
        let mut token = String::new();
        if !home.join("tested").exists() {
            // The first start says more.
            std::fs::write(home.join("tested"), "").unwrap();
            while token.is_empty() {
                line.clear();
                assert!(out.read_line(&mut line).unwrap() > 0, "no token was printed");
                line.split_whitespace().find(|word| word.starts_with("bjr_")).unwrap_or_default().clone_into(&mut token);
            }
        }
        // What it says later must not fill a pipe that nobody reads.
        std::thread::spawn(move || std::io::copy(&mut out, &mut std::io::sink()));
        let guard = Command::new("sh")
            .args(["-c", "read -r _; kill -9 $0 2>/dev/null", &process.id().to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        Self { home: home.to_owned(), url, token, process, guard, folder: None }
    }

    pub fn pid(&self) -> i32 {
        self.process.id() as i32
    }

    /// Kills it as nothing can be killed more.
    pub fn kill(&mut self) {
        self.process.kill().unwrap();
        self.process.wait().unwrap();
    }

    /// Asks it to stop, and waits until it has.
    pub fn stop(&mut self) -> std::process::ExitStatus {
        rustix::process::kill_process(rustix::process::Pid::from_raw(self.pid()).unwrap(), rustix::process::Signal::TERM).unwrap();
        self.process.wait().unwrap()
    }

    /// A request with this server's token.
    pub fn ask(&self, method: &str, path: &str) -> Request<'_> {
        Request { server: self, method: method.into(), path: path.into(), headers: Vec::new(), token: Some(self.token.clone()), body: None }
    }

    pub fn get(&self, path: &str) -> Answer {
        self.ask("GET", path).send()
    }

    pub fn post(&self, path: &str, body: Value) -> Answer {
        self.ask("POST", path).json(body).send()
    }

    /// Runs a program and gives its outcome.
    #[track_caller]
    pub fn run(&self, language: &str, code: &str) -> Value {
        self.post("/v1/runs", json!({"language": language, "code": code, "wait": true})).is(200)
    }

    /// Starts a run and gives its id.
    #[track_caller]
    pub fn start_run(&self, body: Value) -> String {
        self.post("/v1/runs", body).is(202)["id"].as_str().unwrap().to_owned()
    }

    /// A run's record once it is in this state.
    #[track_caller]
    pub fn until(&self, id: &str, is: impl Fn(&Value) -> bool) -> Value {
        let end = Instant::now() + Duration::from_mins(1);
        loop {
            let record = self.get(&format!("/v1/runs/{id}")).is(200);
            if is(&record) {
                return record;
            }
            assert!(Instant::now() < end, "{record}");
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    #[track_caller]
    pub fn until_over(&self, id: &str) -> Value {
        self.until(id, |record| !record["finished_at"].is_null())
    }

    /// A request over the home's own socket, by `curl`'s rules: what the operator does.
    pub fn operate(&self, method: &str, path: &str, body: Option<Value>) -> Answer {
        self.operate_in("default", method, path, body)
    }

    pub fn operate_in(&self, project: &str, method: &str, path: &str, body: Option<Value>) -> Answer {
        use std::io::Write;
        let mut socket = std::os::unix::net::UnixStream::connect(self.home.join("server.sock")).unwrap();
        let body = body.map(|body| body.to_string()).unwrap_or_default();
        let head = format!(
            "{method} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nBelljar-Project: {project}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n",
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
        socket.write_all(body.as_bytes()).unwrap();
        read_answer(&mut socket)
    }

    /// A project of its own, with these settings, and a token for it.
    pub fn project(&self, name: &str, settings: Value) -> String {
        self.operate("POST", "/v1/projects", Some(json!({"name": name, "settings": settings}))).is(201);
        let new = json!({"name": "test", "scopes": ["run", "read", "storage", "admin"]});
        self.operate_in(name, "POST", "/v1/tokens", Some(new)).is(201)["token"].as_str().unwrap().to_owned()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        drop((self.guard.stdin.take(), self.folder.take()));
        let _ = self.guard.wait();
    }
}

/// A request on its way to be sent.
pub struct Request<'a> {
    server: &'a Server,
    method: String,
    path: String,
    headers: Vec<(String, String)>,
    token: Option<String>,
    body: Option<Vec<u8>>,
}

static AGENT: LazyLock<ureq::Agent> = LazyLock::new(|| {
    ureq::Agent::config_builder()
        .http_status_as_error(false)
        .allow_non_standard_methods(true)
        .max_redirects(0)
        .proxy(None)
        .build()
        .new_agent()
});

impl Request<'_> {
    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.into(), value.into()));
        self
    }

    pub fn token(mut self, token: &str) -> Self {
        self.token = Some(token.into());
        self
    }

    pub fn no_token(mut self) -> Self {
        self.token = None;
        self
    }

    pub fn json(self, body: Value) -> Self {
        self.header("Content-Type", "application/json").body(body.to_string())
    }

    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = Some(body.into());
        self
    }

    fn response(self) -> ureq::http::Response<ureq::Body> {
        let mut request = ureq::http::Request::builder().method(self.method.as_str()).uri(format!("{}{}", self.server.url, self.path));
        for (name, value) in &self.headers {
            request = request.header(name, value);
        }
        if let Some(token) = &self.token {
            request = request.header("Authorization", format!("Bearer {token}"));
        }
        match self.body {
            Some(body) => AGENT.run(request.body(body).unwrap()).unwrap(),
            None => AGENT.run(request.body(()).unwrap()).unwrap(),
        }
    }

    pub fn send(self) -> Answer {
        let mut response = self.response();
        let headers = response
            .headers()
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect();
        let status = response.status().as_u16();
        let mut body = Vec::new();
        response.body_mut().as_reader().read_to_end(&mut body).unwrap();
        Answer { status, headers, body }
    }

    /// The lines of a stream, as they come.
    pub fn lines(self) -> impl Iterator<Item = String> + use<> {
        let response = self.response();
        assert_eq!(response.status(), 200);
        BufReader::new(response.into_body().into_reader()).lines().map_while(Result::ok)
    }
}

/// Reads an answer that ends with its connection, or says how long it is.
pub fn read_answer(stream: &mut impl Read) -> Answer {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) | Err(_) => break,
            Ok(length) => bytes.extend_from_slice(&buffer[..length]),
        }
    }
    parse_answer(&bytes)
}

pub fn parse_answer(bytes: &[u8]) -> Answer {
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(bytes.len());
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).and_then(|code| code.parse().ok()).unwrap_or(0);
    let headers: Vec<_> = lines.filter_map(|line| line.split_once(": ")).map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
    let mut body = bytes.get(end + 4..).unwrap_or_default().to_vec();
    if headers.iter().any(|(name, value)| name.eq_ignore_ascii_case("transfer-encoding") && value == "chunked") {
        body = unchunked(&body);
    }
    Answer { status, headers, body }
}

fn unchunked(mut bytes: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    while let Some(end) = bytes.windows(2).position(|two| two == b"\r\n") {
        let Ok(size) = usize::from_str_radix(&String::from_utf8_lossy(&bytes[..end]), 16) else { break };
        if size == 0 {
            break;
        }
        body.extend_from_slice(&bytes[end + 2..end + 2 + size]);
        bytes = &bytes[end + 4 + size..];
    }
    body
}

/// Waits until something holds.
#[track_caller]
pub fn eventually(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + Duration::from_secs(30);
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Those who start and kill servers do so one after the other: each boots runtimes of its own.
pub static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
