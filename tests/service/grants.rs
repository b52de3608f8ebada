//! Granted host paths under a project's ceiling: what a name leads to is decided once, when the run
//! starts, beneath what the ceiling's own path led to when it was set.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use belljar_test_support::Server;
use serde_json::{Value, json};

use crate::ONE_AT_A_TIME;

/// A folder that a ceiling grants, and next to it one that nobody does.
struct Place {
    folder: tempfile::TempDir,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir_in("/var/tmp").unwrap();
        for name in ["open", "secret"] {
            fs::create_dir(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("secret/key"), "leaked").unwrap();
        // Where the file system cannot map ids, a sandbox has the access of others.
        fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        Self { folder }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn text(&self, name: &str) -> String {
        self.path(name).to_str().unwrap().to_owned()
    }

    fn make(&self, name: &str) {
        fs::create_dir_all(self.path(name)).unwrap();
        fs::write(self.path(name).join("key"), "own").unwrap();
    }
}

fn ceiling(read: &[String], write: &[String]) -> Value {
    json!({"policy": {"fs": {"read": read, "write": write}}, "quotas": {"concurrent_runs": 1}})
}

fn reads(path: &str) -> Value {
    json!({"language": "python", "code": format!("open({path:?} + '/key').read()"), "policy": {"fs": {"read": [path]}}})
}

fn start(server: &Server, token: &str, run: &Value) -> String {
    server.ask("POST", "/v1/runs").token(token).json(run.clone()).send().is(202)["id"]
        .as_str()
        .unwrap()
        .to_owned()
}

fn outcome(server: &Server, token: &str, run: &Value) -> Value {
    let mut run = run.clone();
    run["wait"] = json!(true);
    server.ask("POST", "/v1/runs").token(token).json(run).send().is(200)
}

fn ended(server: &Server, token: &str, id: &str) -> Value {
    server.until_as(token, id, |record| !record["finished_at"].is_null())["outcome"].clone()
}

#[track_caller]
fn is_refused(outcome: &Value, words: &str) {
    assert_eq!(outcome["status"], "refused", "{outcome}");
    assert!(
        outcome["error"]["message"].as_str().unwrap().contains(words),
        "no `{words}` in {outcome}"
    );
    assert!(!outcome.to_string().contains("leaked"), "{outcome}");
}

/// A name's target when the run is submitted, the change of it, and the run's result.
type Change<'a> = (&'a str, &'a dyn Fn(&Place, &Path), &'a str);

/// While a run waits for its turn, its path, which was not there or was a plain folder, becomes
/// something else.
#[test]
fn a_path_that_leads_elsewhere_when_its_run_starts_is_refused() {
    let _one = ONE_AT_A_TIME.lock();
    let (place, server) = (Place::new(), Server::start());
    let token = server.project("readers", ceiling(&[place.text("open")], &[]));
    let changes: [Change<'_>; 6] = [
        ("absent", &|place, path| symlink(place.path("secret"), path).unwrap(), "symbolic link"),
        ("folder", &|place, path| symlink(place.path("secret"), path).unwrap(), "symbolic link"),
        ("folder", &|_, path| symlink("../secret", path).unwrap(), "symbolic link"),
        (
            "folder",
            &|_, path| drop(std::os::unix::net::UnixListener::bind(path).unwrap()),
            "neither a file nor a folder",
        ),
        ("folder", &|_, _| {}, "no such file or folder"),
        (
            "absent",
            &|_, path| {
                fs::create_dir(path).and_then(|()| fs::write(path.join("key"), "own")).unwrap();
            },
            "",
        ),
    ];
    for (before, change, words) in changes {
        let path = place.path("open/x");
        if before == "folder" {
            place.make("open/x");
        }
        let first = start(
            &server,
            &token,
            &json!({"language": "python", "code": "import time; time.sleep(600)"}),
        );
        server.until_as(&token, &first, |record| record["status"] == "running");
        let second = start(&server, &token, &reads(path.to_str().unwrap()));
        if before == "folder" {
            fs::remove_dir_all(&path).unwrap();
        }
        change(&place, &path);
        // The attack is there: the name leads to the secret now.
        if words == "symbolic link" {
            assert_eq!(fs::read_to_string(path.join("key")).unwrap(), "leaked");
        }
        server
            .ask("POST", &format!("/v1/runs/{first}/cancel"))
            .token(&token)
            .json(json!({}))
            .send()
            .is(200);
        let outcome = ended(&server, &token, &second);
        if words.is_empty() {
            assert_eq!(outcome["value"], "own", "{outcome}");
        } else {
            is_refused(&outcome, words);
            // So is the same again, as a new run.
            let again = server
                .ask("POST", &format!("/v1/runs/{second}/rerun"))
                .token(&token)
                .json(json!({}))
                .send()
                .is(202);
            is_refused(&ended(&server, &token, again["id"].as_str().unwrap()), words);
        }
        let _ = fs::remove_file(&path).or_else(|_| fs::remove_dir_all(&path));
    }
}

