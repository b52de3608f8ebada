//! What `belljar run` writes: the program's bytes as they came, the value, events, the outcome.

use std::io::Read;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::belljar::{STARTS, control_groups_of, outcome, run, said, spawn};

#[test]
fn bytes_pass_through_as_they_are_and_in_order() {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for start in STARTS {
        for (language, code) in [
            ("javascript", "process.stdout.write(Buffer.from(Array.from({ length: 70000 }, (_, i) => i % 256))); undefined"),
            ("python", "import sys\nsys.stdout.buffer.write(bytes(i % 256 for i in range(70000)))\nNone"),
        ] {
            let output = run(["-l", language, "-e", code, "--start", start]).output().unwrap();
            assert!(
                output.stdout == bytes,
                "{language}, {start}: {} bytes, {}",
                output.stdout.len(),
                String::from_utf8_lossy(&output.stderr)
            );
            assert!(output.stderr.is_empty());
        }
    }
}

#[test]
fn writes_and_console_lines_keep_their_order() {
    let code = "process.stdout.write('1\\n'); console.log('2'); process.stdout.write('3'); process.stdout.write('\\n'); console.info('4'); require('fs').writeSync(1, '5\\n'); undefined";
    let python = "import sys, os, logging\nprint('1')\nsys.stdout.write('2\\n')\nprint('3', end='')\nprint()\nsys.stdout.flush()\nos.write(1, b'4\\n')\nprint('5')";
    for start in STARTS {
        said(&mut run(["-l", "js", "-e", code, "--start", start])).prints("1\n2\n3\n4\n5\n");
        said(&mut run(["-l", "py", "-e", python, "--start", start])).prints("1\n2\n3\n4\n5\n");
        let logs = outcome("javascript", code, &["--start", start])["logs"].clone();
        let messages: Vec<&str> = logs.as_array().unwrap().iter().map(|entry| entry["message"].as_str().unwrap()).collect();
        assert_eq!(messages, ["1", "2", "3", "4", "5"]);
    }
}

#[test]
fn the_value_is_printed_last_and_null_is_not() {
    said(&mut run(["-l", "js", "-e", "console.log('log'); ({ a: 1 })"])).prints("log\n{\"a\":1}\n");
    said(&mut run(["-l", "js", "-e", "console.log('log')"])).prints("log\n");
    let said = said(&mut run(["-l", "py", "-e", "import sys\nprint('err', file=sys.stderr)\n'v'"]));
    assert_eq!((said.stdout.as_str(), said.stderr.as_str()), ("\"v\"\n", "err\n"));
}

#[test]
fn events_are_numbered_from_started_to_finished() {
    let code = "console.log('one'); belljar.display('x'); require('fs').writeFileSync('outputs/a', 'A'); console.warn('two'); require('fs').readFileSync('/etc/shadow')";
    for start in STARTS {
        let said = said(&mut run(["-l", "js", "-e", code, "--events", "--start", start]));
        let events: Vec<Value> = said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], index, "{}", said.stdout);
            assert!(event["timestamp"].as_str().is_some_and(|time| time.ends_with('Z') && time.len() == 24), "{event}");
        }
        let kinds: Vec<&str> = events.iter().map(|event| event["type"].as_str().unwrap()).filter(|kind| *kind != "progress").collect();
        assert_eq!(kinds[..2], ["queued", "started"], "{kinds:?}");
        assert_eq!(*kinds.last().unwrap(), "finished");
        let mut between = kinds[2..kinds.len() - 1].to_vec();
        between.sort_unstable();
        assert_eq!(between, ["artifact", "denied", "log", "log", "result"], "{}", said.stdout);
        let find = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
        assert_eq!(find("started")["sandbox"]["start"], start);
        assert_eq!((&find("log")["level"], &find("log")["message"]), (&json!("info"), &json!("one")));
        assert_eq!(find("result")["result"], json!({"type": "text/plain", "data": "x"}));
        assert_eq!(find("denied")["denial"]["action"], "fs.read");
        assert_eq!(find("artifact")["artifact"]["name"], "a");
        let finished = &find("finished")["outcome"];
        assert_eq!(
            (&finished["status"], &finished["denied"][0], &finished["id"]),
            (&json!("failed"), &find("denied")["denial"], &find("queued")["id"])
        );
    }
}

