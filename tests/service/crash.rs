//! The state that a server leaves when it dies, and its stop on request.

use std::io::Write;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use belljar_test_support::http::read_answer;
use belljar_test_support::{Server, binary, eventually};
use serde_json::{Value, json};

use crate::ONE_AT_A_TIME;

pub fn reopen(server: &Server) -> Server {
    let mut next = Server::start_in(&server.home, &[]);
    next.token.clone_from(&server.token);
    next
}

/// Reads the database as another process.
pub fn look_up(home: &std::path::Path, query: &str) -> u64 {
    let script = "import sqlite3, sys\nprint(sqlite3.connect(f'file:{sys.argv[1]}?mode=ro', uri=True).execute(sys.argv[2]).fetchone()[0])";
    let output = std::process::Command::new("python3")
        .args(["-c", script])
        .arg(home.join("belljar.db"))
        .arg(query)
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).trim().parse().unwrap_or_else(|_| panic!("{output:?}"))
}

/// Runs whose logs are stored.
const WITH_LOGS: &str = "SELECT COUNT(DISTINCT run_id) FROM run_events WHERE lines LIKE '%begun%'";

/// The number after that of the last event in the database.
fn stored_numbers(home: &std::path::Path) -> u64 {
    look_up(
        home,
        "SELECT coalesce(max(seq + length(lines) - length(replace(lines, char(10), ''))), 0) FROM run_events",
    )
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
        .start_run(json!({"language": "javascript", "retry": {"attempts": 2, "backoff_ms": 10},
        // The second attempt ends by itself. The first must not, however long it takes until the
        // server is killed.
        "code": mark("again").replace("await new Promise", "if ((await belljar.storage.list('marks/again/')).length < 2) await new Promise")}));
    let waits =
        server.start_run(json!({"language": "javascript", "code": "await belljar.storage.upload('marks/waits/' + Math.random(), 'x'); 3"}));
    let done = |server: &Server, name: &str| {
        server.get(&format!("/v1/objects?prefix=marks/{name}/")).is(200)["objects"]
            .as_array()
            .unwrap()
            .len()
    };
    eventually("what was written is stored", || look_up(&server.home, WITH_LOGS) == 2);
    eventually("two have begun", || done(&server, "plain") == 1 && done(&server, "again") == 1);
    server.kill();

    let server = reopen(&server);
    let record = server.until_over(&plain);
    assert_eq!(
        (&record["status"], &record["attempt"]),
        (&json!("interrupted"), &json!(1)),
        "{record}"
    );
    assert!(
        record["outcome"]["error"]["message"].as_str().unwrap().contains("server died"),
        "{record}"
    );
    assert_eq!(record["outcome"]["logs"][0]["message"], "begun", "{record}");
    assert_eq!(
        server.get(&format!("/v1/runs/{plain}/logs")).is(200)["logs"][0]["message"],
        "begun"
    );
    let record = server.until_over(&again);
    assert_eq!(
        (&record["status"], &record["attempt"]),
        (&json!("succeeded"), &json!(2)),
        "{record}"
    );
    assert_eq!(server.until_over(&waits)["outcome"]["value"], 3);
    assert_eq!((done(&server, "plain"), done(&server, "again"), done(&server, "waits")), (1, 2, 1));
    assert_eq!(server.operate("GET", "/v1/audit/verification", None).is(200)["verdict"], "intact");
    // A watcher receives the end of a run, whatever it received before; and one that starts at the
    // first event also sees that the run was queued.
    let events = |id: &str, after: &str| -> Vec<String> {
        let request = server
            .ask("GET", &format!("/v1/runs/{id}/events{after}"))
            .header("Accept", "application/x-ndjson");
        request.lines().filter(|line| !line.is_empty()).collect()
    };
    let last = events(&plain, "?after=900").pop().unwrap();
    assert!(last.contains("\"finished\"") && last.contains("interrupted"), "{last}");
    let of_one_that_waited: Vec<u64> = events(&waits, "").iter().map(|line| number(line)).collect();
    assert_eq!(of_one_that_waited, [0, 1, 2]);
}

