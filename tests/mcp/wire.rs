//! Plain pipes: the content of standard output, the reaction to bad input, and the end of a server.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use belljar_test_support::processes::{Process, descendants};
use belljar_test_support::{belljar, binary, eventually, is_root};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::arguments;

/// A server with both ends of its pipes.
pub struct Server {
    pub child: Child,
    pub input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(flags: &[&str]) -> Self {
        Self::of(belljar(arguments().iter().chain(flags)))
    }

    pub fn of(mut command: Command) -> Self {
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("belljar starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Self { child, input, output: BufReader::new(output) }
    }

    /// Starts a server and completes the handshake of the protocol.
    pub fn begun(flags: &[&str]) -> Self {
        Self::start(flags).greeted()
    }

    pub fn greeted(self) -> Self {
        let mut server = self;
        let client = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}});
        server.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client}));
        assert_eq!(server.next()["result"]["serverInfo"]["name"], "belljar");
        server.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        server
    }

    pub fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string());
    }

    fn send_line(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("it is open"), "{line}").expect("belljar reads");
    }

    /// Sends a call with a Python program.
    pub fn call(&mut self, id: u64, code: &str) {
        self.call_with(id, &json!({"language": "python", "code": code}));
    }

    pub fn call_with(&mut self, id: u64, arguments: &Value) {
        let params =
            json!({"name": "run_code", "arguments": arguments, "_meta": {"progressToken": id}});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
    }

    /// Returns the next line. Each must be a message of the protocol, because standard output
    /// contains nothing else.
    pub fn next(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("belljar writes");
        let message: Value =
            serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    /// Returns the result of a call, and skips the messages before it.
    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut message = self.next();
            if message["id"] == id {
                return message["result"].take();
            }
        }
    }

    /// Waits for the first log of a run.
    pub fn until_started(&mut self) {
        while self.next()["params"]["message"] != "started" {}
    }

    /// Waits for the end of the server, and returns its exit code and standard error.
    pub fn ended(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let output = self.child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

fn assert_gone(processes: &[Process]) {
    eventually("all processes are gone", || !processes.iter().any(|process| process.is_running()));
}

#[test]
fn a_hint_is_about_what_the_model_can_set() {
    let mut server = Server::begun(&["--timeout", "300ms", "--memory", "300M"]);
    let sleeping = json!({"language": "python", "code": "import time\ntime.sleep(60)"});
    server.call_with(1, &sleeping);
    let error = server.answer(1)["structuredContent"]["error"].take();
    assert_eq!(
        (&error["message"], &error["hint"], error.get("stack")),
        (
            &json!("the program ran longer than 300 ms (the ceiling of this server)"),
            &json!("do less in one run: the ceiling of this server allows at most 300 ms"),
            None
        )
    );
    // With time for the memory to be used up, however busy the machine is.
    let mut server = Server::begun(&["--timeout", "1m", "--memory", "300M"]);
    let large = json!({
        "language": "python", "code": "x = bytearray(250 << 20)",
        "limits": {"memory_bytes": 100_000_000}
    });
    server.call_with(2, &large);
    let error = server.answer(2)["structuredContent"]["error"].take();
    assert_eq!(
        (&error["message"], &error["hint"]),
        (
            &json!("the program needed more than 95.4 MB of memory (set by limits.memory_bytes)"),
            &json!("try limits.memory_bytes: 268435456 (256 MB)")
        )
    );
}

#[test]
fn the_end_of_input_ends_everything() {
    let mut server = Server::begun(&["--timeout", "10m"]);
    let code = "import time\nprint('started', flush=True)\ntime.sleep(600)";
    let limits = json!({"timeout_ms": 600_000});
    server.call_with(1, &json!({"language": "python", "code": code, "limits": limits}));
    server.until_started();
    let processes = descendants(server.child.id());
    assert!(!processes.is_empty(), "the run is a process");
    let begun = Instant::now();
    assert_eq!(server.ended(), (Some(0), String::new()));
    assert!(
        begun.elapsed() < Duration::from_mins(1),
        "{:?}: it does not wait for the run's own end",
        begun.elapsed()
    );
    assert_gone(&processes);
}

#[test]
fn a_signal_ends_everything() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut server = Server::begun(&[]);
        server.call(1, "print('started', flush=True)\nwhile True: pass");
        server.until_started();
        let processes = descendants(server.child.id());
        let id = Pid::from_child(&server.child);
        // The input stays open.
        let input = server.input.take();
        kill_process(id, signal).expect("it lives");
        assert_eq!(server.ended(), (Some(0), String::new()), "{signal:?}");
        drop(input);
        assert_gone(&processes);
    }
}

