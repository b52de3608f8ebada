//! Traces, sent by OTLP to whoever collects them.

use std::io::{Read, Write};
use std::net::TcpListener;

use crate::server::Server;

#[test]
fn requests_and_runs_are_traced_whatever_is_logged() {
    let collector = TcpListener::bind("127.0.0.1:0").unwrap();
    // The harness logs warnings only; traces do not depend on it.
    let mut server = Server::start_with(&format!("[telemetry]\notlp_endpoint = \"http://{}\"\n", collector.local_addr().unwrap()));
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
        socket.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").unwrap();
        String::from_utf8_lossy(&bytes).into_owned()
    });
    assert!(server.stop().success());
    let said = received.join().unwrap();
    assert!(said.starts_with("POST /v1/traces HTTP/1.1"), "{said}");
    assert!(said.contains("belljar") && said.contains("/v1/runs"), "{said}");
}
