//! Data that a project makes the server store: each byte and row is counted, limited, and released.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use belljar_test_support::http::{Answer, read_answer};
use belljar_test_support::{Server, eventually, processes};
use serde_json::{Value, json};

use crate::SHARED;
use crate::crash::look_up;

/// Returns the stored data of the project of this token.
fn kept(server: &Server, token: &str) -> Value {
    server.ask("GET", "/v1/usage").token(token).send().is(200)["storage"][0].clone()
}

fn history_bytes(server: &Server, token: &str) -> u64 {
    kept(server, token)["history_bytes"].as_u64().unwrap()
}

fn get(server: &Server, token: &str, path: &str) -> Answer {
    server.ask("GET", path).token(token).send()
}

/// Runs a program of a project and gives its outcome.
#[track_caller]
fn run(server: &Server, token: &str, code: &str) -> Value {
    server
        .ask("POST", "/v1/runs")
        .token(token)
        .json(json!({"language": "python", "code": code, "wait": true}))
        .send()
        .is(200)
}

fn begin(server: &Server, token: &str, request: &str, headers: &str) -> TcpStream {
    let mut socket = server.connect();
    let head = format!(
        "{request} HTTP/1.1\r\nHost: x\r\nConnection: close\r\nAuthorization: Bearer {token}\r\n{headers}\r\n\r\n"
    );
    socket.write_all(head.as_bytes()).unwrap();
    socket
}

#[test]
fn the_output_of_a_run_is_stored_once_and_returned_unchanged() {
    let server = Server::start();
    let code = "
import belljar
print('LOGGED')
belljar.display('<b>SHOWN</b>', type='text/html')
print('LOGGED', end='')
{'value': 'RETURNED'}";
    let body = json!({"language": "python", "code": code});
    let stream: Vec<String> = server
        .ask("POST", "/v1/runs")
        .header("Accept", "application/x-ndjson")
        .json(body)
        .lines()
        .filter(|line| !line.is_empty())
        .collect();
    let finished: Value = serde_json::from_str(stream.last().unwrap()).unwrap();
    let id = finished["outcome"]["id"].as_str().unwrap();
    // The attack has run: there is something of each kind to store.
    let outcome = &finished["outcome"];
    assert_eq!(
        (outcome["logs"].as_array().unwrap().len(), outcome["results"].as_array().unwrap().len()),
        (2, 1),
        "{outcome}"
    );
    assert_eq!(outcome["value"], json!({"value": "RETURNED"}));
    let count = |text: &str, column: &str, table: &str| {
        let length = text.len();
        look_up(
            &server.home,
            &format!(
                "SELECT coalesce(sum((length({column}) - length(replace({column}, '{text}', ''))) / {length}), 0) FROM {table}"
            ),
        )
    };
    for (text, times) in [("LOGGED", 2), ("SHOWN", 1), ("RETURNED", 1)] {
        let stored = count(text, "lines", "run_events")
            + count(text, "outcome || coalesce(value, '')", "run_outcomes");
        assert_eq!(stored, times, "{text}");
    }
    // The store returns the same: the record, the stream with its end, the logs.
    eventually("the run is over", || {
        server.get(&format!("/v1/runs/{id}")).is(200)["outcome"] == *outcome
    });
    let again = |after: &str| -> Vec<String> {
        let request = server
            .ask("GET", &format!("/v1/runs/{id}/events{after}"))
            .header("Accept", "application/x-ndjson");
        request.lines().filter(|line| !line.is_empty()).collect()
    };
    assert_eq!(again(""), stream);
    assert_eq!(again(&format!("?after={}", stream.len() - 2)), stream[stream.len() - 1..]);
    assert_eq!(server.get(&format!("/v1/runs/{id}/logs")).is(200)["logs"], outcome["logs"]);
}

