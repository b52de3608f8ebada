//! `cargo xtask neighbours`: measures how much hostile runs slow down another run on the same
//! machine.
//!
//! The measurement itself is an example of the engine crate,
//! `crates/engine/examples/neighbours.rs`.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::repository;

/// Measure how much hostile runs slow down another run on the machine
///
/// Times a trivial run next to hostile runs, and next to the same number of busy loops. Prints a
/// table to standard output. Fails if some kind of attack raises the 99th percentile to more than
/// 1.5 times that next to busy loops under the same limits.
#[derive(Args)]
pub struct Arguments {
    /// Measure for this many seconds
    #[arg(long, default_value_t = 64, value_parser = clap::value_parser!(u32).range(8..))]
    seconds: u32,

    /// Number of concurrent hostile runs
    #[arg(long, default_value_t = 6, value_parser = clap::value_parser!(u32).range(1..))]
    attackers: u32,

    /// Measure only this kind of attack, such as `logs`; repeat it for more
    #[arg(long, value_name = "ATTACK")]
    only: Vec<String>,
}

/// Builds the measurement with the release profile and runs it.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let status = Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "belljar-engine",
            "--example",
            "neighbours",
            "--",
        ])
        .args([arguments.seconds, arguments.attackers].map(|number| number.to_string()))
        .args(&arguments.only)
        .current_dir(repository())
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
