//! `belljar cancel`.

use std::process::ExitCode;

use crate::service_arguments::RunIdsArguments;
use crate::{remote, table};

/// Cancels runs, and says where they are then.
pub fn run(arguments: RunIdsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        for id in &arguments.ids {
            let cancelled = client.cancel_run(id).await?;
            if arguments.ask.json {
                table::print_json(&cancelled)?;
            } else {
                table::write(&format!("{id} {}\n", cancelled.status()))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}
