//! `belljar`: runs the code that AI agents write, each program in a fresh, deny-by-default kernel sandbox.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod exit;
mod policy;
mod home;
mod server_config;
mod service_arguments;
mod show;
mod telemetry;

use std::process::ExitCode;

use clap::Parser;

use crate::arguments::{Belljar, Command};

fn main() -> ExitCode {
    let arguments = Belljar::parse();
    let result = match arguments.command {
        Command::Run(arguments) => commands::run::run(*arguments),
        Command::Mcp(arguments) => commands::mcp::run(*arguments),
        Command::Serve(arguments) => commands::serve::run(arguments),
        Command::Doctor(arguments) => commands::doctor::run(arguments),
        Command::SelfTest(arguments) => commands::self_test::run(arguments),
        Command::Bench(arguments) => commands::bench::run(arguments),
        Command::Completions { shell } => commands::generate::completions(shell),
        Command::Man => commands::generate::man(),
        Command::Reference => commands::generate::reference(),
    };
    result.unwrap_or_else(|error| {
        show::error(&error);
        ExitCode::from(exit::USAGE)
    })
}
