//! The disk limit of granted folders: a run may write as many bytes to them as to its own space.
//!
//! No kernel interface enforces this on every file system, so the supervisor samples. Each check
//! only asks the file systems for their free space, which costs a microsecond: as long as it has
//! not shrunk by the limit since the run began, the run cannot have exceeded it. Once it has,
//! because of any writer, the folders are walked by a thread of their own, for at most a twentieth
//! of the time, and the sizes of everything newer than the run are added up. A fast program can
//! exceed its limit by what it writes until this is noticed.

use std::collections::{HashMap, HashSet};
use std::ffi::CStr;
use std::fs::File;
use std::io::{self, BufRead, BufReader};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use belljar_protocol::Limits;
use rustix::fs::{
    AtFlags, CWD, Dir, FileType, Mode, OFlags, ResolveFlags, Statx, StatxFlags, fstatvfs, open,
    openat, openat2, statx,
};
use rustix::process::{Pid, PidfdFlags, PidfdGetfdFlags, pidfd_getfd, pidfd_open};
use tokio::task::JoinHandle;

use super::decision::Stop;

/// The minimum pause between two walks.
const REST: Duration = Duration::from_millis(250);
/// The minimum pause between two walks, as a multiple of the duration of the first.
const REST_FACTOR: u32 = 20;
/// The maximum pause between two walks if the free space gives no reason for one.
const LONG_REST: Duration = Duration::from_secs(5);
const LONG_REST_FACTOR: u32 = 100;
/// The time that the end of a run waits for a last walk.
const LAST_WALK_TIME: Duration = Duration::from_secs(10);
/// The tolerance of timestamps: those of files are from the last tick of the clock, up to 10 ms
/// before (`current_time` in the kernel).
const TICK: Duration = Duration::from_millis(20);
/// The maximum depth of folders. Deeper ones cannot be measured, and count as exceeding the limit.
const MAX_DEPTH: usize = 256;

/// The folders that a run may write, watched from before it begins.
#[derive(Debug)]
pub(crate) struct GrantedSpace {
    folders: Arc<[Folder]>,
    elsewhere: [Device; 2],
    limits: Limits,
    since: Since,
    /// The bytes that the run's processes are known to have written. The free space alone can be
    /// misleading: space that others free in the meantime hides as much of what the run has used.
    written: u64,
    walk: Option<JoinHandle<Held>>,
    is_over: Arc<AtomicBool>,
    next: Instant,
    /// The time of the next walk even if the free space gives no reason for one.
    at_the_latest: Instant,
}

#[derive(Debug)]
struct Folder {
    fd: OwnedFd,
    free: Free,
}

/// The free space of a file system.
#[derive(Clone, Copy, Debug)]
struct Free {
    bytes: u64,
    /// The number of free files, or `None` if the file system does not count files, such as btrfs.
    files: Option<u64>,
}

/// The start of the run: seconds and nanoseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Since(i64, u32);

/// The device number of a file system, as `stat` returns it.
type Device = (u32, u32);

/// The size of everything in granted folders that is newer than the run.
#[derive(Clone, Copy, Debug, Default)]
struct Held {
    bytes: u64,
    files: u64,
    /// The bytes that the run's processes have written to file systems on disks, as the kernel
    /// counts them.
    written: u64,
    /// The duration of the walk.
    took: Duration,
}

