//! The mount points of control groups, the group of this process, and the removal of stale folders.

use std::fs;
use std::path::{Path, PathBuf};

/// The control groups in `/proc/self/mountinfo` and `/proc/self/cgroup`.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// The controllers of version 1, each with the path of this process's own group in its
    /// hierarchy.
    pub v1: Vec<(String, PathBuf)>,
    /// The version 2 mount and this process's own group in it.
    pub v2: Option<(PathBuf, PathBuf)>,
}

pub(super) fn mounts() -> Mounts {
    let mountinfo = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    parse(&mountinfo, &own)
}

fn parse(mountinfo: &str, own: &str) -> Mounts {
    let mut mounts = Mounts::default();
    for line in mountinfo.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let (left, right): (Vec<&str>, Vec<&str>) =
            (left.split(' ').collect(), right.split(' ').collect());
        let (Some(root), Some(point), Some(kind)) = (left.get(3), left.get(4), right.first())
        else {
            continue;
        };
        match *kind {
            "cgroup" => {
                let options = right.last().copied().unwrap_or_default();
                for controller in options
                    .split(',')
                    .filter(|option| ["memory", "pids", "cpuacct", "cpu"].contains(option))
                {
                    if let Some(group) = own_group(own, |controllers| {
                        controllers.split(',').any(|name| name == controller)
                    }) {
                        mounts.v1.push((
                            controller.to_owned(),
                            Path::new(point).join(relative(&group, root)),
                        ));
                    }
                }
            }
            "cgroup2" => {
                if let Some(group) = own_group(own, str::is_empty) {
                    mounts.v2 =
                        Some((PathBuf::from(point), Path::new(point).join(relative(&group, root))));
                }
            }
            _ => {}
        }
    }
    mounts
}

/// Returns the path in the first line of `/proc/self/cgroup` whose controllers satisfy `wanted`.
fn own_group(own: &str, wanted: impl Fn(&str) -> bool) -> Option<String> {
    own.lines().find_map(|line| {
        let mut fields = line.splitn(3, ':');
        let (_, controllers, path) = (fields.next()?, fields.next()?, fields.next()?);
        wanted(controllers).then(|| path.to_owned())
    })
}

/// Returns the path of a group below a mount that shows the hierarchy from `root` on.
fn relative(group: &str, root: &str) -> PathBuf {
    let below = group
        .strip_prefix(root)
        .filter(|rest| root == "/" || rest.is_empty() || rest.starts_with('/'))
        .unwrap_or(group);
    PathBuf::from(below.trim_start_matches('/'))
}

const PREFIX: &str = "belljar-";

/// Returns the name of this supervisor's folder: its process id and its start time, which
/// distinguishes a reused process id.
pub(super) fn own_name() -> String {
    static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    let count = COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let pid = std::process::id();
    format!("{PREFIX}{pid}-{}-{count}", start_time(pid).unwrap_or(0))
}

/// Returns the start time of a process in clock ticks since boot: field 22 of `/proc/PID/stat`.
fn start_time(pid: u32) -> Option<u64> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    stat.rsplit_once(')')?.1.split_whitespace().nth(19)?.parse().ok()
}

/// Returns whether the supervisor that created the folder `name` is gone.
fn is_stale(name: &str) -> bool {
    let Some(rest) = name.strip_prefix(PREFIX) else { return false };
    let mut parts = rest.split('-').map(|part| part.parse::<u64>().ok());
    let (Some(Some(pid)), Some(Some(started))) = (parts.next(), parts.next()) else { return false };
    u32::try_from(pid).is_ok_and(|pid| start_time(pid) != Some(started))
}

/// Removes the folders of killed supervisors below `parent`. They are empty by now, because a
/// sandbox dies with its supervisor.
pub(super) fn sweep(parent: &Path) {
    for entry in fs::read_dir(parent).into_iter().flatten().flatten() {
        if entry.file_name().to_str().is_some_and(is_stale) {
            remove_tree(&entry.path());
        }
    }
}

/// Removes stale folders in every hierarchy that this process can see.
pub fn sweep_stale() {
    let mounts = mounts();
    for parent in mounts
        .v1
        .iter()
        .map(|(_, path)| path)
        .chain(mounts.v2.iter().flat_map(|(root, own)| [root, own]))
    {
        sweep(parent);
    }
}

/// Returns the number of memory groups of version 1 that the kernel counts and that no longer have
/// a folder.
pub(super) fn dead_memory_groups(below: &Path) -> u64 {
    let counted = fs::read_to_string("/proc/cgroups").unwrap_or_default();
    let counted = counted
        .lines()
        .find_map(|line| line.strip_prefix("memory")?.split_whitespace().nth(1)?.parse().ok())
        .unwrap_or(0_u64);
    // The highest folder that is a group: all live groups are below it.
    let top = below
        .ancestors()
        .take_while(|path| path.join("cgroup.procs").exists())
        .last()
        .unwrap_or(below);
    counted.saturating_sub(folders(top))
}

fn folders(path: &Path) -> u64 {
    let below = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    1 + below.map(|entry| folders(&entry.path())).sum::<u64>()
}

/// Removes a group and its nested groups. Groups with processes stay.
pub(super) fn remove_tree(path: &Path) {
    for entry in fs::read_dir(path).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_tree(&entry.path());
        }
    }
    let _ = fs::remove_dir(path);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_finds_version_1_controllers_and_an_empty_version_2() {
        let mountinfo = "30 24 0:26 / /sys/fs/cgroup/memory rw,relatime - cgroup cgroup rw,memory\n\
                         31 24 0:27 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct\n\
                         32 24 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n";
        let mounts = parse(mountinfo, "5:memory:/user\n4:cpu,cpuacct:/\n0::/\n");
        assert!(mounts.v1.contains(&("memory".into(), "/sys/fs/cgroup/memory/user".into())));
        assert!(mounts.v1.contains(&("cpuacct".into(), "/sys/fs/cgroup/cpu,cpuacct".into())));
        assert_eq!(
            mounts.v2,
            Some(("/sys/fs/cgroup/unified".into(), "/sys/fs/cgroup/unified".into()))
        );
    }

    #[test]
    fn a_mount_of_a_part_of_the_hierarchy_is_understood() {
        let mountinfo = "30 24 0:26 /docker/abc /sys/fs/cgroup rw - cgroup2 cgroup rw\n";
        let mounts = parse(mountinfo, "0::/docker/abc/x\n");
        assert_eq!(mounts.v2, Some(("/sys/fs/cgroup".into(), "/sys/fs/cgroup/x".into())));
    }

    #[test]
    fn only_folders_of_dead_supervisors_are_stale() {
        assert!(!is_stale(&own_name()));
        assert!(is_stale(&format!("{PREFIX}{}-1-0", std::process::id())));
        for other in ["belljar", "belljar-", "belljar-x-1", "user.slice", "belljar-1"] {
            assert!(!is_stale(other), "{other}");
        }
    }
}
