//! The `belljar` program from outside: the real binary, real runtimes, nothing of ours mocked.
//!
//! The promises of the command line: policy, limits, output, bad input, an ordinary user, help. The contract of a program is in
//! `tests/contract`. Needs a Node (found or fetched) and a Python; some need root, and say so.

mod bad_input;
#[path = "../support/belljar.rs"]
mod belljar;
mod help;
mod limits;
mod output;
mod packages;
mod policy;
mod rootless;
mod self_test;
