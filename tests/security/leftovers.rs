//! What a run must not leave behind: processes, control groups, mounts, files.
//!
//! This process adopts what a belljar leaves (`PR_SET_CHILD_SUBREAPER`): a child of ours that is not a belljar was one's.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use rustix::process::{Pid, WaitOptions, getpid, set_child_subreaper, waitpid};

/// How long what was killed may take to be gone on a slow machine.
const PATIENCE: Duration = Duration::from_secs(10);

/// The belljars that run, started by the tests of this process.
static BELLJARS: Mutex<BTreeSet<u32>> = Mutex::new(BTreeSet::new());

/// Starts a belljar.
pub fn spawn(command: &mut Command) -> Child {
    // Held while it starts, so that no test takes it for something left behind.
    let mut belljars = BELLJARS.lock().unwrap_or_else(PoisonError::into_inner);
    set_child_subreaper(Some(getpid())).expect("any process may adopt orphans");
    let child = command.spawn().expect("belljar can be started");
    belljars.insert(child.id());
    child
}

/// Runs a program to its end. Not `Command::output`: a test that looks for orphans would reap the program in its place.
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
    assert_no_process(belljar, PATIENCE);
    assert_eq!(groups(belljar), Vec::<PathBuf>::new(), "control groups");
    assert_eq!(own_mounts(), Vec::<String>::new(), "mounts");
    for place in ["tmp", "work"] {
        let left: Vec<_> = fs::read_dir(folder.join(place)).unwrap().flatten().map(|entry| entry.path()).collect();
        assert_eq!(left, Vec::<PathBuf>::new(), "files");
    }
}

/// Asserts that within `patience` no process of a belljar's is left.
#[track_caller]
pub fn assert_no_process(belljar: u32, patience: Duration) {
    let started = Instant::now();
    loop {
        let left = [orphans(), members(belljar)].concat();
        if left.is_empty() {
            return;
        }
        assert!(started.elapsed() < patience, "after {patience:?} these are still there: {left:?}");
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Processes that fell to us because their parent is gone. Reaps those that have ended.
fn orphans() -> Vec<String> {
    let belljars = BELLJARS.lock().unwrap_or_else(PoisonError::into_inner);
    let ours = std::process::id().to_string();
    let mut left = Vec::new();
    for (pid, stat) in processes() {
        let Some((_, fields)) = stat.rsplit_once(") ") else { continue };
        let mut fields = fields.split(' ');
        let (state, parent) = (fields.next(), fields.next());
        if parent != Some(&ours) || belljars.contains(&pid) {
            continue;
        }
        match Pid::from_raw(pid as i32) {
            Some(orphan) if state == Some("Z") => drop(waitpid(Some(orphan), WaitOptions::NOHANG)),
            _ => left.push(stat),
        }
    }
    left
}

/// Processes in a belljar's control groups.
fn members(belljar: u32) -> Vec<String> {
    let name = format!("/belljar-{belljar}-");
    processes()
        .filter(|(pid, _)| fs::read_to_string(format!("/proc/{pid}/cgroup")).is_ok_and(|groups| groups.contains(&name)))
        .map(|(_, stat)| stat)
        .collect()
}

fn processes() -> impl Iterator<Item = (u32, String)> {
    fs::read_dir("/proc").expect("/proc is mounted").flatten().filter_map(|entry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        Some((pid, fs::read_to_string(entry.path().join("stat")).ok()?))
    })
}

/// A belljar's control groups, in every hierarchy.
pub fn groups(belljar: u32) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for line in current_mounts().lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        if right.starts_with("cgroup")
            && let Some(point) = left.split(' ').nth(4)
        {
            find_groups(Path::new(point), &format!("belljar-{belljar}-"), &mut found);
        }
    }
    found
}

fn find_groups(folder: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            continue;
        }
        if entry.file_name().to_str().is_some_and(|name| name.starts_with(prefix)) {
            found.push(entry.path());
        } else {
            find_groups(&entry.path(), prefix, found);
        }
    }
}

/// Mounts in this process's namespace that carry the names of those that a sandbox is made of.
fn own_mounts() -> Vec<String> {
    let sources = [" - tmpfs root ", " - tmpfs space ", " - tmpfs hidden "];
    let is_own = |line: &&str| sources.iter().any(|source| line.contains(source)) || line.contains("/opt/belljar");
    current_mounts().lines().filter(is_own).map(str::to_owned).collect()
}

fn current_mounts() -> String {
    fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted")
}

/// A process's parent.
pub fn parent(pid: u32) -> Option<u32> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(") ")?.1.split(' ').nth(1)?.parse().ok()
}

/// Whether a process is there and not a zombie.
pub fn is_alive(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_some_and(|(_, fields)| !fields.starts_with(['Z', 'X']))
}

/// Every process beneath `ancestor`, parents before children.
pub fn descendants(ancestor: u32) -> Vec<u32> {
    let parents: Vec<(u32, u32)> = processes().filter_map(|(pid, _)| Some((pid, parent(pid)?))).collect();
    let mut found = vec![ancestor];
    let mut next = 0;
    while let Some(above) = found.get(next).copied() {
        found.extend(parents.iter().filter(|(_, parent)| *parent == above).map(|(pid, _)| *pid));
        next += 1;
    }
    found.split_off(1)
}