#[test]
fn a_server_that_dies_between_two_attempts_counts_the_first() {
    let _one = ONE_AT_A_TIME.lock();
    let mut server = Server::start_with("[runs]\nconcurrent = 1\n");
    // Each attempt leaves a mark and crashes.
    let code = "await belljar.storage.upload('marks/' + Math.random(), 'x'); process.kill(process.pid, 'SIGKILL')";
    let id = server.start_run(json!({"language": "javascript", "code": code, "retry": {"attempts": 2, "backoff_ms": 5000}}));
    let record = |server: &Server| server.get(&format!("/v1/runs/{id}")).is(200);
    eventually("the second attempt waits", || {
        let record = record(&server);
        (&record["status"], &record["attempt"]) == (&json!("queued"), &json!(2))
    });
    eventually("that is stored", || {
        look_up(&server.home, "SELECT COUNT(*) FROM runs WHERE status = 'queued'") == 1
    });
    server.kill();

    let server = reopen(&server);
    let record = server.until_over(&id);
    assert_eq!((&record["status"], &record["attempt"]), (&json!("crashed"), &json!(2)), "{record}");
    let marks =
        server.get("/v1/objects?prefix=marks/").is(200)["objects"].as_array().unwrap().len();
    assert_eq!(marks, 2, "{record}");
}

fn number(line: &str) -> u64 {
    serde_json::from_str::<Value>(line).unwrap()["seq"].as_u64().unwrap()
}

#[test]
fn a_watcher_that_resumes_after_a_crash_misses_nothing_of_the_next_attempt() {
    let _one = ONE_AT_A_TIME.lock();
    let mut server = Server::start();
    let code = "
import random, time
name = random.random()
for n in range(60):
    print(name, n)
    time.sleep(0.01)
";
    let id = server.start_run(
        json!({"language": "python", "code": code, "retry": {"attempts": 2, "backoff_ms": 10}}),
    );
    let watch = |server: &Server, after: Option<u64>| {
        let request = server
            .ask("GET", &format!("/v1/runs/{id}/events"))
            .header("Accept", "application/x-ndjson");
        match after {
            Some(after) => request.header("Last-Event-ID", &after.to_string()).lines(),
            None => request.lines(),
        }
    };
    let heard: Vec<String> =
        watch(&server, None).filter(|line| !line.is_empty()).take(12).collect();
    server.kill();
    // The attack has run: more was sent than is stored. Otherwise, the next numbers would have been
    // new in any case.
    let (last, stored) = (number(heard.last().unwrap()), stored_numbers(&server.home));
    assert!(stored <= last, "{stored} were stored of {last}");

    let server = reopen(&server);
    let events: Vec<Value> = watch(&server, Some(last))
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let numbers: Vec<u64> = events.iter().map(|event| event["seq"].as_u64().unwrap()).collect();
    assert!(
        numbers[0] > last && numbers.windows(2).all(|pair| pair[1] == pair[0] + 1),
        "after {last}: {numbers:?}"
    );
    let kinds: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
    assert_eq!(
        (kinds[..2].to_vec(), kinds.last().copied()),
        (vec!["progress", "started"], Some("finished")),
        "{kinds:?}"
    );
    let lines: Vec<&str> = events
        .iter()
        .filter_map(|event| event["message"].as_str())
        .filter(|line| line.starts_with("0."))
        .collect();
    let counted: Vec<String> =
        lines.iter().map(|line| line.split(' ').nth(1).unwrap().to_owned()).collect();
    assert_eq!(counted, (0..60).map(|n| n.to_string()).collect::<Vec<_>>());
    assert_eq!(events.last().unwrap()["outcome"]["status"], "succeeded");
    // Afterwards the same, from the store.
    assert_eq!(
        watch(&server, Some(last))
            .filter(|line| !line.is_empty())
            .map(|line| number(&line))
            .collect::<Vec<_>>(),
        numbers
    );
}

