//! A server of the Model Context Protocol with one tool, `run_code`, over any pair of streams.
//! `belljar mcp` serves it over standard input and output. Programs run on this machine, or on a
//! Belljar server through its client.
//!
//! The operator who starts the server sets a ceiling. A call without a policy of its own gets the
//! whole ceiling. The model can narrow the ceiling and never widen it. Calls run concurrently. When
//! the client cancels a call or disconnects, the runs end.

#![forbid(unsafe_code)]

mod answer;
mod arguments;
mod artifact_contents;
mod attachments;
mod call;
mod denials;
mod executor;
mod local;
mod progress;
mod remote;
mod remote_bounds;
mod rest;
mod server;
mod server_error;
mod shares;
mod streams;
mod structured;
mod terms;
mod tool;

pub use executor::Executor;
pub use local::LocalExecutor;
pub use remote::RemoteExecutor;
pub use remote_bounds::{RemoteBounds, RemotePackages};
pub use server::{Mcp, McpError};
pub use streams::{StandardInput, StandardOutput, standard_streams};
