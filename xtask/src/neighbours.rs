//! `cargo xtask neighbours`: what hostile runs take from somebody else's run on the same machine.
//!
//! The measurement itself is an example of the engine's crate, `crates/engine/examples/neighbours.rs`.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::repository;

/// Measure a trivial run beside hostile runs, against one beside as many busy loops
///
/// A table goes to standard output. Fails if a kind of attack makes the 99th percentile more than 1.5 times that beside busy loops under the
/// same limits.
#[derive(Args)]
pub struct Arguments {
    /// How long to measure, in seconds
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..))]
    seconds: u32,

    /// How many hostile runs at once
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    attackers: u32,
}

/// Builds the measurement as it would be shipped, and runs it.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "belljar-engine", "--example", "neighbours", "--"])
        .args([arguments.seconds, arguments.attackers].map(|number| number.to_string()))
        .current_dir(repository())
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
