//! Every grant of a policy, tested with the grant and without it.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use belljar_test_support::{STARTS, is_root, outcome, run, said};
use serde_json::{Value, json};

fn text(path: &Path) -> &str {
    path.to_str().expect("a path in UTF-8")
}

/// Asserts that a run failed, that this access was denied, and that its error names the grant.
#[track_caller]
fn refused(outcome: &Value, action: &str, target: &str, grant: &str) {
    assert_eq!(outcome["status"], "failed", "{outcome:#}");
    assert!(
        outcome["denied"].as_array().is_some_and(
            |all| all.contains(&json!({"action": action, "target": target, "grant": grant}))
        ),
        "{outcome:#}"
    );
    // A host cannot be granted yet, and the message must not send the reader to ask for it.
    let said = if grant.starts_with("net:") { "gives programs no network" } else { grant };
    assert!(
        outcome["error"]["message"].as_str().is_some_and(|message| message.contains(said)),
        "{outcome:#}"
    );
}

#[test]
fn a_host_file_is_read_only_where_granted() {
    // Not in /tmp, because the sandbox has a /tmp of its own.
    let folder = tempfile::tempdir_in("/var/tmp").unwrap();
    let file = folder.path().join("in.csv");
    fs::write(&file, "a,b\n").unwrap();
    // Only the owner can read it: a grant gives the access of the caller, not that of others.
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let path = text(&file);
    for start in STARTS {
        for (language, read, write) in [
            (
                "javascript",
                format!("require('fs').readFileSync({path:?}, 'utf8')"),
                format!("require('fs').appendFileSync({path:?}, 'x')"),
            ),
            ("python", format!("open({path:?}).read()"), format!("open({path:?}, 'a')")),
        ] {
            refused(
                &outcome(language, &read, &["--start", start]),
                "fs.read",
                path,
                &format!("fs.read: [\"{path}\"]"),
            );
            for grant in [path, text(folder.path())] {
                let granted = outcome(language, &read, &["--start", start, "--read", grant]);
                assert_eq!(granted["value"], "a,b\n", "{granted:#}");
            }
            let written = outcome(language, &write, &["--start", start, "--read", path]);
            refused(&written, "fs.write", path, &format!("fs.write: [\"{path}\"]"));
        }
    }
    assert_eq!(fs::read_to_string(&file).unwrap(), "a,b\n");
}

#[test]
fn what_is_written_with_a_grant_arrives_on_the_host_as_the_callers_own() {
    for start in STARTS {
        for (language, code) in [
            (
                "javascript",
                "const fs = require('fs'); fs.mkdirSync(FOLDER + '/sub'); fs.writeFileSync(FOLDER + '/sub/a', 'new'); fs.appendFileSync(FOLDER + '/old', '+'); fs.renameSync(FOLDER + '/gone', FOLDER + '/here')",
            ),
            (
                "python",
                "import os\nos.mkdir(FOLDER + '/sub')\nopen(FOLDER + '/sub/a', 'w').write('new')\nopen(FOLDER + '/old', 'a').write('+')\nos.rename(FOLDER + '/gone', FOLDER + '/here')",
            ),
        ] {
            let folder = tempfile::tempdir().unwrap();
            fs::write(folder.path().join("old"), "old").unwrap();
            fs::set_permissions(folder.path().join("old"), fs::Permissions::from_mode(0o600))
                .unwrap();
            fs::write(folder.path().join("gone"), "").unwrap();
            let path = text(folder.path());
            let ended = outcome(
                language,
                &code.replace("FOLDER", &format!("{path:?}")),
                &["--start", start, "--write", path],
            );
            assert_eq!(ended["status"], "succeeded", "{ended:#}");
            assert_eq!(fs::read_to_string(folder.path().join("sub/a")).unwrap(), "new");
            assert_eq!(fs::read_to_string(folder.path().join("old")).unwrap(), "old+");
            assert!(folder.path().join("here").exists());
            let own = fs::metadata(folder.path()).unwrap();
            for made in ["sub", "sub/a", "old"] {
                let metadata = fs::metadata(folder.path().join(made)).unwrap();
                assert_eq!((metadata.uid(), metadata.gid()), (own.uid(), own.gid()), "{made}");
            }
        }
    }
}

