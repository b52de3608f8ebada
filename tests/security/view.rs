//! What a program can see: nothing of the host but what the runtime needs, and nothing of belljar's.

use crate::run::{Attack, Outcome};

const PLACES: &str = r#"
for path in ("/sys", "/root", "/home/user/../..", "/boot", "/var/lib", "/run", "/mnt", "/etc/shadow", "/etc/ssh", "/etc/machine-id",
             "/proc/kcore", "/proc/kallsyms", "/proc/sysrq-trigger", "/proc/sys/kernel/core_pattern", "/proc/sys", "/proc/keys", "/proc/modules",
             "/proc/cpuinfo", "/proc/cmdline", "/proc/mounts", "/proc/net/tcp", "/proc/2/mem", "/proc/scsi", "/proc/bus", "/dev/mem", "/dev/kmsg",
             "/dev/sda", "/dev/vda", "/dev/kvm", "/dev/fuse", "/dev/net/tun", "/dev/pts", "/sys/fs/cgroup", "/usr/local/bin", "/tmp/belljar"):
    attempt(path, lambda: sorted(os.listdir(path)) if os.path.isdir(path) else open(path).read(10))
"#;

#[test]
fn nothing_of_the_host_is_shown() {
    let secret_places = [
        "/sys",
        "/root",
        "/boot",
        "/var/lib",
        "/run",
        "/mnt",
        "/etc/shadow",
        "/etc/ssh",
        "/etc/machine-id",
        "/proc/kcore",
        "/proc/kallsyms",
        "/proc/sysrq-trigger",
        "/proc/sys/kernel/core_pattern",
        "/proc/sys",
        "/proc/keys",
        "/proc/modules",
        "/proc/cpuinfo",
        "/proc/cmdline",
        "/proc/scsi",
        "/proc/bus",
        "/dev/mem",
        "/dev/kmsg",
        "/dev/sda",
        "/dev/vda",
        "/dev/kvm",
        "/dev/fuse",
        "/dev/net/tun",
        "/dev/pts",
        "/sys/fs/cgroup",
        "/tmp/belljar",
    ];
    Attack::python(PLACES).in_both_starts(|outcome| {
        for place in secret_places {
            // A runtime that is installed beneath one of them makes its folder appear, with nothing but the way to the runtime in it.
            let came_to = outcome.attempt(place);
            let is_way = came_to.starts_with("done: ['.pyenv']")
                || came_to.starts_with("done: ['.cache']")
                || came_to.starts_with("done: ['belljar']");
            assert!(came_to == "ENOENT" || came_to == "EACCES" || is_way, "{place}: {came_to}");
        }
    });
}

#[test]
fn only_the_sandboxs_own_processes_are_shown() {
    let body = r#"
attempt("processes", lambda: sorted(int(name) for name in os.listdir("/proc") if name.isdigit()))
attempt("own number", os.getpid)
attempt("parent's number", os.getppid)
for number_ in (0, 2, 3, 100, os.getppid() or 99999):
    attempt(f"signal {number_}", os.kill, number_, 0)
attempt("pidfd of another", lambda: call("pidfd_open", 2, 0))
for file in ("environ", "cmdline", "root", "cwd", "mem", "maps", "fd"):
    attempt(f"host {file}", lambda: os.stat(f"/proc/{os.getppid() or 99999}/{file}"))
"#;
    Attack::python(body).in_both_starts(|outcome| {
        outcome.attempts(&[
            ("processes", "done: [1]"),
            ("own number", "done: 1"),
            ("parent's number", "done: 0"),
            ("signal 2", "ESRCH"),
            ("signal 3", "ESRCH"),
            ("signal 100", "ESRCH"),
            ("signal 99999", "ESRCH"),
            ("pidfd of another", "ESRCH"),
        ]);
        for file in ["environ", "cmdline", "root", "cwd", "mem", "maps", "fd"] {
            outcome.attempts(&[(&format!("host {file}"), "ENOENT")]);
        }
    });
    Attack::javascript(
        r"
        attempt('processes', () => fs.readdirSync('/proc').filter(name => /^\d+$/.test(name)));
        attempt('pid', () => process.pid);
        attempt('ppid', () => process.ppid);
        attempt('hostname', () => require('node:os').hostname());
        attempt('environment', () => JSON.stringify(process.env).includes('PATH=/root'));
        attempt('kill parent', () => process.kill(process.ppid || 99999, 'SIGKILL'));
        attempt('kill another', () => process.kill(99999, 'SIGKILL'));
        ",
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            ("processes", "done: 1"),
            ("pid", "done: 1"),
            ("ppid", "done: 0"),
            ("hostname", "done: sandbox"),
            ("environment", "done: false"),
            ("kill parent", "ESRCH"),
            ("kill another", "ESRCH"),
        ]);
    });
}

