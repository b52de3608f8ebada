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
    /// Whether it sees files of the host that are granted, for reading or for writing.
    pub shares_files: bool,
    /// Granted paths that can be written.
    pub write: Vec<String>,
    /// Grants that lie where the sandbox's own tmpfs covers them: stage, target, whether it is a folder.
    pub staged: Vec<(String, String, bool)>,
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
        for path in &self.write {
            text.push_str(&format!("write\t{path}\n"));
        }
        for (stage, target, is_folder) in &self.staged {
            text.push_str(&format!("staged\t{stage}\t{target}\t{}\n", if *is_folder { "folder" } else { "file" }));
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
                ["shares_files"] => facts.shares_files = true,
                ["write", path] => facts.write.push(path.to_owned()),
                ["staged", stage, target, kind @ ("folder" | "file")] => {
                    facts.staged.push((stage.to_owned(), target.to_owned(), kind == "folder"));
                }
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
            forks: bool, may_set_groups: bool, exec: bool, loopback: bool, shares_files: bool,
            write in proptest::collection::vec("/[a-z /]{0,12}", 0..4),
            staged in proptest::collection::vec(("/[a-z]{1,4}", "/[a-z ]{1,8}", any::<bool>()), 0..4),
        ) {
            let facts = BootFacts { forks, may_set_groups, exec, loopback, shares_files, write, staged };
            prop_assert_eq!(BootFacts::decode(&facts.encode()), Some(facts));
        }
    }
}
