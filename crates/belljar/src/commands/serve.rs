//! `belljar serve`: builds the server and runs it until a signal stops it.

use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::unix::net::UnixDatagram;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use belljar_api::{ConnectionTimes, Listener, State, Tls};
use belljar_engine::{Engine, EngineConfig};
use belljar_protocol::IssuedToken;
use belljar_service::Service;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};

use crate::hint::WithHint;
use crate::home;
use crate::packages;
use crate::server_config::ServerConfig;
use crate::service_arguments::ServeArguments;
use crate::telemetry::Telemetry;

/// Runs `belljar serve`.
pub fn run(arguments: ServeArguments) -> anyhow::Result<ExitCode> {
    // New files in the home are private, whatever the mode of the home itself.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let home = home::home()?;
    let config = ServerConfig::read(&home, &arguments)?;
    // All TLS connections of this process, in both directions, use the one built-in provider.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("the TLS provider is already installed");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        let telemetry = Telemetry::start(&config.telemetry)?;
        let served = serve(&home, &config, &telemetry).await;
        telemetry.end();
        served.map(|()| ExitCode::SUCCESS)
    })
}

async fn serve(
    home: &std::path::Path,
    config: &ServerConfig,
    telemetry: &Telemetry,
) -> anyhow::Result<()> {
    let mut engine_config = EngineConfig::from_env()?;
    engine_config.parked = config.parked;
    engine_config.allow_degraded = config.allow_degraded;
    engine_config.protected = home::protected();
    engine_config.protected.extend(config.protected());
    let engine = Engine::new(engine_config.clone())?;
    // Before it listens: a server that refuses every run is not ready.
    engine.check_isolation().await.context("every run would be refused on this machine")?;
    let environments = packages::environments(&engine, &engine_config, &config.environments)?;
    let service = Service::open(home.to_owned(), config.service(), engine, environments)
        .await
        .with_context(|| format!("the server cannot use its home `{}`", home.display()))?;
    let socket = home.join("server.sock");
    let operator = Listener::operator(&socket)
        .with_context(|| format!("cannot listen on `{}`", socket.display()))
        .hint("make the folder writable for this user")?;
    let mut listeners = vec![operator];
    let tls = config.tls.as_ref().map(|tls| Tls::open(&tls.certificates, &tls.key)).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let ports = bind(&config.addresses()?).await?;
    let bound = ports.first().map(TcpListener::local_addr).transpose()?;
    listeners.extend(ports.into_iter().map(|port| Listener::Tcp(port, tls.clone())));
    let first = service.access().first_start().await?;
    announce(home, scheme, bound, first.as_ref())?;
    if let Some(address) = bound.filter(|address| tls.is_none() && !address.ip().is_loopback()) {
        tracing::warn!(
            "plain HTTP on {address}: others on the network can read tokens and programs; set \
             --tls-certificates and --tls-key, or listen on 127.0.0.1 behind a proxy with TLS"
        );
    }
    notify_systemd("READY=1");
    let routes =
        belljar_api::routes(State { service: service.clone(), metrics: telemetry.metrics.clone() });
    let stopping = async {
        until_stopped().await;
        notify_systemd("STOPPING=1");
        tracing::info!("stopping: waiting for running programs to end");
        // Clients that follow a run receive its end before their connections are closed.
        service.stop().await;
    };
    let times = ConnectionTimes {
        keep_alive: Duration::from_millis(config.keep_alive_ms.0),
        unread: Duration::from_millis(config.unread_ms.0),
    };
    belljar_api::serve(routes, listeners, times, stopping).await;
    let _ = std::fs::remove_file(socket);
    Ok(())
}

/// Listens on all addresses with the same port. Addresses after the first are skipped if the
/// machine does not have them: not every machine has IPv6.
async fn bind(addresses: &[SocketAddr]) -> anyhow::Result<Vec<TcpListener>> {
    let mut ports: Vec<TcpListener> = Vec::new();
    for &(mut address) in addresses {
        if let Some(first) = ports.first() {
            address.set_port(first.local_addr()?.port());
        }
        match TcpListener::bind(address).await {
            Ok(port) => ports.push(port),
            Err(error) if !ports.is_empty() && !has_address(&error) => {}
            Err(error) => {
                return Err(error)
                    .with_context(|| format!("cannot listen on {address}"))
                    .hint("stop the process that listens there, or set another with --listen");
            }
        }
    }
    Ok(ports)
}

/// Returns whether the machine has the address on which listening failed.
fn has_address(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    !matches!(errno, Some(rustix::io::Errno::ADDRNOTAVAIL | rustix::io::Errno::AFNOSUPPORT))
}

async fn until_stopped() {
    let (Ok(mut terminated), Ok(mut interrupted)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
}

/// Returns an address at which this machine reaches the server, which may listen on all addresses.
fn reachable(address: SocketAddr) -> SocketAddr {
    let loopback: IpAddr = match address.ip() {
        IpAddr::V4(ip) if ip.is_unspecified() => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(ip) if ip.is_unspecified() => Ipv6Addr::LOCALHOST.into(),
        ip => ip,
    };
    SocketAddr::new(loopback, address.port())
}

/// Prints the URL of the server on standard output, and on the first start how to use it.
fn announce(
    home: &std::path::Path,
    scheme: &str,
    bound: Option<SocketAddr>,
    first: Option<&IssuedToken>,
) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let url = bound.map(|address| format!("{scheme}://{}", reachable(address)));
    match &url {
        Some(url) => {
            let all = bound.filter(|address| address.ip().is_unspecified());
            let all =
                all.map_or_else(String::new, |address| format!(" (all addresses: {address})"));
            writeln!(out, "belljar is ready on {url}, with its home in {}{all}", home.display())?;
        }
        None => writeln!(out, "belljar is ready on the socket in its home {}", home.display())?,
    }
    if let Some(IssuedToken { token, .. }) = first {
        writeln!(
            out,
            "\nThis is the first start. It created the project `default` and a token for it, which \
             is never shown again:\n\n  {token}\n"
        )?;
        if let Some(url) = url {
            let body = r#"{"language": "javascript", "code": "1 + 1", "wait": true}"#;
            writeln!(
                out,
                "Try it:\n\n  curl -s {url}/v1/runs -H 'Authorization: Bearer {token}' \
                 -H 'Content-Type: application/json' -d '{body}'\n"
            )?;
            writeln!(out, "The API is documented at {url}/docs.")?;
        }
    }
    out.flush()?;
    Ok(())
}

/// Sends a state to systemd, as `sd_notify(3)` does, if systemd started this process.
fn notify_systemd(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let path = std::path::PathBuf::from(path);
    let sent = match path.to_str().and_then(|text| text.strip_prefix('@')) {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            std::os::unix::net::SocketAddr::from_abstract_name(name)
                .and_then(|address| socket.send_to_addr(state.as_bytes(), &address))
        }
        None => socket.send_to(state.as_bytes(), &path),
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "cannot notify systemd");
    }
}
