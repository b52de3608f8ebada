//! Files that leave a sandbox: through descriptors opened beneath its own folder, once all its processes are gone. No path of a guest's is ever joined
//! or followed.

use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use belljar_protocol::{Artifact, ProgramName};
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

/// Where a program puts what it wants to hand back.
pub(crate) const FOLDER: &str = "outputs";
/// Further files are not handed back. The sandbox's own limit on files bounds what has to be looked at.
const MOST_ARTIFACTS: usize = 1000;
const MOST_DEPTH: usize = 16;
/// What a file is called while it is being saved.
const PARTIAL: &str = ".belljar-partial";

/// A file that a run left behind, with its content. It lives in the memory of the sandbox's file system until the last of its files is dropped.
#[derive(Debug)]
pub struct ArtifactFile {
    /// What it is.
    pub artifact: Artifact,
    /// Open for reading, at its start.
    pub file: File,
}

impl ArtifactFile {
    /// Saves it beneath `folder` under its own name, in place of what has that name. Whatever a program may have put there, no link is followed and
    /// nothing is written through: neither a link, nor another name of a file elsewhere, nor a FIFO.
    pub fn save(&mut self, folder: BorrowedFd<'_>) -> io::Result<()> {
        let mut within = open_within(folder, ".")?;
        let mut parts = self.artifact.name.split('/').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                return save_as(&mut self.file, within.as_fd(), part);
            }
            match rustix::fs::mkdirat(&within, part, Mode::from_raw_mode(0o777)) {
                Ok(()) | Err(Errno::EXIST) => {}
                Err(error) => return Err(error.into()),
            }
            within = open_within(within.as_fd(), part)?;
        }
        Ok(())
    }
}

/// What had the name keeps it until the new content is complete: a full disk loses nothing and leaves nothing.
fn save_as(content: &mut File, folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, PARTIAL, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file = File::from(rustix::fs::openat(folder, PARTIAL, flags, Mode::from_raw_mode(0o666))?);
    // A rename replaces a link, and does not follow it.
    let saved = io::copy(content, &mut file).and_then(|_| Ok(rustix::fs::renameat(folder, PARTIAL, folder, name)?));
    if saved.is_err() {
        let _ = rustix::fs::unlinkat(folder, PARTIAL, AtFlags::empty());
    }
    saved
}

fn open_within(folder: BorrowedFd<'_>, part: &str) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(folder, part, OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty(), resolve)
}

/// Collects `outputs/` and the files named besides. `most_bytes` bounds them together (sparse files would otherwise be as long as they say).
pub(crate) fn collect(home: BorrowedFd<'_>, named: &[ProgramName], most_bytes: u64) -> Vec<ArtifactFile> {
    let mut collector = Collector { found: Vec::new(), left: most_bytes };
    if let Ok(folder) = open_beneath(home, FOLDER, OFlags::RDONLY | OFlags::DIRECTORY) {
        collector.folder(folder.as_fd(), "", 0);
    }
    for name in named {
        if let Ok(file) = open_beneath(home, name.as_str(), OFlags::RDONLY | OFlags::NONBLOCK) {
            collector.file(file, name.as_str().to_owned());
        }
    }
    collector.found
}

/// Whether there is anything to collect.
pub(crate) fn any(home: BorrowedFd<'_>, named: &[ProgramName]) -> bool {
    let is_entry = |entry: rustix::io::Result<DirEntry>| entry.is_ok_and(|entry| ![c".", c".."].contains(&entry.file_name()));
    let has_entries = |folder: OwnedFd| Dir::new(folder).is_ok_and(|listing| listing.into_iter().any(is_entry));
    !named.is_empty() || open_beneath(home, FOLDER, OFlags::RDONLY | OFlags::DIRECTORY).is_ok_and(has_entries)
}

fn open_beneath(folder: BorrowedFd<'_>, path: &str, flags: OFlags) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS | ResolveFlags::NO_XDEV;
    openat2(folder, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
}

struct Collector {
    found: Vec<ArtifactFile>,
    left: u64,
}

impl Collector {
    fn folder(&mut self, folder: BorrowedFd<'_>, prefix: &str, depth: usize) {
        let Ok(listing) = Dir::read_from(folder) else { return };
        let mut names: Vec<String> = listing
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name != "." && name != ".." && !name.chars().any(char::is_control))
            .collect();
        names.sort();
        for name in names {
            if self.found.len() >= MOST_ARTIFACTS {
                return;
            }
            let path = format!("{prefix}{name}");
            let Ok(status) = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else { continue };
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory if depth < MOST_DEPTH => {
                    if let Ok(inner) = open_beneath(folder, &name, OFlags::RDONLY | OFlags::DIRECTORY) {
                        self.folder(inner.as_fd(), &format!("{path}/"), depth + 1);
                    }
                }
                FileType::RegularFile => {
                    if let Ok(file) = open_beneath(folder, &name, OFlags::RDONLY | OFlags::NONBLOCK) {
                        self.file(file, path);
                    }
                }
                _ => {}
            }
        }
    }

    fn file(&mut self, file: OwnedFd, name: String) {
        let mut file = File::from(file);
        let Ok(metadata) = file.metadata() else { return };
        if !metadata.is_file() || metadata.len() > self.left {
            return;
        }
        let Some((size_bytes, sha256)) = hash(&mut file, self.left) else { return };
        self.left -= size_bytes;
        self.found.push(ArtifactFile { artifact: Artifact { name, size_bytes, sha256 }, file });
    }
}