#[test]
fn all_logs_come_as_progress_before_the_answer() {
    let mut server = Server::begun(&[]);
    server.call(
        7,
        "import sys\nfor n in range(1000): print('line', n)\nprint('careful', file=sys.stderr)",
    );
    let (mut heard, mut last) = (Vec::new(), 0.0);
    loop {
        let message = server.next();
        if message["id"] == 7 {
            assert_eq!(message["result"]["isError"], false, "{message}");
            break;
        }
        let progress = &message["params"];
        assert_eq!(
            (&message["method"], &progress["progressToken"]),
            (&json!("notifications/progress"), &json!(7))
        );
        let count = progress["progress"].as_f64().expect("a number");
        assert!(count > last, "it grows");
        last = count;
        heard.extend(progress["message"].as_str().expect("text").lines().map(str::to_owned));
    }
    let (printed, warned): (Vec<String>, Vec<String>) =
        heard.into_iter().partition(|line| line.starts_with("line"));
    assert_eq!(printed, (0..1000).map(|n| format!("line {n}")).collect::<Vec<_>>());
    assert_eq!(warned, ["error: careful"]);
    assert!(last < 100.0, "{last} notifications for 1001 lines");
    assert_eq!(server.ended(), (Some(0), String::new()));
}

#[test]
fn what_a_program_writes_does_not_reach_standard_output() {
    let mut server = Server::begun(&["--exec"]);
    server.call(1, "import os; print('{\"jsonrpc\": \"1.0\"}'); os.write(1, b'raw\\n'); os.system('echo from a shell')");
    let answer = server.answer(1);
    let logs = answer["structuredContent"]["logs"].as_array().expect("logs").len();
    assert_eq!(logs, 3, "{answer}");
    assert_eq!(server.ended(), (Some(0), String::new()));
}

#[test]
fn input_that_is_no_message_is_survived() {
    let mut server = Server::begun(&[]);
    for line in ["", "nonsense", "{", "[]", "\u{0}\u{1}", "\"text\"", &"[".repeat(100_000)] {
        server.send_line(line);
    }
    server.input.as_mut().expect("open").write_all(b"\xff\xfe\n").expect("belljar reads");
    server.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/call", "params": {"name": 5}}));
    server.send(&json!({"jsonrpc": "2.0", "id": 2, "method": "no/such/method"}));
    server.call(3, "6 * 7");
    let answer = loop {
        let message = server.next();
        if message["id"] == 3 {
            break message;
        }
        assert!(message["error"].is_object(), "{message}");
    };
    assert_eq!(answer["result"]["structuredContent"]["value"], 42);
    assert_eq!(server.ended(), (Some(0), String::new()));
}

