//! The files that the rules read: those that git tracks or would track.

use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result};

use crate::programs::command_output;

/// A text file of the repository.
pub(crate) struct Source {
    /// Path relative to the repository root.
    pub(crate) path: String,
    pub(crate) text: String,
}

/// All text files of the repository that git does not ignore.
pub(crate) struct Sources(Vec<Source>);

impl Sources {
    /// Reads the files that git tracks, and new ones that it does not ignore. Skips files that are
    /// not UTF-8.
    pub(crate) fn read(repository: &Path) -> Result<Self> {
        let mut git = Command::new("git");
        git.args(["ls-files", "--cached", "--others", "--exclude-standard"]);
        let listed =
            command_output(git.current_dir(repository)).context("cannot list the files")?;
        let read = |path: &str| {
            let text = std::fs::read_to_string(repository.join(path)).ok()?;
            Some(Source { path: path.to_owned(), text })
        };
        Ok(Self(listed.lines().filter_map(read).collect()))
    }

    /// The files with one of these extensions, which are given without the dot.
    pub(crate) fn with_extension(&self, extensions: &[&str]) -> impl Iterator<Item = &Source> {
        self.0.iter().filter(move |source| {
            source.path.rsplit_once('.').is_some_and(|(_, end)| extensions.contains(&end))
        })
    }
}