impl GrantedSpace {
    /// Starts to watch the opened writable grants. Returns `None` if there are none. `own` is the
    /// sandbox's own space, which has a limit of its own.
    pub(crate) fn open(
        granted: &[BorrowedFd<'_>],
        own: BorrowedFd<'_>,
        limits: &Limits,
    ) -> Option<Self> {
        if granted.is_empty() {
            return None;
        }
        let opened = granted.iter().filter_map(|granted| Folder::reopen(*granted));
        let paths: Vec<PathBuf> = granted
            .iter()
            .filter_map(|granted| std::fs::read_link(place_of(*granted)).ok())
            .collect();
        let began =
            SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(TICK);
        let folders: Arc<[Folder]> = opened
            .chain(mounts_beneath(&paths).iter().filter_map(|path| Folder::open(path)))
            .collect();
        Some(Self {
            folders,
            elsewhere: [device(own), shared_memory()],
            limits: *limits,
            since: Since(began.as_secs().cast_signed(), began.subsec_nanos()),
            written: 0,
            walk: None,
            is_over: Arc::default(),
            next: Instant::now(),
            at_the_latest: Instant::now() + LONG_REST,
        })
    }

    /// Checks the limit, as far as this is possible without waiting. `processes` are those of the
    /// run.
    pub(crate) async fn look(&mut self, processes: &[i32]) -> Result<(), Stop> {
        self.note_written(processes);
        if self.walk.as_ref().is_some_and(JoinHandle::is_finished) {
            let walk = self.walk.take().expect("it was there");
            self.judge(walk.await.unwrap_or_default())?;
        }
        let now = Instant::now();
        if self.walk.is_none()
            && now >= self.next
            && (self.may_exceed() || now >= self.at_the_latest)
        {
            self.begin_walk(processes.to_vec());
        }
        Ok(())
    }

    /// Records the bytes that the run's processes have written, while the processes exist.
    pub(crate) fn note_written(&mut self, processes: &[i32]) {
        self.written = self.written.max(processes.iter().map(|process| written(*process)).sum());
    }

    /// Checks the limit for the last time, after the run's last process is gone.
    pub(crate) async fn last_look(&mut self) -> Result<(), Stop> {
        if let Some(walk) = self.walk.take() {
            self.is_over.store(true, Ordering::Relaxed);
            let _ = walk.await;
            self.is_over = Arc::default();
        }
        if !self.may_exceed() {
            return Ok(());
        }
        self.begin_walk(Vec::new());
        let Some(walk) = self.walk.as_mut() else { return Ok(()) };
        if let Ok(held) = tokio::time::timeout(LAST_WALK_TIME, walk).await {
            self.walk = None;
            return self.judge(held.unwrap_or_default());
        }
        // Use the part of the walk that was done in time.
        self.is_over.store(true, Ordering::Relaxed);
        let held = self.walk.take().expect("it was there").await.unwrap_or_default();
        self.judge(held)
    }

    /// Returns whether the run has written more than its limit, or the free space has shrunk by the
    /// limit since the run began, because of any writer. A file system that does not count files
    /// may always have exceeded the limit on files.
    fn may_exceed(&self) -> bool {
        self.written > self.limits.disk_bytes.0
            || self.folders.iter().any(|folder| {
                let now = Free::of(&folder.fd).unwrap_or(folder.free);
                let files = folder
                    .free
                    .files
                    .zip(now.files)
                    .map(|(before, now)| before.saturating_sub(now));
                folder.shrunk_by(now) > self.limits.disk_bytes.0
                    || files.is_none_or(|files| files > u64::from(self.limits.files))
            })
    }

    fn new_walk(&self) -> Walk {
        Walk {
            folders: Arc::clone(&self.folders),
            since: self.since,
            largest: self.limits.disk_bytes.0,
            is_over: Arc::clone(&self.is_over),
            seen: HashSet::new(),
            elsewhere: self.elsewhere,
            held: Held::default(),
        }
    }

    fn begin_walk(&mut self, processes: Vec<i32>) {
        let walk = self.new_walk();
        self.walk = Some(tokio::task::spawn_blocking(move || walk.run(&processes)));
    }

    fn judge(&mut self, held: Held) -> Result<(), Stop> {
        self.next = Instant::now() + REST.max(held.took * REST_FACTOR);
        self.at_the_latest = Instant::now() + LONG_REST.max(held.took * LONG_REST_FACTOR);
        let disk = self.limits.disk_bytes.0;
        let shrunk: u64 = self
            .folders
            .iter()
            .filter_map(|folder| Some(folder.shrunk_by(Free::of(&folder.fd)?)))
            .max()
            .unwrap_or(0);
        // The second condition covers data in files that no longer have a name and that no process
        // has open.
        if held.bytes > disk || held.written > disk && shrunk > disk {
            return Err(Stop::DiskExceeded);
        }
        if held.files > u64::from(self.limits.files) { Err(Stop::FilesExceeded) } else { Ok(()) }
    }
}

impl Drop for GrantedSpace {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
    }
}

