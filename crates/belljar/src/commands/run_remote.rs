//! `belljar run` on a server, with the flags, output and exit codes of a run on this machine.

use std::io::{self, IsTerminal, Write};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::Context;
use belljar_client::{Client, ClientError};
use belljar_protocol::{Event, EventKind, Limits, LogLevel, Outcome, RunId, RunSubmission, Status};
use futures::StreamExt;

use super::run;
use super::{logs, runs};
use crate::arguments::RunArguments;
use crate::hint::hinted;
use crate::inputs::RunInputs;
use crate::output_folder::OutputFolder;
use crate::refusals::address_to_user;
use crate::{displays, exit, remote, show, table};

/// The exit code if the server cannot be reached or fails.
const UNAVAILABLE: u8 = exit::INTERNAL;
/// The exit code if the server does not allow this caller to start this run.
const REFUSED: u8 = 125;

/// Returns whether the flags ask for a run on a server.
pub fn is_requested(arguments: &RunArguments) -> anyhow::Result<bool> {
    let remote = &arguments.remote;
    if remote.remote || remote.server.is_given() {
        if arguments.allow_degraded {
            return Err(hinted(
                "--allow-degraded cannot be set for a run on a server",
                "ask the operator to start the server with that flag",
            ));
        }
        return Ok(true);
    }
    let needs_server = [
        (remote.detach, "--detach"),
        (!remote.labels.is_empty(), "--label"),
        (remote.comment.is_some(), "--comment"),
        (!remote.objects.is_empty(), "--object"),
        (!remote.storage_read.is_empty(), "--storage-read"),
        (!remote.storage_write.is_empty(), "--storage-write"),
        (remote.attempts.is_some(), "--attempts"),
    ];
    match needs_server.iter().find(|(is_given, _)| *is_given) {
        Some((_, flag)) => Err(hinted(
            format!("{flag} is for a run on a server"),
            "add --remote, or name the server with --server URL",
        )),
        None => Ok(false),
    }
}

/// Runs one program on a server.
pub fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    if arguments.quiet {
        show::be_quiet();
    }
    let submission = RunInputs::read(arguments, Limits::default())?.into_submission()?;
    // The folder is opened before the run: artifacts are not lost because it cannot be created, and
    // a program on a server on this machine cannot replace it with a link.
    let artifacts = arguments.artifacts.as_deref().map(run::open_for_artifacts).transpose()?;
    let done = remote::client(&arguments.remote.server).and_then(|client| {
        remote::runtime()?.block_on(supervise(&client, &submission, arguments, artifacts.as_ref()))
    });
    match done {
        Err(mut error) => {
            address_to_user(&mut error);
            let Some(code) = error.downcast_ref::<ClientError>().map(exit_code) else {
                return Err(error);
            };
            show::error(&error);
            Ok(ExitCode::from(code))
        }
        done => done.map(ExitCode::from),
    }
}

fn exit_code(error: &ClientError) -> u8 {
    match error.problem().map(|problem| problem.status) {
        Some(401 | 403 | 429) => REFUSED,
        Some(400..500) => exit::USAGE,
        _ if remote::is_usage(error) => exit::USAGE,
        _ => UNAVAILABLE,
    }
}

async fn supervise(
    client: &Client,
    submission: &RunSubmission,
    arguments: &RunArguments,
    artifacts: Option<&OutputFolder>,
) -> anyhow::Result<u8> {
    let mut stopping = pin!(run::until_stopped());
    let mut is_stopping = false;
    let mut started = pin!(client.start_run(submission));
    let record = loop {
        tokio::select! {
            record = started.as_mut() => break record?,
            // Waits for the answer all the same: without its id the run could not be cancelled. A
            // second signal ends the wait.
            () = stopping.as_mut() => {
                if std::mem::replace(&mut is_stopping, true) {
                    return Ok(exit::CANCELLED);
                }
                stopping.set(run::until_stopped());
            }
        }
    };
    let id = &record.id;
    if is_stopping {
        client.cancel_run(id).await?;
    }
    if arguments.remote.detach {
        if arguments.json {
            table::print_json(&record)?;
        } else {
            table::write(&format!("{id}\n"))?;
        }
        return Ok(0);
    }
    let mut events = client.run_events(id);
    let mut progress = show::ProgressDisplay::new();
    let (mut ended, mut is_unread) = (None, false);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopping.as_mut() => {
                if std::mem::replace(&mut is_stopping, true) {
                    return Ok(exit::CANCELLED);
                }
                stopping.set(run::until_stopped());
                cancel(client, id);
                continue;
            }
        };
        let Some(event) = event else { break };
        let event = event.inspect_err(|_| {
            show::note(&format!(
                "the run continues on the server: follow it with `belljar logs -f {id}`"
            ));
        })?;
        let shown = print(&event, arguments, &mut progress);
        if let EventKind::Finished { outcome } = event.kind {
            ended = Some(*outcome);
        }
        if let Err(error) = shown {
            if error.kind() != io::ErrorKind::BrokenPipe {
                client.cancel_run(id).await?;
                return Err(error).context("cannot write the program's output");
            }
            // The reader is gone, so the run is of no use.
            if !std::mem::replace(&mut is_unread, true) {
                cancel(client, id);
            }
        }
    }
    progress.clear();
    if is_unread {
        return Ok(exit::UNREAD);
    }
    conclude(
        client,
        &ended.context("the event stream ended without an outcome")?,
        arguments,
        artifacts,
    )
    .await
}

/// Cancels the run on the server, in the background. The run still ends with its last event.
fn cancel(client: &Client, id: &RunId) {
    let (client, id) = (client.clone(), id.clone());
    tokio::spawn(async move {
        if let Err(error) = client.cancel_run(&id).await {
            show::error(&error.into());
        }
    });
}

async fn conclude(
    client: &Client,
    outcome: &Outcome,
    arguments: &RunArguments,
    artifacts: Option<&OutputFolder>,
) -> anyhow::Result<u8> {
    // The outcome is printed even if its files cannot be saved.
    let saved = match arguments.artifacts.as_deref().zip(artifacts) {
        Some((folder, into)) => {
            match runs::save(client, &outcome.id, &outcome.artifacts, folder, into).await {
                Ok(()) => displays::save(outcome, folder, into),
                failed => failed,
            }
        }
        None => Ok(()),
    };
    run::conclude(outcome, arguments)?;
    if let Err(error) = saved {
        show::error(&error);
        return Ok(exit::INTERNAL);
    }
    if outcome.status == Status::Interrupted && !arguments.json && !arguments.events {
        show::note(&format!("repeat the run with `belljar runs rerun {}`", outcome.id));
    }
    Ok(exit::code(outcome))
}

fn print(
    event: &Event,
    arguments: &RunArguments,
    progress: &mut show::ProgressDisplay,
) -> io::Result<()> {
    if arguments.events {
        return run::print_line(&table::json(event)?);
    }
    let EventKind::Log { level, message } = &event.kind else {
        return run::show_event(&event.kind, arguments, progress);
    };
    progress.clear();
    if arguments.json {
        return Ok(());
    }
    match level {
        LogLevel::Debug | LogLevel::Info => {
            run::print_line(&logs::shown(message, io::stdout().is_terminal()))
        }
        LogLevel::Warn | LogLevel::Error => {
            writeln!(io::stderr().lock(), "{}", logs::shown(message, io::stderr().is_terminal()))
        }
    }
}
