//! The commands of an operator: tokens, projects, the audit trail and usage.

use std::sync::LazyLock;

use std::process::Command;

use belljar_test_support::{Server, said, said_with_input};
use serde_json::{Value, json};
use tempfile::TempDir;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

#[test]
fn a_token_is_made_listed_used_and_revoked() {
    let made = said(&mut SERVER.operator([
        "tokens",
        "create",
        "ci",
        "--scope",
        "run",
        "--scope",
        "read",
        "--expires",
        "30d",
    ]));
    let token = made.stdout.trim().to_owned();
    assert!(
        token.starts_with("bjr_")
            && made.stdout.lines().count() == 1
            && made.stderr.contains("allows run,read until 20"),
        "{made:?}"
    );
    let as_ci = |arguments: &[&str]| said(SERVER.client(arguments).env("BELLJAR_TOKEN", &token));
    as_ci(&["runs"]).shows(&["ID"]);
    as_ci(&["tokens", "list"])
        .fails(1, &["does not have the scope `admin`", "hint: make a token that has it"]);

    let list = said(&mut SERVER.operator(["tokens", "list"]));
    list.shows(&["ID", "SCOPES", "run,read", "ci"]);
    assert!(!list.stdout.contains(&token[12..]), "the token is shown once");
    let tokens = said(&mut SERVER.operator(["tokens", "list", "--json"])).json();
    let id = tokens["tokens"]
        .as_array()
        .unwrap()
        .iter()
        .find(|token| token["name"] == "ci")
        .unwrap()["id"]
        .as_str()
        .unwrap()
        .to_owned();
    said(&mut SERVER.operator(["tokens", "revoke", &id])).shows(&[]);
    as_ci(&["runs"]).fails(1, &["the token is missing, unknown, expired or revoked"]);
    said(&mut SERVER.operator(["tokens", "list"])).shows(&["revoked"]);
    said(&mut SERVER.operator(["tokens", "revoke", "tok_none"])).fails(1, &["there is no token"]);
    said(&mut SERVER.operator(["tokens", "revoke", "../projects/default"]))
        .fails(1, &["there is no token"]);

    let made = said(&mut SERVER.operator([
        "tokens",
        "create",
        "json",
        "--scope",
        "read,storage",
        "--json",
    ]))
    .json();
    assert_eq!(
        (&made["record"]["scopes"], &made["record"]["expires_at"]),
        (&json!(["read", "storage"]), &Value::Null)
    );
    let revoked = said(&mut SERVER.operator([
        "tokens",
        "revoke",
        made["record"]["id"].as_str().unwrap(),
        "--json",
    ]))
    .json();
    assert_eq!(revoked["revoked"], made["record"]["id"]);
    said(&mut SERVER.operator(["tokens", "create", "x", "--scope", "all"]))
        .fails(2, &["is not a scope"]);
}