/// Each attempt of a run, and a run that a server takes up again after it was killed, is granted
/// what its path leads to by then.
#[test]
fn every_attempt_of_a_run_looks_at_its_path_again() {
    let _one = ONE_AT_A_TIME.lock();
    let (place, mut server) = (Place::new(), Server::start());
    let token = server.project("readers", ceiling(&[place.text("open")], &[]));
    place.make("open/x");
    let path = place.text("open/x");
    let mut crashes = reads(&path);
    crashes["code"] =
        json!(format!("import os\nprint(open({path:?} + '/key').read(), flush=True)\nos.abort()"));
    crashes["retry"] = json!({"attempts": 2, "backoff_ms": 4000});
    let id = start(&server, &token, &crashes);
    server.until_as(&token, &id, |record| record["attempt"] == 2);
    fs::rename(place.path("open/x"), place.path("open/was-x")).unwrap();
    symlink(place.path("secret"), place.path("open/x")).unwrap();
    is_refused(&ended(&server, &token, &id), "symbolic link");
    fs::remove_file(place.path("open/x")).unwrap();
    fs::rename(place.path("open/was-x"), place.path("open/x")).unwrap();

    let first = start(
        &server,
        &token,
        &json!({"language": "python", "code": "import time; time.sleep(600)"}),
    );
    server.until_as(&token, &first, |record| record["status"] == "running");
    let waits = start(&server, &token, &reads(&path));
    server.kill();
    fs::remove_dir_all(place.path("open/x")).unwrap();
    symlink(place.path("secret"), place.path("open/x")).unwrap();
    let again = Server::start_in(&server.home, &[]);
    is_refused(&ended(&again, &token, &waits), "symbolic link");
}

/// The targets of a ceiling are opened when it is set, and are not looked up by name afterwards.
#[test]
fn a_ceilings_path_stays_what_it_was_when_it_was_set() {
    let _one = ONE_AT_A_TIME.lock();
    let (place, server) = (Place::new(), Server::start());
    place.make("open");
    // The operator's own path may be a link.
    symlink(place.path("open"), place.path("current")).unwrap();
    let current = place.text("current");
    let settings = ceiling(std::slice::from_ref(&current), &[]);
    let token = server.project("readers", settings.clone());
    assert_eq!(outcome(&server, &token, &reads(&current))["value"], "own");
    fs::remove_file(place.path("current")).unwrap();
    symlink(place.path("secret"), place.path("current")).unwrap();
    assert_eq!(
        outcome(&server, &token, &reads(&current))["value"],
        "own",
        "the folder that was granted"
    );
    fs::remove_dir_all(place.path("open")).unwrap();
    is_refused(&outcome(&server, &token, &reads(&current)), "has been removed");
    // The operator decides what it is from now on.
    fs::remove_file(place.path("current")).unwrap();
    place.make("current");
    is_refused(&outcome(&server, &token, &reads(&current)), "has been removed");
    server.operate("PUT", "/v1/projects/readers/settings", Some(settings)).is(200);
    assert_eq!(outcome(&server, &token, &reads(&current))["value"], "own");
    // What is taken out of a ceiling while a run waits is not granted any more.
    let first = start(
        &server,
        &token,
        &json!({"language": "python", "code": "import time; time.sleep(600)"}),
    );
    server.until_as(&token, &first, |record| record["status"] == "running");
    let waits = start(&server, &token, &reads(&current));
    server.operate("PUT", "/v1/projects/readers/settings", Some(ceiling(&[], &[]))).is(200);
    server
        .ask("POST", &format!("/v1/runs/{first}/cancel"))
        .token(&token)
        .json(json!({}))
        .send()
        .is(200);
    is_refused(&ended(&server, &token, &waits), "no longer within the ceiling");
}

/// Errors in a ceiling are reported to the operator who sets it.
#[test]
fn a_ceiling_that_gives_away_the_home_or_what_others_write_is_refused_when_it_is_set() {
    let _one = ONE_AT_A_TIME.lock();
    let (place, server) = (Place::new(), Server::start());
    for folder in ["work/in", "data"] {
        place.make(folder);
    }
    symlink(&server.home, place.path("home")).unwrap();
    symlink(place.path("work/in"), place.path("alias")).unwrap();
    let home = |name: &str| server.home.join(name).to_str().unwrap().to_owned();
    let around = server.home.parent().unwrap().to_str().unwrap().to_owned();
    server.project("writers", ceiling(&[], &[place.text("work")]));
    for (path, words) in [
        (home(""), "the server's home"),
        (home("keys"), "the server's home"),
        (home("belljar.db"), "the server's home"),
        (around, "the server's home"),
        (place.text("home"), "the server's home"),
        (place.text("home/keys"), "the server's home"),
        (place.text("missing"), "No such file"),
        (place.text("work/in"), "which programs may write"),
        (place.text("alias"), "which programs may write"),
    ] {
        let path = path.trim_end_matches('/').to_owned();
        for settings in
            [ceiling(std::slice::from_ref(&path), &[]), ceiling(&[], std::slice::from_ref(&path))]
        {
            let new = json!({"name": "readers", "settings": settings});
            server.operate("POST", "/v1/projects", Some(new)).is_problem(
                422,
                "invalid-request",
                words,
            );
        }
    }
    // The other way round: what another project reads is in the folder that is to be written.
    server.project("readers", ceiling(&[place.text("data")], &[]));
    let around = ceiling(&[], &[place.folder.path().to_str().unwrap().to_owned()]);
    server.operate("PUT", "/v1/projects/writers/settings", Some(around)).is_problem(
        422,
        "invalid-request",
        "which programs may write",
    );
    // One folder for both is in no folder that is written.
    server.project("both", ceiling(&[place.text("work")], &[]));
}
