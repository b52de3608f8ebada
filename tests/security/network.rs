//! No network unless granted; then nothing but a loopback interface of the sandbox's own.

use std::io::Read;
use std::net::TcpListener;
use std::time::Duration;

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
        for name in ["public", "metadata", "private", "UDP", "IPv6", "host's loopback", "host's loopback, IPv6"] {
            outcome.attempts(&[(name, "EACCES")]);
        }
        outcome.attempts(&[("quick", "done: True")]);
        assert!(!outcome.attempt("resolve").starts_with("done"), "{}", outcome.json);
        for family in FAMILIES {
            // INET is refused before its type is looked at.
            outcome.attempts(&[(family, if family.starts_with("raw") { "EACCES" } else { "EAFNOSUPPORT" })]);
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
    for start in crate::run::STARTS {
        let runs = ["first", "second"].map(|own| Attack::javascript(&body(own)).start(start).with(["--loopback"]).spawn_kept());
        let outcomes = runs.map(crate::run::Running::outcome);
        for (own, outcome) in ["first", "second"].iter().zip(&outcomes) {
            outcome.attempts(&[("listen", "done: undefined"), ("heard", &format!("done: {own}"))]);
            crate::leftovers::assert_no_process(outcome.belljar, Duration::from_secs(10));
        }
    }
}

/// A socket in a granted folder is a way out that the one who grants it opens; the abstract ones of the host are not.
#[test]
fn the_hosts_abstract_sockets_cannot_be_reached() {
    use std::os::linux::net::SocketAddrExt;
    use std::os::unix::net::{SocketAddr, UnixListener};
    let name = format!("belljar-security-{}", std::process::id());
    let listener = UnixListener::bind_addr(&SocketAddr::from_abstract_name(&name).unwrap()).unwrap();
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
        Attack::python(body).with(arguments.iter().copied()).in_both_starts_with_arguments(&[&name], |outcome| {
            outcome.attempts(&[("connect", "ECONNREFUSED|EPERM"), ("own", "done: None")]);
        });
    }
    let heard = listener.accept().map(|(mut stream, _)| stream.read(&mut [0; 1]));
    assert!(heard.is_err(), "a sandbox reached the host");
}
