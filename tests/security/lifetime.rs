//! Ends: cancelled, killed from outside, abandoned. Whatever happens to belljar, nothing of a
//! sandbox stays.

use std::time::{Duration, Instant};

use belljar_test_support::processes::{self, descendants};
use belljar_test_support::{STARTS, control_groups, eventually, is_root};
use rustix::process::{Pid, Signal};

use crate::leftovers::assert_no_process;
use crate::run::{Attack, Running};

/// Ignores whatever can be ignored, with children where it may have them, and says when it is ready
/// by filling a granted file.
const STUBBORN: &str = r#"
import signal, time
for number_ in range(1, 65):
    try: signal.signal(number_, signal.SIG_IGN)
    except (OSError, ValueError): pass
libc.prctl(1, 0, 0, 0, 0)
try:
    for _ in range(3):
        if os.fork() == 0:
            os.setsid()
            libc.prctl(1, 0, 0, 0, 0)
            time.sleep(1000)
except OSError:
    pass
os.close(0)
open(sys.argv[1] + "/ready", "w").close()
while True:
    time.sleep(1000)
"#;

/// Starts it and waits until it has dug itself in.
fn dug_in(start: &str, grants: &[&str]) -> Running {
    let host = tempfile::tempdir().unwrap();
    let path = host.path().to_str().unwrap();
    crate::run::open_to_all(host.path());
    let attack = Attack::python(STUBBORN).start(start).with(grants.iter().copied()).with([
        "--timeout",
        "250s",
        "--write",
        path,
        "--",
        path,
    ]);
    let mut running = attack.spawn_kept();
    let started = Instant::now();
    while !host.path().join("ready").exists() {
        assert!(
            !running.has_ended() && started.elapsed() < Duration::from_secs(200),
            "the program did not begin"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    running
}

#[test]
fn when_belljar_is_killed_everything_goes_with_it() {
    for start in STARTS {
        for grants in [&[][..], &["--exec"]] {
            let running = dug_in(start, grants);
            let family = descendants(running.pid());
            assert!(!family.is_empty(), "no process of the sandbox was found");
            running.signal(Signal::KILL);
            eventually(&format!("{start} {grants:?}: no process lives"), || {
                !family.iter().any(|process| process.is_running())
            });
            let outcome = running.outcome();
            assert_eq!(outcome.exit, None);
            assert_no_process(outcome.belljar);
            // Its control groups are empty; the next belljar sweeps them away.
            Attack::python("attempt('works', lambda: 42)").run().attempts(&[("works", "done: 42")]);
            assert!(control_groups::of_belljar(outcome.belljar).is_empty());
        }
    }
}

#[test]
fn a_cancelled_run_is_gone_and_says_so() {
    for start in STARTS {
        for (signal, grants) in
            [(Signal::INT, &[][..]), (Signal::TERM, &["--exec"]), (Signal::HUP, &[])]
        {
            let running = dug_in(start, grants);
            running.signal(signal);
            let outcome = running.outcome();
            outcome.must_be("cancelled");
            assert_eq!(outcome.exit, Some(130));
            assert_no_process(outcome.belljar);
            assert!(control_groups::of_belljar(outcome.belljar).is_empty());
        }
    }
}

/// The sandboxes of a zygote die with it, which is not the fault of their programs: the runs are
/// `interrupted`, and have not `crashed`.
#[test]
fn a_run_whose_zygote_is_killed_is_interrupted() {
    let running = dug_in("fork", &[]);
    let family = descendants(running.pid());
    // The zygote is belljar's child, the sandbox the zygote's.
    let zygote = family
        .iter()
        .copied()
        .find(|process| {
            processes::stat(process.pid).is_some_and(|stat| stat.parent == running.pid())
        })
        .expect("a zygote");
    rustix::process::kill_process(Pid::from_raw(zygote.pid as i32).unwrap(), Signal::KILL).unwrap();
    let outcome = running.outcome();
    outcome.must_be("interrupted");
    assert_eq!(outcome.exit, Some(70));
    assert_no_process(outcome.belljar);
}

/// The sandbox's own first process killed by the machine's owner: no limit explains it.
#[test]
fn a_sandbox_killed_from_outside_is_a_crash() {
    for start in STARTS {
        let running = dug_in(start, &[]);
        let family = descendants(running.pid());
        let sandbox = family.last().expect("a sandbox");
        if rustix::process::kill_process(Pid::from_raw(sandbox.pid as i32).unwrap(), Signal::KILL)
            .is_err()
        {
            assert!(!is_root());
            running.signal(Signal::TERM);
            running.outcome();
            continue;
        }
        let outcome = running.outcome();
        outcome.must_be("crashed");
        assert_no_process(outcome.belljar);
    }
}

/// No process reads belljar's output any more, so the run is useless.
#[test]
fn stopping_a_process_of_belljars_does_not_keep_a_sandbox_alive() {
    let running = dug_in("exec", &[]);
    let family = descendants(running.pid());
    let sandbox = Pid::from_raw(family.last().expect("a sandbox").pid as i32).unwrap();
    let _ = rustix::process::kill_process(sandbox, Signal::STOP);
    running.signal(Signal::TERM);
    let outcome = running.outcome();
    outcome.must_be("cancelled");
    assert_no_process(outcome.belljar);
}