#[test]
fn programs_have_packages_as_far_as_the_operator_lets_them() {
    let mut server = Server::begun(&["--block-package", "six"]);
    server.call(1, "import humanize; humanize.intcomma(1234)");
    assert_eq!(server.answer(1)["structuredContent"]["value"], "1,234");
    server.call_with(2, &json!({"language": "javascript", "code": "require('lodash').VERSION", "packages": ["lodash@4.17.21"]}));
    assert_eq!(server.answer(2)["structuredContent"]["value"], "4.17.21");
    // Another package depends on it.
    server.call_with(
        3,
        &json!({"language": "python", "code": "1", "packages": ["python-dateutil==2.9.0"]}),
    );
    let refused = server.answer(3);
    assert!(refused["content"][0]["text"].as_str().unwrap().contains("six"), "{refused}");
    assert_eq!(server.ended(), (Some(0), String::new()));

    let mut server = Server::begun(&["--no-packages"]);
    server.call(1, "import humanize");
    assert_eq!(server.answer(1)["structuredContent"]["error"]["name"], "ModuleNotFoundError");
    server.call_with(2, &json!({"language": "python", "code": "1", "packages": ["humanize"]}));
    assert_eq!(server.answer(2)["structuredContent"]["error"]["name"], "PackagesRefused");
    assert_eq!(server.ended(), (Some(0), String::new()));
}

#[test]
fn each_name_of_a_language_is_in_the_schema_and_runs() {
    let mut server = Server::begun(&[]);
    server.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
    let tools = server.next();
    let schema = &tools["result"]["tools"][0]["inputSchema"]["properties"]["language"];
    let names = schema["enum"].as_array().expect("a list");
    assert_eq!(names.len(), 6, "{tools}");
    for (id, name) in (2..).zip(names) {
        server.call_with(id, &json!({"language": name, "code": "6 * 7"}));
        let answer = server.answer(id);
        assert_eq!(answer["structuredContent"]["value"], 42, "{name}: {answer}");
    }
    assert_eq!(server.ended(), (Some(0), String::new()));
}

#[test]
fn a_client_that_goes_before_it_has_begun_is_no_error() {
    assert_eq!(Server::start(&[]).ended(), (Some(0), String::new()));
}

#[test]
fn an_invalid_ceiling_is_refused_at_the_start() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let (outer, inner) = (folder.path().to_str().expect("UTF-8"), folder.path().join("inner"));
    fs::create_dir(&inner).expect("a folder");
    for (flags, words) in [
        (&["--read", "/no/such/folder"][..], "cannot grant `/no/such/folder`"),
        (&["--read", "/"], "`/` cannot be granted"),
        (&["--memory", "1"], "--memory"),
        (&["--write", outer, "--read", inner.to_str().expect("UTF-8")], "which programs may write"),
        (&["--runs-at-a-time", "0"], "--runs-at-a-time"),
    ] {
        let (code, said) = Server::start(flags).ended();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words), "{flags:?}: {said}");
    }
}

/// Another process replaces a folder inside a granted folder with a link and back, as fast as it
/// can. A run gets the folder, or is refused.
#[test]
fn a_folder_that_is_exchanged_for_a_link_is_never_followed() {
    use rustix::fs::{CWD, RenameFlags, renameat_with};
    use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

    let place = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let path = |name: &str| place.path().join(name).to_str().expect("UTF-8").to_owned();
    for (folder, content) in [("open/x", "own"), ("secret", "leaked")] {
        fs::create_dir_all(path(folder)).expect("a folder");
        fs::write(path(folder) + "/key", content).expect("a file");
    }
    fs::set_permissions(place.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    std::os::unix::fs::symlink(path("secret"), path("open/link")).expect("a link");
    let mut server = Server::begun(&["--read", &path("open")]);
    let key = path("open/x/key");
    let arguments = json!({"language": "python", "code": format!("open({key:?}).read()"), "policy": {"fs": {"read": [path("open/x")]}}});
    let (over, swaps, seen) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let (mut own, mut refused) = (0, 0);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            while !over.load(Ordering::Relaxed) {
                renameat_with(CWD, path("open/x"), CWD, path("open/link"), RenameFlags::EXCHANGE)
                    .expect("an exchange");
                swaps.fetch_add(1, Ordering::Relaxed);
                seen.fetch_add(
                    u64::from(fs::read_to_string(&key).is_ok_and(|content| content == "leaked")),
                    Ordering::Relaxed,
                );
            }
        });
        // Until runs have seen both states often, which takes longer where this machine is busy.
        for id in 1..=3000 {
            let has_run = swaps.load(Ordering::Relaxed) > 300 && seen.load(Ordering::Relaxed) > 100;
            if id > 300 && has_run && own > 10 && refused > 10 {
                break;
            }
            server.call_with(id, &arguments);
            let answer = server.answer(id)["structuredContent"].take();
            match answer["status"].as_str() {
                Some("succeeded") if answer["value"] == "own" => own += 1,
                Some("refused") => refused += 1,
                _ => {
                    over.store(true, Ordering::Relaxed);
                    panic!("call {id}: {answer}");
                }
            }
        }
        over.store(true, Ordering::Relaxed);
    });
    // The attack ran: the name led to the secret many times, and runs saw both states.
    assert!(swaps.into_inner() > 300 && seen.into_inner() > 100);
    assert!(own > 10 && refused > 10, "{own} runs had the folder, {refused} were refused");
    assert_eq!(server.ended(), (Some(0), String::new()));
}

