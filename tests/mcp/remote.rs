//! `belljar mcp` with a real server: its calls are runs in the history of the server, its refusals
//! reach the model in words that help, and no run is left behind.

use std::process::Command;
use std::time::{Duration, Instant};

use belljar_test_support::{Server, belljar_without_server, eventually};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use crate::wire::Server as Mcp;

/// A program that runs until something ends it.
const ENDLESS: &str = "import time\nprint('started', flush=True)\ntime.sleep(600)";

/// Starts `belljar mcp` as a client of this server, with these flags.
fn mcp(server: &Server, flags: &[&str]) -> Mcp {
    Mcp::of(command(server, flags)).greeted()
}

fn command(server: &Server, flags: &[&str]) -> Command {
    server.client(["mcp", "--remote"].iter().chain(flags))
}

/// Starts `belljar mcp` with another token than the server's first.
fn mcp_as(server: &Server, token: &str, flags: &[&str]) -> Mcp {
    let mut command = command(server, flags);
    command.env("BELLJAR_TOKEN", token);
    Mcp::of(command).greeted()
}

fn text(answer: &Value) -> &str {
    answer["content"][0]["text"].as_str().unwrap_or_else(|| panic!("{answer}"))
}

/// Returns the first answer to a Python program.
fn answer_to(mcp: &mut Mcp, code: &str) -> Value {
    mcp.call(1, code);
    mcp.answer(1)
}

fn endless() -> Value {
    json!({"language": "python", "code": ENDLESS, "limits": {"timeout_ms": 600_000}})
}

/// Returns the only run in the history of the server.
#[track_caller]
fn only_run(server: &Server) -> Value {
    let page = server.get("/v1/runs").is(200);
    let runs = page["runs"].as_array().unwrap();
    assert_eq!(runs.len(), 1, "{page}");
    runs[0].clone()
}

/// Asserts that the answer is an error of Belljar with these words, and that nothing ran.
#[track_caller]
fn refuses(answer: &Value, words: &[&str]) {
    assert_eq!(answer["isError"], true, "{answer}");
    assert!(answer.get("structuredContent").is_none(), "{answer}");
    for words in words {
        assert!(text(answer).contains(words), "no `{words}` in {}", text(answer));
    }
}

const SHOW: &str = r#"
import base64, pathlib, sys, belljar
png = base64.b64decode(belljar.parameters["png"])
belljar.display(png)
belljar.display("as text")
pathlib.Path("outputs/summary.json").write_text('{"rows": 3}')
pathlib.Path("outputs/chart.png").write_bytes(png)
pathlib.Path("outputs/raw.bin").write_bytes(b"\xff\x00\xfe")
pathlib.Path("outputs/large.bin").write_bytes(bytes(5_000_000))
print("read", open("in.csv").read().strip(), sys.stdin.read())
{"total": 41.5, "many": list(range(30_000))}
"#;
const PNG: &str = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNkYPhfDwAChwGA60e6kgAAAABJRU5ErkJggg==";

/// Removes what differs between two runs of the same program.
fn comparable(mut answer: Value) -> String {
    let outcome = &mut answer["structuredContent"];
    let id = outcome["id"].as_str().unwrap().to_owned();
    outcome["usage"] = Value::Null;
    outcome["sandbox"] = Value::Null;
    for entry in outcome["logs"].as_array_mut().unwrap() {
        entry["timestamp"] = Value::Null;
    }
    let shown = text(&answer).to_owned();
    let (first, rest) = shown.split_once('\n').unwrap();
    assert!(first.starts_with("succeeded after"), "{shown}");
    answer["content"][0]["text"] = rest.into();
    answer.to_string().replace(&id, "run_X")
}

