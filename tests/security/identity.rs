//! The identity of a sandbox: an unprivileged user that cannot gain privileges.

use belljar_test_support::{STARTS, is_root};

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
        assert!(
            ids.len() == 4
                && ids
                    .iter()
                    .all(|id| *id == ids[0] && id.parse::<u32>().is_ok_and(|id| id >= 1000)),
            "{key}: {ids:?}"
        );
    }
    outcome.attempts(&[("NoNewPrivs", "done: 1"), ("Seccomp", "done: 2")]);
    // As an ordinary user the kernel does not let the groups be given up; they show as unmapped,
    // and count for nothing on what is bound.
    let groups = outcome.attempt("Groups").trim_start_matches("done: ").trim_start_matches("done:");
    assert!(
        groups.split_whitespace().all(|group| !is_root() && ["65534", "1000"].contains(&group)),
        "{groups:?}"
    );
}

#[test]
fn a_python_program_has_no_privilege() {
    let body = STATUS.replace(
        "call(\"prctl\", 2, signal := (ctypes.c_int * 1)())",
        "libc.prctl(2, signal := (ctypes.c_int * 1)())",
    );
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
fn no_program_becomes_another_user() {
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
    Attack::python("print('about to crash', flush=True)\nctypes.string_at(0)").in_both_starts(
        |outcome| {
            outcome.must_be("crashed");
            assert_eq!(outcome.logged(), ["about to crash"]);
            assert_eq!(outcome.json["artifacts"].as_array().map(Vec::len), Some(0));
        },
    );
    Attack::javascript("console.log('about to crash'); process.abort();").in_both_starts(
        |outcome| {
            outcome.must_be("crashed");
            assert_eq!(outcome.logged()[0], "about to crash");
        },
    );
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

/// Prints the numbers of inotify instances and timers that a process of the host can create, up to
/// 100 and 500.
const PROBE: &str = r"
import ctypes
libc = ctypes.CDLL(None)
def count(make, most):
    made = 0
    while made < most and make():
        made += 1
    return made
print(count(lambda: libc.inotify_init1(0) >= 0, 100), count(lambda: libc.timer_create(1, None, ctypes.byref(ctypes.c_int())) == 0, 500))
";

fn can_still_make() -> String {
    let probe = crate::leftovers::output(
        std::process::Command::new("python3").args(["-I", "-S", "-c", PROBE]),
    );
    String::from_utf8(probe.stdout).unwrap().trim().to_owned()
}

/// The kernel counts such things for the owner of a user namespace too. With root as the owner one
/// program took all that root had.
#[test]
fn what_a_program_takes_is_not_counted_for_the_hosts_root() {
    let host = tempfile::tempdir().unwrap();
    crate::run::open_to_all(host.path());
    let meeting = host.path().to_str().unwrap();
    let before = can_still_make();
    let body = format!(
        r"
import time
def all_of(make):
    made = 0
    while make():
        made += 1
    return made, errno.errorcode[ctypes.get_errno()]
attempt('instances', all_of, lambda: libc.inotify_init1(0) >= 0)
attempt('timers', all_of, lambda: libc.timer_create(1, None, ctypes.byref(ctypes.c_int())) == 0)
open('{meeting}/taken', 'w').close()
end = time.monotonic() + 200
while not os.path.exists('{meeting}/looked') and time.monotonic() < end:
    time.sleep(0.01)
attempt('looked', lambda: os.path.exists('{meeting}/looked'))
"
    );
    for start in STARTS {
        let mut running =
            Attack::python(&body).with(["--write", meeting]).start(start).spawn_kept();
        while !host.path().join("taken").exists() {
            assert!(!running.has_ended(), "{:?}", running.outcome());
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let during = can_still_make();
        std::fs::write(host.path().join("looked"), "").unwrap();
        let outcome = running.outcome();
        outcome.attempts(&[("looked", "done: True"), ("timers", "done: (1024, 'EAGAIN')")]);
        if is_root() {
            assert_eq!(
                during, before,
                "{start}: what root can make while a program has taken all that it can"
            );
            outcome.attempts(&[("instances", "done: (8, 'EMFILE')")]);
        } else {
            // The owner is the user.
            outcome.attempts(&[("instances", "done: (64, 'EMFILE')")]);
        }
        for name in ["taken", "looked"] {
            std::fs::remove_file(host.path().join(name)).unwrap();
        }
    }
}

/// As root the ids behind those of a sandbox are chosen by a process number of the host's, which
/// they do not tell.
#[test]
fn the_ids_of_a_sandbox_tell_no_process_number() {
    const FIRST: u32 = 0x4000_0000;
    Attack::python("attempt('map', lambda: open('/proc/self/uid_map').read().split())")
        .in_both_starts(|outcome| {
            let map = outcome.attempt("map").replace(['[', ']', '\'', ','], "");
            let [inside, host, count] = map
                .trim_start_matches("done: ")
                .split(' ')
                .map(|part| part.parse::<u32>().unwrap())
                .collect::<Vec<_>>()[..]
            else {
                panic!("{map}");
            };
            if !is_root() {
                // There is one id, and it is the user's own: a documented limit.
                assert_eq!((inside, host, count), (1000, rustix::process::geteuid().as_raw(), 1));
                return;
            }
            assert_eq!((inside, count, (host - FIRST) % 256), (1000, 256, 0));
            // Belljar, the builder and the zygote have been started one after the other. By chance
            // it is wrong once in thousands of runs.
            let block = (host - FIRST) / 256;
            assert!(
                !(outcome.belljar..outcome.belljar + 500).contains(&block),
                "{block} is close to {}",
                outcome.belljar
            );
        });
}
