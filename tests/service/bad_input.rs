//! Whatever comes in: a precise refusal, and a server that lives.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use belljar_test_support::http::{Answer, parse_answer, read_answer};
use belljar_test_support::{Server, eventually, is_root, processes};
use serde_json::{Value, json};

use crate::SHARED;

/// Sends bytes and returns the server's response.
fn send_raw(bytes: &[u8]) -> Answer {
    let mut socket = SHARED.connect();
    // It may answer, and close, before it has read all.
    let _ = socket.write_all(bytes);
    read_answer(&mut socket)
}

#[test]
fn bodies_that_are_no_submission_are_refused_and_the_field_is_named() {
    let send = |body: &[u8]| {
        SHARED.ask("POST", "/v1/runs").header("Content-Type", "application/json").body(body).send()
    };
    for body in
        [&b""[..], b"{", b"nonsense", b"{\"language\": \"python\", \"code\": \"\xff\xfe\"}", b"[,]"]
    {
        send(body).is_problem(400, "malformed-request", "not JSON");
    }
    for (body, words) in [
        ("[]", "the body"),
        ("{}", "language"),
        (r#"{"language": "cobol", "code": "1"}"#, "cobol"),
        (r#"{"language": "python"}"#, "contains no program"),
        (r#"{"language": "python", "code": 1}"#, "string"),
        (r#"{"language": "python", "code": "1", "lang": "x"}"#, "lang"),
        (r#"{"language": "python", "code": "1", "limits": {"timeout": 1}}"#, "timeout"),
        (r#"{"language": "python", "code": "1", "limits": {"timeout_ms": 0}}"#, "timeout_ms"),
        (r#"{"language": "python", "code": "1", "limits": {"timeout_ms": -1}}"#, "-1"),
        (r#"{"language": "python", "code": "1", "policy": {"network": []}}"#, "network"),
        (r#"{"language": "python", "code": "1", "policy": {"net": ["a.com"]}}"#, "policy.net"),
        (
            r#"{"language": "python", "code": "1", "files": [{"path": "../x", "content": ""}]}"#,
            "..",
        ),
        (r#"{"language": "python", "code": "1", "files": [{"path": "x"}]}"#, "exactly one"),
        (
            r#"{"language": "python", "code": "1", "files": [{"path": "x", "content_base64": "%%"}]}"#,
            "base64",
        ),
        (r#"{"language": "python", "code": "1", "retry": {"attempts": 99}}"#, "retry.attempts"),
        (r#"{"language": "python", "code": "1", "wait": "yes"}"#, "wait"),
        (r#"{"language": "python", "code": "1", "runtime": "ruby@3"}"#, "ruby"),
    ] {
        send(body.as_bytes()).is_problem(422, "invalid-request", words);
    }
    SHARED
        .ask("POST", "/v1/runs")
        .header("Content-Type", "text/plain")
        .body("{}")
        .send()
        .is_problem(415, "unsupported-media-type", "json");
    SHARED
        .ask("POST", "/v1/runs?what=1")
        .json(json!({"language": "python", "code": "1"}))
        .send()
        .is_problem(422, "invalid-request", "what");
}

#[test]
fn nesting_without_end_is_refused() {
    let deep = format!(
        "{{\"language\": \"python\", \"code\": \"1\", \"parameters\": {}1{}}}",
        "[".repeat(100_000),
        "]".repeat(100_000)
    );
    SHARED
        .ask("POST", "/v1/runs")
        .header("Content-Type", "application/json")
        .body(deep)
        .send()
        .is_problem(422, "invalid-request", "120 levels");
}

#[test]
fn huge_bodies_are_refused_before_they_are_read() {
    let server = Server::start_with("[runs]\nmax_submission_bytes = 100000\n");
    let body = json!({"language": "python", "code": "x".repeat(200_000)});
    server.post("/v1/runs", body).is_problem(413, "too-large", "100000");
    let mut socket = server.connect();
    let head = format!(
        "POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n",
        server.token
    );
    socket.write_all(head.as_bytes()).unwrap();
    for _ in 0..40 {
        let _ = socket.write_all(format!("2000\r\n{}\r\n", "x".repeat(0x2000)).as_bytes());
    }
    let mut bytes = vec![0; 4096];
    let length = socket.read(&mut bytes).unwrap();
    parse_answer(&bytes[..length]).is_problem(413, "too-large", "100000");
}

#[test]
fn what_is_no_http_is_refused() {
    let authorization = format!("Authorization: Bearer {}\r\n", SHARED.token);
    let many = "X-Many: y\r\n".repeat(1000);
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(100_000));
    for (bytes, statuses) in [
        ("nonsense\r\n\r\n".to_owned(), &[400][..]),
        (format!("GET /v1/runs HTTP/1.1\r\nHost: x\r\n{authorization}{many}\r\n"), &[400, 431]),
        (long, &[400, 414, 431]),
        (
            format!(
                "GET /v1/runs HTTP/1.1\r\nHost: x\r\n{authorization}X: {}\r\n\r\n",
                "y".repeat(1_000_000)
            ),
            &[400, 431],
        ),
        (
            format!(
                "POST /v1/runs HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: 5\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n0\r\n\r\n"
            ),
            &[400],
        ),
        (
            format!(
                "POST /v1/runs HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: 5\r\nContent-Length: 6\r\nConnection: close\r\n\r\nhello!"
            ),
            &[400],
        ),
        (
            format!(
                "POST /v1/runs HTTP/1.1\r\nHost: x\r\n{authorization}Content-Length: -5\r\nConnection: close\r\n\r\n"
            ),
            &[400],
        ),
        (
            format!(
                "POST /v1/runs HTTP/1.1\r\nHost: x\r\n{authorization}Transfer-Encoding: chunked\r\nConnection: close\r\n\r\nzz\r\n"
            ),
            &[400],
        ),
        (
            format!(
                "GET /v1/runs/%ff HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n"
            ),
            &[400, 404],
        ),
        (
            format!(
                "GET /v1/objects/%ff HTTP/1.1\r\nHost: x\r\n{authorization}Connection: close\r\n\r\n"
            ),
            &[400],
        ),
        (format!("GET /v1/runs HTTP/1.1\r\nHost: x\r\n{authorization}X:\x00y\r\n\r\n"), &[400]),
    ] {
        let answer = send_raw(bytes.as_bytes());
        let start: String = bytes.chars().take(60).collect();
        assert!(statuses.contains(&answer.status), "{}: {start}: {}", answer.status, answer.text());
    }
    assert_eq!(SHARED.run("javascript", "1")["value"], 1);
}

#[test]
fn a_second_request_is_not_smuggled_in_the_body_of_the_first() {
    let smuggled = format!(
        "GET /v1/tokens HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        SHARED.token
    );
    let bytes = format!(
        "POST /v1/runs HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: {}\r\nTransfer-Encoding : chunked\r\nConnection: close\r\n\r\n{smuggled}",
        smuggled.len()
    );
    let answer = send_raw(bytes.as_bytes());
    assert!(matches!(answer.status, 400 | 401), "{}", answer.text());
    assert!(!answer.text().contains("\"tokens\""), "{}", answer.text());
}

#[test]
fn clients_that_leave_at_any_moment_do_no_harm() {
    let request = format!(
        "POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nAccept: text/event-stream\r\nContent-Type: application/json\r\nContent-Length: 43\r\n\r\n{{\"language\": \"javascript\", \"code\": \"1 + 1\"}}",
        SHARED.token
    );
    for length in (1..request.len()).step_by(7) {
        let mut socket = SHARED.connect();
        socket.write_all(&request.as_bytes()[..length]).unwrap();
    }
    for read in [0, 1, 50, 200] {
        let mut socket = SHARED.connect();
        socket.write_all(request.as_bytes()).unwrap();
        let mut bytes = vec![0; read];
        socket.read_exact(&mut bytes).unwrap();
    }
    assert_eq!(SHARED.run("javascript", "1")["value"], 1);
}

/// Sockets that a server has open.
fn sockets(server: &Server) -> usize {
    let open = std::fs::read_dir(format!("/proc/{}/fd", server.pid())).unwrap();
    let is_socket = |link: std::path::PathBuf| link.to_string_lossy().starts_with("socket:");
    open.flatten()
        .filter_map(|entry| std::fs::read_link(entry.path()).ok())
        .filter(|link| is_socket(link.clone()))
        .count()
}

#[test]
fn an_answer_that_nobody_reads_does_not_hold_its_connection() {
    let server = Server::start_with("unread_ms = 2000\n");
    server.ask("PUT", "/v1/objects/large").body(vec![7; 30 << 20]).send().is(200);
    let before = sockets(&server);
    let request = format!(
        "GET /v1/objects/large HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        server.token
    );
    let unread: Vec<TcpStream> = (0..5)
        .map(|_| {
            let mut socket = server.connect();
            socket.write_all(request.as_bytes()).unwrap();
            // The answer has begun, or there is nothing to be read.
            socket.read_exact(&mut [0; 100]).unwrap();
            socket
        })
        .collect();
    assert!(sockets(&server) >= before + 5);
    eventually("the connections are closed", || sockets(&server) <= before);
    drop(unread);
    // A client that reads slowly, for longer than that, gets all of it.
    let mut slow = server.connect();
    slow.write_all(request.replace("\r\n\r\n", "\r\nConnection: close\r\n\r\n").as_bytes())
        .unwrap();
    let (mut received, mut piece, started) = (0, vec![0; 1 << 20], std::time::Instant::now());
    while let Ok(length @ 1..) = slow.read(&mut piece) {
        received += length;
        if started.elapsed() < Duration::from_secs(4) {
            std::thread::sleep(Duration::from_millis(50));
        }
    }
    assert!(received > 30 << 20, "{received}");
}

#[test]
fn large_answers_that_nobody_reads_are_bounded_in_memory() {
    let server = Server::start();
    let limits = json!({"output_bytes": 40_000_000, "result_bytes": 40_000_000, "memory_bytes": 1_u64 << 30});
    let submission =
        json!({"language": "python", "code": "'x' * 30_000_000", "wait": true, "limits": limits});
    let id = server.ask("POST", "/v1/runs").json(submission).send().is(200)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let resident = || processes::resident_bytes(server.pid());
    let request = format!(
        "GET /v1/runs/{id} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\n\r\n",
        server.token
    );
    let before = resident();
    let mut answers = Vec::new();
    let mut unread = Vec::new();
    for _ in 0..40 {
        let mut socket = server.connect();
        socket.write_all(request.as_bytes()).unwrap();
        let mut head = [0; 12];
        socket.read_exact(&mut head).unwrap();
        answers.push(String::from_utf8(head.to_vec()).unwrap());
        unread.push(socket);
    }
    assert!(answers[..2].iter().all(|head| head == "HTTP/1.1 200"), "{answers:?}");
    assert!(answers[8..].iter().all(|head| head == "HTTP/1.1 429"), "{answers:?}");
    let held = resident().saturating_sub(before);
    // All of them would be 1.2 GB. Making one takes some of its own, and not all of that goes back
    // at once.
    assert!(held < 600 << 20, "{held} bytes for answers that nobody reads");
    // A run that was waited for is answered all the same: it has been run.
    let submission = json!({"language": "python", "code": "'y' * 1_000_000", "wait": true, "limits": {"output_bytes": 4_000_000}});
    let outcome = server.ask("POST", "/v1/runs").json(submission).send().is(200);
    assert_eq!(outcome["value"].as_str().map(str::len), Some(1_000_000));
    drop(unread);
    eventually("the memory is given back", || {
        server.ask("GET", &format!("/v1/runs/{id}")).send().status == 200
    });
}

#[test]
fn a_server_takes_what_open_files_it_may_have() {
    let server = Server::start();
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", server.pid())).unwrap();
    let line = limits.lines().find(|line| line.starts_with("Max open files")).unwrap();
    let mut values =
        line.split_whitespace().skip(3).map(|value| value.parse::<u64>().unwrap_or(u64::MAX));
    let (soft, hard) = (values.next().unwrap(), values.next().unwrap());
    assert!(soft == hard.min(1 << 20) && soft > 1024, "{line}");
    // And a program has its own limit all the same.
    let outcome =
        server.run("python", "import resource\nresource.getrlimit(resource.RLIMIT_NOFILE)[1]");
    assert_eq!(outcome["value"], 256, "{outcome}");
}

#[test]
fn a_run_whose_caller_leaves_as_soon_as_it_has_asked_is_seen_through() {
    let server = Server::start();
    server.run("javascript", "1");
    let body = r#"{"language": "javascript", "code": "1 + 1"}"#;
    for _ in 0..30 {
        let mut socket = server.connect();
        let head = format!(
            "POST /v1/runs HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            server.token,
            body.len()
        );
        socket.write_all(head.as_bytes()).unwrap();
    }
    let states = || -> Vec<Value> {
        let page = server.get("/v1/runs?limit=100").is(200);
        page["runs"].as_array().unwrap().iter().map(|run| run["status"].clone()).collect()
    };
    // Those whose connection was closed before they were read were never asked for; some were, or
    // this shows nothing.
    eventually("some were, and every run that was written down has ended", || {
        let states = states();
        states.len() > 1 && states.iter().all(|state| state == "succeeded")
    });
}

#[test]
fn paths_and_methods_that_are_not_there_are_named() {
    SHARED.get("/v1/nothing").is_problem(404, "not-found", "/v1/nothing");
    let answer = SHARED.ask("PATCH", "/v1/runs").json(json!({})).send();
    answer.is_problem(405, "method-not-allowed", "PATCH");
    for id in [
        "x",
        "run_1",
        "run_..%2f..",
        "run_ZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZZ",
        "run_01a201980e71711f81726d5224ab9341",
    ] {
        SHARED.get(&format!("/v1/runs/{id}")).is_problem(404, "not-found", "there is no run");
    }
}

#[test]
fn the_documents_are_there() {
    let document = SHARED.ask("GET", "/openapi.json").no_token().send().is(200);
    assert!(document["paths"]["/v1/runs"]["post"].is_object());
    let page = SHARED.ask("GET", "/docs").no_token().send();
    assert!(page.text().contains("POST /v1/runs"));
    assert!(page.header("content-security-policy").unwrap().starts_with("default-src 'none'"));
    assert_eq!(SHARED.ask("GET", "/healthz").no_token().send().text(), "ok\n");
    assert_eq!(SHARED.ask("GET", "/readyz").no_token().send().text(), "ready\n");
    SHARED.run("javascript", "1");
    let metrics = SHARED.ask("GET", "/metrics").no_token().send().text();
    for name in [
        "belljar_runs_accepted_total",
        "belljar_runs_ended_total{status=\"succeeded\"}",
        "belljar_run_wall_seconds_bucket",
        "belljar_runs_running",
    ] {
        assert!(metrics.contains(name), "no {name} in {metrics}");
    }
}

#[test]
fn a_full_disk_refuses_and_nothing_is_acknowledged_that_is_not_stored() {
    let folder = tempfile::TempDir::new().unwrap();
    let mounted = std::process::Command::new("mount")
        .args(["-t", "tmpfs", "-o", "size=4m", "tmpfs"])
        .arg(folder.path())
        .status();
    if !is_root() {
        // Only root can make a small disk.
        return;
    }
    assert!(mounted.unwrap().success());
    let home = folder.path().join("home");
    std::fs::create_dir(&home).unwrap();
    let server = Server::start_in(&home, &[]);
    let before = server.run("javascript", "1");
    let fill = std::fs::write(folder.path().join("fill"), vec![0; 8 << 20]);
    assert!(fill.is_err(), "the disk is full");
    let big = json!({"language": "javascript", "code": format!("/* {} */ 2", "x".repeat(300_000)), "wait": true});
    let outcomes: Vec<Value> = (0..4)
        .map(|_| server.post("/v1/runs", big.clone()))
        .filter(|answer| answer.status == 200)
        .map(|answer| answer.json())
        .collect();
    assert!(
        outcomes.iter().any(|outcome| outcome["status"] == "interrupted") || outcomes.is_empty(),
        "{outcomes:?}"
    );
    let upload = server.ask("PUT", "/v1/objects/x").body(vec![1; 2 << 20]).send();
    assert!(upload.status >= 400, "{}", upload.text());
    std::fs::remove_file(folder.path().join("fill")).unwrap();
    assert_eq!(server.run("javascript", "3")["value"], 3);
    for outcome in outcomes.iter().filter(|outcome| outcome["status"] == "succeeded") {
        assert_eq!(
            server.get(&format!("/v1/runs/{}", outcome["id"].as_str().unwrap())).status,
            200
        );
    }
    assert_eq!(
        server.get(&format!("/v1/runs/{}", before["id"].as_str().unwrap())).is(200)["status"],
        "succeeded"
    );
    drop(server);
    let _ = std::process::Command::new("umount").arg(folder.path()).status();
}
