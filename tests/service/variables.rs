//! The variables that callers pass in `env`: the program has them, and nothing else does.

use std::fmt::Write as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use belljar_test_support::{Server, files_in};
use serde_json::{Value, json};

use crate::crash::{look_up, reopen};
use crate::{ONE_AT_A_TIME, SHARED};

/// A value that occurs nowhere else.
const CANARY: &str = "zq7-canary-9Kx2vT4mLw8";
const KEPT: &str = "SELECT COUNT(*) FROM run_variables";

/// Programs that prove that they have the canary, without writing it.
const REVERSED: [(&str, &str); 2] = [
    ("javascript", "[...process.env.API_KEY].reverse().join('')"),
    ("python", "import os\nos.environ['API_KEY'][::-1]"),
];

fn reversed() -> String {
    CANARY.chars().rev().collect()
}

/// The forms in which text is usually stored: as it is, in hexadecimal, and in base64 after 0, 1 or
/// 2 other bytes, without the characters that depend on its surroundings.
fn forms() -> Vec<String> {
    let mut forms = vec![CANARY.to_owned(), hex(CANARY)];
    for before in ["", "x", "xx"] {
        let encoded = BASE64.encode(format!("{before}{CANARY}"));
        forms.push(encoded[4..encoded.len() - 4].to_owned());
    }
    forms
}

fn hex(text: &str) -> String {
    text.bytes().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").expect("a String takes everything");
        hex
    })
}

#[track_caller]
fn assert_without_canary(place: &str, content: &[u8]) {
    for form in forms() {
        let is_in = content.windows(form.len()).any(|part| part == form.as_bytes());
        assert!(!is_in, "`{form}` is in {place}");
    }
}

/// Searches all files in a home, and every answer about a run.
#[track_caller]
fn assert_nowhere(server: &Server, id: &str) {
    let files = files_in(&server.home);
    assert!(files.iter().any(|file| file.ends_with("belljar.db")), "{files:?}");
    for file in &files {
        // The socket is not a file with content.
        if let Ok(content) = std::fs::read(file) {
            assert_without_canary(&file.display().to_string(), &content);
        }
    }
    for path in [
        format!("/v1/runs/{id}"),
        format!("/v1/runs/{id}/code"),
        format!("/v1/runs/{id}/logs"),
        "/v1/runs".to_owned(),
        "/v1/audit".to_owned(),
        "/metrics".to_owned(),
    ] {
        let answer = server.get(&path);
        assert_eq!(answer.status, 200, "{path}");
        assert_without_canary(&path, answer.text().as_bytes());
    }
    let found = server.get(&format!("/v1/runs?text={CANARY}")).is(200);
    assert_eq!(found["runs"], json!([]));
}

fn with_key(language: &str, code: &str, value: &str) -> Value {
    json!({"language": language, "code": code, "env": {"API_KEY": value}, "wait": true})
}

#[test]
fn variables_are_with_the_pending_run_only_and_encrypted() {
    let server = Server::start_with("[runs]\nconcurrent = 1\n");
    let blocks = server.start_run(
        json!({"language": "javascript", "code": "setTimeout(() => {}, 60000); console.log('up')"}),
    );
    server.until_status(&blocks, "running");
    let mut waiting = with_key(REVERSED[1].0, REVERSED[1].1, CANARY);
    waiting["wait"] = json!(false);
    let id = server.start_run(waiting);
    assert_eq!(server.get(&format!("/v1/runs/{id}")).is(200)["status"], "queued");
    assert_eq!(look_up(&server.home, KEPT), 1, "a run that waits keeps its variables");
    assert_nowhere(&server, &id);

    server.post(&format!("/v1/runs/{blocks}/cancel"), json!({})).is(200);
    let record = server.until_over(&id);
    assert_eq!(record["outcome"]["value"], reversed(), "{record}");
    assert_eq!((&record["env"], &record["policy"]["env"]), (&json!(["API_KEY"]), &json!({})));
    assert_eq!(look_up(&server.home, KEPT), 0, "they are gone at the end");
    assert_nowhere(&server, &id);

    // A run that is waited for, in each language; one that is cancelled; and one that fails.
    for (language, code) in REVERSED {
        let outcome = server.post("/v1/runs", with_key(language, code, CANARY)).is(200);
        assert_eq!(outcome["value"], reversed(), "{outcome}");
        assert_nowhere(&server, outcome["id"].as_str().unwrap());
    }
    let mut endless = with_key("python", "while True: pass", CANARY);
    endless["wait"] = json!(false);
    let id = server.start_run(endless);
    server.until_status(&id, "running");
    server.post(&format!("/v1/runs/{id}/cancel"), json!({})).is(200);
    server.until_status(&id, "cancelled");
    let refused = with_key("python", "1", CANARY);
    let refused = server
        .post("/v1/runs", merged(refused, json!({"files": [{"path": "main.py", "content": "2"}]})));
    refused.is_problem(422, "invalid-request", "main.py");
    assert_without_canary("a refusal", refused.text().as_bytes());
    assert_eq!(look_up(&server.home, KEPT), 0);
    assert_nowhere(&server, &id);
    let trail = server.get("/v1/audit?action=run.submit").is(200);
    let last = trail["entries"].as_array().unwrap().last().unwrap();
    assert_eq!(last["details"]["env"], json!(["API_KEY"]), "{trail}");
}

