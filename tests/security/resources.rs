//! Resources other than the memory of a run's processes and its own files: buffers of sockets and
//! pipes, the page cache, granted folders. Each test measures what the kernel holds before, during
//! and after the run.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use belljar_test_support::{STARTS, eventually};

use crate::run::{Attack, Outcome, Running, limits_available, open_to_all};

const MB: u64 = 1 << 20;

/// Held by tests that measure what all sockets of the machine hold.
static SOCKETS: Mutex<()> = Mutex::new(());

/// Bytes that sockets of all namespaces hold: `mem` of the kernel's own count, in pages, TCP and
/// UDP.
fn socket_bytes() -> u64 {
    let text = fs::read_to_string("/proc/net/sockstat").unwrap();
    let pages = |protocol: &str| -> u64 {
        let line = text.lines().find_map(|line| line.strip_prefix(protocol)).unwrap();
        line.rsplit_once("mem ").unwrap().1.trim().parse().unwrap()
    };
    (pages("TCP:") + pages("UDP:")) * page_bytes()
}

fn page_bytes() -> u64 {
    let maps = fs::read_to_string("/proc/self/smaps").unwrap();
    let kilobytes = maps.lines().find_map(|line| {
        line.strip_prefix("KernelPageSize:")?.trim().strip_suffix(" kB")?.parse::<u64>().ok()
    });
    kilobytes.expect("the kernel says how large its pages are") * 1024
}

/// The outcome, and the most that `measure` gave while it ran.
fn watched(mut running: Running, measure: impl Fn() -> u64) -> (Outcome, u64) {
    let mut most = 0;
    while !running.has_ended() {
        most = most.max(measure());
        std::thread::sleep(Duration::from_millis(2));
    }
    (running.outcome(), most)
}

/// Two attacks that took 807 MB and 1.74 GB of the kernel under a limit of 48 MB.
const FULL_BUFFERS: [(&str, &str); 2] = [
    (
        "TCP",
        r#"
import socket, time
print('armed', flush=True)
listener = socket.create_server(("127.0.0.1", 0))
held, sent = [listener], 0
for _ in range(100):
    client = socket.socket()
    for option in (socket.SO_SNDBUF, socket.SO_RCVBUF): client.setsockopt(socket.SOL_SOCKET, option, 8 << 20)
    client.connect(listener.getsockname())
    server, _ = listener.accept()
    for end in (client, server):
        end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        end.setblocking(False)
        held.append(end)
        try:
            while True: sent += end.send(b"x" * 65536)
        except BlockingIOError: pass
time.sleep(0.3)
attempt("sent", lambda: sent > 1 << 20)
"#,
    ),
    (
        "UDP",
        r#"
import socket, time
print('armed', flush=True)
sender, held, sent = socket.socket(socket.AF_INET, socket.SOCK_DGRAM), [], 0
for _ in range(240):
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    receiver.bind(("127.0.0.1", 0))
    held.append(receiver)
    for _ in range(150):
        try: sent += sender.sendto(b"x" * 60000, receiver.getsockname())
        except OSError: pass
time.sleep(0.3)
attempt("sent", lambda: sent > 1 << 20)
"#,
    ),
];

#[test]
fn buffers_of_loopback_sockets_are_bounded_and_counted() {
    if !limits_available() {
        return;
    }
    let _alone = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    for (number, (protocol, attack)) in FULL_BUFFERS.iter().enumerate() {
        let before = socket_bytes();
        let attack =
            Attack::python(attack).start(STARTS[number]).with(["--loopback", "--memory", "48M"]);
        let (outcome, most) = watched(attack.spawn_kept(), socket_bytes);
        assert_eq!(outcome.logged().first(), Some(&"armed"));
        // On version 2 they are memory as any other, and the program may meet that limit.
        if outcome.status() != "memory_exceeded" {
            outcome.attempts(&[("sent", "done: True")]);
        }
        let took = most.saturating_sub(before);
        // Each socket may have 4 KB and the datagram or segment that it was given, whatever the
        // limit says.
        assert!(
            (4 * MB..56 * MB).contains(&took),
            "{protocol} took {} MB under a limit of 48 MB",
            took / MB
        );
        let peak = outcome.json["usage"]["peak_memory_bytes"].as_u64().unwrap();
        assert!(peak >= took / 2, "{protocol} took {took} bytes, and the outcome says {peak}");
        eventually("the kernel frees the buffers", || socket_bytes() < before + 4 * MB);
    }
}

