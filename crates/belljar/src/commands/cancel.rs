//! `belljar cancel`: cancels runs on a server.

use std::process::ExitCode;

use crate::service_arguments::RunIdsArguments;
use crate::{remote, table};

/// Cancels runs and prints their state after that.
pub fn run(arguments: RunIdsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        for id in &arguments.ids {
            let id = client.find_run(id).await?;
            let cancelled = client.cancel_run(&id).await?;
            if arguments.ask.json {
                table::print_json(&cancelled)?;
            } else {
                table::write(&format!("{id} {}\n", cancelled.status()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