#[test]
fn grants_may_lie_in_one_another() {
    let folder = tempfile::tempdir().unwrap();
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    fs::write(folder.path().join("a"), "A").unwrap();
    let code = format!(
        "const fs = require('fs'); const F = {:?}; fs.writeFileSync(F + '/inner/b', 'B'); let e; try {{ fs.writeFileSync(F + '/c', '') }} catch (x) {{ e = x.code }} [fs.readFileSync(F + '/a', 'utf8'), e]",
        text(folder.path())
    );
    for start in STARTS {
        let ended = outcome(
            "javascript",
            &code,
            &["--start", start, "--write", text(&inner), "--read", text(folder.path())],
        );
        assert_eq!(ended["value"], json!(["A", "EROFS"]), "{ended:#}");
        assert_eq!(fs::read_to_string(inner.join("b")).unwrap(), "B");
        fs::remove_file(inner.join("b")).unwrap();
    }
}

#[test]
fn a_grant_that_is_a_link_gives_what_it_led_to_and_no_more() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("real")).unwrap();
    fs::write(folder.path().join("real/a"), "A").unwrap();
    fs::write(folder.path().join("secret"), "S").unwrap();
    // A link inside the granted folder that leads outside cannot be followed.
    symlink(folder.path().join("secret"), folder.path().join("real/out")).unwrap();
    symlink(folder.path().join("real"), folder.path().join("link")).unwrap();
    let link = folder.path().join("link");
    let code = format!(
        "const fs = require('fs'); let e; try {{ fs.readFileSync({0:?} + '/out') }} catch (x) {{ e = x.code }} [fs.readFileSync({0:?} + '/a', 'utf8'), e]",
        text(&link)
    );
    for start in STARTS {
        let ended = outcome("javascript", &code, &["--start", start, "--read", text(&link)]);
        assert_eq!(ended["value"], json!(["A", "ENOENT"]), "{ended:#}");
    }
}

#[test]
fn a_relative_grant_is_meant_from_where_the_caller_is() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a"), "A").unwrap();
    let code = format!("open({:?}).read()", text(&folder.path().join("a")));
    said(run(["-l", "python", "-e", &code, "--read", "a"]).current_dir(folder.path()))
        .prints("\"A\"\n");
    said(run(["-l", "python", "-e", &code, "--read", "./"]).current_dir(folder.path()))
        .prints("\"A\"\n");
}

#[test]
fn grants_that_cannot_be_are_refused_with_the_reason() {
    for (grant, words) in [
        ("/no/such/path", "No such file"),
        ("missing-here", "check the path"),
        ("/proc/1", "belongs to the sandbox itself"),
        ("/tmp", "the sandbox has its own"),
        ("/", "name the folders that the program needs"),
        ("/dev/null", "belongs to the sandbox itself"),
        ("/etc", "the sandbox has its own /etc/passwd"),
        ("/etc/passwd", "the sandbox has its own /etc/passwd"),
        ("/opt", "the sandbox has its own /opt/belljar"),
    ] {
        for flag in ["--read", "--write"] {
            said(&mut run(["-l", "js", "-e", "1", flag, grant]))
                .fails(125, &["error:", "hint:", words]);
        }
    }
    let ended = outcome("javascript", "1", &["--read", "/no/such/path"]);
    assert_eq!(
        (&ended["status"], &ended["error"]["name"]),
        (&json!("refused"), &json!("Refused")),
        "{ended:#}"
    );
}

#[test]
fn the_environment_is_empty_but_for_what_is_granted() {
    for start in STARTS {
        for (language, code) in [
            ("javascript", "process.env.TOKEN ?? null"),
            ("python", "import os\nos.environ.get('TOKEN')"),
        ] {
            let command = |flags: &[&str]| {
                let said = said(
                    run(["-l", language, "-e", code, "--json", "--start", start])
                        .args(flags)
                        .env("TOKEN", "the caller's"),
                );
                said.outcome()["value"].clone()
            };
            assert_eq!(command(&[]), Value::Null);
            assert_eq!(command(&["--env", "TOKEN=given=x"]), "given=x");
        }
    }
}

