//! Headers that have one value, how many of them are taken, and how a connection ends whose client
//! still sends.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use belljar_test_support::http::{Answer, parse_answer, read_answer};
use belljar_test_support::{Server, eventually};
use serde_json::json;

use crate::SHARED;

fn over_tcp(bytes: &[u8]) -> Answer {
    let mut socket = SHARED.connect();
    socket.write_all(bytes).unwrap();
    read_answer(&mut socket)
}

fn over_the_socket(bytes: &[u8]) -> Answer {
    let mut socket = UnixStream::connect(SHARED.home.join("server.sock")).unwrap();
    socket.write_all(bytes).unwrap();
    read_answer(&mut socket)
}

#[test]
fn a_header_with_two_values_is_refused() {
    let token = &SHARED.token;
    let right = format!("Authorization: Bearer {token}\r\n");
    let request = |headers: &str| {
        format!("GET /v1/runs HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
    };
    over_tcp(request(&right).as_bytes()).is(200);
    for (name, headers) in [
        ("authorization", format!("{right}{right}")),
        ("authorization", format!("{right}Authorization: Bearer bjr_wrong\r\n")),
        (
            "authorization",
            format!("authorization: Bearer bjr_wrong\r\nAUTHORIZATION: Bearer {token}\r\n"),
        ),
        ("authorization", format!("{right}Authorization:\r\n")),
        ("authorization", format!("Authorization: Bearer {token}, Bearer bjr_wrong\r\n")),
        ("authorization", format!("Authorization: Bearer bjr_wrong,Bearer {token}\r\n")),
        ("host", format!("{right}Host: y\r\n")),
        ("content-type", format!("{right}Content-Type: a/b\r\nContent-Type: application/json\r\n")),
        ("range", format!("{right}Range: bytes=0-1\r\nRange: bytes=2-3\r\n")),
        ("if-none-match", format!("{right}If-None-Match: \"a\"\r\nIf-None-Match: *\r\n")),
        ("last-event-id", format!("{right}Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n")),
        (
            "belljar-metadata-a",
            format!("{right}Belljar-Metadata-A: 1\r\nBelljar-Metadata-a: 2\r\n"),
        ),
    ] {
        let answer = over_tcp(request(&headers).as_bytes());
        answer.is_problem(
            400,
            "malformed-request",
            &format!("the header `{name}` has more than one value"),
        );
        assert!(!answer.text().contains(token.as_str()), "{}", answer.text());
    }
    // The operator's project is no different.
    let projects = "Belljar-Project: default\r\nBelljar-Project: other\r\n";
    over_the_socket(request(projects).as_bytes()).is_problem(
        400,
        "malformed-request",
        "belljar-project",
    );
    over_the_socket(request(&format!("{right}{right}")).as_bytes()).is_problem(
        400,
        "malformed-request",
        "authorization",
    );
    // A proxy adds values to these.
    over_tcp(
        request(&format!("{right}Accept: a/b\r\nAccept: */*\r\nVia: 1.1 a\r\nVia: 1.1 b\r\n"))
            .as_bytes(),
    )
    .is(200);
}

/// A request whose line and headers have this many bytes.
fn sized(bytes: usize) -> Vec<u8> {
    let head = "GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\nX-Long: \r\n";
    let request = head.replace("X-Long: ", &format!("X-Long: {}", "y".repeat(bytes - head.len())));
    assert_eq!(request.len(), bytes);
    (request + "\r\n").into_bytes()
}

#[test]
fn headers_are_taken_up_to_their_bound_and_no_further() {
    for send in [over_tcp, over_the_socket] {
        send(&sized(64 << 10)).is(200);
        send(&sized((64 << 10) + 1)).is_problem(
            431,
            "headers-too-large",
            "65537 bytes, which exceeds the limit of 65536",
        );
        send(&sized(70_000)).is_problem(431, "headers-too-large", "the limit of 65536");
        assert_eq!(send(&sized(1_000_000)).status, 431);
        let many = |number: usize| {
            let headers =
                (2..number).map(|number| format!("X-{number}: y\r\n")).collect::<Vec<_>>().concat();
            format!("GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n{headers}\r\n")
                .into_bytes()
        };
        send(&many(100)).is(200);
        assert_eq!(send(&many(101)).status, 431);
    }
}

/// Reads one answer that says how long it is, and leaves the connection as it is.
fn next_answer(socket: &mut TcpStream) -> Answer {
    let mut bytes = Vec::new();
    let mut byte = [0];
    while !bytes.ends_with(b"\r\n\r\n") {
        socket.read_exact(&mut byte).unwrap();
        bytes.push(byte[0]);
    }
    let length =
        parse_answer(&bytes).header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    socket.read_exact(&mut body).unwrap();
    bytes.extend_from_slice(&body);
    parse_answer(&bytes)
}

/// After a response, nothing follows, and the connection is not reset.
fn ends(mut socket: TcpStream, what: &str) {
    let mut rest = Vec::new();
    match socket.read_to_end(&mut rest) {
        Ok(_) => assert!(rest.is_empty(), "{what}: {}", String::from_utf8_lossy(&rest)),
        Err(error) => panic!("{what}: the connection ended with {error}"),
    }
}

/// A `POST` whose body comes once it has been answered, as it does from clients that send headers
/// and body by themselves, when the server is quick.
#[test]
fn a_body_that_comes_after_its_answer_resets_nothing() {
    let run = SHARED
        .post("/v1/runs", json!({"language": "javascript", "code": "1", "wait": true}))
        .is(200)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for (path, status, length) in [
        (format!("/v1/runs/{run}/cancel"), 200, 2),
        ("/v1/runs/run_nobody/cancel".into(), 404, 2),
        ("/nowhere".into(), 404, 2),
        ("/nowhere".into(), 404, 60_000),
    ] {
        let head = format!(
            "POST {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n",
            SHARED.token
        );
        for _ in 0..5 {
            let mut socket = SHARED.connect();
            socket.write_all(head.as_bytes()).unwrap();
            let answer = next_answer(&mut socket);
            assert!(
                answer.status == status || answer.status == 422 && status == 404,
                "{path}: {}",
                answer.text()
            );
            socket.write_all(&vec![b'x'; length]).unwrap();
            if status == 200 {
                // It is still good for the next one.
                let ask = format!(
                    "GET /healthz HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nConnection: close\r\n\r\n",
                    SHARED.token
                );
                socket.write_all(ask.as_bytes()).unwrap();
                assert_eq!(next_answer(&mut socket).status, 200);
            }
            ends(socket, &path);
        }
    }
}

/// Refused while it is still being sent: the client reads why.
#[test]
fn a_request_that_is_refused_while_it_is_sent_reads_its_answer_and_an_end() {
    for bytes in [sized(4_000_000), [b"nonsense ".repeat(20), vec![b'x'; 4_000_000]].concat()] {
        let mut socket = SHARED.connect();
        socket.write_all(&bytes).unwrap();
        let mut answer = Vec::new();
        if let Err(error) = socket.read_to_end(&mut answer) {
            panic!("{:?} after {}", error.kind(), String::from_utf8_lossy(&answer));
        }
        assert!(
            matches!(parse_answer(&answer).status, 400 | 431),
            "{}",
            String::from_utf8_lossy(&answer)
        );
    }
}

#[test]
fn a_client_that_never_ends_does_not_hold_its_connection() {
    let mut socket = SHARED.connect();
    socket.write_all(b"nonsense\r\n\r\n").unwrap();
    // It reads its answer, and does not close. What it writes is taken for a while, and then
    // refused.
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).unwrap();
    assert_eq!(parse_answer(&answer).status, 400);
    eventually(
        "the connection is closed",
        || matches!((&socket).write_all(b"more"), Err(error) if matches!(error.kind(), ErrorKind::BrokenPipe | ErrorKind::ConnectionReset)),
    );
}

