//! The configuration of the server: `belljar.toml`, overridden by environment variables, and those
//! by flags.

use std::env;
use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::{Path, PathBuf};

use anyhow::Context;
use belljar_engine::Protected;
use belljar_objects::ObjectsConfig;
use belljar_protocol::{Durability, Millis, PackagePolicy};
use belljar_service::{CallbackConfig, RunConfig, ServiceConfig};
use serde::Deserialize;

use crate::environment_settings::EnvironmentSettings;
use crate::hint::{WithHint, hinted};
use crate::service_arguments::ServeArguments;

/// The default address to listen on.
const LISTEN: &str = "127.0.0.1:8411";

/// All settings of the operator. `docs/reference/configuration.md` lists them with their defaults.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ServerConfig {
    /// The address or `localhost`, and the port, to listen on. If empty, the server listens on its
    /// socket only.
    pub listen: String,
    /// Certificates and key for HTTPS. Without them, the server uses plain HTTP.
    pub tls: Option<TlsConfig>,
    /// The time without reading any of its answer after which a client is disconnected.
    pub unread_ms: Millis,
    /// The time without a request after which a connection is closed.
    pub keep_alive_ms: Millis,
    /// The number of parked sandboxes for each kind of run that was recently requested.
    pub parked: usize,
    /// Whether to run even if a layer of isolation is missing. Each outcome then lists the missing
    /// ones.
    pub allow_degraded: bool,
    /// The kind of crash that a commit survives.
    pub durability: Durability,
    /// The settings of runs.
    pub runs: RunConfig,
    /// The place where the contents of objects are stored.
    pub objects: Option<ObjectsConfig>,
    /// The packages that runs may use.
    pub packages: PackagePolicy,
    /// The limits of environments.
    pub environments: EnvironmentSettings,
    /// The settings of callbacks.
    pub callbacks: CallbackConfig,
    /// The settings of logs and traces.
    pub telemetry: TelemetryConfig,
    /// The file from which the configuration was read.
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

/// The certificates and the key for HTTPS, in PEM files.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    /// The chain of certificates, that of the server first.
    pub certificates: PathBuf,
    /// The private key of the first certificate.
    pub key: PathBuf,
}

/// The settings of logs and traces.
#[derive(Debug, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The filter of the log, such as `info` or `warn,belljar_service=debug`.
    pub log: String,
    /// The format of the log.
    pub format: LogFormat,
    /// The URL to which traces are sent, by OTLP over HTTP, such as `http://127.0.0.1:4318`.
    pub otlp_endpoint: Option<String>,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self { log: "info".to_owned(), format: LogFormat::Text, otlp_endpoint: None }
    }
}

/// The format of a log line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum LogFormat {
    /// Text for human readers.
    Text,
    /// One JSON object for each line.
    Json,
}

impl ServerConfig {
    /// Reads the configuration: the given file, or else `belljar.toml` in the home, or else
    /// `/etc/belljar/belljar.toml`, or else the defaults. `BELLJAR_*` variables override the file,
    /// and flags override both.
    pub fn read(home: &Path, arguments: &ServeArguments) -> anyhow::Result<Self> {
        let mut config: Self = match Self::file(home, arguments.config.as_deref()) {
            Some(path) => {
                let text = fs::read_to_string(&path).with_context(|| {
                    format!("cannot read the configuration `{}`", path.display())
                })?;
                let config: Self = toml::from_str(&text).map_err(|error| {
                    anyhow::anyhow!("the configuration `{}` is invalid: {error}", path.display())
                })?;
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
        if let Some(port) = arguments.port {
            let host = config.listen.rsplit_once(':').map_or("127.0.0.1", |(host, _)| host);
            config.listen = format!("{host}:{port}");
        }
        config.tls = match (&arguments.tls_certificates, &arguments.tls_key) {
            (Some(certificates), Some(key)) => {
                Some(TlsConfig { certificates: certificates.clone(), key: key.clone() })
            }
            (None, None) => config.tls,
            _ => {
                return Err(hinted(
                    "--tls-certificates and --tls-key cannot be used without each other",
                    "set both flags",
                ));
            }
        };
        config.allow_degraded |= arguments.allow_degraded;
        Ok(config)
    }

    /// Reads the configuration for commands that use a home without serving it.
    pub fn of_home(home: &Path, file: Option<&Path>) -> anyhow::Result<Self> {
        Self::read(
            home,
            &ServeArguments { config: file.map(Path::to_owned), ..ServeArguments::default() },
        )
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

    /// Returns the paths that no run may be granted, in addition to the home: the configuration,
    /// which may contain credentials, the key, and the objects of all projects.
    pub fn protected(&self) -> Vec<Protected> {
        let file =
            self.file.clone().map(|path| Protected { what: "the server's configuration", path });
        let key = self
            .tls
            .as_ref()
            .map(|tls| Protected { what: "the server's key", path: tls.key.clone() });
        let objects = match &self.objects {
            Some(ObjectsConfig::Directory { path, .. }) => {
                Some(Protected { what: "the folder of the server's objects", path: path.clone() })
            }
            _ => None,
        };
        [file, key, objects].into_iter().flatten().collect()
    }

    /// Returns the addresses to listen on, if any. For `localhost`, these are the addresses of both
    /// families, IPv4 first.
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
        let port = port
            .with_context(|| format!("`{}` is not an address to listen on", self.listen))
            .hint("write 127.0.0.1:8411, localhost:8411 or [::]:8411")?;
        let families = [IpAddr::V4(Ipv4Addr::LOCALHOST), IpAddr::V6(Ipv6Addr::LOCALHOST)];
        Ok(families.map(|address| SocketAddr::new(address, port)).to_vec())
    }

    /// Returns the settings of the service.
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
    fn idle_connections_are_kept_longer_than_by_common_proxies() {
        assert!(ServerConfig::default().keep_alive_ms.0 > 60_000);
    }

    #[test]
    fn localhost_is_both_of_its_addresses_and_other_names_are_refused() {
        for listen in ["localhost:8411", "LocalHost:8411", "localhost.:8411"] {
            assert_eq!(listening_on(listen).unwrap(), ["127.0.0.1:8411", "[::1]:8411"]);
        }
        assert_eq!(listening_on("[::1]:0").unwrap(), ["[::1]:0"]);
        assert!(listening_on("").unwrap().is_empty());
        for wrong in
            ["localhost", "localhost:", "localhost:99999", ":8411", "example.com:8411", "8411"]
        {
            assert_eq!(
                listening_on(wrong).unwrap_err(),
                format!("`{wrong}` is not an address to listen on")
            );
        }
    }
}
