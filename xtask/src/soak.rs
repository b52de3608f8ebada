//! `cargo xtask soak`: very many runs through one engine in one process, and a look at what they leave behind.
//!
//! The soak itself is an example of the engine's crate, `crates/engine/examples/soak`: what it uses is what everybody has.

use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result};
use clap::Args;

use crate::repository;

/// Run very many programs of all kinds through one engine, and prove that nothing stays behind
///
/// A table of samples goes to standard error, a report as JSON to standard output. Fails if a run ended otherwise than it had to, if a process,
/// mount, control group, descriptor or file is left over, or if memory grew.
#[derive(Args)]
pub struct Arguments {
    /// How many runs
    #[arg(long, default_value_t = 100_000, value_parser = clap::value_parser!(u64).range(1..))]
    runs: u64,

    /// How many runs between two samples
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(1..))]
    every: u64,

    /// What decides which programs are run
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

/// Builds the soak as it would be shipped, and runs it with a folder for temporary files that nobody else writes to.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let temporary = tempfile::tempdir().context("cannot make a folder for temporary files")?;
    let status = Command::new("cargo")
        .args(["run", "--quiet", "--release", "--package", "belljar-engine", "--example", "soak", "--"])
        .args([arguments.runs, arguments.every, arguments.seed].map(|number| number.to_string()))
        .current_dir(repository())
        .env("TMPDIR", temporary.path())
        .stdin(Stdio::null())
        .status()
        .context("cannot run cargo")?;
    Ok(if status.success() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}