#[test]
fn other_programs_start_only_where_granted() {
    for start in STARTS {
        for (language, code) in [
            ("javascript", "require('child_process').execFileSync('/bin/echo', ['hi']).toString()"),
            (
                "python",
                "import subprocess\nsubprocess.check_output(['/bin/echo', 'hi'], text=True)",
            ),
        ] {
            let without = outcome(language, code, &["--start", start]);
            refused(&without, "exec", "/bin/echo", "exec: true");
            assert_eq!(outcome(language, code, &["--start", start, "--exec"])["value"], "hi\n");
        }
    }
}

#[test]
fn there_is_no_network_but_a_granted_loopback() {
    for start in STARTS {
        for (language, listen, connect) in [
            (
                "javascript",
                "await new Promise((y, n) => require('net').createServer().listen(0, '127.0.0.1', function () { this.close(); y('up') }).on('error', n))",
                "await fetch('http://192.0.2.1:80/')",
            ),
            (
                "python",
                "import socket\ns = socket.socket()\ns.bind(('127.0.0.1', 0))\ns.listen()\n'up'",
                "import socket\nsocket.create_connection(('192.0.2.1', 80))",
            ),
        ] {
            let without = outcome(language, listen, &["--start", start]);
            assert_eq!(without["status"], "failed", "{without:#}");
            assert!(
                without["error"]["message"]
                    .as_str()
                    .is_some_and(|message| message.contains("loopback: true")),
                "{without:#}"
            );
            assert_eq!(outcome(language, listen, &["--start", start, "--loopback"])["value"], "up");
            let outward = outcome(language, connect, &["--start", start]);
            refused(&outward, "net.connect", "192.0.2.1:80", "net: [\"192.0.2.1:80\"]");
        }
    }
}

#[test]
fn a_refusal_names_the_flag_on_the_terminal() {
    said(&mut run(["-l", "js", "-e", "require('fs').readFileSync('/no/such')"]))
        .fails(1, &["main.js:1", "hint: allow fs.read /no/such with --read /no/such"]);
    said(&mut run(["-l", "py", "-e", "import subprocess\nsubprocess.run(['ls'])"]))
        .fails(1, &["line 2", "with --exec"]);
}

#[test]
fn a_policy_file_and_flags_add_up() {
    let folder = tempfile::tempdir().unwrap();
    let policy = folder.path().join("policy.json");
    fs::write(
        &policy,
        r#"{"policy": {"env": {"A": "file"}, "exec": true}, "limits": {"output_bytes": 100}}"#,
    )
    .unwrap();
    let code =
        "[process.env.A, process.env.B, require('child_process').execSync('echo x').toString()]";
    let ended = outcome("javascript", code, &["--policy", text(&policy), "--env", "B=flag"]);
    assert_eq!(ended["value"], json!(["file", "flag", "x\n"]), "{ended:#}");
    assert_eq!(
        outcome("javascript", "console.log('x'.repeat(200))", &["--policy", text(&policy)])["status"],
        "output_exceeded"
    );
    assert_eq!(
        outcome(
            "javascript",
            "console.log('x'.repeat(200))",
            &["--policy", text(&policy), "--output-limit", "1K"]
        )["status"],
        "succeeded"
    );
    fs::write(&policy, r#"{"policy": {"network": []}}"#).unwrap();
    said(&mut run(["-l", "js", "-e", "1", "--policy", text(&policy)]))
        .fails(2, &["unknown field `network`", "loopback"]);
    fs::write(&policy, r#"{"policy": {"net": ["example.com"]}}"#).unwrap();
    said(&mut run(["-l", "js", "-e", "1", "--policy", text(&policy)]))
        .fails(125, &["policy.net is not available", "hint: remove it"]);
}

#[test]
fn a_root_owned_file_of_mode_0600_is_unreadable_without_a_grant() {
    if !is_root() {
        eprintln!("not root: nothing here is readable by root alone");
        return;
    }
    for start in STARTS {
        let ended = outcome("python", "open('/etc/shadow').read()", &["--start", start]);
        refused(&ended, "fs.read", "/etc/shadow", "fs.read: [\"/etc/shadow\"]");
    }
}
