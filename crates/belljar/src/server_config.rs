//! `belljar.toml`, what the environment says over it, and what the flags say over that.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use belljar_engine::Protected;
use belljar_objects::ObjectsConfig;
use belljar_protocol::{Millis, PackagePolicy};
use belljar_service::{CallbackConfig, Durability, RunConfig, ServiceConfig};
use serde::Deserialize;

use crate::environment_settings::EnvironmentSettings;
use crate::service_arguments::ServeArguments;

/// Where a server listens when nobody says.
const LISTEN: &str = "127.0.0.1:8411";

/// All that an operator can set. `docs/reference/configuration.md` shows it with its defaults.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// Where it listens: an address or `localhost`, and a port; nowhere but on its socket when empty.
    pub listen: String,
    /// Certificates and key. Without, it speaks plain HTTP.
    pub tls: Option<TlsConfig>,
    /// How long a client may take nothing of its answer; then its connection is closed.
    pub unread_ms: Millis,
    /// How long a connection may stay idle between requests.
    pub keep_alive_ms: Millis,
    /// Sandboxes kept parked for each kind of run that has been seen lately.
    pub parked: usize,
    /// Go on where a layer of isolation is missing, and say so in each outcome.
    pub allow_degraded: bool,
    /// What a commit survives.
    pub durability: Durability,
    /// Of runs.
    pub runs: RunConfig,
    /// Where the contents of objects are.
    pub objects: Option<ObjectsConfig>,
    /// What of packages runs may have.
    pub packages: PackagePolicy,
    /// What their environments may use.
    pub environments: EnvironmentSettings,
    /// Of callbacks.
    pub callbacks: CallbackConfig,
    /// What it tells about itself.
    pub telemetry: TelemetryConfig,
    /// The file that all this was read from.
    #[serde(skip)]
    file: Option<PathBuf>,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            listen: LISTEN.to_owned(),
            tls: None,
            unread_ms: Millis(60_000),
            keep_alive_ms: Millis(75_000),
            parked: 4,
            allow_degraded: false,
            durability: Durability::default(),
            runs: RunConfig::default(),
            objects: None,
            packages: PackagePolicy::default(),
            environments: EnvironmentSettings::default(),
            callbacks: CallbackConfig::default(),
            telemetry: TelemetryConfig::default(),
            file: None,
        }
    }
}

/// Certificates and key, PEM files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain, the server's own first.
    pub certificates: PathBuf,
    /// Its key.
    pub key: PathBuf,
}

/// What a server tells about itself.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// What is logged, as in `info` or `warn,belljar_service=debug`.
    pub log: String,
    /// How.
    pub format: LogFormat,
    /// Where traces are sent, by OTLP over HTTP: `http://127.0.0.1:4318`.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Text, otlp_endpoint: None }
    }
}

/// How a log line is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// For people.
    Text,
    /// An object a line.
    Json,
}

impl ServerConfig {
    /// The file that is named, else `belljar.toml` in the home, else `/etc/belljar/belljar.toml`, else the defaults; then `BELLJAR_*`; then the flags.
    pub fn read(home: &Path, arguments: &ServeArguments) -> anyhow::Result<Self> {
        let mut config: Self = match Self::file(home, arguments.config.as_deref()) {
            Some(path) => {
                let text = fs::read_to_string(&path).with_context(|| format!("cannot read the configuration {}", path.display()))?;
                let config: Self = toml::from_str(&text)
                    .map_err(|error| anyhow::anyhow!("the configuration {} cannot be used: {error}", path.display()))?;
                Self { file: Some(path), ..config }
            }
            None => Self::default(),
        };
        let set = |name| env::var(name).ok().filter(|value| !value.is_empty());
        if let Some(listen) = set("BELLJAR_LISTEN") {
            config.listen = listen;
        }
        if let Some(log) = set("BELLJAR_LOG") {
            config.telemetry.log = log;
        }
        if let Some(endpoint) = set("OTEL_EXPORTER_OTLP_ENDPOINT") {
            config.telemetry.otlp_endpoint = Some(endpoint);
        }
        if let Some(listen) = &arguments.listen {
            config.listen.clone_from(listen);
        }
        config.tls = match (&arguments.tls_certificates, &arguments.tls_key) {
            (Some(certificates), Some(key)) => Some(TlsConfig { certificates: certificates.clone(), key: key.clone() }),
            (None, None) => config.tls,
            _ => bail!("--tls-certificates and --tls-key go together; give both"),
        };
        config.allow_degraded |= arguments.allow_degraded;
        Ok(config)
    }