#[test]
fn a_server_that_is_asked_to_stop_lets_runs_end_and_keeps_those_that_wait() {
    let _one = ONE_AT_A_TIME.lock();
    let mut server = Server::start_with("[runs]\nconcurrent = 2\ndrain_ms = 5000\n");
    let short = server.start_run(json!({"language": "javascript", "code": "await new Promise((r) => setTimeout(r, 1000)); 5"}));
    let long = server.start_run(
        json!({"language": "javascript", "code": "await new Promise((r) => setTimeout(r, 60000))"}),
    );
    let waits = server.start_run(json!({"language": "javascript", "code": "6"}));
    for id in [&short, &long] {
        server.until(id, |record| record["status"] != "queued");
    }
    let started = Instant::now();
    assert!(server.stop().success());
    assert!(started.elapsed() < Duration::from_secs(50), "{:?}", started.elapsed());
    assert!(!server.home.join("server.sock").exists());
    let server = reopen(&server);
    assert_eq!(server.until_over(&short)["outcome"]["value"], 5);
    assert_eq!(server.until_over(&long)["status"], "interrupted");
    assert_eq!(server.until_over(&waits)["outcome"]["value"], 6);
}

#[test]
fn a_quick_stop_while_everybody_asks_logs_no_error() {
    let _one = ONE_AT_A_TIME.lock();
    for _ in 0..3 {
        let mut server =
            Server::start_through(&["sh", "-c", "exec \"$0\" \"$@\" 2> \"$BELLJAR_HOME/log\""], "");
        let (url, token) =
            (server.url.strip_prefix("http://").unwrap().to_owned(), server.token.clone());
        let asked = std::sync::atomic::AtomicU32::new(0);
        std::thread::scope(|scope| {
            for n in 0..4 {
                let (url, token, asked) = (&url, &token, &asked);
                scope.spawn(move || {
                    let token = if n == 0 { "bjr_wrong" } else { token };
                    let request =
                        format!("PUT /v1/objects/{n} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\nContent-Length: 1\r\n\r\nx");
                    // Until nobody listens any more.
                    while let Ok(mut socket) = std::net::TcpStream::connect(url) {
                        let _ = socket.write_all(request.as_bytes());
                        let status = read_answer(&mut socket).status;
                        assert!([0, 200, 401, 429, 503].contains(&status), "{status}");
                        asked.fetch_add(1, Ordering::Relaxed);
                    }
                });
            }
            eventually("all ask", || asked.load(Ordering::Relaxed) > 20);
            assert!(server.stop().success());
        });
        let log = std::fs::read_to_string(server.home.join("log")).unwrap();
        assert!(!log.contains("ERROR") && !log.contains("closed"), "{log}");
    }
}

#[test]
fn one_home_has_one_server() {
    let server = Server::start();
    let second = std::process::Command::new(binary())
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
    let ids: Vec<_> = (0..4)
        .map(|n| server.run("javascript", &n.to_string())["id"].as_str().unwrap().to_owned())
        .collect();
    server.stop();
    std::fs::write(server.home.join("belljar.toml"), "[runs]\nkeep_count = 2\n").unwrap();
    let server = reopen(&server);
    eventually("the oldest are gone", || {
        server.get("/v1/runs").is(200)["runs"].as_array().unwrap().len() == 2
    });
    assert_eq!(server.get(&format!("/v1/runs/{}", ids[0])).status, 404);
    assert_eq!(server.get(&format!("/v1/runs/{}", ids[3])).status, 200);
}

#[test]
fn a_home_is_its_owners_alone() {
    use std::os::unix::fs::PermissionsExt;
    let server = Server::start();
    let mode = |path: &str| {
        std::fs::metadata(server.home.join(path)).unwrap().permissions().mode() & 0o777
    };
    assert_eq!(
        (mode("server.sock"), mode("keys/signing.key"), mode("belljar.db"), mode("belljar.db-wal")),
        (0o600, 0o600, 0o600, 0o600)
    );
    assert_eq!((mode("keys"), mode("objects")), (0o700, 0o700));
}
