//! No network unless granted; then nothing but a loopback interface of the sandbox's own.

use std::io::Read;
use std::net::TcpListener;
use std::process::{Command, Stdio};

use belljar_test_support::STARTS;

use crate::run::Attack;

const CONNECTIONS: &str = r#"
import socket, time
def connect(host, port, family=socket.AF_INET, kind=socket.SOCK_STREAM):
    with socket.socket(family, kind) as client:
        client.settimeout(20)
        client.connect((host, port))
        client.send(b"x")
started = time.monotonic()
attempt("public", connect, "93.184.216.34", 80)
attempt("metadata", connect, "169.254.169.254", 80)
attempt("private", connect, "10.0.0.1", 22)
attempt("UDP", connect, "8.8.8.8", 53, socket.AF_INET, socket.SOCK_DGRAM)
attempt("IPv6", connect, "2001:4860:4860::8888", 53, socket.AF_INET6)
attempt("host's loopback", connect, "127.0.0.1", int(sys.argv[1]))
attempt("host's loopback, IPv6", connect, "::1", int(sys.argv[1]), socket.AF_INET6)
attempt("resolve", socket.getaddrinfo, "example.com", 443)
attempt("quick", lambda: time.monotonic() - started < 60)
for name, arguments in {"packet": (17, 3, 0), "raw": (2, 3, 1), "raw IPv6": (10, 3, 58), "vsock": (40, 1, 0), "bluetooth": (31, 3, 0), "CAN": (29, 3, 1), "alg": (38, 5, 0),
                        "xdp": (44, 3, 0), "netlink route": (16, 3, 0), "netlink generic": (16, 3, 16), "netlink audit": (16, 3, 9), "netlink netfilter": (16, 3, 12), "netlink usersock": (16, 3, 2)}.items():
    attempt(name, lambda: socket.socket(*arguments))
"#;

const FAMILIES: [&str; 13] = [
    "packet",
    "raw",
    "raw IPv6",
    "vsock",
    "bluetooth",
    "CAN",
    "alg",
    "xdp",
    "netlink route",
    "netlink generic",
    "netlink audit",
    "netlink netfilter",
    "netlink usersock",
];

/// A listener of the host's that must never hear anything.
fn host_listener() -> (TcpListener, String) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port().to_string();
    (listener, port)
}

#[test]
fn without_a_grant_every_connection_is_refused_at_once() {
    let (listener, port) = host_listener();
    Attack::python(CONNECTIONS).in_both_starts_with_arguments(&[&port], |outcome| {
        for name in [
            "public",
            "metadata",
            "private",
            "UDP",
            "IPv6",
            "host's loopback",
            "host's loopback, IPv6",
        ] {
            outcome.attempts(&[(name, "EACCES")]);
        }
        outcome.attempts(&[("quick", "done: True")]);
        assert!(!outcome.attempt("resolve").starts_with("done"), "{}", outcome.json);
        for family in FAMILIES {
            // INET is refused before its type is looked at.
            outcome.attempts(&[(
                family,
                if family.starts_with("raw") { "EACCES" } else { "EAFNOSUPPORT" },
            )]);
        }
    });
    Attack::javascript(
        r"
        const net = require('node:net'), dgram = require('node:dgram');
        const connect = (host, port) => new Promise((resolve, reject) => net.connect({ host, port }).on('connect', () => resolve('connected')).on('error', reject));
        await attemptAsync('public', () => connect('93.184.216.34', 80));
        await attemptAsync('metadata', () => connect('169.254.169.254', 80));
        await attemptAsync('loopback', () => connect('127.0.0.1', Number(process.argv[2])));
        await attemptAsync('IPv6', () => connect('::1', Number(process.argv[2])));
        await attemptAsync('listen', () => new Promise((resolve, reject) => net.createServer().on('error', reject).listen(0, () => resolve('listening'))));
        await attemptAsync('UDP', () => new Promise((resolve, reject) => dgram.createSocket('udp4').on('error', reject).send('x', 53, '8.8.8.8', error => error ? reject(error) : resolve('sent'))));
        await attemptAsync('resolve', () => require('node:dns').promises.lookup('example.com'));
        await attemptAsync('fetch', () => fetch('http://169.254.169.254/latest/meta-data').catch(error => { throw error.cause ?? error; }));
        ",
    )
    .in_both_starts_with_arguments(&[&port], |outcome| {
        outcome.must_be("succeeded");
        for name in ["public", "metadata", "loopback", "IPv6", "listen", "fetch"] {
            outcome.attempts(&[(name, "EACCES")]);
        }
        for name in ["UDP", "resolve"] {
            assert!(!outcome.attempt(name).starts_with("done"), "{name}: {}", outcome.json);
        }
    });
    assert!(listener.accept().is_err(), "a sandbox reached the host");
}

