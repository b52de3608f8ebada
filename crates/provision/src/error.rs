//! Errors of finding and fetching runtimes and installers.

use std::borrow::Cow;
use std::io;
use std::path::PathBuf;

use belljar_protocol::Explain;

use crate::version::{OLDEST_PYTHON_MINOR, SUPPORTED_NODES, Version};

/// An error of finding, fetching or verifying a runtime or an installer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The text is not a version.
    #[error("`{text}` is not a version of {language}")]
    UnreadableRequest {
        /// `node` or `python`.
        language: &'static str,
        /// The requested version.
        text: String,
        /// A valid version, for the hint.
        example: &'static str,
    },
    /// Belljar does not support this version of Node.
    #[error("node {version} is not supported: {why}")]
    UnsupportedNode {
        /// The requested version, or the one that was found.
        version: String,
        /// Reason why the version is not supported.
        why: &'static str,
    },
    /// Belljar does not support this version of Python.
    #[error(
        "python {version} is not supported: Belljar needs CPython 3.{OLDEST_PYTHON_MINOR} or newer"
    )]
    UnsupportedPython {
        /// The requested version, or the one that was found.
        version: String,
    },
    /// Nothing is published for this processor, and no jail exists for it.
    #[error("{what} is only available for x86_64 and aarch64, but this machine is {arch}")]
    UnsupportedMachine {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// Rust's name of the architecture.
        arch: &'static str,
    },
    /// The configured program cannot be used.
    #[error("cannot use the configured {what} `{}`: {why}", path.display())]
    Unusable {
        /// `node`, `python`, `uv` or `pnpm`.
        what: &'static str,
        /// The configured path.
        path: PathBuf,
        /// Reason why the program cannot be used.
        why: String,
    },
    /// The configured interpreter has another version than the request.
    #[error("expected version {wanted} of the configured `{}`, found {found}", path.display())]
    OtherVersion {
        /// The configured path.
        path: PathBuf,
        /// The version of the configured interpreter.
        found: Version,
        /// The requested version.
        wanted: String,
    },
    /// The program is not on this machine, and fetching is disabled.
    #[error(
        "{wanted} is neither cached nor on PATH, and fetching is disabled{}",
        found_instead(.passed_over)
    )]
    Offline {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// The requested program and version.
        wanted: String,
        /// The programs that were found instead.
        passed_over: Vec<String>,
    },
    /// The requested Python is not on this machine.
    #[error("{wanted} not found{}", found_instead(.passed_over))]
    NoPython {
        /// The requested version.
        wanted: String,
        /// The interpreters that were found instead.
        passed_over: Vec<String>,
    },
    /// The network or the server failed, even after retries.
    #[error("cannot fetch {url}: {why}")]
    Fetch {
        /// The URL without credentials.
        url: String,
        /// The failure of the connection.
        why: String,
    },
    /// The server answered with an error.
    #[error("cannot fetch {url}: the server answered {status}")]
    Status {
        /// The URL without credentials.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// The file is larger than any genuine one.
    #[error("{url} exceeds the limit of {cap} bytes")]
    TooLarge {
        /// The URL without credentials.
        url: String,
        /// The largest size that is accepted, in bytes.
        cap: u64,
    },
    /// The metadata of a registry, an index or a mirror is invalid.
    #[error("{url} returned invalid metadata: {why}")]
    Metadata {
        /// The URL without credentials.
        url: String,
        /// Description of the invalid part.
        why: String,
    },
    /// The server answered, but does not have the version.
    #[error("{url} does not list {what}")]
    NotListed {
        /// The URL without credentials.
        url: String,
        /// The requested version or file.
        what: String,
    },
    /// The bytes differ from the published ones.
    #[error("the hash of {url} is wrong: expected {expected}, received {actual}")]
    WrongHash {
        /// The URL without credentials.
        url: String,
        /// The pinned or published hash.
        expected: String,
        /// The hash of the received bytes.
        actual: String,
    },
    /// The archive contains something that no genuine package contains.
    #[error("the archive of {what} {version} is rejected: {why}")]
    Archive {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// The fetched version.
        version: Version,
        /// Description of the unexpected content.
        why: String,
    },
    /// The fetched program is genuine, but does not run on this machine.
    #[error("{what} {version} was fetched, but does not run on this machine: {why}")]
    DoesNotRun {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// The fetched version.
        version: Version,
        /// The output of the program, or the failure of the kernel.
        why: String,
    },
    /// The cached program has changed since its installation, and cannot be fetched again.
    #[error("the cached `{}` is rejected: {why}", path.display())]
    Tampered {
        /// The folder in the cache.
        path: PathBuf,
        /// Description of the change.
        why: String,
    },
    /// Other users could put programs into the cache.
    #[error("the cache `{}` is not safe to use: {why}", path.display())]
    UnsafeCache {
        /// The cache folder.
        path: PathBuf,
        /// Reason why the folder is not safe.
        why: &'static str,
    },
    /// There is no folder for the cache.
    #[error(
        "cannot find a cache folder: BELLJAR_CACHE, XDG_CACHE_HOME and HOME are not absolute paths"
    )]
    NoCache,
    /// The cache cannot be read or written.
    #[error("cannot {action} `{}`: {source}", path.display())]
    Cache {
        /// The attempted action.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// The failure of the file system.
        source: io::Error,
    },
    /// The configured certificate authorities cannot be read.
    #[error("cannot read the certificates in `{}`: {why}", path.display())]
    Certificates {
        /// The file or folder.
        path: PathBuf,
        /// Reason why they cannot be read.
        why: String,
    },
}