#[test]
fn an_ordinary_user_can_serve_too() {
    const UID: u32 = 12_346;
    if !is_root() {
        eprintln!("not root: all of these tests are run as an ordinary user already");
        return;
    }
    let home = tempfile::tempdir_in("/var/tmp").expect("a home");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    chown(home.path(), Some(UID), Some(UID)).expect("an owner");
    let mut command = Command::new(binary());
    command.args(["mcp", "--allow-degraded"]).uid(UID).gid(UID).current_dir("/");
    command
        .env("HOME", home.path())
        .env_remove("XDG_CACHE_HOME")
        .env_remove("BELLJAR_CACHE")
        .env_remove("XDG_DATA_HOME");
    command.env("BELLJAR_PYTHON", "/usr/bin/python3").env("PATH", "/usr/bin:/bin");
    let mut server = Server::of(command).greeted();
    server.call(1, "import os; [6 * 7, os.getuid() != 0]");
    let answer = server.answer(1);
    assert_eq!(answer["structuredContent"]["value"], json!([42, true]), "{answer}");
    let processes = descendants(server.child.id());
    assert_eq!(server.ended(), (Some(0), String::new()));
    assert_gone(&processes);
}

/// Returns the sizes of what a model receives: the text and the structured content.
fn given_to_a_model(answer: &Value) -> [usize; 2] {
    let text: usize = answer["content"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|block| block["text"].as_str())
        .map(str::len)
        .sum();
    [text, answer["structuredContent"].to_string().len()]
}

