//! Samples of the machine's resources that this process holds, by the kernel's counters.

use std::collections::{HashMap, HashSet};
use std::fmt;
use std::fs;
use std::path::Path;

use serde::Serialize;

/// The resources that are held at one point in time.
#[derive(Clone, Debug, Serialize)]
pub struct Sample {
    /// Number of runs so far.
    pub runs: u64,
    /// Resident memory of this process, bytes.
    pub resident_bytes: u64,
    /// Open descriptors of this process.
    pub descriptors: u64,
    /// Threads of this process.
    pub threads: u64,
    /// Descendants of this process. `zombies` of them only wait to be reaped.
    pub processes: u64,
    pub zombies: u64,
    /// Folders of its control groups, in all hierarchies.
    pub cgroups: u64,
    /// Mounts that it sees.
    pub mounts: u64,
    /// Entries of the folder for temporary files, which `cargo xtask soak` makes for this process
    /// alone.
    pub files: u64,
}

impl Sample {
    /// The heads of a table of samples.
    pub const HEADER: &str =
        "   runs  resident KB  descriptors  threads  processes  zombies  cgroups  mounts  files";

    pub fn take(runs: u64) -> Self {
        let (processes, zombies) = descendants();
        Self {
            runs,
            resident_bytes: resident_bytes(),
            // Without the one that reads the folder.
            descriptors: count("/proc/self/fd").saturating_sub(1),
            threads: count("/proc/self/task"),
            processes,
            zombies,
            cgroups: cgroups(),
            mounts: mounts().len() as u64,
            files: fs::read_dir(std::env::temp_dir()).map_or(0, |folder| folder.count() as u64),
        }
    }

    /// Returns the resources of which there are more than before, as text.
    pub fn left_over(&self, before: &Self, mounts_before: &HashSet<String>) -> Vec<String> {
        let more = [
            ("descriptors", self.descriptors, before.descriptors),
            ("processes", self.processes, before.processes),
            ("cgroup folders", self.cgroups, before.cgroups),
            ("temporary files", self.files, before.files),
        ];
        let mut left: Vec<String> = more
            .iter()
            .filter(|(_, now, then)| now > then)
            .map(|(what, now, then)| format!("{} {what} left over", now - then))
            .collect();
        left.extend(
            mounts().difference(mounts_before).map(|mount| format!("a mount left over: {mount}")),
        );
        left
    }
}

impl fmt::Display for Sample {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            runs,
            resident_bytes,
            descriptors,
            threads,
            processes,
            zombies,
            cgroups,
            mounts,
            files,
        } = self;
        let kilobytes = resident_bytes / 1024;
        write!(
            f,
            "{runs:>7} {kilobytes:>12} {descriptors:>12} {threads:>8} {processes:>10} {zombies:>8} {cgroups:>8} {mounts:>7} {files:>6}"
        )
    }
}

/// The slope of the least-squares line through resident memory over runs.
pub fn bytes_per_run(samples: &[Sample]) -> f64 {
    let count = samples.len() as f64;
    let mean = |value: fn(&Sample) -> u64| {
        samples.iter().map(|sample| value(sample) as f64).sum::<f64>() / count
    };
    let (x, y) = (mean(|sample| sample.runs), mean(|sample| sample.resident_bytes));
    let deviation = |sample: &Sample| sample.runs as f64 - x;
    let covariance: f64 =
        samples.iter().map(|sample| deviation(sample) * (sample.resident_bytes as f64 - y)).sum();
    let variance: f64 = samples.iter().map(|sample| deviation(sample).powi(2)).sum();
    if variance > 0.0 { covariance / variance } else { 0.0 }
}

/// The mounts that this process sees.
pub fn mounts() -> HashSet<String> {
    fs::read_to_string("/proc/self/mountinfo")
        .unwrap_or_default()
        .lines()
        .map(str::to_owned)
        .collect()
}

fn count(folder: &str) -> u64 {
    fs::read_dir(folder).map_or(0, |entries| entries.count() as u64)
}

fn resident_bytes() -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|rest| rest.split_whitespace().next()?.parse::<u64>().ok()).unwrap_or(0) * 1024
}

/// All processes below this one, and those of them that are zombies.
fn descendants() -> (u64, u64) {
    let mut children: HashMap<u32, Vec<(u32, bool)>> = HashMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse::<u32>().ok()) else {
            continue;
        };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next().and_then(|field| field.parse().ok()));
        if let Some(parent) = parent {
            children.entry(parent).or_default().push((pid, state == Some("Z")));
        }
    }
    let (mut all, mut zombies, mut next) = (0, 0, vec![std::process::id()]);
    while let Some(pid) = next.pop() {
        for (child, is_zombie) in children.remove(&pid).unwrap_or_default() {
            all += 1;
            zombies += u64::from(is_zombie);
            next.push(child);
        }
    }
    (all, zombies)
}

/// Folders named for this process anywhere in the control groups, and what is in them.
fn cgroups() -> u64 {
    fn walk(folder: &Path, prefix: &str, is_own: bool) -> u64 {
        let folders = fs::read_dir(folder)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
        folders
            .map(|entry| {
                let is_own = is_own || entry.file_name().to_string_lossy().starts_with(prefix);
                u64::from(is_own) + walk(&entry.path(), prefix, is_own)
            })
            .sum()
    }
    walk(Path::new("/sys/fs/cgroup"), &format!("belljar-{}-", std::process::id()), false)
}