/// A connection is charged to a control group once it is accepted. Here none is: 16,384 held 1.6
/// GB.
#[test]
fn connections_that_nobody_accepts_end_the_run() {
    let attack = r#"
import socket
print("armed", flush=True)
held = []
while True:
    listener = socket.socket()
    listener.bind(("127.0.0.1", 0))
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
    listener.listen(4096)
    held.append(listener)
    for _ in range(120):
        with socket.socket() as client:
            client.connect(listener.getsockname())
            client.setblocking(False)
            try:
                while True: client.send(b"x" * 65536)
            except OSError: pass
"#;
    let _alone = SOCKETS.lock().unwrap_or_else(PoisonError::into_inner);
    for start in STARTS {
        let before = socket_bytes();
        let attack = Attack::python(attack).start(start).with(["--loopback", "--memory", "64M"]);
        let (outcome, most) = watched(attack.spawn_kept(), socket_bytes);
        outcome.must_be("memory_exceeded");
        assert_eq!(outcome.logged().first(), Some(&"armed"));
        let why = outcome.json["error"]["message"].as_str().unwrap();
        // The clients' ends are charged to the run, and on version 2 they may be what it meets
        // first.
        assert!(
            why.contains("more than 512 TCP connections")
                || why.contains("more than 64 MB of memory"),
            "{why}"
        );
        let hint = outcome.json["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("--memory"), "{hint}");
        let took = most.saturating_sub(before);
        assert!(took < 256 * MB, "they took {} MB", took / MB);
        eventually("the kernel frees the connections", || socket_bytes() < before + 4 * MB);
    }
}

/// A server with as many clients as a test may have works as it does anywhere.
#[test]
fn a_busy_server_on_loopback_is_not_taken_for_an_attack() {
    let program = r"
        const http = require('node:http');
        const server = http.createServer((request, response) => response.end('x'.repeat(100_000)));
        await new Promise(done => server.listen(0, '127.0.0.1', done));
        const get = () => new Promise((done, fail) => http.get({ port: server.address().port, agent: false }, response => {
          let length = 0;
          response.on('data', data => { length += data.length; }).on('end', () => done(length));
        }).on('error', fail));
        const lengths = await Promise.all(Array.from({ length: 100 }, get));
        server.close();
        attempt('served', () => lengths.every(length => length === 100_000));
    ";
    Attack::javascript(program).with(["--loopback"]).in_both_starts(|outcome| {
        outcome.attempts(&[("served", "done: true")]);
    });
}

#[test]
fn buffers_of_local_sockets_and_pipes_are_memory() {
    if !limits_available() {
        return;
    }
    for (number, (what, attack)) in [
        ("stream sockets", "a, b = socket.socketpair()"),
        ("datagram sockets", "a, b = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)"),
        ("pipes", "read, write = os.pipe()\n    a = open(write, 'wb', 0)\n    b = open(read, 'rb', 0)\n    fcntl.fcntl(a, 1031, 1 << 20)\n    os.set_blocking(a.fileno(), False)"),
    ]
    .iter()
    .enumerate()
    {
        let body = format!(
            r#"
import fcntl, socket
print("armed", flush=True)
held, data = [], b"x" * 60000
while True:
    {attack}
    held += [a, b]
    if isinstance(a, socket.socket):
        a.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 8 << 20)
        a.setblocking(False)
    try:
        while (a.send(data) if isinstance(a, socket.socket) else a.write(data)): pass
    except BlockingIOError: pass
"#
        );
        let attack = Attack::python(&body).start(STARTS[number % 2]).with(["--memory", "32M", "--open-files", "1024"]);
        let outcome = attack.run();
        outcome.must_be("memory_exceeded");
        assert_eq!(outcome.logged().first(), Some(&"armed"), "{what}");
        assert!(outcome.json["usage"]["peak_memory_bytes"].as_u64().is_some_and(|peak| peak > 24 * MB), "{what}: {}", outcome.json);
    }
}

