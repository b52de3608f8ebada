//! The facts that the native library in a zygote or a sandbox needs first. They are in a small text
//! file in its root with a `key value` pair per line, which needs no parser. The file is written
//! and read by trusted code before any user code runs.

use belljar_access::{Exec, Network};

/// The facts that stay the same for the life of a zygote or a sandbox.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootFacts {
    /// True in a zygote, which forks sandboxes, and false in a sandbox with its own runtime
    /// process.
    pub forks: bool,
    /// True if the process may empty its list of groups.
    pub may_set_groups: bool,
    /// In a sandbox: its right to start programs.
    pub exec: Exec,
    /// In a sandbox: its network.
    pub network: Network,
    /// In a sandbox: its memory limit.
    pub memory_bytes: u64,
    /// True if granted files of the host are visible, for reading or for writing.
    pub shares_files: bool,
    /// Writable granted paths.
    pub write: Vec<String>,
    /// Bind mounts at places that the sandbox's own tmpfs covers: stage, target, and whether it is
    /// a folder.
    pub staged: Vec<(String, String, bool)>,
    /// Mount points of the grants whose mounts come with each order to fork: path, and whether it
    /// is a folder.
    pub points: Vec<(String, bool)>,
    /// Mounts that a grant must not cover: path, and whether it is a folder.
    pub kept: Vec<(String, bool)>,
    /// Paths of grants that are already mounted. A sandbox without an exec grant makes them
    /// non-executable.
    pub granted: Vec<String>,
}

fn kind(is_folder: bool) -> &'static str {
    if is_folder { "folder" } else { "file" }
}

fn network_name(network: Network) -> &'static str {
    match network {
        Network::None => "none",
        Network::Loopback => "loopback",
        Network::Granted => "granted",
    }
}

impl BootFacts {
    /// The path of the file in the root.
    pub const PATH: &'static str = "/opt/belljar/facts";

    /// Returns the text of the file. Paths contain no control characters, because grants are
    /// checked for them.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (key, set) in [
            ("forks", self.forks),
            ("may_set_groups", self.may_set_groups),
            ("exec", self.exec == Exec::Granted),
            ("shares_files", self.shares_files),
        ] {
            if set {
                text.push_str(key);
                text.push('\n');
            }
        }
        text.push_str(&format!("network\t{}\n", network_name(self.network)));
        text.push_str(&format!("memory_bytes\t{}\n", self.memory_bytes));
        for path in &self.write {
            text.push_str(&format!("write\t{path}\n"));
        }
        for (stage, target, is_folder) in &self.staged {
            text.push_str(&format!("staged\t{stage}\t{target}\t{}\n", kind(*is_folder)));
        }
        for (key, places) in [("point", &self.points), ("kept", &self.kept)] {
            for (path, is_folder) in places {
                text.push_str(&format!("{key}\t{path}\t{}\n", kind(*is_folder)));
            }
        }
        for path in &self.granted {
            text.push_str(&format!("granted\t{path}\n"));
        }
        text
    }

    /// Reads the file's text; `None` if a line is not of its shape.
    pub fn decode(text: &str) -> Option<Self> {
        let mut facts = Self::default();
        // Not `lines`, which would take a carriage return from the end of a path.
        for line in text.split_terminator('\n') {
            match line.split('\t').collect::<Vec<_>>()[..] {
                ["forks"] => facts.forks = true,
                ["may_set_groups"] => facts.may_set_groups = true,
                ["exec"] => facts.exec = Exec::Granted,
                ["network", name] => {
                    facts.network =
                        Network::ALL.into_iter().find(|network| network_name(*network) == name)?;
                }
                ["memory_bytes", bytes] => facts.memory_bytes = bytes.parse().ok()?,
                ["shares_files"] => facts.shares_files = true,
                ["write", path] => facts.write.push(path.to_owned()),
                ["staged", stage, target, kind @ ("folder" | "file")] => {
                    facts.staged.push((stage.to_owned(), target.to_owned(), kind == "folder"));
                }
                ["point", path, kind @ ("folder" | "file")] => {
                    facts.points.push((path.to_owned(), kind == "folder"));
                }
                ["kept", path, kind @ ("folder" | "file")] => {
                    facts.kept.push((path.to_owned(), kind == "folder"));
                }
                ["granted", path] => facts.granted.push(path.to_owned()),
                _ => return None,
            }
        }
        Some(facts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn facts_are_read_as_they_were_written(
            forks: bool,
            may_set_groups: bool,
            exec in proptest::sample::select(&Exec::ALL[..]),
            network in proptest::sample::select(&Network::ALL[..]),
            memory_bytes: u64,
            shares_files: bool,
            write in proptest::collection::vec("/[a-z /]{0,12}", 0..4),
            staged in
                proptest::collection::vec(("/[a-z]{1,4}", "/[a-z ]{1,8}", any::<bool>()), 0..4),
            points in proptest::collection::vec(("/[a-z /]{1,8}", any::<bool>()), 0..4),
            kept in proptest::collection::vec(("/[a-z /]{1,8}", any::<bool>()), 0..4),
            granted in proptest::collection::vec("/[a-z /]{0,12}", 0..4),
        ) {
            let facts = BootFacts {
                forks,
                may_set_groups,
                exec,
                network,
                memory_bytes,
                shares_files,
                write,
                staged,
                points,
                kept,
                granted,
            };
            prop_assert_eq!(BootFacts::decode(&facts.encode()), Some(facts));
        }
    }

    #[test]
    fn an_unknown_network_is_refused() {
        assert!(BootFacts::decode("network\tloopback\n").is_some());
        assert_eq!(BootFacts::decode("network\thost\n"), None);
    }
}
