//! Following a run: live, over connections that break, and cancelling it from the client.

use std::io::{BufRead, BufReader, Read};
use std::process::Child;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use belljar_test_support::{Server, said, said_with_input};
use rustix::process::{Pid, Signal, kill_process};

use crate::detach;
use crate::proxy::{Harm, Proxy};

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

/// Writes a line, and continues when there is an object called `go`.
const WAITS: &str = "(async () => { console.log('first'); for (;;) { if ((await belljar.storage.list('GO')).length) break; await new Promise(r => setTimeout(r, 20)); } console.log('second'); })()";

fn signal(child: &Child, signal: Signal) {
    kill_process(Pid::from_raw(child.id() as i32).unwrap(), signal).unwrap();
}

#[test]
fn logs_arrive_while_the_run_continues() {
    let id = detach(&SERVER, &WAITS.replace("GO", "live/go"), &[]);
    let mut follow = SERVER.client(["logs", "-f", &id]).spawn().unwrap();
    let mut out = BufReader::new(follow.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "first\n");
    assert_eq!(
        said(&mut SERVER.client(["runs", "show", &id, "--json"])).json()["status"],
        "running",
        "the log came before the end"
    );
    assert_eq!(
        said_with_input(&mut SERVER.client(["storage", "cp", "-", "obj:live/go"]), b"x").code,
        Some(0)
    );
    let mut rest = String::new();
    out.read_to_string(&mut rest).unwrap();
    assert_eq!(rest, "second\n");
    assert!(follow.wait().unwrap().success());
    // After the run, the same output is available.
    assert_eq!(said(&mut SERVER.client(["logs", "-f", &id])).stdout, "first\nsecond\n");
}

#[test]
fn a_broken_stream_resumes_without_a_gap_or_a_repeat() {
    let id = detach(&SERVER, "for (let n = 0; n < 2000; n++) console.log(`line ${n}`)", &[]);
    SERVER.until_status(&id, "succeeded");
    let proxy =
        Proxy::start(&SERVER.url, [100, 7000, 31, 60_000, 900, 1].map(Harm::CutAfter).to_vec());
    let followed = said(SERVER.client(["logs", "-f", &id]).env("BELLJAR_URL", &proxy.url));
    let expected = (0..2000).map(|n| format!("line {n}\n")).collect::<Vec<_>>().concat();
    assert_eq!(followed.code, Some(0), "{}", followed.stderr);
    assert!(followed.stdout == expected, "{} lines", followed.stdout.lines().count());
    assert!(proxy.count.load(Ordering::SeqCst) >= 7, "the connections were cut");
}

#[test]
fn a_request_that_is_cut_off_starts_no_second_run() {
    // The answer to the submission is lost, so the client sends it again.
    let proxy = Proxy::start(&SERVER.url, [10, 20].map(Harm::CutAfter).to_vec());
    let mut command =
        SERVER.client(["run", "--remote", "-l", "js", "-e", "6 * 7", "--label", "cut=off"]);
    let said_of_it = said(command.env("BELLJAR_URL", &proxy.url));
    assert_eq!((said_of_it.code, said_of_it.stdout.as_str()), (Some(0), "42\n"), "{said_of_it:?}");
    assert!(proxy.count.load(Ordering::SeqCst) >= 3);
    let runs = said(&mut SERVER.client(["runs", "--label", "cut=off", "--json"])).json();
    assert_eq!(runs["runs"].as_array().unwrap().len(), 1, "{runs}");
}

#[test]
fn ctrl_c_cancels_the_run_on_the_server() {
    for (label, with) in [("cancel=int", Signal::INT), ("cancel=term", Signal::TERM)] {
        let code = "console.log('started'); setInterval(() => {}, 1000)";
        let mut child = SERVER
            .client(["run", "--remote", "-l", "js", "-e", code, "--label", label])
            .spawn()
            .unwrap();
        let mut out = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        out.read_line(&mut line).unwrap();
        assert_eq!(line, "started\n");
        signal(&child, with);
        assert_eq!(child.wait().unwrap().code(), Some(130));
        let runs = said(&mut SERVER.client(["runs", "--label", label, "--json"])).json();
        assert_eq!(runs["runs"][0]["status"], "cancelled", "{runs}");
    }
}

#[test]
fn a_run_whose_output_has_no_reader_is_cancelled() {
    let code = "setInterval(() => console.log('x'), 5)";
    let mut child = SERVER
        .client(["run", "--remote", "-l", "js", "-e", code, "--label", "unread=1"])
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    out.read_line(&mut String::new()).unwrap();
    drop(out);
    assert_eq!(child.wait().unwrap().code(), Some(141));
    assert_eq!(
        said(&mut SERVER.client(["runs", "--label", "unread=1", "--json"])).json()["runs"][0]["status"],
        "cancelled"
    );
}

#[test]
fn cancel_ends_a_run() {
    let id = detach(&SERVER, "setInterval(() => {}, 1000)", &[]);
    SERVER.until_status(&id, "running");
    said(&mut SERVER.client(["cancel", &id])).shows(&[&format!("{id} cancelled")]);
}

#[test]
fn a_client_of_a_server_that_dies_gets_the_end_from_the_next_one() {
    let folder = tempfile::tempdir().unwrap();
    let home = folder.path().join("home");
    let mut server = Server::start_in(&home, &[]);
    let mut child = server
        .operator([
            "run",
            "--remote",
            "-l",
            "js",
            "-e",
            "console.log('started'); setInterval(() => {}, 1000)",
        ])
        .spawn()
        .unwrap();
    let mut out = BufReader::new(child.stdout.take().unwrap());
    let mut line = String::new();
    out.read_line(&mut line).unwrap();
    assert_eq!(line, "started\n");
    server.kill();
    let _next = Server::start_in(&home, &[]);
    let mut said = String::new();
    child.stderr.take().unwrap().read_to_string(&mut said).unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(70), "{said}");
    assert!(said.contains("belljar runs rerun run_"), "{said}");
}
