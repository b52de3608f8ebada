//! What the binary carries for its sandboxes: the native library and the drivers. Listed by `build.rs`.

include!(concat!(env!("OUT_DIR"), "/carried.rs"));

/// Where all of it is inside a sandbox, read-only.
pub(crate) const FOLDER: &str = "/opt/belljar";