#[test]
fn loopback_is_the_sandboxs_own() {
    let (listener, port) = host_listener();
    let body = format!(
        r#"{CONNECTIONS}
server = socket.create_server(("127.0.0.1", 8080))
client = socket.create_connection(("127.0.0.1", 8080))
client.sendall(b"own")
attempt("own server", lambda: server.accept()[0].recv(3))
attempt("interfaces", lambda: [name for _, name in socket.if_nameindex()])
import fcntl
def configure():
    with socket.socket() as any_:
        fcntl.ioctl(any_, 0x8914, struct.pack("16sh", b"lo", 0))
attempt("configure", configure)
"#
    );
    Attack::python(&body).with(["--loopback"]).in_both_starts_with_arguments(&[&port], |outcome| {
        for name in ["public", "metadata", "private", "UDP", "IPv6"] {
            outcome.attempts(&[(name, "ENETUNREACH|EHOSTUNREACH|EADDRNOTAVAIL")]);
        }
        outcome.attempts(&[
            ("host's loopback", "ECONNREFUSED"),
            ("host's loopback, IPv6", "ECONNREFUSED|EADDRNOTAVAIL|ENETUNREACH"),
            ("own server", "done: b'own'"),
            ("interfaces", "done: ['lo']"),
            ("quick", "done: True"),
            ("configure", "EPERM|ENOTTY"),
        ]);
        for family in FAMILIES {
            outcome.attempts(&[(family, "EAFNOSUPPORT")]);
        }
    });
    assert!(listener.accept().is_err(), "a sandbox reached the host");
}

/// Protocols other than TCP and UDP would reach kernel code that no program needs, and make the
/// kernel load modules.
#[test]
fn sockets_have_the_protocol_of_their_type_and_no_other() {
    let body = r#"
import socket
made = set()
for family in (socket.AF_INET, socket.AF_INET6):
    for kind, own in ((socket.SOCK_STREAM, 6), (socket.SOCK_DGRAM, 17), (socket.SOCK_SEQPACKET, None), (socket.SOCK_RDM, None), (6, None)):
        for protocol in range(270):
            try:
                socket.socket(family, kind, protocol).close()
                made.add((int(family), int(kind), protocol))
            except OSError as error:
                if error.errno not in (errno.EPROTONOSUPPORT, errno.EAFNOSUPPORT):
                    made.add((int(family), int(kind), errno.errorcode[error.errno]))
attempt("INET", lambda: sorted(made))
for name, protocol in {"MPTCP": 262, "SCTP": 132, "SMC": 256}.items():
    attempt(name, lambda: socket.socket(socket.AF_INET, socket.SOCK_STREAM, protocol))
for name, protocol in {"UDP-Lite": 136, "ping": 1}.items():
    attempt(name, lambda: socket.socket(socket.AF_INET, socket.SOCK_DGRAM, protocol))
attempt("packets of SCTP", lambda: socket.socket(socket.AF_INET, socket.SOCK_SEQPACKET))
attempt("pair", lambda: len(socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM, 0)))
attempt("pair of a protocol", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM, 6))
attempt("raw pair", lambda: socket.socketpair(socket.AF_UNIX, socket.SOCK_RAW))
attempt("pair of TIPC", lambda: socket.socketpair(30, socket.SOCK_STREAM))
"#;
    let own = "done: [(2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 17), (10, 1, 0), (10, 1, 6), (10, 2, 0), (10, 2, 17)]";
    let without_ipv6 = "done: [(2, 1, 0), (2, 1, 6), (2, 2, 0), (2, 2, 17)]";
    Attack::python(body).with(["--loopback"]).in_both_starts(|outcome| {
        outcome.attempts(&[("INET", &format!("{own}|{without_ipv6}")), ("pair", "done: 2")]);
        for name in ["MPTCP", "SCTP", "SMC", "UDP-Lite", "ping", "packets of SCTP"] {
            outcome.attempts(&[(name, "EPROTONOSUPPORT")]);
        }
        for name in ["pair of a protocol", "raw pair", "pair of TIPC"] {
            outcome.attempts(&[(name, "EAFNOSUPPORT")]);
        }
    });
}