impl Folder {
    fn open(path: &Path) -> Option<Self> {
        // Non-blocking, because a former folder may have become a FIFO.
        let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Self::of(open(path, flags, Mode::empty()).ok()?)
    }

    /// Opens an opened folder for reading. It is opened by its descriptor, because its name may
    /// lead elsewhere by now.
    fn reopen(opened: BorrowedFd<'_>) -> Option<Self> {
        Self::of(
            open(
                place_of(opened),
                OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC,
                Mode::empty(),
            )
            .ok()?,
        )
    }

    fn of(fd: OwnedFd) -> Option<Self> {
        let free = Free::of(&fd)?;
        Some(Self { fd, free })
    }

    fn shrunk_by(&self, now: Free) -> u64 {
        self.free.bytes.saturating_sub(now.bytes)
    }
}

impl Free {
    fn of(fd: &OwnedFd) -> Option<Self> {
        let space = fstatvfs(fd).ok()?;
        Some(Self {
            bytes: space.f_bfree.saturating_mul(space.f_frsize),
            files: (space.f_files > 0).then_some(space.f_ffree),
        })
    }
}

/// Returns the path in `/proc` of a descriptor of this process.
fn place_of(descriptor: BorrowedFd<'_>) -> PathBuf {
    format!("/proc/self/fd/{}", descriptor.as_raw_fd()).into()
}

/// Returns the mounts beneath granted folders, which are separate file systems but part of the
/// grant.
fn mounts_beneath(paths: &[PathBuf]) -> Vec<PathBuf> {
    let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
    let points = mounts.lines().filter_map(|line| line.split(' ').nth(4)).map(unescaped);
    points
        .filter(|point| paths.iter().any(|path| point.starts_with(path) && point != path))
        .collect()
}

