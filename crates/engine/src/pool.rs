//! The supply of ready sandboxes: parked ones, forks of zygotes, and processes of their own.

mod parked;
mod parked_sandbox;
mod self_test;
mod strikes;
mod supply;
mod zygotes;

pub use self_test::SelfTest;
pub(crate) use supply::Supply;
