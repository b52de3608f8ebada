//! Processes and control groups that sandboxes left behind.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

/// Returns a description of the processes and control groups of this process that remain after
/// `time`, or `None` if there are none.
pub async fn left_within(time: Duration) -> Option<String> {
    let deadline = Instant::now() + time;
    loop {
        let left: Vec<String> = children().into_iter().chain(sandbox_cgroups()).collect();
        if left.is_empty() {
            return None;
        }
        if Instant::now() > deadline {
            return Some(left.join(", "));
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Returns the leftovers when none are allowed any more.
pub fn left_after_shutdown() -> Vec<String> {
    children().into_iter().chain(cgroups()).collect()
}

fn children() -> Vec<String> {
    let mut found = Vec::new();
    for task in fs::read_dir("/proc/self/task").into_iter().flatten().flatten() {
        let list = fs::read_to_string(task.path().join("children")).unwrap_or_default();
        found.extend(list.split_whitespace().map(|pid| format!("process {pid}")));
    }
    found
}

/// The groups of single sandboxes: `s` and a number.
fn sandbox_cgroups() -> Vec<String> {
    let is_sandbox = |path: &String| {
        let name = path.rsplit('/').next().unwrap_or_default();
        name.strip_prefix('s').is_some_and(|number| {
            !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit())
        })
    };
    cgroups().into_iter().filter(is_sandbox).collect()
}

fn cgroups() -> Vec<String> {
    fn walk(folder: &Path, prefix: &str, is_own: bool, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                let is_own = is_own || entry.file_name().to_string_lossy().starts_with(prefix);
                if is_own {
                    found.push(entry.path().display().to_string());
                }
                walk(&entry.path(), prefix, is_own, found);
            }
        }
    }
    let mut found = Vec::new();
    walk(
        Path::new("/sys/fs/cgroup"),
        &format!("belljar-{}-", std::process::id()),
        false,
        &mut found,
    );
    found
}
