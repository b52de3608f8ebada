//! The project's own tasks, `cargo xtask <task>`: whatever is more than one command of cargo.
//!
//! One variant of [`Task`] and one file per task; this file only chooses between them.

#![forbid(unsafe_code)]

mod vm_test;

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
    VmTest(vm_test::Arguments),
}

fn main() -> ExitCode {
    let result = match Arguments::parse().task {
        Task::VmTest(arguments) => vm_test::run(&arguments),
    };
    result.unwrap_or_else(|error| {
        eprintln!("error: {error:#}");
        ExitCode::FAILURE
    })
}
