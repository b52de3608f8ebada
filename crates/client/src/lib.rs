//! The Rust client of the HTTP API: beneath the command line, and for others to use.

#![forbid(unsafe_code)]
