//! System calls that have been ways out of a sandbox, and all the others with nonsense for arguments.

use crate::run::Attack;

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
fn a_program_killed_for_a_system_call_is_told_apart_from_a_failure() {
    Attack::python("print('tracing', flush=True)\nlibc.ptrace(0, 0, 0, 0)").in_both_starts(|outcome| {
        outcome.must_be("crashed");
        assert_eq!(outcome.logged(), ["tracing"]);
        assert_eq!(outcome.json["signal"], 31);
    });
}

/// The 32-bit entry and the x32 numbers reach the same kernel past a filter that only knows the 64-bit ones.
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
        // Not a namespace in clone's eyes: that bit is part of the signal there. Without an exec grant no process comes of it.
        outcome.attempts(&[("unshare time", "EPERM"), ("clone time", "EACCES")]);
        for name in ["io_uring_setup", "io_uring_enter", "io_uring_register", "clone3", "openat2", "fchmodat2"] {
            outcome.attempts(&[(name, "ENOSYS")]);
        }
    });
}

/// Every number up to some past the last that any kernel has, each in a child of its own, with three kinds of nonsense. Each must come back with an
/// error, or die, or do something harmless to its own process; and what only a set-up may do must never succeed.
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
    outcome.attempts(&[("tried", "done: 1440"), ("refused", "done: True"), ("killed", "done: True"), ("escaped", "done: []")]);
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
        // The driver's library may be loaded again: it gives nothing that the control channel would believe.
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
