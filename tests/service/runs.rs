//! Runs: the three answers, finding them, ending them, running them again.

use belljar_test_support::{Server, eventually};
use serde_json::{Value, json};

use crate::SHARED;

#[test]
fn a_run_that_is_waited_for_is_answered_with_its_outcome() {
    for (language, code) in [
        ("javascript", "console.log('hi'); 6 * 7"),
        ("typescript", "const n: number = 42; console.log('hi'); n"),
        ("python", "print('hi')\n6 * 7"),
    ] {
        let outcome = SHARED.run(language, code);
        assert_eq!(
            (&outcome["status"], &outcome["value"]),
            (&json!("succeeded"), &json!(42)),
            "{outcome}"
        );
        assert_eq!(outcome["logs"][0]["message"], "hi");
        let record = SHARED.get(&format!("/v1/runs/{}", outcome["id"].as_str().unwrap())).is(200);
        assert_eq!(
            (&record["status"], &record["outcome"], &record["language"]),
            (&json!("succeeded"), &outcome, &json!(language))
        );
    }
}

#[test]
fn short_names_of_languages_are_accepted_and_the_full_ones_stored() {
    let label = "short-names";
    for (short, full) in [("js", "javascript"), ("ts", "typescript"), ("py", "python")] {
        let body = json!({"language": short, "code": "1", "wait": true, "labels": {"of": label}});
        let outcome = SHARED.post("/v1/runs", body).is(200);
        assert_eq!(outcome["status"], "succeeded", "{outcome}");
        let id = &outcome["id"];
        let record = SHARED.get(&format!("/v1/runs/{}", id.as_str().unwrap())).is(200);
        assert_eq!(record["language"], full);
        for name in [short, full] {
            let path = format!("/v1/runs?label=of:{label}&language={name}");
            let found = SHARED.get(&path).is(200);
            assert_eq!(found["runs"].as_array().unwrap().len(), 1, "{found}");
            assert_eq!(found["runs"][0]["id"], *id);
            let all = SHARED.get(&format!("/v1/runs?language={name}")).is(200);
            let is_full = |run: &Value| run["language"] == full;
            assert!(all["runs"].as_array().unwrap().iter().all(is_full), "{all}");
            assert!(all["runs"].as_array().unwrap().iter().any(|run| run["id"] == *id), "{all}");
        }
    }
    SHARED.get("/v1/runs?language=cobol").is_problem(
        422,
        "invalid-request",
        "expected javascript (js), typescript (ts) or python (py)",
    );
    SHARED.post("/v1/runs", json!({"language": "cobol", "code": "1"})).is_problem(
        422,
        "invalid-request",
        "expected javascript (js), typescript (ts) or python (py)",
    );
}

#[test]
fn a_run_without_wait_is_answered_at_once_and_found_later() {
    let answer = SHARED
        .post("/v1/runs", json!({"language": "python", "code": "import time\ntime.sleep(0.2)\n7"}));
    let record = answer.is(202);
    let id = record["id"].as_str().unwrap();
    assert_eq!(answer.header("location"), Some(&*format!("/v1/runs/{id}")));
    assert!(record["finished_at"].is_null());
    assert_eq!(SHARED.until_over(id)["outcome"]["value"], 7);
}

