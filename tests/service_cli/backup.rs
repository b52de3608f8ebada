//! A backup, taken while runs continue, and a home restored from it.

use std::os::unix::fs::PermissionsExt;
use std::sync::atomic::{AtomicBool, Ordering};

use belljar_test_support::{Server, belljar_without_server, said, said_with_input};
use tempfile::TempDir;

use crate::detach;

#[test]
fn what_is_restored_is_what_was_there() {
    let server = Server::start();
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    let content = vec![42; 3 << 20];
    assert_eq!(
        said_with_input(&mut server.operator(["storage", "cp", "-", "obj:kept/object"]), &content)
            .code,
        Some(0)
    );
    let left = "require('fs').mkdirSync('outputs', {recursive: true}); require('fs').writeFileSync('outputs/left.txt', 'artifact'); console.log('kept'); 41";
    let id = detach(&server, left, &["--label", "kept=yes"]);
    server.until_status(&id, "succeeded");

    let is_over = AtomicBool::new(false);
    std::thread::scope(|scope| {
        let busy: Vec<_> = (0..2)
            .map(|n| {
                let (server, is_over) = (&server, &is_over);
                scope.spawn(move || {
                    let mut count = 0;
                    while !is_over.load(Ordering::SeqCst) {
                        detach(server, "require('fs').mkdirSync('outputs', {recursive: true}); require('fs').writeFileSync('outputs/a', String(Math.random()))", &[]);
                        let put = said_with_input(&mut server.operator(["storage", "cp", "-", &format!("obj:busy/{n}")]), format!("{count}").as_bytes());
                        assert_eq!(put.code, Some(0), "{put:?}");
                        count += 1;
                    }
                    count
                })
            })
            .collect();
        let backed_up = said(&mut server.operator([
            "backup",
            "--to",
            &at("backup"),
            "--key-to",
            &at("key"),
            "--json",
        ]));
        is_over.store(true, Ordering::SeqCst);
        assert!(backed_up.json()["contents"].as_u64().unwrap() >= 2, "{backed_up:?}");
        assert!(
            busy.into_iter().map(|busy| busy.join().unwrap()).sum::<u32>() > 0,
            "runs went on meanwhile"
        );
    });
    for name in ["backup", "key"] {
        assert_eq!(
            std::fs::metadata(at(name)).unwrap().permissions().mode() & 0o077,
            0,
            "{name} is this user's alone"
        );
    }
    said(&mut server.operator(["backup", "--to", &at("backup"), "--key-to", &at("key2")]))
        .fails(1, &["is not empty"]);
    let token = server.token.clone();
    drop(server);

    let home = at("restored");
    let restore = |home: &str| {
        said(
            belljar_without_server(["restore", &at("backup"), "--key", &at("key")])
                .env("BELLJAR_HOME", home),
        )
    };
    let restored = restore(&home);
    assert!(
        restored.code == Some(0)
            && restored.stderr.contains("start its server with `belljar serve`"),
        "{restored:?}"
    );
    restore(&home).fails(1, &["is not empty", "name a folder that is empty"]);
    said(
        belljar_without_server(["restore", &at("nothing"), "--key", &at("key")])
            .env("BELLJAR_HOME", at("other")),
    )
    .fails(1, &["there is no database in"]);

    let mut server = Server::start_in(home.as_ref(), &[]);
    // The old token still works, and all data is there.
    server.token = token;
    let record = said(&mut server.client(["runs", "show", &id, "--json"])).json();
    assert_eq!((&record["status"], &record["outcome"]["value"]), (&"succeeded".into(), &41.into()));
    assert_eq!(said(&mut server.client(["logs", &id])).stdout, "kept\n");
    said(&mut server.client(["runs", "artifacts", &id, "--to", &at("artifacts")])).shows(&[]);
    assert_eq!(std::fs::read_to_string(at("artifacts/left.txt")).unwrap(), "artifact");
    said(&mut server.client(["storage", "cp", "obj:kept/object", &at("object")])).shows(&[]);
    assert!(std::fs::read(at("object")).unwrap() == content);
    said(&mut server.operator(["audit", "verify"])).shows(&["intact"]);
    let ran = said(&mut server.client(["run", "--remote", "-l", "js", "-e", "6 * 7"]));
    assert_eq!(ran.stdout, "42\n", "{ran:?}");
}

#[test]
fn a_home_that_is_not_there_cannot_be_backed_up() {
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    said(
        belljar_without_server(["backup", "--to", &at("to"), "--key-to", &at("key")])
            .env("BELLJAR_HOME", at("home")),
    )
    .fails(1, &["there is no database in"]);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// Another user that can write to the folder of the key puts a link in its place.
#[test]
fn the_key_goes_to_no_file_that_is_there() {
    let server = Server::start();
    let folder = TempDir::new().unwrap();
    let at = |name: &str| folder.path().join(name).display().to_string();
    std::os::unix::fs::symlink(at("given-away"), at("key")).unwrap();
    said(&mut server.operator(["backup", "--to", &at("backup"), "--key-to", &at("key")]))
        .fails(1, &["key"]);
    assert!(!folder.path().join("given-away").exists());
    std::fs::write(at("there"), "mine").unwrap();
    said(&mut server.operator(["backup", "--to", &at("other"), "--key-to", &at("there")]))
        .fails(1, &["there"]);
    assert_eq!(std::fs::read_to_string(at("there")).unwrap(), "mine");
}