#[test]
fn an_answer_is_the_same_as_that_of_this_machine() {
    let server = Server::start();
    let arguments = json!({
        "language": "python", "code": SHOW, "parameters": {"png": PNG}, "stdin": "lines",
        "files": [{"path": "in.csv", "content": "1,2\n"}]
    });
    let answers = [mcp(&server, &[]), Mcp::begun(&[])].map(|mut mcp| {
        mcp.call_with(1, &arguments);
        let answer = mcp.answer(1);
        assert_eq!(answer["isError"], false, "{}", text(&answer));
        let uri = answer["structuredContent"]["cut"]["value"]["uri"].as_str().unwrap().to_owned();
        let read =
            json!({"jsonrpc": "2.0", "id": 2, "method": "resources/read", "params": {"uri": uri}});
        mcp.send(&read);
        let whole = mcp.answer(2);
        assert!(whole["contents"][0]["text"].as_str().unwrap().ends_with(",29999]}"), "{whole}");
        assert_eq!(mcp.ended(), (Some(0), String::new()));
        answer
    });
    let [remote, local] = answers.map(comparable);
    assert_eq!(remote, local);
    for part in ["\"type\":\"image\"", "summary.json", "as text", "left out", "read 1,2 lines"] {
        assert!(remote.contains(part), "{part}: {remote}");
    }
}

#[test]
fn a_call_is_a_run_in_history_and_audit_with_its_code_and_token() {
    let server = Server::start();
    let new = json!({"name": "agent-seven", "scopes": ["run", "read"]});
    let issued = server.post("/v1/tokens", new).is(201);
    let token = issued["token"].as_str().unwrap();
    let mut mcp = mcp_as(&server, token, &["--label", "team=sales", "--timeout", "20s"]);
    let answer = answer_to(&mut mcp, "print('hello')\n6 * 7");
    assert_eq!(answer["structuredContent"]["value"], 42, "{answer}");
    assert_eq!(mcp.ended(), (Some(0), String::new()));

    let run = only_run(&server);
    assert_eq!(run["id"], answer["structuredContent"]["id"]);
    assert_eq!((&run["status"], &run["token_name"]), (&json!("succeeded"), &json!("agent-seven")));
    assert_eq!(run["labels"], json!({"client": "mcp", "team": "sales"}));
    assert_eq!(run["limits"]["timeout_ms"], 20_000, "the flag is the default of calls");
    let id = run["id"].as_str().unwrap();
    let code = server.get(&format!("/v1/runs/{id}/code")).is(200);
    assert!(code.to_string().contains("print('hello')"), "{code}");
    let audit = server.get("/v1/audit").is(200);
    let entries = audit["entries"].as_array().unwrap();
    let submitted = entries.iter().find(|entry| entry["action"] == "run.submit");
    let submitted = submitted.unwrap_or_else(|| panic!("{audit}"));
    assert_eq!(submitted["target"], id);
    assert_eq!(submitted["actor"], issued["record"]["id"], "{submitted}");
    assert_eq!(submitted["actor_name"], "agent-seven", "{submitted}");
    let usage = server.get("/v1/usage?by=token").is(200);
    assert!(usage.to_string().contains("agent-seven"), "{usage}");
}

#[test]
fn logs_come_as_progress_while_the_run_is_in_progress() {
    let server = Server::start();
    let mut mcp = mcp(&server, &[]);
    mcp.call_with(1, &endless());
    mcp.until_started();
    assert_eq!(only_run(&server)["status"], "running");
}

#[test]
fn a_program_that_fails_answers_with_its_own_lines() {
    let server = Server::start();
    let mut mcp = mcp(&server, &[]);
    let answer = answer_to(&mut mcp, "x = 1\n\nraise ValueError('no such city')");
    assert_eq!(
        (&answer["isError"], &answer["structuredContent"]["status"]),
        (&json!(true), &json!("failed"))
    );
    assert!(text(&answer).contains("line 3") && text(&answer).contains("ValueError: no such city"));
    let denied = answer_to(&mut mcp, "import subprocess; subprocess.run(['date'])");
    assert_eq!(denied["structuredContent"]["denied"][0]["grant"], "exec: true", "{denied}");
    assert!(text(&denied).contains("the operator has not granted exec: true"), "{denied}");
    assert!(!denied.to_string().contains("grant it with"), "{denied}");
}