/// Programs that put more into a granted folder than `--disk 1M --max-files 16` allow, each in a
/// way of its own.
const FILLERS: [(&str, &str); 6] = [
    (
        "files of the largest size",
        "for n in range(60): open(f'{folder}/{n}', 'wb').write(b'x' * 1_000_000)",
    ),
    ("small files", "for n in range(200): open(f'{folder}/{n}', 'wb').write(b'x')"),
    ("folders", "for n in range(200): os.makedirs(f'{folder}/{n // 10}/{n}')"),
    (
        "old files made longer",
        "for n in range(20): open(f'{folder}/old{n}', 'ab').write(b'x' * 900_000)",
    ),
    (
        "space without content",
        "for n in range(15): os.posix_fallocate(os.open(f'{folder}/{n}', os.O_CREAT | os.O_RDWR), 0, 1_000_000)",
    ),
    (
        "mappings",
        "import mmap\nfor n in range(15):\n    fd = os.open(f'{folder}/{n}', os.O_CREAT | os.O_RDWR)\n    os.ftruncate(fd, 1_000_000)\n    mmap.mmap(fd, 1_000_000)[:] = b'x' * 1_000_000",
    ),
];

#[test]
fn a_granted_folder_counts_against_the_disk_limit() {
    for (number, (what, filler)) in FILLERS.iter().enumerate() {
        let folder = granted_folder();
        for n in 0..20 {
            fs::write(folder.path().join(format!("old{n}")), "x").unwrap();
            open_to_all_file(&folder.path().join(format!("old{n}")));
        }
        // Nothing that was there before is newer than the run.
        std::thread::sleep(Duration::from_millis(60));
        let path = folder.path().to_str().unwrap();
        let body = format!(
            "folder = {path:?}\nprint('armed', flush=True)\n{filler}\nprint('filled', flush=True)"
        );
        let attack = Attack::python(&body).start(STARTS[number % 2]).with([
            "--disk",
            "1M",
            "--max-files",
            "16",
            "--write",
            path,
        ]);
        let outcome = attack.run();
        outcome.must_be("failed");
        assert_eq!(outcome.logged().first(), Some(&"armed"), "{what}");
        assert_eq!(outcome.json["error"]["name"], "DiskLimitExceeded", "{what}: {}", outcome.json);
        let hint = outcome.json["error"]["hint"].as_str().unwrap();
        assert!(hint.contains("--disk") || hint.contains("--max-files"), "{hint}");
    }
}

/// Files without a name hold space that no walk finds, as long as a process has them open.
#[test]
fn files_without_a_name_count_while_the_run_holds_them() {
    for (start, hold) in [
        ("fork", "held.append(fd)"),
        (
            "exec",
            "held.append(mmap.mmap(fd, 1_000_000)); held[-1][:] = b'y' * 1_000_000; os.close(fd)",
        ),
    ] {
        let folder = granted_folder();
        let path = folder.path().to_str().unwrap();
        let body = format!(
            "import mmap, time\nprint('armed', flush=True)\nheld = []\nfor n in range(40):\n    fd = os.open('{path}/x', os.O_CREAT | os.O_RDWR)\n    os.unlink('{path}/x')\n    os.write(fd, b'x' * 1_000_000)\n    {hold}\ntime.sleep(100)"
        );
        let outcome =
            Attack::python(&body).start(start).with(["--disk", "4M", "--write", path]).run();
        outcome.must_be("failed");
        assert_eq!(outcome.logged().first(), Some(&"armed"));
        assert_eq!(outcome.json["error"]["name"], "DiskLimitExceeded", "{}", outcome.json);
    }
}

/// Writes within the limits succeed, and writes of other processes to the same disk do not count
/// against the run.
#[test]
fn a_granted_folder_may_be_used_within_the_limits() {
    let (folder, other) = (granted_folder(), granted_folder());
    for n in 0..50 {
        fs::write(folder.path().join(format!("old{n}")), vec![b'x'; 100_000]).unwrap();
    }
    std::thread::sleep(Duration::from_millis(60));
    let path = folder.path().to_str().unwrap();
    // After the files elsewhere are written, the program stays for several checks of its folder.
    let body = format!(
        "import time\nopen('{path}/new', 'wb').write(b'x' * 500_000)\nprint('written', flush=True)\nwhile not os.path.exists('{path}/go'): time.sleep(0.01)\ntime.sleep(0.8)\nattempt('all', lambda: len(os.listdir('{path}')))"
    );
    let attack = Attack::python(&body).with(["--disk", "1M", "--max-files", "16", "--write", path]);
    let mut running = attack.spawn_kept();
    let new = folder.path().join("new");
    eventually("the program has begun", || new.exists());
    for n in 0..40 {
        fs::write(other.path().join(format!("{n}")), vec![b'x'; 200_000]).unwrap();
    }
    assert!(!running.has_ended(), "what was written elsewhere was in time");
    fs::write(folder.path().join("go"), "").unwrap();
    running.outcome().attempts(&[("all", "done: 52")]);
}

