//! Objects in storage: copies in both directions, listing, deletion and signed URLs.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::sync::atomic::Ordering;

use belljar_test_support::http::Request;
use belljar_test_support::{Said, Server, binary, said, said_with_input};
use serde_json::Value;
use tempfile::TempDir;

use crate::proxy::{Harm, Proxy};

static SERVER: LazyLock<Server> = LazyLock::new(Server::start);

fn storage(arguments: &[&str]) -> Said {
    said(SERVER.client(["storage"]).args(arguments))
}

fn put(name: &str, content: &[u8]) {
    let said = said_with_input(
        &mut SERVER.client(["storage", "cp", "-", &format!("obj:{name}")]),
        content,
    );
    assert_eq!(said.code, Some(0), "{said:?}");
}

/// Returns bytes without repetition, which cannot be compressed.
fn noise(size: usize) -> Vec<u8> {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    let mut bytes = Vec::with_capacity(size + 8);
    while bytes.len() < size {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes.extend_from_slice(&state.to_le_bytes());
    }
    bytes.truncate(size);
    bytes
}

fn text(path: &Path) -> String {
    path.display().to_string()
}

#[test]
fn fifty_megabytes_go_both_ways_and_are_checked() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (folder.path().join("big.bin"), folder.path().join("back.bin"));
    std::fs::write(&from, noise(50 << 20)).unwrap();
    let up = storage(&["cp", &text(&from), "obj:big/", "--json"]).json();
    assert_eq!(
        (&up["copied"][0]["to"], &up["copied"][0]["size_bytes"]),
        (&Value::from("obj:big/big.bin"), &Value::from(50 << 20))
    );
    let sum = Command::new("sha256sum").arg(&from).output().unwrap().stdout;
    assert!(
        String::from_utf8(sum).unwrap().starts_with(up["copied"][0]["sha256"].as_str().unwrap())
    );
    let down = storage(&["cp", "obj:big/big.bin", &text(&to)]);
    assert_eq!((down.code, down.stdout.as_str()), (Some(0), ""), "{down:?}");
    assert!(
        !down.stderr.contains('\r') && down.stderr.contains("50 MB"),
        "no progress without a terminal: {down:?}"
    );
    assert!(std::fs::read(&from).unwrap() == std::fs::read(&to).unwrap());
    assert_eq!(
        storage(&["ls", "big/", "--json"]).json()["objects"][0]["sha256"],
        up["copied"][0]["sha256"]
    );
    storage(&["ls", "obj:big/"]).shows(&["SIZE", "50 MB", "big/big.bin"]);
    let cat = SERVER.client(["storage", "cat", "big/big.bin"]).output().unwrap();
    assert!(cat.status.success() && cat.stdout.len() == 50 << 20);
}

#[test]
fn a_download_that_breaks_is_taken_up_where_it_was() {
    put("broken", &noise(3 << 20));
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("to");
    // The first connection lists the objects.
    let proxy =
        Proxy::start(&SERVER.url, [10, 1_000_000, 500, 900_000].map(Harm::CutAfter).to_vec());
    let said_of_it = said(
        SERVER.client(["storage", "cp", "obj:broken", &text(&to)]).env("BELLJAR_URL", &proxy.url),
    );
    assert_eq!(said_of_it.code, Some(0), "{said_of_it:?}");
    assert!(std::fs::read(&to).unwrap() == noise(3 << 20));
    assert!(proxy.count.load(Ordering::SeqCst) >= 4);
}

#[test]
fn a_damaged_download_is_reported_and_does_not_replace_the_file() {
    put("damaged", &noise(1 << 20));
    let folder = TempDir::new().unwrap();
    let to = folder.path().join("to");
    std::fs::write(&to, "old").unwrap();
    let proxy = Proxy::start(&SERVER.url, vec![Harm::Change(500_000)]);
    let down = said(
        SERVER.client(["storage", "cp", "obj:damaged", &text(&to)]).env("BELLJAR_URL", &proxy.url),
    );
    down.fails(1, &["the content of `damaged` is damaged: expected SHA-256", "hint: try again"]);
    assert_eq!(std::fs::read_to_string(&to).unwrap(), "old");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1, "nothing is left of it");
}

