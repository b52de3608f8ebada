//! The output of `belljar run`: the unchanged bytes of the program, the value, events and the
//! outcome.

use std::io::Read;
use std::process::Stdio;

use belljar_test_support::{STARTS, control_groups, outcome, run, said};
use serde_json::{Value, json};

#[test]
fn bytes_pass_through_as_they_are_and_in_order() {
    let bytes: Vec<u8> = (0..=255).cycle().take(70_000).collect();
    for start in STARTS {
        for (language, code) in [
            (
                "javascript",
                "process.stdout.write(Buffer.from(Array.from({ length: 70000 }, (_, i) => i % 256))); undefined",
            ),
            (
                "python",
                "import sys\nsys.stdout.buffer.write(bytes(i % 256 for i in range(70000)))\nNone",
            ),
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
        let messages: Vec<&str> = logs
            .as_array()
            .unwrap()
            .iter()
            .map(|entry| entry["message"].as_str().unwrap())
            .collect();
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
        let events: Vec<Value> =
            said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        for (index, event) in events.iter().enumerate() {
            assert_eq!(event["seq"], index, "{}", said.stdout);
            assert!(
                event["timestamp"]
                    .as_str()
                    .is_some_and(|time| time.ends_with('Z') && time.len() == 24),
                "{event}"
            );
        }
        let kinds: Vec<&str> = events
            .iter()
            .map(|event| event["type"].as_str().unwrap())
            .filter(|kind| *kind != "progress")
            .collect();
        assert_eq!(kinds[..2], ["queued", "started"], "{kinds:?}");
        assert_eq!(*kinds.last().unwrap(), "finished");
        let mut between = kinds[2..kinds.len() - 1].to_vec();
        between.sort_unstable();
        assert_eq!(between, ["artifact", "denied", "log", "log", "result"], "{}", said.stdout);
        let find = |kind: &str| events.iter().find(|event| event["type"] == kind).unwrap();
        assert_eq!(find("started")["sandbox"]["start"], start);
        assert_eq!(
            (&find("log")["level"], &find("log")["message"]),
            (&json!("info"), &json!("one"))
        );
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
    let mut expected =
        vec!["id", "status", "value", "error", "logs", "results", "artifacts", "usage", "sandbox"];
    expected.sort_unstable();
    assert_eq!(keys, expected, "{ended:#}");
    assert!(ended["id"].as_str().is_some_and(|id| id.starts_with("run_")), "{ended:#}");
    assert_eq!((&ended["value"], &ended["error"]), (&json!({"total": 41}), &Value::Null));
    assert_eq!(ended["results"], json!([{"type": "text/plain", "data": "x"}]));
    let sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    assert_eq!(
        ended["artifacts"],
        json!([{"name": "summary.json", "size_bytes": 3, "sha256": sha256}])
    );
    assert_eq!(
        (&ended["logs"][0]["level"], &ended["logs"][0]["message"]),
        (&json!("info"), &json!("read 2000 rows"))
    );
    let mut usage: Vec<&str> =
        ended["usage"].as_object().unwrap().keys().map(String::as_str).collect();
    usage.sort_unstable();
    assert_eq!(
        usage,
        [
            "cpu_system_ms",
            "cpu_user_ms",
            "output_bytes",
            "peak_memory_bytes",
            "prepare_ms",
            "processes",
            "wall_ms"
        ]
    );
    assert!(
        ended["sandbox"]["runtime"].as_str().is_some_and(|name| name.starts_with("node@")),
        "{ended:#}"
    );
    assert_eq!(
        (&ended["sandbox"]["start"], &ended["sandbox"]["environment"]),
        (&json!("exec"), &Value::Null)
    );

    let failed = outcome("javascript", "throw new Error('a', { cause: new TypeError('b') })", &[]);
    assert_eq!((&failed["status"], &failed["value"]), (&json!("failed"), &Value::Null));
    assert_eq!(
        (&failed["error"]["name"], &failed["error"]["message"]),
        (&json!("Error"), &json!("a"))
    );
    assert_eq!(
        (&failed["error"]["cause"]["name"], &failed["error"]["cause"]["message"]),
        (&json!("TypeError"), &json!("b"))
    );
}

#[test]
fn the_members_of_an_aggregate_error_are_shown() {
    let code = "throw new AggregateError([new TypeError('a'), new RangeError('b')], 'both')";
    let failed = outcome("javascript", code, &[]);
    assert_eq!(failed["error"]["errors"].as_array().unwrap().len(), 2);
    assert_eq!(
        (&failed["error"]["errors"][1]["name"], &failed["error"]["errors"][1]["message"]),
        (&json!("RangeError"), &json!("b"))
    );
    said(&mut run(["-l", "js", "-e", code]))
        .fails(1, &["AggregateError: both", "TypeError: a", "RangeError: b"]);
}

#[test]
fn a_cause_is_shown_on_the_terminal_too() {
    said(&mut run(["-l", "js", "-e", "throw new Error('a', { cause: new TypeError('b') })"]))
        .fails(1, &["Error: a", "caused by TypeError: b"]);
}

#[test]
fn a_reader_that_leaves_ends_the_run_without_an_error() {
    for start in STARTS {
        let code = "for (;;) console.log('x'.repeat(1000))";
        let mut child = run(["-l", "js", "-e", code, "--output-limit", "1G", "--start", start])
            .spawn()
            .unwrap();
        let mut first = [0];
        child.stdout.take().unwrap().read_exact(&mut first).unwrap();
        let pid = child.id();
        let output = child.wait_with_output().unwrap();
        assert_eq!(
            (output.status.code(), String::from_utf8_lossy(&output.stderr).as_ref()),
            (Some(141), "")
        );
        assert!(control_groups::of_belljar(pid).is_empty());
    }
}

#[test]
fn a_full_disk_behind_standard_output_is_reported() {
    let full = std::fs::File::options().write(true).open("/dev/full").unwrap();
    said(run(["-l", "js", "-e", "[1, 2]"]).stdout(Stdio::from(full)))
        .fails(70, &["cannot write the result", "No space left"]);
}

#[test]
fn displayed_text_is_printed_where_the_program_displays_it() {
    for (language, code) in [
        ("js", "console.log('a'); belljar.display('b'); console.log('c'); 'd'"),
        ("py", "print('a'); belljar.display('b'); print('c'); 'd'"),
    ] {
        let ran = said(&mut run(["-l", language, "-e", code]));
        let mut lines: Vec<&str> = ran.stdout.lines().collect();
        assert_eq!(lines.pop(), Some("\"d\""), "{ran:?}");
        lines.sort_unstable();
        assert_eq!((lines, ran.stderr.as_str()), (vec!["a", "b", "c"], ""), "{ran:?}");
    }
}

#[test]
fn displayed_images_are_named_and_can_be_saved() {
    let code = "const png = Buffer.from('iVBORw0KGgo=', 'base64'); belljar.display(png); \
                require('fs').writeFileSync('outputs/display-1.png', 'an artifact'); \
                belljar.display('<b>1</b>', {type: 'text/html'}); belljar.display(png); undefined";
    let named = said(&mut run(["-l", "js", "-e", code]));
    let note = "belljar: displayed image/png (8 B), text/html (8 B), image/png (8 B), which \
                --artifacts FOLDER saves\n";
    assert!(named.stderr.contains(note), "{named:?}");
    let folder = tempfile::tempdir().unwrap();
    let saved = said(run(["-l", "js", "-e", code, "--artifacts"]).arg(folder.path()));
    let content = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    assert_eq!(content("display-1.png"), b"an artifact");
    assert_eq!(content("display-3.html"), b"<b>1</b>".as_slice(), "{saved:?}");
    for name in ["display-2.png", "display-4.png"] {
        assert_eq!(content(name), b"\x89PNG\r\n\x1a\n", "{name}");
    }
    assert!(!saved.stderr.contains("displayed image"), "{saved:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 4);
}

#[test]
fn a_value_is_indented_on_a_terminal_and_compact_in_a_pipe() {
    let code = "({b: [1, 2], a: 'x'.repeat(80)})";
    let compact = format!("{{\"b\":[1,2],\"a\":\"{}\"}}\n", "x".repeat(80));
    said(&mut run(["-l", "js", "-e", code])).prints(&compact);
    let belljar = format!("{} run -l js -e \"{code}\"", belljar_test_support::binary());
    let degraded = if belljar_test_support::is_root() { "" } else { " --allow-degraded" };
    let mut terminal = std::process::Command::new("script");
    terminal.args(["-qec", &format!("{belljar}{degraded}"), "/dev/null"]).stdin(Stdio::null());
    if let Ok(output) = terminal.output() {
        let shown = String::from_utf8_lossy(&output.stdout).replace('\r', "");
        let expected = format!("{{\n  \"b\": [1, 2],\n  \"a\": \"{}\"\n}}\n", "x".repeat(80));
        assert_eq!(shown, expected);
    }
}

#[test]
fn a_run_can_be_quiet_or_verbose() {
    let code = "require('fs').writeFileSync('outputs/a', ''); console.log('said'); 1";
    let quiet = said(&mut run(["-l", "js", "-e", code, "--quiet"]));
    assert_eq!((quiet.stdout.as_str(), quiet.stderr.as_str()), ("said\n1\n", ""), "{quiet:?}");
    said(&mut run(["-q", "-l", "js", "-e", "throw new Error('why')"])).fails(1, &["Error: why"]);
    let verbose = said(&mut run(["-l", "js", "-e", code, "-v"]));
    for words in ["belljar: run_", "succeeded in", "node@", "by exec", "of CPU time", "of memory"] {
        assert!(verbose.stderr.contains(words), "no `{words}` in {verbose:?}");
    }
    assert_eq!(verbose.stdout, "said\n1\n");
    said(&mut run(["-l", "js", "-e", code, "-q", "-v"])).fails(2, &["cannot be used with"]);
}

#[test]
fn no_colour_reaches_a_pipe() {
    let output = run(["-l", "js", "-e", "require('fs').readFileSync('/x')"])
        .env_remove("NO_COLOR")
        .output()
        .unwrap();
    assert!(!output.stderr.is_empty() && !output.stderr.contains(&0x1b));
}

#[test]
fn artifacts_are_reported_and_can_be_saved() {
    let folder = tempfile::tempdir().unwrap();
    let code = "require('fs').writeFileSync('outputs/a.txt', 'new'); undefined";
    let ran = said(&mut run(["-l", "js", "-e", code]));
    assert!(
        ran.stderr.contains("artifact: a.txt (3 B)") && ran.stderr.contains("--artifacts"),
        "{ran:?}"
    );
    let into = folder.path().join("made/here");
    std::fs::create_dir_all(&into).unwrap();
    std::fs::write(into.join("a.txt"), "old and longer").unwrap();
    let kept =
        said(run(["-l", "js", "-e", code, "--output", "none.txt", "--artifacts"]).arg(&into));
    assert!(
        kept.stderr.contains("saved") && kept.stderr.contains("no file `none.txt`"),
        "{kept:?}"
    );
    assert_eq!(std::fs::read_to_string(into.join("a.txt")).unwrap(), "new");
    assert_eq!(std::fs::read_dir(&into).unwrap().count(), 1);
}
