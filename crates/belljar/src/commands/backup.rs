//! `belljar backup` and `belljar restore`. They work on the files of a home and need no server. A
//! backup can be taken while the server runs.

use std::process::ExitCode;

use belljar_service::{BackupError, BackupReport};
use serde_json::json;

use crate::server_config::ServerConfig;
use crate::service_arguments::{BackupArguments, RestoreArguments};
use crate::{home, remote, show, table};

/// Backs up this home.
pub fn back_up(arguments: BackupArguments) -> anyhow::Result<ExitCode> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let home = home::home()?;
    let config = ServerConfig::of_home(&home, arguments.config.as_deref())?.service();
    let done = remote::runtime()?.block_on(belljar_service::back_up(
        &home,
        &config,
        &arguments.to,
        &arguments.key_to,
    ));
    report(done, arguments.json, |copied| {
        format!(
            "copied {copied} to {} and the key to {} (keep them apart)",
            arguments.to.display(),
            arguments.key_to.display()
        )
    })
}

/// Restores a backup into this home.
pub fn restore(arguments: RestoreArguments) -> anyhow::Result<ExitCode> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let home = home::home()?;
    let config = ServerConfig::of_home(&home, arguments.config.as_deref())?.service();
    let done = remote::runtime()?.block_on(belljar_service::restore(
        &arguments.from,
        &arguments.key,
        &home,
        &config,
    ));
    report(done, arguments.json, |copied| {
        format!("restored {copied} to {} (start its server with `belljar serve`)", home.display())
    })
}

fn report(
    done: Result<BackupReport, BackupError>,
    as_json: bool,
    message: impl FnOnce(&str) -> String,
) -> anyhow::Result<ExitCode> {
    let BackupReport { contents, content_bytes } = match done {
        Ok(report) => report,
        Err(error) => {
            show::error(&error.into());
            return Ok(ExitCode::FAILURE);
        }
    };
    if as_json {
        table::print_json(&json!({"contents": contents, "content_bytes": content_bytes}))?;
    } else {
        show::note(&message(&format!(
            "the database and {contents} contents ({})",
            table::size(content_bytes)
        )));
    }
    Ok(ExitCode::SUCCESS)
}
