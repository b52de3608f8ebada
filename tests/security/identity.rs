//! Who a sandbox is: an unprivileged user that can gain nothing.

use crate::run::{Attack, Outcome};

const STATUS: &str = r#"
status = dict(line.rstrip("\n").split(":\t", 1) for line in open("/proc/self/status") if ":\t" in line)
for key in ("Uid", "Gid", "Groups", "CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb", "NoNewPrivs", "Seccomp"):
    attempt(key, lambda: " ".join(status[key].split()))
attempt("dumpable", lambda: call("prctl", 3))
attempt("parent death signal", lambda: (call("prctl", 2, signal := (ctypes.c_int * 1)()) and None) or signal[0])
"#;

fn assert_unprivileged(outcome: &Outcome) {
    outcome.must_be("succeeded");
    for key in ["CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"] {
        assert_eq!(outcome.attempt(key), "done: 0000000000000000", "{key}");
    }
    for key in ["Uid", "Gid"] {
        let ids: Vec<&str> = outcome.attempt(key).trim_start_matches("done: ").split(' ').collect();
        assert!(ids.len() == 4 && ids.iter().all(|id| *id == ids[0] && id.parse::<u32>().is_ok_and(|id| id >= 1000)), "{key}: {ids:?}");
    }
    outcome.attempts(&[("NoNewPrivs", "done: 1"), ("Seccomp", "done: 2")]);
    // As an ordinary user the kernel does not let the groups be given up; they show as unmapped, and count for nothing on what is bound.
    let groups = outcome.attempt("Groups").trim_start_matches("done: ").trim_start_matches("done:");
    assert!(groups.split_whitespace().all(|group| !crate::run::is_root() && ["65534", "1000"].contains(&group)), "{groups:?}");
}

#[test]
fn a_python_program_has_no_privilege() {
    let body = STATUS.replace("call(\"prctl\", 2, signal := (ctypes.c_int * 1)())", "libc.prctl(2, signal := (ctypes.c_int * 1)())");
    Attack::python(&body).in_both_starts(|outcome| {
        assert_unprivileged(outcome);
        outcome.attempts(&[("dumpable", "done: 0"), ("parent death signal", "done: 9")]);
    });
}

#[test]
fn a_javascript_program_has_no_privilege() {
    Attack::javascript(
        r"
        const status = Object.fromEntries(fs.readFileSync('/proc/self/status', 'utf8').split('\n').filter(line => line.includes(':\t'))
          .map(line => line.split(':\t')));
        for (const key of ['Uid', 'Gid', 'Groups', 'CapInh', 'CapPrm', 'CapEff', 'CapBnd', 'CapAmb', 'NoNewPrivs', 'Seccomp']) {
          attempt(key, () => status[key].trim().split(/\s+/).join(' '));
        }
        ",
    )
    .in_both_starts(assert_unprivileged);
}

#[test]
fn no_program_becomes_somebody_else() {
    Attack::javascript(
        r"
        attempt('setuid', () => process.setuid(0));
        attempt('seteuid', () => process.seteuid(0));
        attempt('setgid', () => process.setgid(0));
        attempt('setgroups', () => process.setgroups([0]));
        attempt('initgroups', () => process.initgroups('user', 1000));
        attempt('chown', () => { fs.writeFileSync('mine', ''); fs.chownSync('mine', 0, 0); });
        ",
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            ("setuid", "EPERM"),
            ("seteuid", "EPERM"),
            ("setgid", "EPERM"),
            ("setgroups", "EPERM"),
            ("initgroups", "EPERM"),
            ("chown", "EINVAL|EPERM"),
        ]);
    });
    Attack::python(
        r#"
attempt("setuid", os.setuid, 0)
attempt("setresuid by number", lambda: call("setresuid", 0, 0, 0))
attempt("setgid", os.setgid, 0)
attempt("setgroups", os.setgroups, [0])
header, sets = struct.pack("II", 0x20080522, 0), struct.pack("6I", *[0xffffffff] * 6)
attempt("capset", lambda: call("capset", header, sets))
attempt("keep capabilities", lambda: call("prctl", 8, 1, 0, 0, 0))
attempt("raise an ambient capability", lambda: call("prctl", 47, 2, 21, 0, 0))
attempt("undo no_new_privs", lambda: call("prctl", 38, 0, 0, 0, 0))
attempt("be dumpable", lambda: call("prctl", 4, 1, 0, 0, 0))
attempt("securebits", lambda: call("prctl", 28, 0, 0, 0, 0))
attempt("let anyone trace", lambda: call("prctl", 0x59616d61, -1, 0, 0, 0))
attempt("personality", lambda: call("personality", 0x0040000))
attempt("seccomp", lambda: call("seccomp", 1, 0, 0))
attempt("no death signal", lambda: call("prctl", 1, 0, 0, 0, 0))
attempt("host name", lambda: call("sethostname", b"owned", 5))
attempt("host name is", lambda: os.uname().nodename)
"#,
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            ("setuid", "EPERM"),
            ("setresuid by number", "EPERM"),
            ("setgid", "EPERM"),
            ("setgroups", "EPERM"),
            ("capset", "EPERM"),
            ("keep capabilities", "EINVAL"),
            ("raise an ambient capability", "EPERM"),
            ("undo no_new_privs", "EINVAL"),
            ("be dumpable", "EPERM"),
            ("securebits", "EINVAL"),
            ("let anyone trace", "EINVAL"),
            ("personality", "EPERM"),
            ("seccomp", "EPERM"),
            ("no death signal", "EPERM"),
            ("host name", "EPERM"),
            ("host name is", "done: sandbox"),
        ]);
    });
}