/// Decodes a path of `mountinfo`, in which white space is written as octal numbers.
fn unescaped(point: &str) -> PathBuf {
    [(r"\040", " "), (r"\011", "\t"), (r"\012", "\n"), (r"\134", r"\")]
        .iter()
        .fold(point.to_owned(), |path, (escape, is)| path.replace(escape, is))
        .into()
}

struct Walk {
    folders: Arc<[Folder]>,
    since: Since,
    /// The maximum size of a file that the run has extended (`RLIMIT_FSIZE`).
    largest: u64,
    is_over: Arc<AtomicBool>,
    /// Counted files with several names.
    seen: HashSet<(u32, u32, u64)>,
    /// File systems whose unnamed files do not belong to a granted folder. A list of the granted
    /// folders' file systems would not work: on overlayfs a file may have another device number
    /// than its folder.
    elsewhere: [Device; 2],
    held: Held,
}

const FIELDS: StatxFlags = StatxFlags::BASIC_STATS.union(StatxFlags::BTIME);

impl Walk {
    fn run(mut self, processes: &[i32]) -> Held {
        let began = Instant::now();
        for folder in &*Arc::clone(&self.folders) {
            let Ok(status) = statx(&folder.fd, c"", AtFlags::EMPTY_PATH, FIELDS) else { continue };
            if FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory {
                // Only the content, because the folder itself existed before.
                let again = open_folder_again(folder.fd.as_fd());
                let _ = again.map_err(io::Error::from).and_then(|fd| self.folder(fd, 0));
            } else {
                self.count(&status);
            }
        }
        for process in processes {
            self.unnamed(*process);
            self.held.written = self.held.written.saturating_add(written(*process));
        }
        Held { took: began.elapsed(), ..self.held }
    }

    fn folder(&mut self, fd: OwnedFd, depth: usize) -> io::Result<()> {
        if depth > MAX_DEPTH {
            self.held.bytes = u64::MAX;
            return Ok(());
        }
        // Uses one descriptor per level, and the program decides about the number of levels.
        let mut listing = Dir::new(fd)?;
        while let Some(entry) = listing.read() {
            if self.is_over.load(Ordering::Relaxed) {
                return Ok(());
            }
            let entry = entry?;
            let name = entry.file_name();
            if name == c"." || name == c".." {
                continue;
            }
            let fd = listing.fd()?;
            let Ok(status) = statx(fd, name, AtFlags::SYMLINK_NOFOLLOW, FIELDS) else { continue };
            if FileType::from_raw_mode(status.stx_mode.into()) == FileType::Directory {
                // Another mount is a separate entry of `folders`.
                let Ok(inner) = open_folder(fd, name) else { continue };
                self.count(&status);
                self.folder(inner, depth + 1)?;
            } else {
                self.count(&status);
            }
        }
        Ok(())
    }

    fn count(&mut self, status: &Statx) {
        let changed = Since(status.stx_ctime.tv_sec, status.stx_ctime.tv_nsec);
        if changed < self.since
            || status.stx_nlink > 1
                && !self.seen.insert((status.stx_dev_major, status.stx_dev_minor, status.stx_ino))
        {
            return;
        }
        // A program can set neither time. A file system without birth times has only the change
        // time.
        let has_birth = status.stx_mask & StatxFlags::BTIME.bits() != 0;
        let is_new =
            !has_birth || Since(status.stx_btime.tv_sec, status.stx_btime.tv_nsec) >= self.since;
        if is_new || status.stx_size <= self.largest {
            self.held.bytes = self.held.bytes.saturating_add(status.stx_blocks.saturating_mul(512));
        }
        self.held.files += u64::from(is_new);
    }

    /// Counts files that a process has open or mapped and that no longer have a name.
    fn unnamed(&mut self, process: i32) {
        for folder in ["fd", "map_files"] {
            match std::fs::read_dir(format!("/proc/{process}/{folder}")) {
                Ok(entries) => entries.flatten().for_each(|entry| {
                    let _ = statx(CWD, entry.path(), AtFlags::empty(), FIELDS)
                        .map(|status| self.count_unnamed(&status));
                }),
                // The folders of a non-dumpable process belong to root. An ordinary user needs
                // other ways.
                Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                    let _ = if folder == "fd" {
                        self.unnamed_open(process)
                    } else {
                        self.unnamed_mapped(process)
                    };
                }
                Err(_) => {}
            }
        }
    }

    fn count_unnamed(&mut self, status: &Statx) {
        let device = (status.stx_dev_major, status.stx_dev_minor);
        let is_file = FileType::from_raw_mode(status.stx_mode.into()) == FileType::RegularFile;
        let is_unnamed = is_file && status.stx_nlink == 0 && !self.elsewhere.contains(&device);
        if is_unnamed && self.seen.insert((device.0, device.1, status.stx_ino)) {
            self.count(status);
        }
    }

    /// Counts open unnamed files by duplicating each descriptor briefly. The kernel allows this,
    /// and reading `fdinfo`, to the owner of the process's user namespace (`ptrace_may_access`).
    fn unnamed_open(&mut self, process: i32) -> io::Result<()> {
        let pid = Pid::from_raw(process).ok_or(io::ErrorKind::InvalidInput)?;
        let handle = pidfd_open(pid, PidfdFlags::empty())?;
        for entry in std::fs::read_dir(format!("/proc/{process}/fdinfo"))?.flatten() {
            let Some(number) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else {
                continue;
            };
            let Ok(file) = pidfd_getfd(&handle, number, PidfdGetfdFlags::empty()) else { continue };
            let _ = statx(&file, c"", AtFlags::EMPTY_PATH, FIELDS)
                .map(|status| self.count_unnamed(&status));
        }
        Ok(())
    }

    /// Counts mapped unnamed files that `maps` lists. It has no sizes, so the mapped part counts,
    /// up to the maximum size of a file.
    fn unnamed_mapped(&mut self, process: i32) -> io::Result<()> {
        let mut parts: HashMap<(u32, u32, u64), u64> = HashMap::new();
        let maps = File::open(format!("/proc/{process}/maps"))?;
        for mapping in deleted_mappings(BufReader::new(maps)) {
            let end = parts.entry(mapping.file).or_default();
            *end = mapping.end.max(*end);
        }
        for (file, end) in parts {
            if !self.elsewhere.contains(&(file.0, file.1)) && self.seen.insert(file) {
                self.held.bytes = self.held.bytes.saturating_add(end.min(self.largest));
                self.held.files += 1;
            }
        }
        Ok(())
    }
}

/// A mapped part of a file without a name.
#[derive(Debug, PartialEq, Eq)]
struct DeletedMapping {
    /// Major and minor number of the device, and number of the inode.
    file: (u32, u32, u64),
    /// Position of the end of the part in the file, bytes.
    end: u64,
}

/// Returns the mapped parts of deleted files. The list of mappings is read line by line: a process
/// can have 65,530 mappings (`vm.max_map_count`), each with a path of 4,096 bytes, which take four
/// times as many bytes if they are line ends. A path that is not UTF-8 is counted, too.
fn deleted_mappings(maps: impl BufRead) -> impl Iterator<Item = DeletedMapping> {
    maps.split(b'\n')
        .map_while(Result::ok)
        .filter_map(|line| deleted_mapping(&String::from_utf8_lossy(&line)))
}

/// Parses a line of `maps` (`proc_pid_maps(5)`), such as `7f00-7f10 rw-s 00000000 fd:01 1234
/// /data/x (deleted)`.
fn deleted_mapping(line: &str) -> Option<DeletedMapping> {
    let line = line.strip_suffix(" (deleted)")?;
    let mut fields = line.split_ascii_whitespace();
    let (from, to) = fields.next()?.split_once('-')?;
    let hexadecimal = |text: &str| u64::from_str_radix(text, 16).ok();
    let length = hexadecimal(to)?.checked_sub(hexadecimal(from)?)?;
    let offset = hexadecimal(fields.nth(1)?)?;
    let (major, minor) = fields.next()?.split_once(':')?;
    let device = |text: &str| u32::from_str_radix(text, 16).ok();
    let number = fields.next()?.parse().ok()?;
    Some(DeletedMapping {
        file: (device(major)?, device(minor)?, number),
        end: offset.checked_add(length)?,
    })
}

fn open_folder(within: BorrowedFd<'_>, name: &CStr) -> rustix::io::Result<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    openat2(
        within,
        name,
        flags,
        Mode::empty(),
        ResolveFlags::NO_XDEV | ResolveFlags::NO_SYMLINKS | ResolveFlags::BENEATH,
    )
}

