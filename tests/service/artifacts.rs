//! Files that a run leaves: what they cost the server, and its other callers.

use std::time::{Duration, Instant};

use belljar_test_support::Server;
use serde_json::{Value, json};

use crate::SHARED;

fn health(server: &Server) -> Duration {
    let began = Instant::now();
    assert_eq!(server.ask("GET", "/healthz").no_token().send().text(), "ok\n");
    began.elapsed()
}

/// The slowest of some answers while nothing else happens.
fn idle(server: &Server) -> Duration {
    (0..30).map(|_| health(server)).max().unwrap()
}

/// Starts runs and asks for other things until they are over, and repeats that until no answer took
/// much longer than on an idle server. Returns the ids and records of the last runs. A busy machine
/// may delay an answer by chance, but not in each of several attempts.
fn run_without_delays(
    server: &Server,
    idle: Duration,
    start: impl Fn() -> Vec<String>,
) -> Vec<(String, Value)> {
    let mut slowest = Vec::new();
    for _ in 0..4 {
        let runs = start();
        let (time, records) = slowest_until_over(server, &runs);
        // It was 3.2 s when files were read by the threads that answer.
        if time < idle * 20 + Duration::from_millis(500) {
            return runs.into_iter().zip(records).collect();
        }
        slowest.push(time);
    }
    panic!("{slowest:?}, and {idle:?} when idle");
}

/// The slowest answer until the runs are over, and their records.
fn slowest_until_over(server: &Server, runs: &[String]) -> (Duration, Vec<Value>) {
    let mut slowest = Duration::ZERO;
    let end = Instant::now() + Duration::from_mins(2);
    loop {
        slowest = slowest.max(health(server));
        let records: Vec<Value> =
            runs.iter().map(|id| server.get(&format!("/v1/runs/{id}")).is(200)).collect();
        if records.iter().all(|record| !record["finished_at"].is_null()) {
            return (slowest, records);
        }
        assert!(Instant::now() < end, "{records:?}");
    }
}

fn events(server: &Server, id: &str) -> String {
    server.get(&format!("/v1/runs/{id}/events")).text()
}

#[test]
fn files_left_outside_of_outputs_are_artifacts_within_a_bound() {
    let run = |code: &str| {
        SHARED.post("/v1/runs", json!({"language": "python", "code": code, "wait": true})).is(200)
    };
    let outcome = run("open('result.csv', 'w').write('a,b'); 1");
    assert_eq!(
        (&outcome["artifacts"][0]["name"], outcome.get("left_behind")),
        (&json!("result.csv"), None)
    );
    let content =
        SHARED.get(&format!("/v1/runs/{}/artifacts/result.csv", outcome["id"].as_str().unwrap()));
    assert_eq!(content.text(), "a,b");
    let outcome =
        run("open('large.bin', 'wb').write(bytes(17 << 20)); open('small', 'w').write('x'); 1");
    assert_eq!(outcome["artifacts"].as_array().unwrap().len(), 1, "{outcome}");
    assert_eq!(outcome["left_behind"], json!([{"name": "large.bin", "size_bytes": 17 << 20}]));
    let record = SHARED.get(&format!("/v1/runs/{}", outcome["id"].as_str().unwrap())).is(200);
    assert_eq!(record["outcome"]["left_behind"], outcome["left_behind"], "as it is kept");
}

#[test]
fn a_file_of_holes_costs_the_server_nothing_and_is_not_handed_back() {
    let server = Server::start();
    server.run("python", "1");
    let idle = idle(&server);
    let code = "import os\nf = os.open('outputs/holes', os.O_CREAT | os.O_RDWR)\nos.truncate(f, 2 << 30)\nopen('outputs/real', 'w').write('x')\nos.fstat(f).st_size";
    let run = json!({"language": "python", "code": code, "limits": {"disk_bytes": 3_u64 << 30}});
    let start = || (0..2).map(|_| server.start_run(run.clone())).collect();
    for (id, record) in run_without_delays(&server, idle, start) {
        assert_eq!(record["outcome"]["value"], 2_u64 << 30, "the attack ran: {record}");
        let names: Vec<&str> = record["outcome"]["artifacts"]
            .as_array()
            .unwrap()
            .iter()
            .filter_map(|file| file["name"].as_str())
            .collect();
        assert_eq!(names, ["real"], "{record}");
        let events = events(&server, &id);
        assert!(events.contains("1 with more than 64 MB of holes"), "{events}");
    }
}

#[test]
fn reading_large_artifacts_delays_no_other_request_and_ends_when_the_run_is_cancelled() {
    let server = Server::start();
    server.run("python", "1");
    let idle = idle(&server);
    // A build without optimizations reads some 10 MB a second.
    let code = "import os\nwith open('outputs/a', 'wb') as file:\n    for _ in range(40):\n        file.write(bytes(1 << 20))\nprint('written', flush=True)";
    let limits = json!({"disk_bytes": 60 << 20, "memory_bytes": 200 << 20, "timeout_ms": 60_000});
    let run = json!({"language": "python", "code": code, "limits": limits});
    let runs = run_without_delays(&server, idle, || vec![server.start_run(run.clone())]);
    let (_, record) = &runs[0];
    assert_eq!(record["outcome"]["artifacts"][0]["size_bytes"], 40 << 20, "{record}");
    let id = server.start_run(run);
    let written = server
        .ask("GET", &format!("/v1/runs/{id}/events"))
        .lines()
        .find(|line| line.contains("written"));
    assert!(written.is_some());
    server.post(&format!("/v1/runs/{id}/cancel"), json!({})).is(200);
    let record = server.until_over(&id);
    // An optimized build may have read it by then.
    assert!(
        record["status"] == "cancelled"
            || !cfg!(debug_assertions) && record["status"] == "succeeded",
        "{record}"
    );
    assert!(
        record["status"] == "succeeded" || record["outcome"]["artifacts"] == json!([]),
        "{record}"
    );
}

#[test]
fn artifacts_beyond_the_quota_are_refused_before_they_are_read() {
    let server = Server::start();
    let quota = json!({"quotas": {"storage_bytes": 1_000_000}});
    server.operate("PUT", "/v1/projects/default/settings", Some(quota)).is(200);
    let code = "with open('outputs/a', 'wb') as file:\n    for _ in range(200):\n        file.write(bytes(1 << 20))\n7";
    let limits = json!({"disk_bytes": 300 << 20, "memory_bytes": 400 << 20, "timeout_ms": 60_000});
    let id = server.start_run(json!({"language": "python", "code": code, "limits": limits}));
    let record = server.until_over(&id);
    assert_eq!(
        (&record["outcome"]["value"], &record["outcome"]["artifacts"]),
        (&json!(7), &json!([])),
        "{record}"
    );
    let events = events(&server, &id);
    assert!(
        events.contains("the artifacts could not be kept") && events.contains("quota"),
        "{events}"
    );
    // And nothing has stayed behind of them.
    assert_eq!(server.get("/v1/objects").is(200)["objects"], json!([]));
}