/// Options lead to code and memory of the kernel: those that programs use are a list, the others
/// are refused.
#[test]
fn options_of_sockets_are_those_that_programs_use() {
    let body = r#"
import socket
stream, datagram, six, local = (socket.socket(*kind) for kind in ((2, 1), (2, 2), (10, 1), (1, 1)))
ONE = struct.pack("i", 1)
refused, set_ = set(), set()
for one in (stream, datagram, six, local):
    for level in (0, 1, 6, 17, 41, 132, 136, 254, 255, 270, 276, 282, 284):
        for option in range(0, 300):
            if (level, option) in ((1, 13), (1, 20), (1, 21), (1, 66), (1, 67)):
                continue
            try:
                one.setsockopt(level, option, ONE)
                set_.add((level, option))
            except OSError as error:
                (refused if error.errno == errno.EPERM else set_).add((level, option))
attempt("tried", lambda: len(refused) + len(set_))
attempt("not refused", lambda: len(set_ - refused) < 70)
WAYS = {"filter": (1, 26), "reuseport filter": (1, 51), "bpf": (1, 50), "reuseport bpf": (1, 52), "lock filter": (1, 44), "zero copy": (1, 60), "txtime": (1, 61),
        "busy poll": (1, 46), "reserved memory": (1, 73), "mark": (1, 36), "receive pidfds": (1, 76), "ULP": (6, 31), "repair": (6, 19), "MD5": (6, 14),
        "congestion": (6, 13), "fast open key": (6, 33), "saved SYN": (6, 27), "AO": (6, 38), "IP options": (0, 4), "tables": (0, 64), "source groups": (0, 46),
        "IPv6 groups": (41, 20), "anycast": (41, 27), "flow labels": (41, 32), "routing header": (41, 57), "hop header": (41, 54), "segments": (17, 103), "TLS": (282, 1)}
for name, way in WAYS.items():
    attempt(name, lambda: way in refused and way not in set_)
attempt("ULP by name", lambda: stream.setsockopt(6, 31, b"tls\0"))
for name, way in {"get filter": (1, 26), "peer's pidfd": (1, 77), "zero copy receive": (6, 35), "tables": (0, 64)}.items():
    attempt(f"read {name}", lambda: local.getsockopt(*way, 64))
def channel():
    with socket.socket(fileno=os.dup(3)) as one:
        return one.getsockopt(1, 77)
attempt("the supervisor's pidfd", channel)
for name, (one, level, option) in {"reuse": (stream, 1, 2), "no delay": (stream, 6, 1), "cork": (stream, 6, 3), "keep": (stream, 1, 9), "idle": (stream, 6, 4), "buffer": (datagram, 1, 8),
                                   "broadcast": (datagram, 1, 6), "packet info": (datagram, 0, 8), "v6 only": (six, 41, 26), "credentials": (local, 1, 16), "hops": (six, 41, 16)}.items():
    attempt(f"set {name}", lambda: one.setsockopt(level, option, ONE))
    attempt(f"get {name}", lambda: one.getsockopt(level, option) != 0)
attempt("linger", lambda: stream.setsockopt(1, 13, struct.pack("ii", 1, 1)))
attempt("timeout", lambda: stream.setsockopt(1, 20, struct.pack("qq", 1, 0)))
attempt("peer", lambda: len(socket.socketpair()[0].getsockopt(1, 17, 12)))
a, b = socket.socketpair()
for name, flags in {"urgent": socket.MSG_OOB, "urgent and more": socket.MSG_OOB | socket.MSG_DONTWAIT, "zero copy": 0x4000000}.items():
    attempt(f"send {name}", lambda: a.send(b"x", flags))
    attempt(f"send message {name}", lambda: a.sendmsg([b"x"], [], flags))
    attempt(f"receive {name}", lambda: b.recv(1, flags))
    attempt(f"receive message {name}", lambda: b.recvmsg(1, 0, flags))
attempt("plain", lambda: a.send(b"x", socket.MSG_DONTWAIT) + len(b.recv(1, socket.MSG_PEEK)))
"#;
    Attack::python(body).with(["--loopback"]).in_both_starts(|outcome| {
        outcome.attempts(&[
            ("not refused", "done: True"),
            ("ULP by name", "EPERM"),
            ("the supervisor's pidfd", "ENOPROTOOPT"),
        ]);
        for name in [
            "filter",
            "reuseport filter",
            "bpf",
            "reuseport bpf",
            "lock filter",
            "zero copy",
            "txtime",
            "busy poll",
            "reserved memory",
            "mark",
            "receive pidfds",
            "ULP",
            "repair",
            "MD5",
            "congestion",
            "fast open key",
            "saved SYN",
            "AO",
            "IP options",
            "tables",
            "source groups",
            "IPv6 groups",
            "anycast",
            "flow labels",
            "routing header",
            "hop header",
            "segments",
            "TLS",
        ] {
            outcome.attempts(&[(name, "done: True")]);
        }
        for name in ["get filter", "peer's pidfd", "zero copy receive", "tables"] {
            outcome.attempts(&[(&format!("read {name}"), "ENOPROTOOPT")]);
        }
        for name in [
            "reuse",
            "no delay",
            "cork",
            "keep",
            "idle",
            "buffer",
            "broadcast",
            "packet info",
            "v6 only",
            "credentials",
            "hops",
        ] {
            outcome.attempts(&[
                (&format!("set {name}"), "done: None"),
                (&format!("get {name}"), "done: True"),
            ]);
        }
        outcome.attempts(&[
            ("linger", "done: None"),
            ("timeout", "done: None"),
            ("peer", "done: 12"),
            ("plain", "done: 2"),
        ]);
        for name in ["urgent", "urgent and more", "zero copy"] {
            for way in ["send", "send message", "receive", "receive message"] {
                outcome.attempts(&[(&format!("{way} {name}"), "ENOTSUP|EOPNOTSUPP")]);
            }
        }
    });
}

