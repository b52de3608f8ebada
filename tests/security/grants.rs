//! Granted paths: what they are opened as, what may be done there, and what is never granted.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use belljar_test_support::{STARTS, binary, is_root};

use crate::run::{Attack, host_file, limits_available, open_to_all};

/// A folder beneath the sandbox's own `/tmp`, and one elsewhere: they are mounted in different
/// ways.
fn folders() -> [tempfile::TempDir; 2] {
    [tempfile::tempdir().unwrap(), tempfile::tempdir_in("/var/tmp").unwrap()]
}

/// Maps, loads and executes files in granted folders. FILE belongs to the host, and the program can
/// write to WRITE.
const EXECUTES: &str = r#"
import mmap
def mapped(path):
    with open(path, "rb") as file:
        mmap.mmap(file.fileno(), 4096, prot=mmap.PROT_READ | mmap.PROT_EXEC, flags=mmap.MAP_PRIVATE)
    return "mapped"
def later(path):
    with open(path, "rb") as file:
        libc.mmap.restype = ctypes.c_void_p
        at = libc.mmap(None, ctypes.c_size_t(4096), 1, 2, file.fileno(), ctypes.c_long(0))
        ctypes.set_errno(0)
        if libc.mprotect(ctypes.c_void_p(at), ctypes.c_size_t(4096), 5) != 0:
            raise OSError(ctypes.get_errno(), "mprotect")
    return "mapped"
def executed(path):
    if "--exec" not in sys.argv:
        return os.execv(path, [path])
    import subprocess
    return subprocess.run([path], capture_output=True, text=True).stdout.strip()
library = open("/opt/belljar/libbelljar.so", "rb").read()
attempt("write", lambda: open("WRITE/copy.so", "wb").write(library) > 0)
for name, path in (("read", "FILE"), ("written", "WRITE/copy.so")):
    attempt(f"map {name}", mapped, path)
    attempt(f"map {name} later", later, path)
attempt("load", lambda: ctypes.CDLL("WRITE/copy.so") and "loaded")
attempt("execute", executed, "FILE")
# The supervisor's settings cannot be undone: clear read-only and noexec, mount again, unmount, copy.
clear = struct.pack("QQQQ", 0, 1 | 8, 0, 0)
attempt("clear", call, "mount_setattr", -100, b"WRITE", 0x8000, clear, 32)
attempt("remount", call, "mount", b"x", b"WRITE", b"", 32 | 4096, 0)
attempt("unmount", call, "umount2", b"WRITE", 2)
attempt("copy", call, "open_tree", -100, b"WRITE", 1)
"#;

/// Expected errors of attempts to change the mounts of a grant.
const UNCHANGED: [(&str, &str); 4] =
    [("clear", "EPERM"), ("remount", "EPERM"), ("unmount", "EPERM"), ("copy", "EPERM")];

#[test]
fn nothing_in_a_granted_folder_is_executed_without_an_exec_grant() {
    for (start, places) in
        STARTS.into_iter().flat_map(|start| folders().map(|places| (start, places)))
    {
        let (read, write) = (places.path().join("read"), places.path().join("write"));
        for folder in [&read, &write] {
            fs::create_dir(folder).unwrap();
        }
        open_to_all(&write);
        let file = host_file(&read, "tool", &format!("#!/bin/sh\necho ran # {}", "x".repeat(5000)));
        fs::set_permissions(&file, fs::Permissions::from_mode(0o755)).unwrap();
        let body = EXECUTES.replace("FILE", &file).replace("WRITE", write.to_str().unwrap());
        let granted = ["--read", read.to_str().unwrap(), "--write", write.to_str().unwrap()];
        let attack = Attack::python(&body).start(start).with(granted);
        let without = attack.clone().run();
        without.attempts(&UNCHANGED).attempts(&[
            ("write", "done: True"),
            ("map read", "EPERM"),
            ("map read later", "EACCES|EPERM"),
            ("map written", "EPERM"),
            ("map written later", "EACCES|EPERM"),
            ("load", "OSError|None|0|EPERM"),
            ("execute", "EACCES"),
        ]);
        // Where ids cannot be mapped, it belongs to a user that the next run is not.
        fs::remove_file(write.join("copy.so")).unwrap();
        // The same works where it is granted: it was the mount that refused it.
        attack.with(["--exec", "--", "--exec"]).run().attempts(&UNCHANGED).attempts(&[
            ("write", "done: True"),
            ("map read", "done: mapped"),
            ("map read later", "done: mapped"),
            ("map written", "done: mapped"),
            ("map written later", "done: mapped"),
            ("load", "done: loaded"),
            ("execute", "done: ran"),
        ]);
    }
}

#[test]
fn javascript_loads_no_library_that_it_wrote_into_a_granted_folder() {
    for start in STARTS {
        let host = tempfile::tempdir_in("/var/tmp").unwrap();
        open_to_all(host.path());
        let path = host.path().to_str().unwrap();
        let body = format!(
            "
const library = fs.readFileSync('/opt/belljar/libbelljar.so');
fs.writeFileSync('{path}/own.node', library);
attempt('load', () => {{
  try {{
    process.dlopen({{ exports: {{}} }}, '{path}/own.node');
  }} catch (error) {{
    return /failed to map|not permitted/.test(error.message) ? 'not mapped' : 'mapped';
  }}
  return 'mapped';
}});"
        );
        let attack = Attack::javascript(&body).start(start).with(["--write", path]);
        attack.clone().run().attempts(&[("load", "done: not mapped")]);
        // Where ids cannot be mapped, it belongs to a user that the next run is not.
        fs::remove_file(host.path().join("own.node")).unwrap();
        attack.with(["--exec"]).run().attempts(&[("load", "done: mapped")]);
    }
}

