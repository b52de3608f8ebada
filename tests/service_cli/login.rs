//! The choice of the server and the credentials of a command, and its errors.

use std::os::unix::fs::PermissionsExt;
use std::sync::LazyLock;

use belljar_test_support::{Server, belljar_without_server, said, said_with_input};
use tempfile::TempDir;

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

#[test]
fn a_token_is_kept_where_only_its_user_can_read_it_and_is_then_used() {
    let config = TempDir::new().unwrap();
    let with =
        |command: &mut std::process::Command| said(command.env("XDG_CONFIG_HOME", config.path()));
    let mut login = belljar_without_server(["login", &SERVER.url]);
    let said = said_with_input(
        login.env("XDG_CONFIG_HOME", config.path()),
        format!("{}\n", SERVER.token).as_bytes(),
    );
    assert_eq!((said.code, said.stdout.as_str()), (Some(0), ""), "{said:?}");
    assert!(
        !said.stderr.contains(&SERVER.token) && said.stderr.contains("project default"),
        "{said:?}"
    );

    let file = config.path().join("belljar/profiles.toml");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o7777, 0o600);
    assert_eq!(file.parent().unwrap().metadata().unwrap().permissions().mode() & 0o7777, 0o700);
    assert_eq!(
        std::fs::read_dir(file.parent().unwrap()).unwrap().count(),
        1,
        "no temporary file is left"
    );

    with(&mut belljar_without_server(["runs"])).shows(&["ID", "STATUS"]);
    // A second profile does not replace the first.
    let mut login = belljar_without_server(["login", &SERVER.url, "--profile", "other", "--json"]);
    let said =
        said_with_input(login.env("XDG_CONFIG_HOME", config.path()), SERVER.token.as_bytes());
    assert_eq!(
        said.json(),
        serde_json::json!({"profile": "other", "url": SERVER.url, "project": "default"})
    );
    with(&mut belljar_without_server(["runs", "--profile", "other"])).shows(&["ID"]);
    // The token of a profile is also found by the URL of its server.
    with(&mut belljar_without_server(["runs", "--server", &SERVER.url])).shows(&["ID"]);
    with(&mut belljar_without_server(["runs", "--profile", "none"])).fails(
        2,
        &["profile `none` not found among: default, other", "hint: create it with `belljar login"],
    );

    with(&mut belljar_without_server(["logout"])).shows(&[]);
    assert!(!std::fs::read_to_string(&file).unwrap().contains("[profiles.default]"));
    with(&mut belljar_without_server(["runs"])).fails(
        1,
        &[
            "cannot reach the server on /nonexistent/home/server.sock",
            "hint: start a server with `belljar serve`",
        ],
    );
    with(&mut belljar_without_server(["logout"]))
        .fails(2, &["profile `default` not found among: other"]);

    std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = with(&mut belljar_without_server(["runs", "--profile", "other"]));
    assert!(said.stderr.contains("other users can read the tokens"), "{said:?}");
    std::fs::write(&file, format!("[profiles.other]\nurl = 7\ntoken = \"{}\"", SERVER.token))
        .unwrap();
    let said = with(&mut belljar_without_server(["runs", "--profile", "other"]));
    said.fails(2, &["are invalid", "hint: fix or remove the file"]);
    assert!(!said.stderr.contains(&SERVER.token), "{said:?}");
}

#[test]
fn a_wrong_token_is_refused_and_not_kept() {
    let config = TempDir::new().unwrap();
    let mut login = belljar_without_server(["login", &SERVER.url]);
    let said_of_it = said_with_input(login.env("XDG_CONFIG_HOME", config.path()), b"bjr_wrong\n");
    said_of_it.fails(1, &["the token is missing, unknown, expired or revoked", "hint: "]);
    assert!(!config.path().join("belljar").exists());
    for nothing in ["", "\n", "two words\n"] {
        let mut login = belljar_without_server(["login", &SERVER.url]);
        said_with_input(login.env("XDG_CONFIG_HOME", config.path()), nothing.as_bytes())
            .fails(2, &["token"]);
    }
    for verb in [
        &["runs"][..],
        &["storage", "ls"],
        &["tokens", "list"],
        &["audit"],
        &["usage"],
        &["projects", "list"],
    ] {
        said(
            belljar_without_server(verb)
                .env("BELLJAR_URL", &SERVER.url)
                .env("BELLJAR_TOKEN", "bjr_wrong"),
        )
        .fails(1, &["the token is missing, unknown"]);
    }
    // The refusal arrives before the upload is read, and is reported instead of the broken
    // connection.
    let big = config.path().join("big");
    std::fs::write(&big, vec![7; 8 << 20]).unwrap();
    let mut cp = belljar_without_server(["storage", "cp", big.to_str().unwrap(), "obj:big"]);
    said(cp.env("BELLJAR_URL", &SERVER.url).env("BELLJAR_TOKEN", "bjr_wrong"))
        .fails(1, &["the token is missing, unknown"]);
    let mut run = belljar_without_server(["run", "--remote", "-l", "js", "-e", "1"]);
    said(run.env("BELLJAR_URL", &SERVER.url).env("BELLJAR_TOKEN", "bjr_wrong"))
        .fails(125, &["the token is missing, unknown"]);
}

#[test]
fn an_unreachable_server_is_reported_with_a_hint() {
    let nowhere = "http://127.0.0.1:9";
    for verb in [&["runs"][..], &["storage", "ls", "--json"], &["audit", "verify"]] {
        let said = said(
            belljar_without_server(verb).args(["--server", nowhere]).env("BELLJAR_TOKEN", "bjr_a"),
        );
        said.fails(
            1,
            &[
                "error: cannot reach the server at http://127.0.0.1:9: connection refused",
                "hint: start a server with `belljar serve`",
            ],
        );
        assert_eq!(said.stdout, "");
    }
    said(&mut belljar_without_server(["runs"]))
        .fails(1, &["cannot reach the server on /nonexistent/home/server.sock"]);
    said(&mut belljar_without_server(["run", "--remote", "-l", "js", "-e", "1"]))
        .fails(70, &["cannot reach the server"]);
    said(&mut belljar_without_server(["runs", "--server", nowhere]))
        .fails(2, &["there is no token for http://127.0.0.1:9", "hint: set BELLJAR_TOKEN"]);
    said(&mut belljar_without_server(["runs", "--server", "example.com"]))
        .fails(2, &["`example.com` is not the URL of a server", "hint: use a URL such as"]);
    said(belljar_without_server(["login", "ftp://a"]).env("BELLJAR_TOKEN", "bjr_a"))
        .fails(2, &["is not the URL of a server"]);
}

#[test]
fn a_socket_is_the_operators_and_a_token_is_for_one_project() {
    let socket = format!("unix:{}", SERVER.home.join("server.sock").display());
    said(&mut belljar_without_server(["runs", "--server", &socket])).shows(&["ID"]);
    said(&mut SERVER.operator(["runs", "--project", "missing"])).fails(1, &["missing"]);
    said(&mut SERVER.client(["runs", "--project", "default"]))
        .fails(2, &["a token belongs to one project"]);
    // A caller with a token is not the operator, even with access to the socket.
    let mut command = SERVER.operator(["projects", "create", "mine"]);
    said(command.env("BELLJAR_URL", &SERVER.url).env("BELLJAR_TOKEN", &SERVER.token))
        .fails(1, &["only the operator may do this"]);
}