#[test]
fn history_is_bounded_and_the_oldest_goes_first() {
    let quota = 200_000;
    let token = SHARED.project("history", json!({"quotas": {"history_bytes": quota}}));
    let ids: Vec<String> = (0..8)
        .map(|n| {
            let outcome =
                run(&SHARED, &token, &format!("print('x' * 30000)\nprint('y' * 10000)\n{n}"));
            assert_eq!(outcome["value"], n);
            eventually("it is stored", || {
                get(&SHARED, &token, &format!("/v1/runs/{}", outcome["id"].as_str().unwrap()))
                    .status
                    == 200
            });
            assert!(history_bytes(&SHARED, &token) <= quota, "{:?}", kept(&SHARED, &token));
            outcome["id"].as_str().unwrap().to_owned()
        })
        .collect();
    let record = |id: &str| get(&SHARED, &token, &format!("/v1/runs/{id}")).is(200);
    let dropped: Vec<bool> =
        ids.iter().map(|id| !record(id)["history_dropped_at"].is_null()).collect();
    assert_eq!(
        dropped,
        [true, true, true, true, false, false, false, false],
        "the oldest, and no more than has to be"
    );
    // Of a dropped one the record stays, and how it ended; what it wrote is known to be gone.
    let (oldest, latest) = (record(&ids[0]), record(&ids[7]));
    assert_eq!(
        (&oldest["status"], &oldest["outcome"]["status"]),
        (&json!("succeeded"), &json!("succeeded"))
    );
    assert_eq!(
        (&oldest["outcome"]["value"], &oldest["outcome"]["logs"]),
        (&Value::Null, &json!([]))
    );
    assert_eq!(
        (&latest["outcome"]["value"], latest["outcome"]["logs"].as_array().unwrap().len()),
        (&json!(7), 2)
    );
    for path in ["code", "events", "logs"] {
        get(&SHARED, &token, &format!("/v1/runs/{}/{path}", ids[0])).is_problem(
            410,
            "history-dropped",
            &ids[0],
        );
        assert_eq!(get(&SHARED, &token, &format!("/v1/runs/{}/{path}", ids[7])).status, 200);
    }
    let rerun = |id: &str| {
        SHARED.ask("POST", &format!("/v1/runs/{id}/rerun")).token(&token).json(json!({})).send()
    };
    rerun(&ids[0]).is_problem(410, "history-dropped", "quota of history");
    rerun(&ids[7]).is(202);
    // What is deleted is given back.
    eventually("the run that repeats is over", || {
        get(&SHARED, &token, "/v1/runs").is(200)["runs"]
            .as_array()
            .unwrap()
            .iter()
            .all(|run| !run["finished_at"].is_null())
    });
    for run in get(&SHARED, &token, "/v1/runs").is(200)["runs"].as_array().unwrap() {
        let path = format!("/v1/runs/{}", run["id"].as_str().unwrap());
        eventually("it is deleted", || {
            SHARED.ask("DELETE", &path).token(&token).send().status == 204
        });
    }
    assert_eq!(history_bytes(&SHARED, &token), 0);
}

#[test]
fn one_run_that_wrote_more_than_the_quota_is_answered_whole_and_keeps_its_record() {
    let token = SHARED.project("flood", json!({"quotas": {"history_bytes": 100_000}}));
    let outcome = run(&SHARED, &token, "print('x' * 500000)\n'y' * 1000000");
    assert_eq!(
        (&outcome["status"], outcome["value"].as_str().unwrap().len()),
        (&json!("succeeded"), 1_000_000)
    );
    let record =
        || get(&SHARED, &token, &format!("/v1/runs/{}", outcome["id"].as_str().unwrap())).is(200);
    eventually("the run is over", || !record()["history_dropped_at"].is_null());
    assert_eq!(
        (&record()["outcome"]["value"], &record()["outcome"]["usage"]),
        (&Value::Null, &outcome["usage"])
    );
    assert!(history_bytes(&SHARED, &token) < 10_000, "{}", kept(&SHARED, &token));
}

#[test]
fn records_of_very_many_small_runs_are_bounded_as_well() {
    let quota = 30_000;
    let token = SHARED.project("small-runs", json!({"quotas": {"history_bytes": quota}}));
    let ids: Vec<String> = (0..30)
        .map(|n| run(&SHARED, &token, &n.to_string())["id"].as_str().unwrap().to_owned())
        .collect();
    eventually("all are stored", || {
        get(&SHARED, &token, &format!("/v1/runs/{}", ids[29])).is(200)["finished_at"].is_string()
    });
    assert!(history_bytes(&SHARED, &token) <= quota, "{}", kept(&SHARED, &token));
    assert_eq!(get(&SHARED, &token, &format!("/v1/runs/{}", ids[0])).status, 404);
    // The latest have all of theirs: records of long ago do not push out what was written just now.
    let latest = get(&SHARED, &token, &format!("/v1/runs/{}", ids[29])).is(200);
    assert_eq!(
        (&latest["outcome"]["value"], &latest["history_dropped_at"]),
        (&json!(29), &Value::Null)
    );
}