#[test]
fn an_answer_is_bounded_keeps_both_ends_and_says_where_the_whole_is() {
    let mut server = Server::begun(&[]);
    let programs = [
        "for i in range(30_000): print('line', i)\nprint('TOTAL 42')",
        "[{'id': i, 'name': f'row {i}'} for i in range(60_000)]",
        "raise ValueError('long ' * 10_000)",
        "import belljar\nfor i in range(400): belljar.display('<td>' * 500)\nprint('x' * 200_000)\n'y' * 500_000",
        "for i in range(200): open(f'outputs/{i}-' + 'n' * 200, 'w').write('x')\nprint('\\n' * 100_000)",
    ];
    for (id, program) in (1..).zip(programs) {
        server.call(id, program);
        let answer = server.answer(id);
        let [text, data] = given_to_a_model(&answer);
        assert!(text < 100_000 && data < 60_000, "{program}: {text} and {data}");
        if id == 5 {
            continue;
        }
        let summary = answer["content"][0]["text"].as_str().unwrap();
        let cut = answer["structuredContent"]["cut"].as_object().unwrap();
        for (part, what) in cut.iter().filter(|(_, what)| what["uri"].is_string()) {
            let uri = what["uri"].as_str().unwrap();
            assert!(summary.contains(uri), "{part}: {summary}");
            server.send(&json!({"jsonrpc": "2.0", "id": 100 + id, "method": "resources/read", "params": {"uri": uri}}));
            let whole = server.answer(100 + id);
            let text = whole["contents"][0]["text"].as_str().unwrap_or_else(|| panic!("{whole}"));
            match (id, part.as_str()) {
                (1, "logs") => {
                    assert!(
                        summary.contains("\n| line 0\n") && summary.contains("\n| TOTAL 42"),
                        "both ends: {summary}"
                    );
                    assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("\nTOTAL 42"));
                    let logs = answer["structuredContent"]["logs"].as_array().unwrap();
                    assert_eq!(logs.last().unwrap()["message"], "TOTAL 42");
                }
                (2, "value") => {
                    assert!(
                        summary.contains("{\"id\":59999,\"name\":\"row 59999\"}]"),
                        "{summary}"
                    );
                    assert_eq!(serde_json::from_str::<Vec<Value>>(text).unwrap().len(), 60_000);
                    assert!(answer["structuredContent"]["value"].is_null());
                }
                _ => assert!(text.len() > 10_000, "{part}"),
            }
        }
        assert!(!cut.is_empty(), "{program}");
    }
    server.send(&json!({"jsonrpc": "2.0", "id": 200, "method": "resources/read", "params": {"uri": "belljar://runs/run_1/logs.txt"}}));
    let refused = loop {
        let message = server.next();
        if message["id"] == 200 {
            break message;
        }
    };
    assert!(
        refused["error"]["message"]
            .as_str()
            .unwrap()
            .contains("only what the latest answers left out is kept"),
        "{refused}"
    );
    assert_eq!(server.ended().0, Some(0));
}

#[test]
fn a_small_answer_is_whole_and_exact() {
    let mut server = Server::begun(&[]);
    server.call(1, "print('a')\n{'rows': list(range(1000))}");
    let answer = server.answer(1);
    assert_eq!(answer["structuredContent"]["value"]["rows"].as_array().unwrap().len(), 1000);
    assert!(
        answer["structuredContent"].get("cut").is_none()
            && !answer.to_string().contains("left out"),
        "{answer}"
    );
}

#[test]
fn what_is_pending_is_said_and_a_result_can_end_the_run() {
    let mut server = Server::begun(&[]);
    let arguments = |finish: &str| json!({"language": "js", "code": "setInterval(() => {}, 1000);\n7", "limits": {"timeout_ms": 3000}, "finish": finish});
    server.call_with(1, &arguments("settled"));
    let answer = server.answer(1);
    let settled = &answer["structuredContent"];
    assert_eq!(
        (&settled["status"], &settled["value"]),
        (&json!("succeeded"), &json!(7)),
        "{settled}"
    );
    server.call_with(2, &arguments("idle"));
    let answer = server.answer(2);
    let idle = &answer["structuredContent"];
    assert_eq!((&idle["status"], &idle["value"]), (&json!("timed_out"), &json!(7)), "{idle}");
    assert_eq!(idle["pending"][0]["kind"], "interval", "{idle}");
    // The model reads the text.
    let text = answer["content"].to_string();
    assert!(text.contains("interval") && text.contains("finish"), "{text}");
    server.ended();
}

#[test]
fn files_left_behind_are_named_and_a_program_in_a_folder_finds_its_neighbours() {
    let mut server = Server::begun(&[]);
    server.call(1, "open('result.csv', 'w').write('a,b'); 1");
    let answer = server.answer(1);
    assert_eq!(
        answer["structuredContent"]["left_behind"],
        json!([{"name": "result.csv", "size_bytes": 3}])
    );
    assert!(
        answer["content"][0]["text"].as_str().unwrap().contains("left behind and not kept"),
        "{answer}"
    );
    let files = json!([{"path": "src/a.ts", "content": "export const n: number = 41;"}]);
    let code = "import { n } from './a'; export const main = () => n + 1;";
    server.call_with(
        2,
        &json!({"language": "typescript", "code": code, "entry": "src/main.ts", "files": files}),
    );
    assert_eq!(server.answer(2)["structuredContent"]["value"], 42);
}