/// Looks everywhere where a program can look, its own memory included, for a word that belljar's environment and arguments hold. The word is given
/// to the program backwards, so that the search does not find itself.
#[test]
fn belljars_environment_and_arguments_are_nowhere_to_be_found() {
    let canary = format!("canary{:x}{:x}", std::process::id(), std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos());
    let backwards: String = canary.chars().rev().collect();
    let folder = tempfile::tempdir().unwrap();
    let named = crate::run::host_file(folder.path(), &canary, "nothing of interest");
    let search = r#"
import io
wanted = bytes(ord(letter) ^ 0x55 for letter in reversed(sys.argv[1]))
def holds(data):
    # Compared in another alphabet: the word itself never comes to be in this process.
    return wanted in bytes(data).translate(TABLE)
TABLE = bytes(value ^ 0x55 for value in range(256))
attempt("environment", lambda: any(holds(name.encode() + b"=" + value.encode()) for name, value in os.environ.items()))
attempt("arguments", lambda: any(holds(word.encode()) for word in sys.orig_argv))
def in_proc():
    looked = 0
    for folder, folders, files in os.walk("/proc", followlinks=False):
        for name in files:
            if name in ("mem", "pagemap", "clear_refs", "kpagecount"):
                continue
            try:
                # Some are pipes, which would never end.
                with open(os.open(os.path.join(folder, name), os.O_RDONLY | os.O_NONBLOCK), "rb", buffering=0) as file:
                    looked += 1
                    if holds(file.read(1 << 20) or b""):
                        return os.path.join(folder, name)
            except OSError:
                pass
    return "nowhere" if looked > 20 else f"only looked at {looked}"
attempt("proc", in_proc)
def in_memory():
    looked = 0
    # Through the kernel, which answers EFAULT where memory has gone meanwhile.
    copy = os.memfd_create("copy")
    for line in open("/proc/self/maps").readlines():
        span, access, rest = line.split(" ", 2)
        if not access.startswith("r") or "[vvar" in line or "[vsyscall" in line:
            continue
        start, end = (int(part, 16) for part in span.split("-"))
        if end - start > 64 << 20:
            continue
        while start < end:
            length = min(1 << 20, end - start)
            copied = libc.pwrite(copy, ctypes.c_void_p(start), ctypes.c_size_t(length), ctypes.c_long(0))
            looked += max(copied, 0)
            if copied > 0 and holds(os.pread(copy, copied, 0)):
                return hex(start)
            start += length
    return "nowhere" if looked > 5 << 20 else f"only looked at {looked}"
attempt("memory", in_memory)
def in_files():
    looked = 0
    for top in ("/opt/belljar", "/etc", "/home/user", "/tmp", "/dev/shm"):
        for folder, folders, files in os.walk(top):
            for name in files:
                looked += 1
                try:
                    if holds(open(os.path.join(folder, name), "rb").read()):
                        return os.path.join(folder, name)
                except OSError:
                    pass
    return "nowhere" if looked > 5 else f"only looked at {looked}"
attempt("files", in_files)
"#;
    Attack::python(search)
        .in_environment("BELLJAR_TEST_SECRET", &canary)
        .with(["--file".to_owned(), format!("given={named}")])
        .with(["--cpu", "60s", "--timeout", "200s"])
        .in_both_starts_with_arguments(&[&backwards], |outcome| {
            outcome.attempts(&[
                ("environment", "done: False"),
                ("arguments", "done: False"),
                ("proc", "done: nowhere"),
                ("memory", "done: nowhere"),
                ("files", "done: nowhere"),
            ]);
        });
}

