//! What a zygote's or sandbox's native library has to know before anything else: a small text file in its root, one `key value` a line, so that no
//! parser is needed. Written and read by trusted parties before any user code.

/// Facts fixed for the life of a zygote.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BootFacts {
    /// Whether this process forks sandboxes, or is one.
    pub forks: bool,
    /// Whether the group list can be emptied.
    pub may_set_groups: bool,
    /// For a process that is a sandbox: whether it may start programs.
    pub exec: bool,
    /// For a process that is a sandbox: whether it has loopback.
    pub loopback: bool,
    /// For a process that is a sandbox: its memory limit.
    pub memory_bytes: u64,
    /// Whether it sees files of the host that are granted, for reading or for writing.
    pub shares_files: bool,
    /// Granted paths that can be written.
    pub write: Vec<String>,
    /// Binds that lie where the sandbox's own tmpfs covers them: stage, target, whether it is a folder.
    pub staged: Vec<(String, String, bool)>,
    /// Places of the grants whose mounts come with each order to fork: path, whether it is a folder.
    pub points: Vec<(String, bool)>,
    /// Mounts that a grant must not cover: path, whether it is a folder.
    pub kept: Vec<(String, bool)>,
    /// Paths of grants that are mounted already: a sandbox without an exec grant makes them not executable.
    pub granted: Vec<String>,
}

fn kind(is_folder: bool) -> &'static str {
    if is_folder { "folder" } else { "file" }
}

impl BootFacts {
    /// Where it is inside.
    pub const PATH: &'static str = "/opt/belljar/facts";

    /// The file's text. Paths have no control characters: grants are checked for that.
    pub fn encode(&self) -> String {
        let mut text = String::new();
        for (key, set) in [
            ("forks", self.forks),
            ("may_set_groups", self.may_set_groups),
            ("exec", self.exec),
            ("loopback", self.loopback),
            ("shares_files", self.shares_files),
        ] {
            if set {
                text.push_str(key);
                text.push('\n');
            }
        }
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
                ["exec"] => facts.exec = true,
                ["loopback"] => facts.loopback = true,
                ["memory_bytes", bytes] => facts.memory_bytes = bytes.parse().ok()?,
                ["shares_files"] => facts.shares_files = true,
                ["write", path] => facts.write.push(path.to_owned()),
                ["staged", stage, target, kind @ ("folder" | "file")] => {
                    facts.staged.push((stage.to_owned(), target.to_owned(), kind == "folder"));
                }
                ["point", path, kind @ ("folder" | "file")] => facts.points.push((path.to_owned(), kind == "folder")),
                ["kept", path, kind @ ("folder" | "file")] => facts.kept.push((path.to_owned(), kind == "folder")),
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
            forks: bool, may_set_groups: bool, exec: bool, loopback: bool, memory_bytes: u64, shares_files: bool,
            write in proptest::collection::vec("/[a-z /]{0,12}", 0..4),
            staged in proptest::collection::vec(("/[a-z]{1,4}", "/[a-z ]{1,8}", any::<bool>()), 0..4),
            points in proptest::collection::vec(("/[a-z /]{1,8}", any::<bool>()), 0..4),
            kept in proptest::collection::vec(("/[a-z /]{1,8}", any::<bool>()), 0..4),
            granted in proptest::collection::vec("/[a-z /]{0,12}", 0..4),
        ) {
            let facts =
                BootFacts { forks, may_set_groups, exec, loopback, memory_bytes, shares_files, write, staged, points, kept, granted };
            prop_assert_eq!(BootFacts::decode(&facts.encode()), Some(facts));
        }
    }
}
