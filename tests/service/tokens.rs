//! Tokens: what they allow, until when, and where they must never be.

use std::io::{Read, Write};

use belljar_test_support::http::parse_answer;
use belljar_test_support::{Server, eventually};
use serde_json::json;

fn token(server: &Server, scopes: &[&str]) -> (String, String) {
    let issued = server.post("/v1/tokens", json!({"name": "t", "scopes": scopes})).is(201);
    (
        issued["token"].as_str().unwrap().to_owned(),
        issued["record"]["id"].as_str().unwrap().to_owned(),
    )
}

#[test]
fn a_token_allows_its_scopes_and_nothing_else() {
    let server = Server::start();
    let (run, _) = token(&server, &["run"]);
    let (read, _) = token(&server, &["read"]);
    let (storage, _) = token(&server, &["storage"]);
    let (admin, _) = token(&server, &["admin"]);
    let program = json!({"language": "javascript", "code": "1", "wait": true});
    for (method, path, body, allowed) in [
        ("POST", "/v1/runs", Some(program), &run),
        ("GET", "/v1/runs", None, &read),
        ("GET", "/v1/objects", None, &read),
        ("GET", "/v1/usage", None, &read),
        ("PUT", "/v1/objects/x", Some(json!(1)), &storage),
        ("GET", "/v1/tokens", None, &admin),
        ("GET", "/v1/audit", None, &admin),
    ] {
        for token in [&run, &read, &storage, &admin] {
            let request = server.ask(method, path).token(token);
            let answer = match &body {
                Some(body) => request.json(body.clone()).send(),
                None => request.send(),
            };
            if token == allowed {
                assert_eq!(answer.status, 200, "{method} {path}: {}", answer.text());
            } else {
                answer.is_problem(403, "forbidden", "does not have the scope");
            }
        }
    }
    server
        .ask("POST", "/v1/tokens")
        .token(&admin)
        .json(json!({"name": "more", "scopes": ["run"]}))
        .send()
        .is_problem(403, "forbidden", "`run`");
}

#[test]
fn who_may_only_start_runs_reads_none_by_cancelling_them() {
    let server = Server::start();
    let (run, _) = token(&server, &["run"]);
    let (both, _) = token(&server, &["run", "read"]);
    let id = server.run("javascript", "console.log('private'); 'secret'")["id"]
        .as_str()
        .unwrap()
        .to_owned();
    let cancel = |token: &str| {
        server
            .ask("POST", &format!("/v1/runs/{id}/cancel"))
            .token(token)
            .json(json!({}))
            .send()
            .is(200)
    };
    assert_eq!(cancel(&run), json!({"id": id, "status": "succeeded"}));
    assert_eq!(cancel(&both)["outcome"]["value"], "secret");
}

#[test]
fn the_body_of_a_forbidden_request_is_not_read() {
    let server = Server::start();
    let (read, _) = token(&server, &["read"]);
    for what in [
        "POST /v1/runs",
        "POST /v1/tokens",
        "POST /v1/projects",
        "PUT /v1/projects/default/settings",
        "POST /v1/object-copies",
        "POST /v1/object-urls",
        "POST /v1/objects",
        "PUT /v1/objects/x",
    ] {
        for (credentials, status) in
            [(format!("Authorization: Bearer {read}\r\n"), 403), (String::new(), 401)]
        {
            let mut socket = server.connect();
            // The body never arrives, so a server that waits for it does not respond.
            let head = format!(
                "{what} HTTP/1.1\r\nHost: x\r\n{credentials}Content-Type: application/json\r\nContent-Length: 60000000\r\n\r\n{{"
            );
            socket.write_all(head.as_bytes()).unwrap();
            let mut bytes = vec![0; 4096];
            let length = socket.read(&mut bytes).unwrap_or_else(|error| panic!("{what}: {error}"));
            assert_eq!(parse_answer(&bytes[..length]).status, status, "{what}");
        }
    }
}

