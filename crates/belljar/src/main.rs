//! `belljar`: runs the code that AI agents write, each program in a fresh, deny-by-default kernel sandbox.

#![forbid(unsafe_code)]

mod arguments;
mod beneath;
mod commands;
mod environment_settings;
mod exit;
mod home;
mod open_files;
mod packages;
mod policy;
mod profile;
mod remote;
mod server_config;
mod service_arguments;
mod show;
mod table;
mod telemetry;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::arguments::{Belljar, Command};

fn main() -> ExitCode {
    let arguments = Belljar::from_arg_matches(&arguments::belljar().get_matches()).unwrap_or_else(|error| error.exit());
    open_files::allow_all();
    let result = match arguments.command {
        Command::Run(arguments) => commands::run::run(*arguments),
        Command::Env(command) => commands::env::run(command),
        Command::Mcp(arguments) => commands::mcp::run(*arguments),
        Command::Serve(arguments) => commands::serve::run(arguments),
        Command::Login(arguments) => commands::login::login(arguments),
        Command::Logout(arguments) => commands::login::logout(arguments),
        Command::Runs(arguments) => commands::runs::run(*arguments),
        Command::Logs(arguments) => commands::logs::run(arguments),
        Command::Cancel(arguments) => commands::cancel::run(arguments),
        Command::Storage(command) => commands::storage::run(command),
        Command::Tokens(command) => commands::tokens::run(command),
        Command::Projects(command) => commands::projects::run(command),
        Command::Audit(arguments) => commands::audit::run(*arguments),
        Command::Usage(arguments) => commands::usage::run(arguments),
        Command::Backup(arguments) => commands::backup::back_up(arguments),
        Command::Restore(arguments) => commands::backup::restore(arguments),
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