#[test]
fn a_submission_that_cannot_be_kept_is_refused_before_it_is_read() {
    let token = SHARED.project("submissions", json!({"quotas": {"history_bytes": 100_000}}));
    // Announced, and not a byte of it sent: a server that read it would wait.
    let mut socket = begin(
        &SHARED,
        &token,
        "POST /v1/runs",
        "Content-Type: application/json\r\nContent-Length: 1000000",
    );
    read_answer(&mut socket).is_problem(429, "quota-exceeded", "quota of history");
    // Not announced: once it is read.
    let body = |bytes: usize| {
        json!({"language": "python", "code": "import time; time.sleep(60)", "stdin": "x".repeat(bytes)}).to_string()
    };
    let mut socket = begin(
        &SHARED,
        &token,
        "POST /v1/runs",
        "Content-Type: application/json\r\nTransfer-Encoding: chunked",
    );
    let long = body(150_000);
    socket.write_all(format!("{:x}\r\n{long}\r\n0\r\n\r\n", long.len()).as_bytes()).unwrap();
    read_answer(&mut socket).is_problem(429, "quota-exceeded", "quota of history");
    // What waits and runs counts, all together, and only until it is over.
    let submit = || {
        SHARED
            .ask("POST", "/v1/runs")
            .token(&token)
            .header("Content-Type", "application/json")
            .body(body(60_000))
            .send()
    };
    let first = submit().is(202);
    submit().is_problem(429, "quota-exceeded", "unfinished runs use 60");
    assert!(history_bytes(&SHARED, &token) > 60_000);
    SHARED
        .ask("POST", &format!("/v1/runs/{}/cancel", first["id"].as_str().unwrap()))
        .token(&token)
        .json(json!({}))
        .send()
        .is(200);
    eventually("there is room again", || submit().status == 202);
}

#[test]
fn objects_and_artifacts_have_a_quota_of_their_number() {
    let token = SHARED.project("files", json!({"quotas": {"objects": 4}}));
    let put = |name: &str| {
        SHARED.ask("PUT", &format!("/v1/objects/{name}")).token(&token).body("").send()
    };
    for name in ["a", "b", "c"] {
        put(name).is(200);
    }
    // Two artifacts do not fit, one does.
    let two = run(&SHARED, &token, "for name in 'xy': open('outputs/' + name, 'w').close()\n1");
    assert_eq!((&two["status"], &two["artifacts"]), (&json!("succeeded"), &json!([])), "{two}");
    let one = run(&SHARED, &token, "open('outputs/x', 'w').close()\n1");
    assert_eq!(one["artifacts"].as_array().unwrap().len(), 1, "{one}");
    put("d").is_problem(429, "quota-exceeded", "quota of 4, of which 4 are used");
    let copy = json!({"from": "a", "to": "d"});
    SHARED.ask("POST", "/v1/object-copies").token(&token).json(copy).send().is_problem(
        429,
        "quota-exceeded",
        "quota of 4, of which 4 are used",
    );
    let code = "
import belljar
name = None
try:
    belljar.storage.upload('d', '')
except Exception as error:
    name = type(error).__name__
name";
    let inside = run(&SHARED, &token, code);
    assert_eq!(inside["value"], "QuotaExceeded", "{inside}");
    // What is replaced takes no further place, and what is deleted gives its place back.
    put("a").is(200);
    let usage = kept(&SHARED, &token);
    assert_eq!((&usage["objects"], &usage["artifacts"]), (&json!(3), &json!(1)));
    SHARED
        .ask("DELETE", &format!("/v1/runs/{}", one["id"].as_str().unwrap()))
        .token(&token)
        .send()
        .is(204);
    put("d").is(200);
    SHARED.ask("DELETE", "/v1/objects/d").token(&token).send().is(204);
    put("e").is(200);
    assert_eq!(kept(&SHARED, &token)["artifacts"], 0);
}

#[test]
fn metadata_counts_as_content_does() {
    let token = SHARED.project("metadata", json!({"quotas": {"storage_bytes": 1000}}));
    let put = |name: &str| {
        SHARED
            .ask("PUT", &format!("/v1/objects/{name}"))
            .token(&token)
            .header("Belljar-Metadata-A", &"x".repeat(600))
            .body("1")
            .send()
    };
    put("a").is(200);
    put("b").is_problem(429, "quota-exceeded", "1000 bytes");
    put("a").is(200);
    let used = kept(&SHARED, &token)["storage_bytes"].as_u64().unwrap();
    assert!((602..700).contains(&used), "{used}");
    SHARED.ask("DELETE", "/v1/objects/a").token(&token).send().is(204);
    assert_eq!(kept(&SHARED, &token)["storage_bytes"], 0);
}

