//! The ways in which a runtime or an installer cannot be had. Each says what and why; [`ProvisionError::hint`] says what to do about it.

use std::io;
use std::path::PathBuf;

use crate::request::{OLDEST_PYTHON_MINOR, Version};

/// Why there is no runtime, or no installer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ProvisionError {
    /// The text names no version.
    #[error("{text:?} is not a version of {language}")]
    UnreadableRequest {
        /// `node` or `python`.
        language: &'static str,
        /// What was asked for.
        text: String,
        /// What could have been asked for.
        example: &'static str,
    },
    /// A Node that Belljar does not run.
    #[error("node {version} is not supported: {why}")]
    UnsupportedNode {
        /// What was asked for or found.
        version: String,
        /// Why not.
        why: &'static str,
    },
    /// A Python that Belljar does not run.
    #[error("python {version} is not supported: Belljar needs CPython 3.{OLDEST_PYTHON_MINOR} or newer")]
    UnsupportedPython {
        /// What was asked for or found.
        version: String,
    },
    /// Nothing is published, and no jail exists, for this processor.
    #[error("this machine is {arch}, and {what} is fetched for x86_64 and aarch64 only")]
    UnsupportedMachine {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// Rust's name of the architecture.
        arch: &'static str,
    },
    /// The program that the configuration names will not do.
    #[error("the configured {what} {path:?} cannot be used: {why}")]
    Unusable {
        /// `node`, `python`, `uv` or `pnpm`.
        what: &'static str,
        /// What the configuration names.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// The interpreter that the configuration names is of another version than the request.
    #[error("the configured {path:?} is version {found}, but {wanted} was asked for")]
    OtherVersion {
        /// What the configuration names.
        path: PathBuf,
        /// What it is.
        found: Version,
        /// What was asked for.
        wanted: String,
    },
    /// Neither here nor to be fetched, because fetching is switched off.
    #[error("{wanted} is neither cached nor on PATH, and fetching is switched off{}", passed_over_in_words(.passed_over))]
    Offline {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// What was asked for.
        wanted: String,
        /// What was found instead.
        passed_over: Vec<String>,
    },
    /// No such Python on this machine.
    #[error("{wanted} was not found{}", passed_over_in_words(.passed_over))]
    NoPython {
        /// What was asked for.
        wanted: String,
        /// What was found instead.
        passed_over: Vec<String>,
    },
    /// The network or the server failed, also after retries.
    #[error("cannot fetch {url}: {why}")]
    Fetch {
        /// Without credentials.
        url: String,
        /// What the connection said.
        why: String,
    },
    /// The server answered, but not with the file.
    #[error("cannot fetch {url}: the server answered {status}")]
    Status {
        /// Without credentials.
        url: String,
        /// The HTTP status.
        status: u16,
    },
    /// More bytes than anything real has.
    #[error("{url} is refused: it is larger than {cap} bytes")]
    TooLarge {
        /// Without credentials.
        url: String,
        /// The most that is accepted.
        cap: u64,
    },
    /// The metadata of a registry, index or mirror makes no sense.
    #[error("the answer of {url} is refused: {why}")]
    Metadata {
        /// Without credentials.
        url: String,
        /// What is wrong with it.
        why: String,
    },
    /// The server answered, but has no such version.
    #[error("{url} does not list {what}")]
    NotListed {
        /// Without credentials.
        url: String,
        /// The version or file that was looked for.
        what: String,
    },
    /// The bytes are not the published ones.
    #[error("{url} is refused: its hash is {actual}, not {expected}")]
    WrongHash {
        /// Without credentials.
        url: String,
        /// What was pinned or published.
        expected: String,
        /// What arrived.
        actual: String,
    },
    /// The archive holds what no real package holds.
    #[error("the archive of {what} {version} is refused: {why}")]
    Archive {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// What was fetched.
        version: Version,
        /// What is wrong with it.
        why: String,
    },
    /// What was fetched is genuine, but does not run here.
    #[error("{what} {version} was fetched, but does not run on this machine: {why}")]
    DoesNotRun {
        /// `node`, `uv` or `pnpm`.
        what: &'static str,
        /// What was fetched.
        version: Version,
        /// What it or the kernel said.
        why: String,
    },
    /// The cached binary is not the one that was installed, and cannot be fetched anew.
    #[error("{path:?} is refused: {why}")]
    Tampered {
        /// The folder in the cache.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// Others could have put binaries into the cache.
    #[error("the cache {path:?} is not safe to use: {why}")]
    UnsafeCache {
        /// The cache folder.
        path: PathBuf,
        /// Who else can write to it.
        why: &'static str,
    },
    /// There is no folder to cache in.
    #[error("there is no folder for the cache: neither BELLJAR_CACHE, XDG_CACHE_HOME nor HOME is an absolute path")]
    NoCache,
    /// The cache cannot be read or written.
    #[error("cannot {action} {path:?}: {source}")]
    Cache {
        /// What was tried.
        action: &'static str,
        /// On what.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The certificate authorities that the environment names cannot be read.
    #[error("cannot read the certificates in {path:?}: {why}")]
    Certificates {
        /// The file or folder.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
}

impl ProvisionError {
    /// What to do about it, for a `hint:` line.
    pub fn hint(&self) -> String {
        match self {
            Self::UnreadableRequest { example, .. } => format!("name a version such as {example}"),
            Self::UnsupportedNode { .. } => format!("use node {}", crate::pins::SUPPORTED_IN_WORDS),
            Self::UnsupportedPython { .. } | Self::NoPython { .. } => {
                format!(
                    "install CPython 3.{OLDEST_PYTHON_MINOR} or newer, name one with BELLJAR_PYTHON=/path/to/python3, or a mirror of uv's Pythons with BELLJAR_PYTHON_MIRROR"
                )
            }
            Self::UnsupportedMachine { what, .. } => {
                format!("install {what} yourself and name it with BELLJAR_{0}=/path/to/{what}", what.to_uppercase())
            }
            Self::Unusable { what, .. } => format!("correct BELLJAR_{}, or remove it to let Belljar find one", what.to_uppercase()),
            Self::OtherVersion { found, .. } => format!("ask for {found}, or remove the configured path"),
            Self::Offline { what, .. } => {
                format!(
                    "switch fetching on (unset BELLJAR_OFFLINE, leave --offline out), put it on PATH, or name one with BELLJAR_{}=/path/to/{what}",
                    what.to_uppercase()
                )
            }
            Self::Fetch { .. } => {
                "check the network, HTTPS_PROXY and SSL_CERT_FILE; the registry is the one that npm is configured with, the \
                                   Python index that of uv and pip, and BELLJAR_NODE_MIRROR names another source of Node"
                    .to_owned()
            }
            Self::Status { status: 401 | 403, .. } => {
                "check the registry's token in ~/.npmrc, or the login in the address of the Python index".to_owned()
            }
            Self::Status { status: 404, .. } => "check that this version exists and that the registry or index carries it".to_owned(),
            Self::Status { .. } => {
                "try again later, or use another registry (npm_config_registry), Python index (UV_DEFAULT_INDEX) or mirror of \
                                    Node (BELLJAR_NODE_MIRROR)"
                    .to_owned()
            }
            Self::NotListed { .. } => "check that this version exists and that the registry or index carries it, or use another one \
                                       (npm_config_registry, UV_DEFAULT_INDEX)"
                .to_owned(),
            Self::TooLarge { .. } | Self::WrongHash { .. } | Self::Archive { .. } | Self::Metadata { .. } => {
                "the server or something on the way to it serves other bytes than were published; do not use them, and check the server"
                    .to_owned()
            }
            Self::DoesNotRun { what, .. } => format!(
                "it needs glibc 2.28 or newer and a cache that is not mounted noexec; or install a {what} for this system and name it with BELLJAR_{}",
                what.to_uppercase()
            ),
            Self::Tampered { path, .. } => format!("find out who changed it, then remove {} and switch fetching on", path.display()),
            Self::UnsafeCache { path, .. } => {
                format!("make it yours alone (chown and chmod 700 {}), or name another with BELLJAR_CACHE", path.display())
            }
            Self::NoCache => "set BELLJAR_CACHE to an absolute path".to_owned(),
            Self::Cache { .. } => "check its permissions and the free space, or name another with BELLJAR_CACHE".to_owned(),
            Self::Certificates { .. } => "correct SSL_CERT_FILE, SSL_CERT_DIR, NODE_EXTRA_CA_CERTS, npm's cafile or pip's cert".to_owned(),
        }
    }

    /// Whether trying once more may help.
    pub(crate) fn is_transient(&self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::Status { status: 408 | 425 | 429 | 500..=599, .. })
    }

    /// Whether another source may be asked instead. Wrong bytes are not passed over in silence: they end the search.
    pub(crate) fn is_unavailable(&self) -> bool {
        matches!(self, Self::Fetch { .. } | Self::Status { .. } | Self::NotListed { .. })
    }
}

fn passed_over_in_words(passed_over: &[String]) -> String {
    if passed_over.is_empty() { String::new() } else { format!(" (found: {})", passed_over.join("; ")) }
}