#[test]
fn limits_of_a_process_cannot_be_raised_and_it_leaves_no_core() {
    Attack::python(
        r#"
import resource
def raised(limit, to):
    resource.setrlimit(limit, (to, to))
    return resource.getrlimit(limit)
attempt("core", lambda: resource.getrlimit(resource.RLIMIT_CORE))
attempt("raise core", raised, resource.RLIMIT_CORE, 1 << 30)
attempt("raise open files", raised, resource.RLIMIT_NOFILE, 1 << 20)
attempt("raise CPU time", raised, resource.RLIMIT_CPU, 1 << 20)
attempt("raise file size", raised, resource.RLIMIT_FSIZE, 1 << 50)
attempt("raise another's", lambda: call("prlimit64", 2, 4, 0, 0))
attempt("raise priority", os.nice, -5)
"#,
    )
    .in_both_starts(|outcome| {
        outcome.attempts(&[
            // 1 stops a core that is piped to a program, which 0 does not (core(5)).
            ("core", "done: (1, 1)"),
            ("raise core", "ValueError"),
            ("raise open files", "ValueError"),
            ("raise CPU time", "ValueError"),
            ("raise file size", "ValueError"),
            ("raise another's", "EPERM"),
            ("raise priority", "EPERM|EACCES"),
        ]);
    });
}

#[test]
fn a_crash_is_a_crash_and_leaves_no_core_file() {
    Attack::python("print('about to crash', flush=True)\nctypes.string_at(0)").in_both_starts(|outcome| {
        outcome.must_be("crashed");
        assert_eq!(outcome.logged(), ["about to crash"]);
        assert_eq!(outcome.json["artifacts"].as_array().map(Vec::len), Some(0));
    });
    Attack::javascript("console.log('about to crash'); process.abort();").in_both_starts(|outcome| {
        outcome.must_be("crashed");
        assert_eq!(outcome.logged()[0], "about to crash");
    });
}

#[test]
fn a_terminal_cannot_be_fed() {
    Attack::python(
        r#"
import fcntl, termios
for stream in (0, 1, 2, 3):
    for name, request in (("TIOCSTI", 0x5412), ("TIOCLINUX", 0x541c), ("TIOCSCTTY", 0x540e), ("TIOCSTI with high bits", 0x7fffffff00005412)):
        def push():
            ctypes.set_errno(0)
            if libc.ioctl(stream, ctypes.c_ulong(request), b"x") == -1:
                raise OSError(ctypes.get_errno(), name)
        attempt(f"{name} {stream}", push)
attempt("/dev/tty", lambda: os.open("/dev/tty", os.O_RDWR))
attempt("/dev/ptmx", lambda: os.open("/dev/ptmx", os.O_RDWR))
"#,
    )
    .in_both_starts(|outcome| {
        for stream in 0..4 {
            for name in ["TIOCSTI", "TIOCLINUX", "TIOCSCTTY", "TIOCSTI with high bits"] {
                outcome.attempts(&[(&format!("{name} {stream}"), "ENOTTY")]);
            }
        }
        outcome.attempts(&[("/dev/tty", "ENOENT"), ("/dev/ptmx", "ENOENT")]);
    });
}
