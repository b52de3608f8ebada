//! Each limit with its outcome and exit code, and the usage figures of an outcome.

use std::io::{BufRead, BufReader, Read};

use belljar_test_support::{STARTS, control_groups, is_root, outcome, run, said};
use serde_json::Value;

/// Asserts the status and exit code of a program under a limit, in both start modes.
#[track_caller]
fn ends(language: &str, code: &str, flags: &[&str], status: &str, exit: i32) -> Vec<Value> {
    let ended = STARTS.map(|start| {
        let said = said(run(["-l", language, "-e", code, "--json", "--start", start]).args(flags));
        let outcome = said.outcome();
        assert_eq!(
            (outcome["status"].as_str(), said.code),
            (Some(status), Some(exit)),
            "{outcome:#}"
        );
        outcome
    });
    ended.into()
}

#[track_caller]
fn names_the_flag(outcomes: &[Value], flag: &str) {
    for outcome in outcomes {
        assert!(
            outcome["error"]["hint"].as_str().is_some_and(|hint| hint.contains(flag)),
            "{outcome:#}"
        );
    }
}

const MIB: f64 = 1_048_576.0;

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

#[test]
fn an_error_names_the_source_of_its_limit_and_a_value_to_try() {
    let code = "x = bytearray(2 << 30)";
    let needed = |flags: &[&str]| said(run(["-l", "py", "-e", code]).args(flags));
    needed(&["--memory", "64M"]).fails(
        137,
        &["needed more than 64 MB of memory (set by --memory)", "hint: try --memory 128M"],
    );
    needed(&[]).fails(137, &["of memory (the default)", "hint: try --memory "]);
    let policy = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(policy.path(), r#"{"limits": {"memory_bytes": 67108864}}"#).unwrap();
    let path = policy.path().to_str().unwrap();
    needed(&["--policy", path]).fails(137, &["64 MB of memory (set by the policy file)"]);
    needed(&["--policy", path, "--memory", "32M"])
        .fails(137, &["32 MB of memory (set by --memory)", "try --memory 64M"]);
}

#[test]
fn a_local_run_has_a_gigabyte_of_memory_or_half_of_the_machine() {
    let total_kib: u64 = std::fs::read_to_string("/proc/meminfo")
        .unwrap()
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next()?.parse().ok())
        .unwrap();
    let code = "const { writeFileSync } = require('fs');\n\
                writeFileSync('big', Buffer.alloc(100 << 20)); process.constrainedMemory() / 2 ** 20";
    let value = outcome("javascript", code, &[])["value"].as_f64().unwrap();
    if total_kib > 3 << 20 && is_root() {
        assert!((value - 1024.0).abs() < 0.1, "{value}");
    }
    assert!(value >= 256.0, "{value}");
}

#[test]
fn too_long() {
    let ended = ends(
        "javascript",
        "await new Promise((done) => setTimeout(done, 60000))",
        &["--timeout", "300ms"],
        "timed_out",
        124,
    );
    names_the_flag(&ended, "--timeout");
    for outcome in &ended {
        assert!(number(&outcome["usage"]["wall_ms"]) >= 300.0, "{outcome:#}");
    }
    ends(
        "python",
        "import signal, time\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\ntime.sleep(60)",
        &["--timeout", "300ms"],
        "timed_out",
        124,
    );
}

#[test]
fn too_much_cpu_time() {
    for (language, code) in [("javascript", "for (;;);"), ("python", "while True: pass")] {
        let ended = ends(language, code, &["--cpu", "300ms"], "cpu_exceeded", 152);
        names_the_flag(&ended, "--cpu");
        for outcome in &ended {
            let used = number(&outcome["usage"]["cpu_user_ms"])
                + number(&outcome["usage"]["cpu_system_ms"]);
            assert!((300.0..1500.0).contains(&used), "{outcome:#}");
        }
    }
    // The limit applies to all processes together.
    ends(
        "python",
        "import os\nfor _ in range(3):\n    if os.fork() == 0: break\nwhile True: pass",
        &["--cpu", "400ms", "--exec"],
        "cpu_exceeded",
        152,
    );
}

#[test]
fn too_much_memory() {
    for (language, code) in [
        ("javascript", "const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1))"),
        ("javascript", "const all = []; for (;;) all.push('x' + all.length + Math.random())"),
        ("python", "x = bytearray(200 << 20)"),
    ] {
        names_the_flag(
            &ends(language, code, &["--memory", "64M"], "memory_exceeded", 137),
            "--memory",
        );
    }
    // In a child of an init process, and in a grandchild.
    ends(
        "javascript",
        "Buffer.alloc(200 << 20, 1).length",
        &["--memory", "64M", "--exec"],
        "memory_exceeded",
        137,
    );
    ends(
        "python",
        "import os\nif os.fork() == 0:\n    x = bytearray(200 << 20)\nos.wait()",
        &["--memory", "64M", "--exec"],
        "memory_exceeded",
        137,
    );
}

#[test]
fn too_much_output() {
    for (language, code) in [
        ("javascript", "for (;;) console.log('x'.repeat(100))"),
        ("python", "import os\nwhile True: os.write(2, b'x' * 100)"),
    ] {
        let ended = ends(language, code, &["--output-limit", "1K"], "output_exceeded", 153);
        names_the_flag(&ended, "--output-limit");
        for outcome in &ended {
            let kept: usize = outcome["logs"]
                .as_array()
                .unwrap()
                .iter()
                .map(|entry| entry["message"].as_str().unwrap().len())
                .sum();
            assert!(kept <= 1100, "{kept} bytes were kept");
        }
    }
}

