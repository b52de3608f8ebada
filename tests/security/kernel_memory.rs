//! Memory of the kernel that a program can have it take, and that no control group counts. Each
//! test says what the kernel held before, during and after. What a kind of attack took before it
//! was closed stands with its bound: the bound is well below.

use std::fs;
use std::time::{Duration, Instant};

use belljar_test_support::STARTS;
use rustix::fs::{FlockOperation, fcntl_lock};

use crate::run::{Attack, Outcome, host_file, limits_available, open_to_all};

const MB: u64 = 1 << 20;
/// Other tests and programs run at the same time, so that what the kernel holds moves by itself.
const NOISE: u64 = 100 * MB;

/// Memory that the kernel holds for itself and cannot give back: slabs (socket buffers among them),
/// mappings of its own (compiled filters), stacks, page tables, per-processor data. Of the whole
/// machine.
fn kernel_memory() -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap();
    let kinds = ["SUnreclaim:", "VmallocUsed:", "KernelStack:", "PageTables:", "Percpu:"];
    let of = |line: &str| {
        line.split_ascii_whitespace()
            .nth(1)
            .and_then(|number| number.parse::<u64>().ok())
            .unwrap_or(0)
            * 1024
    };
    text.lines().filter(|line| kinds.iter().any(|kind| line.starts_with(kind))).map(of).sum()
}

/// A quantity of kernel memory before an attack, its maximum during the attack, and its value after
/// it.
#[derive(Clone, Copy, Debug)]
struct Held {
    before: u64,
    during: u64,
    after: u64,
}

impl Held {
    fn grew(self) -> u64 {
        self.during.saturating_sub(self.before)
    }
}

/// Runs an attack and looks at a quantity all the while; afterwards until it is within `slack` of
/// what it was.
fn watch(attack: &Attack, quantity: impl Fn() -> u64, slack: u64) -> (Held, Outcome) {
    let before = quantity();
    let mut running = attack.spawn_kept();
    let mut during = before;
    while !running.has_ended() {
        during = during.max(quantity());
        std::thread::sleep(Duration::from_millis(5));
    }
    let outcome = running.outcome();
    crate::leftovers::assert_no_process(outcome.belljar);
    let ended = Instant::now();
    let mut after = quantity();
    while after > before + slack && ended.elapsed() < Duration::from_mins(1) {
        std::thread::sleep(Duration::from_millis(20));
        after = quantity();
    }
    let held = Held { before, during, after };
    println!("{held:?}, counted at most {}", outcome.json["usage"]["peak_memory_bytes"]);
    (held, outcome)
}

fn assert_small(held: Held) {
    assert!(held.grew() < NOISE && held.after < held.before + NOISE, "the kernel held {held:?}");
}

/// Each socket kept 200 KB of unread answers: 510 MB in one process with 2,500 descriptors, of
/// which its group counted 10 MB.
#[test]
fn unread_netlink_answers_take_no_memory() {
    let body = r#"
import socket
def fill():
    held = []
    answers = set()
    for number_ in range(2400):
        try:
            one = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
            one.setblocking(False)
            held.append(one)
            # RTM_GETLINK, again and again, unread.
            for _ in range(400):
                one.send(struct.pack("IHHIIBxHiII", 32, 18, 1, 1, 0, 0, 0, 1, 0, 0))
        except OSError as error:
            answers.add(errno.errorcode[error.errno])
    return len(held), sorted(answers)
attempt("fill", fill)
for protocol in range(23):
    for kind in (socket.SOCK_RAW, socket.SOCK_DGRAM):
        attempt(f"protocol {protocol} {int(kind)}", lambda: socket.socket(socket.AF_NETLINK, kind, protocol))
def inherited():
    families = []
    for fd in range(0, 300):
        try:
            with socket.socket(fileno=os.dup(fd)) as one:
                families.append(one.family)
        except OSError:
            pass
    return socket.AF_NETLINK in families
attempt("inherited", inherited)
"#;
    for start in STARTS {
        let (held, outcome) = watch(
            &Attack::python(body).start(start).with(["--open-files", "2500"]),
            kernel_memory,
            NOISE,
        );
        outcome.attempts(&[("fill", "done: (0, ['EAFNOSUPPORT'])"), ("inherited", "done: False")]);
        for protocol in 0..23 {
            for kind in [2, 3] {
                outcome.attempts(&[(&format!("protocol {protocol} {kind}"), "EAFNOSUPPORT")]);
            }
        }
        assert_small(held);
    }
}

