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
mod openapi;
mod packages;
mod readiness;
mod reference_page;
mod runs;
mod sandbox_storage;
mod schema;
mod telemetry;
mod tenants;
mod tokens;
mod variables;
mod watching;

use std::sync::{LazyLock, Mutex};

use belljar_test_support::Server;

/// One server for the tests that only add runs and objects of their own.
static SHARED: LazyLock<Server> = LazyLock::new(Server::start);

/// Held by each test that kills or restarts servers, because each start boots new runtimes.
static ONE_AT_A_TIME: Mutex<()> = Mutex::new(());
