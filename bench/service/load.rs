//! The clients of the service's benchmark. They use plain persistent connections, because a client
//! must not cost more than the server that it measures.
//!
//! The program needs only the standard library, so `run` builds it with `rustc -O`.
//!
//! ```text
//! load runs ADDRESS TOKEN BODY CONNECTIONS SECONDS PAUSE_MS
//!     Repeat POST /v1/runs on each connection, with a pause before each request. The value of each
//!     run must be 2.
//! load get ADDRESS TOKEN PATH CONNECTIONS SECONDS
//!     Repeat GET PATH on each connection.
//! load watch ADDRESS TOKEN PATH WATCHERS
//!     Read one stream of server-sent events to its end, on one connection per watcher.
//! ```
//!
//! Each command prints one line of JSON. `watch` prints the line `watching` before it.

use std::io::{self, Read, Write};
use std::net::TcpStream;
use std::sync::{Arc, Barrier};
use std::thread;
use std::time::{Duration, Instant};

/// Stack size of a watcher's thread, which only reads.
const WATCHER_STACK_BYTES: usize = 64 << 10;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["runs", address, token, body, connections, seconds, pause_ms] => {
            let request = format!(
                "POST /v1/runs HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
                body.len()
            );
            repeat(address, &request, connections, seconds, pause_ms, |answer| {
                contains(answer, b"\"value\":2")
            });
        }
        ["get", address, token, path, connections, seconds] => {
            let request = format!(
                "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\n\r\n"
            );
            repeat(address, &request, connections, seconds, "0", |_| true);
        }
        ["watch", address, token, path, watchers] => {
            watch(address, token, path, watchers.parse().expect("a number of watchers"))
        }
        _ => panic!("see the head of load.rs"),
    }
}

/// Sends a request repeatedly on each connection, and prints the distribution of the response times
/// in milliseconds.
fn repeat(
    address: &str,
    request: &str,
    connections: &str,
    seconds: &str,
    pause_ms: &str,
    is_right: fn(&[u8]) -> bool,
) {
    let pause = Duration::from_millis(pause_ms.parse().expect("milliseconds"));
    let (connections, seconds): (usize, f64) =
        (connections.parse().expect("a number"), seconds.parse().expect("seconds"));
    let started = Arc::new(Barrier::new(connections));
    let clients: Vec<_> = (0..connections)
        .map(|_| {
            let (address, request, started) =
                (address.to_owned(), request.to_owned(), Arc::clone(&started));
            thread::spawn(move || {
                let mut stream = connect(&address);
                let (mut buffer, mut took, mut wrong) = (Vec::new(), Vec::new(), 0);
                started.wait();
                let start = Instant::now();
                while start.elapsed().as_secs_f64() < seconds {
                    thread::sleep(pause);
                    let asked = Instant::now();
                    let status = ask(&mut stream, request.as_bytes(), &mut buffer)
                        .expect("the server answers");
                    took.push(asked.elapsed());
                    wrong += usize::from(status != 200 || !is_right(&buffer));
                }
                (took, wrong, start.elapsed())
            })
        })
        .collect();
    let (mut all, mut wrong, mut longest) = (Vec::new(), 0, Duration::ZERO);
    for client in clients {
        let (took, bad, elapsed) = client.join().expect("a client");
        all.extend(took);
        wrong += bad;
        longest = longest.max(elapsed);
    }
    all.sort_unstable();
    // Nearest rank, as everywhere in bench/.
    let at = |percent: f64| {
        all[((percent / 100.0 * (all.len() - 1) as f64).round() as usize).min(all.len() - 1)]
            .as_secs_f64()
            * 1000.0
    };
    println!(
        "{{\"count\": {}, \"wrong\": {wrong}, \"per_second\": {:.1}, \"p50\": {:.3}, \"p95\": {:.3}, \"p99\": {:.3}, \"max\": {:.3}}}",
        all.len(),
        all.len() as f64 / longest.as_secs_f64(),
        at(50.0),
        at(95.0),
        at(99.0),
        at(100.0)
    );
}