    /// Only this much of it, for commands that use a home without serving it.
    pub fn of_home(home: &Path, file: Option<&Path>) -> anyhow::Result<Self> {
        Self::read(home, &ServeArguments { config: file.map(Path::to_owned), ..ServeArguments::default() })
    }

    fn file(home: &Path, named: Option<&Path>) -> Option<PathBuf> {
        if let Some(named) = named {
            return Some(named.to_owned());
        }
        if let Some(named) = env::var_os("BELLJAR_CONFIG").filter(|value| !value.is_empty()) {
            return Some(PathBuf::from(named));
        }
        let usual = [home.join("belljar.toml"), PathBuf::from("/etc/belljar/belljar.toml")];
        usual.into_iter().find(|path| path.exists())
    }

    /// What no run may be granted, besides the home: the file with its logins, its key, and everybody's objects.
    pub fn protected(&self) -> Vec<Protected> {
        let file = self.file.clone().map(|path| Protected { what: "the server's configuration", path });
        let key = self.tls.as_ref().map(|tls| Protected { what: "the server's key", path: tls.key.clone() });
        let objects = match &self.objects {
            Some(ObjectsConfig::Directory { path, .. }) => {
                Some(Protected { what: "the folder of the server's objects", path: path.clone() })
            }
            _ => None,
        };
        [file, key, objects].into_iter().flatten().collect()
    }

    /// The addresses that it listens on, if any: of `localhost` those of both families, IPv4 first.
    pub fn addresses(&self) -> anyhow::Result<Vec<SocketAddr>> {
        if self.listen.is_empty() {
            return Ok(Vec::new());
        }
        if let Ok(address) = self.listen.parse() {
            return Ok(vec![address]);
        }
        let port = self.listen.rsplit_once(':').and_then(|(host, port)| {
            let is_localhost = host.trim_end_matches('.').eq_ignore_ascii_case("localhost");
            port.parse::<u16>().ok().filter(|_| is_localhost)
        });
        let port = port.with_context(|| {
            format!("`{}` is not an address to listen on; write 127.0.0.1:8411, localhost:8411 or [::]:8411", self.listen)
        })?;
        let families = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        Ok(families.map(|address| SocketAddr::new(address, port)).to_vec())
    }

    /// What the service needs of it.
    pub fn service(&self) -> ServiceConfig {
        ServiceConfig {
            durability: self.durability,
            runs: self.runs.clone(),
            objects: self.objects.clone(),
            packages: self.packages.clone(),
            callbacks: self.callbacks.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listening_on(listen: &str) -> Result<Vec<String>, String> {
        let config = ServerConfig { listen: listen.to_owned(), ..ServerConfig::default() };
        let addresses = config.addresses().map_err(|error| error.to_string())?;
        Ok(addresses.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn idle_connections_are_kept_longer_than_the_usual_proxies_keep_them() {
        assert!(ServerConfig::default().keep_alive_ms.0 > 60_000);
    }

    #[test]
    fn localhost_is_both_of_its_addresses_and_other_names_are_refused() {
        for listen in ["localhost:8411", "LocalHost:8411", "localhost.:8411"] {
            assert_eq!(listening_on(listen).unwrap(), ["127.0.0.1:8411", "[::1]:8411"]);
        }
        assert_eq!(listening_on("[::1]:0").unwrap(), ["[::1]:0"]);
        assert!(listening_on("").unwrap().is_empty());
        for wrong in ["localhost", "localhost:", "localhost:99999", ":8411", "example.com:8411", "8411"] {
            assert!(listening_on(wrong).unwrap_err().contains("write 127.0.0.1:8411, localhost:8411"), "{wrong}");
        }
    }
}
