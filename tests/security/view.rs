//! The files and facts that a program can see: nothing of the host except what the runtime needs,
//! and nothing of belljar.

use std::fs;
use std::path::{Path, PathBuf};

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
            // A runtime that is installed beneath one of them makes its folder appear, with nothing
            // but the way to the runtime in it.
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

/// Looks everywhere where a program can look, its own memory included, for a word that belljar's
/// environment and arguments hold. The word is given to the program backwards, so that the search
/// does not find itself.
#[test]
fn belljars_environment_and_arguments_are_nowhere_to_be_found() {
    let canary = format!(
        "canary{:x}{:x}",
        std::process::id(),
        std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap().as_nanos()
    );
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
    let expected = [
        "HOME",
        "LANG",
        "PATH",
        "TMPDIR",
        "USER",
        "MPLBACKEND",
        "MPLCONFIGDIR",
        "JOBLIB_MULTIPROCESSING",
        "GRANTED",
    ];
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
attempt("executable space", lambda: [place for place in ("/tmp", "/home/user", "/dev/shm") if not os.statvfs(place).f_flag & os.ST_NOEXEC])
"#;
    // Which mounts there are the kernel does not tell, and how they are mounted only where programs
    // may be started.
    let flags = r#"
places = {os.path.dirname(os.__file__)}
for folder, folders, files in os.walk("/"):
    if folder.count("/") > 2:
        folders[:] = []
    places.update([folder, *(os.path.join(folder, name) for name in files if folder == "/dev" and not os.path.islink(os.path.join(folder, name)))])
def mounted_without(flag):
    return sorted(place for place in places if os.path.exists(place) and not os.statvfs(place).f_flag & flag)
own = ("/tmp", "/home", "/dev/shm", "/proc", "/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
attempt("looked at", lambda: len(places) > 50 and "/usr/lib" in places)
attempt("writable mounts", lambda: [place for place in mounted_without(os.ST_RDONLY) if not place.startswith(own)])
attempt("set-id mounts", mounted_without, os.ST_NOSUID)
attempt("device mounts", mounted_without, os.ST_NODEV)
"#;
    Attack::python(flags).with(["--exec", "--cpu", "60s", "--timeout", "200s"]).in_both_starts(
        |outcome| {
            outcome.attempts(&[
                ("looked at", "done: True"),
                ("writable mounts", "done: []"),
                ("set-id mounts", "done: []"),
            ]);
            let devices = outcome.attempt("device mounts");
            for point in devices.trim_start_matches("done: ").trim_matches(['[', ']']).split(", ") {
                let point = point.trim_matches('\'');
                assert!(
                    ["/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"]
                        .contains(&point),
                    "{point}: {devices}"
                );
            }
        },
    );
    Attack::python(body).with(["--cpu", "60s", "--timeout", "200s"]).in_both_starts(|outcome| {
        outcome.attempts(&[
            ("devices", "done: ['fd', 'full', 'null', 'random', 'shm', 'stderr', 'stdin', 'stdout', 'urandom', 'zero']"),
            ("executable space", "done: []"),
            ("files", "done: []"),
        ]);
        let folders = outcome.attempt("folders");
        for folder in folders.trim_start_matches("done: ").trim_matches(['[', ']']).split(", ") {
            let folder = folder.trim_matches('\'');
            assert!(["/tmp", "/home/user", "/dev/shm"].iter().any(|space| folder.starts_with(space)), "{folder} can be written: {folders}");
        }
        // What belongs to root in an undumpable process's /proc cannot be written; what the kernel
        // leaves open concerns this process alone.
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

/// Nothing inherited from the zygote is shared: neither its descriptors, nor the rings of
/// `io_uring(7)` that libuv maps.
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
import resource
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
attempt("descriptors", lambda: [n for n, kind in descriptors() if kind != "/dev/null" and n != most or n < 3])
attempt("past the limit", lambda: [kind for n, kind in descriptors() if n == most])
attempt("kinds", lambda: [kind for n, kind in descriptors() if n in (1, 2, 3)])
attempt("shared mappings", lambda: [line for line in open("/proc/self/maps") if line.split()[1][3] == "s" and "w" in line.split()[1]])
attempt("writable and executable", lambda: [line for line in open("/proc/self/maps") if line.split()[1].startswith("rwx")])
"#,
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            ("kinds", "done: ['pipe', 'pipe', 'socket']"),
            // Of its own space.
            ("past the limit", "done: ['/tmp']"),
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
        const most = fs.readFileSync('/proc/self/limits', 'utf8').match(/Max open files +\d+ +(\d+)/)[1];
        attempt('past the limit', () => kinds[most]);
        delete kinds[most];
        attempt('files', () => Object.values(kinds).filter(kind => kind.startsWith('/') && kind !== '/dev/null' && !kind.startsWith('/proc/')).join());
        attempt('shared mappings', () => fs.readFileSync('/proc/self/maps', 'utf8').split('\n').filter(line => / [r-]w.s /.test(line)).length);
        ",
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[("io_uring", "done: 0"), ("files", "done: "), ("past the limit", "done: /tmp"), ("shared mappings", "done: 0")]);
        // Judged before the number past the limit is left out.
        let unexpected = outcome.attempt("unexpected").trim_start_matches("done: ");
        assert!(unexpected.split(' ').all(|entry| entry.is_empty() || entry.ends_with(",/tmp")), "{unexpected}");
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

/// Each list of mounts of each task, of a program and of what it starts. That paths lead over
/// mounts all the same is the proof that there are some.
#[test]
fn no_mount_of_the_host_is_listed() {
    let body = r#"
import subprocess, threading
LISTS = ("mountinfo", "mounts", "mountstats")
def lists(task):
    found = []
    for name in LISTS:
        try:
            found.append(open(f"/proc/{task}/{name}").read())
        except OSError as error:
            found.append(errno.errorcode[error.errno])
    return found
attempt("process", lists, "self")
attempt("by number", lists, os.getpid())
def of_thread():
    reported = []
    thread = threading.Thread(target=lambda: reported.extend([lists("thread-self"), lists(f"self/task/{threading.get_native_id()}")]))
    thread.start()
    thread.join()
    return reported
attempt("thread", of_thread)
def of_child():
    return subprocess.run(["/bin/cat", "/proc/self/mountinfo", "/proc/self/mounts", "/proc/thread-self/mountinfo"], capture_output=True, check=True).stdout
attempt("child", of_child)
attempt("devices differ", lambda: len({os.stat(place).st_dev for place in ("/", "/usr", "/proc", "/tmp")}))
attempt("root above root", lambda: sorted(os.listdir("/../..")) == sorted(os.listdir("/proc/self/root")))
attempt("working folder", os.getcwd)
attempt("program", lambda: os.path.exists(os.readlink("/proc/self/exe")))
attempt("kernel's own list", lambda: call("statmount", 0, 0, 0, 0))
attempt("kernel's other list", lambda: call("listmount", 0, 0, 0, 0))
"#;
    let body = format!("NUMBERS.update(statmount=(457, 457), listmount=(458, 458))\n{body}");
    for arguments in [&[][..], &["--exec"]] {
        Attack::python(&body).with(arguments.iter().copied()).in_both_starts(|outcome| {
            // The last file of a non-dumpable process belongs to root. A program that was started
            // by another is dumpable, and its file shows nothing, either.
            let nothing = "done: ['', '', 'EACCES']|done: ['', '', '']|done: ['', '', 'ENOENT']";
            let in_threads = "done: [['', '', 'ENOENT'], ['', '', 'ENOENT']]";
            outcome.attempts(&[
                ("process", nothing),
                ("by number", nothing),
                ("thread", in_threads),
                ("child", if arguments.is_empty() { "EACCES" } else { "done: b''" }),
                ("root above root", "done: True"),
                ("working folder", "done: /home/user"),
                ("program", "done: True"),
                ("kernel's own list", "EPERM"),
                ("kernel's other list", "EPERM"),
            ]);
            let devices: usize =
                outcome.attempt("devices differ").trim_start_matches("done: ").parse().unwrap();
            assert!(devices >= 3, "{devices} file systems are seen");
        });
    }
}

const MEMORY_LIMIT: u64 = 200 << 20;
const DISK_LIMIT: u64 = 40 << 20;

/// Tries every way to query them, in threads too. Facts about the sandbox itself are correct.
#[test]
fn the_size_and_load_of_the_machine_are_hidden() {
    let limits = ["--memory", "200M", "--disk", "40M", "--max-files", "100"];
    let body = r#"
import resource, shutil, signal, threading
NUMBERS.update(sysinfo=(99, 179), statfs=(137, 43), fstatfs=(138, 44), ustat=(136, -1))
def sysinfo():
    reported = ctypes.create_string_buffer(128)
    call("sysinfo", reported)
    uptime, load1, load5, load15, total, free = struct.unpack_from("l3LLL", reported.raw)
    swap, = struct.unpack_from("L", reported.raw, 64)
    processes, = struct.unpack_from("H", reported.raw, 80)
    return uptime < 250, load1 + load5 + load15, total, 0 < free < total, swap, processes
# The buffer has to reach the call as an address.
def call(name, *arguments):
    ctypes.set_errno(0)
    words = [value if isinstance(value, (bytes, ctypes.Array)) else ctypes.c_long(value) for value in arguments]
    if libc.syscall(ctypes.c_long(number(name)), *words) == -1:
        raise OSError(ctypes.get_errno(), name)
attempt("sysinfo", sysinfo)
attempt("pages", lambda: os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
attempt("available", lambda: 0 < os.sysconf("SC_AVPHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") < os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"))
FOREIGN = ("/", "/usr", "/usr/lib", "/proc", "/etc/passwd", os.path.dirname(os.__file__))
def room(reported):
    return reported.f_blocks, reported.f_bfree, reported.f_bavail, reported.f_ffree
def of_foreign():
    return {room(os.statvfs(place)) for place in FOREIGN} | {room(os.fstatvfs(os.open(place, os.O_RDONLY))) for place in FOREIGN}
attempt("foreign", of_foreign)
attempt("own", lambda: [shutil.disk_usage(place).total for place in ("/tmp", "/home/user", "/dev/shm", ".")])
before = shutil.disk_usage("/tmp").free
with open("/tmp/large", "wb") as file:
    file.write(bytes(10 << 20))
attempt("written", lambda: (before - shutil.disk_usage("/home/user").free) >> 20)
def in_thread():
    reported = []
    thread = threading.Thread(target=lambda: reported.append((sysinfo(), of_foreign(), shutil.disk_usage("/tmp").total)))
    thread.start()
    thread.join()
    return reported[0] == (sysinfo(), of_foreign(), shutil.disk_usage("/tmp").total)
attempt("in a thread", in_thread)
attempt("no address", lambda: call("sysinfo", 0))
attempt("bad address", lambda: call("statfs", b"/usr", 8))
attempt("bad path", lambda: call("statfs", 0, ctypes.create_string_buffer(120)))
attempt("no path", lambda: os.statvfs("/no/such/path"))
attempt("no descriptor", lambda: call("fstatfs", 4711, ctypes.create_string_buffer(120)))
attempt("by its old name", lambda: call("ustat", os.stat("/usr").st_dev, ctypes.create_string_buffer(64)))
attempt("signal to oneself", lambda: libc.kill(os.getpid(), signal.SIGSYS))
def handled():
    seen = []
    signal.signal(signal.SIGSYS, lambda *arguments: seen.append(arguments[0]))
    reported = room(os.statvfs("/usr")), shutil.disk_usage("/tmp").total, seen[:]
    os.kill(os.getpid(), signal.SIGSYS)
    return reported, seen == [signal.SIGSYS], signal.getsignal(signal.SIGSYS) is not None
attempt("SIGSYS handled", handled)
def blocked():
    before = signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    reported = room(os.statvfs("/usr")), shutil.disk_usage("/tmp").total
    signal.pthread_sigmask(signal.SIG_SETMASK, before)
    return reported
attempt("SIGSYS blocked", blocked)
# No other descriptor can have the one number that the kernel answers for.
most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
usr = os.open("/usr", os.O_RDONLY)
import fcntl
attempt("onto the number", os.dup2, usr, most)
attempt("from the number", lambda: fcntl.fcntl(usr, fcntl.F_DUPFD, most))
attempt("raise the limit", lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (most + 1, most + 1)))
attempt("high bits", lambda: call("fstatfs", (1 << 32) + most, held := ctypes.create_string_buffer(120)) or struct.unpack_from("3q", held.raw)[2] >> 8)
attempt("close the number", os.close, most)
attempt("onto the closed number", os.dup2, usr, most)
attempt("after that", lambda: (room(os.statvfs("/usr")), room(os.statvfs("/tmp"))))
"#;
    Attack::python(body).with(limits).in_both_starts(|outcome| {
        let (memory, own) =
            (format!("done: {MEMORY_LIMIT}"), format!("done: {:?}", [DISK_LIMIT; 4]));
        outcome.attempts(&[
            ("sysinfo", &format!("done: (True, 0, {MEMORY_LIMIT}, True, 0, 1)")),
            ("pages", &memory),
            ("available", "done: True"),
            ("foreign", "done: {(1, 0, 0, 0)}"),
            ("own", &own),
            ("written", "done: 10"),
            ("in a thread", "done: True"),
            ("no address", "EFAULT"),
            ("bad address", "EFAULT"),
            ("bad path", "EFAULT"),
            ("no path", "ENOENT"),
            ("no descriptor", "EBADF"),
            ("by its old name", "EPERM|ENOSYS"),
            ("signal to oneself", "done: 0"),
            ("SIGSYS handled", &format!("done: (((1, 0, 0, 0), {DISK_LIMIT}, []), True, True)")),
            ("SIGSYS blocked", &format!("done: ((1, 0, 0, 0), {DISK_LIMIT})")),
            ("onto the number", "EBADF"),
            ("from the number", "EINVAL"),
            ("raise the limit", "ValueError"),
            // In blocks of the own space: the number is that of the lower half, as it is to the
            // kernel.
            ("high bits", "done: 40"),
            ("close the number", "done: None"),
            ("onto the closed number", "EBADF"),
            ("after that", "done: ((1, 0, 0, 0), (1, 0, 0, 0))"),
        ]);
    });
    Attack::javascript(
        r"
        const os = require('node:os');
        const { Worker } = require('node:worker_threads');
        const room = reported => [reported.blocks, reported.bfree, reported.bavail, reported.ffree].join();
        attempt('total', () => os.totalmem());
        attempt('free', () => os.freemem() > 0 && os.freemem() < os.totalmem());
        attempt('load', () => os.loadavg().join());
        attempt('foreign', () => [...new Set(['/', '/usr', '/proc'].map(place => room(fs.statfsSync(place))))].join());
        attempt('own', () => ['/tmp', '/home/user', '/dev/shm'].map(place => fs.statfsSync(place)).map(reported => reported.blocks * reported.bsize).join());
        const worker = code => new Promise((resolve, reject) => {
          const worker = new Worker(`require('node:worker_threads').parentPort.postMessage(${code})`, { eval: true });
          worker.once('message', resolve).once('error', reject);
        });
        await attemptAsync('in a pool', async () => room(await fs.promises.statfs('/usr')));
        await attemptAsync('in a worker', () => worker(`require('node:os').totalmem() + ' ' + require('node:fs').statfsSync('/usr').bfree`));
        // As npm's `signal-exit` does, which ends the process then; and a new worker asks for the
        // machine's memory.
        let signals = 0;
        process.on('SIGSYS', () => { signals += 1; });
        await attemptAsync('SIGSYS handled', async () => [os.totalmem(), room(fs.statfsSync('/usr')), await worker('1'), signals].join());
        ",
    )
    .with(limits)
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            ("total", &format!("done: {MEMORY_LIMIT}")),
            ("free", "done: true"),
            ("load", "done: 0,0,0"),
            ("foreign", "done: 1,0,0,0"),
            ("own", &format!("done: {DISK_LIMIT},{DISK_LIMIT},{DISK_LIMIT}")),
            ("in a pool", "done: 1,0,0,0"),
            ("in a worker", &format!("done: {MEMORY_LIMIT} 0")),
            ("SIGSYS handled", &format!("done: {MEMORY_LIMIT},1,0,0,0,1,0")),
        ]);
    });
}