#[test]
fn a_folder_goes_up_and_comes_back_whole() {
    let folder = TempDir::new().unwrap();
    let (from, to) = (folder.path().join("from"), folder.path().join("to"));
    std::fs::create_dir_all(from.join("deep/er")).unwrap();
    std::fs::write(from.join("a b?c#d%2e.txt"), "odd").unwrap();
    std::fs::write(from.join("deep/er/ünïcode"), "x").unwrap();
    std::fs::write(from.join("deep/-"), "").unwrap();
    std::fs::write(folder.path().join("secret"), "s").unwrap();
    symlink("../secret", from.join("link")).unwrap();
    symlink("/etc", from.join("etc")).unwrap();
    let up = storage(&["cp", "-r", &text(&from), "obj:tree"]);
    assert_eq!(up.code, Some(0), "{up:?}");
    assert!(
        up.stderr.contains("copied 3 files")
            && up.stderr.matches(": a link or a special file").count() == 2,
        "{up:?}"
    );
    let names: Vec<String> = storage(&["ls", "tree/", "--json"]).json()["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(|object| object["name"].as_str().unwrap().to_owned())
        .collect();
    assert_eq!(names, ["tree/a b?c#d%2e.txt", "tree/deep/-", "tree/deep/er/ünïcode"]);

    let down = storage(&["cp", "-r", "obj:tree", &text(&to)]);
    assert_eq!(down.code, Some(0), "{down:?}");
    assert_eq!(std::fs::read_to_string(to.join("a b?c#d%2e.txt")).unwrap(), "odd");
    assert_eq!(std::fs::read_to_string(to.join("deep/er/ünïcode")).unwrap(), "x");
    assert_eq!(std::fs::read(to.join("deep/-")).unwrap(), b"");
    let within = storage(&["cp", "-r", "obj:tree/", "obj:copy/", "--json"]).json();
    assert_eq!(
        (within["copied"].as_array().unwrap().len(), &within["failed"]),
        (3, &Value::from(0))
    );
    storage(&["rm", "-r", "copy/"]).shows(&[]);
    assert_eq!(storage(&["ls", "copy/", "--json"]).json()["objects"], serde_json::json!([]));
    storage(&["cp", &text(&from), "obj:tree"]).fails(2, &["is a folder", "hint: "]);
}

#[test]
fn files_with_invalid_object_names_are_reported_and_do_not_stop_the_others() {
    let folder = TempDir::new().unwrap();
    std::fs::write(folder.path().join("good"), "x").unwrap();
    std::fs::write(folder.path().join("line\nend\x1b[2J"), "x").unwrap();
    std::fs::write(folder.path().join(OsStr::from_bytes(b"\xff\xfe")), "x").unwrap();
    let up = storage(&["cp", "-r", &text(folder.path()), "obj:hostile/", "--json"]);
    up.fails(1, &["it contains a control character", "its name is not UTF-8"]);
    assert!(!up.stderr.contains('\u{1b}'), "{up:?}");
    let json: Value = serde_json::from_str(&up.stdout).unwrap();
    assert_eq!((json["copied"].as_array().unwrap().len(), &json["failed"]), (1, &Value::from(2)));
}

#[test]
fn a_download_stays_in_its_folder_whatever_lies_there() {
    for name in ["stay/link/in", "stay/soft", "stay/file/below", "stay/plain"] {
        put(name, b"new");
    }
    let folder = TempDir::new().unwrap();
    let (to, elsewhere) = (folder.path().join("to"), folder.path().join("elsewhere"));
    std::fs::create_dir_all(&to).unwrap();
    std::fs::create_dir_all(&elsewhere).unwrap();
    std::fs::write(elsewhere.join("victim"), "old").unwrap();
    symlink(&elsewhere, to.join("link")).unwrap();
    symlink(elsewhere.join("victim"), to.join("soft")).unwrap();
    std::fs::write(to.join("file"), "a file where a folder should be").unwrap();
    let down = storage(&["cp", "-r", "obj:stay", &text(&to)]);
    down.fails(
        1,
        &["link is a link or a file, not a folder", "file is a link or a file, not a folder"],
    );
    assert_eq!(std::fs::read_to_string(elsewhere.join("victim")).unwrap(), "old");
    assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 1);
    for name in ["soft", "plain"] {
        assert_eq!(std::fs::read_to_string(to.join(name)).unwrap(), "new", "{name}");
    }
    assert!(!to.join("soft").is_symlink());
}

