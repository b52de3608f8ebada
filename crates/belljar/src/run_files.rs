//! The files of `--file [NAME=]PATH`: their names in the working folder, folders with everything
//! beneath them, and the check that they fit the limits of the run before they are read.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Component, Path, PathBuf};

use anyhow::Context;
use belljar_protocol::{Bytes, InvalidName, Limits, ProgramFile, ProgramName};
use rustix::fs::OFlags;

use crate::hint::{WithHint, hinted};
use crate::input::{MAX_INPUT_BYTES, read};
use crate::show;

/// The maximum number of skipped entries that a note names.
const MAX_NAMED: usize = 3;

/// Files that the flags name, found and not read yet.
#[derive(Debug, Default)]
pub struct RunFiles {
    found: Vec<FoundFile>,
    /// The argument that each name comes from.
    names: BTreeMap<ProgramName, String>,
    /// Folders inside the named folders.
    folders: u64,
    /// Links and special files inside the named folders.
    skipped: Vec<PathBuf>,
}

#[derive(Debug)]
struct FoundFile {
    name: ProgramName,
    path: PathBuf,
    origin: Origin,
    /// The size when the file was found, or 0 for a pipe.
    size_bytes: u64,
}

/// The way in which a file was found.
#[derive(Clone, Copy, Debug)]
enum Origin {
    /// The user named it, so a link is followed.
    Named,
    /// It is inside a folder, which may have changed since.
    InFolder,
}

impl RunFiles {
    /// Finds the files of all `--file` arguments. `entry` is the name of the program, which no file
    /// can have. Folders with more than `max_files` files are refused.
    pub fn find(
        arguments: &[String],
        entry: Option<&ProgramName>,
        max_files: u32,
    ) -> anyhow::Result<Self> {
        let mut files = Self::default();
        if let Some(entry) = entry {
            files.names.insert(entry.clone(), "the program".to_owned());
        }
        for argument in arguments {
            files.add(argument, max_files)?;
        }
        Ok(files)
    }

    fn add(&mut self, argument: &str, max_files: u32) -> anyhow::Result<()> {
        let (name, path) = match argument.split_once('=') {
            Some((name, path)) => (name.to_owned(), Path::new(path)),
            None => (name_within(Path::new(argument)).unwrap_or_default(), Path::new(argument)),
        };
        let metadata = (path != Path::new("-")).then(|| fs::metadata(path)).and_then(Result::ok);
        // The whole current folder can be copied into the working folder.
        let is_top = argument == "." || argument == "./";
        if metadata.as_ref().is_some_and(fs::Metadata::is_dir) {
            let top =
                if is_top { None } else { Some(valid_name(name.trim_end_matches('/'), path)?) };
            return self.add_folder(top.as_ref().map(ProgramName::as_str), path, max_files);
        }
        let size_bytes = metadata.map_or(0, |metadata| metadata.len());
        let (name, path) = (valid_name(&name, path)?, path.to_owned());
        self.insert(FoundFile { name, path, origin: Origin::Named, size_bytes }, argument)
    }

    /// Adds the files beneath a folder, in the order of their names.
    fn add_folder(&mut self, name: Option<&str>, top: &Path, max_files: u32) -> anyhow::Result<()> {
        let mut folders = vec![(name.map(str::to_owned), top.to_owned())];
        while let Some((name, folder)) = folders.pop() {
            self.folders += 1;
            for entry in entries(&folder, max_files)? {
                let path = entry.path();
                let file_name = entry.file_name();
                let part = file_name.to_str().with_context(|| {
                    format!("cannot copy `{}`: its name is not UTF-8", path.display())
                })?;
                let inner =
                    name.as_ref().map_or_else(|| part.to_owned(), |name| format!("{name}/{part}"));
                let metadata = entry
                    .metadata()
                    .with_context(|| format!("cannot read `{}`", path.display()))?;
                if metadata.is_dir() {
                    folders.push((Some(inner), path));
                } else if metadata.is_file() {
                    let file = FoundFile {
                        name: ProgramName::try_from(inner)?,
                        path: path.clone(),
                        origin: Origin::InFolder,
                        size_bytes: metadata.len(),
                    };
                    self.insert(file, &path.display().to_string())?;
                } else {
                    self.skipped.push(path);
                }
                if self.found.len() as u64 + self.folders > u64::from(max_files) {
                    return Err(too_many(&top.display().to_string(), max_files));
                }
            }
        }
        Ok(())
    }

    fn insert(&mut self, file: FoundFile, argument: &str) -> anyhow::Result<()> {
        if let Some(first) = self.names.insert(file.name.clone(), argument.to_owned()) {
            let (name, path) = (file.name.as_str(), file.path.display());
            return Err(hinted(
                format!("two files are called `{name}`: {first} and {argument}"),
                format!("give one of them another name, as in --file other/{name}={path}"),
            ));
        }
        self.found.push(file);
        Ok(())
    }

