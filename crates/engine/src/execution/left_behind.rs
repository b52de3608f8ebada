//! Files that a program leaves in its working folder, outside of `outputs/` and not named by the
//! run. The outcome names them, and a host can request them. They are found beneath the descriptor
//! of the folder, and no symbolic link is followed.

use std::collections::{HashMap, HashSet};
use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use belljar_protocol::{LeftFile, ProgramName, RunRequest};
use rustix::fs::{AtFlags, Dir, FileType, OFlags};

use super::artifacts::{BLOCK_BYTES, FOLDER, Halt, open_beneath};
use crate::home::Home;

/// The maximum number of files that an outcome names.
const MAX_NAMED: usize = 50;
/// The maximum number of returned files. Further ones are named.
const MAX_RETURNED: usize = 50;
/// The maximum total size of returned files. Further ones are named.
const MAX_RETURNED_BYTES: u64 = 16 << 20;
/// The maximum number of names in a search, because a program can create names at no cost.
const MAX_LOOKED_AT: usize = 20_000;
const MAX_DEPTH: usize = 16;
const MAX_NAME_BYTES: usize = 1_024;
const LOOK_TIME: Duration = Duration::from_secs(1);
/// The folder of a run with at most this many files is searched without another thread.
const MAX_QUICK_FILES: usize = 64;
const MAX_QUICK_BYTES: usize = 256 << 10;
/// Folders and extensions of files that tools create for themselves. They are ignored, as hidden
/// files are.
const CACHES: [&str; 2] = ["__pycache__", "node_modules"];
const CACHE_ENDINGS: [&str; 2] = [".pyc", ".pyo"];

/// The treatment of files that a program leaves in its working folder, outside of `outputs/` and
/// not named by the run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LeftFiles {
    /// The outcome names the files.
    #[default]
    Named,
    /// The files are artifacts. If there are too many or they are too large, the others are named.
    HandedBack,
}

/// The files that a program was given and those that it was asked for, which do not count as left
/// behind.
#[derive(Debug)]
pub(crate) struct Known {
    given: HashMap<String, Vec<u8>>,
    outputs: HashSet<String>,
}

impl Known {
    pub(crate) fn of(request: &RunRequest) -> Self {
        let name = |name: &ProgramName| name.as_str().to_owned();
        Self {
            given: request
                .files
                .iter()
                .map(|file| (name(&file.path), file.content.clone()))
                .collect(),
            outputs: request.outputs.iter().map(name).collect(),
        }
    }

    /// Returns whether a file was given to the program and is unchanged.
    fn has(&self, name: &str, folder: BorrowedFd<'_>, part: &str, bytes: u64) -> bool {
        let Some(given) = self.given.get(name).filter(|given| given.len() as u64 == bytes) else {
            return false;
        };
        let Ok(file) = open_beneath(folder, part, OFlags::RDONLY | OFlags::NONBLOCK) else {
            return false;
        };
        let mut content = Vec::with_capacity(given.len());
        // One byte more than expected, because the file may still grow.
        File::from(file).take(bytes + 1).read_to_end(&mut content).is_ok() && content == *given
    }
}

/// The files that a program left.
#[derive(Debug, Default)]
pub(crate) struct LeftBehind {
    /// The open files that are to be returned.
    pub(crate) files: Vec<(String, File, u64)>,
    /// The files that are only named.
    pub(crate) named: Vec<LeftFile>,
    /// The number of further files.
    pub(crate) more: u64,
}

impl LeftBehind {
    /// Returns the total size of the files that are to be returned.
    pub(crate) fn bytes(&self) -> u64 {
        self.files.iter().map(|(_, _, bytes)| bytes).sum()
    }

    /// Names all files instead of returning them.
    pub(crate) fn keep_none(&mut self) {
        for (name, _, size_bytes) in std::mem::take(&mut self.files) {
            self.name(name, size_bytes);
        }
    }

    fn name(&mut self, name: String, size_bytes: u64) {
        if self.named.len() < MAX_NAMED {
            self.named.push(LeftFile { name, size_bytes });
        } else {
            self.more += 1;
        }
    }
}

/// Returns whether a program may have left files. This is quick if it did not. For a program that
/// was given no other file, it only lists the folder, and does not notice if the program changed
/// its own file.
pub(crate) fn may_be(home: &Home, request: &RunRequest) -> bool {
    if let [entry] = &request.files[..] {
        return has_other_names(home, entry.path.as_str());
    }
    let given_bytes: usize = request.files.iter().map(|file| file.content.len()).sum();
    if request.files.len() > MAX_QUICK_FILES || given_bytes > MAX_QUICK_BYTES {
        return true;
    }
    let (known, taken, halt) = (Known::of(request), HashSet::new(), Halt::default());
    let mut search = Search::new(home, &known, &taken, &halt);
    // The given files, their folders, `outputs/`, and a few more.
    search.looks_left = 2 * request.files.len() + 16;
    search.run(home);
    search.is_cut_short || !search.found.named.is_empty()
}

