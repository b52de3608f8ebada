//! Which server a command speaks to, as whom, and what is said when it cannot.

use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;

use tempfile::TempDir;

use crate::server::{Server, belljar, said, said_with_input};

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

#[test]
fn a_token_is_kept_where_only_its_user_can_read_it_and_is_then_used() {
    let config = TempDir::new().unwrap();
    let with = |command: &mut std::process::Command| said(command.env("XDG_CONFIG_HOME", config.path()));
    let mut login = belljar(["login", &SERVER.url]);
    let said = said_with_input(login.env("XDG_CONFIG_HOME", config.path()), format!("{}\n", SERVER.token).as_bytes());
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:?}");
    assert!(!said.stderr.contains(&SERVER.token) && said.stderr.contains("project default"), "{said:?}");

    let file = config.path().join("belljar/profiles.toml");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(std::fs::read_dir(file.parent().unwrap()).unwrap().count(), 1, "nothing is left beside it");

    with(&mut belljar(["runs"])).shows(&["ID", "STATUS"]);
    // A second profile leaves the first.
    let mut login = belljar(["login", &SERVER.url, "--profile", "other", "--json"]);
    let said = said_with_input(login.env("XDG_CONFIG_HOME", config.path()), SERVER.token.as_bytes());
    assert_eq!(said.json(), serde_json::json!({"profile": "other", "url": SERVER.url, "project": "default"}));
    with(&mut belljar(["runs", "--profile", "other"])).shows(&["ID"]);
    // The token of a profile is found by its address too.
    with(&mut belljar(["runs", "--server", &SERVER.url])).shows(&["ID"]);
    with(&mut belljar(["runs", "--profile", "none"]))
        .fails(2, &["there is no profile none, there are: default, other", "hint: `belljar login"]);

    with(&mut belljar(["logout"])).shows(&[]);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("[profiles.default]"));
    with(&mut belljar(["runs"]))
        .fails(1, &["cannot reach the server on /nonexistent/home/server.sock", "hint: is it running? `belljar serve`"]);
    with(&mut belljar(["logout"])).fails(2, &["there is no profile default", "there are: other"]);

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = with(&mut belljar(["runs", "--profile", "other"]));
    assert!(said.stderr.contains("others may read the tokens"), "{said:?}");
    std::fs::write(&file, format!("[profiles.other]\nurl = 7\ntoken = \"{}\"", SERVER.token)).unwrap();
    let said = with(&mut belljar(["runs", "--profile", "other"]));
    said.fails(2, &["cannot be used"]);
    assert!(!said.stderr.contains(&SERVER.token), "{said:?}");
}

#[test]
fn a_wrong_token_is_refused_and_not_kept() {
    let config = TempDir::new().unwrap();
    let mut login = belljar(["login", &SERVER.url]);
    let said_of_it = said_with_input(login.env("XDG_CONFIG_HOME", config.path()), b"bjr_wrong\n");
    said_of_it.fails(1, &["the token is missing, unknown, expired or revoked", "hint: "]);
    assert!(!config.path().join("belljar").exists());
    for nothing in ["", "\n", "two words\n"] {
        let mut login = belljar(["login", &SERVER.url]);
        said_with_input(login.env("XDG_CONFIG_HOME", config.path()), nothing.as_bytes()).fails(2, &["token"]);
    }
    for verb in [&["runs"][..], &["storage", "ls"], &["tokens", "list"], &["audit"], &["usage"], &["projects", "list"]] {
        said(belljar(verb).env("BELLJAR_URL", &SERVER.url).env("BELLJAR_TOKEN", "bjr_wrong")).fails(1, &["the token is missing, unknown"]);
    }
    // It is refused before the upload is read, and that is told, not the broken connection.
    let big = config.path().join("big");
    std::fs::write(&big, vec![7; 8 << 20]).unwrap();
    let mut cp = belljar(["storage", "cp", big.to_str().unwrap(), "obj:big"]);
    said(cp.env("BELLJAR_URL", &SERVER.url).env("BELLJAR_TOKEN", "bjr_wrong")).fails(1, &["the token is missing, unknown"]);
    let mut run = belljar(["run", "--remote", "-l", "js", "-e", "1"]);
    said(run.env("BELLJAR_URL", &SERVER.url).env("BELLJAR_TOKEN", "bjr_wrong")).fails(125, &["the token is missing, unknown"]);
}

#[test]
fn a_server_that_is_not_there_is_told_with_the_mend() {
    let nowhere = "http://127.0.0.1:9";
    for verb in [&["runs"][..], &["storage", "ls", "--json"], &["audit", "verify"]] {
        let said = said(belljar(verb).args(["--server", nowhere]).env("BELLJAR_TOKEN", "bjr_a"));
        said.fails(
            1,
            &["error: cannot reach the server at http://127.0.0.1:9: connection refused", "hint: is it running? `belljar serve`"],
        );
        assert_eq!(said.stdout, "");
    }
    said(&mut belljar(["runs"])).fails(1, &["cannot reach the server on /nonexistent/home/server.sock"]);
    said(&mut belljar(["run", "--remote", "-l", "js", "-e", "1"])).fails(70, &["cannot reach the server"]);
    said(&mut belljar(["runs", "--server", nowhere])).fails(2, &["there is no token for http://127.0.0.1:9", "hint: set BELLJAR_TOKEN"]);
    said(&mut belljar(["runs", "--server", "example.com"]))
        .fails(2, &["`example.com` is not the address of a server", "hint: write one such as"]);
    said(belljar(["login", "ftp://a"]).env("BELLJAR_TOKEN", "bjr_a")).fails(2, &["is not the address of a server"]);
}

#[test]
fn a_socket_is_the_operators_and_a_token_is_for_one_project() {
    let socket = format!("unix:{}", SERVER.home.join("server.sock").display());
    said(&mut belljar(["runs", "--server", &socket])).shows(&["ID"]);
    said(&mut SERVER.operator(["runs", "--project", "missing"])).fails(1, &["missing"]);
    said(&mut SERVER.client(["runs", "--project", "default"])).fails(2, &["a token is for one project"]);
    // Whoever has a token is not the operator, even beside the socket.
    let mut command = SERVER.operator(["projects", "create", "mine"]);
    said(command.env("BELLJAR_URL", &SERVER.url).env("BELLJAR_TOKEN", &SERVER.token)).fails(1, &["only the operator may do this"]);
}
