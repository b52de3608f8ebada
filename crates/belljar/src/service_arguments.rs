//! The commands and flags of the server, and of those that speak to one.

use std::path::PathBuf;

use clap::Args;

/// `belljar serve`.
#[derive(Args, Debug, Default)]
pub struct ServeArguments {
    /// Where to listen [default: 127.0.0.1:8411]; port 0 takes a free one, "" only the home's own socket
    #[arg(long, value_name = "ADDRESS")]
    pub listen: Option<String>,
    /// The configuration [default: belljar.toml in the home, else /etc/belljar/belljar.toml]
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The server's chain of certificates, PEM; with it, it speaks HTTPS only
    #[arg(long, value_name = "FILE")]
    pub tls_certificates: Option<PathBuf>,
    /// Their key, PEM
    #[arg(long, value_name = "FILE")]
    pub tls_key: Option<PathBuf>,
    /// Run even where this machine lacks a layer of isolation; each outcome says which
    #[arg(long)]
    pub allow_degraded: bool,
}
