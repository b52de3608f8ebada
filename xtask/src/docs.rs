//! `cargo xtask docs`: writes the pages that come from the code.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::programs::command_output;
use crate::repository;

/// Write the reference of commands, docs/reference/cli.md, from the definitions of the flags
#[derive(Args)]
pub struct Arguments {}

/// Writes it. That it is current is held by the test target `docs`.
pub fn run(_: &Arguments) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo.args(["run", "--quiet", "--package", "belljar", "--", "reference"]).current_dir(repository());
    let reference = command_output(&mut cargo)?;
    let page = repository().join("docs/reference/cli.md");
    fs::write(&page, reference).with_context(|| format!("cannot write {}", page.display()))?;
    Ok(ExitCode::SUCCESS)
}
