//! Other programs: refused with the error that a real program expects, and, where granted, as
//! confined as the program itself.

use belljar_test_support::STARTS;

use crate::run::Attack;

#[test]
fn without_a_grant_node_starts_nothing() {
    Attack::javascript(
        r"
        const { spawn, spawnSync, exec, execFile, execSync, execFileSync, fork } = require('node:child_process');
        const settled = child => new Promise((resolve, reject) => child.on('error', reject).on('exit', resolve));
        const called = start => new Promise((resolve, reject) => start((error, out) => error ? reject(error) : resolve(out)));
        await attemptAsync('spawn', () => settled(spawn('/bin/true')));
        await attemptAsync('exec', () => called(done => exec('true', done)));
        await attemptAsync('execFile', () => called(done => execFile('/bin/true', done)));
        await attemptAsync('fork', () => settled(fork('/home/user/program.js')));
        attempt('spawnSync', () => { const { error } = spawnSync('/bin/true'); if (error) throw error; });
        attempt('execSync', () => execSync('true'));
        attempt('execFileSync', () => execFileSync('/bin/true'));
        ",
    )
    .in_both_starts(|outcome| {
        for name in ["spawn", "exec", "execFile", "fork", "spawnSync", "execSync", "execFileSync"] {
            outcome.attempts(&[(name, "EACCES")]);
        }
    });
}

#[test]
fn without_a_grant_python_starts_nothing() {
    Attack::python(
        r#"
import subprocess, multiprocessing
attempt("subprocess", subprocess.run, ["/bin/true"])
attempt("shell", subprocess.run, "true", )
attempt("system", os.system, "true")
attempt("popen", lambda: os.popen("true").read())
attempt("posix_spawn", os.posix_spawn, "/bin/true", ["true"], {})
attempt("fork", os.fork)
attempt("forkpty", os.forkpty)
attempt("execv", os.execv, "/bin/true", ["true"])
attempt("execveat", lambda: call("execveat", -100, b"/bin/true", 0, 0, 0))
attempt("clone", lambda: call("clone", 17, 0, 0, 0, 0))
attempt("clone3", lambda: call("clone3", b"\0" * 88, 88))
attempt("multiprocessing", lambda: multiprocessing.get_context("fork").Process(target=int).start())
if os.uname().machine == "x86_64":
    attempt("fork by number", lambda: libc.syscall(57) if libc.syscall(57) != -1 else (_ for _ in ()).throw(OSError(ctypes.get_errno(), "")))
"#,
    )
    .in_both_starts(|outcome| {
        for name in ["subprocess", "posix_spawn", "fork", "execv", "execveat", "clone", "multiprocessing"] {
            outcome.attempts(&[(name, "EACCES")]);
        }
        outcome.attempts(&[("clone3", "ENOSYS")]);
        for name in ["system", "popen", "shell", "forkpty"] {
            let came_to = outcome.attempt(name);
            assert!(!came_to.starts_with("done: 0") && came_to != "done: ", "{name}: {came_to}");
        }
    });
}

/// Children have the same filter, the same root, no privilege to gain.
#[test]
fn what_is_started_under_a_grant_is_confined_as_well() {
    let body = r##"
import subprocess
def sh(command):
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, timeout=100)
    return f"{done.returncode}" if done.returncode else done.stdout.strip()