#[test]
fn a_call_beyond_the_ceiling_of_the_project_is_refused_by_the_server_and_one_beyond_the_flags_here()
{
    let server = Server::start();
    let settings = json!({"limits": {"memory_bytes": 300_000_000}, "policy": {"exec": true}});
    let token = server.project("small", settings);
    let mut mcp = mcp_as(&server, &token, &["--timeout", "10s"]);
    let with = |mcp: &mut Mcp, rest: Value| {
        let mut arguments = json!({"language": "python", "code": "1"});
        arguments.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
        mcp.call_with(1, &arguments);
        mcp.answer(1)
    };
    let wider = with(&mut mcp, json!({"limits": {"memory_bytes": 300_000_001}}));
    refuses(&wider, &["limits.memory_bytes: 300000001", "at most 300000000", "hint: request less"]);
    let wider = with(&mut mcp, json!({"limits": {"timeout_ms": 10_001}}));
    refuses(&wider, &["limits.timeout_ms: 10001", "at most 10000 (10 s)", "hint: request less"]);
    // The project allows it, and the operator of this process does not.
    let wider = with(&mut mcp, json!({"policy": {"exec": true}}));
    refuses(&wider, &["policy.exec: true is more than the ceiling allows"]);
    let within = with(&mut mcp, json!({"limits": {"memory_bytes": 300_000_000}}));
    assert_eq!(within["structuredContent"]["value"], 1, "{within}");
    assert_eq!(mcp.ended(), (Some(0), String::new()));

    let mut mcp = mcp_as(&server, &token, &["--exec"]);
    let code =
        "import subprocess; subprocess.run(['echo', 'a'], capture_output=True).stdout.decode()";
    assert_eq!(answer_to(&mut mcp, code)["structuredContent"]["value"], "a\n");
    let narrowed = with(&mut mcp, json!({"code": code, "policy": {}}));
    assert_eq!(narrowed["structuredContent"]["status"], "failed", "{narrowed}");
}

#[test]
fn the_tool_describes_the_limits_of_the_project() {
    let server = Server::start();
    let settings = json!({
        "limits": {"memory_bytes": 512 << 20, "timeout_ms": 5000},
        "policy": {"env": {"CITY": "Oslo"}},
        "packages": {"blocked": ["left-pad"]}
    });
    let token = server.project("small", settings);
    let new = json!({"name": "runner", "scopes": ["run"]});
    let runner = server.operate_in("small", "POST", "/v1/tokens", Some(new)).is(201);
    let described = |token: &str| {
        let mut mcp = mcp_as(&server, token, &["--env", "CITY=Oslo"]);
        mcp.send(&json!({"jsonrpc": "2.0", "id": 1, "method": "tools/list"}));
        let tool = mcp.answer(1)["tools"][0].take();
        let description = tool["description"].as_str().unwrap().to_owned();
        assert!(description.contains("CITY") && description.contains("Belljar server"));
        let maximum = &tool["inputSchema"]["properties"]["limits"]["properties"]["timeout_ms"];
        (description, maximum["maximum"].clone())
    };
    let (known, maximum) = described(&token);
    assert!(known.contains("time 5 s, CPU time 10 s (at most "), "{known}");
    assert!(
        known.contains("memory 256 MB (at most 512 MB)") && known.contains("left-pad"),
        "{known}"
    );
    assert_eq!(maximum, 5000);
    let (unknown, maximum) = described(runner["token"].as_str().unwrap());
    assert!(
        unknown.contains("the server has one, and refuses a call that exceeds it"),
        "{unknown}"
    );
    assert!(maximum.is_null());
}

