//! The workflow of `examples/workflow`, in both languages, by the programs themselves; the
//! configuration of `packaging/`; programs of the guides.

use std::io::{BufRead, BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};

use belljar_test_support::http::read_answer;
use belljar_test_support::{Server, eventually, repository};
use serde_json::{Value, json};

#[test]
fn the_complete_workflow_uploads_runs_follows_and_downloads() {
    let server = Server::start();
    let folder = repository().join("examples/workflow");
    for (program, script) in [("node", "workflow.mjs"), ("python3", "workflow.py")] {
        let saved = server.home.join(format!("{script}.json"));
        let output = Command::new(program)
            .arg(folder.join(script))
            .arg(folder.join("orders.csv"))
            .arg(&saved)
            .env("BELLJAR_URL", &server.url)
            .env("BELLJAR_TOKEN", &server.token)
            .output()
            .unwrap_or_else(|error| panic!("{program}: {error}"));
        let (stdout, stderr) =
            (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        assert!(output.status.success(), "{script}: {stdout}{stderr}");
        assert!(
            stdout.lines().any(|line| line.ends_with("info: read 5 records")),
            "its logs are followed: {stdout}"
        );
        let summary: Value = serde_json::from_slice(&std::fs::read(&saved).unwrap()).unwrap();
        assert_eq!(
            (&summary["records"], summary["totals"]["Oslo"].as_f64()),
            (&json!(5), Some(140.0)),
            "{script}: {summary}"
        );
        // The next program has to make its own.
        server.ask("DELETE", "/v1/objects/outputs/summary.json").send().is(204);
    }
    let runs = server.get("/v1/runs?label=example:workflow").is(200);
    assert_eq!(runs["runs"].as_array().unwrap().len(), 2, "{runs}");
}

/// A line that only a `#` keeps from being a key of its section.
fn is_default(line: &str) -> bool {
    let key = line.strip_prefix("# ").and_then(|rest| rest.split_once(" = ")).map(|(key, _)| key);
    key.is_some_and(|key| key.bytes().all(|byte| byte.is_ascii_lowercase() || byte == b'_'))
}

#[test]
fn the_packaged_configuration_starts_a_server_and_so_do_its_commented_keys() {
    let packaged = std::fs::read_to_string(repository().join("packaging/belljar.toml")).unwrap();
    Server::start_with(&packaged).get("/readyz").is(200);

    // Sections that are commented out as a whole need files or a bucket that are not here.
    let mut is_section_out = false;
    let lines = packaged.lines().map(|line| {
        is_section_out = line.starts_with("# [") || is_section_out && line.starts_with('#');
        if !is_section_out && is_default(line) { &line[2..] } else { line }
    });
    let uncommented = lines.collect::<Vec<_>>().join("\n");
    assert!(
        uncommented.lines().filter(|line| line.contains(" = ") && !line.starts_with('#')).count()
            >= 14,
        "{uncommented}"
    );
    Server::start_with(&uncommented).get("/readyz").is(200);
}

/// The block of a guide that is fenced with this file's name.
fn block(guide: &str, file: &str) -> String {
    let page = std::fs::read_to_string(repository().join("docs").join(guide)).unwrap();
    let (_, rest) = page
        .split_once(&format!(" file={file}\n"))
        .unwrap_or_else(|| panic!("{guide} has no {file}"));
    rest.split_once("\n```").unwrap().0.to_owned()
}

/// Ends with the test.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn the_receivers_of_the_guide_take_a_callback_and_refuse_a_forged_one() {
    let server = Server::start_with("[callbacks]\nallow_private = true\n");
    let key = server.get("/v1/callback-key").is(200)["key"].as_str().unwrap().to_owned();
    for (program, file) in [("python3", "receiver.py"), ("node", "receiver.mjs")] {
        let script = server.home.join(file);
        std::fs::write(&script, block("guides/serve.md", file)).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let process = Command::new(program)
            .arg(&script)
            .arg(port.to_string())
            .env("CALLBACK_KEY", &key)
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let mut receiver = Receiver(process);
        eventually("the receiver listens", || TcpStream::connect(("127.0.0.1", port)).is_ok());

        let id = server
            .start_run(json!({"language": "javascript", "code": "6 * 7", "callback": {"url": format!("http://127.0.0.1:{port}/done")}}));
        let mut line = String::new();
        BufReader::new(receiver.0.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line.trim(), format!("{id} succeeded 42"), "{file}");

        let forged = "POST /done HTTP/1.1\r\nHost: x\r\nConnection: close\r\nBelljar-Signature: t=1,v1=00\r\nContent-Length: 2\r\n\r\n{}";
        let mut socket = TcpStream::connect(("127.0.0.1", port)).unwrap();
        socket.write_all(forged.as_bytes()).unwrap();
        assert_eq!(read_answer(&mut socket).status, 401, "{file}");
    }
}
