//! A result that was there is kept, and what is still open is named.

use belljar_test_support::outcome;
use serde_json::json;

use crate::case::{case, check_all};

/// A time limit that a program which waits for something runs into.
const SHORT: &[&str] = &["--timeout", "3s"];

#[test]
fn a_result_that_was_there_when_time_ran_out_is_kept_with_what_was_open() {
    check_all(
        "javascript",
        &[
            case("an interval", "exports.main = async () => ({ rows: 3 });\nsetInterval(() => {}, 1000);")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!({"rows": 3}))
                .pending(json!([{"kind": "interval", "count": 1, "at": "main.js:2:1"}])),
            case("a timer", "const t = setTimeout(() => {}, 60000);\n'done'")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!("done"))
                .pending(json!([{"kind": "timer", "count": 1, "at": "main.js:1:11"}])),
            case("both, after some output", "console.log('on'); console.error('off'); setInterval(() => {}, 900); setInterval(() => {}, 901);\nsetTimeout(() => {}, 60000);\nreturn 1")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!(1))
                .pending(json!([{"kind": "interval", "count": 2}, {"kind": "timer", "count": 1, "at": "main.js:2:1"}])),
            case("a server", "const http = require('http');\nhttp.createServer(() => {})\n  .listen(3000);\nreturn { port: 3000 }")
                .flags(SHORT)
                .flags(&["--loopback"])
                .ends("timed_out", 124)
                .keeps(json!({"port": 3000}))
                .pending(json!([{"kind": "server", "count": 1, "at": "main.js:3:4"}])),
            case("a channel", "const c = new BroadcastChannel('x');\nc.onmessage = () => {};\nreturn 2")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!(2))
                .pending(json!([{"kind": "worker", "count": 1, "at": "main.js:1:11"}])),
            case("a worker", "const { Worker } = require('worker_threads');\nnew Worker('setInterval(() => {}, 1000)', { eval: true });\nreturn 2")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!(2))
                .pending(json!([{"kind": "worker", "count": 1, "at": "main.js:2:1"}])),
            case("a watcher", "require('fs').watch('.', () => {});\nreturn 3")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!(3))
                .pending(json!([{"kind": "watcher", "count": 1, "at": "main.js:1:15"}])),
            case("what was filled in until shortly before", "const out = [];\nlet n = 0; setInterval(() => { if (n < 2) out.push(n++) }, 30);\nreturn out")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!([0, 1])),
            case("in a module", "export default { rows: 3 };\nsetInterval(() => {}, 1000);")
                .flags(&["--entry", "main.mjs"])
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!({"rows": 3})),
            case("a last expression without a form", "setInterval(() => {}, 1000)")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!(null))
                .notes(&["a Timeout, has no JSON form"]),
            case("an iterator, which is not used up", "setInterval(() => {}, 1000);\nreturn [1, 2].values()")
                .flags(SHORT)
                .ends("timed_out", 124)
                .keeps(json!([1, 2])),
            case("a program that ends in time says nothing of it", "setTimeout(() => {}, 300);\nreturn 5").gives(json!(5)).pending(json!(null)),
            case("no result is none", "setInterval(() => {}, 1000);\nnew Promise(() => {})").flags(SHORT).ends("timed_out", 124).pending(json!(null)),
        ],
    );
}

#[test]
fn the_time_limit_names_what_was_open_and_what_to_do() {
    let outcome = outcome("javascript", "setInterval(() => {}, 1000);\nreturn 3", SHORT);
    let message = outcome["error"]["message"].as_str().unwrap_or_default();
    assert!(message.contains("an interval (main.js:1:1) was still open"), "{message}");
    let hint = outcome["error"]["hint"].as_str().unwrap_or_default();
    assert!(hint.contains("--settled") && !hint.contains("raise limits.timeout_ms"), "{hint}");
}

#[test]
fn a_run_that_ends_with_its_result_waits_for_nothing() {
    check_all(
        "javascript",
        &[
            case("an interval", "exports.main = async () => ({ rows: 3 });\nsetInterval(() => {}, 1000);")
                .flags(&["--settled"])
                .gives(json!({"rows": 3})),
            case("listeners to its exit run", "process.on('exit', () => console.log('bye'));\nsetInterval(() => {}, 1000);\nreturn 1")
                .flags(&["--settled"])
                .gives(json!(1))
                .logs(&[("info", "bye")]),
        ],
    );
}