attempt("works", sh, "echo $((6 * 7))")
attempt("filter", sh, "grep -E '^(Seccomp|NoNewPrivs):' /proc/self/status | tr -d '\\t' | tr '\\n' ' '")
attempt("capabilities", sh, "grep -E '^Cap(Eff|Prm|Bnd|Amb):' /proc/self/status | grep -vc 0000000000000000 || true")
attempt("ids", sh, "grep -cE '^[UG]id:.*[[:space:]](0|[1-9][0-9]{0,2})([[:space:]]|$)' /proc/self/status || true")
attempt("su", sh, "echo | su -c id 2>/dev/null >/dev/null")
attempt("mount", sh, "mount -t tmpfs none /tmp 2>/dev/null")
attempt("unshare", sh, "unshare -r true 2>/dev/null")
attempt("nsenter", sh, "nsenter -t 1 -m true 2>/dev/null")
attempt("chroot", sh, "chroot /tmp true 2>/dev/null")
attempt("hosts", sh, "cat /root/.ssh/id_rsa /etc/shadow 2>/dev/null")
attempt("parent", sh, "kill -9 1 2>/dev/null; echo alive")
attempt("all", lambda: sh("trap '' TERM; kill -TERM 999999 2>/dev/null; echo alive"))
attempt("core", sh, "ulimit -c unlimited 2>/dev/null; ulimit -Hc")
attempt("processes", sh, "[ $(ls /proc | grep -c '^[0-9]*$') -lt 10 ]; echo $?")
# A program that the program brought itself runs too, but is confined.
open("/tmp/own", "w").write("#!/bin/sh\nmount -t proc none /proc 2>/dev/null || echo confined\n")
os.chmod("/tmp/own", 0o755)
attempt("own program", lambda: subprocess.run(["/tmp/own"], capture_output=True, text=True).stdout.strip())
attempt("own program's set-id bit", os.chmod, "/tmp/own", 0o4755)
attempt("ptrace a child", lambda: subprocess.run([sys.executable, "-c", "import ctypes; ctypes.CDLL(None).ptrace(0, 0, 0, 0)"]).returncode)
attempt("namespaces in a child", lambda: subprocess.run([sys.executable, "-c", "import ctypes; print(ctypes.CDLL(None).unshare(0x10000000))"], capture_output=True, text=True).stdout.strip())
"##;
    Attack::python(body).with(["--exec", "--processes", "40"]).in_both_starts(|outcome| {
        outcome.attempts(&[
            ("works", "done: 42"),
            ("filter", "done: NoNewPrivs:1 Seccomp:2"),
            ("capabilities", "done: 0"),
            ("ids", "done: 0"),
            ("parent", "done: alive"),
            ("all", "done: alive"),
            ("core", "done: 0"),
            ("processes", "done: 0"),
            ("own program", "done: confined"),
            ("own program's set-id bit", "EPERM"),
            ("ptrace a child", "done: -31"),
            ("namespaces in a child", "done: -1"),
        ]);
        for name in ["su", "mount", "unshare", "nsenter", "chroot", "hosts"] {
            let came_to = outcome.attempt(name);
            assert!(
                came_to.starts_with("done: ")
                    && came_to["done: ".len()..].parse::<u32>().is_ok_and(|code| code > 0),
                "{name}: {came_to}"
            );
        }
    });
}

#[test]
fn daemons_under_a_grant_die_with_the_run() {
    let body = r#"
import time
def daemon():
    child = os.fork()
    if child:
        os.waitpid(child, 0)
        return "started"
    os.setsid()
    libc.prctl(1, 0, 0, 0, 0)
    if os.fork():
        os._exit(0)
    import signal
    for number_ in range(1, 65):
        try: signal.signal(number_, signal.SIG_IGN)
        except (OSError, ValueError): pass
    os.close(0); os.close(1); os.close(2); os.close(3)
    time.sleep(1000)
for _ in range(5):
    attempt("daemon", daemon)
"#;
    Attack::python(body).with(["--exec"]).in_both_starts(|outcome| {
        outcome.attempts(&[("daemon", "done: started")]);
    });
    Attack::javascript(
        r"
        const child = require('node:child_process').spawn('/bin/sh', ['-c', 'trap \'\' TERM HUP INT; sleep 1000 & sleep 1000'], { detached: true, stdio: 'ignore' });
        child.unref();
        attempt('daemon', () => child.pid > 0);
        ",
    )
    .with(["--exec"])
    .in_both_starts(|outcome| {
        outcome.attempts(&[("daemon", "done: true")]);
    });
}

#[test]
fn killing_everything_ends_only_the_run() {
    for start in STARTS {
        let outcome = Attack::python(
            "print('armed', flush=True)\nlibc.kill(-1, 9)\nlibc.kill(1, 9)\nlibc.kill(1, 15)\nattempt('alive', lambda: True)",
        )
        .start(start)
        .with(["--exec"])
        .run();
        assert_eq!(outcome.logged().first(), Some(&"armed"), "{}", outcome.json);
        assert!(["succeeded", "crashed"].contains(&outcome.status()), "{}", outcome.json);
        let outcome =
            Attack::javascript("console.log('armed'); process.kill(-1, 'SIGKILL'); await new Promise(resolve => setTimeout(resolve, 50));")
                .start(start)
                .with(["--exec"])
                .run();
        assert_eq!(outcome.logged().first(), Some(&"armed"), "{}", outcome.json);
        assert!(["succeeded", "crashed", "failed"].contains(&outcome.status()), "{}", outcome.json);
    }
    // The machine is as it was: the next run works.
    Attack::python("attempt('works', lambda: 42)").run().attempts(&[("works", "done: 42")]);
}