/// 38 MB in a process with 252 descriptors; and the bound on all of the host's filters together,
/// once used up, starts no further sandbox.
#[test]
fn compiled_socket_filters_take_no_memory() {
    let body = r#"
import socket
filter_ = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0xffffffff) * 4096)
program = struct.pack("HxxxxxxQ", 4096, ctypes.addressof(filter_))
def fill():
    held, attached, answers = [], 0, set()
    for number_ in range(600):
        held += socket.socketpair()
        for one in held[-2:]:
            for option, value in ((26, program), (51, program), (50, struct.pack("i", 0)), (52, struct.pack("i", 0)), (44, struct.pack("i", 1))):
                try:
                    one.setsockopt(socket.SOL_SOCKET, option, value)
                    attached += 1
                except OSError as error:
                    answers.add(errno.errorcode[error.errno])
    return len(held), attached, sorted(answers)
attempt("fill", fill)
"#;
    for start in STARTS {
        let (held, outcome) = watch(
            &Attack::python(body).start(start).with(["--open-files", "2500"]),
            kernel_memory,
            NOISE,
        );
        outcome.attempts(&[("fill", "done: (1200, 0, ['EPERM'])")]);
        assert_small(held);
    }
}

/// Locks of the whole machine, as the kernel lists them.
fn locks() -> u64 {
    fs::read_to_string("/proc/locks").unwrap_or_default().lines().count() as u64
}

const LOCKS: &str = r#"
import fcntl, sqlite3
files = [open(f"/tmp/{number_}", "wb") for number_ in range(100)]
def fill():
    taken = 0
    for place in range(PLACES):
        for file in files:
            fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, 2 * place)
            taken += 1
    return taken
attempt("fill", fill)
def description():
    # F_OFD_SETLK
    fcntl.fcntl(files[0], 37, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 0, 1, 0))
attempt("of a description", description)
def asked():
    # Whether another process would be in the way.
    return struct.unpack("hhqqixxxx", fcntl.fcntl(files[0], fcntl.F_GETLK, struct.pack("hhqqixxxx", fcntl.F_WRLCK, 0, 0, 1, 0)))[0] == fcntl.F_UNLCK
attempt("asked", asked)
def database():
    one, other = (sqlite3.connect("/tmp/database", timeout=0, isolation_level=None) for _ in range(2))
    one.execute("create table t (n)")
    one.execute("begin immediate")
    one.execute("insert into t values (1)")
    try:
        other.execute("insert into t values (2)")
    except sqlite3.OperationalError as error:
        one.execute("commit")
        return str(error), other.execute("select count(*) from t").fetchone()[0]
attempt("database", database)
"#;

/// A lock on a range of a file is 192 bytes that nothing counts: 100,000 are 19 MB. A process whose
/// files no other process has open holds none.
#[test]
fn locks_that_no_other_process_can_meet_take_no_memory() {
    for start in STARTS {
        let (held, outcome) =
            watch(&Attack::python(&LOCKS.replace("PLACES", "1000")).start(start), locks, 1000);
        outcome.attempts(&[
            ("fill", "done: 100000"),
            ("of a description", "EINVAL"),
            ("asked", "done: True"),
            ("database", "done: ('database is locked', 1)"),
        ]);
        assert!(held.grew() < 10_000, "locks: {held:?}");
    }
}

