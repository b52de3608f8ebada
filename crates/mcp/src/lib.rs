//! The Model Context Protocol face: one tool, `run_code`, over any pair of streams; `belljar mcp` serves it over standard input and output.
//!
//! The operator who starts it sets a ceiling, which is also what a call gets that asks for nothing. The model may narrow it, never widen it. Several
//! calls run at once. When the client cancels a call or goes away, its runs end.
#![forbid(unsafe_code)]

mod answer;
mod arguments;
mod embedded;
mod progress;
mod rest;
mod server;
mod shares;
mod streams;
mod structured;
mod tool;

pub use server::{Mcp, McpError, Packages};
pub use streams::{StandardInput, StandardOutput, standard_streams};