#[test]
fn the_environment_is_empty_but_for_what_is_granted() {
    let expected = ["HOME", "LANG", "PATH", "TMPDIR", "USER", "MPLBACKEND", "MPLCONFIGDIR", "GRANTED"];
    let check = |outcome: &Outcome| {
        outcome.must_be("succeeded");
        let names = outcome.attempt("names").trim_start_matches("done: ");
        for name in names.split(',').filter(|name| !name.is_empty()) {
            assert!(expected.contains(&name), "{name} is in the environment: {names}");
        }
        outcome.attempts(&[("granted", "done: yes")]);
        assert!(!outcome.json.to_string().contains("hunter2"));
    };
    let grant = ["--env", "GRANTED=yes"];
    Attack::javascript("attempt('names', () => Object.keys(process.env)); attempt('granted', () => process.env.GRANTED);")
        .in_environment("HOST_SECRET", "hunter2")
        .with(grant)
        .in_both_starts(check);
    Attack::python("attempt('names', lambda: ','.join(os.environ))\nattempt('granted', lambda: os.environ['GRANTED'])")
        .in_environment("HOST_SECRET", "hunter2")
        .with(grant)
        .in_both_starts(check);
}

#[test]
fn only_the_sandboxs_own_space_can_be_written() {
    let body = r#"
import stat
def writable():
    found = set()
    for folder, folders, files in os.walk("/"):
        if folder.startswith(("/proc", "/usr/lib/python", "/usr/share")) or folder.count("/") > 5:
            folders[:] = []
            continue
        try:
            probe = os.path.join(folder, ".probe")
            os.close(os.open(probe, os.O_CREAT | os.O_WRONLY, 0o600))
            os.unlink(probe)
            found.add(folder)
        except OSError:
            pass
    return sorted(found)
attempt("folders", writable)
def writable_files():
    found = []
    for folder, folders, files in os.walk("/"):
        if folder.startswith(("/proc", "/usr/share")) or folder.count("/") > 5:
            folders[:] = []
            continue
        for name in files:
            path = os.path.join(folder, name)
            if os.path.realpath(path).startswith(("/home/user/", "/tmp/", "/dev/", "/proc/")):
                continue
            try:
                os.close(os.open(path, os.O_WRONLY | os.O_NONBLOCK))
                found.append(path)
            except OSError:
                pass
    return found
attempt("files", writable_files)
def writable_proc():
    found = []
    for folder, folders, files in os.walk("/proc"):
        for name in files:
            try:
                # /proc/self/fd holds the program's own descriptors.
                if not name.isdigit():
                    os.close(os.open(os.path.join(folder, name), os.O_WRONLY))
                    found.append(name)
            except OSError:
                pass
    return sorted(set(found))
attempt("proc", writable_proc)
attempt("devices", lambda: sorted(os.listdir("/dev")))
mounts = []
for line in open("/proc/self/mountinfo"):
    left, right = line.rstrip("\n").split(" - ")
    root, point, options = left.split(" ")[3:6]
    kind, source, flags = right.split(" ", 2)
    mounts.append((point, kind, set(options.split(","))))
attempt("writable mounts", lambda: sorted(point for point, kind, options in mounts if "rw" in options))
attempt("set-id mounts", lambda: sorted(point for point, kind, options in mounts if "nosuid" not in options))
attempt("device mounts", lambda: sorted(point for point, kind, options in mounts if "nodev" not in options))
attempt("executable space", lambda: sorted(point for point, kind, options in mounts if "rw" in options and "noexec" not in options and not point.startswith("/dev/") or point == "/dev/shm" and "noexec" not in options))
attempt("shared mounts", lambda: [line for line in open("/proc/self/mountinfo") if " shared:" in line or " master:" in line])
"#;
    Attack::python(body).with(["--cpu", "60s", "--timeout", "200s"]).in_both_starts(|outcome| {
        outcome.attempts(&[
            ("devices", "done: ['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']"),
            ("set-id mounts", "done: []"),
            ("executable space", "done: []"),
            ("shared mounts", "done: []"),
            ("files", "done: []"),
        ]);
        let folders = outcome.attempt("folders");
        for folder in folders.trim_start_matches("done: ").trim_matches(['[', ']']).split(", ") {
            let folder = folder.trim_matches('\'');
            assert!(["/tmp", "/home/user", "/dev/shm"].iter().any(|space| folder.starts_with(space)), "{folder} can be written: {folders}");
        }
        let mounts = outcome.attempt("writable mounts");
        for point in mounts.trim_start_matches("done: ").trim_matches(['[', ']']).split(", ") {
            let point = point.trim_matches('\'');
            let space = ["/tmp", "/home/user", "/dev/shm", "/proc", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"];
            assert!(space.contains(&point), "{point} is mounted writable: {mounts}");
        }
        let devices = outcome.attempt("device mounts");
        for point in devices.trim_start_matches("done: ").trim_matches(['[', ']']).split(", ") {
            let point = point.trim_matches('\'');
            assert!(["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"].contains(&point), "{point}: {devices}");
        }
        // What belongs to root in an undumpable process's /proc cannot be written; what the kernel leaves open concerns this process alone.
        let proc = outcome.attempt("proc");
        for name in proc.trim_start_matches("done: ").trim_matches(['[', ']']).split(", ").filter(|name| !name.is_empty()) {
            assert!(
                [
                    "'attr/current'",
                    "'clear_refs'",
                    "'comm'",
                    "'coredump_filter'",
                    "'timerslack_ns'",
                    "'oom_score_adj'",
                    "'mem'",
                    "'autogroup'"
                ]
                .contains(&name),
                "{proc}"
            );
        }
    });
}

/// jail-facts, holes 2 and 3: nothing inherited from the zygote is shared.
#[test]
fn descriptors_and_mappings_are_the_sandboxs_own() {
    Attack::python(
        r#"
def descriptors():
    found = {}
    for name in os.listdir("/proc/self/fd"):
        try:
            found[int(name)] = os.readlink(f"/proc/self/fd/{name}").split(":")[0]
        except OSError:
            pass
    return sorted((n, kind) for n, kind in found.items() if not kind.startswith("/proc/"))
attempt("descriptors", lambda: [n for n, kind in descriptors() if kind != "/dev/null" or n < 3])
attempt("kinds", lambda: [kind for n, kind in descriptors() if n in (1, 2, 3)])
attempt("shared mappings", lambda: [line for line in open("/proc/self/maps") if line.split()[1][3] == "s" and "w" in line.split()[1]])
attempt("writable and executable", lambda: [line for line in open("/proc/self/maps") if line.split()[1].startswith("rwx")])
"#,
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            ("kinds", "done: ['pipe', 'pipe', 'socket']"),
            ("shared mappings", "done: []"),
            ("writable and executable", "done: []"),
        ]);
        outcome.attempts(&[("descriptors", "done: [0, 1, 2, 3]|done: [1, 2, 3]")]);
    });
    Attack::javascript(
        r"
        const kinds = {};
        for (const name of fs.readdirSync('/proc/self/fd')) {
          try { kinds[name] = fs.readlinkSync(`/proc/self/fd/${name}`).replace(/:?\[\d+\]$/, ''); } catch {}
        }
        attempt('io_uring', () => Object.values(kinds).filter(kind => kind.includes('io_uring')).length);
        attempt('unexpected', () => Object.entries(kinds).filter(([number, kind]) => Number(number) > 3
          && !['/dev/null', 'pipe', 'anon_inode:[eventpoll]', 'anon_inode:[eventfd]', '/proc/1/fd'].includes(kind)).join(' '));
        attempt('files', () => Object.values(kinds).filter(kind => kind.startsWith('/') && kind !== '/dev/null' && !kind.startsWith('/proc/')).join());
        attempt('shared mappings', () => fs.readFileSync('/proc/self/maps', 'utf8').split('\n').filter(line => / [r-]w.s /.test(line)).length);
        ",
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[("io_uring", "done: 0"), ("unexpected", "done: "), ("files", "done: "), ("shared mappings", "done: 0")]);
    });
}

