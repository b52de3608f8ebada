//! `belljar mcp` from outside: with the official client SDKs for Python and TypeScript, installed from the registries, and over bare pipes for
//! what no well-behaved client does.

mod guide;
#[path = "../registries/mod.rs"]
mod registries;
mod sdks;
mod wire;

use std::process::Command;

const BINARY: &str = env!("CARGO_BIN_EXE_belljar");

/// `belljar mcp`. An ordinary user without delegated control groups accepts what that lacks.
fn arguments() -> Vec<&'static str> {
    if rustix::process::geteuid().is_root() { vec!["mcp"] } else { vec!["mcp", "--allow-degraded"] }
}

fn belljar(flags: &[&str]) -> Command {
    let mut command = Command::new(BINARY);
    command.args(arguments()).args(flags).env("NO_COLOR", "1");
    command
}
