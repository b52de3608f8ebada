//! The harness that the tests of all crates share. Only tests depend on it, and it depends on no
//! other crate of the workspace, so a change to the product does not rebuild it.
//!
//! [`belljar`] runs the real binary, and [`Server`] starts it as a server with a home of its own.
//! [`http`] speaks to servers, and reads the requests that a test's own server receives.
//! [`eventually`] waits for a condition. [`processes`], [`control_groups`] and [`files_in`] find
//! what a run has left behind, and [`registries`] installs programs that tests run against.

#![allow(clippy::missing_panics_doc, reason = "every function panics to fail the test")]
#![allow(clippy::return_self_not_must_use, reason = "the builders are used in one expression")]

mod belljar;
pub mod control_groups;
mod eventually;
mod files;
pub mod http;
pub mod processes;
pub mod registries;
mod server;

use std::path::{Path, PathBuf};

pub use belljar::{
    STARTS, Said, belljar, belljar_without_server, binary, is_root, outcome, run, said,
    said_with_input,
};
pub use eventually::{eventually, eventually_async};
pub use files::files_in;
pub use server::Server;

/// Returns the folder of the repository.
pub fn repository() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().expect("the repository exists")
}