#[test]
fn an_upload_of_unknown_size_counts_as_it_comes_and_a_broken_one_no_longer() {
    let token = SHARED.project("chunked", json!({"quotas": {"storage_bytes": 1_000_000}}));
    let put = |name: &str, length: usize| {
        SHARED
            .ask("PUT", &format!("/v1/objects/{name}"))
            .token(&token)
            .body(vec![b'x'; length])
            .send()
    };
    let delete =
        |name: &str| SHARED.ask("DELETE", &format!("/v1/objects/{name}")).token(&token).send();
    let piece = |socket: &mut TcpStream, length: usize| {
        let written = socket
            .write_all(format!("{length:x}\r\n").as_bytes())
            .and_then(|()| socket.write_all(&vec![b'y'; length]));
        written.and_then(|()| socket.write_all(b"\r\n"))
    };
    // A request that is admitted before 700,000 bytes have arrived takes their place. Then both
    // start again.
    let begun = || {
        let mut socket =
            begin(&SHARED, &token, "PUT /v1/objects/slow", "Transfer-Encoding: chunked");
        piece(&mut socket, 700_000).ok()?;
        let is_counted = put("early", 350_000).status == 429;
        delete("early");
        is_counted.then_some(socket)
    };
    let mut under_way = (0..100).find_map(|_| begun()).expect("it counts");
    put("quick", 350_000).is_problem(429, "quota-exceeded", "quota");
    piece(&mut under_way, 100_000).unwrap();
    under_way.write_all(b"0\r\n\r\n").unwrap();
    read_answer(&mut under_way).is(200);
    assert_eq!(kept(&SHARED, &token)["storage_bytes"], 800_000);
    assert_eq!(delete("slow").status, 204);
    // One whose client leaves gives everything back.
    let broken = (0..100).find_map(|_| begun()).expect("it counts");
    drop(broken);
    eventually("it does not count any more", || put("quick", 1_000_000).status == 200);
    assert_eq!(kept(&SHARED, &token)["storage_bytes"], 1_000_000);
}

#[test]
fn the_database_uses_again_what_was_dropped() {
    let server = Server::start();
    let token = server.project("pages", json!({"quotas": {"history_bytes": 2_000_000}}));
    let write = |runs: usize| {
        for _ in 0..runs {
            run(&server, &token, "print('x' * 400000)");
        }
        look_up(
            &server.home,
            "SELECT page_count * page_size FROM pragma_page_count(), pragma_page_size()",
        )
    };
    let before = write(10);
    let after = write(30);
    assert!(
        before > 2_000_000 && after <= before + 1_000_000,
        "{before} bytes after 4 MB, {after} after 16 MB"
    );
    assert!(history_bytes(&server, &token) <= 2_000_000);
}

#[test]
fn a_deleted_project_leaves_no_row_but_its_audit_entries() {
    let server = Server::start();
    let count = |table: &str| look_up(&server.home, &format!("SELECT COUNT(*) FROM {table}"));
    let tables = [
        "projects",
        "tokens",
        "runs",
        "run_labels",
        "run_submissions",
        "run_outcomes",
        "run_events",
        "artifacts",
        "objects",
    ];
    let before: Vec<u64> = tables.iter().map(|table| count(table)).collect();
    let token = server.project("gone", json!({}));
    let body = json!({"language": "python", "code": "open('outputs/x', 'w').write('1')", "labels": {"a": "b"}, "wait": true});
    server.ask("POST", "/v1/runs").token(&token).json(body).send().is(200);
    server.ask("PUT", "/v1/objects/x").token(&token).body("1").send().is(200);
    assert!(
        tables.iter().zip(&before).all(|(table, before)| count(table) > *before),
        "there is something in each"
    );
    server.operate("DELETE", "/v1/projects/gone", None).is(204);
    let after: Vec<u64> = tables.iter().map(|table| count(table)).collect();
    assert_eq!(after, before);
}

