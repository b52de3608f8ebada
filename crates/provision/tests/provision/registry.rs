//! A server on loopback that acts as a registry, a mirror, or a hostile server.

use std::io::{BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use belljar_provision::{DEFAULT_REGISTRY, ProvisionConfig, ProxyUse, Registry};
use belljar_test_support::http::{ReceivedRequest, read_request};

/// Returns whether a request is for a package's archive, and not for its metadata.
pub fn wants_archive(request: &ReceivedRequest) -> bool {
    request.path.contains("/-/")
}

/// A response to be sent.
pub enum Reply {
    /// A whole body, with its length.
    Whole(Vec<u8>),
    /// A body that is announced with another length, then the end of the connection.
    Claiming(Vec<u8>, usize),
    /// A body in chunks, whose length is not announced.
    Chunked(Vec<u8>),
    /// The first half of a body, then silence until the client disconnects. The sender is notified
    /// when the half has been sent.
    Half(Vec<u8>, Sender<()>),
    /// An empty answer with this status.
    Status(u16),
    /// A redirect to another URL.
    Redirect(String),
}

/// A server that runs until the test ends.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<ReceivedRequest>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&ReceivedRequest) -> Reply + Send + Sync + 'static) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let requests = Arc::new(Mutex::new(Vec::new()));
        let answer = Arc::new(answer);
        let seen = requests.clone();
        thread::spawn(move || {
            for connection in listener.incoming() {
                let (answer, seen) = (answer.clone(), seen.clone());
                thread::spawn(move || serve(connection.unwrap(), &*answer, &seen));
            }
        });
        Self { url, requests }
    }

    /// Returns the requests so far whose path ends with `ending`.
    pub fn requests(&self, ending: &str) -> Vec<ReceivedRequest> {
        self.requests
            .lock()
            .unwrap()
            .iter()
            .filter(|request| request.path.ends_with(ending))
            .cloned()
            .collect()
    }

    /// Returns a configuration that fetches from this server only, and retries without a pause.
    pub fn config(&self, cache: &std::path::Path) -> ProvisionConfig {
        let mut config = ProvisionConfig::new(cache.to_owned());
        config.registry = Registry::at(&self.url);
        config.proxy = ProxyUse::Never;
        config.bounds.pause = std::time::Duration::from_millis(1);
        config
    }
}

fn serve(
    connection: TcpStream,
    answer: &dyn Fn(&ReceivedRequest) -> Reply,
    seen: &Mutex<Vec<ReceivedRequest>>,
) {
    let mut reader = BufReader::new(connection.try_clone().unwrap());
    let Some(request) = read_request(&mut reader) else { return };
    seen.lock().unwrap().push(request.clone());
    // The client may have gone away, as some tests want it to.
    let _ = send(connection, answer(&request));
}

fn send(mut connection: TcpStream, reply: Reply) -> std::io::Result<()> {
    match reply {
        Reply::Whole(body) => {
            let length = body.len();
            send(connection, Reply::Claiming(body, length))
        }
        Reply::Claiming(body, length) => {
            write!(
                connection,
                "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n"
            )?;
            connection.write_all(&body)?;
            close(connection)
        }
        Reply::Chunked(body) => {
            write!(
                connection,
                "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n"
            )?;
            for chunk in body.chunks(1000) {
                write!(connection, "{:x}\r\n", chunk.len())?;
                connection.write_all(chunk)?;
                write!(connection, "\r\n")?;
            }
            write!(connection, "0\r\n\r\n")?;
            close(connection)
        }
        Reply::Half(body, sent) => {
            write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n", body.len())?;
            connection.write_all(&body[..body.len() / 2])?;
            let _ = sent.send(());
            connection.read_to_end(&mut Vec::new()).map(drop)
        }
        Reply::Status(status) => {
            write!(
                connection,
                "HTTP/1.1 {status} Because\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )?;
            close(connection)
        }
        Reply::Redirect(to) => {
            write!(
                connection,
                "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
            )?;
            close(connection)
        }
    }
}

/// Closes our side of the connection and waits for the client's, so that no sent data is lost in a
/// reset.
fn close(mut connection: TcpStream) -> std::io::Result<()> {
    connection.shutdown(Shutdown::Write)?;
    connection.read_to_end(&mut Vec::new()).map(drop)
}

/// A version that is not pinned, so that its hash comes from the registry.
pub const VERSION: &str = "24.20.0";

/// Returns the integrity string of some bytes.
pub fn integrity(bytes: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(ring::digest::digest(&ring::digest::SHA512, bytes)))
}

/// Returns the SHA-256 of some bytes in hexadecimal.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// Returns the metadata of a package: one version, its hash, and the URL of its tarball in the
/// default registry, which mirrors repeat.
pub fn metadata(version: &str, integrity: &str) -> Vec<u8> {
    let tarball = format!("{DEFAULT_REGISTRY}node/-/node-{version}.tgz");
    serde_json::json!({"name": "node", "versions": {version: {"dist": {"tarball": tarball, "integrity": integrity}}}})
        .to_string()
        .into_bytes()
}

/// Starts a registry that lists the hash of `archive`, and answers the request for it with `reply`.
pub fn registry(
    archive: Vec<u8>,
    reply: impl Fn(Vec<u8>) -> Reply + Send + Sync + 'static,
) -> Server {
    let described = metadata(VERSION, &integrity(&archive));
    Server::start(move |request| {
        if wants_archive(request) {
            reply(archive.clone())
        } else {
            Reply::Whole(described.clone())
        }
    })
}

/// Starts a registry whose first download stops halfway, which notifies the receiver. Later
/// downloads are complete.
pub fn registry_that_stalls_once(archive: Vec<u8>) -> (Server, Receiver<()>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(Some(sender));
    let server = registry(archive, move |archive| match sender.lock().unwrap().take() {
        Some(sender) => Reply::Half(archive, sender),
        None => Reply::Whole(archive),
    });
    (server, receiver)
}
