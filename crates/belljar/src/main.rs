//! `belljar`: runs code written by AI agents in fresh, deny-by-default kernel sandboxes.

#![forbid(unsafe_code)]

mod arguments;
mod commands;
mod displays;
mod environment_settings;
mod examples;
mod exit;
mod help_texts;
mod hint;
mod home;
mod input;
mod inputs;
mod limit_arguments;
mod object_scheme;
mod open_files;
mod output_folder;
mod packages;
mod policy;
mod pretty;
mod profile;
mod refusals;
mod remote;
mod run_files;
mod server_config;
mod service_arguments;
mod show;
mod table;
mod telemetry;

use std::process::ExitCode;

use clap::FromArgMatches;

use crate::arguments::{Belljar, Command, McpArguments, RunArguments};

fn main() -> ExitCode {
    let arguments = arguments::belljar()
        .try_get_matches()
        .and_then(|matches| Belljar::from_arg_matches(&matches))
        .unwrap_or_else(|error| arguments::without_aliases(error).exit());
    open_files::allow_all();
    let result = match arguments.command {
        Command::Run(arguments) => run(*arguments),
        Command::Env(command) => commands::env::run(command),
        Command::Mcp(arguments) => mcp(*arguments),
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

/// Serves one AI client, whose programs run on a server or on this machine.
fn mcp(arguments: McpArguments) -> anyhow::Result<ExitCode> {
    if commands::mcp_remote::is_requested(&arguments)? {
        commands::mcp_remote::run(&arguments)
    } else {
        commands::mcp::run(arguments)
    }
}

/// Runs one program, on a server or on this machine.
fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    if commands::run_remote::is_requested(&arguments)? {
        commands::run_remote::run(&arguments)
    } else {
        commands::run::run(arguments)
    }
}
