//! Files that leave a sandbox. They are opened beneath the descriptor of its working folder once
//! all its processes are gone. A path from the sandbox is never joined or followed. Work whose cost
//! depends on the files that a program left is done off the async threads.

use std::collections::{BTreeMap, HashSet};
use std::fmt::Debug;
use std::fs::File;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::MetadataExt;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use belljar_protocol::{Artifact, ProgramName};
use rustix::fs::{AtFlags, Dir, DirEntry, FileType, Mode, OFlags, ResolveFlags, openat2};
use rustix::io::Errno;
use sha2::{Digest, Sha256};

use crate::home::Home;

/// The folder of the files that a program wants to return.
pub(crate) const FOLDER: &str = "outputs";
/// The maximum number of returned files. The sandbox's own limit on files bounds the search.
const MAX_ARTIFACTS: usize = 1000;
const MAX_DEPTH: usize = 16;
const TOO_MANY: &str = "beyond the first 1000";
/// The maximum size of all holes and of further names of the same file in the artifacts of a run:
/// bytes that count in their lengths but take no memory of the sandbox. A program can create any
/// number of them at no cost, and each would be read, hashed and stored.
const MAX_HOLE_BYTES: u64 = 64 << 20;
const HOLES: &str = "with more than 64 MB of holes";
/// The unit of `st_blocks` (stat(2)).
pub(crate) const BLOCK_BYTES: u64 = 512;
/// The maximum time of the search for artifacts.
const LOOK_TIME: Duration = Duration::from_secs(10);
/// The maximum time of reading artifacts for their digests: 18 GB at 300 MB a second.
const READ_TIME: Duration = Duration::from_mins(1);
/// The name of a file while it is being saved.
const PARTIAL: &str = ".belljar-partial";

/// A file that a program left, with its content. It stays in the memory of the sandbox's file
/// system until the last of the run's files is dropped.
#[derive(Debug)]
pub struct ArtifactFile {
    /// Name, size and hash of the file.
    pub artifact: Artifact,
    /// File that is open for reading, at its start.
    pub file: File,
}