#[test]
fn a_token_that_may_only_run_gets_everything_but_the_files() {
    let server = Server::start();
    let issued = server.post("/v1/tokens", json!({"name": "r", "scopes": ["run"]})).is(201);
    let mut mcp = mcp_as(&server, issued["token"].as_str().unwrap(), &[]);
    let answer = answer_to(&mut mcp, "print('a log'); open('outputs/a.txt', 'w').write('x'); 7");
    assert_eq!(
        (&answer["isError"], &answer["structuredContent"]["value"]),
        (&json!(false), &json!(7))
    );
    assert!(text(&answer).contains("| a log"), "{answer}");
    let reason =
        "artifact \"a.txt\" (1 B): cannot be read: the token does not have the scope `read`";
    assert!(text(&answer).contains(reason), "{}", text(&answer));
}

#[test]
fn a_quota_and_a_revoked_token_are_said_in_words_for_a_model_without_the_token() {
    let server = Server::start();
    let token = server.project("poor", json!({"quotas": {"cpu_ms_per_day": 0}}));
    let mut mcp = mcp_as(&server, &token, &[]);
    let refused = answer_to(&mut mcp, "1");
    refuses(&refused, &["quota of CPU time for today is used up", "operator must raise the quota"]);
    assert!(!refused.to_string().contains(&token));

    let issued = server.post("/v1/tokens", json!({"name": "t", "scopes": ["run", "read"]})).is(201);
    let token = issued["token"].as_str().unwrap();
    let mut mcp = mcp_as(&server, token, &[]);
    assert_eq!(answer_to(&mut mcp, "1")["structuredContent"]["value"], 1);
    let id = issued["record"]["id"].as_str().unwrap();
    server.ask("DELETE", &format!("/v1/tokens/{id}")).send().is(204);
    let refused = answer_to(&mut mcp, "1");
    refuses(&refused, &["the token is missing, unknown, expired or revoked", "another token"]);
    assert!(!refused.to_string().contains(token));
    let (code, said) = mcp.ended();
    assert!(code == Some(0) && !said.contains(token), "{said}");
}

#[test]
fn calls_wait_for_their_turn_in_the_queue_of_the_server() {
    let server = Server::start();
    let token = server.project("narrow", json!({"quotas": {"concurrent_runs": 1}}));
    let mut mcp = mcp_as(&server, &token, &[]);
    let code = "import time; (time.time(), time.sleep(0.3), time.time())";
    for id in 1..=3 {
        mcp.call(id, code);
    }
    let mut spans: Vec<(f64, f64)> = (1..=3)
        .map(|_| {
            let answer = loop {
                let mut message = mcp.next();
                if message.get("result").is_some() {
                    break message["result"].take();
                }
            };
            let value = &answer["structuredContent"]["value"];
            (value[0].as_f64().expect("a number"), value[2].as_f64().expect("a number"))
        })
        .collect();
    spans.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert!(spans.windows(2).all(|two| two[0].1 <= two[1].0 + 0.01), "{spans:?}");
}

#[test]
fn a_cancelled_call_cancels_its_run_and_further_calls_are_answered() {
    let server = Server::start();
    let mut mcp = mcp(&server, &[]);
    mcp.call_with(1, &endless());
    mcp.until_started();
    let id = only_run(&server)["id"].as_str().unwrap().to_owned();
    mcp.send(
        &json!({"jsonrpc": "2.0", "method": "notifications/cancelled", "params": {"requestId": 1}}),
    );
    assert_eq!(server.until_over(&id)["status"], "cancelled");
    mcp.call(2, "2");
    assert_eq!(mcp.answer(2)["structuredContent"]["value"], 2);
}

#[test]
fn the_end_of_input_and_signals_cancel_the_run() {
    for signal in [None, Some(Signal::TERM), Some(Signal::INT), Some(Signal::HUP)] {
        let server = Server::start();
        let mut mcp = mcp(&server, &[]);
        mcp.call_with(1, &endless());
        mcp.until_started();
        let id = only_run(&server)["id"].as_str().unwrap().to_owned();
        let begun = Instant::now();
        // A signal ends it while the input stays open.
        let input = signal.and_then(|signal| {
            kill_process(Pid::from_child(&mcp.child), signal).expect("it lives");
            mcp.input.take()
        });
        assert_eq!(mcp.ended(), (Some(0), String::new()), "{signal:?}");
        drop(input);
        assert_eq!(server.until_over(&id)["status"], "cancelled", "{signal:?}");
        assert!(begun.elapsed() < Duration::from_mins(1), "{:?}", begun.elapsed());
    }
}

