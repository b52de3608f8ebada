//! System calls that have been ways out of a sandbox, and all the others with nonsense for
//! arguments.

use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::time::{Duration, Instant};

use belljar_test_support::STARTS;
use rustix::fs::{Advice, Mode, OFlags};

use crate::run::{Attack, host_file, open_to_all};

/// Those that kill, each in a child of its own: where exec is granted, one run shows all.
#[test]
fn hostile_system_calls_kill_the_process_that_makes_them() {
    let hostile = [
        "kexec_load",
        "kexec_file_load",
        "init_module",
        "finit_module",
        "delete_module",
        "bpf",
        "perf_event_open",
        "userfaultfd",
        "ptrace",
        "process_vm_readv",
        "process_vm_writev",
        "open_by_handle_at",
        "keyctl",
        "add_key",
        "request_key",
        "reboot",
        "swapon",
        "swapoff",
    ];
    let body = format!(
        r"
def dies(name):
    child = os.fork()
    if child == 0:
        try:
            call(name, 0, 0, 0, 0, 0, 0)
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return f'signal {{os.WTERMSIG(status)}}' if os.WIFSIGNALED(status) else f'exit {{os.WEXITSTATUS(status)}}'
for name in {hostile:?}:
    attempt(name, dies, name)
"
    );
    Attack::python(&body).with(["--exec"]).in_both_starts(|outcome| {
        for name in hostile {
            outcome.attempts(&[(name, "done: signal 31")]);
        }
    });
}

#[test]
fn a_program_killed_for_a_system_call_is_distinguished_from_a_failure() {
    Attack::python("print('tracing', flush=True)\nlibc.ptrace(0, 0, 0, 0)").in_both_starts(
        |outcome| {
            outcome.must_be("crashed");
            assert_eq!(outcome.logged(), ["tracing"]);
            assert_eq!(outcome.json["signal"], 31);
        },
    );
}

/// The 32-bit entry and the x32 numbers reach the same kernel past a filter that only knows the
/// 64-bit ones.
#[cfg(target_arch = "x86_64")]
#[test]
fn other_architectures_numbers_kill() {
    Attack::python(
        r#"
def dies(action):
    child = os.fork()
    if child == 0:
        try:
            action()
        finally:
            os._exit(0)
    status = os.waitpid(child, 0)[1]
    return f"signal {os.WTERMSIG(status)}" if os.WIFSIGNALED(status) else f"exit {os.WEXITSTATUS(status)}"
attempt("x32 getpid", dies, lambda: libc.syscall(ctypes.c_long(0x40000000 + 39)))
attempt("x32 mount", dies, lambda: libc.syscall(ctypes.c_long(0x40000000 + 165)))
import mmap
# mov eax, 20 (getpid); int 0x80; ret
code = mmap.mmap(-1, 4096, prot=mmap.PROT_READ | mmap.PROT_WRITE | mmap.PROT_EXEC)
code.write(bytes([0xb8, 20, 0, 0, 0, 0xcd, 0x80, 0xc3]))
entry = ctypes.CFUNCTYPE(ctypes.c_int)(ctypes.addressof(ctypes.c_char.from_buffer(code)))
attempt("int 0x80", dies, entry)
"#,
    )
    .with(["--exec"])
    .in_both_starts(|outcome| {
        // SIGSYS, or SIGSEGV where the kernel has no 32-bit entry.
        outcome.attempts(&[
            ("x32 getpid", "done: signal 31"),
            ("x32 mount", "done: signal 31"),
            ("int 0x80", "done: signal 31|done: signal 11"),
        ]);
    });
}

