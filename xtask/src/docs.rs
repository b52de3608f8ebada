//! `cargo xtask docs`: writes the pages that are generated from the code.

use std::fs;
use std::process::{Command, ExitCode};

use anyhow::{Context, Result};
use clap::Args;

use crate::programs::command_output;
use crate::repository;

/// Write docs/reference/cli.md from the definitions of the commands and flags
#[derive(Args)]
pub struct Arguments {}

/// Writes the page. The test target `docs` fails if the page is out of date.
pub fn run(_: &Arguments) -> Result<ExitCode> {
    let mut cargo = Command::new("cargo");
    cargo
        .args(["run", "--quiet", "--package", "belljar", "--", "reference"])
        .current_dir(repository());
    let reference = command_output(&mut cargo)?;
    let page = repository().join("docs/reference/cli.md");
    fs::write(&page, reference).with_context(|| format!("cannot write {}", page.display()))?;
    Ok(ExitCode::SUCCESS)
}
