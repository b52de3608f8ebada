//! The addresses on which a server listens, and the open files that it needs.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use belljar_test_support::{belljar_without_server, binary, is_root, said};
use tempfile::TempDir;

/// Returns the status line of `/healthz` at an address, or `None` if nothing listens there.
fn health(address: &str) -> Option<String> {
    let mut socket = TcpStream::connect(address).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(20))).ok()?;
    socket.write_all(b"GET /healthz HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").ok()?;
    let mut text = String::new();
    socket.read_to_string(&mut text).ok()?;
    text.lines().next().map(str::to_owned)
}

#[test]
fn localhost_is_listened_on_in_both_families() {
    let folder = TempDir::new().unwrap();
    let mut command = belljar_without_server(["serve", "--listen", "localhost:0"]);
    command
        .env("BELLJAR_HOME", folder.path().join("home"))
        .env("BELLJAR_LOG", "warn")
        .stderr(Stdio::inherit());
    if !is_root() {
        command.arg("--allow-degraded");
    }
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    // The pipe stays open, because the server prints more.
    let mut out = BufReader::new(server.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let port: u16 =
        line.split("http://").nth(1).unwrap().split([':', ',']).nth(1).unwrap().parse().unwrap();
    let answered = [health(&format!("127.0.0.1:{port}")), health(&format!("[::1]:{port}"))];
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(answered[0].as_deref(), Some("HTTP/1.1 200 OK"), "{line}");
    // Not every machine supports IPv6.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(answered[1].as_deref(), Some("HTTP/1.1 200 OK"), "{line}");
    }
}

/// Starts a server and returns the first line that it prints, and its log once the process has
/// ended. `talk` gets the port of the server.
fn served(flags: &[&str], talk: impl FnOnce(u16, &str)) -> (String, String) {
    let folder = TempDir::new().unwrap();
    let mut command = belljar_without_server(["serve"]);
    command.args(flags).env("BELLJAR_HOME", folder.path().join("home")).env_remove("BELLJAR_LOG");
    if !is_root() {
        command.arg("--allow-degraded");
    }
    let mut server = command.spawn().unwrap();
    let mut out = BufReader::new(server.stdout.take().unwrap());
    let (mut first, mut token) = (String::new(), String::new());
    out.read_line(&mut first).unwrap();
    while !token.trim().starts_with("bjr_") {
        token.clear();
        assert!(out.read_line(&mut token).unwrap() > 0, "the server ended");
    }
    let url = first.split_whitespace().find(|word| word.starts_with("http")).unwrap();
    let port = url.trim_end_matches(',').rsplit(':').next().unwrap().parse().unwrap();
    talk(port, token.trim());
    rustix::process::kill_process(
        rustix::process::Pid::from_child(&server),
        rustix::process::Signal::TERM,
    )
    .unwrap();
    let mut log = String::new();
    server.stderr.take().unwrap().read_to_string(&mut log).unwrap();
    server.wait().unwrap();
    (first, log)
}

#[test]
fn the_log_has_one_line_for_each_finished_run() {
    let (_, log) = served(&["--port", "0"], |port, token| {
        let url = format!("http://127.0.0.1:{port}");
        for code in ["1", "raise ValueError"] {
            let mut run = belljar_without_server(["run", "--remote", "-l", "py", "-e", code]);
            said(run.env("BELLJAR_URL", &url).env("BELLJAR_TOKEN", token));
        }
    });
    let lines: Vec<&str> = log.lines().filter(|line| line.contains("run finished")).collect();
    assert_eq!(lines.len(), 2, "{log}");
    for (line, status) in lines.iter().zip(["succeeded", "failed"]) {
        for part in ["run=run_", "token=first", "language=python", status, "wall_ms="] {
            assert!(line.contains(part), "no `{part}` in {line}");
        }
    }
    assert!(!log.contains("plain HTTP"), "{log}");
}

#[test]
fn a_server_on_all_addresses_prints_one_that_can_be_opened_and_warns() {
    let (first, log) = served(&["--listen", "0.0.0.0:0"], |port, _| {
        assert!(health(&format!("127.0.0.1:{port}")).is_some());
    });
    assert!(first.starts_with("belljar is ready on http://127.0.0.1:"), "{first}");
    assert!(first.contains("(all addresses: 0.0.0.0:"), "{first}");
    for words in ["plain HTTP on 0.0.0.0:", "--tls-certificates"] {
        assert!(log.contains(words), "no `{words}` in {log}");
    }
}

#[test]
fn a_port_in_use_is_reported_with_its_cause_before_the_hint() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let folder = TempDir::new().unwrap();
    let mut command = belljar_without_server(["serve", "--port", &port]);
    if !is_root() {
        command.arg("--allow-degraded");
    }
    let refused = said(command.env("BELLJAR_HOME", folder.path()));
    let cause = format!("cannot listen on 127.0.0.1:{port}: Address already in use");
    refused.fails(2, &[&cause]);
    assert!(refused.stderr.lines().last().unwrap().starts_with("hint: stop the process"));
}

#[test]
fn a_name_that_is_no_address_is_refused_with_ones_that_are() {
    for wrong in ["example.com:80", ":8411", "localhost"] {
        let folder = TempDir::new().unwrap();
        let mut command = belljar_without_server(["serve", "--listen", wrong]);
        said(command.env("BELLJAR_HOME", folder.path()))
            .fails(2, &[wrong, "is not an address to listen on", "hint: write 127.0.0.1:8411"]);
    }
}

#[test]
fn a_low_limit_on_open_files_is_named_with_the_way_to_raise_it() {
    let under = |limit: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        command
            .args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), binary()])
            .args(arguments)
            .env("NO_COLOR", "1");
        if arguments[0] == "run" && !is_root() {
            command.arg("--allow-degraded");
        }
        said(&mut command)
    };
    let run = ["run", "-l", "js", "-e", "6 * 7"];
    under("ulimit -n 40", &run).fails(
        2,
        &[
            "belljar may open 40 files, but needs 128",
            "hint: raise the limit on open files with `ulimit -n",
        ],
    );
    under("ulimit -n 100", &["mcp"]).fails(2, &["belljar may open 100 files"]);
    let home = TempDir::new().unwrap();
    let home = format!("export BELLJAR_HOME={}; ulimit -n 64", home.path().display());
    under(&home, &["serve", "--listen", "127.0.0.1:0"]).fails(2, &["belljar may open 64 files"]);
    under("ulimit -n 200", &run).fails(
        125,
        &[
            "limits.open_files is 256, but this process may open only 200 files",
            "hint: raise it with `ulimit -n 256`",
        ],
    );
    // A low soft limit of the shell is raised without a message.
    under("ulimit -Sn 40", &run).shows(&["42"]);
    under("ulimit -n 200", &["run", "-l", "js", "-e", "6 * 7", "--open-files", "128"])
        .shows(&["42"]);
}