#[test]
fn a_hint_is_about_the_fields_of_a_request() {
    let body = |code: &str, limits: Value| {
        let body = json!({"language": "python", "code": code, "limits": limits, "wait": true});
        SHARED.post("/v1/runs", body).is(200)["error"].take()
    };
    let error = body("import time\ntime.sleep(60)", json!({"timeout_ms": 300}));
    assert_eq!(
        (&error["message"], &error["hint"], error.get("stack")),
        (
            &json!("the program ran longer than 300 ms (set by limits.timeout_ms)"),
            &json!("try limits.timeout_ms: 600 (600 ms)"),
            None
        )
    );
    let error = body("x = bytearray(300 << 20)", json!({}));
    assert_eq!(
        (&error["message"], &error["hint"]),
        (
            &json!("the program needed more than 256 MB of memory (the default)"),
            &json!("try limits.memory_bytes: 536870912 (512 MB)")
        )
    );
    let files = json!([{"path": "data.csv", "content": "x".repeat(2 << 20)}]);
    let limits = json!({"disk_bytes": 1 << 20});
    let body = json!({
        "language": "python", "code": "1", "files": files, "limits": limits, "wait": true
    });
    let outcome = SHARED.post("/v1/runs", body).is(200);
    assert_eq!(outcome["status"], "refused", "{outcome}");
    let error = &outcome["error"];
    assert_eq!(
        (&error["message"], &error["hint"]),
        (
            &json!("the files have 2.0 MB, but the disk limit is 1 MB (set by limits.disk_bytes)"),
            &json!("try limits.disk_bytes: 8388608 (8 MB)")
        )
    );
}

/// A program that leaves a timer open a second time, by each kind of end that a caller can ask for.
#[test]
fn what_is_pending_is_said_and_a_result_can_end_the_run() {
    for (language, code, kind) in [
        ("javascript", "setInterval(() => {}, 1000);\n7", "interval"),
        ("typescript", "const every: number = 1000; setInterval(() => {}, every);\n7", "interval"),
        (
            "python",
            "import threading, time\nthreading.Thread(target=time.sleep, args=(600,)).start()\n7",
            "thread",
        ),
    ] {
        let body = |finish: &str, timeout_ms: u64| json!({"language": language, "code": code, "finish": finish, "wait": true, "limits": {"timeout_ms": timeout_ms}});
        let settled = SHARED.post("/v1/runs", body("settled", 60_000)).is(200);
        assert_eq!(
            (&settled["status"], &settled["value"]),
            (&json!("succeeded"), &json!(7)),
            "{settled}"
        );
        let idle = SHARED.post("/v1/runs", body("idle", 3000)).is(200);
        assert_eq!((&idle["status"], &idle["value"]), (&json!("timed_out"), &json!(7)), "{idle}");
        let pending = &idle["pending"][0];
        assert_eq!((&pending["kind"], &pending["count"]), (&json!(kind), &json!(1)), "{idle}");
        assert!(idle["error"]["hint"].as_str().unwrap().contains("settled"), "{idle}");
    }
    let refused = SHARED
        .post("/v1/runs", json!({"language": "python", "code": "1", "finish": "at once"}))
        .is(422);
    assert!(refused["detail"].as_str().unwrap().contains("settled"), "{refused}");
}

#[test]
fn waiting_for_a_while_gives_the_record_when_it_takes_longer() {
    let answer =
        SHARED.post("/v1/runs", json!({"language": "javascript", "code": "await new Promise(r => setTimeout(r, 3000)); 1", "wait": 50}));
    let record = answer.is(202);
    assert!(record["finished_at"].is_null(), "{record}");
    assert_eq!(SHARED.until_over(record["id"].as_str().unwrap())["status"], "succeeded");
}

#[test]
fn parameters_files_limits_and_artifacts_go_in_and_come_out() {
    let code = "
import json, os
def main(parameters):
    os.makedirs('outputs/deep', exist_ok=True)
    with open('outputs/deep/a.txt', 'w') as f: f.write('made')
    return [parameters['city'], open('data.csv').read(), open('b.bin', 'rb').read()[0]]
";
    let outcome = SHARED
        .post(
            "/v1/runs",
            json!({"language": "python", "code": code, "parameters": {"city": "Oslo"}, "wait": true, "limits": {"timeout_ms": 20000},
            "files": [{"path": "data.csv", "content": "a,b"}, {"path": "b.bin", "content_base64": "/w=="}]}),
        )
        .is(200);
    assert_eq!(outcome["value"], json!(["Oslo", "a,b", 255]), "{outcome}");
    let id = outcome["id"].as_str().unwrap();
    let listed = SHARED.get(&format!("/v1/runs/{id}/artifacts")).is(200);
    assert_eq!(listed["artifacts"], outcome["artifacts"]);
    assert_eq!(listed["artifacts"][0]["name"], "deep/a.txt");
    let artifact = SHARED.get(&format!("/v1/runs/{id}/artifacts/deep/a.txt"));
    assert_eq!(
        (artifact.status, artifact.text().as_str(), artifact.header("content-disposition")),
        (200, "made", Some("attachment"))
    );
    SHARED.get(&format!("/v1/runs/{id}/artifacts/other")).is_problem(404, "not-found", "artifact");
    let over = SHARED
        .post("/v1/runs", json!({"language": "javascript", "code": "for (;;);", "wait": true, "limits": {"timeout_ms": 200}}))
        .is(200);
    assert_eq!(over["status"], "timed_out");
}

