//! The audit trail: complete, chained, and seen to be broken where it is.

use serde_json::{Value, json};

use crate::server::Server;

#[test]
fn everything_is_written_down_and_exported() {
    let server = Server::start();
    let outcome = server.run("javascript", "require('fs').readFileSync('/etc/shadow')");
    server.ask("PUT", "/v1/objects/x").body("1").send().is(200);
    server.ask("DELETE", "/v1/objects/x").send().is(204);
    server.ask("GET", "/v1/runs").no_token().send().is(401);
    server.post("/v1/runs", json!({"language": "javascript", "code": "1", "policy": {"exec": true}})).is(403);
    let lines: Vec<Value> = server
        .ask("GET", "/v1/audit")
        .header("Accept", "application/x-ndjson")
        .lines()
        .map(|line| serde_json::from_str(&line).unwrap())
        .collect();
    let actions: Vec<_> = lines.iter().map(|entry| entry["action"].as_str().unwrap()).collect();
    for action in ["project.create", "token.create", "run.submit", "run.finish", "object.put", "object.delete", "request.refuse"] {
        assert!(actions.contains(&action), "no {action} in {actions:?}");
    }
    let finish = lines.iter().find(|entry| entry["action"] == "run.finish").unwrap();
    assert_eq!((&finish["target"], &finish["details"]["status"]), (&outcome["id"], &json!("failed")));
    assert_eq!(finish["details"]["code_sha256"].as_str().unwrap().len(), 64);
    assert!(lines.iter().all(|entry| entry["source"] == "127.0.0.1" || entry["source"] == "socket" || entry["source"].is_null()));
    let anonymous = server.operate("GET", "/v1/audit?all=true&actor=anonymous", None).is(200);
    assert_eq!(anonymous["entries"][0]["action"], "request.refuse", "{anonymous}");
    assert_eq!(server.operate("GET", "/v1/audit/verification", None).is(200)["verdict"], "intact");
}

#[test]
fn refusals_without_end_do_not_fill_the_trail_and_are_counted() {
    let mut server = Server::start();
    for _ in 0..200 {
        server.ask("GET", "/v1/runs").no_token().send().is(401);
    }
    assert!(server.stop().success());
    let server = Server::start_in(&server.home);
    let page = server.operate("GET", "/v1/audit?all=true&action=request.refuse&limit=1000", None).is(200);
    let entries = page["entries"].as_array().unwrap();
    let (anonymous, told): (Vec<_>, Vec<_>) = entries.iter().partition(|entry| entry["actor"] == "anonymous");
    assert!((60..180).contains(&anonymous.len()), "{}", anonymous.len());
    assert_eq!(told.len(), 1, "{told:?}");
    assert_eq!((&told[0]["actor"], &told[0]["target"]), (&json!("belljar"), &json!("others")));
    assert_eq!(told[0]["details"]["left_out"].as_u64().unwrap() + anonymous.len() as u64, 200);
}

#[test]
fn a_changed_a_missing_and_an_added_entry_are_seen() {
    for (number, tamper) in [
        "UPDATE audit SET actor = 'somebody' WHERE seq = 3",
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
        // As somebody would who has the file: the triggers go first.
        let script = format!("import sqlite3, sys\nd = sqlite3.connect(sys.argv[1])\nd.executescript('''DROP TRIGGER audit_is_not_changed; DROP TRIGGER audit_is_not_deleted; {tamper};''')");
        let done = std::process::Command::new("python3").arg("-c").arg(script).arg(server.home.join("belljar.db")).status().unwrap();
        assert!(done.success());
        let server = Server::start_in(&server.home);
        let verdict = server.operate("GET", "/v1/audit/verification", None).is(200);
        assert_eq!(verdict["verdict"], "broken", "{number}: {verdict}");
    }
}