#[test]
fn what_only_a_set_up_needs_is_refused() {
    Attack::python(
        r#"
attempt("mount", lambda: call("mount", b"none", b"/tmp", b"tmpfs", 0, 0))
attempt("remount root writable", lambda: call("mount", 0, b"/", 0, 0x20 | 0x1000, 0))
attempt("remount /usr writable", lambda: call("mount", 0, b"/usr", 0, 0x20 | 0x1000, 0))
attempt("make the space executable", lambda: call("mount", 0, b"/tmp", 0, 0x20, 0))
attempt("bind", lambda: call("mount", b"/", b"/tmp", 0, 0x1000, 0))
attempt("umount", lambda: call("umount2", b"/proc", 2))
attempt("umount mask", lambda: call("umount2", b"/usr/local", 2))
attempt("pivot_root", lambda: call("pivot_root", b"/tmp", b"/tmp"))
attempt("chroot", os.chroot, "/tmp")
attempt("open_tree", lambda: call("open_tree", -100, b"/", 1))
attempt("move_mount", lambda: call("move_mount", 0, b"", 0, b"", 0))
attempt("mount_setattr", lambda: call("mount_setattr", -100, b"/", 0, b"\0" * 32, 32))
attempt("fsopen", lambda: call("fsopen", b"tmpfs", 0))
attempt("fsmount", lambda: call("fsmount", 0, 0, 0))
attempt("fsconfig", lambda: call("fsconfig", 0, 0, 0, 0, 0))
for name, flag in (("user", 0x10000000), ("mount", 0x20000), ("pid", 0x20000000), ("net", 0x40000000), ("ipc", 0x08000000), ("uts", 0x04000000), ("cgroup", 0x02000000), ("time", 0x80)):
    attempt(f"unshare {name}", lambda: call("unshare", flag))
    attempt(f"clone {name}", lambda: call("clone", flag | 17, 0, 0, 0, 0))
attempt("clone3", lambda: call("clone3", b"\0" * 88, 88))
def join(namespace):
    fd = os.open(f"/proc/self/ns/{namespace}", os.O_RDONLY)
    try:
        call("setns", fd, 0)
    finally:
        os.close(fd)
for namespace in ("user", "mnt", "pid", "net"):
    attempt(f"setns {namespace}", join, namespace)
for name in ("io_uring_setup", "io_uring_enter", "io_uring_register"):
    attempt(name, lambda: call(name, 1, 0, 0, 0, 0, 0))
for name in ("acct", "settimeofday", "clock_settime", "quotactl", "syslog", "shmget", "msgget", "semget", "mq_open", "io_setup",
             "mbind", "migrate_pages", "move_pages", "fanotify_init", "name_to_handle_at", "kcmp", "pidfd_getfd", "process_madvise",
             "memfd_secret", "lookup_dcookie", "landlock_restrict_self"):
    attempt(name, lambda: call(name, 0, 0, 0, 0, 0, 0))
attempt("openat2", lambda: call("openat2", -100, b"/", b"\0" * 24, 24))
attempt("fchmodat2", lambda: call("fchmodat2", -100, b"/tmp", 0o4755, 0))
"#,
    )
    .in_both_starts(|outcome| {
        for name in [
            "mount", "remount root writable", "remount /usr writable", "make the space executable", "bind", "umount", "umount mask", "pivot_root",
            "chroot", "open_tree", "move_mount", "mount_setattr", "fsopen", "fsmount", "fsconfig", "setns user", "setns mnt", "setns pid", "setns net",
            "acct", "settimeofday", "clock_settime", "quotactl", "syslog", "shmget", "msgget", "semget", "mq_open", "io_setup", "mbind",
            "migrate_pages", "move_pages", "fanotify_init", "name_to_handle_at", "kcmp", "pidfd_getfd", "process_madvise", "memfd_secret",
            "lookup_dcookie", "landlock_restrict_self",
        ] {
            outcome.attempts(&[(name, "EPERM")]);
        }
        for namespace in ["user", "mount", "pid", "net", "ipc", "uts", "cgroup"] {
            outcome.attempts(&[(&format!("unshare {namespace}"), "EPERM"), (&format!("clone {namespace}"), "EPERM")]);
        }
        // Not a namespace in clone's eyes: that bit is part of the signal there. Without an exec
        // grant no process comes of it.
        outcome.attempts(&[("unshare time", "EPERM"), ("clone time", "EACCES")]);
        for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "openat2", "fchmodat2"] {
            outcome.attempts(&[(name, "ENOSYS")]);
        }
    });
}

