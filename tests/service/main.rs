//! Black-box tests of `belljar serve`: the real binary, over HTTP and its socket.

mod audit;
mod bad_input;
mod callbacks;
mod crash;
mod examples;
mod objects;
mod runs;
mod sandbox_storage;
mod server;
mod tenants;
mod tokens;
mod watching;
