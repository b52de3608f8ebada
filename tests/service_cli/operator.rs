//! What an operator does: tokens, projects, the audit trail, usage.

use std::sync::LazyLock;

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::server::{Server, said};

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

#[test]
fn a_token_is_made_listed_used_and_revoked() {
    let made = said(&mut SERVER.operator(["tokens", "create", "ci", "--scope", "run", "--scope", "read", "--expires", "30d"]));
    let token = made.stdout.trim().to_owned();
    assert!(token.starts_with("bjr_") && made.stdout.lines().count() == 1 && made.stderr.contains("allows run,read until 20"), "{made:?}");
    let as_ci = |arguments: &[&str]| said(SERVER.client(arguments).env("BELLJAR_TOKEN", &token));
    as_ci(&["runs"]).shows(&["ID"]);
    as_ci(&["tokens", "list"]).fails(1, &["does not have the scope `admin`", "hint: make a token that has it"]);

    let list = said(&mut SERVER.operator(["tokens", "list"]));
    list.shows(&["ID", "SCOPES", "run,read", "ci"]);
    assert!(!list.stdout.contains(&token[12..]), "the token is shown once");
    let tokens = said(&mut SERVER.operator(["tokens", "list", "--json"])).json();
    let id = tokens["tokens"].as_array().unwrap().iter().find(|token| token["name"] == "ci").unwrap()["id"].as_str().unwrap().to_owned();
    said(&mut SERVER.operator(["tokens", "revoke", &id])).shows(&[]);
    as_ci(&["runs"]).fails(1, &["the token is missing, unknown, expired or revoked"]);
    said(&mut SERVER.operator(["tokens", "list"])).shows(&["revoked"]);
    said(&mut SERVER.operator(["tokens", "revoke", "tok_none"])).fails(1, &["there is no token"]);
    said(&mut SERVER.operator(["tokens", "revoke", "../projects/default"])).fails(1, &["there is no token"]);

    let made = said(&mut SERVER.operator(["tokens", "create", "json", "--scope", "read,storage", "--json"])).json();
    assert_eq!((&made["record"]["scopes"], &made["record"]["expires_at"]), (&json!(["read", "storage"]), &Value::Null));
    let revoked = said(&mut SERVER.operator(["tokens", "revoke", made["record"]["id"].as_str().unwrap(), "--json"])).json();
    assert_eq!(revoked["revoked"], made["record"]["id"]);
    said(&mut SERVER.operator(["tokens", "create", "x", "--scope", "all"])).fails(2, &["is not a scope"]);
}