const INTERFACES: &str = r#"
import socket
class Address(ctypes.Structure):
    pass
Address._fields_ = [("next", ctypes.POINTER(Address)), ("name", ctypes.c_char_p), ("flags", ctypes.c_uint), ("address", ctypes.c_void_p), ("mask", ctypes.c_void_p),
                    ("broadcast", ctypes.c_void_p), ("data", ctypes.c_void_p)]
def addresses():
    first, found = ctypes.POINTER(Address)(), []
    if libc.getifaddrs(ctypes.byref(first)) != 0:
        raise OSError(ctypes.get_errno(), "getifaddrs")
    at = first
    while at:
        one = at.contents
        family = ctypes.c_ushort.from_address(one.address).value
        text = {socket.AF_INET: lambda: socket.inet_ntop(family, ctypes.string_at(one.address + 4, 4)), socket.AF_INET6: lambda: socket.inet_ntop(family, ctypes.string_at(one.address + 8, 16))}
        found.append((one.name.decode(), family, text.get(family, lambda: "")()))
        at = one.next
    libc.freeifaddrs(first)
    return found
attempt("netlink", lambda: socket.socket(16, 3, 0))
attempt("addresses", addresses)
attempt("names", socket.if_nameindex)
attempt("number", socket.if_nametoindex, "lo")
attempt("name", socket.if_indextoname, 1)
attempt("no name", socket.if_nametoindex, "eth0")
"#;