/// Every number up to some past the last that any kernel has, each in a child of its own, with
/// three kinds of nonsense. Each must come back with an error, or die, or do something harmless to
/// its own process; and what only a set-up may do must never succeed.
#[test]
fn no_system_call_with_nonsense_for_arguments_gets_out() {
    let outcome = Attack::python(
        r#"
import signal
WORDS = {"zeros": [0] * 6, "ones": [-1] * 6, "pointers": [ctypes.addressof(ctypes.create_string_buffer(b"/tmp\0" * 100))] * 6}
FORBIDDEN = {number(name): name for name in NUMBERS if name in (
    "mount", "umount2", "swapon", "swapoff", "reboot", "sethostname", "init_module", "delete_module", "pivot_root", "chroot", "kexec_load",
    "add_key", "request_key", "keyctl", "unshare", "perf_event_open", "open_by_handle_at", "setns", "process_vm_readv", "process_vm_writev",
    "finit_module", "bpf", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "open_tree", "move_mount", "fsopen",
    "fsmount", "mount_setattr", "ptrace", "capset", "setuid", "setgid", "setgroups", "acct", "settimeofday", "clock_settime", "iopl", "ioperm")}
refused = killed = harmless = stuck = 0
escaped = []
for words_name, words in WORDS.items():
    for number_ in range(0, 480):
        read, write = os.pipe()
        child = os.fork()
        if child == 0:
            # Whatever stays behind or waits is ended; a child of the child ends here too.
            signal.alarm(20)
            os.close(3)
            ctypes.set_errno(0)
            answer = libc.syscall(ctypes.c_long(number_), *[ctypes.c_long(word) for word in words])
            os.write(write, struct.pack("qi", answer, ctypes.get_errno()))
            os._exit(0)
        os.close(write)
        # Those that wait for something that never comes.
        import select
        if not select.select([read], [], [], 5)[0]:
            os.kill(child, signal.SIGKILL)
            stuck += 1
        data = os.read(read, 12)
        os.close(read)
        status = os.waitpid(child, 0)[1]
        if len(data) != 12:
            killed += 1
        elif struct.unpack("qi", data)[0] == -1:
            refused += 1
        else:
            harmless += 1
            if number_ in FORBIDDEN:
                escaped.append(FORBIDDEN[number_])
attempt("tried", lambda: refused + killed + harmless)
attempt("refused", lambda: refused > 600)
attempt("killed", lambda: killed > 50)
attempt("escaped", lambda: escaped)
attempt("stuck", lambda: stuck)
"#,
    )
    .with(["--exec", "--timeout", "260s", "--cpu", "250s", "--start", "exec"])
    .run();
    outcome.attempts(&[
        ("tried", "done: 1440"),
        ("refused", "done: True"),
        ("killed", "done: True"),
        ("escaped", "done: []"),
    ]);
}

#[test]
fn javascript_reaches_no_native_code_of_its_own() {
    Attack::javascript(
        r"
        for (const name of ['fs', 'process_wrap', 'spawn_sync', 'tty_wrap', 'pipe_wrap', 'natives', 'contextify', 'worker']) {
          attempt(`binding ${name}`, () => Object.keys(process.binding(name)).length > 0);
        }
        attempt('spawn through the binding', () => {
          const stdio = [{ type: 'ignore' }, { type: 'ignore' }, { type: 'ignore' }];
          const { error } = process.binding('spawn_sync').spawn({ file: '/bin/true', args: ['true'], envPairs: [], stdio });
          if (error) throw Object.assign(new Error(), { code: require('node:util').getSystemErrorName(error) });
        });
        const library = fs.readFileSync('/opt/belljar/libbelljar.so');
        for (const folder of ['/tmp', '/home/user', '/dev/shm']) {
          attempt(`load from ${folder}`, () => {
            fs.writeFileSync(`${folder}/copy.node`, library);
            process.dlopen({ exports: {} }, `${folder}/copy.node`);
          });
        }
        attempt('load again', () => {
          const module = { exports: {} };
          process.dlopen(module, '/opt/belljar/libbelljar.so');
          return typeof module.exports;
        });
        attempt('unshare through a worker', () => new (require('node:worker_threads').Worker)('1', { eval: true, execArgv: [] }) && 'a worker');
        attempt('inspector', () => require('node:inspector').open(0, '127.0.0.1') ?? 'open');
        attempt('report', () => process.report.writeReport('/usr/report.json'));
        attempt('heap snapshot', () => require('node:v8').writeHeapSnapshot('/usr/heap'));
        ",
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[("spawn through the binding", "EACCES")]);
        for folder in ["/tmp", "/home/user", "/dev/shm"] {
            outcome.attempts(&[(&format!("load from {folder}"), "ERR_DLOPEN_FAILED")]);
        }
        // The driver's library may be loaded again: it gives nothing that the control channel would
        // believe.
        outcome.attempt("load again");
        for name in ["fs", "process_wrap", "spawn_sync", "tty_wrap", "pipe_wrap", "natives", "contextify", "worker"] {
            outcome.attempt(&format!("binding {name}"));
        }
        outcome.attempt("inspector");
    });
}