#[test]
fn a_project_has_its_own_ceiling_quotas_and_tokens() {
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("policy.json");
    std::fs::write(&policy, r#"{"policy": {"loopback": true}, "limits": {"timeout_ms": 5000}}"#).unwrap();
    let policy = policy.to_str().unwrap();
    let made = said(&mut SERVER.operator([
        "projects",
        "create",
        "team",
        "--policy",
        policy,
        "--quota-storage",
        "1M",
        "--quota-concurrent-runs",
        "2",
    ]));
    made.shows(&["name               team", "storage            1 MB", "concurrent runs    2", "\"timeout_ms\":5000"]);
    said(&mut SERVER.operator(["projects", "create", "team"])).fails(1, &["team"]);
    said(&mut SERVER.operator(["projects", "create", "Team"])).fails(2, &["cannot name a project"]);
    said(&mut SERVER.operator(["projects", "list"])).shows(&["NAME", "default", "team", "1 MB"]);

    let token =
        said(&mut SERVER.operator(["tokens", "create", "t", "--scope", "run,read,storage", "--project", "team"])).stdout.trim().to_owned();
    let as_team = |arguments: &[&str]| said(SERVER.client(arguments).env("BELLJAR_TOKEN", &token));
    let ran = as_team(&["run", "--remote", "-l", "js", "-e", "1 + 1", "--loopback"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "2\n"), "{ran:?}");
    as_team(&["run", "--remote", "-l", "js", "-e", "1", "--timeout", "6s"]).fails(125, &["timeout"]);
    let big = folder.path().join("big");
    std::fs::write(&big, vec![1; 2 << 20]).unwrap();
    as_team(&["storage", "cp", big.to_str().unwrap(), "obj:big"]).fails(1, &["an object can have 1048576 bytes here"]);

    // What is not named stays.
    let set =
        said(&mut SERVER.operator(["projects", "set", "team", "--quota-storage", "none", "--quota-cpu-per-day", "4h", "--json"])).json();
    assert_eq!(set["settings"]["quotas"], json!({"concurrent_runs": 2, "cpu_ms_per_day": 14_400_000}));
    assert_eq!(set["settings"]["policy"]["loopback"], true);
    said(&mut SERVER.operator(["projects", "set", "team"])).fails(2, &["there is nothing to change", "hint: give --policy"]);
    said(&mut SERVER.operator(["projects", "show", "team"])).shows(&["cpu a day          4.0h", "storage            no bound"]);
    assert_eq!(said(&mut SERVER.operator(["projects", "show", "team", "--json"])).json()["name"], "team");

    let usage = said(&mut SERVER.operator(["usage", "--all"]));
    usage.shows(&["DAY", "team", "PROJECT", "STORAGE", "default"]);
    let usage = said(&mut SERVER.operator(["usage", "--project", "team", "--since", "2020-01-01", "--json"])).json();
    assert_eq!((&usage["days"][0]["project"], &usage["days"][0]["runs"]), (&Value::from("team"), &Value::from(1)), "{usage}");
    said(&mut SERVER.operator(["usage", "--since", "monday"])).fails(1, &["is not a day"]);

    said(&mut SERVER.operator(["projects", "rm", "team"]))
        .fails(2, &["this deletes all runs, objects and tokens of team", "hint: say that it is meant with --yes"]);
    said(&mut SERVER.operator(["projects", "rm", "team", "--yes"])).shows(&[]);
    as_team(&["runs"]).fails(1, &["the token is missing, unknown"]);
}

#[test]
fn the_trail_is_read_exported_and_verified() {
    assert_eq!(said(&mut SERVER.client(["run", "--remote", "-l", "js", "-e", "1", "--comment", "audited"])).code, Some(0));
    said(&mut SERVER.operator(["audit", "--all"])).shows(&["SEQ", "ACTION", "project.create", "token.create", "run.submit"]);
    let filtered = said(&mut SERVER.operator(["audit", "--action", "run.", "--since", "1h", "--limit", "1", "--json"])).json();
    assert_eq!(filtered["entries"].as_array().unwrap().len(), 1);
    assert!(filtered["entries"][0]["action"].as_str().unwrap().starts_with("run."), "{filtered}");
    assert!(filtered["next_cursor"].is_string());
    let verified = said(&mut SERVER.operator(["audit", "verify"]));
    verified.shows(&["intact: ", "the hash of the last is"]);
    assert_eq!(said(&mut SERVER.operator(["audit", "verify", "--json"])).json()["verdict"], "intact");
    said(&mut SERVER.client(["audit", "verify"]))
        .fails(1, &["only the operator may do this", "hint: run the command on the server's machine"]);

    let exported = said(&mut SERVER.operator(["audit", "--all", "--export", "-"]));
    let entries: Vec<Value> = exported.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.len() > 3);
    for pair in entries.windows(2) {
        assert_eq!((&pair[1]["previous"], pair[1]["seq"].as_u64()), (&pair[0]["hash"], pair[0]["seq"].as_u64().map(|seq| seq + 1)));
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("trail.ndjson");
    said(&mut SERVER.operator(["audit", "--all", "--export", file.to_str().unwrap()])).shows(&[]);
    assert!(std::fs::read_to_string(&file).unwrap().starts_with(exported.stdout.lines().next().unwrap()));
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
