//! The agents of docs/guides/agent-tool.md, run as the page shows them, with the packages that they
//! import. Only the model is scripted: `model.py` quotes in its answer what the tool returned.

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};

use belljar_test_support::{Server, binary, registries, repository};
use tempfile::TempDir;

/// The folder for programs that are installed once.
const INSTALLED: &str = env!("CARGO_TARGET_TMPDIR");
const PYTHON_PACKAGES: [&str; 5] = [
    "langchain==1.5.2",
    "langchain-mcp-adapters==0.3.2",
    "langchain-openai==1.7.4",
    "openai==3.57.0",
    "requests==2.34.2",
];
/// Version 6 of the AI SDK, because version 7 needs Node 22.
const NODE_PACKAGES: [&str; 4] =
    ["@ai-sdk/mcp@1.0.102", "@ai-sdk/openai@3.0.141", "ai@6.0.326", "zod@4.6.7"];
/// Upper bound of an answer of the tool over HTTP, in bytes.
const MAX_ANSWER_BYTES: usize = 30_000;

fn page() -> String {
    fs::read_to_string(repository().join("docs/guides/agent-tool.md")).expect("the guide")
}

/// The model server. It ends with its standard input.
struct Model {
    url: String,
    _process: Child,
}

impl Model {
    fn start() -> Self {
        let mut process = Command::new("python3")
            .arg(repository().join("tests/agents/model.py"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3 starts");
        let mut url = String::new();
        BufReader::new(process.stdout.take().expect("a pipe")).read_line(&mut url).expect("a URL");
        Self { url: url.trim().to_owned(), _process: process }
    }
}

/// An agent of the page, in a folder with all programs of the page.
struct Agent {
    folder: TempDir,
    program: &'static str,
    model: Model,
    server: Option<(Server, String)>,
}

impl Agent {
    fn with_mcp(program: &'static str) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        for block in page().split("\n```").skip(1).step_by(2) {
            let (info, content) = block.split_once('\n').expect("a block");
            if let Some((_, name)) = info.split_once(" file=") {
                fs::write(folder.path().join(name), content).expect("a program of the page");
            }
        }
        Self { folder, program, model: Model::start(), server: None }
    }

    fn with_http(program: &'static str) -> Self {
        let server = Server::start();
        let created = server
            .operator(["tokens", "create", "agent", "--scope", "run"])
            .output()
            .expect("belljar starts");
        let token = text(&created).trim().to_owned();
        Self { server: Some((server, token)), ..Self::with_mcp(program) }
    }

    /// The interpreter of the program, which finds the packages.
    fn interpreter(&self) -> Command {
        if Path::new(self.program).extension().is_some_and(|extension| extension == "py") {
            return Command::new(registries::python_with(
                INSTALLED,
                "agents-python",
                &PYTHON_PACKAGES,
            ));
        }
        let packages = registries::node_modules_with(INSTALLED, "agents-node", &NODE_PACKAGES);
        let link = self.folder.path().join("node_modules");
        if !link.exists() {
            std::os::unix::fs::symlink(packages.join("node_modules"), link).expect("a link");
        }
        Command::new("node")
    }

    /// Runs the agent with a prompt. Its final answer must quote a result of the tool that contains
    /// the expected words.
    fn answers(&self, case: &str, nonce: &str, expected: &[&str]) {
        let mut command = self.interpreter();
        if let Some((server, token)) = &self.server {
            command.env("BELLJAR_URL", &server.url).env("BELLJAR_TOKEN", token);
        }
        let binaries = Path::new(binary()).parent().expect("a folder").to_owned();
        let others = std::env::var_os("PATH").unwrap_or_default();
        let path = std::iter::once(binaries).chain(std::env::split_paths(&others));
        let output = command
            .arg(self.program)
            .arg(format!("{case} {nonce}"))
            .current_dir(self.folder.path())
            .env("PATH", std::env::join_paths(path).expect("a PATH"))
            .env("OPENAI_API_KEY", "none")
            .env("OPENAI_BASE_URL", &self.model.url)
            .env("NO_PROXY", "127.0.0.1")
            .output()
            .expect("the agent starts");
        let printed = text(&output);
        let result = printed
            .strip_prefix("The tool returned: ")
            .unwrap_or_else(|| panic!("not the answer of the model: {printed}"));
        for words in expected {
            assert!(result.contains(words), "no `{words}` in {result}");
        }
        if self.server.is_some() {
            assert!(result.len() < MAX_ANSWER_BYTES, "{} bytes", result.len());
        }
    }

    /// Holds for every agent: the model gets the value of a program, and the message, the line and
    /// the last logs of one that fails.
    fn runs_the_programs_of_the_model(&self) {
        let nonce = fs::read_to_string("/proc/sys/kernel/random/uuid").expect("random text");
        let nonce = nonce.trim();
        let hash = sha256(nonce);
        self.answers("hash", nonce, &["succeeded", &hash]);
        self.answers("failure", nonce, &["failed", &hash, "line 3", "the last log"]);
    }

    /// Holds for every agent over HTTP: a program gets no storage, and cannot return too much.
    fn bounds_what_a_program_gets_and_returns(&self) {
        let denied = "storage is not granted";
        self.answers("excess", "-", &["failed", "result_bytes", "return less", denied]);
    }

    /// Holds for every agent over MCP.
    fn passes_on_an_image(&self) {
        self.answers("image", "-", &["displayed (image/png", "a part of type input_image"]);
    }
}

/// The standard output of a command that must succeed.
#[track_caller]
fn text(output: &Output) -> String {
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{}: {errors}", output.status);
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn sha256(input: &str) -> String {
    let mut process = Command::new("sha256sum")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("sha256sum starts");
    process.stdin.take().expect("a pipe").write_all(input.as_bytes()).expect("it reads");
    let printed = text(&process.wait_with_output().expect("it ends"));
    printed.split_whitespace().next().expect("a hash").to_owned()
}

#[test]
fn the_loop_over_http() {
    let agent = Agent::with_http("agent_loop.py");
    agent.runs_the_programs_of_the_model();
    agent.bounds_what_a_program_gets_and_returns();
}

#[test]
fn the_ai_sdk_over_http() {
    let agent = Agent::with_http("agent_http.mjs");
    agent.runs_the_programs_of_the_model();
    agent.bounds_what_a_program_gets_and_returns();
}

#[test]
fn the_ai_sdk_over_mcp() {
    let agent = Agent::with_mcp("agent_mcp.mjs");
    agent.runs_the_programs_of_the_model();
    agent.passes_on_an_image();
}

#[test]
fn langchain_over_http() {
    let agent = Agent::with_http("agent_langchain_http.py");
    agent.runs_the_programs_of_the_model();
    agent.bounds_what_a_program_gets_and_returns();
}

#[test]
fn langchain_over_mcp() {
    let agent = Agent::with_mcp("agent_langchain_mcp.py");
    agent.runs_the_programs_of_the_model();
    agent.passes_on_an_image();
}

#[test]
fn the_page_installs_the_packages_that_are_tested() {
    let page = page();
    let commands =
        page.lines().filter_map(|line| line.split_once(" install ")).map(|(_, names)| names);
    let installed: BTreeSet<&str> = commands.flat_map(str::split_whitespace).collect();
    let python = PYTHON_PACKAGES.iter().filter_map(|package| package.split_once("=="));
    let node = NODE_PACKAGES.iter().filter_map(|package| package.rsplit_once('@'));
    let tested: BTreeSet<&str> = python.chain(node).map(|(name, _)| name).collect();
    assert_eq!(installed, tested);
}