/// The C library uses netlink, which is refused. A sandbox's interfaces are reported without it.
#[test]
fn interfaces_are_listed_without_netlink() {
    let javascript = "attempt('interfaces', () => JSON.stringify(Object.entries(require('node:os').networkInterfaces()).map(([name, all]) => \
                      [name, ...all.map(one => `${one.cidr} ${one.mac} ${one.internal}`)])));";
    for (arguments, addresses, interfaces) in [
        (&[][..], "done: [('lo', 17, '')]", "done: []"),
        (
            &["--loopback"],
            "done: [('lo', 17, ''), ('lo', 2, '127.0.0.1'), ('lo', 10, '::1')]|done: [('lo', 17, ''), ('lo', 2, '127.0.0.1')]",
            "done: [[\"lo\",\"127.0.0.1/8 00:00:00:00:00:00 true\",\"::1/128 00:00:00:00:00:00 true\"]]|\
             done: [[\"lo\",\"127.0.0.1/8 00:00:00:00:00:00 true\"]]",
        ),
    ] {
        Attack::python(INTERFACES).with(arguments.iter().copied()).in_both_starts(|outcome| {
            outcome.attempts(&[
                ("netlink", "EAFNOSUPPORT"),
                ("addresses", addresses),
                ("names", "done: [(1, 'lo')]"),
                ("number", "done: 1"),
                ("name", "done: lo"),
            ]);
            assert!(!outcome.attempt("no name").starts_with("done"));
        });
        Attack::javascript(javascript).with(arguments.iter().copied()).in_both_starts(|outcome| {
            outcome.attempts(&[("interfaces", interfaces)]);
        });
    }
}

/// Programs that a program starts have none of the driver, and list the interfaces all the same.
#[test]
fn started_programs_list_interfaces_without_netlink() {
    let python = r#"
import subprocess, sys
def started(program):
    return subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.strip()
attempt("netlink", started, "import errno, socket\ntry:\n    socket.socket(16, 3, 0)\nexcept OSError as error:\n    print(errno.errorcode[error.errno])")
attempt("names", started, "import socket\nprint(socket.if_nameindex())")
attempt("grandchild", started, "import subprocess, sys\nsubprocess.run([sys.executable, '-c', 'import socket; print(socket.if_nameindex())'], env={})")
attempt("preloaded once", started, "print(sum('libbelljar' in line and ' r-xp ' in line for line in open('/proc/self/maps')))")
"#;
    let javascript = "const { execFileSync } = require('node:child_process'); \
                      const list = \"JSON.stringify(Object.values(os.networkInterfaces()).flat().map(one => one.address))\"; \
                      attempt('interfaces', () => execFileSync(process.execPath, ['-p', list], { encoding: 'utf8', env: {} }).trim());";
    for (arguments, interfaces) in [
        (&["--exec"][..], "done: []"),
        (&["--exec", "--loopback"], "done: [\"127.0.0.1\",\"::1\"]|done: [\"127.0.0.1\"]"),
    ] {
        Attack::python(python).with(arguments.iter().copied()).in_both_starts(|outcome| {
            outcome.attempts(&[
                ("netlink", "done: EAFNOSUPPORT"),
                ("names", "done: [(1, 'lo')]"),
                ("grandchild", "done: [(1, 'lo')]"),
                ("preloaded once", "done: 1"),
            ]);
        });
        Attack::javascript(javascript).with(arguments.iter().copied()).in_both_starts(|outcome| {
            outcome.attempts(&[("interfaces", interfaces)]);
        });
    }
}