/// A few thousand requests whose body arrives after their head: no connection is reset before its
/// answer was read.
#[test]
fn cancelling_under_load_never_ends_in_a_reset() {
    let server = &SHARED;
    let run = server
        .post("/v1/runs", json!({"language": "javascript", "code": "1", "wait": true}))
        .is(200)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let head = format!(
        "POST /v1/runs/{run}/cancel HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {}\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n",
        server.token
    );
    let clients: Vec<_> = (0..8)
        .map(|_| {
            let head = head.clone();
            std::thread::spawn(move || {
                for _ in 0..40 {
                    let mut socket = SHARED.connect();
                    socket.set_nodelay(true).unwrap();
                    for _ in 0..8 {
                        socket.write_all(head.as_bytes()).unwrap();
                        socket.write_all(b"{}").unwrap();
                        assert_eq!(next_answer(&mut socket).status, 200);
                    }
                }
            })
        })
        .collect();
    for client in clients {
        client.join().unwrap();
    }
}

#[test]
fn proxies_are_asked_not_to_hold_streams_back() {
    let id = SHARED
        .post("/v1/runs", json!({"language": "javascript", "code": "1", "wait": true}))
        .is(200)["id"]
        .as_str()
        .unwrap()
        .to_owned();
    for accept in ["text/event-stream", "application/x-ndjson"] {
        for path in ["events", "logs"] {
            let answer =
                SHARED.ask("GET", &format!("/v1/runs/{id}/{path}")).header("Accept", accept).send();
            assert_eq!(
                (answer.status, answer.header("x-accel-buffering")),
                (200, Some("no")),
                "{path}, {accept}"
            );
        }
        let body = json!({"language": "javascript", "code": "1"});
        let answer = SHARED
            .ask("POST", "/v1/runs")
            .header("Accept", accept)
            .header("Content-Type", "application/json");
        assert_eq!(
            answer.body(body.to_string()).send().header("x-accel-buffering"),
            Some("no"),
            "{accept}"
        );
    }
    assert_eq!(SHARED.get(&format!("/v1/runs/{id}")).header("x-accel-buffering"), None);
}

#[test]
fn an_idle_connection_is_kept_for_as_long_as_is_configured() {
    let server = Server::start_with("keep_alive_ms = 1500\n");
    let mut socket = server.connect();
    let mut asked = Instant::now();
    for _ in 0..2 {
        asked = Instant::now();
        socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
        let mut answer = [0; 4096];
        let length = socket.read(&mut answer).unwrap();
        parse_answer(&answer[..length]).is(200);
    }
    assert_eq!(socket.read(&mut [0; 100]).unwrap(), 0, "closed by the server");
    // The default is longer than a minute.
    let times = Duration::from_millis(1500)..Duration::from_mins(1);
    assert!(times.contains(&asked.elapsed()), "{:?}", asked.elapsed());
}
