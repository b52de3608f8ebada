//! Black-box tests of the `belljar` program: the real binary and real runtimes, nothing mocked.
//!
//! They test the promises of the command line: policy, limits, output, bad input, ordinary users
//! and help. The contract of programs is tested in `tests/contract`. The tests need Node (installed
//! or fetched) and Python. Some need root, and say so.

mod bad_input;
mod files;
mod help;
mod limits;
mod output;
mod packages;
mod policy;
mod readiness;
mod rootless;
mod self_test;
mod stdin;
