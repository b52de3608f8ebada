//! The audit trail: complete, chained, and seen to be broken where it is.

use belljar_test_support::Server;
use serde_json::{Value, json};

#[test]
fn everything_is_written_down_and_exported() {
    let server = Server::start();
    let outcome = server.run("javascript", "require('fs').readFileSync('/etc/shadow')");
    server.ask("PUT", "/v1/objects/x").body("1").send().is(200);
    server.ask("DELETE", "/v1/objects/x").send().is(204);
    server.ask("GET", "/v1/runs").no_token().send().is(401);
    server
        .post("/v1/runs", json!({"language": "javascript", "code": "1", "policy": {"exec": true}}))
        .is(403);
    let lines: Vec<Value> = server
        .ask("GET", "/v1/audit")
        .header("Accept", "application/x-ndjson")
        .lines()
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let actions: Vec<_> = lines.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    for action in [
        "project.create",
        "token.create",
        "run.submit",
        "run.finish",
        "object.put",
        "object.delete",
        "request.refuse",
    ] {
        assert!(actions.contains(&action), "no {action} in {actions:?}");
    }
    let finish = lines.iter().find(|entry| entry["action"] == "run.finish").unwrap();
    assert_eq!(
        (&finish["target"], &finish["details"]["status"]),
        (&outcome["id"], &json!("failed"))
    );
    assert_eq!(finish["details"]["code_sha256"].as_str().unwrap().len(), 64);
    assert!(lines.iter().all(|entry| entry["source"] == "127.0.0.1"
        || entry["source"] == "socket"
        || entry["source"].is_null()));
    let anonymous = server.operate("GET", "/v1/audit?all=true&actor=anonymous", None).is(200);
    assert_eq!(anonymous["entries"][0]["action"], "request.refuse", "{anonymous}");
    assert_eq!(server.operate("GET", "/v1/audit/verification", None).is(200)["verdict"], "intact");
}

#[test]
fn the_trail_is_paged_in_both_orders_and_actors_are_found_by_name() {
    let server = Server::start();
    let (a, b) = (server.project("team-a", json!({})), server.project("team-b", json!({})));
    let named = json!({"name": "only-in-a", "scopes": ["run", "read", "admin"]});
    let issued = server.ask("POST", "/v1/tokens").token(&a).json(named).send().is(201);
    let (token, id) = (issued["token"].as_str().unwrap(), &issued["record"]["id"]);
    let code = json!({"language": "javascript", "code": "1", "wait": true});
    server.ask("POST", "/v1/runs").token(token).json(code).send().is(200);
    let seqs = |path: &str| {
        let (mut seqs, mut cursor) = (Vec::new(), String::new());
        loop {
            let page = server.ask("GET", &format!("{path}{cursor}")).token(&a).send().is(200);
            for entry in page["entries"].as_array().unwrap() {
                seqs.push(entry["seq"].as_u64().unwrap());
            }
            match page["next_cursor"].as_str() {
                Some(next) => cursor = format!("&cursor={next}"),
                None => return seqs,
            }
        }
    };
    let oldest = seqs("/v1/audit?limit=2");
    let mut latest = seqs("/v1/audit?limit=2&order=latest");
    assert!(oldest.len() >= 4 && oldest.is_sorted(), "{oldest:?}");
    latest.reverse();
    assert_eq!(oldest, latest);

    for path in ["/v1/audit?actor=only-in-a", "/v1/audit?order=latest&actor=only-in-a"] {
        let entries = server.ask("GET", path).token(&a).send().is(200);
        assert_eq!(entries["entries"].as_array().unwrap().len(), 2, "{entries}");
        assert_eq!(
            (&entries["entries"][0]["actor"], &entries["entries"][0]["actor_name"]),
            (id, &json!("only-in-a"))
        );
    }
    let runs = server.ask("GET", "/v1/runs?by=only-in-a&status=succeeded").token(&a).send().is(200);
    assert_eq!(runs["runs"][0]["token_name"], "only-in-a", "{runs}");
    assert_eq!(runs["runs"][0]["first_line"], "1", "{runs}");
    // Names of one project are unknown in another, and are not suggested there.
    for path in ["/v1/audit?actor=only-in-a", "/v1/runs?by=only-in-a", "/v1/runs?by=only-in"] {
        let refused = server.ask("GET", path).token(&b).send().is(422);
        assert!(!refused["hint"].to_string().contains("only-in-a"), "{refused}");
    }
    server.ask("GET", "/v1/audit?order=newest").token(&a).send().is_problem(
        422,
        "invalid-request",
        "expected oldest or latest",
    );
    server.ask("GET", "/v1/usage?by=day").token(&a).send().is_problem(
        422,
        "invalid-request",
        "expected project or token",
    );
    assert_eq!(server.operate("GET", "/v1/audit/verification", None).is(200)["verdict"], "intact");
}

#[test]
fn refusals_without_end_do_not_fill_the_trail_and_are_counted() {
    let mut server = Server::start();
    for _ in 0..200 {
        server.ask("GET", "/v1/runs").no_token().send().is(401);
    }
    assert!(server.stop().success());
    let server = Server::start_in(&server.home, &[]);
    let page =
        server.operate("GET", "/v1/audit?all=true&action=request.refuse&limit=1000", None).is(200);
    let entries = page["entries"].as_array().unwrap();
    let (anonymous, reported): (Vec<_>, Vec<_>) =
        entries.iter().partition(|entry| entry["actor"] == "anonymous");
    assert!((60..180).contains(&anonymous.len()), "{}", anonymous.len());
    assert_eq!(reported.len(), 1, "{reported:?}");
    assert_eq!(
        (&reported[0]["actor"], &reported[0]["target"]),
        (&json!("belljar"), &json!("others"))
    );
    assert_eq!(reported[0]["details"]["left_out"].as_u64().unwrap() + anonymous.len() as u64, 200);
}

#[test]
fn a_changed_a_missing_and_an_added_entry_are_seen() {
    for (number, tamper) in [
        "UPDATE audit SET actor = 'mallory' WHERE seq = 3",
        "DELETE FROM audit WHERE seq = 3",
        "UPDATE audit SET details = '{}' WHERE seq = 3",
        "INSERT INTO audit SELECT (SELECT MAX(seq) FROM audit) + 1, timestamp, project, actor, source, action, target, details, previous, hash FROM audit WHERE seq = 3",
    ]
    .iter()
    .enumerate()
    {
        let mut server = Server::start();
        server.run("javascript", "1");
        server.ask("PUT", "/v1/objects/x").body("1").send().is(200);
        server.stop();
        // Like an attacker who has the file: the triggers are dropped first.
        let script = format!("import sqlite3, sys\nd = sqlite3.connect(sys.argv[1])\nd.executescript('''DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; {tamper};''')");
        let done = std::process::Command::new("python3").arg("-c").arg(script).arg(server.home.join("belljar.db")).status().unwrap();
        assert!(done.success());
        let server = Server::start_in(&server.home, &[]);
        let verdict = server.operate("GET", "/v1/audit/verification", None).is(200);
        assert_eq!(verdict["verdict"], "broken", "{number}: {verdict}");
    }
}