/// Locks on a file that another process can have open are the kernel's. They take memory until the
/// run ends, bounded by its CPU time.
#[test]
fn locks_between_processes_are_real_and_end_with_the_run() {
    // Few enough for the list of all of the machine's locks, which others read at the same time.
    let body = format!(
        r#"{}
def child_is_kept_out():
    first = open("/tmp/shared", "wb")
    fcntl.lockf(first, fcntl.LOCK_EX | fcntl.LOCK_NB)
    child = os.fork()
    if child == 0:
        try:
            fcntl.lockf(open("/tmp/shared", "wb"), fcntl.LOCK_EX | fcntl.LOCK_NB)
            os._exit(0)
        except OSError as error:
            os._exit(error.errno)
    return errno.errorcode.get(os.WEXITSTATUS(os.waitpid(child, 0)[1]), "taken")
attempt("child", child_is_kept_out)
"#,
        LOCKS.replace("PLACES", "20")
    );
    for start in STARTS {
        let (held, outcome) =
            watch(&Attack::python(&body).start(start).with(["--exec"]), locks, 1000);
        outcome.attempts(&[
            ("fill", "done: 2000"),
            ("of a description", "EAGAIN|done: None"),
            ("child", "done: EAGAIN|done: EACCES"),
        ]);
        assert!(held.grew() < 10_000 && held.after <= held.before + 1000, "locks: {held:?}");
    }
    let host = tempfile::tempdir().unwrap();
    open_to_all(host.path());
    let path = host_file(host.path(), "shared", "x");
    open_to_all(std::path::Path::new(&path));
    let file = fs::File::options().read(true).write(true).open(&path).unwrap();
    fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive).unwrap();
    let body = "import fcntl\nattempt('lock', lambda: fcntl.lockf(open(sys.argv[1], 'r+b'), fcntl.LOCK_EX | fcntl.LOCK_NB))\n\
                attempt('read lock', lambda: fcntl.lockf(open(sys.argv[1], 'rb'), fcntl.LOCK_SH | fcntl.LOCK_NB))";
    for grant in ["--write", "--read"] {
        let body = if grant == "--read" {
            body.replace("'r+b'), fcntl.LOCK_EX", "'rb'), fcntl.LOCK_SH")
        } else {
            body.to_owned()
        };
        Attack::python(&body)
            .with([grant, host.path().to_str().unwrap()])
            .in_both_starts_with_arguments(&[&path], |outcome| {
                outcome.attempts(&[("lock", "EAGAIN|EACCES"), ("read lock", "EAGAIN|EACCES")]);
            });
    }
}

/// One program for each kind of descriptor, which makes as many as it may and fills them.
const DESCRIPTORS: [(&str, &str); 5] = [
    (
        "sockets that wait to be accepted",
        r#"
import socket
for number_ in range(8):
    one = socket.socket(socket.AF_UNIX)
    one.bind(f"\0{number_}")
    one.listen(100000)
    held.append(one)
    while True:
        with socket.socket(socket.AF_UNIX) as caller:
            caller.setblocking(False)
            try:
                caller.connect(f"\0{number_}")
                made += 1
            except BlockingIOError:
                break
"#,
    ),
    (
        "watches",
        r"
import select
pollers = [select.epoll() for _ in range(100)]
read, write = os.pipe()
held += pollers
try:
    while True:
        held.append(os.dup(read))
except OSError:
    pass
for poller in pollers:
    for fd in held[100:]:
        poller.register(fd, select.EPOLLIN)
        made += 1
",
    ),
    (
        "events, timers and pollers",
        r"
import select
try:
    while True:
        held.append(os.eventfd(0))
        held.append(libc.timerfd_create(1, 0))
        held.append(select.epoll())
        if held[-2] < 0:
            break
        made += 3
except OSError:
    pass
",
    ),
    (
        "full pipes",
        r#"
try:
    while True:
        read, write = os.pipe()
        os.set_blocking(write, False)
        made += 1
        try:
            os.write(write, b"x" * 65536)
        except BlockingIOError:
            pass
except OSError:
    pass
"#,
    ),
    (
        "full sockets",
        r#"
import socket
for number_ in range(200):
    pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    held += pair
    for one in pair:
        one.setblocking(False)
        try:
            while True:
                one.send(b"x")
                made += 1
        except BlockingIOError:
            pass
"#,
    ),
];

/// The uncounted memory of descriptors is small compared with the counted memory, or bounded by
/// their number.
#[test]
fn descriptors_of_every_kind_are_counted_or_small() {
    for (number, (kind, code)) in DESCRIPTORS.iter().enumerate() {
        let indented = code.replace('\n', "\n    ");
        let body = format!(
            "def fill():\n    held, made = [], 0\n    {indented}\n    return made > 300\nattempt('fill', fill)"
        );
        let attack = Attack::python(&body).start(STARTS[number % 2]);
        let (held, outcome) =
            watch(&attack.with(["--open-files", "1000", "--memory", "256M"]), kernel_memory, NOISE);
        outcome.attempts(&[("fill", "done: True")]);
        if limits_available() {
            let counted = outcome.json["usage"]["peak_memory_bytes"].as_u64().unwrap();
            assert!(held.grew() < counted + NOISE, "{kind}: {held:?}, counted {counted}");
        }
        assert!(held.after < held.before + NOISE, "{kind}: {held:?}");
    }
}