fn connect(address: &str) -> TcpStream {
    let stream = TcpStream::connect(address).expect("the server accepts");
    stream.set_nodelay(true).expect("a TCP stream");
    stream
}

/// Sends a request, reads the body of the response into `body`, and returns the status. The
/// response has no body unless it has a `Content-Length`.
fn ask(stream: &mut TcpStream, request: &[u8], body: &mut Vec<u8>) -> io::Result<u16> {
    stream.write_all(request)?;
    body.clear();
    let mut buffer = [0; 16 << 10];
    loop {
        let read = stream.read(&mut buffer)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        body.extend_from_slice(&buffer[..read]);
        let Some(end) = find(body, b"\r\n\r\n") else { continue };
        let head = String::from_utf8_lossy(&body[..end]).to_ascii_lowercase();
        let length = head
            .lines()
            .find_map(|line| line.strip_prefix("content-length:"))
            .map_or(0, |length| length.trim().parse().expect("a length"));
        while body.len() < end + 4 + length {
            let read = stream.read(&mut buffer)?;
            body.extend_from_slice(&buffer[..read]);
            if read == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        body.drain(..end + 4);
        return Ok(head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0));
    }
}

/// Prints `watching` once every watcher has received its first event, and at the end the number of
/// watchers that received every event in order.
fn watch(address: &str, token: &str, path: &str, watchers: usize) {
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nAuthorization: Bearer {token}\r\nAccept: text/event-stream\r\nConnection: close\r\n\r\n"
    );
    let all_hear = Arc::new(Barrier::new(watchers + 1));
    let threads: Vec<_> = (0..watchers)
        .map(|_| {
            let (address, request, all_hear) =
                (address.to_owned(), request.clone(), Arc::clone(&all_hear));
            let work = move || {
                let mut stream = connect(&address);
                stream.write_all(request.as_bytes()).expect("the server reads");
                let (mut heard, mut buffer, mut is_first) = (Vec::new(), [0; 4096], true);
                loop {
                    let read = stream.read(&mut buffer).expect("the server writes");
                    heard.extend_from_slice(&buffer[..read]);
                    if is_first
                        && (read == 0
                            || contains(&heard, b"\nid: 0\n")
                            || heard.starts_with(b"id: 0\n"))
                    {
                        is_first = false;
                        all_hear.wait();
                    }
                    if read == 0 {
                        return events(&heard);
                    }
                }
            };
            thread::Builder::new().stack_size(WATCHER_STACK_BYTES).spawn(work).expect("a thread")
        })
        .collect();
    all_hear.wait();
    println!("watching");
    io::stdout().flush().expect("standard output");
    let heard: Vec<Option<usize>> =
        threads.into_iter().map(|thread| thread.join().expect("a watcher")).collect();
    let most = heard.iter().flatten().max().copied().unwrap_or(0);
    let complete = heard.iter().filter(|count| **count == Some(most)).count();
    println!("{{\"watchers\": {watchers}, \"complete\": {complete}, \"events\": {most}}}");
}

/// Returns the number of events of a stream, if they are numbered from 0 without a gap and the last
/// one is the end of the run.
fn events(heard: &[u8]) -> Option<usize> {
    let text = String::from_utf8_lossy(heard);
    let numbers: Vec<usize> = text
        .lines()
        .filter_map(|line| line.strip_prefix("id: "))
        .filter_map(|number| number.parse().ok())
        .collect();
    let is_in_order = numbers.iter().copied().eq(0..numbers.len());
    let last = text.lines().filter_map(|line| line.strip_prefix("event: ")).next_back();
    (is_in_order && last == Some("finished")).then_some(numbers.len())
}

fn find(bytes: &[u8], wanted: &[u8]) -> Option<usize> {
    bytes.windows(wanted.len()).position(|window| window == wanted)
}

fn contains(bytes: &[u8], wanted: &[u8]) -> bool {
    find(bytes, wanted).is_some()
}
