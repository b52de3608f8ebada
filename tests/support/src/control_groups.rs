//! The control groups of a `belljar`, in every hierarchy of this machine.

use std::fs;
use std::path::{Path, PathBuf};

use crate::processes::Process;

/// Returns the control groups of a `belljar` process, which are named after its id. Their own
/// subgroups, one for each sandbox, are not included.
pub fn of_belljar(pid: u32) -> Vec<PathBuf> {
    let mounts = fs::read_to_string("/proc/self/mountinfo").expect("/proc is mounted");
    let mut found = Vec::new();
    for line in mounts.lines() {
        let Some((mount, source)) = line.split_once(" - ") else { continue };
        if source.starts_with("cgroup")
            && let Some(point) = mount.split(' ').nth(4)
        {
            find(Path::new(point), &format!("belljar-{pid}-"), &mut found);
        }
    }
    found
}

fn find(folder: &Path, prefix: &str, found: &mut Vec<PathBuf>) {
    for group in subgroups(folder) {
        if group.file_name().is_some_and(|name| name.to_string_lossy().starts_with(prefix)) {
            found.push(group);
        } else {
            find(&group, prefix, found);
        }
    }
}

/// Returns these control groups and all groups beneath them.
pub fn with_subgroups(groups: &[PathBuf]) -> Vec<PathBuf> {
    let mut all = groups.to_vec();
    let mut next = 0;
    while let Some(group) = all.get(next) {
        let beneath = subgroups(group);
        all.extend(beneath);
        next += 1;
    }
    all
}

fn subgroups(folder: &Path) -> Vec<PathBuf> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
        .map(|entry| entry.path())
        .collect()
}

/// Returns the processes of a control group, without those of its subgroups.
pub fn members(group: &Path) -> Vec<Process> {
    let list = fs::read_to_string(group.join("cgroup.procs")).unwrap_or_default();
    list.lines().filter_map(|line| line.parse().ok()).filter_map(Process::find).collect()
}