/// Returns whether the folder contains anything except a file of this name and `outputs/`.
fn has_other_names(home: &Home, name: &str) -> bool {
    let Ok(folder) = open_beneath(home.as_fd(), ".", OFlags::RDONLY | OFlags::DIRECTORY) else {
        return false;
    };
    let Ok(listing) = Dir::new(folder) else { return false };
    let expected: [&[u8]; 4] = [b".", b"..", FOLDER.as_bytes(), name.as_bytes()];
    listing.into_iter().flatten().any(|entry| !expected.contains(&entry.file_name().to_bytes()))
}

/// Finds the files that a program left. Files with the names in `taken` are returned already.
pub(crate) fn find(
    home: &Home,
    known: &Known,
    wanted: LeftFiles,
    taken: &HashSet<String>,
    halt: &Halt,
) -> LeftBehind {
    let mut search = Search::new(home, known, taken, halt);
    search.wanted = wanted;
    search.run(home);
    search.found
}

struct Search<'a> {
    found: LeftBehind,
    known: &'a Known,
    wanted: LeftFiles,
    taken: &'a HashSet<String>,
    device: u64,
    bytes_left: u64,
    looks_left: usize,
    /// Set if the search ended before it had looked at everything.
    is_cut_short: bool,
    deadline: Instant,
    halt: &'a Halt,
}

impl<'a> Search<'a> {
    fn new(home: &Home, known: &'a Known, taken: &'a HashSet<String>, halt: &'a Halt) -> Self {
        Self {
            found: LeftBehind::default(),
            known,
            wanted: LeftFiles::Named,
            taken,
            device: home.device(),
            bytes_left: MAX_RETURNED_BYTES,
            looks_left: MAX_LOOKED_AT,
            is_cut_short: false,
            deadline: Instant::now() + LOOK_TIME,
            halt,
        }
    }

    fn run(&mut self, home: &Home) {
        if let Ok(folder) = open_beneath(home.as_fd(), ".", OFlags::RDONLY | OFlags::DIRECTORY) {
            self.folder(folder.as_fd(), "", 0);
        }
    }

    fn folder(&mut self, folder: BorrowedFd<'_>, prefix: &str, depth: usize) {
        let Ok(listing) = Dir::read_from(folder) else { return };
        // The listing includes `.` and `..`.
        let entries: Vec<_> = listing.flatten().take(self.looks_left.saturating_add(3)).collect();
        self.is_cut_short |= entries.len() > self.looks_left.saturating_add(2);
        let mut names: Vec<String> = entries
            .iter()
            .filter_map(|entry| entry.file_name().to_str().ok().map(str::to_owned))
            .filter(|name| !name.starts_with('.') && !name.chars().any(char::is_control))
            .collect();
        names.sort();
        for part in names {
            if self.looks_left == 0 || self.halt.is_halted() || Instant::now() > self.deadline {
                self.is_cut_short = true;
                return;
            }
            self.looks_left -= 1;
            let name = format!("{prefix}{part}");
            let is_own = name == FOLDER
                || CACHES.contains(&part.as_str())
                || CACHE_ENDINGS.iter().any(|end| part.ends_with(end));
            if is_own || name.len() > MAX_NAME_BYTES {
                continue;
            }
            let Ok(status) = rustix::fs::statat(folder, &part, AtFlags::SYMLINK_NOFOLLOW) else {
                continue;
            };
            match FileType::from_raw_mode(status.st_mode) {
                FileType::Directory if depth < MAX_DEPTH => {
                    if let Ok(inner) =
                        open_beneath(folder, &part, OFlags::RDONLY | OFlags::DIRECTORY)
                    {
                        self.folder(inner.as_fd(), &format!("{name}/"), depth + 1);
                    }
                }
                FileType::RegularFile if status.st_dev == self.device => {
                    let bytes = status.st_size.cast_unsigned();
                    if !self.known.outputs.contains(&name)
                        && !self.known.has(&name, folder, &part, bytes)
                    {
                        self.file(folder, &part, name, bytes);
                    }
                }
                _ => {}
            }
        }
    }

    fn file(&mut self, folder: BorrowedFd<'_>, part: &str, name: String, bytes: u64) {
        match self.to_hand_back(folder, part, &name) {
            Some((file, bytes)) => {
                self.bytes_left -= bytes;
                self.found.files.push((name, file, bytes));
            }
            None => self.found.name(name, bytes),
        }
    }