impl ArtifactFile {
    /// Saves the file beneath `folder` under its own name, replacing a file of that name. Whatever
    /// a program may have put there, no symbolic link is followed, and nothing is written through
    /// an existing name: neither a link, nor a further name of another file, nor a FIFO.
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

/// Saves a file. An existing file of that name is replaced only when the new content is complete,
/// so that a full disk neither loses the old file nor leaves a partial one.
fn save_as(content: &mut File, folder: BorrowedFd<'_>, name: &str) -> io::Result<()> {
    match rustix::fs::unlinkat(folder, PARTIAL, AtFlags::empty()) {
        Ok(()) | Err(Errno::NOENT) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let mut file =
        File::from(rustix::fs::openat(folder, PARTIAL, flags, Mode::from_raw_mode(0o666))?);
    // A rename replaces a symbolic link and does not follow it.
    let saved = io::copy(content, &mut file)
        .and_then(|_| Ok(rustix::fs::renameat(folder, PARTIAL, folder, name)?));
    if saved.is_err() {
        let _ = rustix::fs::unlinkat(folder, PARTIAL, AtFlags::empty());
    }
    saved
}

fn open_within(folder: BorrowedFd<'_>, part: &str) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
    openat2(
        folder,
        part,
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
        resolve,
    )
}

/// The limit of a host on the bytes of artifacts.
pub trait ArtifactRoom: Send + Sync + Debug {
    /// Returns the reason why `bytes` of artifacts cannot be stored now, or `None`. It is called
    /// before any artifact is read.
    fn refusal(&self, bytes: u64) -> Pin<Box<dyn Future<Output = Option<String>> + Send + '_>>;
}

/// A switch that stops the reading of artifacts early.
#[derive(Clone, Debug, Default)]
pub(crate) struct Halt(Arc<AtomicBool>);

impl Halt {
    pub(crate) fn halt(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_halted(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// The open files that a program left, which have not been read yet.
#[derive(Debug, Default)]
pub(crate) struct Left {
    files: Vec<(String, File, u64)>,
    /// The number of omitted files for each reason.
    omitted: BTreeMap<&'static str, u64>,
}

impl Left {
    /// Returns the total of the files' lengths.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, _, bytes)| bytes).sum()
    }

    /// Returns the names of the files.
    pub(crate) fn names(&self) -> HashSet<String> {
        self.files.iter().map(|(name, ..)| name.clone()).collect()
    }

    /// Adds files that were found elsewhere.
    pub(crate) fn add(&mut self, files: Vec<(String, File, u64)>) {
        self.files.extend(files);
    }

    /// Returns a human-readable summary of the omitted files, or `None` if there are none.
    pub(crate) fn omissions(&self) -> Option<String> {
        let reasons: Vec<String> =
            self.omitted.iter().map(|(why, count)| format!("{count} {why}")).collect();
        (!reasons.is_empty())
            .then(|| format!("files that are not returned: {}", reasons.join(", ")))
    }

    fn omit(&mut self, why: &'static str) {
        *self.omitted.entry(why).or_default() += 1;
    }

    /// Reads all files for their digests. Files that have not been read when it is halted or out of
    /// time are not returned.
    pub(crate) fn read(mut self, halt: &Halt) -> (Vec<ArtifactFile>, Option<String>) {
        let deadline = Instant::now() + READ_TIME;
        let mut found = Vec::new();
        for (name, mut file, bytes) in std::mem::take(&mut self.files) {
            match hash(&mut file, bytes, || !halt.is_halted() && Instant::now() < deadline) {
                Some((size_bytes, sha256)) => found
                    .push(ArtifactFile { artifact: Artifact { name, size_bytes, sha256 }, file }),
                None => self.omit("not read in time"),
            }
        }
        (found, self.omissions())
    }
}

/// Finds and opens the files in `outputs/` and those in `named`. `most_bytes` bounds the total of
/// their lengths, and [`MAX_HOLE_BYTES`] the total of their holes: the cost of reading depends on
/// the length, and a hole costs the program nothing.
pub(crate) fn look(home: &Home, named: &[ProgramName], most_bytes: u64, halt: &Halt) -> Left {
    let mut collector = Collector {
        left: Left::default(),
        device: home.device(),
        bytes_left: most_bytes,
        hole_bytes_left: MAX_HOLE_BYTES,
        counted: HashSet::new(),
        deadline: Instant::now() + LOOK_TIME,
        halt,
    };
    if let Ok(folder) = open_beneath(home.as_fd(), FOLDER, OFlags::RDONLY | OFlags::DIRECTORY) {
        collector.folder(folder.as_fd(), "", 0);
    }
    for name in named {
        if let Ok(file) =
            open_beneath(home.as_fd(), name.as_str(), OFlags::RDONLY | OFlags::NONBLOCK)
        {
            collector.file(file, name.as_str().to_owned());
        }
    }
    collector.left
}

/// Returns whether there is anything to collect.
pub(crate) fn any(home: &Home, named: &[ProgramName]) -> bool {
    let is_entry = |entry: rustix::io::Result<DirEntry>| {
        entry.is_ok_and(|entry| ![c".", c".."].contains(&entry.file_name()))
    };
    let has_entries =
        |folder: OwnedFd| Dir::new(folder).is_ok_and(|listing| listing.into_iter().any(is_entry));
    !named.is_empty()
        || open_beneath(home.as_fd(), FOLDER, OFlags::RDONLY | OFlags::DIRECTORY)
            .is_ok_and(has_entries)
}

/// Opens a file or folder beneath another, without following symbolic links and only on the same
/// file system.
pub(crate) fn open_beneath(
    folder: BorrowedFd<'_>,
    path: &str,
    flags: OFlags,
) -> rustix::io::Result<OwnedFd> {
    let resolve = ResolveFlags::BENEATH
        | ResolveFlags::NO_SYMLINKS
        | ResolveFlags::NO_MAGICLINKS
        | ResolveFlags::NO_XDEV;
    openat2(folder, path, flags | OFlags::CLOEXEC | OFlags::NOFOLLOW, Mode::empty(), resolve)
}

struct Collector<'a> {
    left: Left,
    device: u64,
    bytes_left: u64,
    hole_bytes_left: u64,
    /// The files whose memory has been counted, by inode.
    counted: HashSet<u64>,
    deadline: Instant,
    halt: &'a Halt,
}

impl Collector<'_> {
    fn folder(&mut self, folder: BorrowedFd<'_>, prefix: &str, depth: usize) {
        let Ok(listing) = Dir::read_from(folder) else { return };
        let mut names: Vec<String> = listing
            .flatten()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| name != "." && name != ".." && !name.chars().any(char::is_control))
            .collect();
        names.sort();
        for name in names {
            if self.left.files.len() >= MAX_ARTIFACTS {
                return self.left.omit(TOO_MANY);
            }
            if self.halt.is_halted() || Instant::now() > self.deadline {
                return self.left.omit("not found in time");
            }
            let path = format!("{prefix}{name}");
            let Ok(status) = rustix::fs::statat(folder, &name, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory if depth < MAX_DEPTH => {
                    if let Ok(inner) =
                        open_beneath(folder, &name, OFlags::RDONLY | OFlags::DIRECTORY)
                    {
                        self.folder(inner.as_fd(), &format!("{path}/"), depth + 1);
                    }
                }
                FileType::RegularFile => {
                    if let Ok(file) = open_beneath(folder, &name, OFlags::RDONLY | OFlags::NONBLOCK)
                    {
                        self.file(file, path);
                    }
                }
                _ => {}
            }
        }
    }

    fn file(&mut self, file: OwnedFd, name: String) {
        let file = File::from(file);
        let Ok(metadata) = file.metadata() else { return };
        if !metadata.is_file() || metadata.dev() != self.device {
            return;
        }
        let bytes = metadata.len();
        let held_bytes = if self.counted.contains(&metadata.ino()) {
            0
        } else {
            metadata.blocks().saturating_mul(BLOCK_BYTES)
        };
        let hole_bytes = bytes.saturating_sub(held_bytes);
        if bytes > self.bytes_left {
            return self.left.omit("beyond limits.disk_bytes in total");
        }
        if hole_bytes > self.hole_bytes_left {
            return self.left.omit(HOLES);
        }
        if self.left.files.len() >= MAX_ARTIFACTS {
            return self.left.omit(TOO_MANY);
        }
        self.bytes_left -= bytes;
        self.hole_bytes_left -= hole_bytes;
        self.counted.insert(metadata.ino());
        self.left.files.push((name, file, bytes));
    }
}

/// Returns length and SHA-256 of a file, and seeks back to its start. Returns `None` if the file
/// has more than `most` bytes, if reading fails, and once `may_continue` returns false.
fn hash(file: &mut File, most: u64, may_continue: impl Fn() -> bool) -> Option<(u64, String)> {
    use std::fmt::Write as _;
    use std::io::Seek;

    let mut hasher = Sha256::new();
    let mut length = 0_u64;
    let mut buffer = vec![0; 256 << 10];
    loop {
        if !may_continue() {
            return None;
        }
        match file.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => {
                length += count as u64;
                if length > most {
                    return None;
                }
                hasher.update(&buffer[..count]);
            }
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(_) => return None,
        }
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
        let named: Vec<ProgramName> =
            named.iter().map(|&name| ProgramName::try_from(name).unwrap()).collect();
        collect(folder, &named, 1000).into_iter().map(|found| found.artifact.name).collect()
    }