#[test]
fn localhost_resolves_and_serves_in_both_languages() {
    Attack::python(
        r#"
import socket
for name, flags in {"plain": 0, "configured": socket.AI_ADDRCONFIG}.items():
    attempt(f"look up, {name}", lambda: sorted({found[4][0] for found in socket.getaddrinfo("localhost", 80, flags=flags)}))
def serve(host, family):
    with socket.create_server((host, 0), family=family) as server, socket.create_connection((host, server.getsockname()[1])) as client:
        client.sendall(b"x")
        return server.accept()[0].recv(1)
attempt("IPv4", serve, "127.0.0.1", socket.AF_INET)
attempt("by name", serve, "localhost", socket.AF_INET)
if os.path.exists("/proc/self/net/if_inet6"):
    attempt("IPv6", serve, "::1", socket.AF_INET6)
else:
    attempts["IPv6"] = "none"
"#,
    )
    .with(["--loopback"])
    .in_both_starts(|outcome| {
        for name in ["look up, plain", "look up, configured"] {
            outcome.attempts(&[(name, "done: ['127.0.0.1']|done: ['127.0.0.1', '::1']")]);
        }
        outcome.attempts(&[("IPv4", "done: b'x'"), ("by name", "done: b'x'"), ("IPv6", "done: b'x'|none")]);
    });
    Attack::javascript(
        r"
        const dns = require('node:dns'), net = require('node:net');
        for (const [name, options] of Object.entries({ plain: {}, configured: { hints: dns.ADDRCONFIG }, 'of IPv4': { family: 4 } })) {
          await attemptAsync(`look up, ${name}`, async () => (await dns.promises.lookup('localhost', options)).address);
        }
        await attemptAsync('resolve', () => dns.promises.resolve('example.com'));
        const serve = host => new Promise((resolve, reject) => {
          const server = net.createServer(socket => { socket.end('x'); server.close(); }).on('error', reject);
          server.listen(0, host, () => net.connect(server.address().port, host).on('data', data => resolve(String(data))).on('error', reject));
        });
        await attemptAsync('IPv4', () => serve('127.0.0.1'));
        await attemptAsync('by name', () => serve('localhost'));
        if (fs.existsSync('/proc/self/net/if_inet6')) await attemptAsync('IPv6', () => serve('::1'));
        else attempts['IPv6'] = 'none';
        ",
    )
    .with(["--loopback"])
    .in_both_starts(|outcome| {
        for name in ["look up, plain", "look up, configured", "look up, of IPv4"] {
            outcome.attempts(&[(name, "done: 127.0.0.1|done: ::1")]);
        }
        // c-ares queries the name server, and there is none.
        outcome.attempts(&[("resolve", "ECONNREFUSED"), ("IPv4", "done: x"), ("by name", "done: x"), ("IPv6", "done: x|none")]);
    });
}

