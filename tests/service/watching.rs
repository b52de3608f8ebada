//! The events of runs: as they come, afterwards, by many, by slow ones.

use std::io::{Read, Write};
use std::time::{Duration, Instant};

use belljar_test_support::Server;
use serde_json::{Value, json};

use crate::SHARED;

const COUNT: &str = "
import time
for i in range(20):
    print(i)
    time.sleep(0.02)
";

fn numbers(lines: impl Iterator<Item = String>) -> Vec<u64> {
    lines
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str::<Value>(&line).unwrap()["seq"].as_u64().unwrap())
        .collect()
}

#[test]
fn events_come_as_server_sent_events_and_as_ndjson() {
    let body = json!({"language": "python", "code": "print('a')\n1"});
    let sse: Vec<String> = SHARED
        .ask("POST", "/v1/runs")
        .header("Accept", "text/event-stream")
        .json(body.clone())
        .lines()
        .collect();
    let kinds: Vec<_> = sse.iter().filter_map(|line| line.strip_prefix("event: ")).collect();
    assert_eq!(kinds, ["queued", "started", "log", "finished"]);
    let ids: Vec<_> = sse.iter().filter_map(|line| line.strip_prefix("id: ")).collect();
    assert_eq!(ids, ["0", "1", "2", "3"]);
    let ndjson: Vec<String> = SHARED
        .ask("POST", "/v1/runs")
        .header("Accept", "application/x-ndjson")
        .json(body)
        .lines()
        .collect();
    let last: Value = serde_json::from_str(ndjson.last().unwrap()).unwrap();
    assert_eq!((&last["type"], &last["outcome"]["value"]), (&json!("finished"), &json!(1)));
}

#[test]
fn a_watcher_resumes_after_the_last_event_without_a_gap_or_a_repeat() {
    let id = SHARED.start_run(json!({"language": "python", "code": COUNT}));
    let events = |after: Option<u64>| {
        let request = SHARED
            .ask("GET", &format!("/v1/runs/{id}/events"))
            .header("Accept", "application/x-ndjson");
        if let Some(after) = after {
            request.header("Last-Event-ID", &after.to_string())
        } else {
            request
        }
        .lines()
    };
    let first: Vec<u64> = numbers(events(None).take(7));
    assert_eq!(first, (0..7).collect::<Vec<_>>());
    let rest = numbers(events(Some(6)));
    assert_eq!(rest, (7..23).collect::<Vec<_>>());
    // Afterwards the same, from the store.
    SHARED.until_over(&id);
    assert_eq!(numbers(events(None)), (0..23).collect::<Vec<_>>());
    assert_eq!(numbers(events(Some(6))), (7..23).collect::<Vec<_>>());
    assert_eq!(numbers(events(Some(22))), Vec::<u64>::new());
}

#[test]
fn logs_are_followed_and_listed() {
    let id = SHARED.start_run(json!({"language": "python", "code": COUNT}));
    let live: Vec<Value> = SHARED
        .ask("GET", &format!("/v1/runs/{id}/logs"))
        .header("Accept", "application/x-ndjson")
        .lines()
        .filter(|line| !line.is_empty())
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    assert_eq!(live.len(), 20);
    assert!(live.iter().all(|event| event["type"] == "log"));
    let listed = SHARED.get(&format!("/v1/runs/{id}/logs")).is(200);
    assert_eq!(listed["logs"].as_array().unwrap().len(), 20);
    assert_eq!(listed["logs"][19]["message"], "19");
}

#[test]
fn a_hundred_watchers_hear_the_same() {
    let id = SHARED.start_run(json!({"language": "python", "code": COUNT}));
    std::thread::scope(|scope| {
        let watchers: Vec<_> = (0..100)
            .map(|_| {
                scope.spawn(|| {
                    numbers(
                        SHARED
                            .ask("GET", &format!("/v1/runs/{id}/events"))
                            .header("Accept", "application/x-ndjson")
                            .lines(),
                    )
                })
            })
            .collect();
        for watcher in watchers {
            assert_eq!(watcher.join().unwrap(), (0..23).collect::<Vec<_>>());
        }
    });
}

#[test]
fn a_watcher_that_does_not_read_delays_no_other_client() {
    let server = Server::start();
    let code = "for (let i = 0; i < 9000; i++) console.log('x'.repeat(100)); 1";
    let body =
        json!({"language": "javascript", "code": code, "limits": {"output_bytes": 10_000_000}})
            .to_string();
    let mut slow = server.connect();
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nAccept: application/x-ndjson\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
        server.token,
        body.len()
    );
    slow.write_all(head.as_bytes()).unwrap();
    let mut start = [0; 300];
    slow.read_exact(&mut start).unwrap();
    let started = Instant::now();
    let runs = server.get("/v1/runs").is(200);
    let record = server.until_over(runs["runs"][0]["id"].as_str().unwrap());
    assert_eq!(record["status"], "succeeded", "{record}");
    assert!(started.elapsed() < Duration::from_secs(20));
    assert_eq!(server.run("javascript", "1 + 1")["value"], 2);
}
