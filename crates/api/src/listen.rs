//! Listeners for requests: a TCP port, with or without TLS, and the operator's socket in the home.
//! They limit the cost of a connection before there is a request.

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
use crate::stalled_readers::ReadInTime;

/// The maximum duration of a TLS handshake.
const HANDSHAKE_TIME: Duration = Duration::from_secs(10);
/// The maximum number of headers of a request.
const MAX_HEADERS: usize = 100;
/// The maximum number of connections of a listener. Further ones wait to be accepted.
const MAX_CONNECTIONS: usize = 8192;
/// The time that connections have to finish their requests when the server stops.
const CLOSE_TIME: Duration = Duration::from_secs(5);

/// The origin of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Origin {
    /// The operator's socket in the home, used by the user that the server runs as, or by root.
    Operator,
    /// A network address.
    Address(SocketAddr),
    /// An unknown origin, of a router that is called directly.
    Unknown,
}

impl Origin {
    /// Returns the origin that is recorded in the extensions of a request.
    pub(crate) fn of(extensions: &axum::http::Extensions) -> Self {
        extensions.get::<Self>().cloned().unwrap_or(Self::Unknown)
    }

    /// Returns the source for the audit trail.
    pub(crate) fn source(&self) -> Option<String> {
        match self {
            Self::Operator => Some("socket".to_owned()),
            Self::Address(address) => Some(address.ip().to_string()),
            Self::Unknown => None,
        }
    }
}

/// The certificates and the key of a server.
#[derive(Clone)]
pub struct Tls(TlsAcceptor);

impl std::fmt::Debug for Tls {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tls(..)")
    }
}

/// An error of certificates and keys.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read as PEM.
    #[error("{}: {error}", path.display())]
    Pem {
        /// The path of the file.
        path: PathBuf,
        /// The failure of the file system or of the parser.
        error: rustls::pki_types::pem::Error,
    },
    /// The certificates and the key do not match.
    #[error("the certificate and the key cannot be used: {0}")]
    Rustls(#[from] rustls::Error),
}

impl Tls {
    /// Reads a chain of certificates and its key from PEM files.
    pub fn open(certificates: &Path, key: &Path) -> Result<Self, TlsError> {
        let pem = |path: &Path| {
            let path = path.to_owned();
            move |error| TlsError::Pem { path, error }
        };
        let chain = CertificateDer::pem_file_iter(certificates)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(pem(certificates))?;
        let key = PrivateKeyDer::from_pem_file(key).map_err(pem(key))?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_single_cert(chain, key)?;
        Ok(Self(TlsAcceptor::from(Arc::new(config))))
    }
}

/// A socket that a server listens on.
#[derive(Debug)]
pub enum Listener {
    /// A TCP port, with or without TLS.
    Tcp(TcpListener, Option<Tls>),
    /// The operator's socket in the home.
    Operator(UnixListener),
}

impl Listener {
    /// Opens the operator's socket, for this user only. The caller has locked the home, so an
    /// existing socket was left by a server that died.
    pub fn operator(path: &Path) -> io::Result<Self> {
        match fs::remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
        // Only this user can access the folder, so no one else can connect before the mode is set.
        let listener = UnixListener::bind(path)?;
        fs::set_permissions(path, fs::Permissions::from_mode(0o600))?;
        Ok(Self::Operator(listener))
    }
}

/// The timeouts of connections.
#[derive(Clone, Copy, Debug)]
pub struct ConnectionTimes {
    /// The time that a connection may stay idle, and that the headers of a request may take to
    /// arrive. It is longer than the 60 s after which common proxies close their connections:
    /// whichever end closes first, the other may already be sending a request.
    pub keep_alive: Duration,
    /// The time that a client may read nothing of its answer.
    pub unread: Duration,
}

/// Serves requests from all listeners until `stop` completes. Requests that are still being
/// answered then have 5 s to finish.
pub async fn serve(
    routes: Router,
    listeners: Vec<Listener>,
    times: ConnectionTimes,
    stop: impl Future<Output = ()>,
) {
    let graceful = Arc::new(GracefulShutdown::new());
    let accepting: Vec<_> = listeners
        .into_iter()
        .map(|listener| {
            // Each listener has a limit of its own, so that clients that use up the port do not
            // lock out the operator.
            let places = Arc::new(Semaphore::new(MAX_CONNECTIONS));
            let server = Server { routes: routes.clone(), times, graceful: Arc::clone(&graceful) };
            tokio::spawn(accept(listener, server, places))
        })
        .collect();
    stop.await;
    for task in &accepting {
        task.abort();
    }
    for task in accepting {
        // The task was aborted or has ended: either way, it accepts no more connections.
        let _ = task.await;
    }
    if let Ok(graceful) = Arc::try_unwrap(graceful) {
        let _ = tokio::time::timeout(CLOSE_TIME, graceful.shutdown()).await;
    }
}

/// The parts of the server that each connection uses.
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
                // Small answers must not wait for each other (Nagle's algorithm).
                let _ = stream.set_nodelay(true);
                match tls {
                    None => start(stream, Origin::Address(address), &server, place),
                    Some(tls) => {
                        start_tls(tls.clone(), stream, Origin::Address(address), &server, place);
                    }
                }
            }),
            Listener::Operator(socket) => socket.accept().await.map(|(stream, _)| {
                // The mode of the socket allows the same users, but a descriptor that was passed on
                // does not.
                let is_ours = stream.peer_cred().is_ok_and(|peer| {
                    peer.uid() == 0 || peer.uid() == rustix::process::geteuid().as_raw()
                });
                if is_ours {
                    start(stream, Origin::Operator, &server, place);
                }
            }),
        };
        if let Err(error) = accepted {
            tracing::warn!(%error, "a connection could not be accepted");
            // The process is probably out of descriptors, which takes a while to change.
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn start_tls(
    tls: Tls,
    stream: tokio::net::TcpStream,
    origin: Origin,
    server: &Server,
    place: tokio::sync::OwnedSemaphorePermit,
) {
    let (routes, times, watcher) = (server.routes.clone(), server.times, server.graceful.watcher());
    tokio::spawn(async move {
        match tokio::time::timeout(
            HANDSHAKE_TIME,
            tls.0.accept(ReadInTime::new(stream, times.unread, place)),
        )
        .await
        {
            Ok(Ok(stream)) => {
                let connection =
                    watcher.watch(connection(stream, origin, routes, times.keep_alive));
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
    let connection = connection(
        ReadInTime::new(stream, unread, place),
        origin,
        server.routes.clone(),
        keep_alive,
    );
    let connection = server.graceful.watch(connection);
    tokio::spawn(async move {
        let connection = pin!(connection);
        if let Err(error) = connection.await {
            tracing::debug!(%error, "a connection broke");
        }
    });
}

/// A router that records the origin of each request.
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
        .max_headers(MAX_HEADERS)
        // A limit on memory: a single read may return twice as much. The limit on headers is
        // checked in `headers`.
        .max_buf_size(MAX_HEADER_BYTES)
        .serve_connection(TokioIo::new(stream), service)
}
