//! Runs on a server: the flags, output and exit codes of a local run, and the recorded history.

use std::os::unix::fs::symlink;
use std::sync::LazyLock;

use belljar_test_support::{Said, Server, belljar_without_server, said, said_with_input};
use serde_json::Value;
use tempfile::TempDir;

use crate::detach;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fn run(language: &str, code: &str, flags: &[&str]) -> Said {
    said(SERVER.client(["run", "--remote", "-l", language, "-e", code]).args(flags))
}

#[test]
fn a_run_on_a_server_looks_like_one_here() {
    let said_of_it = run(
        "js",
        "console.log('out'); console.error('err'); exports.main = p => ({city: p.city, n: p.n})",
        &["--param", "city=Oslo", "--param", "n=7"],
    );
    assert_eq!(
        (said_of_it.code, said_of_it.stdout.as_str()),
        (Some(0), "out\n{\"city\":\"Oslo\",\"n\":7}\n"),
        "{said_of_it:?}"
    );
    assert_eq!(said_of_it.stderr, "err\n");
    let outcome = run("py", "print('x'); 6 * 7", &["--json"]).json();
    assert_eq!(
        (&outcome["value"], &outcome["logs"][0]["message"]),
        (&Value::from(42), &Value::from("x")),
        "{outcome}"
    );
    let events = run("js", "console.log(1)", &["--events"]);
    let kinds: Vec<String> = events
        .stdout
        .lines()
        .map(|line| {
            serde_json::from_str::<Value>(line).unwrap()["type"].as_str().unwrap().to_owned()
        })
        .collect();
    assert_eq!(
        (kinds.first().unwrap().as_str(), kinds.last().unwrap().as_str()),
        ("queued", "finished"),
        "{kinds:?}"
    );
    assert!(kinds.contains(&"log".to_owned()), "{kinds:?}");
}

#[test]
fn exit_codes_are_those_of_a_run_here() {
    for (language, code, flags, expected) in [
        ("js", "throw new TypeError('no')", &[][..], 1),
        ("py", "import sys; sys.exit(3)", &[], 3),
        ("js", "for (;;);", &["--timeout", "300ms"], 124),
        ("py", "while True: pass", &["--cpu", "200ms"], 152),
        ("js", "console.log('x'.repeat(5000))", &["--output-limit", "1K"], 153),
        // Exceeds the ceiling of the project.
        ("js", "1", &["--exec"], 125),
        // Invalid flags.
        ("js", "1", &["--timeout", "0"], 2),
        ("js", "1", &["--label", "nothing"], 2),
        ("js", "1", &["--runtime", "node@1"], 125),
    ] {
        let said = run(language, code, flags);
        assert_eq!(said.code, Some(expected), "{code} {flags:?}: {said:?}");
    }
    run("js", "for (;;);", &["--timeout", "300ms"]).fails(124, &["hint: try --timeout 600ms"]);
    run("js", "throw new TypeError('no')", &[]).fails(1, &["TypeError: no", "main.js:1"]);
    run("js", "1", &["--exec"]).fails(125, &["hint: narrow the request, or ask the operator"]);
}

#[test]
fn files_input_and_what_it_leaves_cross_the_network() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::fs::write(at("program.py"), "# coding: latin-1\nimport sys\nprint('\u{e9}')\nopen('outputs/deep/x.bin', 'wb').write(open('in.bin', 'rb').read()) if __import__('os').makedirs('outputs/deep', exist_ok=True) is None else 0\nsys.stdin.read()".replace('\u{e9}', "")).unwrap();
    std::fs::write(at("in.bin"), [0, 159, 146, 150, 255]).unwrap();
    let mut command = SERVER.client([
        "run",
        "--remote",
        &at("program.py"),
        "--file",
        &format!("in.bin={}", at("in.bin")),
        "--stdin",
        "-",
        "--artifacts",
        &at("out"),
    ]);
    let said_of_it = said_with_input(&mut command, "käse".as_bytes());
    assert!(said_of_it.stdout.contains("\"käse\""), "{said_of_it:?}");
    assert_eq!(std::fs::read(at("out/deep/x.bin")).unwrap(), [0, 159, 146, 150, 255]);
    assert!(said_of_it.stderr.contains("saved"), "{said_of_it:?}");

    // A link in the folder of the artifacts is not followed.
    std::fs::create_dir(at("elsewhere")).unwrap();
    std::fs::create_dir(at("linked")).unwrap();
    symlink(at("elsewhere"), at("linked/deep")).unwrap();
    let mut command = SERVER.client([
        "run",
        "--remote",
        &at("program.py"),
        "--file",
        &format!("in.bin={}", at("in.bin")),
        "--artifacts",
        &at("linked"),
    ]);
    command.args(["--label", "test=linked"]);
    said(&mut command).fails(70, &["cannot save the artifact", "deep is a link or a file"]);
    assert_eq!(std::fs::read_dir(at("elsewhere")).unwrap().count(), 0);

    let id = said(&mut SERVER.client(["runs", "--label", "test=linked", "--json"])).json()["runs"]
        [0]["id"]
        .as_str()
        .unwrap()
        .to_owned();
    said(&mut SERVER.client(["runs", "artifacts", &id])).shows(&["SHA-256", "5 B", "deep/x.bin"]);
    assert_eq!(
        said(&mut SERVER.client(["runs", "artifacts", &id, "--json"])).json()["artifacts"][0]["size_bytes"],
        5
    );
    said(&mut SERVER.client(["runs", "artifacts", &id, "--to", &at("again")])).shows(&[]);
    assert_eq!(std::fs::read(at("again/deep/x.bin")).unwrap().len(), 5);
}