#[test]
fn standard_input_and_output_are_a_side_of_a_copy() {
    put("piped.csv", b"a,b\n");
    assert_eq!(storage(&["cp", "obj:piped.csv", "-"]).stdout, "a,b\n");
    assert_eq!(storage(&["cat", "piped.csv", "obj:piped.csv"]).stdout, "a,b\na,b\n");
    assert_eq!(
        storage(&["ls", "piped", "--json"]).json()["objects"][0]["content_type"],
        "text/csv"
    );
    storage(&["cp", "obj:piped.csv", "/dev/null"]).shows(&[]);
    assert!(
        !Path::new("/dev/null").metadata().unwrap().file_type().is_file(),
        "it is not replaced"
    );
    storage(&["cp", "obj:piped.csv", "obj:copied.csv"]).shows(&[]);
    assert_eq!(storage(&["cat", "copied.csv"]).stdout, "a,b\n");
}

#[test]
fn wrong_usage_is_reported() {
    for (arguments, code, words) in [
        (
            &["cp", "a", "b"][..],
            2,
            &["neither the source nor the destination is in storage", "obj:NAME"][..],
        ),
        (&["cp", "/no/such/file", "obj:a"], 2, &["cannot read `/no/such/file`"]),
        (
            &["cp", "obj:missing", "here"],
            2,
            &["object `obj:missing` not found", "belljar storage ls"],
        ),
        (&["cp", "-r", "obj:missing", "here"], 2, &["there are no objects under `obj:missing/`"]),
        (&["cp", "-", "obj:"], 2, &["is a prefix, not an object"]),
        (&["cp", "-", "obj:../a"], 2, &["is not a valid object name"]),
        (&["cat", "missing"], 1, &["missing"]),
        (&["rm", "missing"], 1, &["missing"]),
        (&["rm", ""], 2, &["with -r"]),
        (&["rm", "-r", "missing"], 2, &["no object name begins with"]),
        (&["sign", "piped.csv", "--expires", "30d"], 1, &["days"]),
    ] {
        storage(arguments).fails(code, words);
    }
    put("new-only", b"1");
    let again = said_with_input(
        &mut SERVER.client(["storage", "cp", "--only-new", "-", "obj:new-only"]),
        b"2",
    );
    again.fails(1, &["new-only"]);
    assert_eq!(storage(&["cat", "new-only"]).stdout, "1");
}

#[test]
fn a_signed_url_works_without_a_token() {
    put("signed", b"for everyone with the URL");
    let url = storage(&["sign", "signed", "--expires", "5m"]).stdout.trim().to_owned();
    assert_eq!(Request::new("GET", &url).send().text(), "for everyone with the URL");
    let put_url =
        storage(&["sign", "signed", "--put", "--json"]).json()["url"].as_str().unwrap().to_owned();
    let answer = Request::new("PUT", &put_url).body("replaced").send();
    assert!((200..300).contains(&answer.status), "{answer:?}");
    assert_eq!(storage(&["cat", "signed"]).stdout, "replaced");
    let path = said(&mut SERVER.operator(["storage", "sign", "signed"]));
    assert!(
        path.stdout.starts_with("/v1/objects/signed?")
            && path.stderr.contains("appended to the URL of the server"),
        "{path:?}"
    );
}

#[test]
fn on_a_terminal_there_is_progress_and_no_line_is_wider_than_it() {
    let folder = TempDir::new().unwrap();
    let from = folder.path().join("file");
    std::fs::write(&from, noise(8 << 20)).unwrap();
    let on_a_terminal = |command: String| {
        // script(1) provides a terminal.
        let client = SERVER.client::<&str>([]);
        let mut terminal = Command::new("script");
        terminal
            .args(["-qec", &command, "/dev/null"])
            .envs(client.get_envs().filter_map(|(name, value)| Some((name, value?))))
            .env("TERM", "xterm");
        said(&mut terminal).stdout
    };
    let shown = on_a_terminal(format!(
        "stty rows 24 cols 60; {} storage cp {} obj:shown-{}",
        binary(),
        from.display(),
        "x".repeat(60)
    ));
    assert!(shown.contains("of 8.00 MiB"), "{shown:?}");
    let table = on_a_terminal(format!("stty rows 24 cols 60; {} storage ls shown", binary()));
    assert!(
        table.contains('…') && table.lines().all(|line| line.trim_end().chars().count() <= 60),
        "{table:?}"
    );
}