fn granted_folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    open_to_all(folder.path());
    folder
}

fn open_to_all_file(path: &Path) {
    fs::set_permissions(path, std::os::unix::fs::PermissionsExt::from_mode(0o666)).unwrap();
}

/// Runs that read a cold file each.
const RUNS: usize = 24;

/// Each run is the first to read a file that is not in memory, so that its page is charged to
/// the run's group.
#[test]
fn runs_that_read_cold_files_leave_no_dead_group() {
    if !limits_available() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let cold: Vec<PathBuf> = (0..RUNS).map(|n| cold_file(folder.path(), n)).collect();
    let before = dead_groups();
    let mut were_cold = 0;
    for (n, path) in cold.iter().enumerate() {
        were_cold += usize::from(resident_pages(path) == 0);
        let path = path.to_str().unwrap();
        let attack =
            Attack::python(&format!("attempt('read', lambda: len(open('{path}', 'rb').read()))"));
        let outcome =
            attack.start(STARTS[n % 2]).with(["--read", folder.path().to_str().unwrap()]).run();
        outcome.attempts(&[("read", "done: 200000")]);
    }
    assert!(
        were_cold > RUNS / 2 || is_in_memory(folder.path()),
        "{were_cold} of {RUNS} files were cold"
    );
    // Others make and remove groups as well; a run whose pages stayed behind would leave one each
    // time.
    eventually("the kernel frees dead groups", || dead_groups() < before + RUNS as u64 / 2);
}

/// A file whose pages were dropped once they had been written.
pub fn cold_file(folder: &Path, number: usize) -> PathBuf {
    let path = folder.join(format!("cold{number}"));
    fs::write(&path, vec![b'x'; 200_000]).unwrap();
    let file = fs::File::open(&path).unwrap();
    file.sync_all().unwrap();
    rustix::fs::fadvise(&file, 0, None, rustix::fs::Advice::DontNeed).unwrap();
    path
}

/// Pages of a file that are in memory, by `preadv2(RWF_NOWAIT)`, which reads no others.
fn resident_pages(path: &Path) -> usize {
    let file = fs::File::open(path).unwrap();
    let mut page = [0; 4096];
    (0..49)
        .filter(|n| {
            let mut buffers = [std::io::IoSliceMut::new(&mut page)];
            rustix::io::preadv2(&file, &mut buffers, n * 4096, rustix::io::ReadWriteFlags::NOWAIT)
                .is_ok()
        })
        .count()
}

/// Whether nothing on this file system can be cold: a tmpfs, or an overlay, whose upper layer may
/// be one.
pub fn is_in_memory(folder: &Path) -> bool {
    const TMPFS: u64 = 0x0102_1994;
    const OVERLAY: u64 = 0x794c_7630;
    rustix::fs::statfs(folder)
        .is_ok_and(|status| [TMPFS, OVERLAY].contains(&status.f_type.cast_unsigned()))
}

/// Groups that are removed and not freed: what version 2 says of its top, or of version 1 what the
/// kernel counts without what has a folder.
pub fn dead_groups() -> u64 {
    let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap();
    let mut dead = 0;
    for line in mounts.lines() {
        let Some((left, right)) = line.split_once(" - ") else { continue };
        let point = Path::new(left.split(' ').nth(4).unwrap());
        if right.starts_with("cgroup2 ") {
            let stat = fs::read_to_string(point.join("cgroup.stat")).unwrap_or_default();
            dead += stat
                .lines()
                .find_map(|line| line.strip_prefix("nr_dying_descendants ")?.parse::<u64>().ok())
                .unwrap_or(0);
        } else if right.starts_with("cgroup ")
            && right.split([',', ' ']).collect::<BTreeSet<_>>().contains("memory")
        {
            let counted = fs::read_to_string("/proc/cgroups").unwrap();
            let counted: u64 = counted
                .lines()
                .find_map(|line| {
                    line.strip_prefix("memory")?.split_whitespace().nth(1)?.parse().ok()
                })
                .unwrap();
            dead += counted.saturating_sub(folders(point));
        }
    }
    dead
}

fn folders(path: &Path) -> u64 {
    let below = fs::read_dir(path)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    1 + below.map(|entry| folders(&entry.path())).sum::<u64>()
}