#[test]
fn the_outcome_has_the_documented_shape() {
    let ended = outcome(
        "javascript",
        "console.log('read 2000 rows'); belljar.display('x'); require('fs').writeFileSync('outputs/summary.json', 'abc'); ({ total: 41 })",
        &[],
    );
    let keys: Vec<&str> = ended.as_object().unwrap().keys().map(String::as_str).collect();
    let mut expected = vec!["id", "status", "value", "error", "logs", "results", "artifacts", "usage", "sandbox"];
    expected.sort_unstable();
    assert_eq!(keys, expected, "{ended:#}");
    assert!(ended["id"].as_str().is_some_and(|id| id.starts_with("run_")), "{ended:#}");
    assert_eq!((&ended["value"], &ended["error"]), (&json!({"total": 41}), &Value::Null));
    assert_eq!(ended["results"], json!([{"type": "text/plain", "data": "x"}]));
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(ended["artifacts"], json!([{"name": "summary.json", "size_bytes": 3, "sha256": sha256}]));
    assert_eq!((&ended["logs"][0]["level"], &ended["logs"][0]["message"]), (&json!("info"), &json!("read 2000 rows")));
    let mut usage: Vec<&str> = ended["usage"].as_object().unwrap().keys().map(String::as_str).collect();
    usage.sort_unstable();
    assert_eq!(usage, ["cpu_system_ms", "cpu_user_ms", "output_bytes", "peak_memory_bytes", "processes", "wall_ms"]);
    assert!(ended["sandbox"]["runtime"].as_str().is_some_and(|name| name.starts_with("node@")), "{ended:#}");
    assert_eq!((&ended["sandbox"]["start"], &ended["sandbox"]["environment"]), (&json!("exec"), &Value::Null));

    let failed = outcome("javascript", "throw new Error('a', { cause: new TypeError('b') })", &[]);
    assert_eq!((&failed["status"], &failed["value"]), (&json!("failed"), &Value::Null));
    assert_eq!((&failed["error"]["name"], &failed["error"]["message"]), (&json!("Error"), &json!("a")));
    assert_eq!((&failed["error"]["cause"]["name"], &failed["error"]["cause"]["message"]), (&json!("TypeError"), &json!("b")));
}

#[test]
fn the_members_of_an_aggregate_error_are_told() {
    let code = "throw new AggregateError([new TypeError('a'), new RangeError('b')], 'both')";
    let failed = outcome("javascript", code, &[]);
    assert_eq!(failed["error"]["errors"].as_array().unwrap().len(), 2);
    assert_eq!((&failed["error"]["errors"][1]["name"], &failed["error"]["errors"][1]["message"]), (&json!("RangeError"), &json!("b")));
    said(&mut run(["-l", "js", "-e", code])).fails(1, &["AggregateError: both", "TypeError: a", "RangeError: b"]);
}

#[test]
fn a_cause_is_told_to_people_too() {
    said(&mut run(["-l", "js", "-e", "throw new Error('a', { cause: new TypeError('b') })"]))
        .fails(1, &["Error: a", "caused by TypeError: b"]);
}

#[test]
fn a_reader_that_leaves_ends_the_run_without_a_word() {
    for start in STARTS {
        let code = "for (;;) console.log('x'.repeat(1000))";
        let mut child = spawn(&mut run(["-l", "js", "-e", code, "--output-limit", "1G", "--start", start]));
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!((output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()), (Some(141), ""));
        assert_eq!(control_groups_of(pid), Vec::<String>::new());
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_told() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    said(run(["-l", "js", "-e", "[1, 2]"]).stdout(Stdio::from(full))).fails(70, &["cannot write the result", "No space left"]);
}

#[test]
fn no_colour_reaches_a_pipe() {
    let output = run(["-l", "js", "-e", "require('fs').readFileSync('/x')"]).env_remove("NO_COLOR").output().unwrap();
    assert!(!output.stderr.is_empty() && !output.stderr.contains(&0x1b));
}

#[test]
fn what_was_left_is_told_and_can_be_kept() {
    let folder = tempfile::tempdir().unwrap();
    let code = "require('fs').writeFileSync('outputs/a.txt', 'new'); undefined";
    let told = said(&mut run(["-l", "js", "-e", code]));
    assert!(told.stderr.contains("artifact: a.txt (3 B)") && told.stderr.contains("--artifacts"), "{told:?}");
    let into = folder.path().join("made/here");
    std::fs::create_dir_all(&into).unwrap();
    std::fs::write(into.join("a.txt"), "old and longer").unwrap();
    let kept = said(run(["-l", "js", "-e", code, "--output", "none.txt", "--artifacts"]).arg(&into));
    assert!(kept.stderr.contains("saved") && kept.stderr.contains("no file none.txt"), "{kept:?}");
    assert_eq!(std::fs::read_to_string(into.join("a.txt")).unwrap(), "new");
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 1);
}
