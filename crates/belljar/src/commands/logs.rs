//! `belljar logs`.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use belljar_protocol::{EventKind, LogEntry, LogLevel, plain};
use futures::TryStreamExt;
use serde_json::json;

use crate::service_arguments::LogsArguments;
use crate::{exit, remote, show, table};

/// Prints what a run wrote; with `--follow` what it writes, to its end.
pub fn run(arguments: LogsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        if !arguments.follow {
            let logs = client.run_logs(&arguments.id).await?;
            if arguments.ask.json {
                table::print_json(&json!({"logs": logs}))?;
                return Ok(ExitCode::SUCCESS);
            }
            for entry in &logs {
                if !told(print(entry, &arguments))? {
                    return Ok(ExitCode::from(exit::UNREAD));
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut events = client.run_events(&arguments.id);
        while let Some(event) = events.try_next().await? {
            let timestamp = event.timestamp;
            let is_read = match event.kind {
                EventKind::Log { level, message } => told(print(&LogEntry { timestamp, level, message }, &arguments))?,
                EventKind::Finished { outcome } if !arguments.ask.json => {
                    show::note(&format!("the run is over: {}", outcome.status.name()));
                    true
                }
                _ => true,
            };
            if !is_read {
                return Ok(ExitCode::from(exit::UNREAD));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Whether anybody reads still.
fn told(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write the logs"),
    }
}

fn print(entry: &LogEntry, arguments: &LogsArguments) -> io::Result<()> {
    let mut out = io::stdout().lock();
    if arguments.ask.json {
        return writeln!(out, "{}", table::json(entry)?);
    }
    if arguments.timestamps {
        write!(out, "{} {:<5} ", entry.timestamp, level(entry.level))?;
    }
    let message = shown(&entry.message, out.is_terminal());
    writeln!(out, "{message}")?;
    out.flush()
}

/// What a program wrote, as it is shown: on a terminal no command of its gets through.
pub fn shown(message: &str, on_terminal: bool) -> Cow<'_, str> {
    if on_terminal { plain::text(message) } else { message.into() }
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}