fn merged(mut body: Value, more: Value) -> Value {
    body.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    body
}

/// A server with a waiting run that has the canary, after it was killed.
fn killed_with_a_waiting_run() -> (Server, String) {
    let mut server = Server::start_with("[runs]\nconcurrent = 1\n");
    let blocks = server
        .start_run(json!({"language": "javascript", "code": "setTimeout(() => {}, 60000); 1"}));
    server.until_status(&blocks, "running");
    let (language, code) = REVERSED[0];
    let id = server.start_run(merged(with_key(language, code, CANARY), json!({"wait": false})));
    assert_eq!(server.get(&format!("/v1/runs/{id}")).is(200)["status"], "queued");
    server.kill();
    (server, id)
}

#[test]
fn a_run_that_waits_has_its_variables_after_the_server_was_killed() {
    let _one = ONE_AT_A_TIME.lock();
    let (killed, id) = killed_with_a_waiting_run();
    let server = reopen(&killed);
    let record = server.until_over(&id);
    assert_eq!(record["outcome"]["value"], reversed(), "{record}");
    assert_eq!(look_up(&server.home, KEPT), 0);
    assert_nowhere(&server, &id);
}

#[test]
fn variables_are_not_read_with_another_key() {
    let _one = ONE_AT_A_TIME.lock();
    let (killed, id) = killed_with_a_waiting_run();
    std::fs::remove_file(killed.home.join("keys/signing.key")).unwrap();
    let server = reopen(&killed);
    let record = server.until_over(&id);
    assert_eq!(record["status"], "interrupted", "{record}");
    let message = record["outcome"]["error"]["message"].as_str().unwrap();
    assert!(message.contains("cannot be decrypted"), "{message}");
    assert_eq!(look_up(&server.home, KEPT), 0);
}

#[test]
fn a_retried_run_has_its_variables_again() {
    let code = "await belljar.storage.upload('tries/' + Math.random(), process.env.API_KEY.slice(0, 3)); \
                (await belljar.storage.list('tries/')).length < 2 ? process.exit(9) : process.env.API_KEY.length";
    let id = SHARED.start_run(merged(
        with_key("javascript", code, CANARY),
        json!({"wait": false, "retry": {"attempts": 2, "on": ["failed", "crashed"], "backoff_ms": 10}}),
    ));
    let record = SHARED.until_over(&id);
    assert_eq!(
        (&record["outcome"]["value"], &record["attempt"]),
        (&json!(CANARY.len()), &json!(2)),
        "{record}"
    );
}