#[test]
fn python_executes_no_file_that_it_wrote() {
    Attack::python(
        r#"
library = open("/opt/belljar/libbelljar.so", "rb").read()
for folder in ("/tmp", "/home/user", "/dev/shm"):
    open(f"{folder}/copy.so", "wb").write(library)
    attempt(f"load from {folder}", lambda: ctypes.CDLL(f"{folder}/copy.so"))
    attempt(f"map from {folder}", lambda: __import__("mmap").mmap(os.open(f"{folder}/copy.so", os.O_RDONLY), 4096, prot=5, flags=2))
attempt("memfd", lambda: os.memfd_create("x") > 0)
fd = os.memfd_create("program")
os.write(fd, open("/bin/true", "rb").read())
attempt("execute a memfd", lambda: os.execve(fd, ["true"], {}))
attempt("execveat a memfd", lambda: call("execveat", fd, b"", 0, 0, 0x1000))
attempt("execute through /proc", lambda: os.execv(f"/proc/self/fd/{fd}", ["true"]))
attempt("device", lambda: os.mknod("/tmp/device", 0o660 | 0o060000, os.makedev(8, 0)))
attempt("character device", lambda: os.mknod("/tmp/device", 0o660 | 0o020000, os.makedev(1, 1)))
attempt("fifo", lambda: os.mkfifo("/tmp/fifo"))
"#,
    )
    .in_both_starts(|outcome| {
        for folder in ["/tmp", "/home/user", "/dev/shm"] {
            outcome.attempts(&[(&format!("load from {folder}"), "OSError|None|0|EPERM"), (&format!("map from {folder}"), "EPERM")]);
        }
        outcome.attempts(&[
            ("memfd", "done: True"),
            ("execute a memfd", "EACCES"),
            ("execveat a memfd", "EACCES"),
            ("execute through /proc", "EACCES"),
            ("device", "EPERM"),
            ("character device", "EPERM"),
            ("fifo", "done: None"),
        ]);
    });
}

