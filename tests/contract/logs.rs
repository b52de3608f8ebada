//! Logs: what is kept of long ones.

use belljar_test_support::{STARTS, outcome, run, said};
use serde_json::{Value, json};

use crate::case::{case, check_all};

/// The logs of a program, with the number of entries that are said to be left out.
fn logs(language: &str, code: &str, start: &str) -> (Vec<String>, Option<u64>) {
    let outcome = outcome(language, code, &["--start", start, "--output-limit", "20M"]);
    assert_eq!(outcome["status"], "succeeded", "{}", outcome["error"]);
    let mut messages: Vec<String> = outcome["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| entry["message"].as_str().unwrap().to_owned())
        .collect();
    let gap =
        messages.iter().position(|message| message.contains("log entries were left out here"));
    let left_out = gap.map(|at| messages.remove(at).split(' ').next().unwrap().parse().unwrap());
    (messages, left_out)
}

#[test]
fn a_long_log_keeps_its_beginning_and_its_end() {
    for start in STARTS {
        for (language, code, written) in [
            (
                "javascript",
                "for (let i = 0; i < 10500; i++) console.log(i); console.log('TOTAL 42');",
                10_501,
            ),
            (
                "javascript",
                "for (let i = 0; i < 30000; i++) process.stdout.write(i + '\\n'); process.stdout.write('TOTAL 42')",
                30_001,
            ),
            (
                "javascript",
                "for (let i = 0; i < 20000; i++) console.info(i); console.error('TOTAL 42')",
                20_001,
            ),
            ("python", "for i in range(10_500): print(i)\nprint('TOTAL 42')", 10_501),
            (
                "python",
                "import sys\nfor i in range(12_000): print(i)\nsys.stdout.write('TOTAL 42')",
                12_001,
            ),
            (
                "python",
                "import logging\nfor i in range(11_000): print(i)\nlogging.warning('TOTAL 42')",
                11_001,
            ),
        ] {
            let (messages, left_out) = logs(language, code, start);
            let last = messages.last().unwrap();
            assert!(last.ends_with("TOTAL 42"), "{language}, {start}: {last}");
            assert_eq!((messages[0].as_str(), messages[7_999].as_str()), ("0", "7999"));
            assert_eq!(
                (messages.len(), left_out),
                (10_000, Some(written - 10_000)),
                "{language}, {start}: {code}"
            );
        }
        let (messages, left_out) =
            logs("javascript", "for (let i = 0; i < 10000; i++) console.log(i)", start);
        assert_eq!((messages.len(), left_out), (10_000, None));
    }
}

#[test]
fn events_say_what_the_outcome_says() {
    let code = "for (let i = 0; i < 12000; i++) console.log(i); console.log('TOTAL 42');";
    let said = said(&mut run(["-l", "javascript", "-e", code, "--events"]));
    let events: Vec<Value> =
        said.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let streamed: Vec<(&Value, &Value)> = events
        .iter()
        .filter(|event| event["type"] == "log")
        .map(|event| (&event["timestamp"], &event["message"]))
        .collect();
    let outcome = &events.last().unwrap()["outcome"];
    let kept: Vec<(&Value, &Value)> = outcome["logs"]
        .as_array()
        .unwrap()
        .iter()
        .map(|entry| (&entry["timestamp"], &entry["message"]))
        .collect();
    assert_eq!(streamed, kept);
    assert_eq!(streamed.last().unwrap().1, "TOTAL 42");
    assert!(
        streamed.windows(2).all(|pair| pair[0].0.as_str() <= pair[1].0.as_str()),
        "in the order of time"
    );
}

#[test]
fn a_short_log_is_whole() {
    check_all(
        "javascript",
        &[case("two lines", "console.log('a'); console.log('b')")
            .logs(&[("info", "a"), ("info", "b")])],
    );
    check_all(
        "python",
        &[case("two lines", "print('a'); print('b')\n7")
            .gives(json!(7))
            .logs(&[("info", "a"), ("info", "b")])],
    );
}
