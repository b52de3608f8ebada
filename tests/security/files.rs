//! Files across the border: what a grant lets in and out, and what the host does with what a
//! program leaves.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use belljar_test_support::{STARTS, is_root};
use serde_json::Value;

use crate::run::{Attack, Outcome, host_file, open_to_all};

fn artifacts(outcome: &Outcome) -> Vec<&str> {
    outcome.json["artifacts"]
        .as_array()
        .into_iter()
        .flatten()
        .filter_map(|artifact| artifact["name"].as_str())
        .collect()
}

/// Every way to make the host read or write somewhere else by what is in `outputs/`.
#[test]
fn what_is_no_plain_file_beneath_outputs_does_not_leave() {
    let python = r#"
import shutil
os.makedirs("outputs/deep/er", exist_ok=True)
open("outputs/plain", "w").write("plain")
open("outputs/deep/er/plain", "w").write("plain")
attempt("link to a file", os.symlink, "/etc/passwd", "outputs/link")
attempt("link to a folder", os.symlink, "/etc", "outputs/folder")
attempt("link upwards", os.symlink, "../../../../../../etc/passwd", "outputs/up")
attempt("link to itself", os.symlink, "loop", "outputs/loop")
attempt("link through proc", os.symlink, "/proc/1/root/etc/passwd", "outputs/magic")
attempt("fifo", os.mkfifo, "outputs/fifo")
attempt("sparse", lambda: os.truncate(os.open("outputs/sparse", os.O_CREAT | os.O_RDWR), 7 << 20))
attempt("hard link", os.link, "/etc/passwd", "outputs/hard")
import socket
def listen():
    server = socket.socket(socket.AF_UNIX)
    server.bind("outputs/socket")
attempt("socket", listen)
attempt("control characters", lambda: open("outputs/a\r\nb", "w").close())
attempt("not UTF-8", lambda: os.close(os.open(b"outputs/\xff\xfe", os.O_CREAT)))
attempt("named like a path upwards", lambda: open("outputs/..\\..\\etc", "w").close())
attempt("unreadable", lambda: os.chmod(os.open("outputs/unreadable", os.O_CREAT), 0))
attempt("named link", os.symlink, "/etc/passwd", "named")
deep = "outputs"
def deepen():
    folder = os.open("outputs", os.O_RDONLY)
    for _ in range(200):
        os.mkdir("d", dir_fd=folder)
        folder = os.open("d", os.O_RDONLY, dir_fd=folder)
    os.close(os.open("bottom", os.O_CREAT, dir_fd=folder))
attempt("deep", deepen)
"#;
    Attack::python(python)
        .with(["--output", "named", "--output", "missing", "--disk", "8M", "--max-files", "400"])
        .in_both_starts(|outcome| {
            for made in [
                "link to a file",
                "link to a folder",
                "link upwards",
                "link through proc",
                "fifo",
                "socket",
                "control characters",
                "not UTF-8",
                "named link",
                "deep",
            ] {
                outcome.attempts(&[(made, "done: None")]);
            }
            outcome.attempts(&[("hard link", "EXDEV|EPERM|EACCES|EROFS")]);
            let found = artifacts(outcome);
            assert!(found.contains(&"plain") && found.contains(&"deep/er/plain"), "{found:?}");
            for name in found {
                assert!(
                    ["plain", "deep/er/plain", "sparse", "unreadable", "..\\..\\etc"]
                        .contains(&name),
                    "{name} has left"
                );
            }
            assert!(!outcome.json.to_string().contains("root:"));
        });
    let javascript = r"
        fs.rmSync('outputs', { recursive: true, force: true });
        attempt('outputs itself a link', () => fs.symlinkSync('/etc', 'outputs'));
        attempt('named beneath', () => fs.existsSync('outputs/passwd'));
    ";
    Attack::javascript(javascript).with(["--output", "outputs/passwd"]).in_both_starts(|outcome| {
        outcome.attempts(&[
            ("outputs itself a link", "done: undefined"),
            ("named beneath", "done: true"),
        ]);
        assert!(artifacts(outcome).is_empty(), "{}", outcome.json);
    });
}