/// A lease of who may only read a file makes its writers wait, for 45 seconds or until the run
/// ends.
#[test]
fn a_file_that_may_only_be_read_keeps_no_writer_waiting() {
    let body = r#"
import fcntl, time
file = os.open(sys.argv[1] + "/file", os.O_RDONLY)
meeting = sys.argv[2]
for name, command, argument in (("read lease", 1024, fcntl.F_RDLCK), ("write lease", 1024, fcntl.F_WRLCK), ("notice", 1026, 0x3f), ("owner", 8, os.getpid()),
                                ("signal", 10, 40), ("other owner", 15, struct.pack("ii", 1, os.getpid()))):
    attempt(name, fcntl.fcntl, file, command, argument)
attempt("notice of the folder", lambda: fcntl.fcntl(os.open(sys.argv[1], os.O_RDONLY), 1026, 0x3f))
attempt("asynchronous", lambda: fcntl.fcntl(file, fcntl.F_SETFL, 0o20000))
attempt("non-blocking", lambda: fcntl.fcntl(file, fcntl.F_SETFL, os.O_NONBLOCK))
attempt("lease", lambda: fcntl.fcntl(file, 1025) == fcntl.F_UNLCK)
attempt("duplicate", lambda: fcntl.fcntl(file, fcntl.F_DUPFD_CLOEXEC, 10) >= 10)
attempt("pipe", lambda: fcntl.fcntl(os.pipe()[0], 1032) >= 4096)
open(meeting + "/tried", "w").close()
end = time.monotonic() + 200
while not os.path.exists(meeting + "/written") and time.monotonic() < end:
    time.sleep(0.01)
"#;
    for start in STARTS {
        let (read, meeting) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        open_to_all(meeting.path());
        host_file(read.path(), "file", "content");
        fs::set_permissions(read.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .unwrap();
        let paths = [read.path(), meeting.path()].map(|path| path.to_str().unwrap());
        let attack = Attack::python(body)
            .start(start)
            .with(["--read", paths[0], "--write", paths[1], "--", paths[0], paths[1]]);
        let mut running = attack.spawn_kept();
        let started = Instant::now();
        while !meeting.path().join("tried").exists() && !running.has_ended() {
            assert!(started.elapsed() < Duration::from_secs(200), "the attack does not begin");
            std::thread::sleep(Duration::from_millis(5));
        }
        // While a lease is held this is EWOULDBLOCK.
        let opened = rustix::fs::open(
            read.path().join("file"),
            OFlags::WRONLY | OFlags::NONBLOCK,
            Mode::empty(),
        );
        File::create(meeting.path().join("written")).unwrap();
        let outcome = running.outcome();
        for name in [
            "read lease",
            "write lease",
            "notice",
            "owner",
            "signal",
            "other owner",
            "notice of the folder",
            "asynchronous",
        ] {
            outcome.attempts(&[(name, "EINVAL")]);
        }
        outcome.attempts(&[
            ("non-blocking", "done: 0"),
            ("lease", "done: True"),
            ("duplicate", "done: True"),
            ("pipe", "done: True"),
        ]);
        assert!(opened.is_ok(), "{start}: {opened:?}");
    }
}

/// Whether the first page of a file is in memory.
///
/// Uses mincore(2), because a read with `RWF_NOWAIT` starts readahead, and on a fast disk finds the
/// page that it has itself brought in.
fn is_in_memory(file: &File) -> bool {
    const PAGE: usize = 4096;
    let mut state = 0;
    // SAFETY: the mapping is new, nothing reads it, and `state` has room for its one page.
    unsafe {
        let page = libc::mmap(
            std::ptr::null_mut(),
            PAGE,
            libc::PROT_READ,
            libc::MAP_SHARED,
            file.as_raw_fd(),
            0,
        );
        assert_ne!(page, libc::MAP_FAILED, "{}", std::io::Error::last_os_error());
        let answer = libc::mincore(page, PAGE, &raw mut state);
        assert_eq!(answer, 0, "{}", std::io::Error::last_os_error());
        libc::munmap(page, PAGE);
    }
    state & 1 == 1
}

/// Two sandboxes that read the same file could communicate through the page cache.
#[test]
fn the_cached_pages_of_a_shared_file_are_neither_revealed_nor_changed() {
    let folder = tempfile::tempdir().unwrap();
    fs::set_permissions(folder.path(), std::os::unix::fs::PermissionsExt::from_mode(0o755))
        .unwrap();
    let path = host_file(folder.path(), "shared", &"x".repeat(1 << 20));
    let file = File::open(&path).unwrap();
    file.sync_all().unwrap();
    // The host's own advice shows whether its effect is visible on this machine.
    let evict = || rustix::fs::fadvise(&file, 0, None, Advice::DontNeed).unwrap();
    evict();
    let is_visible = !is_in_memory(&file);
    fs::read(&path).unwrap();
    let body = r#"
file = os.open(sys.argv[1], os.O_RDONLY)
buffer = bytearray(4096)
attempt("reported", lambda: os.preadv(file, [buffer], 0, os.RWF_NOWAIT))
attempt("reported and evicted", lambda: os.preadv(file, [buffer], 0, 0x80))
attempt("read", lambda: os.preadv(file, [buffer], 0, 0))
attempt("statistics", lambda: call("cachestat", file, b"\0" * 16, b"\0" * 40, 0))
attempt("evict", lambda: os.posix_fadvise(file, 0, 0, os.POSIX_FADV_DONTNEED))
attempt("sequential", lambda: os.posix_fadvise(file, 0, 0, os.POSIX_FADV_SEQUENTIAL))
"#;
    Attack::python(body)
        .with(["--read", folder.path().to_str().unwrap()])
        .in_both_starts_with_arguments(&[&path], |outcome| {
            outcome.attempts(&[
                ("reported", "ENOTSUP|EOPNOTSUPP"),
                ("reported and evicted", "ENOTSUP|EOPNOTSUPP"),
                ("read", "done: 4096"),
                ("statistics", "EPERM"),
                // Advice that need not be taken.
                ("evict", "done: None"),
                ("sequential", "done: None"),
            ]);
            if is_visible {
                assert!(is_in_memory(&file), "a sandbox has evicted a page");
            }
        });
    evict();
    assert!(!is_visible || !is_in_memory(&file), "what is in memory cannot be seen here after all");
}

#[test]
fn memory_is_neither_the_hosts_reserved_nor_shared_by_content() {
    Attack::python(
        r#"
import mmap
PRIVATE = mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS
def map_(flags):
    answer = call("mmap", 0, 2 << 20, 3, flags, -1, 0)
    return answer != -1
for name, size in (("default", 0), ("2 MB", 21 << 26), ("1 GB", 30 << 26)):
    attempt(f"huge, {name}", map_, PRIVATE | 0x40000 | size)
    attempt(f"shared huge, {name}", map_, mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | 0x40000 | size)
    attempt(f"huge file, {name}", lambda: call("memfd_create", b"x", 4 | size))
attempt("plain", map_, PRIVATE)
attempt("plain file", lambda: call("memfd_create", b"x", 1) > 0)
memory = mmap.mmap(-1, 1 << 20)
attempt("merge", lambda: memory.madvise(12))
attempt("stop merging", lambda: memory.madvise(13))
attempt("merge everything", lambda: call("prctl", 67, 1, 0, 0, 0))
attempt("need not", lambda: memory.madvise(mmap.MADV_DONTNEED))
"#,
    )
    .in_both_starts(|outcome| {
        for size in ["default", "2 MB", "1 GB"] {
            for way in ["huge", "shared huge", "huge file"] {
                outcome.attempts(&[(&format!("{way}, {size}"), "EPERM")]);
            }
        }
        outcome.attempts(&[
            ("plain", "done: True"),
            ("plain file", "done: True"),
            ("merge", "EINVAL"),
            ("stop merging", "EINVAL"),
            ("merge everything", "EINVAL"),
            ("need not", "done: None"),
        ]);
    });
}

/// Calls that are there, with arguments that no program needs.
#[test]
fn unusual_arguments_of_usual_calls_are_refused() {
    Attack::python(
        r#"
def clone(flags):
    child = call("clone", flags, 0, 0, 0, 0)
    if child == 0:
        os._exit(0)
    return child
for name, flag in (("parent", 0x8000), ("traced", 0x2000), ("untraced", 0x800000), ("shared I/O", 0x80000000)):
    attempt(f"clone, {name}", clone, flag | 17)
attempt("clone", lambda: os.waitpid(clone(17), 0)[1])
for name, option in (("speculation", 53), ("name memory", 0x53564d41), ("memory map", 35), ("dumper", 0x59616d61), ("seccomp", 22), ("task perf", 31), ("core scheduling", 62),
                     ("time stamps", 26), ("machine check", 33), ("securebits", 28), ("keep capabilities", 8), ("personality of memory", 65), ("futex table", 78)):
    attempt(f"prctl, {name}", lambda: call("prctl", option, 1, 1, 1, 1))
if os.uname().machine == "x86_64":
    address = ctypes.c_long()
    attempt("thread's base", lambda: call("arch_prctl", 0x1003, ctypes.addressof(address)))
    for name, option in (("CPUID", 0x1012), ("shadow stack", 0x5001), ("tagged addresses", 0x4002), ("map vDSO", 0x2003)):
        attempt(f"arch_prctl, {name}", lambda: call("arch_prctl", option, 0))
read, write = os.pipe()
attempt("tee", lambda: call("tee", read, write, 1, 0))
attempt("sync", lambda: call("sync"))
"#,
    )
    .with(["--exec"])
    .in_both_starts(|outcome| {
        for name in ["parent", "traced", "untraced", "shared I/O"] {
            outcome.attempts(&[(&format!("clone, {name}"), "EPERM")]);
        }
        outcome.attempts(&[("clone", "done: 0"), ("tee", "EPERM"), ("sync", "EPERM")]);
        for name in [
            "speculation", "name memory", "memory map", "dumper", "seccomp", "task perf", "core scheduling", "time stamps", "machine check",
            "securebits", "keep capabilities", "personality of memory", "futex table",
        ] {
            outcome.attempts(&[(&format!("prctl, {name}"), "EINVAL")]);
        }
        if cfg!(target_arch = "x86_64") {
            outcome.attempts(&[("thread's base", "done: 0")]);
            for name in ["CPUID", "shadow stack", "tagged addresses", "map vDSO"] {
                outcome.attempts(&[(&format!("arch_prctl, {name}"), "EINVAL")]);
            }
        }
    });
}