#[test]
fn a_program_among_files_is_the_one_that_is_named() {
    let body = json!({"language": "javascript", "entry": "b.mjs", "wait": true,
        "files": [{"path": "a.mjs", "content": "export const n = 41"}, {"path": "b.mjs", "content": "import { n } from './a.mjs'\nexport default () => n + 1"}]});
    assert_eq!(SHARED.post("/v1/runs", body).is(200)["value"], 42);
}

#[test]
fn runs_are_found_by_status_label_time_and_text() {
    let server = Server::start();
    let started = |code: &str, team: &str, comment: &str| {
        let body = json!({"language": "javascript", "code": code, "labels": {"team": team, "kind": "test"}, "comment": comment, "wait": true});
        server.post("/v1/runs", body).is(200)["id"].as_str().unwrap().to_owned()
    };
    let (first, second, third) = (
        started("1", "a", "nightly"),
        started("throw 1", "b", ""),
        started("'needle\\nin'", "a", ""),
    );
    let found = |query: &str| -> Vec<String> {
        let page = server.get(&format!("/v1/runs?{query}")).is(200);
        page["runs"]
            .as_array()
            .unwrap()
            .iter()
            .map(|run| run["id"].as_str().unwrap().to_owned())
            .collect()
    };
    assert_eq!(found(""), [third.clone(), second.clone(), first.clone()]);
    assert_eq!(found("status=failed"), [&*second]);
    assert_eq!(found("status=failed&status=succeeded").len(), 3);
    assert_eq!(found("label=team:a"), [third.clone(), first.clone()]);
    assert_eq!(found("label=team:a&label=kind:test&status=succeeded").len(), 2);
    assert_eq!(found("text=NIGHT"), [&*first]);
    assert_eq!(found("text=needle"), [&*third]);
    assert_eq!(found("until=2020-01-01T00:00:00Z").len(), 0);
    assert_eq!(found("since=2020-01-01T00:00:00Z").len(), 3);
    let page = server.get("/v1/runs?limit=2").is(200);
    let next = server
        .get(&format!("/v1/runs?limit=2&cursor={}", page["next_cursor"].as_str().unwrap()))
        .is(200);
    assert_eq!(
        (next["runs"][0]["id"].as_str(), &next["next_cursor"]),
        (Some(first.as_str()), &Value::Null)
    );
    for (query, words) in [
        ("status=done", "status"),
        ("label=x", "label"),
        ("limit=0", "limit"),
        ("cursor=x", "cursor"),
        ("what=1", "what"),
        ("since=now", "since"),
    ] {
        server.get(&format!("/v1/runs?{query}")).is_problem(422, "invalid-request", words);
    }
}

#[test]
fn a_cancelled_run_ends_at_once() {
    let id = SHARED
        .start_run(json!({"language": "javascript", "code": "console.log('armed'); for (;;);"}));
    SHARED.until(&id, |_| {
        SHARED.get(&format!("/v1/runs/{id}/logs")).is(200)["logs"][0]["message"] == "armed"
    });
    let record = SHARED.post(&format!("/v1/runs/{id}/cancel"), json!({})).is(200);
    assert_eq!(
        (&record["status"], &record["outcome"]["status"]),
        (&json!("cancelled"), &json!("cancelled")),
        "{record}"
    );
    // Once more does no harm.
    assert_eq!(
        SHARED.post(&format!("/v1/runs/{id}/cancel"), json!({})).is(200)["status"],
        "cancelled"
    );
}