/// A thread that exchanges a file and a link as fast as it can cannot win: files are collected when
/// every process is gone.
#[test]
fn exchanging_files_for_links_while_the_run_ends_gains_nothing() {
    Attack::python(
        r#"
import threading
os.makedirs("outputs", exist_ok=True)
def race():
    while True:
        try:
            open("outputs/x", "w").write("own")
            os.replace("outputs/x", "outputs/race")
            os.symlink("/etc/passwd", "outputs/y")
            os.replace("outputs/y", "outputs/race")
        except OSError:
            pass
threading.Thread(target=race, daemon=True).start()
import time
time.sleep(0.2)
attempt("racing", lambda: True)
"#,
    )
    .with(["--settled"])
    .in_both_starts(|outcome| {
        outcome.attempts(&[("racing", "done: True")]);
        let passwd = outcome.json["artifacts"]
            .as_array()
            .into_iter()
            .flatten()
            .any(|artifact| artifact["size_bytes"].as_u64() > Some(3));
        assert!(!passwd, "{}", outcome.json);
    });
}

/// The program may write where its artifacts are saved: what it puts there must not redirect the
/// host.
#[test]
fn saving_artifacts_into_a_granted_folder_follows_no_link() {
    for start in STARTS {
        let host = tempfile::tempdir().unwrap();
        let granted = host.path().join("granted");
        fs::create_dir(&granted).unwrap();
        open_to_all(&granted);
        let victim = host_file(host.path(), "victim", "precious");
        let path = granted.to_str().unwrap();
        let body = format!(
            "
fs.mkdirSync('outputs', {{ recursive: true }});
fs.writeFileSync('outputs/trap', 'from the program');
attempt('trap', () => fs.symlinkSync('{victim}', '{path}/trap'));
"
        );
        let outcome = Attack::javascript(&body)
            .start(start)
            .with(["--write", path, "--artifacts", path])
            .run();
        outcome.attempts(&[("trap", "done: undefined")]);
        assert_eq!(fs::read_to_string(&victim).unwrap(), "precious");
        let saved = granted.join("trap");
        assert!(saved.symlink_metadata().unwrap().is_file());
        assert_eq!(fs::read_to_string(saved).unwrap(), "from the program");
    }
}

/// The program may write around the folder where its artifacts are saved: a link in its place must
/// not redirect the host.
#[test]
fn the_folder_for_artifacts_is_opened_before_the_program_can_exchange_it() {
    for start in STARTS {
        let host = tempfile::tempdir_in("/var/tmp").unwrap();
        let (granted, victim) = (host.path().join("granted"), host.path().join("victim"));
        for folder in [&granted, &granted.join("saved"), &victim] {
            fs::create_dir(folder).unwrap();
            open_to_all(folder);
        }
        let (path, elsewhere) = (granted.to_str().unwrap(), victim.to_str().unwrap());
        let body = format!(
            r#"
os.makedirs("outputs", exist_ok=True)
open("outputs/planted", "w").write("from the program")
attempt("exchange", lambda: (os.rename("{path}/saved", "{path}/was"), os.symlink("{elsewhere}", "{path}/saved")))
"#
        );
        let saved = granted.join("saved");
        let outcome = Attack::python(&body)
            .start(start)
            .with(["--write", path, "--artifacts", saved.to_str().unwrap()])
            .run();
        outcome.attempts(&[("exchange", "done: (None, None)")]);
        assert_eq!(
            fs::read_dir(&saved).unwrap().count(),
            0,
            "the link leads to the victim, where nothing may be"
        );
        assert_eq!(fs::read_to_string(granted.join("was/planted")).unwrap(), "from the program");
    }
}

