//! Where requests come from: a TCP port, with TLS or without, and the home's own socket. Bounds what a connection may cost before there is a request.

use std::fs;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::GracefulShutdown;
use hyper_util::service::TowerToHyperService;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::Semaphore;
use tokio_rustls::TlsAcceptor;
use tower::Layer;

use crate::headers::MAX_HEADER_BYTES;
use crate::unread::Moving;

/// How long a TLS handshake may take.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// Headers of a request.
const MOST_HEADERS: usize = 100;
/// Connections at one time; further ones wait to be accepted.
const MOST_CONNECTIONS: usize = 8192;
/// How long connections may take to finish what they are at when the server stops.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// Where a request came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// Over the home's own socket, by the user that the server runs as, or by root.
    Operator,
    /// From an address.
    Address(SocketAddr),
    /// From nowhere that is known: a router that is called directly.
    Unknown,
}

impl Origin {
    /// Where the request of these extensions came from.
    pub(crate) fn of(extensions: &axum::http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or(Self::Unknown)
    }

    /// As it stands in the audit trail.
    pub(crate) fn source(&self) -> Option<String> {
        match self {
            Self::Operator => Some("socket".to_owned()),
            Self::Address(address) => Some(address.ip().to_string()),
            Self::Unknown => None,
        }
    }
}

/// Certificates and key of a server.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// Why certificates could not be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file could not be read as PEM.
    #[error("{}: {error}", path.display())]
    Pem {
        /// Which.
        path: PathBuf,
        /// Why not.
        error: rustls::pki_types::pem::Error,
    },
    /// They do not go together.
    #[error("the certificate and the key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates and its key, PEM.
    pub fn open(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |error| TlsError::Pem { path, error }
        };
        let chain =
            CertificateDer::pem_file_iter(certificates).and_then(Iterator::collect::<Result<Vec<_>, _>>).map_err(pem(certificates))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// Where a server listens.
#[derive(Debug)]
pub enum Listener {
    /// On a port.
    Tcp(TcpListener, Option<Tls>),
    /// On the home's own socket.
    Operator(UnixListener),
}

impl Listener {
    /// Opens the home's own socket, for this user alone. Whoever calls holds the home: a socket that is there already was left by a server that died.
    pub fn operator(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // The folder is this user's alone, so nobody can connect before the mode is set.
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self::Operator(listener))
    }
}

/// The time that connections are given.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimes {
    /// How long a connection may stay idle, and the headers of a request may take to arrive. Longer than the 60 s after
    /// which the usual proxies close theirs: whichever end closes first, the other may be sending a request already.
    pub keep_alive: Duration,
    /// How long a client may take nothing of its answer.
    pub unread: Duration,
}

/// Serves requests from all of these until `stop` is done; then those that are being answered have a few seconds to end.
pub async fn serve(routes: Router, listeners: Vec<Listener>, times: ConnectionTimes, stop: impl Future<Output = ()>) {
    let graceful = Arc::new(GracefulShutdown::new());
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            // Each its own: those who fill the port do not lock the operator out.
            let places = Arc::new(Semaphore::new(MOST_CONNECTIONS));
            let server = Server { routes: routes.clone(), times, graceful: Arc::clone(&graceful) };
            tokio::spawn(accept(listener, server, places))
        })
        .collect();
    stop.await;
    for task in &accepting {
        task.abort();
    }
    for task in accepting {
        // Aborted, or over already: either way nothing more is accepted.
        let _ = task.await;
    }
    if let Ok(graceful) = Arc::try_unwrap(graceful) {
        let _ = tokio::time::timeout(CLOSE_TIME, graceful.shutdown()).await;
    }
}

/// What each connection is given.
struct Server {
    routes: Router,
    times: ConnectionTimes,
    graceful: Arc<GracefulShutdown>,
}

async fn accept(listener: Listener, server: Server, places: Arc<Semaphore>) {
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let accepted = match &listener {
            Listener::Tcp(tcp, tls) => tcp.accept().await.map(|(stream, address)| {
                // Small answers must not wait for one another.
                let _ = stream.set_nodelay(true);
                match tls {
                    None => start(stream, Origin::Address(address), &server, place),
                    Some(tls) => start_tls(tls.clone(), stream, Origin::Address(address), &server, place),
                }
            }),
            Listener::Operator(socket) => socket.accept().await.map(|(stream, _)| {
                // Its mode says the same; a descriptor that was handed on does not.
                let is_ours = stream.peer_cred().is_ok_and(|peer| peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw());
                if is_ours {
                    start(stream, Origin::Operator, &server, place);
                }
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "a connection could not be accepted");
            // Out of descriptors, most likely: it will not be better at once.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn start_tls(tls: Tls, stream: tokio::net::TcpStream, origin: Origin, server: &Server, place: tokio::sync::OwnedSemaphorePermit) {
    let (routes, times, watcher) = (server.routes.clone(), server.times, server.graceful.watcher());
    tokio::spawn(async move {
        match tokio::time::timeout(HANDSHAKE_TIME, tls.0.accept(Moving::new(stream, times.unread, place))).await {
            Ok(Ok(stream)) => {
                let connection = watcher.watch(connection(stream, origin, routes, times.keep_alive));
                let _ = connection.await;
            }
            Ok(Err(error)) => tracing::debug!(%error, "a TLS handshake failed"),
            Err(_) => tracing::debug!("a TLS handshake took too long"),
        }
    });
}

fn start<S>(stream: S, origin: Origin, server: &Server, place: tokio::sync::OwnedSemaphorePermit)
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let ConnectionTimes { keep_alive, unread } = server.times;
    let connection = connection(Moving::new(stream, unread, place), origin, server.routes.clone(), keep_alive);
    let connection = server.graceful.watch(connection);
    tokio::spawn(async move {
        let connection = pin!(connection);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection broke");
        }
    });
}

/// A router that tells each request where it came from.
type Routes = <axum::Extension<Origin> as Layer<Router>>::Service;

fn connection<S>(
    stream: S,
    origin: Origin,
    routes: Router,
    keep_alive: Duration,
) -> http1::Connection<TokioIo<S>, TowerToHyperService<Routes>>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let service = TowerToHyperService::new(axum::Extension(origin).layer(routes));
    http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(keep_alive)
        .max_headers(MOST_HEADERS)
        // A bound on memory: one read may bring twice as much. `headers` counts.
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}
