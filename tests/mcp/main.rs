//! Black-box tests of `belljar mcp`: with the official client SDKs for Python and TypeScript, which
//! are installed from the registries, and over plain pipes for what no well-behaved client does.
//! Runs are on this machine, and in `remote` on a real server.

mod guide;
mod remote;
mod sdks;
mod wire;

use belljar_test_support::is_root;

/// The arguments of `belljar mcp`. An ordinary user without delegated control groups accepts the
/// missing limits.
fn arguments() -> Vec<&'static str> {
    if is_root() { vec!["mcp"] } else { vec!["mcp", "--allow-degraded"] }
}
