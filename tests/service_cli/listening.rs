//! Where a server listens, and what it needs of the machine.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Command, Stdio};
use std::time::Duration;

use tempfile::TempDir;

use crate::server::{BINARY, belljar, said};

/// The status line of `/healthz` at an address, `None` where nothing listens.
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
    let mut command = belljar(["serve", "--listen", "localhost:0"]);
    command.env("BELLJAR_HOME", folder.path().join("home")).env("BELLJAR_LOG", "warn").stderr(Stdio::inherit());
    if !rustix::process::geteuid().is_root() {
        command.arg("--allow-degraded");
    }
    let mut server = command.spawn().unwrap();
    let mut line = String::new();
    // Kept open: it has more to say.
    let mut out = BufReader::new(server.stdout.take().unwrap());
    out.read_line(&mut line).unwrap();
    let port: u16 = line.split("http://").nth(1).unwrap().split([':', ',']).nth(1).unwrap().parse().unwrap();
    let answered = [health(&format!("127.0.0.1:{port}")), health(&format!("[::1]:{port}"))];
    server.kill().unwrap();
    server.wait().unwrap();
    assert_eq!(answered[0].as_deref(), Some("HTTP/1.1 200 OK"), "{line}");
    // Not every machine has IPv6.
    if std::net::TcpListener::bind("[::1]:0").is_ok() {
        assert_eq!(answered[1].as_deref(), Some("HTTP/1.1 200 OK"), "{line}");
    }
}

#[test]
fn a_name_that_is_no_address_is_refused_with_ones_that_are() {
    for wrong in ["example.com:80", ":8411", "localhost"] {
        let folder = TempDir::new().unwrap();
        let mut command = belljar(["serve", "--listen", wrong]);
        said(command.env("BELLJAR_HOME", folder.path())).fails(2, &[wrong, "is not an address to listen on", "hint: write 127.0.0.1:8411"]);
    }
}

#[test]
fn a_low_limit_on_open_files_is_named_with_the_way_to_raise_it() {
    let under = |limit: &str, arguments: &[&str]| {
        let mut command = Command::new("sh");
        command.args(["-c", &format!("{limit}; exec \"$0\" \"$@\""), BINARY]).args(arguments).env("NO_COLOR", "1");
        if arguments[0] == "run" && !rustix::process::geteuid().is_root() {
            command.arg("--allow-degraded");
        }
        said(&mut command)
    };
    let run = ["run", "-l", "js", "-e", "6 * 7"];
    under("ulimit -n 40", &run)
        .fails(2, &["belljar may open 40 files, and needs 128", "hint: raise the limit on open files with `ulimit -n"]);
    under("ulimit -n 100", &["mcp"]).fails(2, &["belljar may open 100 files"]);
    let home = TempDir::new().unwrap();
    let home = format!("export BELLJAR_HOME={}; ulimit -n 64", home.path().display());
    under(&home, &["serve", "--listen", "127.0.0.1:0"]).fails(2, &["belljar may open 64 files"]);
    under("ulimit -n 200", &run)
        .fails(125, &["limits.open_files is 256, and this process may open 200 files", "hint: raise that with `ulimit -n 256`"]);
    // What the shell's soft limit holds back is raised without a word.
    under("ulimit -Sn 40", &run).shows(&["42"]);
    under("ulimit -n 200", &["run", "-l", "js", "-e", "6 * 7", "--open-files", "128"]).shows(&["42"]);
}