#[test]
fn a_rerun_asks_for_the_values_by_name() {
    let (language, code) = REVERSED[1];
    let first = SHARED.post(
        "/v1/runs",
        merged(with_key(language, code, "old"), json!({"env": {"API_KEY": "old", "B": "2"}})),
    );
    let path = format!("/v1/runs/{}/rerun", first.is(200)["id"].as_str().unwrap());
    SHARED.ask("POST", &path).send().is_problem(422, "invalid-request", "API_KEY, B");
    SHARED.post(&path, json!({})).is_problem(422, "invalid-request", "API_KEY, B");
    SHARED.post(&path, json!({"env": {"API_KEY": "1"}})).is_problem(
        422,
        "invalid-request",
        "for B,",
    );
    let more = json!({"env": {"API_KEY": "1", "B": "2", "C": "3"}});
    SHARED.post(&path, more).is_problem(422, "invalid-request", "no variable `C`");
    SHARED.post(&path, json!({"code": "1"})).is_problem(422, "invalid-request", "code");
    let again = SHARED.post(&path, json!({"env": {"API_KEY": "new", "B": "2"}})).is(202);
    let record = SHARED.until_over(again["id"].as_str().unwrap());
    assert_eq!(record["outcome"]["value"], "wen", "{record}");
    assert_eq!(record["env"], json!(["API_KEY", "B"]));
}

#[test]
fn a_project_can_restrict_the_names() {
    let run_as = |token: &str, env: Value| {
        let body = json!({"language": "javascript", "code": "process.env.APP_KEY ?? null", "env": env, "wait": true});
        SHARED.ask("POST", "/v1/runs").token(token).json(body).send()
    };
    let some = SHARED.project("some-names", json!({"env_names": ["CITY", "APP_*"]}));
    assert_eq!(run_as(&some, json!({"APP_KEY": "k", "CITY": "Oslo"})).is(200)["value"], "k");
    run_as(&some, json!({"APP_KEY": "k", "CITY2": "x"})).is_problem(403, "forbidden", "`CITY2`");
    let none = SHARED.project("no-names", json!({"env_names": []}));
    assert_eq!(run_as(&none, json!({})).is(200)["value"], Value::Null);
    run_as(&none, json!({"A": "1"})).is_problem(
        403,
        "forbidden",
        "allows no environment variables",
    );
}

#[test]
fn a_key_belongs_to_a_request_with_its_values() {
    let send = |value: &str| {
        let (language, code) = REVERSED[0];
        SHARED
            .ask("POST", "/v1/runs")
            .header("Idempotency-Key", "with-variables")
            .json(with_key(language, code, value))
            .send()
    };
    let first = send("one");
    assert_eq!(first.is(200)["value"], "eno");
    assert_eq!(send("one").is(200), first.is(200));
    send("two").is_problem(409, "conflict", "another request");
}

#[test]
fn invalid_variables_are_refused() {
    for (env, words) in [
        (json!({"A=B": "1"}), "`A=B` is not a valid name"),
        (json!({"": "1"}), "is not a valid name"),
        (json!({"A": "1\u{0}2"}), "the value of `A` contains a NUL byte"),
        (json!({"A": 1}), "env.A"),
        (json!(["A"]), "env"),
        (json!({"A": "x".repeat(300 << 10)}), "exceeds the limit of 262144"),
    ] {
        let body = json!({"language": "python", "code": "1", "env": env});
        SHARED.post("/v1/runs", body).is_problem(422, "invalid-request", words);
    }
    let both = json!({"language": "python", "code": "1", "env": {"A": "1"}, "policy": {"env": {"A": "1"}}});
    SHARED.post("/v1/runs", both).is_problem(422, "invalid-request", "also in policy.env");
    let policy = json!({"language": "python", "code": "1", "policy": {"env": {"A": "1"}}});
    SHARED.post("/v1/runs", policy).is_problem(
        403,
        "forbidden",
        "pass your own variables in `env`",
    );
}

/// The operator's own variables of a ceiling are still part of the policy.
#[test]
fn a_callers_variables_are_added_to_those_of_the_policy() {
    let token = SHARED.project("both-kinds", json!({"policy": {"env": {"OF_OPERATOR": "1"}}}));
    let body = json!({"language": "python", "code": "import os\n[os.environ.get(n) for n in ('OF_OPERATOR', 'MINE')]",
        "policy": {"env": {"OF_OPERATOR": "1"}}, "env": {"MINE": "2"}, "wait": true});
    let outcome = SHARED.ask("POST", "/v1/runs").token(&token).json(body).send().is(200);
    assert_eq!(outcome["value"], json!(["1", "2"]), "{outcome}");
}
