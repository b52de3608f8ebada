//! The project's own tasks, `cargo xtask <task>`: everything that takes more than one cargo
//! command.
//!
//! Each task has a variant of [`Task`] and a file of its own; this file only dispatches.

#![forbid(unsafe_code)]

mod check;
mod dist;
mod docs;
mod fuzz;
mod neighbours;
mod programs;
mod service_soak;
mod soak;
mod test;
mod vm_test;

use std::path::Path;
use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(name = "cargo xtask", bin_name = "cargo xtask", about = "The project's own tasks")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    Test(test::Arguments),
    Check(check::Arguments),
    Docs(docs::Arguments),
    Dist(dist::Arguments),
    Fuzz(fuzz::Arguments),
    Neighbours(neighbours::Arguments),
    Soak(soak::Arguments),
    ServiceSoak(service_soak::Arguments),
    VmTest(vm_test::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::Test(arguments) => Ok(test::run(&arguments)),
        Task::Check(arguments) => check::run(&arguments),
        Task::Docs(arguments) => docs::run(&arguments),
        Task::Dist(arguments) => dist::run(&arguments),
        Task::Fuzz(arguments) => fuzz::run(&arguments),
        Task::Neighbours(arguments) => neighbours::run(&arguments),
        Task::Soak(arguments) => soak::run(&arguments),
        Task::ServiceSoak(arguments) => service_soak::run(&arguments),
        Task::VmTest(arguments) => vm_test::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}

/// The repository that this program was built from.
fn repository() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or_else(|| Path::new("."))
}