#[test]
fn the_files_of_a_sandbox_tell_nothing() {
    Attack::python(
        r#"
attempt("passwd", lambda: sorted({line.split(":")[0] for line in open("/etc/passwd")}))
attempt("group", lambda: sorted({line.split(":")[0] for line in open("/etc/group")}))
attempt("me", lambda: __import__("pwd").getpwuid(os.getuid()).pw_name)
attempt("hostname", lambda: open("/etc/hostname").read().strip())
attempt("resolvers", lambda: open("/etc/resolv.conf").read())
attempt("opt", lambda: os.listdir("/opt/belljar") and "listed")
attempt("change the driver", lambda: open("/opt/belljar/python/driver.py", "a"))
attempt("change the library", lambda: open("/opt/belljar/libbelljar.so", "r+b"))
attempt("remove the driver", lambda: os.unlink("/opt/belljar/boot.json"))
"#,
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            ("passwd", "done: ['nobody', 'root', 'user']"),
            ("group", "done: ['nogroup', 'root', 'user']"),
            ("me", "done: user"),
            ("hostname", "done: sandbox"),
            ("resolvers", "done: "),
            ("opt", "done: listed"),
            ("change the driver", "EROFS|EACCES"),
            ("change the library", "EROFS|EACCES"),
            ("remove the driver", "EROFS|EACCES"),
        ]);
    });
}
