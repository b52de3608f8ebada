//! Black-box tests of `belljar serve`: the real binary, over HTTP and its socket.

mod artifacts;
mod audit;
mod bad_input;
mod callbacks;
mod crash;
mod examples;
mod grants;
mod headers;
mod kept;
mod objects;
mod packages;
#[path = "../registries/mod.rs"]
mod registries;
mod runs;
mod sandbox_storage;
mod schema;
mod server;
mod telemetry;
mod tenants;
mod tokens;
mod watching;