/// A folder that is granted for writing is not said to be full: programs that look first would not
/// write.
#[test]
fn a_granted_folder_tells_of_no_more_room_than_the_sandbox_has() {
    let host = tempfile::tempdir().unwrap();
    crate::run::open_to_all(host.path());
    let place = host.path().to_str().unwrap();
    let body = format!(
        "reported = os.statvfs({place:?})\nattempt('room', lambda: (reported.f_blocks * reported.f_frsize, reported.f_bavail * reported.f_frsize))\n\
         attempt('writes', lambda: open({place:?} + '/' + os.urandom(8).hex(), 'w').write('x'))"
    );
    Attack::python(&body).with(["--write", place, "--disk", "40M"]).in_both_starts(|outcome| {
        outcome.attempts(&[
            ("room", &format!("done: ({DISK_LIMIT}, {DISK_LIMIT})")),
            ("writes", "done: 1"),
        ]);
    });
}

/// A Python like this machine's with a package and a configuration of its user's. Linked where
/// possible: a copy would take seconds.
fn python_with_packages(prefix: &Path) -> PathBuf {
    let facts = "import json, os, sys; print(json.dumps([os.path.realpath(sys.executable), os.path.dirname(os.path.realpath(os.__file__))]))";
    let answer = crate::leftovers::output(
        std::process::Command::new("python3").args(["-I", "-S", "-c", facts]),
    );
    let [program, library]: [PathBuf; 2] = serde_json::from_slice(&answer.stdout).unwrap();
    let own_library = prefix.join("lib").join(library.file_name().unwrap());
    imitate(&library, &own_library);
    fs::create_dir_all(prefix.join("bin")).unwrap();
    let own_program = prefix.join("bin").join(program.file_name().unwrap());
    fs::copy(&program, &own_program).unwrap();
    for (file, content) in [
        (own_library.join("site-packages/belljar_canary.py"), "canary = 'canary'"),
        (own_library.join("dist-packages/belljar_canary.py"), "canary = 'canary'"),
        (own_library.join("site-packages/canary.pth"), "import belljar_canary"),
        (prefix.join("pip.conf"), "canary"),
        (prefix.join("etc/pip.conf"), "canary"),
        (prefix.join("share/jupyter/canary.json"), "canary"),
        (prefix.join("bin/canary"), "canary"),
    ] {
        fs::create_dir_all(file.parent().unwrap()).unwrap();
        fs::write(file, content).unwrap();
    }
    own_program
}

