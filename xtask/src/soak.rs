//! `cargo xtask soak`: many runs through one engine in one process, and a check for leaks.
//!
//! The soak itself is an example of the engine crate, `crates/engine/examples/soak`, so it uses
//! only the crate's public interface.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::repository;

/// Run programs of all kinds through one engine, and prove that nothing leaks
///
/// Prints a table of samples to standard error and a JSON report to standard output. Fails if a run
/// ends in an unexpected way, if a process, mount, control group, descriptor or file is left over,
/// or if memory grows.
#[derive(Args)]
pub struct Arguments {
    /// Number of runs
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,

    /// Number of runs between two samples
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,

    /// Seed for choosing the programs
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Builds the soak with the release profile, and runs it with a temporary folder that no other
/// process writes to.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let temporary = tempfile::tempdir().context("cannot make a folder for temporary files")?;
    let status = Command::new("cargo")
        .args([
            "run",
            "--quiet",
            "--release",
            "--package",
            "belljar-engine",
            "--example",
            "soak",
            "--",
        ])
        .args([arguments.runs, arguments.every, arguments.seed].map(|number| number.to_string()))
        .current_dir(repository())
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