#[test]
fn a_run_can_be_run_again_and_deleted() {
    let first = SHARED.run("python", "import sys\nlen(sys.argv)");
    let id = first["id"].as_str().unwrap();
    let again = SHARED.post(&format!("/v1/runs/{id}/rerun"), json!({})).is(202);
    assert_eq!(again["rerun_of"], id);
    let again = again["id"].as_str().unwrap();
    assert_eq!(SHARED.until_over(again)["outcome"]["value"], first["value"]);
    SHARED.ask("DELETE", &format!("/v1/runs/{id}")).send().is(204);
    SHARED.get(&format!("/v1/runs/{id}")).is_problem(404, "not-found", id);
    assert_eq!(SHARED.get(&format!("/v1/runs/{again}")).status, 200);
}

#[test]
fn a_run_in_progress_is_not_deleted() {
    let id =
        SHARED.start_run(json!({"language": "javascript", "code": "setTimeout(() => {}, 20000)"}));
    SHARED.ask("DELETE", &format!("/v1/runs/{id}")).send().is_problem(
        409,
        "conflict",
        "cancel it first",
    );
    SHARED.post(&format!("/v1/runs/{id}/cancel"), json!({})).is(200);
}

#[test]
fn the_same_key_gets_the_first_run() {
    let body = json!({"language": "javascript", "code": "Math.random()", "wait": true});
    let send = |body: &Value| {
        SHARED
            .ask("POST", "/v1/runs")
            .header("Idempotency-Key", "order-7")
            .json(body.clone())
            .send()
    };
    let (first, second) = (send(&body), send(&body));
    assert_eq!(first.is(200), second.is(200));
    assert_eq!(
        (first.header("idempotency-replayed"), second.header("idempotency-replayed")),
        (None, Some("true"))
    );
    send(&json!({"language": "javascript", "code": "2", "wait": true}))
        .is_problem(409, "conflict", "order-7");
}

#[test]
fn the_same_key_at_the_same_moment_runs_once() {
    let body = json!({"language": "python", "code": "import uuid\nstr(uuid.uuid4())", "wait": true, "idempotency_key": "at-once"});
    let values: Vec<_> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8)
            .map(|_| scope.spawn(|| SHARED.post("/v1/runs", body.clone()).is(200)["value"].clone()))
            .collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(values.iter().all(|value| *value == values[0]), "{values:?}");
}

#[test]
fn a_run_is_retried_after_the_ends_that_are_named() {
    let code = "import ctypes\nctypes.string_at(0)";
    let body = json!({"language": "python", "code": code, "retry": {"attempts": 3, "backoff_ms": 10}, "wait": true});
    let outcome = SHARED.post("/v1/runs", body).is(200);
    assert_eq!(outcome["status"], "crashed");
    let record = SHARED.get(&format!("/v1/runs/{}", outcome["id"].as_str().unwrap())).is(200);
    assert_eq!((&record["attempt"], &record["attempts"]), (&json!(3), &json!(3)));
    let failed =
        SHARED.post("/v1/runs", json!({"language": "javascript", "code": "throw 1", "retry": {"attempts": 3}, "wait": true})).is(200);
    assert_eq!(
        SHARED.get(&format!("/v1/runs/{}", failed["id"].as_str().unwrap())).is(200)["attempt"],
        1
    );
}