    fn collect(
        folder: &std::path::Path,
        named: &[ProgramName],
        most_bytes: u64,
    ) -> Vec<ArtifactFile> {
        look(&Home::of_test(folder), named, most_bytes, &Halt::default()).read(&Halt::default()).0
    }

    #[test]
    fn holes_and_further_names_of_a_file_are_bounded_whatever_the_disk_limit() {
        let home = tempfile::tempdir().unwrap();
        let outputs = home.path().join("outputs");
        std::fs::create_dir(&outputs).unwrap();
        for (name, megabytes) in
            [("a-within", 40), ("b-beyond", 2048), ("c-together", 30), ("d-still-within", 20)]
        {
            File::create(outputs.join(name)).unwrap().set_len(megabytes << 20).unwrap();
        }
        std::fs::write(outputs.join("e-real"), vec![1; 3 << 20]).unwrap();
        std::fs::hard_link(outputs.join("e-real"), outputs.join("f-name")).unwrap();
        std::fs::hard_link(outputs.join("e-real"), outputs.join("g-name")).unwrap();
        let left = look(&Home::of_test(home.path()), &[], 1 << 40, &Halt::default());
        let names: Vec<&str> = left.files.iter().map(|(name, ..)| name.as_str()).collect();
        assert_eq!(names, ["a-within", "d-still-within", "e-real", "f-name"]);
        assert_eq!(
            left.omissions().unwrap(),
            "files that are not returned: 3 with more than 64 MB of holes"
        );
        assert_eq!(left.bytes(), (40 + 20 + 3 + 3) << 20);
    }

    #[test]
    fn reading_ends_when_it_is_halted() {
        let home = tempfile::tempdir().unwrap();
        std::fs::create_dir(home.path().join("outputs")).unwrap();
        std::fs::write(home.path().join("outputs/x"), "abc").unwrap();
        let halt = Halt::default();
        halt.halt();
        let (found, omissions) =
            look(&Home::of_test(home.path()), &[], 10, &Halt::default()).read(&halt);
        assert!(
            found.is_empty()
                && omissions.is_some_and(|words| words.ends_with("1 not read in time"))
        );
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
        rustix::fs::mknodat(
            rustix::fs::CWD,
            outputs.join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        File::create(outputs.join("sparse")).unwrap().set_len(1 << 40).unwrap();
        assert_eq!(
            names(home.path(), &["named", "missing", "outputs/link"]),
            ["a.txt", "deep/er/b.txt", "named"]
        );
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
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("fifo"),
            FileType::Fifo,
            Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let elsewhere = host.path().join("elsewhere");
        std::fs::create_dir(&elsewhere).unwrap();
        symlink(&elsewhere, folder.join("deep")).unwrap();

        let into = File::open(&folder).unwrap();
        for mut found in collect(home.path(), &[], 1000) {
            assert_eq!(
                found.save(into.as_fd()).is_ok(),
                found.artifact.name != "deep/file",
                "{}",
                found.artifact.name
            );
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
        let mut found = collect(home.path(), &[], 10);
        assert_eq!(
            found[0].artifact.sha256,
            "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
        );
        let mut text = String::new();
        found[0].file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "abc");
    }
}
