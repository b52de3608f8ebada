//! `belljar backup` and `belljar restore`. They work on the files of a home: a server may go on, and none has to be there.

use std::process::ExitCode;

use belljar_service::{BackupError, BackupReport};
use serde_json::json;

use crate::server_config::ServerConfig;
use crate::service_arguments::{BackupArguments, RestoreArguments};
use crate::{home, remote, show, table};

/// Copies this home.
pub fn back_up(arguments: BackupArguments) -> anyhow::Result<ExitCode> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let home = home::home()?;
    let config = ServerConfig::of_home(&home, arguments.config.as_deref())?.service();
    let done = remote::runtime()?.block_on(belljar_service::back_up(&home, &config, &arguments.to, &arguments.key_to));
    tell(done, arguments.json, |what| {
        format!("copied {what} to {}, and the key to {}; keep them apart", arguments.to.display(), arguments.key_to.display())
    })
}

/// Makes this home what it was.
pub fn restore(arguments: RestoreArguments) -> anyhow::Result<ExitCode> {
    rustix::process::umask(rustix::fs::Mode::from_raw_mode(0o077));
    let home = home::home()?;
    let config = ServerConfig::of_home(&home, arguments.config.as_deref())?.service();
    let done = remote::runtime()?.block_on(belljar_service::restore(&arguments.from, &arguments.key, &home, &config));
    tell(done, arguments.json, |what| format!("restored {what} to {}; start its server with belljar serve", home.display()))
}

fn tell(done: Result<BackupReport, BackupError>, as_json: bool, words: impl FnOnce(&str) -> String) -> anyhow::Result<ExitCode> {
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
        show::note(&words(&format!("the database and {contents} contents ({})", table::size(content_bytes))));
    }
    Ok(ExitCode::SUCCESS)
}
