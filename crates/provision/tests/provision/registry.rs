//! A server on loopback that plays a registry, a mirror, or something worse.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use belljar_provision::{DEFAULT_REGISTRY, ProvisionConfig, ProxyUse, Registry};

/// What came in.
#[derive(Clone, Debug)]
pub struct Request {
    pub path: String,
    pub authorization: Option<String>,
}

impl Request {
    /// Whether it is for a package's archive, and not for its metadata.
    pub fn wants_archive(&self) -> bool {
        self.path.contains("/-/")
    }
}

/// What goes out.
pub enum Reply {
    /// A whole body, with its length.
    Whole(Vec<u8>),
    /// A body with another length than it has, then the end of the connection.
    Claiming(Vec<u8>, usize),
    /// A body in chunks, whose length is not said beforehand.
    Chunked(Vec<u8>),
    /// The first half; then silence until the client goes away. The sender hears when the half is out.
    Half(Vec<u8>, Sender<()>),
    /// An empty answer with this status.
    Status(u16),
    /// Look there.
    Redirect(String),
}

/// Serves until the test ends.
pub struct Server {
    pub url: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Server {
    pub fn start(answer: impl Fn(&Request) -> Reply + Send + Sync + 'static) -> Self {
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

    /// The requests so far whose path ends so.
    pub fn requests(&self, ending: &str) -> Vec<Request> {
        self.requests.lock().unwrap().iter().filter(|request| request.path.ends_with(ending)).cloned().collect()
    }

    /// A configuration that fetches from here, retries at once, and looks nowhere else.
    pub fn config(&self, cache: &std::path::Path) -> ProvisionConfig {
        let mut config = ProvisionConfig::new(cache.to_owned());
        config.registry = Registry::at(&self.url);
        config.proxy = ProxyUse::Never;
        config.bounds.pause = std::time::Duration::from_millis(1);
        config
    }
}

fn serve(connection: TcpStream, answer: &dyn Fn(&Request) -> Reply, seen: &Mutex<Vec<Request>>) {
    let mut lines = BufReader::new(connection.try_clone().unwrap()).lines().map_while(Result::ok);
    let Some(first) = lines.next() else { return };
    let path = first.split(' ').nth(1).unwrap().to_owned();
    let mut authorization = None;
    for line in lines.take_while(|line| !line.is_empty()) {
        if let Some((name, value)) = line.split_once(':')
            && name.eq_ignore_ascii_case("authorization")
        {
            authorization = Some(value.trim().to_owned());
        }
    }
    let request = Request { path, authorization };
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
            write!(connection, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n")?;
            connection.write_all(&body)?;
            close(connection)
        }
        Reply::Chunked(body) => {
            write!(connection, "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\nconnection: close\r\n\r\n")?;
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
            write!(connection, "HTTP/1.1 {status} Because\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
            close(connection)
        }
        Reply::Redirect(to) => {
            write!(connection, "HTTP/1.1 302 Found\r\nlocation: {to}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
            close(connection)
        }
    }
}

/// Ends our side and waits for theirs, so that what was sent is not lost in a reset.
fn close(mut connection: TcpStream) -> std::io::Result<()> {
    connection.shutdown(Shutdown::Write)?;
    connection.read_to_end(&mut Vec::new()).map(drop)
}

/// A version that is not pinned, so that the registry says what its hash is.
pub const VERSION: &str = "24.20.0";

/// The integrity string of some bytes.
pub fn integrity(bytes: &[u8]) -> String {
    format!("sha512-{}", STANDARD.encode(ring::digest::digest(&ring::digest::SHA512, bytes)))
}

/// The SHA-256 of some bytes, in hex digits.
pub fn sha256(bytes: &[u8]) -> String {
    let digest = ring::digest::digest(&ring::digest::SHA256, bytes);
    digest.as_ref().iter().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"))
}

/// The metadata of a package: one version, its hash, and its tarball below the default registry, as mirrors repeat it.
pub fn metadata(version: &str, integrity: &str) -> Vec<u8> {
    let tarball = format!("{DEFAULT_REGISTRY}node/-/node-{version}.tgz");
    serde_json::json!({"name": "node", "versions": {version: {"dist": {"tarball": tarball, "integrity": integrity}}}})
        .to_string()
        .into_bytes()
}

/// A registry that describes `archive` truthfully, and answers the request for it with `reply`.
pub fn registry(archive: Vec<u8>, reply: impl Fn(Vec<u8>) -> Reply + Send + Sync + 'static) -> Server {
    let described = metadata(VERSION, &integrity(&archive));
    Server::start(move |request| if request.wants_archive() { reply(archive.clone()) } else { Reply::Whole(described.clone()) })
}

/// A registry whose first download stops halfway; the receiver hears when. Later ones are whole.
pub fn registry_that_stalls_once(archive: Vec<u8>) -> (Server, Receiver<()>) {
    let (sender, receiver) = channel();
    let sender = Mutex::new(Some(sender));
    let server = registry(archive, move |archive| match sender.lock().unwrap().take() {
        Some(sender) => Reply::Half(archive, sender),
        None => Reply::Whole(archive),
    });
    (server, receiver)
}