#[test]
fn what_nothing_can_cancel_ends_by_its_limits() {
    let server = Server::start();
    let mut mcp = mcp(&server, &["--timeout", "3s"]);
    mcp.call(1, ENDLESS);
    mcp.until_started();
    let id = only_run(&server)["id"].as_str().unwrap().to_owned();
    mcp.child.kill().expect("it lives");
    mcp.child.wait().expect("it ends");
    assert_eq!(server.until_over(&id)["status"], "timed_out");
}

#[test]
fn a_server_that_stops_in_the_middle_of_a_run_ends_the_call_and_later_ones_say_so() {
    let mut server = Server::start();
    let mut mcp = mcp(&server, &[]);
    mcp.call_with(1, &endless());
    mcp.until_started();
    let id = only_run(&server)["id"].as_str().unwrap().to_owned();
    server.kill();
    let begun = Instant::now();
    let lost = mcp.answer(1);
    refuses(&lost, &[&format!("the end of run {id} is unknown"), "cannot reach the server at"]);
    assert!(begun.elapsed() < Duration::from_secs(90), "{:?}", begun.elapsed());
    let unreachable = answer_to(&mut mcp, "1");
    refuses(
        &unreachable,
        &["did not run the program", "cannot reach", "the program is not the cause"],
    );
    for answer in [lost, unreachable] {
        assert!(!answer.to_string().contains(&server.token));
    }
    // There is no run to cancel, and the end of input does not wait for the server.
    assert_eq!(mcp.ended(), (Some(0), String::new()));
}

#[test]
fn a_server_that_restarts_in_the_middle_of_a_run_still_answers() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let mut server = Server::start_in(&home, &[]);
    let socket = format!("unix:{}", home.join("server.sock").display());
    let start = belljar_without_server(["mcp", "--server", &socket, "--project", "default"]);
    let mut mcp = Mcp::of(start).greeted();
    mcp.call_with(1, &endless());
    mcp.until_started();
    server.kill();
    let _restarted = Server::start_in(&home, &[]);
    let answer = mcp.answer(1);
    assert_eq!(answer["structuredContent"]["status"], "interrupted", "{answer}");
    mcp.call(2, "2");
    assert_eq!(mcp.answer(2)["structuredContent"]["value"], 2);
}

#[test]
fn a_hint_suggests_no_more_than_the_flags_allow() {
    let server = Server::start();
    let mut mcp = mcp(&server, &["--timeout", "300ms"]);
    let answer = answer_to(&mut mcp, "import time; time.sleep(60)");
    let outcome = &answer["structuredContent"];
    assert_eq!(outcome["status"], "timed_out", "{answer}");
    let hint = "do less in one run: the flags of this server allow at most 300 ms";
    assert_eq!(outcome["error"]["hint"], hint);
}

#[test]
fn programs_have_storage_only_as_far_as_the_flags_grant_it() {
    let server = Server::start();
    server.ask("PUT", "/v1/objects/in/a.txt").body("content").send().is(200);
    let code = "import belljar\nbelljar.storage.download('in/a.txt').read().decode()";
    let mut without = mcp(&server, &[]);
    let refused = answer_to(&mut without, code);
    assert_eq!(refused["structuredContent"]["status"], "failed", "{refused}");
    assert!(text(&refused).contains("storage is not granted"), "{refused}");
    assert!(!refused.to_string().contains("grant it with"), "{refused}");
    let mut granted = mcp(&server, &["--storage-read", "obj:in/"]);
    assert_eq!(answer_to(&mut granted, code)["structuredContent"]["value"], "content");
    let files = |object: &str| {
        let files = json!([{"path": "a.txt", "object": object}]);
        json!({"language": "python", "code": "open('a.txt').read()", "files": files})
    };
    granted.call_with(2, &files("in/a.txt"));
    assert_eq!(granted.answer(2)["structuredContent"]["value"], "content");
    granted.call_with(3, &files("out/a.txt"));
    refuses(&granted.answer(3), &["`out/a.txt` is not within policy.storage.read"]);
}

