//! A gate to the registries: a proxy on loopback that connects only to the configured schemes,
//! hosts and ports.
//!
//! pnpm contacts every URL that a package names before it refuses it. `NO_PROXY` supports hosts but
//! not ports, so with a registry on this machine pnpm could reach everything that listens here.

use std::io;
use std::net::Ipv4Addr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

/// The maximum size of the head of a request: the request line and the headers.
const MAX_HEAD_BYTES: usize = 64 << 10;
/// The maximum time for a head to arrive, and for a connection to be established.
const HEAD_TIME: Duration = Duration::from_secs(30);
/// The maximum number of connections. Further ones wait to be accepted. pnpm makes at most 96.
const MAX_CONNECTIONS: usize = 128;

/// A scheme, a host and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Origin {
    is_https: bool,
    host: String,
    port: u16,
}

impl Origin {
    /// Returns the origin of a URL, without a login.
    fn of(url: &str) -> Option<Self> {
        let (scheme, rest) = url.split_once("://")?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return None,
        };
        let authority = rest.split(['/', '?', '#', '\\']).next()?;
        let authority = authority.rsplit_once('@').map_or(authority, |(_, authority)| authority);
        Self::at(is_https, authority)
    }

    /// Returns the origin of `HOST` or `HOST:PORT`.
    fn at(is_https: bool, authority: &str) -> Option<Self> {
        let port = authority.rfind(':').filter(|at| !authority[*at..].contains(']'));
        let (host, port) = match port {
            Some(at) => (&authority[..at], authority[at + 1..].parse().ok()?),
            None => (authority, if is_https { 443 } else { 80 }),
        };
        let host = host.strip_prefix('[').map_or(Some(host), |host| host.strip_suffix(']'))?;
        (!host.is_empty()).then(|| Self { is_https, host: host.to_ascii_lowercase(), port })
    }
}

/// An open gate, which closes when it is dropped.
#[derive(Debug)]
pub(super) struct Gate {
    address: String,
    accepting: AbortHandle,
}

impl Gate {
    /// Opens a gate to the origins of these URLs.
    pub(super) async fn open<'a>(registries: impl Iterator<Item = &'a str>) -> io::Result<Self> {
        let origins: Arc<[Origin]> = registries.filter_map(Origin::of).collect();
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = format!("http://{}", listener.local_addr()?);
        Ok(Self { address, accepting: tokio::spawn(accept(listener, origins)).abort_handle() })
    }

    /// Returns the variables that make a program send all requests through the gate.
    pub(super) fn variables(&self) -> Vec<(String, String)> {
        let through =
            ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"].map(|name| (name, self.address.clone()));
        let all = through.into_iter().chain([("NO_PROXY", String::new())]);
        all.flat_map(|(name, value)| {
            [(name.to_lowercase(), value.clone()), (name.to_owned(), value)]
        })
        .collect()
    }
}

impl Drop for Gate {
    fn drop(&mut self) {
        self.accepting.abort();
    }
}