#[test]
fn too_many_processes() {
    if !is_root() {
        eprintln!("not root: nothing counts processes here");
        return;
    }
    let code = "const cp = require('child_process'); let refused = 0, started = 0;\n\
                await Promise.all(Array.from({ length: 40 }, () => new Promise(done => cp.spawn('sleep', ['0.2']).on('error', e => { refused += e.code === 'EAGAIN'; done() }).on('exit', () => { started++; done() }))));\n\
                [refused > 0, started > 0, refused + started]";
    for start in STARTS {
        let ended = outcome("javascript", code, &["--exec", "--processes", "20", "--start", start]);
        assert_eq!(ended["value"], serde_json::json!([true, true, 40]), "{ended:#}");
        assert!(number(&ended["usage"]["processes"]) <= 20.0, "{ended:#}");
    }
}

#[test]
fn too_much_disk_files_and_open_files() {
    for (language, code, flags, words, flag) in [
        (
            "javascript",
            "require('fs').writeFileSync('x', Buffer.alloc(2 << 20))",
            ["--disk", "1M"],
            "ENOSPC",
            "--disk",
        ),
        (
            "python",
            "open('/tmp/x', 'wb').write(bytes(2 << 20))",
            ["--disk", "1M"],
            "No space left",
            "--disk",
        ),
        (
            "python",
            "for n in range(100): open(f'f{n}', 'w')",
            ["--max-files", "50"],
            "No space left",
            "--max-files",
        ),
        (
            "python",
            "all = [open('/dev/null') for _ in range(100)]",
            ["--open-files", "64"],
            "Too many open files",
            "--open-files",
        ),
        (
            "javascript",
            "for (let n = 0; n < 100; n++) require('fs').openSync('/dev/null')",
            ["--open-files", "64"],
            "EMFILE",
            "--open-files",
        ),
    ] {
        for start in STARTS {
            said(run(["-l", language, "-e", code, "--start", start]).args(flags))
                .fails(1, &[words, "hint:", flag]);
        }
    }
    // Exactly the requested amount fits.
    assert_eq!(
        outcome("python", "for n in range(40): open(f'f{n}', 'w')", &["--max-files", "50"])["status"],
        "succeeded"
    );
}

#[test]
fn a_program_that_dies_of_a_signal_has_crashed() {
    for start in STARTS {
        let said = said(&mut run([
            "-l",
            "py",
            "-e",
            "import ctypes\nctypes.string_at(0)",
            "--start",
            start,
            "--json",
        ]));
        let outcome = said.outcome();
        assert_eq!(
            (outcome["status"].as_str(), outcome["signal"].as_i64(), said.code),
            (Some("crashed"), Some(11), Some(139)),
            "{outcome:#}"
        );
    }
}

#[test]
fn usage_is_what_the_program_used() {
    let busy = "const end = Date.now() + 300; let n = 0; while (Date.now() < end) n++; 1";
    for start in STARTS {
        let ended = outcome("javascript", busy, &["--start", start]);
        let usage = &ended["usage"];
        let cpu = number(&usage["cpu_user_ms"]) + number(&usage["cpu_system_ms"]);
        // On a busy machine the program gets less than one processor. Only the runtime's own
        // threads can use more.
        assert!(
            number(&usage["wall_ms"]) >= 300.0
                && cpu <= number(&usage["wall_ms"]) * 2.0
                && cpu >= 30.0,
            "{usage}"
        );

        let ended =
            outcome("python", "x = bytearray(100 << 20)\nprint('four')", &["--start", start]);
        let usage = &ended["usage"];
        let peak = number(&usage["peak_memory_bytes"]);
        assert!((100.0 * MIB..200.0 * MIB).contains(&peak), "{usage}");
        assert_eq!(usage["output_bytes"], 5, "{usage}");

        let idle = outcome("python", "import time\ntime.sleep(0.3)", &["--start", start]);
        let usage = &idle["usage"];
        assert!(
            number(&usage["cpu_user_ms"]) + number(&usage["cpu_system_ms"]) < 150.0
                && number(&usage["wall_ms"]) >= 300.0,
            "{usage}"
        );
    }
}

#[test]
fn ctrl_c_cancels_at_once_and_leaves_nothing() {
    use rustix::process::{Pid, Signal, kill_process};
    for (start, signal) in [("exec", Signal::INT), ("fork", Signal::INT), ("fork", Signal::TERM)] {
        let code = "import subprocess, time\nsubprocess.Popen(['sleep', '600'])\nprint('ready', flush=True)\ntime.sleep(600)";
        let mut child =
            run(["-l", "py", "-e", code, "--exec", "--start", start, "--timeout", "10m"])
                .spawn()
                .unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n");
        kill_process(Pid::from_child(&child), signal).unwrap();
        // The pipe is closed only when all processes that hold it are gone: the program and its
        // children.
        let mut rest = String::new();
        stdout.read_to_string(&mut rest).unwrap();
        let ended = child.wait().unwrap();
        let mut stderr = String::new();
        child.stderr.take().unwrap().read_to_string(&mut stderr).unwrap();
        assert_eq!((ended.code(), rest.as_str()), (Some(130), ""), "{stderr}");
        assert!(stderr.contains("cancelled"), "{stderr}");
        assert!(control_groups::of_belljar(child.id()).is_empty());
    }
}