#[test]
fn wrong_revoked_and_expired_tokens_are_all_the_same() {
    let server = Server::start();
    let (revoked, id) = token(&server, &["read"]);
    assert_eq!(server.ask("GET", "/v1/runs").token(&revoked).send().status, 200);
    server.ask("DELETE", &format!("/v1/tokens/{id}")).send().is(204);
    let expired = server
        .post("/v1/tokens", json!({"name": "t", "scopes": ["read"], "expires_in_ms": 1}))
        .is(201)["token"]
        .as_str()
        .unwrap()
        .to_owned();
    eventually("it has expired", || {
        server.ask("GET", "/v1/runs").token(&expired).send().status == 401
    });
    let answers: Vec<_> = ["bjr_wrong", "", "nonsense", &revoked, &expired]
        .map(|token| server.ask("GET", "/v1/runs").token(token).send())
        .into();
    for answer in &answers {
        answer.is_problem(401, "unauthorized", "missing, unknown, expired or revoked");
        assert_eq!(answer.body, answers[0].body);
        assert_eq!(answer.header("www-authenticate"), Some("Bearer"));
    }
    server.ask("GET", "/v1/runs").no_token().send().is_problem(401, "unauthorized", "missing");
    let listed = server.get("/v1/tokens").is(200);
    assert!(
        listed["tokens"].as_array().unwrap().iter().any(|token| !token["revoked_at"].is_null())
    );
}

#[test]
fn what_a_token_makes_does_not_outlive_it() {
    let server = Server::start();
    let short = server
        .post(
            "/v1/tokens",
            json!({"name": "t", "scopes": ["admin", "read"], "expires_in_ms": 60_000}),
        )
        .is(201);
    let made = server
        .ask("POST", "/v1/tokens")
        .token(short["token"].as_str().unwrap())
        .json(json!({"name": "t", "scopes": ["read"]}))
        .send()
        .is(201);
    assert_eq!(made["record"]["expires_at"], short["record"]["expires_at"]);
    let (storage, _) = token(&server, &["storage"]);
    let signed = json!({"name": "x", "method": "GET", "expires_in_ms": 1000});
    server.ask("POST", "/v1/object-urls").token(&storage).json(signed).send().is_problem(
        403,
        "forbidden",
        "`read`",
    );
    let form = server
        .ask("POST", "/v1/objects")
        .token(short["token"].as_str().unwrap())
        .header("Content-Type", "multipart/form-data; boundary=b");
    form.body("--b").send().is_problem(403, "forbidden", "`storage`");
}

#[test]
fn a_token_is_shown_once_and_kept_nowhere() {
    let server = Server::start();
    let (secret, _) = token(&server, &["run", "read"]);
    server.ask("GET", "/v1/runs").token(&secret).send().is(200);
    for path in ["/v1/tokens", "/v1/audit", "/v1/usage", "/metrics", "/openapi.json"] {
        assert!(!server.get(path).text().contains(&secret), "{path}");
    }
    let body = &secret[4..];
    for entry in std::fs::read_dir(&server.home).unwrap().flatten() {
        if entry.path().is_file() {
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(
                !bytes.windows(body.len()).any(|window| window == body.as_bytes()),
                "{}",
                entry.path().display()
            );
        }
    }
    let command_line = std::fs::read(format!("/proc/{}/cmdline", server.pid())).unwrap();
    assert!(!String::from_utf8_lossy(&command_line).contains(body));
}

#[test]
fn too_many_wrong_tokens_are_slowed_down_and_delay_no_other_client() {
    let server = Server::start();
    let answers: Vec<u16> = (0..60)
        .map(|n| server.ask("GET", "/v1/runs").token(&format!("bjr_{n}")).send().status)
        .collect();
    assert_eq!(answers[0], 401);
    assert_eq!(answers[59], 429);
    assert_eq!(server.get("/v1/runs").status, 200);
}