    /// Checks that the files fit the limits, and reads them.
    pub fn read(self, limits: &Limits) -> anyhow::Result<Vec<ProgramFile>> {
        check(self.found.iter().map(|file| file.size_bytes).sum(), limits)?;
        if self.found.len() as u64 + self.folders > u64::from(limits.files) {
            return Err(too_many("--file", limits.files));
        }
        let mut files = Vec::with_capacity(self.found.len());
        for FoundFile { name, path, origin, .. } in self.found {
            let content = match origin {
                Origin::Named => read(&path, "the file", MAX_INPUT_BYTES)?,
                Origin::InFolder => read_without_following(&path)?,
            };
            files.push(ProgramFile { path: name, content });
        }
        // A pipe has no size before it is read, and a file may have grown.
        check(files.iter().map(|file| file.content.len() as u64).sum(), limits)?;
        Ok(files)
    }

    /// Prints a note about the entries of folders that are not copied.
    pub fn report_skipped(&self) {
        let count = self.skipped.len();
        if count == 0 {
            return;
        }
        let mut named: Vec<String> =
            self.skipped.iter().take(MAX_NAMED).map(|path| path.display().to_string()).collect();
        if count > MAX_NAMED {
            named.push(format!("{} more", count - MAX_NAMED));
        }
        show::note(&format!("not copied: {} (links and special files)", named.join(", ")));
    }
}

/// Returns the name of a path in the working folder. That is the path itself, or its last part if
/// the path is absolute or contains `..`.
pub fn name_within(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            _ => return path.file_name()?.to_str().map(str::to_owned),
        }
    }
    Some(parts.join("/"))
}

fn valid_name(name: &str, path: &Path) -> anyhow::Result<ProgramName> {
    ProgramName::try_from(name).map_err(|error| {
        let InvalidName { why, .. } = &error;
        hinted(
            format!("cannot copy `{}` under the name `{name}`: {why}", path.display()),
            format!("name the copy, as in --file data.csv={}", path.display()),
        )
    })
}

fn entries(folder: &Path, max_files: u32) -> anyhow::Result<Vec<fs::DirEntry>> {
    let max = max_files as usize;
    let entries: io::Result<Vec<_>> =
        fs::read_dir(folder).and_then(|entries| entries.take(max + 1).collect());
    let mut entries =
        entries.with_context(|| format!("cannot read the folder `{}`", folder.display()))?;
    if entries.len() > max {
        return Err(too_many(&folder.display().to_string(), max_files));
    }
    entries.sort_by_key(fs::DirEntry::file_name);
    Ok(entries)
}

/// Reads a file inside a folder. A link that has replaced it since it was found is not followed.
fn read_without_following(path: &Path) -> anyhow::Result<Vec<u8>> {
    let flags = (OFlags::NOFOLLOW | OFlags::NONBLOCK).bits().cast_signed();
    let mut content = Vec::new();
    fs::OpenOptions::new()
        .read(true)
        .custom_flags(flags)
        .open(path)
        .and_then(|file| file.take(MAX_INPUT_BYTES).read_to_end(&mut content))
        .with_context(|| format!("cannot read the file `{}`", path.display()))
        .hint("make it readable for this user, or leave it out")?;
    Ok(content)
}

/// Refuses files that do not fit the disk limit or the memory limit: files are kept in memory.
fn check(size_bytes: u64, limits: &Limits) -> anyhow::Result<()> {
    for (what, flag, limit) in
        [("disk", "--disk", limits.disk_bytes.0), ("memory", "--memory", limits.memory_bytes.0)]
    {
        if size_bytes > limit {
            return Err(hinted(
                format!(
                    "the files have {}, but the {what} limit is {}",
                    Bytes(size_bytes),
                    Bytes(limit)
                ),
                format!(
                    "add {flag} {}, or on this machine let the program read them in place with \
                     --read PATH",
                    roomy(size_bytes)
                ),
            ));
        }
    }
    Ok(())
}

/// Returns a limit with room for files of this size and more, as it is typed: `256M`.
fn roomy(size_bytes: u64) -> String {
    let megabytes = size_bytes.saturating_mul(2).div_ceil(1 << 20).next_power_of_two();
    if megabytes >= 1024 { format!("{}G", megabytes / 1024) } else { format!("{megabytes}M") }
}

fn too_many(what: &str, max_files: u32) -> anyhow::Error {
    hinted(
        format!("`{what}` has more files and folders than the limit of {max_files}"),
        format!(
            "add --max-files {}, or let the program read the folder in place with --read PATH",
            u64::from(max_files) * 10
        ),
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_called_by_its_relative_path_or_its_last_part() {
        for (path, name) in [
            ("data.csv", Some("data.csv")),
            ("./in/data.csv", Some("in/data.csv")),
            ("in/./data/", Some("in/data")),
            ("../data.csv", Some("data.csv")),
            ("a/../b/data.csv", Some("data.csv")),
            ("/srv/data.csv", Some("data.csv")),
            ("/srv/data/", Some("data")),
            ("/", None),
            ("..", None),
        ] {
            assert_eq!(name_within(Path::new(path)).as_deref(), name, "{path}");
        }
    }

    #[test]
    fn the_suggested_limit_has_room_for_the_files() {
        assert_eq!(roomy(84 << 20), "256M");
        assert_eq!(roomy(600 << 20), "2G");
        assert_eq!(roomy(1), "1M");
    }
}