#[test]
fn an_object_can_be_a_file_of_a_run_and_storage_is_granted_by_prefix() {
    let mut cp = SERVER.client(["storage", "cp", "-", "obj:inputs/run.csv"]);
    assert_eq!(said_with_input(&mut cp, b"a,b\n1,2\n").code, Some(0));
    let code = "require('fs').readFileSync('data.csv', 'utf8')";
    assert!(run("js", code, &["--object", "data.csv=obj:inputs/run.csv"]).stdout.contains("1,2"));
    let upload = "belljar.storage.upload('outputs/a', 'text').then(() => 'done')";
    let granted = run("js", upload, &["--storage-write", "outputs/"]);
    assert_eq!((granted.code, granted.stdout.as_str()), (Some(0), "\"done\"\n"), "{granted:?}");
    let refused = run("js", upload, &["--storage-write", "elsewhere/"]);
    assert_eq!(refused.code, Some(1), "{refused:?}");
}

#[test]
fn runs_are_found_shown_repeated_and_deleted() {
    let id = detach(
        &SERVER,
        "console.log('found'); 41",
        &["--label", "team=sales", "--comment", "a \u{1b}[31mred\u{1b}[0m word", "--attempts", "2"],
    );
    assert!(id.starts_with("run_"), "{id}");
    let record = SERVER.until_status(&id, "succeeded");
    assert_eq!(
        (&record["labels"]["team"], &record["attempts"]),
        (&Value::from("sales"), &Value::from(2))
    );

    let list = said(&mut SERVER.client([
        "runs",
        "--label",
        "team=sales",
        "--status",
        "succeeded",
        "--language",
        "js",
        "--since",
        "1h",
        "--text",
        "red",
    ]));
    list.shows(&["ID", &id, "succeeded", "javascript", "team=sales"]);
    assert!(!list.stdout.contains('\u{1b}'), "{list:?}");
    let json = said(&mut SERVER.client(["runs", "list", "--label", "team=sales", "--json"])).json();
    assert_eq!((json["runs"].as_array().unwrap().len(), &json["next_cursor"]), (1, &Value::Null));
    assert!(!said(&mut SERVER.client(["runs", "--label", "team=none"])).stdout.contains("run_"));
    assert!(!said(&mut SERVER.client(["runs", "--until", "2020-01-01"])).stdout.contains("run_"));
    let python = said(&mut SERVER.client(["runs", "--label", "team=sales", "--language", "py"]));
    assert!(!python.stdout.contains("run_"), "{python:?}");

    let shown = said(&mut SERVER.client(["runs", "show", &id]));
    shown.shows(&["status    succeeded", "value     41", "labels    team=sales"]);
    assert!(!shown.stdout.contains('\u{1b}'), "{shown:?}");
    assert_eq!(said(&mut SERVER.client(["logs", &id])).stdout, "found\n");
    said(&mut SERVER.client(["logs", "-t", &id])).shows(&["Z info  found"]);
    assert_eq!(
        said(&mut SERVER.client(["logs", &id, "--json"])).json()["logs"][0]["message"],
        "found"
    );

    let again = said(&mut SERVER.client(["runs", "rerun", &id])).stdout.trim().to_owned();
    assert_eq!(SERVER.until_status(&again, "succeeded")["rerun_of"], id.as_str());
    said(&mut SERVER.client(["cancel", &again])).shows(&[&format!("{again} succeeded")]);
    let with_variable =
        run("py", "import os; os.environ['CITY']", &["--env", "CITY=Oslo", "--json"]);
    let first = with_variable.json()["id"].as_str().unwrap().to_owned();
    said(&mut SERVER.client(["runs", "show", &first])).shows(&["env ", "CITY"]);
    said(&mut SERVER.client(["runs", "rerun", &first]))
        .fails(1, &["the run had values for CITY", "hint: add --env NAME"]);
    let again_with =
        said(SERVER.client(["runs", "rerun", &first, "--env", "CITY"]).env("CITY", "Bergen"));
    let record = SERVER.until_status(again_with.stdout.trim(), "succeeded");
    assert_eq!(record["outcome"]["value"], "Bergen");
    said(SERVER.client(["runs"]).env("BELLJAR_TOKEN", "bjr_".to_owned() + &"x".repeat(43)))
        .fails(1, &["hint: check the token in BELLJAR_TOKEN"]);
    assert_eq!(
        said(&mut SERVER.client(["cancel", &again, "--json"])).json()["status"],
        "succeeded"
    );
    said(&mut SERVER.client(["runs", "rm", &again, &id])).shows(&[]);
    said(&mut SERVER.client(["runs", "show", &id])).fails(1, &["there is no run"]);
    said(&mut SERVER.client(["runs", "show", "nonsense"])).fails(2, &["is not a run id"]);
}