#[test]
fn a_project_has_its_own_ceiling_quotas_and_tokens() {
    let folder = TempDir::new().unwrap();
    let policy = folder.path().join("policy.json");
    std::fs::write(&policy, r#"{"policy": {"loopback": true}, "limits": {"timeout_ms": 5000}}"#)
        .unwrap();
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
    made.shows(&[
        "name                 team",
        "storage              1 MB",
        "concurrent runs      2",
        "\"timeout_ms\":5000",
    ]);
    said(&mut SERVER.operator(["projects", "create", "team"])).fails(1, &["team"]);
    said(&mut SERVER.operator(["projects", "create", "Team"]))
        .fails(2, &["is not a valid project name"]);
    said(&mut SERVER.operator(["projects", "list"])).shows(&["NAME", "default", "team", "1 MB"]);

    let token = said(&mut SERVER.operator([
        "tokens",
        "create",
        "t",
        "--scope",
        "run,read,storage",
        "--project",
        "team",
    ]))
    .stdout
    .trim()
    .to_owned();
    let as_team = |arguments: &[&str]| said(SERVER.client(arguments).env("BELLJAR_TOKEN", &token));
    let ran = as_team(&["run", "--remote", "-l", "js", "-e", "1 + 1", "--loopback"]);
    assert_eq!((ran.code, ran.stdout.as_str()), (Some(0), "2\n"), "{ran:?}");
    as_team(&["run", "--remote", "-l", "js", "-e", "1", "--timeout", "6s"])
        .fails(125, &["timeout"]);
    let big = folder.path().join("big");
    std::fs::write(&big, vec![1; 2 << 20]).unwrap();
    as_team(&["storage", "cp", big.to_str().unwrap(), "obj:big"])
        .fails(1, &["the object exceeds the maximum of 1048576 bytes"]);

    // Settings that are not given keep their values.
    let set = said(&mut SERVER.operator([
        "projects",
        "set",
        "team",
        "--quota-storage",
        "none",
        "--quota-cpu-per-day",
        "4h",
        "--json",
    ]))
    .json();
    assert_eq!(
        set["settings"]["quotas"],
        json!({"concurrent_runs": 2, "cpu_ms_per_day": 14_400_000})
    );
    assert_eq!(set["settings"]["policy"]["loopback"], true);
    // A piped policy is read once.
    let mut piped = SERVER.operator(["projects", "set", "team", "--policy", "-", "--json"]);
    let set = said_with_input(&mut piped, br#"{"policy": {"exec": true}}"#).json();
    assert_eq!(set["settings"]["policy"]["exec"], true);
    said(&mut SERVER.operator(["projects", "set", "team"]))
        .fails(2, &["there is nothing to change", "hint: add --policy"]);
    // What is in force includes the defaults and the rules of the server.
    let shown = said(&mut SERVER.operator(["projects", "show", "team"]));
    shown.shows(&[
        "cpu per day          4.0h",
        "storage              unlimited",
        "\"minimum_release_age_days\":3",
        "\"allow_build\":false",
        "\"trusted\":[]",
        "\"memory_bytes\":",
    ]);
    let project = said(&mut SERVER.operator(["projects", "show", "team", "--json"])).json();
    assert_eq!(project["settings"]["packages"]["allow_build"], true, "{project}");
    assert_eq!(project["in_force"]["packages"]["allow_build"], false, "{project}");
    assert_eq!(project["in_force"]["quotas"]["history_bytes"], 1 << 30, "{project}");
    let list = said(&mut SERVER.operator(["projects", "list", "--json"])).json();
    assert!(list["projects"][0].get("in_force").is_none(), "{list}");
    assert_eq!(
        said(&mut SERVER.operator(["projects", "show", "team", "--json"])).json()["name"],
        "team"
    );

    let usage = said(&mut SERVER.operator(["usage", "--all"]));
    usage.shows(&["DAY", "team", "PROJECT", "STORAGE", "default"]);
    let usage = said(&mut SERVER.operator([
        "usage",
        "--project",
        "team",
        "--since",
        "2020-01-01",
        "--json",
    ]))
    .json();
    assert_eq!(
        (&usage["days"][0]["project"], &usage["days"][0]["runs"]),
        (&Value::from("team"), &Value::from(1)),
        "{usage}"
    );
    said(&mut SERVER.operator(["usage", "--since", "monday"])).fails(1, &["is not a day"]);

    said(&mut SERVER.operator(["projects", "rm", "team"])).fails(
        2,
        &[
            "deleting `team` needs a confirmation",
            "hint: confirm with --yes that all its runs, objects and tokens are to be deleted",
        ],
    );
    said(&mut SERVER.operator(["projects", "rm", "team", "--yes"])).shows(&[]);
    as_team(&["runs"]).fails(1, &["the token is missing, unknown"]);
}

/// Creates a token with these scopes, and returns it and its id.
fn token(name: &str, scopes: &str) -> (String, String) {
    let made = said(&mut SERVER.operator(["tokens", "create", name, "--scope", scopes, "--json"]));
    let made = made.json();
    (made["token"].as_str().unwrap().to_owned(), made["record"]["id"].as_str().unwrap().to_owned())
}

/// Returns a command that runs another one on a terminal with this many columns.
fn on_terminal(columns: u16, command: &Command) -> Command {
    let script = "import fcntl, os, pty, struct, sys, termios\n\
        pid, terminal = pty.fork()\n\
        if pid == 0:\n\
        \x20   fcntl.ioctl(1, termios.TIOCSWINSZ, struct.pack('HHHH', 24, int(sys.argv[1]), 0, 0))\n\
        \x20   os.execvp(sys.argv[2], sys.argv[2:])\n\
        while True:\n\
        \x20   try: piece = os.read(terminal, 65536)\n\
        \x20   except OSError: break\n\
        \x20   if not piece: break\n\
        \x20   os.write(1, piece)\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let mut wrapped = Command::new("python3");
    wrapped.args(["-c", script, &columns.to_string()]).arg(command.get_program());
    wrapped.args(command.get_args());
    for (name, value) in command.get_envs() {
        match value {
            Some(value) => wrapped.env(name, value),
            None => wrapped.env_remove(name),
        };
    }
    wrapped
}

#[test]
fn who_ran_what_is_answered_by_the_name_of_a_token() {
    let (secret, id) = token("nightly-report", "run,read");
    let code = "// Sums.\nconst fs = require('fs')\n\nfs.existsSync('/tmp') ? 40 + 2 : 0";
    let as_token =
        |arguments: &[&str]| said(SERVER.client(arguments).env("BELLJAR_TOKEN", &secret));
    let ran = as_token(&["run", "--remote", "-l", "js", "-e", code, "--json"]).json();
    let run = ran["id"].as_str().unwrap();

    let list =
        said(&mut SERVER.operator(["runs", "--by", "nightly-report", "--since", "yesterday"]));
    list.shows(&["BY", run, "nightly-report", "fs.existsSync('/tmp') ? 40 + 2 : 0"]);
    assert_eq!(list.stdout.lines().count(), 2, "{list:?}");
    assert_eq!(said(&mut SERVER.operator(["runs", "--by", &id])).stdout.lines().count(), 2);
    let commented = ["run", "--remote", "-l", "js", "-e", "1", "--comment", "the comment"];
    assert_eq!(as_token(&commented).code, Some(0));
    let list = as_token(&["runs", "--by", "nightly-report", "--limit", "1"]);
    list.shows(&["the comment"]);
    said(&mut SERVER.operator(["runs", "show", run]))
        .shows(&[&format!("by        nightly-report ({id})"), " UTC\nstarted"]);
    said(&mut SERVER.operator(["runs", "--by", "nigthly-report"])).fails(
        1,
        &[
            "`nigthly-report` is neither the name nor the id",
            "hint: similar names are `nightly-report`",
        ],
    );

    let trail = said(&mut SERVER.operator(["audit", "--actor", "nightly-report", "--target", run]));
    trail.shows(&[
        "TIME (UTC)",
        "ACTOR",
        "nightly-report  run.submit",
        "nightly-report  run.finish",
    ]);
    assert!(!trail.stdout.contains(&id), "{trail:?}");
    let entry = &said(&mut SERVER.operator(["audit", "--actor", &id, "--target", run, "--json"]))
        .json()["entries"][0];
    assert_eq!(
        (&entry["actor"], &entry["actor_name"], &entry["action"]),
        (&json!(id), &json!("nightly-report"), &json!("run.finish"))
    );
    said(&mut SERVER.operator(["audit", "--actor", "nobody-at-all"]))
        .fails(1, &["is neither the name nor the id", "hint: list the names"]);
    assert_eq!(said(&mut SERVER.operator(["audit", "--actor", "operator"])).code, Some(0));

    let usage = said(&mut SERVER.operator(["usage", "--by", "token"]));
    usage.shows(&["DAY (UTC)", "TOKEN", "nightly-report"]);
    let days = said(&mut SERVER.operator(["usage", "--by", "token", "--json"])).json();
    let mine = |day: &&Value| day["token_name"] == "nightly-report";
    let day = days["days"].as_array().unwrap().iter().find(mine).unwrap();
    assert_eq!((&day["token"], &day["runs"]), (&json!(id), &json!(2)));
    let whole = said(&mut SERVER.operator(["usage", "--json"])).json();
    let of_tokens: u64 = days["days"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|of| of["day"] == day["day"])
        .map(|of| of["runs"].as_u64().unwrap())
        .sum();
    // Other tests may end runs in between.
    assert!(whole["days"][0]["runs"].as_u64().unwrap() >= of_tokens, "{whole} {days}");
    assert!(whole["days"][0].get("token").is_none(), "{whole}");

    // The name stays known after the token is gone.
    said(&mut SERVER.operator(["tokens", "revoke", &id])).shows(&[]);
    said(&mut SERVER.operator(["runs", "--by", "nightly-report"])).shows(&[run]);
    for reserved in ["operator", "tok_1"] {
        said(&mut SERVER.operator(["tokens", "create", reserved, "--scope", "read"]))
            .fails(1, &["would be mistaken for an id or for another actor"]);
    }
}

#[test]
fn a_narrow_terminal_shows_who_acted_and_leaves_out_what_matters_least() {
    let (secret, _) = token("narrow-terminal", "run,read");
    let mut command = SERVER.client(["run", "--remote", "-l", "js", "-e", "6 * 7"]);
    assert_eq!(said(command.env("BELLJAR_TOKEN", &secret)).code, Some(0));
    let trail = SERVER.operator(["audit", "--actor", "narrow-terminal"]);
    for (columns, heads) in [
        (140, "SEQ TIME (UTC) ACTOR ACTION TARGET SOURCE"),
        (80, "SEQ TIME (UTC) ACTOR ACTION TARGET"),
        (72, "TIME (UTC) ACTOR ACTION TARGET"),
    ] {
        let shown = said(&mut on_terminal(columns, &trail));
        let mut lines = shown.stdout.lines();
        let head = lines.next().unwrap_or_default().split_whitespace().collect::<Vec<_>>();
        assert_eq!(head.join(" "), heads, "{shown:?}");
        assert!(lines.all(|line| line.contains("narrow-terminal  run.")), "{shown:?}");
        assert!(shown.stdout.lines().all(|line| line.trim_end().chars().count() <= columns.into()));
    }
    let runs = SERVER.operator(["runs", "--by", "narrow-terminal"]);
    let shown = said(&mut on_terminal(90, &runs));
    assert!(shown.stdout.contains("narrow-terminal") && !shown.stdout.contains("LANGUAGE"));
    shown.shows(&["ABOUT", "6 * 7"]);
}

#[test]
fn the_trail_is_read_exported_and_verified() {
    assert_eq!(
        said(&mut SERVER.client([
            "run",
            "--remote",
            "-l",
            "js",
            "-e",
            "1",
            "--comment",
            "audited"
        ]))
        .code,
        Some(0)
    );
    said(&mut SERVER.operator(["audit", "--all"])).shows(&[
        "SEQ",
        "ACTION",
        "project.create",
        "token.create",
        "run.submit",
    ]);
    let filtered = said(
        &mut SERVER
            .operator(["audit", "--action", "run.", "--since", "1h", "--limit", "1", "--json"]),
    )
    .json();
    assert_eq!(filtered["entries"].as_array().unwrap().len(), 1);
    assert!(filtered["entries"][0]["action"].as_str().unwrap().starts_with("run."), "{filtered}");
    assert!(filtered["next_cursor"].is_string());
    let seqs = |order: &str| -> Vec<u64> {
        let list = ["audit", "--all", "--limit", "3", "--json", "--order", order];
        let entries = said(&mut SERVER.operator(list)).json()["entries"].clone();
        entries.as_array().unwrap().iter().map(|entry| entry["seq"].as_u64().unwrap()).collect()
    };
    assert_eq!(seqs("oldest"), [1, 2, 3]);
    let latest = seqs("latest");
    assert!(latest[0] > latest[1] && latest[1] > latest[2] && latest[0] > 3, "{latest:?}");
    let list = said(&mut SERVER.operator(["audit", "--all", "--limit", "2", "--json"])).json();
    assert!(list["entries"][0]["seq"].as_u64() > list["entries"][1]["seq"].as_u64(), "{list}");
    let verified = said(&mut SERVER.operator(["audit", "verify"]));
    verified.shows(&["intact: ", "the hash of the last is"]);
    assert_eq!(
        said(&mut SERVER.operator(["audit", "verify", "--json"])).json()["verdict"],
        "intact"
    );
    said(&mut SERVER.client(["audit", "verify"]))
        .fails(1, &["only the operator may do this", "hint: this command went to BELLJAR_URL"]);

    let exported = said(&mut SERVER.operator(["audit", "--all", "--export", "-"]));
    let entries: Vec<Value> =
        exported.stdout.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(entries.len() > 3);
    for pair in entries.windows(2) {
        assert_eq!(
            (&pair[1]["previous"], pair[1]["seq"].as_u64()),
            (&pair[0]["hash"], pair[0]["seq"].as_u64().map(|seq| seq + 1))
        );
    }
    let folder = TempDir::new().unwrap();
    let file = folder.path().join("trail.ndjson");
    said(&mut SERVER.operator(["audit", "--all", "--export", file.to_str().unwrap()])).shows(&[]);
    assert!(
        std::fs::read_to_string(&file)
            .unwrap()
            .starts_with(exported.stdout.lines().next().unwrap())
    );
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
}