/// The C library and c-ares resolve names on a machine whose interfaces they cannot query: a
/// namespace with a name server, with and without IPv6, and the error that a sandbox gets for
/// netlink. The names of a network that a sandbox is granted are resolved like this.
#[test]
fn names_resolve_without_netlink_with_and_without_ipv6() {
    let folder = tempfile::tempdir().unwrap();
    let script = crate::run::host_file(folder.path(), "resolve.py", include_str!("resolve.py"));
    let resolve = |ipv6: &str, netlink: &str| {
        let mut command = Command::new("unshare");
        command
            .args([
                "--user",
                "--map-root-user",
                "--net",
                "--mount",
                "python3",
                &script,
                ipv6,
                netlink,
            ])
            .current_dir(folder.path());
        let output = crate::leftovers::output(command.stdin(Stdio::null()));
        let text = String::from_utf8_lossy(&output.stdout);
        serde_json::from_str::<serde_json::Value>(&text).unwrap_or_else(|_| {
            panic!("{ipv6}, {netlink}: {text}\n{}", String::from_utf8_lossy(&output.stderr))
        })
    };
    // A kernel may have no IPv6 at all.
    let kinds: &[&str] = if std::path::Path::new("/proc/sys/net/ipv6").exists() {
        &["ipv6", "no-ipv6"]
    } else {
        &["no-ipv6"]
    };
    for &ipv6 in kinds {
        // With netlink the namespace is what it is meant to be: without IPv6 no address of IPv6 is
        // worth asking for.
        let reported = resolve(ipv6, "netlink");
        let usable =
            if ipv6 == "ipv6" { &["192.0.2.1", "2001:db8::1"][..] } else { &["192.0.2.1"] };
        assert_eq!(
            (&reported["netlink"], &reported["configured"]),
            (&"there".into(), &serde_json::json!(usable)),
            "{reported}"
        );
        let reported = resolve(ipv6, "no-netlink");
        assert_eq!(reported["netlink"], "EAFNOSUPPORT", "{reported}");
        // Both families are taken to be there. What cannot be reached comes last.
        for flags in ["plain", "configured"] {
            assert_eq!(
                reported[flags],
                serde_json::json!(["192.0.2.1", "2001:db8::1"]),
                "{ipv6}: {reported}"
            );
        }
        if ipv6 == "no-ipv6" {
            assert_eq!(reported["first"], "192.0.2.1", "{reported}");
        }
        if reported["node"] != "not installed" {
            for (way, expected) in [
                ("lookup", serde_json::json!(["192.0.2.1", "2001:db8::1"])),
                ("lookup configured", serde_json::json!(["192.0.2.1", "2001:db8::1"])),
                ("resolve4", serde_json::json!(["192.0.2.1"])),
                ("resolve6", serde_json::json!(["2001:db8::1"])),
            ] {
                assert_eq!(reported["node"][way], expected, "{ipv6}, {way}: {reported}");
            }
        }
    }
}

/// Each has a server on the same port, and hears only itself; the host hears neither.
#[test]
fn two_loopback_runs_at_the_same_time_do_not_meet() {
    let body = |own: &str| {
        format!(
            r"
const net = require('node:net');
const server = net.createServer(socket => socket.end('{own}'));
await attemptAsync('listen', () => new Promise((resolve, reject) => server.on('error', reject).listen(7777, '0.0.0.0', resolve)));
console.log('listening');
const heard = new Set();
for (let n = 0; n < 40; n++) {{
  heard.add(await new Promise((resolve, reject) => net.connect(7777, '127.0.0.1').on('data', data => resolve(String(data))).on('error', reject)));
  await new Promise(resolve => setTimeout(resolve, 10));
}}
server.close();
attempt('heard', () => [...heard].join());
"
        )
    };
    for start in STARTS {
        let runs = ["first", "second"].map(|own| {
            Attack::javascript(&body(own)).start(start).with(["--loopback"]).spawn_kept()
        });
        let outcomes = runs.map(crate::run::Running::outcome);
        for (own, outcome) in ["first", "second"].iter().zip(&outcomes) {
            outcome.attempts(&[("listen", "done: undefined"), ("heard", &format!("done: {own}"))]);
            crate::leftovers::assert_no_process(outcome.belljar);
        }
    }
}

/// A granted folder gives access to the sockets in it, but not to the abstract sockets of the host.
#[test]
fn the_hosts_abstract_sockets_cannot_be_reached() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("belljar-security-{}", std::process::id());
    let listener =
        UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
    listener.set_nonblocking(true).unwrap();
    let body = "
import socket
def connect():
    with socket.socket(socket.AF_UNIX) as client:
        client.connect('\\0' + sys.argv[1])
        client.send(b'x')
attempt('connect', connect)
attempt('own', lambda: socket.socket(socket.AF_UNIX).bind('\\0own'))";
    for arguments in [&[][..], &["--loopback"]] {
        Attack::python(body).with(arguments.iter().copied()).in_both_starts_with_arguments(
            &[&name],
            |outcome| {
                outcome.attempts(&[("connect", "ECONNREFUSED|EPERM"), ("own", "done: None")]);
            },
        );
    }
    let heard = listener.accept().map(|(mut stream, _)| stream.read(&mut [0; 1]));
    assert!(heard.is_err(), "a sandbox reached the host");
}