#[test]
fn a_project_that_fills_the_queue_leaves_room_for_others() {
    let server =
        Server::start_with("[runs]\nconcurrent = 1\nqueue = 6\nsubmissions_bytes = 6000000\n");
    let other = server.project("other", json!({}));
    let long =
        server.start_run(json!({"language": "javascript", "code": "setTimeout(() => {}, 60000)"}));
    let start = || server.post("/v1/runs", json!({"language": "javascript", "code": "1"}));
    let waiting: Vec<u16> = (0..4).map(|_| start().status).collect();
    assert_eq!(waiting, [202, 202, 202, 429]);
    let refused = start();
    refused.is_problem(429, "busy", "this project's share of the run queue");
    assert_eq!(refused.header("retry-after"), Some("1"));
    let of_other = |bytes: usize| {
        let body = json!({"language": "javascript", "code": "1", "comment": "x", "stdin": "x".repeat(bytes)});
        server.ask("POST", "/v1/runs").token(&other).json(body).send()
    };
    of_other(0).is(202);
    server.post(&format!("/v1/runs/{long}/cancel"), json!({})).is(200);
    eventually("nothing waits", || {
        server.get("/v1/runs?status=queued&status=running").is(200)["runs"]
            .as_array()
            .unwrap()
            .is_empty()
    });

    // The same with what they hold in memory: one that holds more than is left gets no more, and
    // one that holds nothing does.
    let hold = |bytes: usize| {
        let code = "setTimeout(() => {}, 60000)";
        server
            .post(
                "/v1/runs",
                json!({"language": "javascript", "code": code, "stdin": "x".repeat(bytes)}),
            )
            .status
    };
    assert_eq!((hold(2_500_000), hold(2_500_000)), (202, 429));
    of_other(2_500_000).is(202);
    of_other(2_500_000).is_problem(429, "busy", "share");
}

#[test]
fn a_text_search_ends_in_time_and_delays_no_other_request() {
    let server = Server::start_with("[runs]\nsearch_ms = 1\n");
    let body = json!({"language": "javascript", "code": "1", "stdin": "x".repeat(2_000_000)});
    for _ in 0..20 {
        server.post("/v1/runs", body.clone()).is(202);
    }
    let refused = server.get("/v1/runs?text=needle");
    refused.is_problem(503, "search-too-long", "1 ms");
    assert!(refused.json()["hint"].as_str().unwrap().contains("`since`"), "{}", refused.text());
    // What is found by an index is found, and the next search has its turn.
    assert_eq!(server.get("/v1/runs?limit=20").is(200)["runs"].as_array().unwrap().len(), 20);
    server.get("/v1/runs?text=needle").is_problem(503, "search-too-long", "1 ms");
}

#[test]
fn the_queue_is_bounded_and_interactive_runs_go_before_scheduled_ones() {
    let server = Server::start_with("[runs]\nconcurrent = 1\nqueue = 4\n");
    let long =
        server.start_run(json!({"language": "javascript", "code": "setTimeout(() => {}, 60000)"}));
    let scheduled =
        server.start_run(json!({"language": "javascript", "code": "1", "priority": "scheduled"}));
    let interactive = server.start_run(json!({"language": "javascript", "code": "1"}));
    let refused = server.post("/v1/runs", json!({"language": "javascript", "code": "1"}));
    refused.is_problem(429, "busy", "run queue");
    assert_eq!(refused.header("retry-after"), Some("1"));
    assert_eq!(server.get(&format!("/v1/runs/{scheduled}")).is(200)["status"], "queued");
    server.post(&format!("/v1/runs/{long}/cancel"), json!({})).is(200);
    let (first, second) = (server.until_over(&interactive), server.until_over(&scheduled));
    assert!(first["started_at"].as_str() <= second["started_at"].as_str(), "{first} {second}");
    // One that waits can be cancelled as well.
    let long =
        server.start_run(json!({"language": "javascript", "code": "setTimeout(() => {}, 60000)"}));
    let waiting = server.start_run(json!({"language": "javascript", "code": "1"}));
    assert_eq!(
        server.post(&format!("/v1/runs/{waiting}/cancel"), json!({})).is(200)["status"],
        "cancelled"
    );
    server.post(&format!("/v1/runs/{long}/cancel"), json!({})).is(200);
}