#[test]
fn the_code_of_a_run_is_printed_and_saved_as_it_was_submitted() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    // Not UTF-8, with line ends of two kinds and none at the end.
    let program = b"# coding: latin-1\r\nprint('caf\xe9')\n6 * 7";
    std::fs::write(at("program.py"), program).unwrap();
    std::fs::write(at("in.bin"), [0, 159, 146, 150, 255]).unwrap();
    assert_eq!(
        said_with_input(&mut SERVER.client(["storage", "cp", "-", "obj:inputs/code.csv"]), b"1,2")
            .code,
        Some(0)
    );
    let mut command = SERVER.client(["run", "--remote", "--detach", &at("program.py"), "--file"]);
    command.args([
        &format!("data/in.bin={}", at("in.bin")),
        "--object",
        "data.csv=obj:inputs/code.csv",
        "--param",
        "private=parameter",
    ]);
    let id = said(&mut command).stdout.trim().to_owned();
    SERVER.until_status(&id, "succeeded");

    let printed = SERVER.client(["runs", "code", &id]).output().unwrap();
    assert_eq!(printed.stdout, program);
    let note = String::from_utf8_lossy(&printed.stderr);
    assert!(note.contains("the run has 2 more files"), "{note}");
    let printed =
        SERVER.client(["runs", "code", &id, "--file", "data/in.bin"]).output().unwrap().stdout;
    assert_eq!(printed, [0, 159, 146, 150, 255]);
    said(&mut SERVER.client(["runs", "code", &id, "--file", "data.csv"]))
        .fails(2, &["copied from the object `inputs/code.csv`", "belljar storage cat"]);
    said(&mut SERVER.client(["runs", "code", &id, "--file", "none.py"]))
        .fails(2, &["`none.py` is not one of the files", "program.py, data/in.bin, data.csv"]);
    said(&mut SERVER.client(["runs", "code", &id, "--to", &at("saved")])).shows(&[]);
    assert_eq!(std::fs::read(at("saved/program.py")).unwrap(), program);
    assert_eq!(std::fs::read(at("saved/data/in.bin")).unwrap().len(), 5);
    assert!(!std::path::Path::new(&at("saved/data.csv")).exists());
    let json = said(&mut SERVER.client(["runs", "code", &id, "--json"]));
    assert!(!json.stdout.contains("private"), "{json:?}");

    let text = detach(&SERVER, "// é\r\n1", &[]);
    said(&mut SERVER.client(["runs", "code", &text])).prints("// é\r\n1");
    let json = said(&mut SERVER.client(["runs", "code", &text, "--json"])).json();
    assert_eq!(
        (&json["entry"], &json["code"], &json["files"]),
        (&Value::from("main.js"), &Value::from("// é\r\n1"), &serde_json::json!([]))
    );
    SERVER.until_status(&text, "succeeded");
    said(&mut SERVER.client(["runs", "rm", &text])).shows(&[]);
    said(&mut SERVER.client(["runs", "code", &text])).fails(1, &["there is no run"]);
}

