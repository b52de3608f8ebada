//! Traces, sent to a collector by OTLP.

use std::io::{Read, Write};
use std::net::TcpListener;

use belljar_test_support::Server;
use serde_json::json;

use crate::ONE_AT_A_TIME;

#[test]
fn requests_and_runs_are_traced_whatever_is_logged() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    // The harness logs warnings only; traces do not depend on it.
    let mut server = Server::start_with(&format!(
        "[telemetry]\notlp_endpoint = \"http://{}\"\n",
        collector.local_addr().unwrap()
    ));
    let id = server.run("javascript", "1")["id"].as_str().unwrap().to_owned();
    let received = std::thread::spawn(move || {
        let (mut socket, _) = collector.accept().unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
        // Protobuf has texts as they are.
        while !bytes.windows(id.len()).any(|window| window == id.as_bytes()) {
            let length = socket.read(&mut buffer).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..length]);
        }
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    assert!(server.stop().success());
    let said = received.join().unwrap();
    assert!(said.starts_with("POST /v1/traces HTTP/1.1"), "{said}");
    assert!(said.contains("belljar") && said.contains("/v1/runs"), "{said}");
}

/// Answers one export of traces after the other, until `wanted` has occurred in what was sent.
fn receive_until(collector: &TcpListener, wanted: &[&[u8]]) {
    let mut all = Vec::new();
    let has = |all: &[u8], part: &[u8]| all.windows(part.len()).any(|window| window == part);
    while !wanted.iter().all(|part| has(&all, part)) {
        let (mut socket, _) = collector.accept().unwrap();
        let mut buffer = [0; 4096];
        let mut bytes = Vec::new();
        // The head tells how long the message is.
        let end = loop {
            let length = socket.read(&mut buffer).unwrap();
            assert!(length > 0, "{}", String::from_utf8_lossy(&bytes));
            bytes.extend_from_slice(&buffer[..length]);
            if let Some(head) = bytes.windows(4).position(|window| window == b"\r\n\r\n") {
                let text = String::from_utf8_lossy(&bytes[..head]).to_lowercase();
                let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
                break head + 4 + length.unwrap().parse::<usize>().unwrap();
            }
        };
        while bytes.len() < end {
            let length = socket.read(&mut buffer).unwrap();
            assert!(length > 0);
            bytes.extend_from_slice(&buffer[..length]);
        }
        all.extend_from_slice(&bytes);
        socket
            .write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .unwrap();
    }
}

const TRACE: u128 = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c;
const SPAN: u64 = 0xb7ad_6b71_6920_3331;

#[test]
fn the_trace_of_a_caller_is_kept_with_the_run_and_continued() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut server = Server::start_with(&format!(
        "[telemetry]\notlp_endpoint = \"http://{}\"\n",
        collector.local_addr().unwrap()
    ));
    let traceparent = format!("00-{TRACE:032x}-{SPAN:016x}-01");
    let body = json!({"language": "js", "code": "1", "wait": true});
    let started = |traceparent: &str| {
        let request = server.ask("POST", "/v1/runs").header("traceparent", traceparent);
        request.json(body.clone()).send().is(200)["id"].as_str().unwrap().to_owned()
    };
    let id = started(&traceparent);
    let path = format!("/v1/runs/{id}");
    assert_eq!(server.get(&path).is(200)["traceparent"], traceparent);
    let rerun = server.ask("POST", &format!("{path}/rerun")).send().is(202);
    assert!(rerun.get("traceparent").is_none(), "it belongs to a request: {rerun}");
    server.until_over(rerun["id"].as_str().unwrap());
    let invalid = started("00-0-0-01");
    assert!(server.get(&format!("/v1/runs/{invalid}")).is(200).get("traceparent").is_none());

    let received = std::thread::spawn(move || {
        receive_until(&collector, &[id.as_bytes(), &TRACE.to_be_bytes(), &SPAN.to_be_bytes()]);
    });
    assert!(server.stop().success());
    received.join().unwrap();
}

#[test]
fn a_run_that_another_server_continues_stays_in_the_trace() {
    let _alone = ONE_AT_A_TIME.lock();
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut first = Server::start();
    let traceparent = format!("00-{TRACE:032x}-{SPAN:016x}-01");
    let body = json!({"language": "py", "code": "import time; time.sleep(600)", "retry": {"attempts": 2}, "limits": {"timeout_ms": 900_000}});
    let run = first.ask("POST", "/v1/runs").header("traceparent", &traceparent).json(body).send();
    let id = run.is(202)["id"].as_str().unwrap().to_owned();
    first.until_status(&id, "running");
    first.kill();

    // The first server exported nothing, so all that arrives is about what the second one did.
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    std::fs::write(
        first.home.join("belljar.toml"),
        format!("[telemetry]\notlp_endpoint = \"{endpoint}\"\n"),
    )
    .unwrap();
    let mut second = Server::start_in(&first.home, &[]);
    second.token.clone_from(&first.token);
    second.until(&id, |record| record["attempt"] == 2 && record["status"] == "running");
    let received = std::thread::spawn(move || {
        receive_until(&collector, &[&TRACE.to_be_bytes(), &SPAN.to_be_bytes()]);
    });
    second.ask("POST", &format!("/v1/runs/{id}/cancel")).send().is(200);
    assert_eq!(second.until_over(&id)["traceparent"], traceparent);
    assert!(second.stop().success());
    received.join().unwrap();
}