/// The home, what is in it, and folders around it, by every name that leads there.
#[test]
fn belljars_own_folders_are_not_granted_by_whatever_name() {
    let place = tempfile::tempdir_in("/var/tmp").unwrap();
    let path = |name: &str| place.path().join(name);
    for folder in ["around/home/keys", "around/home-of-others", "logins/belljar"] {
        fs::create_dir_all(path(folder)).unwrap();
    }
    let key = host_file(&path("around/home/keys"), "signing.key", "secret");
    let profiles = host_file(&path("logins/belljar"), "profiles.toml", "");
    let (home, others) = (path("around/home"), path("around/home-of-others"));
    symlink(&home, path("link")).unwrap();
    symlink("link", path("link-to-link")).unwrap();
    symlink(&key, path("link-to-key")).unwrap();
    let names = [
        home.clone(),
        path("around"),
        place.path().to_owned(),
        home.join("keys"),
        key.clone().into(),
        path("link"),
        path("link-to-link/keys"),
        path("link-to-key"),
        path("logins"),
        profiles.into(),
    ];
    let attack = |granted: &Path, flag: &str| {
        Attack::python("attempt('ran', lambda: True)")
            .in_environment("BELLJAR_HOME", home.to_str().unwrap())
            .in_environment("XDG_CONFIG_HOME", path("logins").to_str().unwrap())
            .start("exec")
            .with([flag, granted.to_str().unwrap()])
    };
    for (name, flag) in names.iter().flat_map(|name| [(name, "--read"), (name, "--write")]) {
        let outcome = attack(name, flag).run();
        outcome.must_be("refused");
        let why = outcome.json["error"]["message"].as_str().unwrap();
        assert!(
            why.contains("the server's home") || why.contains("belljar's logins"),
            "{name:?}: {why}"
        );
    }
    attack(&others, "--read").run().attempts(&[("ran", "done: True")]);
    if !is_root() {
        return;
    }
    // Another mount of the same folder, of one around it, and of the home within what is granted.
    for (mounted, granted) in
        [("around/home", "elsewhere"), ("around", "elsewhere/home/keys"), ("around/home/keys", "")]
    {
        let elsewhere = path("elsewhere");
        fs::create_dir_all(&elsewhere).unwrap();
        let script =
            "mount --bind \"$1\" \"$2\" && exec \"$3\" run -l python -e 1 --json --read \"$4\"";
        let granted = if granted.is_empty() { elsewhere.clone() } else { path(granted) };
        let mut command = Command::new("unshare");
        command.args(["--mount", "sh", "-c", script, "sh"]).args([&path(mounted), &elsewhere]);
        command.arg(binary()).arg(&granted).env("BELLJAR_HOME", &home);
        if !limits_available() {
            command.arg("--allow-degraded");
        }
        let said = crate::leftovers::output(&mut command);
        let outcome: serde_json::Value = serde_json::from_slice(&said.stdout)
            .unwrap_or_else(|error| panic!("{error}: {said:?}"));
        assert_eq!(outcome["status"], "refused", "{mounted}: {outcome}");
        assert!(
            outcome["error"]["message"].as_str().unwrap().contains("the server's home"),
            "{outcome}"
        );
    }
}

/// A grant within another one keeps its own rights, also where the outer folder has links.
#[test]
fn a_grant_within_another_keeps_its_own_rights() {
    for (start, places) in
        STARTS.into_iter().flat_map(|start| folders().map(|places| (start, places)))
    {
        let (outer, inner) = (places.path().join("outer"), places.path().join("outer/inner"));
        fs::create_dir_all(&inner).unwrap();
        for folder in [&outer, &inner] {
            open_to_all(folder);
        }
        let file = host_file(&inner, "file", "inner");
        let (outer, inner) = (outer.to_str().unwrap(), inner.to_str().unwrap());
        let body = format!(
            r#"
attempt("read", lambda: open("{file}").read())
attempt("write outside", lambda: open("{outer}/made", "w").write("x"))
attempt("write inside", lambda: open("{inner}/made", "w").write("x"))
attempt("write the file", lambda: open("{file}", "w").write("x"))
attempt("rename it away", os.rename, "{inner}", "{outer}/away")
attempt("unlink the file", os.unlink, "{file}")
"#
        );
        let refused = "EROFS|EACCES|EPERM";
        let of_readable =
            Attack::python(&body).start(start).with(["--write", outer, "--read", inner]).run();
        of_readable.attempts(&[
            ("read", "done: inner"),
            ("write outside", "done: 1"),
            ("write inside", refused),
            ("write the file", refused),
            ("rename it away", "EBUSY|EXDEV|EACCES"),
            ("unlink the file", refused),
        ]);
        let of_file =
            Attack::python(&body).start(start).with(["--read", outer, "--write", &file]).run();
        of_file.attempts(&[
            ("read", "done: inner"),
            ("write outside", refused),
            ("write inside", refused),
            ("write the file", "done: 1|EACCES"),
            ("rename it away", refused),
            ("unlink the file", "EBUSY|EROFS|EACCES"),
        ]);
    }
}
