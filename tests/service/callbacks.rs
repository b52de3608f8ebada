//! Callbacks: signed, tried again, and never to the server's own network unless that is configured.

use std::io::{BufReader, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use belljar_test_support::http::{ReceivedRequest, answer_empty, read_request};
use belljar_test_support::{Server, eventually, is_root};
use serde_json::{Value, json};

/// Accepts a connection, reads one request and answers it with this status.
fn take(listener: &TcpListener, status: &str) -> ReceivedRequest {
    let (mut socket, _) = listener.accept().unwrap();
    let request = read_request(&mut BufReader::new(&socket)).unwrap();
    answer_empty(&mut socket, status);
    request
}

#[test]
fn the_end_of_a_run_is_delivered_signed_and_again_until_it_is_accepted() {
    let server = Server::start_with("[callbacks]\nallow_private = true\n");
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let url = format!("http://{}/done", listener.local_addr().unwrap());
    let id = server
        .start_run(json!({"language": "javascript", "code": "6 * 7", "callback": {"url": url}}));
    let key = server.get("/v1/callback-key").is(200)["key"].as_str().unwrap().to_owned();
    let started = Instant::now();
    take(&listener, "500 Oops");
    let request = take(&listener, "204 No Content");
    assert!(started.elapsed() >= Duration::from_millis(900), "it waits before it tries again");
    let record: Value = serde_json::from_slice(&request.body).unwrap();
    assert_eq!((&record["id"], &record["outcome"]["value"]), (&json!(id), &json!(42)));
    assert_eq!(request.header("belljar-run"), Some(&*id));
    let signature = request.header("belljar-signature").unwrap();
    let (time, signature) = signature.strip_prefix("t=").unwrap().split_once(",v1=").unwrap();
    // Verified as a receiver would do it, with independent code.
    let script = "import hashlib, hmac, sys\nprint(hmac.new(sys.argv[1].encode(), sys.argv[2].encode() + b'.' + sys.stdin.buffer.read(), hashlib.sha256).hexdigest())";
    let mut python = Command::new("python3")
        .args(["-c", script, &key, time])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    python.stdin.take().unwrap().write_all(&request.body).unwrap();
    assert_eq!(
        String::from_utf8_lossy(&python.wait_with_output().unwrap().stdout).trim(),
        signature
    );
}

#[test]
fn a_receiver_that_does_not_answer_delays_no_other() {
    let server = Server::start_with("[callbacks]\nallow_private = true\n");
    let (slow, quick) =
        (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("127.0.0.1:0").unwrap());
    let start = |url: String| {
        server.start_run(json!({"language": "javascript", "code": "1", "callback": {"url": url}}))
    };
    for _ in 0..20 {
        start(format!("http://127.0.0.1:{}/", slow.local_addr().unwrap().port()));
    }
    // They are connected, but get no response.
    let mut held: Vec<TcpStream> = (0..8).map(|_| slow.accept().unwrap().0).collect();
    let started = Instant::now();
    let run = start(format!("http://localhost:{}/", quick.local_addr().unwrap().port()));
    let request = take(&quick, "204 No Content");
    assert_eq!(request.header("belljar-run"), Some(&*run));
    assert!(
        started.elapsed() < Duration::from_secs(8),
        "it does not wait for the others: {:?}",
        started.elapsed()
    );
    // The number of concurrent callbacks to one host is limited.
    slow.set_nonblocking(true).unwrap();
    assert!(slow.accept().is_err());
    // The next ones come when those are done.
    drop(held.pop());
    eventually("the next one comes", || slow.accept().is_ok());
}

/// A server in a network of its own, where a public address is the machine's, and something listens
/// there. Each is heard by a file of this name.
fn with_a_public_address(config: &str) -> Server {
    const LISTENER: &str = "
import pathlib, signal, socket, sys
signal.alarm(120)
home = pathlib.Path(sys.argv[1])
listener = socket.create_server(('93.184.216.34', 8080))
(home / 'listening').touch()
listener.accept()
(home / 'heard').touch()
";
    let network = format!(
        "ip link set lo up && ip address add 93.184.216.34/32 dev lo && {{ python3 -c \"{LISTENER}\" \"$BELLJAR_HOME\" >/dev/null & }} && exec \"$0\" \"$@\""
    );
    Server::start_through(&["unshare", "-n", "sh", "-c", &network], config)
}

#[test]
fn callbacks_do_not_reach_the_servers_own_public_address() {
    if !is_root() {
        // Only root can make a network.
        return;
    }
    let tell = |server: &Server| {
        eventually("the receiver listens", || server.home.join("listening").exists());
        let body = json!({"language": "javascript", "code": "1", "callback": {"url": "http://93.184.216.34:8080/"}});
        server.operate("POST", "/v1/runs", Some(body)).is(202);
    };
    let server = with_a_public_address("");
    tell(&server);
    eventually("it was tried", || {
        server
            .operate("GET", "/metrics", None)
            .text()
            .contains("belljar_callbacks_total{result=\"failed\"}")
    });
    assert!(!server.home.join("heard").exists());
    // Where that is configured it is heard: it could have been.
    let server = with_a_public_address("[callbacks]\nallow_private = true\n");
    tell(&server);
    eventually("it is heard", || server.home.join("heard").exists());
}

#[test]
fn callbacks_do_not_reach_into_the_servers_own_network() {
    let server = Server::start();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let port = listener.local_addr().unwrap().port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "2130706433", "0x7f.1"] {
        server.start_run(json!({"language": "javascript", "code": "1", "callback": {"url": format!("http://{host}:{port}/")}}));
    }
    eventually("all were tried", || {
        let metrics = server.get("/metrics").text();
        let failed = metrics
            .lines()
            .find_map(|line| line.strip_prefix("belljar_callbacks_total{result=\"failed\"} "))
            .unwrap_or("0")
            .to_owned();
        failed.parse::<u32>().unwrap() >= 5
    });
    assert!(listener.accept().is_err(), "nobody has connected");
    // The listener would have heard: it hears us.
    let _ours = TcpStream::connect(("127.0.0.1", port)).unwrap();
    eventually("we are heard", || listener.accept().is_ok());
    for url in ["ftp://a/", "http://user:pw@a/", "nonsense"] {
        server
            .post(
                "/v1/runs",
                json!({"language": "javascript", "code": "1", "callback": {"url": url}}),
            )
            .is_problem(422, "invalid-request", "callback.url");
    }
}
