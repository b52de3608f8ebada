//! The library that is loaded inside node and python: it forks sandboxes, jails and parks them, and carries their reports.
//!
//! One shared library for both. It links against neither: what it calls in them it looks up at run time, so that the same file loads in either.
//! The contract with the drivers is `docs/concepts/drivers.md`.

mod default_actions;
mod fork_identity;
mod heap;
mod init;
mod interfaces;
mod machine;
mod mappings;
mod networks;
mod node;
mod node_platform;
mod python;
mod randomness;
mod sandbox;
mod scout;
mod scratch;
mod symbols;
mod threads;
mod touched;
mod trapped;
mod zygote;
