//! Hostile programs, run by the real `belljar`: every class of attack that is known against sandboxes of this kind, in JavaScript and Python, in both
//! start modes. Each program first proves that it ran, by the exact answer to each attempt; after each run nothing of it may be left.
//! `docs/security.md` says which layer each of these tests proves.

mod control_channel;
mod exec_grants;
mod files;
mod identity;
mod kernel_calls;
mod leftovers;
mod lifetime;
mod limits;
mod names;
mod network;
mod run;
mod siblings;
mod view;