#[test]
fn no_program_leaves_a_set_id_file_or_a_device_on_the_host() {
    for start in STARTS {
        let host = tempfile::tempdir().unwrap();
        let path = host.path().to_str().unwrap().to_owned();
        open_to_all(host.path());
        let python = format!(
            r#"
os.chdir("{path}")
attempt("plain", lambda: open("plain", "w").write("x"))
for mode in (0o4755, 0o2755, 0o6755):
    attempt(f"chmod {{mode:o}}", os.chmod, "plain", mode)
    attempt(f"fchmod {{mode:o}}", lambda: os.fchmod(os.open("plain", os.O_RDWR), mode))
    attempt(f"fchmodat {{mode:o}}", lambda: call("fchmodat", -100, b"plain", mode))
    attempt(f"fchmodat2 {{mode:o}}", lambda: call("fchmodat2", -100, b"plain", mode, 0))
    attempt(f"open {{mode:o}}", lambda: os.open(f"open{{mode:o}}", os.O_CREAT | os.O_WRONLY, mode))
    attempt(f"openat {{mode:o}}", lambda: call("openat", -100, b"at", os.O_CREAT, mode))
    attempt(f"temporary {{mode:o}}", lambda: os.open(".", os.O_TMPFILE | os.O_RDWR, mode))
    attempt(f"mkdir {{mode:o}}", os.mkdir, f"folder{{mode:o}}", mode)
    attempt(f"mknod {{mode:o}}", os.mknod, f"node{{mode:o}}", 0o100000 | mode)
attempt("block device", os.mknod, "device", 0o060660, os.makedev(8, 0))
attempt("capability", os.setxattr, "plain", "security.capability", b"\1\0\0\2\0\0\0\0" + b"\xff" * 12)
attempt("attribute", os.setxattr, "plain", "user.x", b"y")
attempt("give away", os.chown, "plain", 0, 0)
"#
        );
        let outcome = Attack::python(&python).start(start).with(["--write", &path]).run();
        outcome.attempts(&[
            ("plain", "done: 1"),
            ("block device", "EPERM"),
            ("capability", "ENOTSUP"),
            ("attribute", "ENOTSUP"),
            ("give away", "EINVAL|EPERM"),
        ]);
        for mode in ["4755", "2755", "6755"] {
            for way in
                ["chmod", "fchmod", "fchmodat", "open", "openat", "temporary", "mkdir", "mknod"]
            {
                outcome.attempts(&[(&format!("{way} {mode}"), "EPERM")]);
            }
            outcome.attempts(&[(&format!("fchmodat2 {mode}"), "ENOSYS")]);
        }
        let javascript = format!(
            "
for (const mode of [0o4755, 0o2755]) {{
  attempt(`chmod ${{mode}}`, () => fs.chmodSync('{path}/plain', mode));
  attempt(`open ${{mode}}`, () => fs.openSync(`{path}/js${{mode}}`, 'w', mode));
  attempt(`copy ${{mode}}`, () => fs.cpSync('/usr/bin/su', `{path}/su${{mode}}`, {{ preserveTimestamps: true }}));
}}"
        );
        let outcome = Attack::javascript(&javascript).start(start).with(["--write", &path]).run();
        for mode in [0o4755, 0o2755] {
            outcome.attempts(&[
                (&format!("chmod {mode}"), "EPERM"),
                (&format!("open {mode}"), "EPERM"),
            ]);
            outcome.attempt(&format!("copy {mode}"));
        }
        for entry in fs::read_dir(host.path()).unwrap().flatten() {
            let metadata = entry.metadata().unwrap();
            assert_eq!(metadata.permissions().mode() & 0o6000, 0, "{:?} is set-id", entry.path());
            assert!(
                metadata.is_file() || metadata.is_dir(),
                "{:?} is neither file nor folder",
                entry.path()
            );
            assert!(is_root() || metadata.uid() == rustix::process::geteuid().as_raw());
        }
    }
}