fn imitate(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap().flatten() {
        let (name, kind) = (entry.file_name(), entry.file_type().unwrap());
        if ["test", "site-packages", "dist-packages", "__pycache__"]
            .iter()
            .any(|left_out| name.to_str() == Some(left_out))
        {
            continue;
        }
        let (from, to) = (entry.path(), to.join(&name));
        if kind.is_dir() {
            imitate(&from, &to);
        } else if kind.is_file() && fs::hard_link(&from, &to).is_err() {
            fs::copy(&from, &to).unwrap();
        }
    }
}

fn prefix_in(place: &Path) -> std::io::Result<tempfile::TempDir> {
    fs::create_dir_all(place)?;
    tempfile::Builder::new().prefix("belljar-prefix-").tempdir_in(place)
}

/// Asserts that a sandbox of the Python in a prefix sees none of the packages and programs next to
/// it. Beneath `/tmp` the sandbox's own space covers the prefix, and it is attached once more.
fn hides_the_packages_of(folder: &tempfile::TempDir) {
    crate::run::open_to_all(folder.path());
    let program = python_with_packages(folder.path());
    let body = r#"
library = os.path.dirname(os.__file__)
attempt("prefix", lambda: sys.base_prefix)
attempt("library", lambda: __import__("unittest.mock") and __import__("xml.dom.minidom") and __import__("sqlite3") and "works")
for name in ("site-packages", "dist-packages"):
    attempt(name, lambda: os.listdir(f"{library}/{name}"))
sys.path += [f"{library}/site-packages", f"{library}/dist-packages"]
attempt("import", lambda: __import__("belljar_canary"))
attempt("import by path", lambda: __import__("importlib.util").util.spec_from_file_location("c", f"{library}/site-packages/belljar_canary.py").loader.load_module())
for name in ("pip.conf", "etc", "share", "bin/canary"):
    attempt(name, lambda: os.stat(f"{sys.base_prefix}/{name}"))
attempt("programs", lambda: os.listdir(f"{sys.base_prefix}/bin") == [os.path.basename(sys.executable)])
"#;
    let attack = Attack::python(body)
        .with(["--no-packages"])
        .in_environment("BELLJAR_PYTHON", program.to_str().unwrap());
    attack.in_both_starts(|outcome| {
        outcome.attempts(&[
            ("prefix", &format!("done: {}", folder.path().display())),
            ("library", "done: works"),
            ("site-packages", "done: []"),
            ("dist-packages", "done: []"),
            ("import", "ModuleNotFoundError"),
            ("import by path", "ENOENT"),
            ("pip.conf", "ENOENT"),
            ("etc", "ENOENT"),
            ("share", "ENOENT"),
            ("bin/canary", "ENOENT"),
            ("programs", "done: True"),
        ]);
    });
}

#[test]
fn the_hosts_own_packages_are_not_there() {
    hides_the_packages_of(&prefix_in(&std::env::temp_dir()).expect("a folder for temporary files"));
    // Elsewhere than where it was built, a machine may lack the folder, and another user may not
    // make it.
    if let Ok(folder) = prefix_in(Path::new(env!("CARGO_TARGET_TMPDIR"))) {
        hides_the_packages_of(&folder);
    }
    // What this machine's distribution has installed for its own programs.
    let places = [
        "/usr/lib/python3/dist-packages",
        "/usr/lib/node_modules",
        "/usr/share/nodejs",
        "/usr/share/javascript",
    ];
    let body = format!("for place in {places:?}:\n    attempt(place, lambda: os.listdir(place))");
    Attack::python(&body).in_both_starts(|outcome| {
        for place in places {
            let came_to = outcome.attempt(place);
            assert!(["done: []", "ENOENT"].contains(&came_to), "{place}: {came_to}");
        }
    });
}