#[test]
fn a_unique_prefix_of_an_id_is_enough() {
    // Runs of other tests would share prefixes with these.
    let server = Server::start();
    let (one, other) = (detach(&server, "console.log('one')", &[]), detach(&server, "1", &[]));
    server.until_status(&one, "succeeded");
    server.until_status(&other, "succeeded");
    // The ids begin with the time, so only one has the first characters up to where they differ.
    let differ = one.bytes().zip(other.bytes()).position(|(a, b)| a != b).unwrap();
    let prefix = &one[..=differ];
    assert_eq!(said(&mut server.client(["logs", prefix])).stdout, "one\n");
    let bare = prefix.strip_prefix("run_").unwrap();
    assert_eq!(said(&mut server.client(["runs", "code", bare])).stdout, "console.log('one')");
    said(&mut server.client(["runs", "show", prefix])).shows(&[&one]);
    said(&mut server.client(["runs", "artifacts", bare])).shows(&["NAME"]);
    said(&mut server.client(["cancel", prefix])).shows(&[&format!("{one} succeeded")]);
    let again = said(&mut server.client(["runs", "rerun", prefix])).stdout.trim().to_owned();
    assert_eq!(server.until_status(&again, "succeeded")["rerun_of"], one.as_str());

    let ambiguous = said(&mut server.client(["runs", "rm", &one[..10]]));
    ambiguous.fails(1, &["is the beginning of several ids", &one, "hint: give more characters"]);
    said(&mut server.client(["runs", "show", &one])).shows(&[&one]);
    said(&mut server.client(["runs", "show", "ffffffffff"])).fails(1, &["there is no run"]);
    for short in ["run_", "01a", "run_01a0b"] {
        said(&mut server.client(["runs", "show", short])).fails(2, &["is not a run id"]);
    }
    let removed = said(&mut server.client(["runs", "rm", bare]));
    assert!(removed.stderr.contains(&format!("deleted {one}")), "{removed:?}");
}

#[test]
fn the_time_before_a_run_starts_is_apart_from_its_own() {
    let server = Server::start_with("[runs]\nconcurrent = 1\n");
    let first = detach(&server, "setTimeout(() => {}, 4000)", &[]);
    server.until_status(&first, "running");
    let second =
        said(&mut server.client(["run", "--remote", "-l", "js", "-e", "1", "--json"])).json();
    let ms = |field: &str| second["usage"][field].as_f64().unwrap();
    assert!(ms("prepare_ms") >= 1000.0 && ms("wall_ms") < ms("prepare_ms"), "{second}");
    let id = second["id"].as_str().unwrap();
    let list = said(&mut server.client(["runs", "--limit", "1"]));
    list.shows(&[id, "s)  javascript"]);
    said(&mut server.client(["runs", "show", id])).shows(&["prepared  "]);
    // The wait of the first run is over before it starts, however long it takes.
    let first = server.until_over(&first);
    assert!(first["usage"]["wall_ms"].as_f64().unwrap() >= 4000.0, "{first}");
}

#[test]
fn a_list_says_when_there_is_more() {
    for _ in 0..3 {
        detach(&SERVER, "1", &["--label", "list=more"]);
    }
    let list = said(&mut SERVER.client(["runs", "--label", "list=more", "--limit", "2"]));
    assert!(list.stdout.lines().count() == 3 && list.stderr.contains("there are more"), "{list:?}");
    let page =
        said(&mut SERVER.client(["runs", "--label", "list=more", "--limit", "2", "--json"])).json();
    assert_eq!(page["runs"].as_array().unwrap().len(), 2);
    assert_eq!(page["next_cursor"], page["runs"][1]["id"]);
}

#[test]
fn flags_of_a_server_are_refused_without_one() {
    for flags in [
        &["--detach"][..],
        &["--label", "a=b"],
        &["--comment", "x"],
        &["--object", "a"],
        &["--storage-read", "a"],
        &["--attempts", "2"],
    ] {
        said(belljar_without_server(["run", "-l", "js", "-e", "1"]).args(flags))
            .fails(2, &[flags[0], "is for a run on a server", "hint: add --remote"]);
    }
    run("js", "1", &["--allow-degraded"]).fails(2, &["--allow-degraded cannot be set"]);
}