    /// The file with its length, if it is to be handed back. One with holes is not: to read these
    /// costs time, and nothing of the sandbox's memory pays for them.
    fn to_hand_back(&self, folder: BorrowedFd<'_>, part: &str, name: &str) -> Option<(File, u64)> {
        if self.wanted == LeftFiles::Named
            || self.found.files.len() >= MAX_RETURNED
            || self.taken.contains(name)
        {
            return None;
        }
        let file = File::from(open_beneath(folder, part, OFlags::RDONLY | OFlags::NONBLOCK).ok()?);
        let metadata = file
            .metadata()
            .ok()
            .filter(|metadata| metadata.is_file() && metadata.dev() == self.device)?;
        let bytes = metadata.len();
        let is_whole = metadata.blocks().saturating_mul(BLOCK_BYTES) >= bytes;
        (is_whole && bytes <= self.bytes_left).then_some((file, bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use belljar_protocol::Language;
    use std::os::unix::fs::symlink;
    use std::path::Path;

    fn request(given: &[(&str, &str)], outputs: &[&str]) -> RunRequest {
        let mut request = RunRequest::new(Language::Python, "1");
        for (name, content) in given {
            request.files.push(belljar_protocol::ProgramFile {
                path: ProgramName::try_from(*name).unwrap(),
                content: content.as_bytes().to_vec(),
            });
        }
        request.outputs =
            outputs.iter().map(|name| ProgramName::try_from(*name).unwrap()).collect();
        request
    }

    fn write(folder: &Path, name: &str, content: impl AsRef<[u8]>) {
        let path = folder.join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, content).unwrap();
    }

    fn search(
        folder: &Path,
        request: &RunRequest,
        wanted: LeftFiles,
    ) -> (Vec<String>, Vec<String>, u64) {
        let found = find(
            &Home::of_test(folder),
            &Known::of(request),
            wanted,
            &HashSet::new(),
            &Halt::default(),
        );
        let handed_back = found.files.into_iter().map(|(name, ..)| name).collect();
        (handed_back, found.named.into_iter().map(|file| file.name).collect(), found.more)
    }

    #[test]
    fn what_a_program_wrote_is_found_and_what_it_was_given_is_not() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path();
        for (name, content) in [
            ("main.py", "1"),
            ("same.csv", "a"),
            ("data/longer.csv", "ab"),
            ("data/changed.csv", "x"),
            ("result.csv", "r"),
            ("deep/er/chart.png", "p"),
            ("outputs/handed.txt", "o"),
            ("named.txt", "n"),
            (".hidden", "h"),
            (".cache/x", "c"),
            ("__pycache__/main.cpython-313.pyc", "c"),
            ("node_modules/x/index.js", "c"),
        ] {
            write(folder, name, content);
        }
        symlink("/etc/passwd", folder.join("link")).unwrap();
        symlink("/etc", folder.join("folder-link")).unwrap();
        rustix::fs::mknodat(
            rustix::fs::CWD,
            folder.join("fifo"),
            FileType::Fifo,
            rustix::fs::Mode::from_raw_mode(0o644),
            0,
        )
        .unwrap();
        let request = request(
            &[("same.csv", "a"), ("data/longer.csv", "a"), ("data/changed.csv", "y")],
            &["named.txt"],
        );
        let left = ["data/changed.csv", "data/longer.csv", "deep/er/chart.png", "result.csv"]
            .map(str::to_owned)
            .to_vec();
        assert_eq!(search(folder, &request, LeftFiles::Named), (vec![], left.clone(), 0));
        assert_eq!(search(folder, &request, LeftFiles::HandedBack), (left, vec![], 0));
    }

    #[test]
    fn what_is_too_many_or_too_large_is_named_and_the_rest_counted() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), "main.py", "1");
        write(home.path(), "a-large", vec![1; MAX_RETURNED_BYTES as usize + 1]);
        File::create(home.path().join("b-hole")).unwrap().set_len(1 << 20).unwrap();
        for number in 0..MAX_RETURNED + MAX_NAMED {
            write(home.path(), &format!("small-{number:03}"), "x");
        }
        let (handed_back, named, more) =
            search(home.path(), &request(&[], &[]), LeftFiles::HandedBack);
        assert_eq!((handed_back.len(), named.len(), more), (MAX_RETURNED, MAX_NAMED, 2));
        assert_eq!(named[..2], ["a-large", "b-hole"]);
    }

    #[test]
    fn a_program_that_left_nothing_costs_one_look() {
        let home = tempfile::tempdir().unwrap();
        write(home.path(), "main.py", "1");
        std::fs::create_dir(home.path().join("outputs")).unwrap();
        assert!(!may_be(&Home::of_test(home.path()), &request(&[], &[])));
        write(home.path(), "x", "1");
        assert!(may_be(&Home::of_test(home.path()), &request(&[], &[])));

        let home = tempfile::tempdir().unwrap();
        let given = request(&[("a/b/c.csv", "1"), ("d.csv", "2")], &[]);
        for (name, content) in [("main.py", "1"), ("a/b/c.csv", "1"), ("d.csv", "2")] {
            write(home.path(), name, content);
        }
        assert!(!may_be(&Home::of_test(home.path()), &given));
        write(home.path(), "a/b/c.csv", "3");
        assert!(may_be(&Home::of_test(home.path()), &given), "changed in place");
        write(home.path(), "a/b/c.csv", "1");
        (0..100).for_each(|number| write(home.path(), &format!(".hidden-{number}"), "x"));
        assert!(may_be(&Home::of_test(home.path()), &given), "too much to look at at once");
    }
}