#[test]
fn a_grant_covers_its_path_and_nothing_else() {
    for start in STARTS {
        let host = tempfile::tempdir().unwrap();
        let (read, write) = (host.path().join("read"), host.path().join("write"));
        fs::create_dir(&read).unwrap();
        fs::create_dir(&write).unwrap();
        open_to_all(&write);
        let neighbour = host_file(host.path(), "neighbour", "secret");
        host_file(&read, "in", "content");
        symlink(&neighbour, read.join("out")).unwrap();
        let (readable, writable) = (read.to_str().unwrap(), write.to_str().unwrap());
        let body = format!(
            r#"
attempt("read", lambda: open("{readable}/in").read())
attempt("write what is to be read", lambda: open("{readable}/in", "w"))
attempt("make next to it", lambda: open("{readable}/new", "w"))
attempt("remove", os.unlink, "{readable}/in")
attempt("rename", os.rename, "{readable}/in", "{readable}/out2")
attempt("chmod", os.chmod, "{readable}/in", 0o777)
attempt("through a link", lambda: open("{readable}/out").read())
attempt("neighbour", lambda: open("{neighbour}").read())
attempt("upwards", lambda: open("{readable}/../neighbour").read())
attempt("siblings", lambda: sorted(os.listdir("{readable}/..")))
attempt("link into the writable one", os.link, "{readable}/in", "{writable}/linked")
attempt("write", lambda: open("{writable}/made", "w").write("made"))
attempt("own link", os.symlink, "{neighbour}", "{writable}/trap")
attempt("through the own link", lambda: open("{writable}/trap").read())
attempt("execute", lambda: os.execv("/bin/true", ["true"]))
"#
        );
        let outcome = Attack::python(&body)
            .start(start)
            .with(["--read", readable, "--write", writable])
            .run();
        let refused = "EROFS|EACCES|EPERM";
        outcome.attempts(&[
            ("read", "done: content"),
            ("write what is to be read", refused),
            ("make next to it", refused),
            ("remove", refused),
            ("rename", refused),
            ("chmod", refused),
            ("through a link", "ENOENT"),
            ("neighbour", "ENOENT"),
            ("upwards", "ENOENT"),
            ("siblings", "done: ['read', 'write']"),
            ("link into the writable one", "EXDEV|EPERM|EACCES"),
            ("write", "done: 4"),
            ("own link", "done: None"),
            ("through the own link", "ENOENT"),
            ("execute", "EACCES"),
        ]);
        assert_eq!(fs::read_to_string(write.join("made")).unwrap(), "made");
        assert_eq!(fs::read_to_string(read.join("in")).unwrap(), "content");
    }
}

#[test]
fn an_input_file_is_a_copy() {
    let host = tempfile::tempdir().unwrap();
    let original = host_file(host.path(), "original", "as it was");
    Attack::javascript(
        "attempt('overwrite', () => fs.writeFileSync('input', 'changed')); attempt('read', () => fs.readFileSync('input', 'utf8'));",
    )
    .with(["--file".to_owned(), format!("input={original}")])
    .in_both_starts(|outcome| {
        outcome.attempts(&[("overwrite", "done: undefined"), ("read", "done: changed")]);
    });
    assert_eq!(fs::read_to_string(Path::new(&original)).unwrap(), "as it was");
}

#[test]
fn one_runs_files_are_gone_for_the_next() {
    let body = r#"
before = []
for place in ("/tmp", "/home/user", "/dev/shm"):
    before += [name for name in os.listdir(place) if name.startswith("left")]
    open(f"{place}/left", "w").write("x")
attempt("before", lambda: before)
attempt("after", lambda: all(os.path.exists(f"{place}/left") for place in ("/tmp", "/home/user", "/dev/shm")))
"#;
    for _ in 0..2 {
        Attack::python(body).in_both_starts(|outcome| {
            outcome.attempts(&[("before", "done: []"), ("after", "done: True")]);
            assert_eq!(outcome.json["error"], Value::Null);
        });
    }
}