#[test]
fn storage_calls_of_a_run_keep_to_the_rate_of_its_project() {
    let server = Server::start();
    let rate = 8;
    let token = server.project("loops", json!({"quotas": {"requests_per_second": rate}}));
    let other = server.project("neighbour", json!({}));
    let code = "
import belljar
def main(parameters):
    made = {'upload': 0, 'list': 0, 'download': 0}
    for _ in range(parameters['rounds']):
        for name, call in (('upload', lambda: belljar.storage.upload('x', '')), ('list', belljar.storage.list),
                           ('download', lambda: belljar.storage.download('x').read())):
            call()
            made[name] += 1
    return made
";
    // As many rounds of three calls, however long they take.
    let hostile = |rounds: u64| {
        let body = json!({"language": "python", "code": code, "parameters": {"rounds": rounds}, "wait": true});
        let outcome = server.ask("POST", "/v1/runs").token(&token).json(body).send().is(200);
        assert_eq!(
            outcome["value"],
            json!({"upload": rounds, "list": rounds, "download": rounds}),
            "the attack has run: {outcome}"
        );
        outcome
    };
    let pace = || {
        let mut times: Vec<Duration> = (0..9)
            .map(|_| {
                let start = Instant::now();
                assert_eq!(run(&server, &other, "1")["value"], 1);
                start.elapsed()
            })
            .collect();
        times.sort_unstable();
        times[4]
    };
    // Both have their processes from then on.
    pace();
    run(&server, &token, "1");
    let quiet = pace();
    // Ten seconds' worth at once, and no more than the rate after that.
    let start = Instant::now();
    let most = || rate * 10 + (start.elapsed().as_secs_f64() * rate as f64).ceil() as u64;
    let first = hostile(32);
    assert!(3 * 32 <= most(), "{:?}", start.elapsed());
    // From then on, the search uses the run's own time and not the server's, and other clients are
    // served.
    let cpu = || processes::stat(server.pid()).unwrap().cpu_time;
    let before = cpu();
    let (outcome, paced) = std::thread::scope(|scope| {
        let hostile = scope.spawn(|| hostile(5));
        let paced = pace();
        assert_eq!(get(&server, &token, "/v1/runs").status, 200, "its owner is not held up by it");
        (hostile.join().unwrap(), paced)
    });
    let spent = cpu().saturating_sub(before);
    assert!(3 * 32 + 3 * 5 <= most(), "{:?}", start.elapsed());
    assert!(spent < Duration::from_secs(1), "{spent:?} of the server for {outcome}");
    // Before and after, because other work of the machine may have begun meanwhile.
    let quiet = quiet.max(pace());
    assert!(paced < quiet * 6 + Duration::from_millis(50), "{quiet:?} alone, {paced:?} meanwhile");
    // The trail has both the entries and the counts.
    let id = first["id"].as_str().unwrap();
    let entries = |query: &str| {
        get(&server, &token, &format!("/v1/audit?limit=1000&{query}")).is(200)["entries"]
            .as_array()
            .unwrap()
            .clone()
    };
    let uploads = first["value"]["upload"].as_u64().unwrap();
    assert_eq!(entries(&format!("action=object.put&actor={id}")).len() as u64, uploads);
    let end = &entries(&format!("action=run.finish&target={id}"))[0]["details"]["storage"];
    for (counted, made) in [("uploaded", "upload"), ("listed", "list"), ("downloaded", "download")]
    {
        assert_eq!(end[counted], first["value"][made], "{end}");
    }
}

#[test]
fn the_trail_names_a_hundred_changes_of_a_run_and_counts_the_rest() {
    let token = SHARED.project("many-changes", json!({}));
    let code = "
import belljar
for n in range(70):
    belljar.storage.upload('x', '')
    belljar.storage.delete('x')
try:
    belljar.storage.download('x')
except Exception:
    pass
1";
    let outcome = run(&SHARED, &token, code);
    assert_eq!(outcome["status"], "succeeded", "{outcome}");
    let id = outcome["id"].as_str().unwrap();
    let entries = get(&SHARED, &token, &format!("/v1/audit?limit=1000&actor={id}")).is(200);
    assert_eq!(entries["entries"].as_array().unwrap().len(), 100);
    let end = get(&SHARED, &token, &format!("/v1/audit?action=run.finish&target={id}")).is(200);
    let counted = json!({"uploaded": 70, "deleted": 70, "downloaded": 0, "listed": 0, "refused": 1, "unnamed": 40});
    assert_eq!(end["entries"][0]["details"]["storage"], counted, "{end}");
}

#[test]
fn a_long_policy_fills_neither_records_nor_the_trail() {
    let token = SHARED.project(
        "long-policy",
        json!({"policy": {"env": {}, "storage": {"read": [""], "write": [""]}}}),
    );
    let submit = |prefixes: usize| {
        let read: Vec<String> = (0..prefixes).map(|n| format!("{n:0>1000}")).collect();
        let body = json!({"language": "python", "code": "1", "policy": {"storage": {"read": read}}, "wait": true});
        SHARED.ask("POST", "/v1/runs").token(&token).json(body).send()
    };
    submit(300).is_problem(422, "invalid-request", "policy");
    let id = submit(20).is(200)["id"].as_str().unwrap().to_owned();
    let entry = get(&SHARED, &token, &format!("/v1/audit?action=run.submit&target={id}")).is(200);
    let policy = &entry["entries"][0]["details"]["policy"];
    assert!(
        policy["size_bytes"].as_u64().unwrap() > 20_000 && policy["sha256"].is_string(),
        "{policy}"
    );
}
