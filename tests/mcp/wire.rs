//! Bare pipes: what stands on standard output, what becomes of bad input, and how the end comes.

use std::collections::HashMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::{BINARY, belljar};

/// A server and the two ends of its pipes.
pub struct Server {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
}

impl Server {
    fn start(flags: &[&str]) -> Self {
        Self::of(belljar(flags))
    }

    fn of(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("belljar starts");
        let (input, output) = (child.stdin.take(), child.stdout.take().expect("a pipe"));
        Self { child, input, output: BufReader::new(output) }
    }

    /// Started, and greeted as the protocol wants it.
    pub fn begun(flags: &[&str]) -> Self {
        Self::start(flags).greeted()
    }

    fn greeted(self) -> Self {
        let mut server = self;
        let client = json!({"protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "wire", "version": "1"}});
        server.send(&json!({"jsonrpc": "2.0", "id": 0, "method": "initialize", "params": client}));
        assert_eq!(server.next()["result"]["serverInfo"]["name"], "belljar");
        server.send(&json!({"jsonrpc": "2.0", "method": "notifications/initialized"}));
        server
    }

    fn send(&mut self, message: &Value) {
        self.send_line(&message.to_string());
    }

    fn send_line(&mut self, line: &str) {
        writeln!(self.input.as_mut().expect("it is open"), "{line}").expect("belljar reads");
    }

    /// Calls with a Python program.
    pub fn call(&mut self, id: u64, code: &str) {
        self.call_with(id, &json!({"language": "python", "code": code}));
    }

    pub fn call_with(&mut self, id: u64, arguments: &Value) {
        let params = json!({"name": "run_code", "arguments": arguments, "_meta": {"progressToken": id}});
        self.send(&json!({"jsonrpc": "2.0", "id": id, "method": "tools/call", "params": params}));
    }

    /// The next line. Each must be a message of the protocol: nothing else stands on standard output.
    fn next(&mut self) -> Value {
        let mut line = String::new();
        self.output.read_line(&mut line).expect("belljar writes");
        let message: Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        assert_eq!(message["jsonrpc"], "2.0", "{line}");
        message
    }

    /// The result of a call; what comes before it is passed over.
    pub fn answer(&mut self, id: u64) -> Value {
        loop {
            let mut message = self.next();
            if message["id"] == id {
                return message["result"].take();
            }
        }
    }

    /// Waits for a run's first log.
    fn until_started(&mut self) {
        while self.next()["params"]["message"] != "started" {}
    }

    /// Waits for its end; its exit code, and what it said to people.
    fn ended(mut self) -> (Option<i32>, String) {
        drop(self.input.take());
        let output = self.child.wait_with_output().expect("it ends");
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    }
}

/// The processes beneath another, with when each was started: an id can be used again.
fn beneath(root: u32) -> HashMap<u32, String> {
    let stats: Vec<(u32, u32, String)> = fs::read_dir("/proc")
        .expect("/proc")
        .flatten()
        .filter_map(|entry| {
            let id = entry.file_name().to_str()?.parse().ok()?;
            let (parent, started) = stat(id)?;
            Some((id, parent, started))
        })
        .collect();
    let mut found = HashMap::new();
    let mut parents = vec![root];
    while let Some(parent) = parents.pop() {
        for (id, _, started) in stats.iter().filter(|(_, of, _)| *of == parent) {
            found.insert(*id, started.clone());
            parents.push(*id);
        }
    }
    found
}

/// The parent of a process and when it was started; none when it is gone.
fn stat(id: u32) -> Option<(u32, String)> {
    let stat = fs::read_to_string(format!("/proc/{id}/stat")).ok()?;
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    (fields[0] != "Z").then(|| (fields[1].parse().unwrap_or(0), fields[19].to_owned()))
}

fn assert_gone(processes: &HashMap<u32, String>) {
    let begun = Instant::now();
    while processes.iter().any(|(id, started)| stat(*id).is_some_and(|(_, now)| now == *started)) {
        assert!(begun.elapsed() < Duration::from_secs(10), "processes are left");
        std::thread::sleep(Duration::from_millis(5));
    }
}

#[test]
fn the_end_of_input_ends_everything() {
    let mut server = Server::begun(&[]);
    server.call(1, "print('started', flush=True)\nwhile True: pass");
    server.until_started();
    let processes = beneath(server.child.id());
    assert!(!processes.is_empty(), "the run is a process");
    let begun = Instant::now();
    assert_eq!(server.ended(), (Some(0), String::new()));
    assert!(begun.elapsed() < Duration::from_secs(4), "{:?}: it does not wait for the run's own end", begun.elapsed());
    assert_gone(&processes);
}

#[test]
fn a_signal_ends_everything() {
    for signal in [Signal::TERM, Signal::INT, Signal::HUP] {
        let mut server = Server::begun(&[]);
        server.call(1, "print('started', flush=True)\nwhile True: pass");
        server.until_started();
        let processes = beneath(server.child.id());
        let id = Pid::from_child(&server.child);
        // Its input stays open.
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
    server.call(7, "import sys\nfor n in range(1000): print('line', n)\nprint('careful', file=sys.stderr)");
    let (mut heard, mut last) = (Vec::new(), 0.0);
    loop {
        let message = server.next();
        if message["id"] == 7 {
            assert_eq!(message["result"]["isError"], false, "{message}");
            break;
        }
        let progress = &message["params"];
        assert_eq!((&message["method"], &progress["progressToken"]), (&json!("notifications/progress"), &json!(7)));
        let count = progress["progress"].as_f64().expect("a number");
        assert!(count > last, "it grows");
        last = count;
        heard.extend(progress["message"].as_str().expect("text").lines().map(str::to_owned));
    }
    let (printed, warned): (Vec<String>, Vec<String>) = heard.into_iter().partition(|line| line.starts_with("line"));
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
    // Another package needs it.
    server.call_with(3, &json!({"language": "python", "code": "1", "packages": ["python-dateutil==2.9.0"]}));
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
fn a_client_that_goes_before_it_has_begun_is_no_error() {
    assert_eq!(Server::start(&[]).ended(), (Some(0), String::new()));
}

#[test]
fn a_ceiling_that_cannot_be_meant_is_refused_at_the_start() {
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    let (outer, inner) = (folder.path().to_str().expect("UTF-8"), folder.path().join("inner"));
    fs::create_dir(&inner).expect("a folder");
    for (flags, words) in [
        (&["--read", "/no/such/folder"][..], "cannot grant /no/such/folder"),
        (&["--read", "/"], "all of / cannot be granted"),
        (&["--memory", "1"], "--memory"),
        (&["--write", outer, "--read", inner.to_str().expect("UTF-8")], "which programs may write"),
        (&["--runs-at-a-time", "0"], "--runs-at-a-time"),
    ] {
        let (code, said) = Server::start(flags).ended();
        assert_eq!(code, Some(2), "{said}");
        assert!(said.contains(words), "{flags:?}: {said}");
    }
}

/// Another writer of a granted folder exchanges a folder in it for a link as fast as it can. A run is granted the folder, or is refused.
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
                renameat_with(CWD, path("open/x"), CWD, path("open/link"), RenameFlags::EXCHANGE).expect("an exchange");
                swaps.fetch_add(1, Ordering::Relaxed);
                seen.fetch_add(u64::from(fs::read_to_string(&key).is_ok_and(|content| content == "leaked")), Ordering::Relaxed);
            }
        });
        for id in 1..=300 {
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
    // The attack ran: the name led to the secret, again and again, and runs met both.
    assert!(swaps.into_inner() > 300 && seen.into_inner() > 100);
    assert!(own > 10 && refused > 10, "{own} runs had the folder, {refused} were refused");
    assert_eq!(server.ended(), (Some(0), String::new()));
}

#[test]
fn an_ordinary_user_can_serve_too() {
    const UID: u32 = 12_346;
    if !rustix::process::geteuid().is_root() {
        eprintln!("not root: all of these tests are run as an ordinary user already");
        return;
    }
    let home = tempfile::tempdir_in("/var/tmp").expect("a home");
    fs::set_permissions(home.path(), fs::Permissions::from_mode(0o755)).expect("permissions");
    chown(home.path(), Some(UID), Some(UID)).expect("an owner");
    let mut command = Command::new(BINARY);
    command.args(["mcp", "--allow-degraded"]).uid(UID).gid(UID).current_dir("/");
    command.env("HOME", home.path()).env_remove("XDG_CACHE_HOME").env_remove("BELLJAR_CACHE").env_remove("XDG_DATA_HOME");
    command.env("BELLJAR_PYTHON", "/usr/bin/python3").env("PATH", "/usr/bin:/bin");
    let mut server = Server::of(command).greeted();
    server.call(1, "import os; [6 * 7, os.getuid() != 0]");
    let answer = server.answer(1);
    assert_eq!(answer["structuredContent"]["value"], json!([42, true]), "{answer}");
    let processes = beneath(server.child.id());
    assert_eq!(server.ended(), (Some(0), String::new()));
    assert_gone(&processes);
}

/// The bytes of what an answer gives a model: the text and the structured content.
fn given_to_a_model(answer: &Value) -> [usize; 2] {
    let text: usize = answer["content"].as_array().unwrap().iter().filter_map(|block| block["text"].as_str()).map(str::len).sum();
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
        let told = answer["content"][0]["text"].as_str().unwrap();
        let cut = answer["structuredContent"]["cut"].as_object().unwrap();
        for (part, what) in cut.iter().filter(|(_, what)| what["uri"].is_string()) {
            let uri = what["uri"].as_str().unwrap();
            assert!(told.contains(uri), "{part}: {told}");
            server.send(&json!({"jsonrpc": "2.0", "id": 100 + id, "method": "resources/read", "params": {"uri": uri}}));
            let whole = server.answer(100 + id);
            let text = whole["contents"][0]["text"].as_str().unwrap_or_else(|| panic!("{whole}"));
            match (id, part.as_str()) {
                (1, "logs") => {
                    assert!(told.contains("\n| line 0\n") && told.contains("\n| TOTAL 42"), "both ends: {told}");
                    assert!(text.starts_with("line 0\nline 1\n") && text.ends_with("\nTOTAL 42"));
                    let logs = answer["structuredContent"]["logs"].as_array().unwrap();
                    assert_eq!(logs.last().unwrap()["message"], "TOTAL 42");
                }
                (2, "value") => {
                    assert!(told.contains("{\"id\":59999,\"name\":\"row 59999\"}]"), "{told}");
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
    assert!(refused["error"]["message"].as_str().unwrap().contains("only what the latest answers left out is kept"), "{refused}");
    assert_eq!(server.ended().0, Some(0));
}

#[test]
fn a_small_answer_is_whole_and_exact() {
    let mut server = Server::begun(&[]);
    server.call(1, "print('a')\n{'rows': list(range(1000))}");
    let answer = server.answer(1);
    assert_eq!(answer["structuredContent"]["value"]["rows"].as_array().unwrap().len(), 1000);
    assert!(answer["structuredContent"].get("cut").is_none() && !answer.to_string().contains("left out"), "{answer}");
}

#[test]
fn files_left_behind_are_named_and_a_program_in_a_folder_finds_its_neighbours() {
    let mut server = Server::begun(&[]);
    server.call(1, "open('result.csv', 'w').write('a,b'); 1");
    let answer = server.answer(1);
    assert_eq!(answer["structuredContent"]["left_behind"], json!([{"name": "result.csv", "size_bytes": 3}]));
    assert!(answer["content"][0]["text"].as_str().unwrap().contains("left behind and not kept"), "{answer}");
    let files = json!([{"path": "src/a.ts", "content": "export const n: number = 41;"}]);
    let code = "import { n } from './a'; export const main = () => n + 1;";
    server.call_with(2, &json!({"language": "typescript", "code": code, "entry": "src/main.ts", "files": files}));
    assert_eq!(server.answer(2)["structuredContent"]["value"], 42);
}