/// Length and SHA-256, with the file back at its start. `None` past `most` bytes or on an error.
fn hash(file: &mut File, most: u64) -> Option<(u64, String)> {
    use std::fmt::Write as _;
    use std::io::Seek;

    let mut hasher = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    let mut length = 0;
    loop {
        let count = file.read(&mut buffer).ok()?;
        if count == 0 {
            break;
        }
        length += count as u64;
        if length > most {
            return None;
        }
        hasher.update(&buffer[..count]);
    }
    file.rewind().ok()?;
    let hex = hasher.finalize().iter().fold(String::with_capacity(64), |mut hex, byte| {
        let _ = write!(hex, "{byte:02x}");
        hex
    });
    Some((length, hex))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    fn names(folder: &std::path::Path, named: &[&str]) -> Vec<String> {
        let home: OwnedFd = File::open(folder).unwrap().into();
        let named: Vec<ProgramName> = named.iter().map(|&name| ProgramName::try_from(name).unwrap()).collect();
        collect(home.as_fd(), &named, 1000).into_iter().map(|found| found.artifact.name).collect()
    }

    #[test]
    fn plain_files_come_back_and_nothing_else_does() {
        let home = tempfile::tempdir().unwrap();
        let outputs = home.path().join("outputs");
        std::fs::create_dir_all(outputs.join("deep/er")).unwrap();
        std::fs::write(outputs.join("a.txt"), "a").unwrap();
        std::fs::write(outputs.join("deep/er/b.txt"), "b").unwrap();
        std::fs::write(home.path().join("named"), "c").unwrap();
        symlink("/etc/passwd", outputs.join("link")).unwrap();
        symlink("/etc", outputs.join("folder-link")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, outputs.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        File::create(outputs.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(names(home.path(), &["named", "missing", "outputs/link"]), ["a.txt", "deep/er/b.txt", "named"]);
    }

    #[test]
    fn a_folder_that_is_a_link_is_not_followed() {
        let home = tempfile::tempdir().unwrap();
        symlink("/etc", home.path().join("outputs")).unwrap();
        assert!(names(home.path(), &["outputs/passwd"]).is_empty());
    }

    #[test]
    fn saving_follows_no_link_and_writes_through_no_other_name() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(home.path().join("outputs/deep")).unwrap();
        for name in ["soft", "hard", "fifo", "deep/file"] {
            std::fs::write(home.path().join("outputs").join(name), "from the program").unwrap();
        }
        let host = tempfile::tempdir().unwrap();
        let (victim, folder) = (host.path().join("victim"), host.path().join("saved"));
        std::fs::write(&victim, "precious").unwrap();
        std::fs::create_dir(&folder).unwrap();
        symlink(&victim, folder.join("soft")).unwrap();
        std::fs::hard_link(&victim, folder.join("hard")).unwrap();
        rustix::fs::mknodat(rustix::fs::CWD, folder.join("fifo"), FileType::Fifo, Mode::from_raw_mode(0o644), 0).unwrap();
        let elsewhere = host.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, folder.join("deep")).unwrap();

        let home: OwnedFd = File::open(home.path()).unwrap().into();
        let into = File::open(&folder).unwrap();
        for mut found in collect(home.as_fd(), &[], 1000) {
            assert_eq!(found.save(into.as_fd()).is_ok(), found.artifact.name != "deep/file", "{}", found.artifact.name);
        }
        assert_eq!(std::fs::read_to_string(&victim).unwrap(), "precious");
        assert_eq!(std::fs::read_dir(&elsewhere).unwrap().count(), 0);
        for name in ["soft", "hard", "fifo"] {
            assert_eq!(std::fs::read_to_string(folder.join(name)).unwrap(), "from the program");
        }
    }

    #[test]
    fn content_is_hashed_and_can_be_read() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("outputs")).unwrap();
        std::fs::write(home.path().join("outputs/x"), "abc").unwrap();
        let folder: OwnedFd = File::open(home.path()).unwrap().into();
        let mut found = collect(folder.as_fd(), &[], 10);
        assert_eq!(found[0].artifact.sha256, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        let mut text = String::new();
        found[0].file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}