/// Opens an opened folder again, because two users of one descriptor share its position, and would
/// each see a part of the entries.
fn open_folder_again(folder: BorrowedFd<'_>) -> rustix::io::Result<OwnedFd> {
    openat(
        folder,
        c".",
        OFlags::RDONLY | OFlags::DIRECTORY | OFlags::NOFOLLOW | OFlags::CLOEXEC,
        Mode::empty(),
    )
}

fn device(fd: impl AsFd) -> Device {
    statx(fd, c"", AtFlags::EMPTY_PATH, FIELDS)
        .map_or((0, 0), |status| (status.stx_dev_major, status.stx_dev_minor))
}

/// Returns the device of the kernel's file system behind `memfd_create` and shared mappings, which
/// is in memory and counts as such.
fn shared_memory() -> Device {
    rustix::fs::memfd_create("belljar", rustix::fs::MemfdFlags::CLOEXEC).map_or((0, 0), device)
}

/// Returns the bytes that a process and the children that it has waited for wrote to file systems
/// on disks, without data that was truncated before it was written (`task_io_accounting`).
fn written(process: i32) -> u64 {
    let io = std::fs::read_to_string(format!("/proc/{process}/io")).unwrap_or_default();
    let number = |key: &str| {
        io.lines().find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok()).unwrap_or(0)
    };
    number("write_bytes:").saturating_sub(number("cancelled_write_bytes:"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use belljar_protocol::Bytes;

    use super::*;

    fn walk(space: &GrantedSpace, processes: &[i32]) -> Held {
        let mut space = GrantedSpace {
            walk: None,
            folders: Arc::clone(&space.folders),
            is_over: Arc::default(),
            ..*space
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(async {
            space.begin_walk(processes.to_vec());
            space.walk.take().unwrap().await.unwrap()
        })
    }

    #[test]
    fn what_is_newer_than_the_run_is_added_up_and_what_is_older_is_not() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(folder.path().join("old"), vec![1; 1 << 20]).unwrap();
        std::thread::sleep(TICK * 3);
        let limits = Limits { disk_bytes: Bytes(1 << 16), ..Limits::default() };
        let space = opened(folder.path(), &limits);
        assert_eq!(walk(&space, &[]).files, 0);

        fs::create_dir_all(folder.path().join("a/b")).unwrap();
        fs::write(folder.path().join("a/b/new"), vec![1; 100_000]).unwrap();
        fs::hard_link(folder.path().join("a/b/new"), folder.path().join("again")).unwrap();
        std::os::unix::fs::symlink("/usr", folder.path().join("link")).unwrap();
        // Its times cannot be turned back.
        filetime(&folder.path().join("a/b/new"));
        let held = walk(&space, &[]);
        assert_eq!(held.files, 4, "two folders, a file of two names, a link");
        assert!((100_000..400_000).contains(&held.bytes), "{}", held.bytes);
    }

    #[test]
    fn a_file_without_a_name_counts_while_it_is_open() {
        let folder = tempfile::tempdir().unwrap();
        let space = opened(folder.path(), &Limits::default());
        let unnamed = tempfile::tempfile_in(folder.path()).unwrap();
        unnamed.set_len(1 << 20).unwrap();
        fs::write(format!("/proc/self/fd/{}", unnamed.as_raw_fd()), vec![1; 1 << 20]).unwrap();
        let this = i32::try_from(std::process::id()).unwrap();
        assert_eq!(walk(&space, &[]).files, 0);
        let held = walk(&space, &[this]);
        assert!(held.files == 1 && held.bytes >= 1 << 20, "{held:?}");
    }

    #[test]
    fn a_file_without_a_name_counts_for_an_ordinary_user_too() {
        let folder = tempfile::tempdir().unwrap();
        let space = opened(folder.path(), &Limits::default());
        let unnamed = tempfile::tempfile_in(folder.path()).unwrap();
        fs::write(format!("/proc/self/fd/{}", unnamed.as_raw_fd()), vec![1; 1 << 20]).unwrap();
        let mut walk = space.new_walk();
        walk.unnamed_open(i32::try_from(std::process::id()).unwrap()).unwrap();
        assert!(walk.held.files == 1 && walk.held.bytes >= 1 << 20, "{:?}", walk.held);
    }

    #[test]
    fn deleted_mappings_are_read_and_others_are_not() {
        let of = |line| deleted_mapping(line);
        let expected = Some(DeletedMapping { file: (0xfd, 1, 1234), end: 0x3000 });
        assert_eq!(
            of("7f0000000000-7f0000002000 rw-s 00001000 fd:01 1234          /data/a b (deleted)"),
            expected
        );
        for line in [
            "7f0000000000-7f0000002000 rw-s 00001000 fd:01 1234 /data/x",
            "7f00-7e00 rw-p 0 fd:01 1 /x (deleted)",
            " (deleted)",
            "x-y (deleted)",
        ] {
            assert_eq!(of(line), None, "{line}");
        }
    }

    #[test]
    fn a_list_of_mappings_is_read_to_its_end_whatever_the_names_in_it() {
        let maps = b"00-10 rw-s 00000000 fd:01 1 /data/\xff\xfe (deleted)\n00-20 rw-s 00000000 fd:01 2 /data/b (deleted)\n";
        let files: Vec<u64> = deleted_mappings(&maps[..]).map(|mapping| mapping.file.2).collect();
        assert_eq!(files, [1, 2]);
    }

    #[test]
    fn a_mapped_file_with_a_name_that_is_no_text_counts_for_an_ordinary_user_too() {
        use std::os::unix::ffi::OsStrExt;
        use std::os::unix::process::CommandExt;
        use std::process::{Command, Stdio};

        let folder = tempfile::tempdir().unwrap();
        let space = opened(folder.path(), &Limits::default());
        // A program that runs is mapped.
        let path = folder.path().join(std::ffi::OsStr::from_bytes(b"\xff\xfe"));
        fs::copy("/bin/cat", &path).unwrap();
        let start =
            || Command::new(&path).arg0("cat").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let mut child = loop {
            match start() {
                // Another thread's fork holds the copy open for a moment.
                Err(error) if error.kind() == io::ErrorKind::ExecutableFileBusy => {
                    std::thread::yield_now();
                }
                started => break started.unwrap(),
            }
        };
        // Its answer shows that it runs.
        io::Write::write_all(child.stdin.as_mut().unwrap(), b"x").unwrap();
        io::Read::read_exact(child.stdout.as_mut().unwrap(), &mut [0]).unwrap();
        fs::remove_file(&path).unwrap();
        let mut walk = space.new_walk();
        walk.unnamed_mapped(i32::try_from(child.id()).unwrap()).unwrap();
        drop(child.stdin.take());
        child.wait().unwrap();
        assert!(walk.held.files == 1 && walk.held.bytes > 0, "{:?}", walk.held);
    }

    #[test]
    fn a_deep_folder_is_walked_to_its_end_each_time() {
        let folder = tempfile::tempdir().unwrap();
        let space = opened(folder.path(), &Limits::default());
        let mut inner = folder.path().to_owned();
        for _ in 0..40 {
            inner.push("d");
        }
        fs::create_dir_all(&inner).unwrap();
        fs::write(inner.join("file"), "x").unwrap();
        assert_eq!(walk(&space, &[]).files, 41, "each of the folders, and the file");
        assert_eq!(walk(&space, &[]).files, 41, "and once more");
    }

    #[test]
    fn nothing_is_watched_where_nothing_may_be_written() {
        assert!(GrantedSpace::open(&[], own_space().as_fd(), &Limits::default()).is_none());
    }

    fn own_space() -> OwnedFd {
        open("/proc", OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).unwrap()
    }

    fn opened(folder: &Path, limits: &Limits) -> GrantedSpace {
        let folder = fs::File::open(folder).unwrap();
        GrantedSpace::open(&[folder.as_fd()], own_space().as_fd(), limits).unwrap()
    }

    fn filetime(path: &Path) {
        let long_ago = rustix::fs::Timespec { tv_sec: 1, tv_nsec: 0 };
        let times = rustix::fs::Timestamps { last_access: long_ago, last_modification: long_ago };
        rustix::fs::utimensat(CWD, path, &times, AtFlags::empty()).unwrap();
    }
}