impl Explain for ProvisionError {
    fn hint(&self) -> Option<Cow<'_, str>> {
        let variable = |what: &str| format!("BELLJAR_{}", what.to_uppercase());
        Some(match self {
            Self::UnreadableRequest { example, .. } => {
                format!("name a version such as {example}").into()
            }
            Self::UnsupportedNode { .. } => format!("use node {SUPPORTED_NODES}").into(),
            Self::UnsupportedPython { .. } | Self::NoPython { .. } => format!(
                "install CPython 3.{OLDEST_PYTHON_MINOR} or newer, set \
                 BELLJAR_PYTHON=/path/to/python3, or set BELLJAR_PYTHON_MIRROR to a mirror of uv's \
                 Pythons"
            )
            .into(),
            Self::UnsupportedMachine { what, .. } => {
                format!("install {what} yourself and set {}=/path/to/{what}", variable(what)).into()
            }
            Self::Unusable { what, .. } => {
                format!("correct {}, or unset it to let Belljar find one", variable(what)).into()
            }
            Self::OtherVersion { found, .. } => {
                format!("request {found}, or remove the configured path").into()
            }
            Self::Offline { what, .. } => format!(
                "enable fetching (unset BELLJAR_OFFLINE, remove --offline), put {what} on PATH, or \
                 set {}=/path/to/{what}",
                variable(what)
            )
            .into(),
            Self::Fetch { .. } => {
                "check the network, HTTPS_PROXY and SSL_CERT_FILE, the registry configured for \
                 npm, the Python index configured for uv and pip, or set BELLJAR_NODE_MIRROR to \
                 another source of Node"
                    .into()
            }
            Self::Status { status: 401 | 403, .. } => {
                "check the registry's token in ~/.npmrc, or the login in the URL of the Python \
                 index"
                    .into()
            }
            Self::Status { status: 404, .. } => {
                "check that this version exists and that the registry or index carries it".into()
            }
            Self::Status { .. } => {
                "try again later, or use another registry (npm_config_registry), Python index \
                 (UV_DEFAULT_INDEX) or mirror of Node (BELLJAR_NODE_MIRROR)"
                    .into()
            }
            Self::NotListed { .. } => {
                "check that this version exists and that the registry or index carries it, or use \
                 another one (npm_config_registry, UV_DEFAULT_INDEX)"
                    .into()
            }
            Self::TooLarge { .. }
            | Self::WrongHash { .. }
            | Self::Archive { .. }
            | Self::Metadata { .. } => {
                "check the server, which, or a proxy before it, serves other bytes than were \
                 published, and do not use them"
                    .into()
            }
            Self::DoesNotRun { what, .. } => format!(
                "use a system with glibc 2.28 or newer and a cache that is not mounted noexec, or \
                 install a {what} for this system and set {}",
                variable(what)
            )
            .into(),
            Self::Tampered { path, .. } => format!(
                "find out who changed it, then remove {} and enable fetching",
                path.display()
            )
            .into(),
            Self::UnsafeCache { path, .. } => format!(
                "make yourself its only owner (chown and chmod 700 {}), or choose another with \
                 BELLJAR_CACHE",
                path.display()
            )
            .into(),
            Self::NoCache => "set BELLJAR_CACHE to an absolute path".into(),
            Self::Cache { .. } => {
                "check its permissions and the free space, or choose another with BELLJAR_CACHE"
                    .into()
            }
            Self::Certificates { .. } => {
                "correct SSL_CERT_FILE, SSL_CERT_DIR, NODE_EXTRA_CA_CERTS, npm's cafile or pip's \
                 cert"
                    .into()
            }
        })
    }
}

impl ProvisionError {
    /// Returns whether another attempt may succeed.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(
            self,
            Self::Fetch { .. } | Self::Status { status: 408 | 425 | 429 | 500..=599, .. }
        )
    }

    /// Returns whether another source may be tried instead. Wrong bytes end the search, because
    /// they must not go unnoticed.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::Status { .. } | Self::NotListed { .. })
    }
}

/// Returns the programs that were found instead of the requested one, in parentheses.
fn found_instead(passed_over: &[String]) -> String {
    if passed_over.is_empty() {
        String::new()
    } else {
        format!(" (found {})", passed_over.join(", "))
    }
}
