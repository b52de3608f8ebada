//! `belljar logs`.

use std::io::{self, IsTerminal, Write};
use std::process::ExitCode;

use anyhow::Context;
use belljar_protocol::{EventKind, LogEntry, LogLevel};
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
        serde_json::to_writer(&mut out, entry)?;
        return writeln!(out);
    }
    if arguments.timestamps {
        write!(out, "{} {:<5} ", entry.timestamp, level(entry.level))?;
    }
    let message = shown(&entry.message, out.is_terminal());
    writeln!(out, "{message}")?;
    out.flush()
}

/// What a program wrote, as it is shown: on a terminal no command of its gets through.
pub fn shown(message: &str, on_terminal: bool) -> String {
    if !on_terminal {
        return message.to_owned();
    }
    message
        .split_inclusive(['\n', '\t'])
        .map(|part| match part.strip_suffix(['\n', '\t']) {
            Some(text) => table::printable(text) + &part[text.len()..],
            None => table::printable(part),
        })
        .collect()
}

fn level(level: LogLevel) -> &'static str {
    match level {
        LogLevel::Debug => "debug",
        LogLevel::Info => "info",
        LogLevel::Warn => "warn",
        LogLevel::Error => "error",
    }
}
