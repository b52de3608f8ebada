//! Runs of an ordinary user, in a user namespace. As root, the tests switch to a user without an
//! account. As an ordinary user, the rest of the suite covers this case.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use belljar_test_support::{STARTS, belljar, is_root, outcome, said};
use serde_json::{Value, json};
use tempfile::TempDir;

const UID: u32 = 12_345;

/// An ordinary user with a home, a cache and a Node of its own.
struct User {
    home: TempDir,
    // In /tmp, which a sandbox replaces with its own.
    _runtimes: TempDir,
    node: PathBuf,
}

impl User {
    fn new() -> Option<Self> {
        if !is_root() {
            eprintln!("not root: the whole suite is run as an ordinary user already");
            return None;
        }
        let home = tempfile::tempdir_in("/var/tmp").unwrap();
        let runtimes = tempfile::tempdir().unwrap();
        for folder in [&home, &runtimes] {
            fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        // The Node of root may be in a folder that other users cannot read.
        let installed = outcome("javascript", "process.execPath", &[]);
        let node = runtimes.path().join("node/bin/node");
        fs::create_dir_all(node.parent().unwrap()).unwrap();
        fs::copy(installed["value"].as_str().unwrap(), &node).unwrap();
        chown(home.path(), Some(UID), Some(UID)).unwrap();
        Some(Self { home, _runtimes: runtimes, node })
    }

    fn run(&self, language: &str, code: &str, flags: &[&str]) -> Command {
        let mut command = belljar(["run", "--language", language, "--eval", code]);
        command.args(flags).uid(UID).gid(UID).current_dir("/");
        command
            .env("HOME", self.home.path())
            .env_remove("XDG_CACHE_HOME")
            .env_remove("BELLJAR_CACHE")
            .env_remove("XDG_DATA_HOME");
        command
            .env("BELLJAR_NODE", &self.node)
            .env("BELLJAR_PYTHON", "/usr/bin/python3")
            .env("PATH", "/usr/bin:/bin");
        command
    }

    fn outcome(&self, language: &str, code: &str, flags: &[&str]) -> Value {
        said(&mut self.run(language, code, &[&["--json", "--allow-degraded"], flags].concat()))
            .outcome()
    }
}

#[test]
fn an_ordinary_user_without_control_groups_is_refused_until_it_accepts_that() {
    let Some(user) = User::new() else { return };
    let refused = said(&mut user.run("javascript", "1", &[]));
    if refused.code == Some(0) {
        eprintln!("this machine delegates control groups to every user");
        return;
    }
    refused.fails(125, &["error:", "hint:", "--allow-degraded"]);
    let accepted = said(&mut user.run("javascript", "1 + 1", &["--allow-degraded"]));
    accepted.prints("2\n");
    assert!(accepted.stderr.contains("degraded: no control groups"), "{accepted:?}");
    let ended = user.outcome("javascript", "1", &[]);
    assert_eq!(ended["sandbox"]["degraded"].as_array().map(Vec::len), Some(1), "{ended:#}");
}

#[test]
fn an_ordinary_user_without_a_home_gets_a_hint_where_to_put_the_cache() {
    let Some(user) = User::new() else { return };
    said(user.run("javascript", "1", &["--allow-degraded"]).env_remove("HOME"))
        .fails(2, &["error:", "hint:", "BELLJAR_CACHE"]);
    let blocked = user.home.path().join("not-a-folder");
    fs::write(&blocked, "").unwrap();
    said(user.run("javascript", "1", &["--allow-degraded"]).env("BELLJAR_CACHE", "/proc/belljar"))
        .fails(125, &["error:", "hint:", "BELLJAR_CACHE"]);
    said(user.run("javascript", "1", &["--allow-degraded"]).env("BELLJAR_CACHE", blocked))
        .fails(2, &["error:", "hint:", "BELLJAR_CACHE"]);
}

#[test]
fn programs_run_for_an_ordinary_user() {
    let Some(user) = User::new() else { return };
    for start in STARTS {
        let value = |language: &str, code: &str, flags: &[&str]| {
            let ended = user.outcome(language, code, &[&["--start", start], flags].concat());
            assert_eq!(ended["status"], "succeeded", "{start}: {code}: {ended:#}");
            ended["value"].clone()
        };
        assert_eq!(
            value(
                "javascript",
                "const { Worker } = require('worker_threads'); await new Promise(r => new Worker('require(\"worker_threads\").parentPort.postMessage(42)', { eval: true }).on('message', r))",
                &[]
            ),
            42
        );
        assert_eq!(value("typescript", "enum E { A = 41 }\nE.A + 1", &[]), 42);
        assert_eq!(
            value(
                "python",
                "import os, asyncio\nasync def main():\n    open('/tmp/x', 'w').write('x')\n    return [os.getuid() != 0, os.listdir('/tmp')]",
                &[]
            ),
            json!([true, ["x"]])
        );
        assert_eq!(
            value(
                "python",
                "import subprocess\nsubprocess.check_output(['echo', 'hi'], text=True)",
                &["--exec"]
            ),
            "hi\n"
        );
        assert_eq!(
            value(
                "javascript",
                "const s = require('net').createServer(c => c.end('x')).listen(0, '127.0.0.1'); await new Promise(r => s.on('listening', () => require('net').connect(s.address().port, '127.0.0.1').on('data', d => { s.close(); r(String(d)) })))",
                &["--loopback"]
            ),
            "x"
        );
    }
}

#[test]
fn limits_and_errors_hold_for_an_ordinary_user() {
    let Some(user) = User::new() else { return };
    for start in STARTS {
        for (code, flags, status) in [
            ("for (;;);", ["--timeout", "300ms"], "timed_out"),
            ("for (;;);", ["--cpu", "300ms"], "cpu_exceeded"),
            (
                "const all = []; for (;;) all.push(Buffer.alloc(1 << 20, 1))",
                ["--memory", "128M"],
                "memory_exceeded",
            ),
            ("for (;;) console.log('x')", ["--output-limit", "1K"], "output_exceeded"),
            ("require('fs').writeFileSync('x', Buffer.alloc(2 << 20))", ["--disk", "1M"], "failed"),
            (
                "require('fs').readFileSync('/etc/passwd', 'utf8').includes('daemon') && fail()",
                ["--timeout", "20s"],
                "succeeded",
            ),
        ] {
            let ended =
                user.outcome("javascript", code, &[&["--start", start][..], &flags].concat());
            assert_eq!(ended["status"], status, "{start}: {code}: {ended:#}");
        }
    }
}

#[test]
fn grants_give_an_ordinary_user_its_own_files() {
    let Some(user) = User::new() else { return };
    let data = user.home.path().join("data");
    fs::create_dir(&data).unwrap();
    let file = data.join("in.txt");
    fs::write(&file, "mine").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    for path in [&data, &file] {
        chown(path, Some(UID), Some(UID)).unwrap();
    }
    let text = |path: &Path| path.to_str().unwrap().to_owned();
    for start in STARTS {
        let code = format!(
            "open({0:?} + '/out.txt', 'w').write(open({0:?} + '/in.txt').read())",
            text(&data)
        );
        let denied = user.outcome("python", &code, &["--start", start]);
        assert_eq!(
            (&denied["status"], &denied["denied"][0]["action"]),
            (&json!("failed"), &json!("fs.write")),
            "{denied:#}"
        );
        let ended = user.outcome("python", &code, &["--start", start, "--write", &text(&data)]);
        assert_eq!(ended["status"], "succeeded", "{ended:#}");
        let out = data.join("out.txt");
        assert_eq!(fs::read_to_string(&out).unwrap(), "mine");
        assert_eq!(fs::metadata(&out).unwrap().uid(), UID);
        fs::remove_file(out).unwrap();
    }
}

/// The zygote of an ordinary user already has the grants, and each sandbox removes the permission
/// to execute files in them.
#[test]
fn nothing_in_an_ordinary_users_granted_folder_is_executed_without_an_exec_grant() {
    let Some(user) = User::new() else { return };
    // Also a folder that a sandbox replaces with its own.
    let below = tempfile::tempdir().unwrap();
    for folder in [below.path(), user.home.path()] {
        let data = folder.join("data");
        fs::create_dir(&data).unwrap();
        for path in [folder, &data] {
            chown(path, Some(UID), Some(UID)).unwrap();
        }
        let code = format!(
            "import mmap\nfile = open({:?} + '/file', 'wb+')\nfile.truncate(4096)\ntry:\n    mmap.mmap(file.fileno(), 4096, prot=5, flags=2)\n    r = 'mapped'\n\
             except PermissionError:\n    r = 'refused'\nr",
            data.to_str().unwrap()
        );
        for start in STARTS {
            for (exec, expected) in [(&[][..], "refused"), (&["--exec"], "mapped")] {
                let ended = user.outcome(
                    "python",
                    &code,
                    &[&["--start", start, "--write", data.to_str().unwrap()], exec].concat(),
                );
                assert_eq!(ended["value"], expected, "{start} {data:?}: {ended:#}");
            }
        }
    }
}

#[test]
fn artifacts_come_back_to_an_ordinary_user() {
    let Some(user) = User::new() else { return };
    for start in STARTS {
        let folder = user.home.path().join(start);
        let path = folder.to_str().unwrap();
        let ended = user.outcome(
            "javascript",
            "require('fs').writeFileSync('outputs/a.txt', 'A', { mode: 0o600 }); 1",
            &["--start", start, "--artifacts", path],
        );
        assert_eq!(ended["artifacts"][0]["name"], "a.txt", "{ended:#}");
        assert_eq!(fs::read_to_string(folder.join("a.txt")).unwrap(), "A");
    }
}

#[test]
fn an_ordinary_user_has_packages_too() {
    let Some(user) = User::new() else { return };
    for (language, code, value) in [
        ("python", "import humanize; humanize.intcomma(1234)", json!("1,234")),
        ("javascript", "require('lodash').chunk([1, 2, 3], 2)", json!([[1, 2], [3]])),
    ] {
        for start in STARTS {
            let ended = user.outcome(language, code, &["--start", start]);
            assert_eq!(ended["value"], value, "{ended}");
        }
    }
}