/// Groups of IPv6 had no bound but a socket's option memory, and their lists are counted nowhere;
/// those of IPv4 are 20 a socket.
#[test]
fn multicast_groups_take_little_memory() {
    let body = r#"
import socket
def fill(family, level, option, group, most):
    joined, answers = 0, set()
    held = []
    for number_ in range(200):
        held.append(socket.socket(family, socket.SOCK_DGRAM))
        for member in range(most):
            try:
                held[-1].setsockopt(level, option, group(joined))
                joined += 1
            except OSError as error:
                answers.add(errno.errorcode[error.errno])
                break
    return joined, sorted(answers)
attempt("IPv6", fill, socket.AF_INET6, 41, 20, lambda n: b"\xff\x02" + n.to_bytes(14, "big") + struct.pack("I", 1), 1000)
attempt("IPv6 by any name", fill, socket.AF_INET6, 41, 42, lambda n: struct.pack("IxxxxHHI", 1, 10, 0, 0) + b"\xff\x02" + n.to_bytes(14, "big") + b"\0" * 104, 1000)
attempt("IPv4", fill, socket.AF_INET, 0, 35, lambda n: bytes([239]) + n.to_bytes(3, "big") + bytes([127, 0, 0, 1]), 1000)
attempt("IPv4 sources", fill, socket.AF_INET, 0, 39, lambda n: bytes([239]) + n.to_bytes(3, "big") + bytes([127, 0, 0, 1]) * 2, 1000)
"#;
    let (held, outcome) = watch(
        &Attack::python(body).with(["--loopback", "--open-files", "1000"]),
        kernel_memory,
        NOISE,
    );
    outcome.attempts(&[
        ("IPv6", "done: (0, ['EPERM'])"),
        ("IPv6 by any name", "done: (0, ['EPERM'])"),
        ("IPv4", "done: (4000, ['ENOBUFS'])"),
        ("IPv4 sources", "done: (0, ['EPERM'])"),
    ]);
    assert_small(held);
}

/// A datagram that is too long leaves an error in its socket's own queue, 208 KB a socket: 784 MB
/// in one process with 4,096 descriptors, of which its group counted 16 MB.
#[test]
fn errors_of_datagrams_take_no_memory() {
    // An emulated machine takes long for each call: 125 MB are enough to be seen.
    let sockets = if crate::run::slowness() < 4.0 { 2400 } else { 600 };
    let body = r#"
import socket
def fill(family, level, option, address):
    held = []
    answers = set()
    for number_ in range(SOCKETS):
        one = socket.socket(family, socket.SOCK_DGRAM)
        one.setblocking(False)
        one.setsockopt(level, option, 1)
        held.append(one)
        for _ in range(200):
            try:
                one.sendto(LONG, (address, 9))
            except OSError as error:
                answers.add(errno.errorcode[error.errno])
    queued = 0
    for one in held:
        try:
            one.recvmsg(10, 1000, socket.MSG_ERRQUEUE)
            queued += 1
        except OSError:
            pass
    return len(held), sorted(answers), queued
LONG = bytes(65515)
attempt("IPv4", fill, socket.AF_INET, 0, 11, "127.0.0.1")
LONG = bytes(65530)
attempt("IPv6", fill, socket.AF_INET6, 41, 25, "::1")
"#
    .replace("SOCKETS", &sockets.to_string());
    let (held, outcome) = watch(
        &Attack::python(&body).with(["--loopback", "--open-files", "2500"]).with_cpu(60_000),
        kernel_memory,
        NOISE,
    );
    for family in ["IPv4", "IPv6"] {
        outcome.attempts(&[(family, &format!("done: ({sockets}, ['EMSGSIZE'], 0)"))]);
    }
    assert_small(held);
}

/// A datagram that is to be continued kept 60 KB a socket: 245 MB in one process with 4,096
/// descriptors, of which its group counted 16 MB.
#[test]
fn datagrams_that_are_never_finished_take_no_memory() {
    let body = r#"
import socket
def fill():
    begun, answers = 0, set()
    held = []
    for number_ in range(2400):
        held.append(socket.socket(socket.AF_INET, socket.SOCK_DGRAM))
        held[-1].connect(("127.0.0.1", 9))
        try:
            held[-1].send(bytes(60000), socket.MSG_MORE)
            begun += 1
        except OSError as error:
            answers.add(errno.errorcode[error.errno])
    return begun, sorted(answers)
attempt("fill", fill)
def cork():
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as one:
        one.setsockopt(socket.IPPROTO_UDP, 1, 1)
attempt("cork", cork)
"#;
    for start in STARTS {
        let outcome =
            Attack::python(body).start(start).with(["--loopback", "--open-files", "2500"]).run();
        outcome.attempts(&[("fill", "done: (0, ['ENOTSUP'])"), ("cork", "EPERM")]);
    }
}