#[test]
fn a_server_that_cannot_be_used_is_said_at_the_start() {
    let mut server = Server::start();
    let mut with_wrong_token = command(&server, &[]);
    with_wrong_token.env("BELLJAR_TOKEN", "bjr_wrong-and-secret");
    let settings = json!({"limits": {"timeout_ms": 5000}});
    let token = server.project("small", settings);
    let mut beyond = command(&server, &["--timeout", "6s"]);
    beyond.env("BELLJAR_TOKEN", &token);
    for (command, code, words) in [
        (with_wrong_token, 1, "the token is missing, unknown, expired or revoked"),
        (beyond, 2, "the flags exceed the ceiling of the project: limits.timeout_ms: 6000"),
    ] {
        let (ended, said) = Mcp::of(command).ended();
        assert_eq!(ended, Some(code), "{said}");
        assert!(said.contains(words) && !said.contains("secret"), "{said}");
    }
    let unreachable = command(&server, &[]);
    server.kill();
    let (ended, said) = Mcp::of(unreachable).ended();
    assert_eq!(ended, Some(1), "{said}");
    assert!(said.contains("cannot reach the server at http://127.0.0.1"), "{said}");
}

#[test]
fn flags_that_have_no_meaning_are_refused_with_a_hint() {
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), r#"{"packages": {"blocked": ["six"]}}"#).unwrap();
    let policy = file.path().to_str().unwrap();
    for (flags, words, hint) in [
        (&["--remote", "--allow-package", "six"][..], "--allow-package", "belljar projects set"),
        (&["--remote", "--block-package", "six"], "--block-package", "belljar projects set"),
        (&["--remote", "--allow-degraded"], "--allow-degraded", "start the server with that flag"),
        (&["--remote", "--policy", policy], "package rules", "remove `packages` from the file"),
        (&["--remote", "--policy", "-"], "the Model Context Protocol", ""),
        (&["--label", "a=b"], "--label is for runs on a server", "add --remote"),
        (&["--storage-read", "in/"], "--storage-read is for runs on a server", "add --remote"),
        (&["--server", "nonsense"], "is not the URL of a server", "https://"),
    ] {
        let command = belljar_without_server(["mcp"].iter().chain(flags));
        let (code, said) = Mcp::of(command).ended();
        assert_eq!(code, Some(2), "{flags:?}: {said}");
        assert!(said.contains(words) && said.contains(hint), "{flags:?}: {said}");
    }
}

#[test]
fn no_packages_holds_on_a_server_too() {
    let server = Server::start();
    let mut mcp = mcp(&server, &["--no-packages"]);
    let answer = answer_to(&mut mcp, "import humanize");
    let error = &answer["structuredContent"]["error"];
    assert_eq!(error["name"], "ModuleNotFoundError", "{answer}");
}

#[test]
fn a_client_that_goes_away_leaves_no_run_in_the_queue() {
    let server = Server::start();
    let token = server.project("narrow", json!({"quotas": {"concurrent_runs": 1}}));
    let mut mcp = mcp_as(&server, &token, &[]);
    let runs = || {
        let page = server.ask("GET", "/v1/runs").token(&token).send().is(200);
        page["runs"].as_array().unwrap().clone()
    };
    for id in 1..=4 {
        mcp.call_with(id, &endless());
    }
    eventually("all runs are submitted", || runs().len() == 4);
    assert!(runs().iter().any(|run| run["status"] == "queued"), "{:?}", runs());
    assert_eq!(mcp.ended(), (Some(0), String::new()));
    eventually("no run is in progress", || runs().iter().all(|run| !run["finished_at"].is_null()));
    assert!(runs().iter().all(|run| run["status"] == "cancelled"), "{:?}", runs());
}
