//! `belljar serve`: puts the server together and runs it until it is told to stop.

use std::io::Write;
use std::net::SocketAddr;
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

use crate::home;
use crate::packages;
use crate::server_config::ServerConfig;
use crate::service_arguments::ServeArguments;
use crate::telemetry::Telemetry;

/// Serves one home.
pub fn run(arguments: ServeArguments) -> anyhow::Result<ExitCode> {
    // Whatever the mode of the home: what is made in it is this user's alone.
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let home = home::home()?;
    let config = ServerConfig::read(&home, &arguments)?;
    // Every TLS of this process, in and out, uses the one provider that is built in.
    if rustls::crypto::ring::default_provider().install_default().is_err() {
        anyhow::bail!("the cryptography was set up already");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().context("starting the async runtime")?;
    runtime.block_on(async {
        let telemetry = Telemetry::start(&config.telemetry)?;
        let served = serve(&home, &config, &telemetry).await;
        telemetry.end();
        served.map(|()| ExitCode::SUCCESS)
    })
}

async fn serve(home: &std::path::Path, config: &ServerConfig, telemetry: &Telemetry) -> anyhow::Result<()> {
    let mut engine_config = EngineConfig::from_env().map_err(|error| anyhow::anyhow!("{error}; {}", error.hint()))?;
    engine_config.parked = config.parked;
    engine_config.allow_degraded = config.allow_degraded;
    engine_config.protected = home::protected();
    engine_config.protected.extend(config.protected());
    let engine = Engine::new(engine_config.clone())?;
    let environments = packages::environments(&engine, &engine_config, &config.environments)?;
    let service = Service::open(home.to_owned(), config.service(), engine, environments)
        .await
        .map_err(|error| anyhow::anyhow!("the server cannot use its home {}: {error}", home.display()))?;
    let socket = home.join("server.sock");
    let mut listeners = vec![
        Listener::operator(&socket)
            .with_context(|| format!("cannot listen on {}; see that this user may write there", socket.display()))?,
    ];
    let tls = config.tls.as_ref().map(|tls| Tls::open(&tls.certificates, &tls.key)).transpose()?;
    let scheme = if tls.is_some() { "https" } else { "http" };
    let ports = bind(&config.addresses()?).await?;
    let bound = ports.first().map(TcpListener::local_addr).transpose()?;
    listeners.extend(ports.into_iter().map(|port| Listener::Tcp(port, tls.clone())));
    let first = service.first_start().await?;
    announce(home, scheme, bound, first.as_ref())?;
    tell_systemd("READY=1");
    let routes = belljar_api::routes(State { service: service.clone(), metrics: telemetry.metrics.clone() });
    let stopping = async {
        until_told_to_stop().await;
        tell_systemd("STOPPING=1");
        tracing::info!("stopping: runs under way may end");
        // Those who watch a run hear of its end before their connections are closed.
        service.stop().await;
    };
    let times =
        ConnectionTimes { keep_alive: Duration::from_millis(config.keep_alive_ms.0), unread: Duration::from_millis(config.unread_ms.0) };
    belljar_api::serve(routes, listeners, times, stopping).await;
    let _ = std::fs::remove_file(socket);
    Ok(())
}

/// Listens on all of these, on one port. Of several addresses those are left out that the machine does not have: not
/// every one has IPv6.
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
                return Err(error).with_context(|| {
                    format!("cannot listen on {address}; stop what listens there, or choose another address with --listen")
                });
            }
        }
    }
    Ok(ports)
}

/// Whether the machine has the address that could not be listened on.
fn has_address(error: &std::io::Error) -> bool {
    let errno = rustix::io::Errno::from_io_error(error);
    !matches!(errno, Some(rustix::io::Errno::ADDRNOTAVAIL | rustix::io::Errno::AFNOSUPPORT))
}

async fn until_told_to_stop() {
    let (Ok(mut terminated), Ok(mut interrupted)) = (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminated.recv() => {}
        _ = interrupted.recv() => {}
    }
}

/// Says on standard output where the server is, and at the first start how to use it.
fn announce(home: &std::path::Path, scheme: &str, bound: Option<SocketAddr>, first: Option<&IssuedToken>) -> anyhow::Result<()> {
    let mut out = std::io::stdout().lock();
    let url = bound.map(|address| format!("{scheme}://{address}"));
    match &url {
        Some(url) => writeln!(out, "belljar is ready on {url}, with its home in {}", home.display())?,
        None => writeln!(out, "belljar is ready on the socket in its home {}", home.display())?,
    }
    if let Some(IssuedToken { token, .. }) = first {
        writeln!(
            out,
            "\nThis is its first start. There is a project, `default`, and a token for it, which is shown this once:\n\n  {token}\n"
        )?;
        if let Some(url) = url {
            let body = r#"{"language": "javascript", "code": "1 + 1", "wait": true}"#;
            writeln!(
                out,
                "Try it:\n\n  curl -s {url}/v1/runs -H 'Authorization: Bearer {token}' -H 'Content-Type: application/json' -d '{body}'\n"
            )?;
            writeln!(out, "The API is described at {url}/docs.")?;
        }
    }
    out.flush()?;
    Ok(())
}

/// `sd_notify(3)`. Nobody listens where it was not systemd that started us.
fn tell_systemd(state: &str) {
    let Some(path) = std::env::var_os("NOTIFY_SOCKET") else { return };
    let Ok(socket) = UnixDatagram::unbound() else { return };
    let path = std::path::PathBuf::from(path);
    let sent = match path.to_str().and_then(|text| text.strip_prefix('@')) {
        Some(name) => {
            use std::os::linux::net::SocketAddrExt;
            std::os::unix::net::SocketAddr::from_abstract_name(name).and_then(|address| socket.send_to_addr(state.as_bytes(), &address))
        }
        None => socket.send_to(state.as_bytes(), &path),
    };
    if let Err(error) = sent {
        tracing::warn!(%error, "systemd could not be told");
    }
}
