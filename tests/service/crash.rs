//! What is left of a server that dies, and how one stops that is asked to.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::server::{ONE_AT_A_TIME, Server, eventually};

fn reopen(server: &Server) -> Server {
    let mut next = Server::start_in(&server.home);
    next.token.clone_from(&server.token);
    next
}

/// Pieces of events in the database, read as somebody else would.
fn stored_events(home: &std::path::Path) -> u32 {
    let script = "import sqlite3, sys\nprint(sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True).execute('SELECT COUNT(*) FROM run_events').fetchone()[0])";
    let output = std::process::Command::new("python3").args(["-c", script]).arg(home.join("belljar.db")).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap()
}

#[test]
fn a_killed_server_loses_no_run_and_runs_none_twice() {
    let _one = ONE_AT_A_TIME.lock();
    let mut server = Server::start_with("[runs]\nconcurrent = 2\n");
    // Each leaves a mark in storage when it begins.
    let mark = |name: &str| {
        format!(
            "await belljar.storage.upload('marks/{name}/' + Math.random(), 'x'); console.log('begun'); await new Promise((r) => setTimeout(r, 60000)); 1"
        )
    };
    let plain = server.start_run(json!({"language": "javascript", "code": mark("plain")}));
    let again = server
        .start_run(json!({"language": "javascript", "retry": {"attempts": 2, "backoff_ms": 10}, "limits": {"timeout_ms": 3000},
        "code": mark("again")}));
    let waits =
        server.start_run(json!({"language": "javascript", "code": "await belljar.storage.upload('marks/waits/' + Math.random(), 'x'); 3"}));
    let done =
        |server: &Server, name: &str| server.get(&format!("/v1/objects?prefix=marks/{name}/")).is(200)["objects"].as_array().unwrap().len();
    eventually("what was written is stored", || stored_events(&server.home) >= 2);
    eventually("two have begun", || done(&server, "plain") == 1 && done(&server, "again") == 1);
    server.kill();

    let server = reopen(&server);
    let record = server.until_over(&plain);
    assert_eq!((&record["status"], &record["attempt"]), (&json!("interrupted"), &json!(1)), "{record}");
    assert!(record["outcome"]["error"]["message"].as_str().unwrap().contains("server died"), "{record}");
    assert_eq!(record["outcome"]["logs"][0]["message"], "begun", "{record}");
    assert_eq!(server.get(&format!("/v1/runs/{plain}/logs")).is(200)["logs"][0]["message"], "begun");
    let record = server.until_over(&again);
    assert_eq!((&record["status"], &record["attempt"]), (&json!("timed_out"), &json!(2)), "{record}");
    assert_eq!(server.until_over(&waits)["outcome"]["value"], 3);
    assert_eq!((done(&server, "plain"), done(&server, "again"), done(&server, "waits")), (1, 2, 1));
    assert_eq!(server.operate("GET", "/v1/audit/verification", None).is(200)["verdict"], "intact");
    // Whoever watched hears of the end, whatever they heard before.
    let last = server
        .ask("GET", &format!("/v1/runs/{plain}/events"))
        .header("Accept", "application/x-ndjson")
        .header("Last-Event-ID", "900")
        .lines()
        .last()
        .unwrap();
    assert!(last.contains("\"finished\"") && last.contains("interrupted"), "{last}");
}

#[test]
fn a_server_that_is_asked_to_stop_lets_runs_end_and_keeps_those_that_wait() {
    let _one = ONE_AT_A_TIME.lock();
    let mut server = Server::start_with("[runs]\nconcurrent = 2\ndrain_ms = 3000\n");
    let short = server.start_run(json!({"language": "javascript", "code": "await new Promise((r) => setTimeout(r, 1000)); 5"}));
    let long = server.start_run(json!({"language": "javascript", "code": "await new Promise((r) => setTimeout(r, 60000))"}));
    let waits = server.start_run(json!({"language": "javascript", "code": "6"}));
    let started = Instant::now();
    assert!(server.stop().success());
    assert!(started.elapsed() < Duration::from_secs(12), "{:?}", started.elapsed());
    assert!(!server.home.join("server.sock").exists());
    let server = reopen(&server);
    assert_eq!(server.until_over(&short)["outcome"]["value"], 5);
    assert_eq!(server.until_over(&long)["status"], "interrupted");
    assert_eq!(server.until_over(&waits)["outcome"]["value"], 6);
}

#[test]
fn one_home_has_one_server() {
    let server = Server::start();
    let second = std::process::Command::new(crate::server::BINARY)
        .args(["serve", "--listen", "127.0.0.1:0"])
        .env("BELLJAR_HOME", &server.home)
        .output()
        .unwrap();
    assert_eq!(second.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&second.stderr).contains("another server uses"), "{second:?}");
    assert_eq!(server.run("javascript", "1")["value"], 1);
}

#[test]
fn old_runs_are_let_go() {
    let _one = ONE_AT_A_TIME.lock();
    let mut server = Server::start();
    let ids: Vec<_> = (0..4).map(|n| server.run("javascript", &n.to_string())["id"].as_str().unwrap().to_owned()).collect();
    server.stop();
    std::fs::write(server.home.join("belljar.toml"), "[runs]\nkeep_count = 2\n").unwrap();
    let server = reopen(&server);
    eventually("the oldest are gone", || server.get("/v1/runs").is(200)["runs"].as_array().unwrap().len() == 2);
    assert_eq!(server.get(&format!("/v1/runs/{}", ids[0])).status, 404);
    assert_eq!(server.get(&format!("/v1/runs/{}", ids[3])).status, 200);
}

#[test]
fn a_home_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    let mode = |path: &str| std::fs::metadata(server.home.join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("server.sock"), mode("keys/signing.key"), mode("belljar.db"), mode("belljar.db-wal")), (0o600, 0o600, 0o600, 0o600));
    assert_eq!((mode("keys"), mode("objects")), (0o700, 0o700));
}
