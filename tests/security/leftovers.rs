//! Checks that a run leaves no processes, control groups, mounts or files behind.
//!
//! This process adopts the orphans of every belljar (`PR_SET_CHILD_SUBREAPER`): a child of this
//! process that is not a belljar was left behind by one.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use belljar_test_support::{control_groups, processes};
use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

/// Time limit for killed processes to disappear, also on a slow and busy machine.
const PATIENCE: Duration = Duration::from_mins(1);

/// Pids of the running belljars that tests of this process have started.
static BELLJARS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Starts a belljar.
pub fn spawn(command: &mut Command) -> Child {
    // Locked while it starts, so that no other test mistakes it for an orphan.
    let mut belljars = BELLJARS.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(Some(getpid())).expect("any process may adopt orphans");
    let child = command.spawn().expect("belljar can be started");
    belljars.insert(child.id());
    child
}

/// Runs a program to its end. Not `Command::output`: a test that looks for orphans would reap the
/// program in its place.
pub fn output(command: &mut Command) -> std::process::Output {
    let child = spawn(command.stdout(Stdio::piped()).stderr(Stdio::piped()));
    let id = child.id();
    let output = child.wait_with_output().expect("it is our child");
    forget(id);
    output
}

/// Strikes a belljar off that has been waited for.
pub fn forget(belljar: u32) {
    BELLJARS.lock().unwrap_or_else(PoisonError::into_inner).remove(&belljar);
}

/// Asserts that a belljar that has ended left nothing, and that its folder is as it was.
#[track_caller]
pub fn assert_none(belljar: u32, folder: &Path) {
    assert_no_process(belljar);
    assert_eq!(control_groups::of_belljar(belljar), Vec::<PathBuf>::new(), "control groups");
    assert_eq!(own_mounts(), Vec::<String>::new(), "mounts");
    for place in ["tmp", "work"] {
        let left: Vec<_> =
            fs::read_dir(folder.join(place)).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "files");
    }
}

/// Asserts that soon no process of a belljar is left.
#[track_caller]
pub fn assert_no_process(belljar: u32) {
    let started = Instant::now();
    loop {
        let left = [orphans(), members(belljar)].concat();
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < PATIENCE, "after {PATIENCE:?} these are still there: {left:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Returns the processes that this process has adopted because their parent is gone. Reaps those
/// that have ended.
fn orphans() -> Vec<String> {
    let belljars = BELLJARS.lock().unwrap_or_else(PoisonError::into_inner);
    let mut left = Vec::new();
    for (pid, stat) in processes::all() {
        if stat.parent != std::process::id() || belljars.contains(&pid) {
            continue;
        }
        match Pid::from_raw(pid as i32) {
            Some(orphan) if stat.state == 'Z' => drop(waitpid(Some(orphan), WaitOptions::NOHANG)),
            _ => left.push(format!("{pid}: {stat:?}")),
        }
    }
    left
}

/// Returns the processes in the control groups of a belljar.
fn members(belljar: u32) -> Vec<String> {
    let name = format!("/belljar-{belljar}-");
    processes::all()
        .filter(|(pid, _)| {
            fs::read_to_string(format!("/proc/{pid}/cgroup"))
                .is_ok_and(|groups| groups.contains(&name))
        })
        .map(|(pid, stat)| format!("{pid}: {stat:?}"))
        .collect()
}

/// Mounts in this process's namespace that carry the names of those that a sandbox is made of.
fn own_mounts() -> Vec<String> {
    let sources = [" - tmpfs root ", " - tmpfs space ", " - tmpfs hidden "];
    let is_own = |line: &&str| {
        sources.iter().any(|source| line.contains(source)) || line.contains("/opt/belljar")
    };
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    mounts.lines().filter(is_own).map(str::to_owned).collect()
}
