//! Files and standard input that are read into memory.

use std::fs;
use std::io::{self, Read};
use std::path::Path;

use anyhow::Context;
use belljar_protocol::Bytes;

use crate::hint::{WithHint, hinted};

/// The maximum size of an input file.
pub const MAX_INPUT_BYTES: u64 = 1 << 30;

/// Reads a file, or standard input if the path is `-`. `what` names the input in messages.
pub fn read(path: &Path, what: &str, max_bytes: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin()
            .lock()
            .take(max_bytes + 1)
            .read_to_end(&mut bytes)
            .context("cannot read standard input")?;
    } else {
        let file = fs::File::open(path).map_err(|error| {
            let hint = match error.kind() {
                io::ErrorKind::PermissionDenied => "make it readable for this user",
                _ => "check the path",
            };
            hinted(format!("cannot open {what} `{}`: {error}", path.display()), hint)
        })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            return Err(hinted(format!("`{}` is a folder", path.display()), "name a file"));
        }
        file.take(max_bytes + 1)
            .read_to_end(&mut bytes)
            .with_context(|| format!("cannot read {what} `{}`", path.display()))?;
    }
    if bytes.len() as u64 > max_bytes {
        return Err(hinted(
            format!("{what} `{}` is larger than {}", path.display(), Bytes(max_bytes)),
            "let the program read large data in place with --read",
        ));
    }
    Ok(bytes)
}

/// An argument that reads standard input if its path is `-`.
#[derive(Debug)]
pub struct StdinUse<'a> {
    argument: String,
    path: &'a Path,
}

impl<'a> StdinUse<'a> {
    /// Returns a use by an argument, which messages call by this name.
    pub fn new(argument: impl Into<String>, path: &'a Path) -> Self {
        Self { argument: argument.into(), path }
    }

    /// Returns the use by a flag, or `None` if the flag is not set.
    pub fn of_flag(flag: &str, path: Option<&'a Path>) -> Option<Self> {
        Some(Self::new(flag, path?))
    }

    /// Returns the uses by `--file [NAME=]PATH`.
    pub fn of_files(files: &'a [String]) -> impl Iterator<Item = Self> {
        files.iter().map(|file| {
            let (name, path) = name_and_path(file);
            Self::new(format!("--file {name}"), Path::new(path))
        })
    }
}

/// Rejects `-` for more than one argument. Standard input can be read only once, so this is checked
/// before any of it is read.
pub fn check_standard_input<'a>(
    uses: impl IntoIterator<Item = StdinUse<'a>>,
) -> anyhow::Result<()> {
    let mut of_stdin = uses.into_iter().filter(|given| given.path == Path::new("-"));
    let (Some(first), Some(second)) = (of_stdin.next(), of_stdin.next()) else { return Ok(()) };
    Err(hinted(
        format!(
            "standard input is used more than once: for {} and for {}",
            first.argument, second.argument
        ),
        "use `-` for one argument only",
    ))
}

/// Splits the `[NAME=]PATH` of a flag. The name of a relative path without one is the path itself.
pub fn name_and_path(text: &str) -> (&str, &str) {
    text.split_once('=').unwrap_or((text.strip_prefix("./").unwrap_or(text), text))
}

/// Splits the `NAME=VALUE` of a flag. `example` is a correct use of the flag, for the hint.
pub fn name_and_value<'a>(
    text: &'a str,
    example: &'static str,
) -> anyhow::Result<(&'a str, &'a str)> {
    text.split_once('=')
        .with_context(|| format!("expected NAME=VALUE, received `{text}`"))
        .with_hint(|| format!("write {example}"))
}
