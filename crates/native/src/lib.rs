//! The library that is loaded inside node and python: it forks sandboxes, jails and parks them, and
//! carries their reports.
//!
//! One shared library serves both. It links against neither: it looks up their functions at run
//! time, so that the same file loads in either. The contract with the drivers is
//! `docs/concepts/drivers.md`.

mod boot_facts;
mod c_library;
mod default_actions;
mod fork_hooks;
mod fork_identity;
mod heap;
mod init;
mod machine;
mod mappings;
mod networks;
mod node;
mod python;
mod randomness;
mod sandbox;
mod scout;
mod scratch;
mod signals;
mod sigsys;
mod symbols;
mod threads;
mod touched;
mod zygote;

// This library exports its functions as well.
use belljar_interfaces as _;
