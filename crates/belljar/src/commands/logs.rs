//! `belljar logs`: prints the output of a run.

use std::borrow::Cow;
use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use belljar_protocol::{EventKind, LogEntry, LogLevel, plain};
use futures::TryStreamExt;
use serde_json::json;

use crate::service_arguments::LogsArguments;
use crate::{exit, remote, show, table};

/// Prints the past output of a run, and with `--follow` further output until the run ends.
pub fn run(arguments: LogsArguments) -> anyhow::Result<ExitCode> {
    remote::ask(&arguments.ask.server, async |client| {
        let id = client.find_run(&arguments.id).await?;
        if !arguments.follow {
            let logs = client.run_logs(&id).await?;
            if arguments.ask.json {
                table::print_json(&json!({"logs": logs}))?;
                return Ok(ExitCode::SUCCESS);
            }
            for entry in &logs {
                if !is_read(print(entry, &arguments))? {
                    return Ok(ExitCode::from(exit::UNREAD));
                }
            }
            return Ok(ExitCode::SUCCESS);
        }
        let mut events = client.run_events(&id);
        while let Some(event) = events.try_next().await? {
            let timestamp = event.timestamp;
            let is_reader_there = match event.kind {
                EventKind::Log { level, message } => {
                    is_read(print(&LogEntry { timestamp, level, message }, &arguments))?
                }
                EventKind::Finished { outcome } if !arguments.ask.json => {
                    show::note(&format!("the run has ended: {}", outcome.status.name()));
                    true
                }
                _ => true,
            };
            if !is_reader_there {
                return Ok(ExitCode::from(exit::UNREAD));
            }
        }
        Ok(ExitCode::SUCCESS)
    })
}

/// Returns false if the reader of standard output is gone.
pub(super) fn is_read(written: io::Result<()>) -> anyhow::Result<bool> {
    match written {
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(false),
        written => written.map(|()| true).context("cannot write to standard output"),
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

/// Returns the output of a program as it is shown. On a terminal, control characters are escaped.
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