async fn accept(listener: TcpListener, origins: Arc<[Origin]>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept(), if connections.len() < MAX_CONNECTIONS => match accepted {
                Ok((client, _)) => drop(connections.spawn(pass(client, Arc::clone(&origins)))),
                // The process is probably out of descriptors, which takes a while to change.
                Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

/// The request of a client: the origin, and the bytes to be sent there first.
struct Asked {
    origin: Origin,
    first: Vec<u8>,
}

async fn pass(mut client: TcpStream, origins: Arc<[Origin]>) -> io::Result<()> {
    let Ok(head) = tokio::time::timeout(HEAD_TIME, read_head(&mut client)).await else {
        return Ok(());
    };
    let (request, rest) = head?;
    let Some(asked) = asked(&request).filter(|asked| origins.contains(&asked.origin)) else {
        return client
            .write_all(b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
            .await;
    };
    let Origin { host, port, is_https } = &asked.origin;
    let connected =
        tokio::time::timeout(HEAD_TIME, TcpStream::connect((host.as_str(), *port))).await;
    let Ok(Ok(mut registry)) = connected else {
        return client
            .write_all(
                b"HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n",
            )
            .await;
    };
    if *is_https {
        client.write_all(b"HTTP/1.1 200 Connection Established\r\n\r\n").await?;
    }
    registry.write_all(&asked.first).await?;
    registry.write_all(&rest).await?;
    if !*is_https {
        // The next request may be for another origin, so the client has to use a new connection for
        // it.
        let (answer, rest) = read_head(&mut registry).await?;
        client.write_all(once(&answer).as_bytes()).await?;
        client.write_all(&rest).await?;
    }
    tokio::io::copy_bidirectional(&mut client, &mut registry).await.map(drop)
}

/// Reads the head of a request or an answer, and the bytes that have arrived after it.
async fn read_head(stream: &mut TcpStream) -> io::Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    loop {
        if let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") {
            let rest = bytes.split_off(end + 4);
            return Ok((String::from_utf8_lossy(&bytes).into_owned(), rest));
        }
        if bytes.len() >= MAX_HEAD_BYTES || stream.read_buf(&mut bytes).await? == 0 {
            return Err(io::ErrorKind::InvalidData.into());
        }
    }
}

/// Parses a head: `CONNECT HOST:PORT`, or a request whose target is a complete `http` URL (RFC
/// 9112, 3.2).
fn asked(head: &str) -> Option<Asked> {
    let (line, headers) = head.split_once("\r\n")?;
    let [method, target, version] = line.split(' ').collect::<Vec<_>>().try_into().ok()?;
    if method == "CONNECT" {
        return Some(Asked { origin: Origin::at(true, target)?, first: Vec::new() });
    }
    let origin = Origin::of(target).filter(|origin| !origin.is_https)?;
    let (_, rest) = target.split_once("://")?;
    let path = rest.find(['/', '?']).map_or("/", |at| &rest[at..]);
    let slash = if path.starts_with('/') { "" } else { "/" };
    let first = once(&format!("{method} {slash}{path} {version}\r\n{headers}"));
    Some(Asked { origin, first: first.into_bytes() })
}

/// Returns a head that closes the connection after its message.
fn once(head: &str) -> String {
    let is_of_the_message = |header: &&str| {
        let name = header.split(':').next().unwrap_or_default().to_ascii_lowercase();
        !matches!(
            name.as_str(),
            "connection" | "proxy-connection" | "proxy-authorization" | "keep-alive"
        )
    };
    let kept = head.trim_end().split("\r\n").filter(is_of_the_message);
    kept.chain(["Connection: close", "", ""]).collect::<Vec<_>>().join("\r\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_origin_is_a_scheme_a_host_and_a_port() {
        let origin =
            |is_https, host: &str, port| Some(Origin { is_https, host: host.into(), port });
        assert_eq!(Origin::of("https://R.example/npm/"), origin(true, "r.example", 443));
        assert_eq!(Origin::of("http://127.0.0.1:4873"), origin(false, "127.0.0.1", 4873));
        assert_eq!(Origin::of("http://[::1]:80/"), origin(false, "::1", 80));
        assert_eq!(
            Origin::of("http://127.0.0.1:4873@evil.example/"),
            origin(false, "evil.example", 80)
        );
        assert_eq!(
            Origin::of("http://evil.example\\@127.0.0.1:4873/"),
            origin(false, "evil.example", 80)
        );
        for none in ["ftp://a/", "a", "http://", "http://a:99999/", "http://a:b/"] {
            assert_eq!(Origin::of(none), None, "{none}");
        }
    }

    #[test]
    fn a_request_is_for_where_its_target_says_whatever_its_headers_say() {
        let asked = asked(
            "GET http://a.example:81/x?y HTTP/1.1\r\nHost: b.example\r\nProxy-Connection: keep-alive\r\nConnection: keep-alive\r\n\r\n",
        )
        .unwrap();
        assert_eq!(asked.origin, Origin { is_https: false, host: "a.example".into(), port: 81 });
        assert_eq!(
            asked.first,
            b"GET /x?y HTTP/1.1\r\nHost: b.example\r\nConnection: close\r\n\r\n"
        );
        for none in [
            "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET https://a/ HTTP/1.1\r\n\r\n",
            "CONNECT / HTTP/1.1\r\n\r\n",
            "\r\n\r\n",
        ] {
            assert!(super::asked(none).is_none_or(|asked| asked.origin.host == "/"), "{none:?}");
        }
    }
}
