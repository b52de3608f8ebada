//! The `belljar` program from outside: the real binary, real runtimes, nothing of ours mocked.
//!
//! The contract of a program is a table of cases per language, each run in both start modes. The rest are promises of the command line: policy,
//! limits, output, bad input, an ordinary user, help. Needs a Node (found or fetched) and a Python; some need root, and say so.

mod bad_input;
mod belljar;
mod case;
mod help;
mod javascript;
mod limits;
mod output;
mod packages;
mod policy;
mod python;
mod rootless;
mod self_test;
mod typescript;
