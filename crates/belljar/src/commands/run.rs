//! `belljar run` on this machine: prepares the run and prints its events.

use std::io::{self, IsTerminal, Write};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use belljar_engine::{ArtifactFile, Engine, EngineConfig, LeftFiles, Run, RunEvent, RunHost};
use belljar_protocol::{Audience, Bytes, EventKind, LimitTerms, Outcome, StartMode, Stream, plain};
use belljar_runner::{GrantedAccess, Packages, PreparedRun};

use crate::arguments::RunArguments;
use crate::environment_settings::EnvironmentSettings;
use crate::hint::hinted;
use crate::inputs::RunInputs;
use crate::output_folder::OutputFolder;
use crate::{displays, exit, home, packages, pretty, show, table};

/// The width of a terminal that does not report its own.
const USUAL_COLUMNS: usize = 80;

/// Runs one program on this machine.
pub fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    if arguments.quiet {
        show::be_quiet();
    }
    let mut config = EngineConfig::from_env()?;
    config.allow_degraded = arguments.allow_degraded;
    config.protected = home::protected();
    // A single run needs no pool of threads and starts faster without one.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let code = runtime.block_on(async {
        let engine = Engine::new(config.clone())?;
        let code = match prepare(&engine, &config, &arguments) {
            Ok((PreparedRun { request, host, .. }, artifacts)) => {
                let run = engine.run_with(request, host);
                // The program has run, so a failure after it is not wrong usage.
                Ok(supervise(run, &arguments, artifacts).await.unwrap_or_else(|error| {
                    show::error(&error);
                    exit::INTERNAL
                }))
            }
            Err(error) => Err(error),
        };
        engine.shutdown().await;
        code
    });
    code.map(ExitCode::from)
}

/// Reads everything that the arguments name, and opens the folder for artifacts.
fn prepare(
    engine: &Engine,
    config: &EngineConfig,
    arguments: &RunArguments,
) -> anyhow::Result<(PreparedRun, Option<OutputFolder>)> {
    let machine = engine.machine();
    let defaults = machine.local_defaults();
    let RunInputs { mut submission, mut contents, package_rules } =
        RunInputs::read(arguments, defaults)?;
    if submission.start == StartMode::Auto {
        // A single run has no other to share a zygote with.
        submission.start = StartMode::Exec;
    }
    contents.not_submitted =
        arguments.file.as_deref().map(packages::modules_next_to).unwrap_or_default();
    let artifacts = arguments.artifacts.as_deref().map(open_for_artifacts).transpose()?;
    let environments = packages::environments(engine, config, &EnvironmentSettings::default())?;
    let packages = Packages::new(environments, packages::policy(package_rules));
    let left_files = if artifacts.is_some() { LeftFiles::HandedBack } else { LeftFiles::Named };
    let access = GrantedAccess::of_caller(&submission, defaults);
    let terms = LimitTerms {
        audience: Audience::CommandLine,
        requested: arguments.limits.0,
        of_file: submission.limits,
        defaults,
        most: machine.most(),
    };
    let host = RunHost { left_files, terms, ..RunHost::default() };
    Ok((PreparedRun::new(&submission, contents, access, packages, host), artifacts))
}

/// Creates and opens the folder for artifacts. This is done before the run: artifacts are not lost
/// because the folder cannot be created, and a program that may write next to the folder cannot
/// replace it with a link.
pub(super) fn open_for_artifacts(folder: &Path) -> anyhow::Result<OutputFolder> {
    OutputFolder::open(folder)
        .with_context(|| format!("cannot create the artifacts folder `{}`", folder.display()))
}

async fn supervise(
    mut run: Run,
    arguments: &RunArguments,
    artifacts: Option<OutputFolder>,
) -> anyhow::Result<u8> {
    let canceller = run.canceller();
    tokio::spawn(async move {
        until_stopped().await;
        canceller.cancel();
    });
    let mut progress = show::ProgressDisplay::new();
    let mut is_unread = false;
    while let Some(event) = run.next_event().await {
        let shown = match event {
            RunEvent::Output { stream, bytes } if !arguments.json && !arguments.events => {
                pass_through(stream, &bytes)
            }
            RunEvent::Event(event) if arguments.events => print_line(&table::json(&event)?),
            RunEvent::Event(event) => show_event(&event.kind, arguments, &mut progress),
            RunEvent::Output { .. } => Ok(()),
        };
        if let Err(error) = shown {
            run.canceller().cancel();
            if error.kind() != io::ErrorKind::BrokenPipe {
                return Err(error).context("cannot write the program's output");
            }
            // The reader is gone, so the run is of no use.
            is_unread = true;
        }
    }
    progress.clear();
    let finished = run.finished().await;
    if is_unread {
        return Ok(exit::UNREAD);
    }
    // The outcome is printed even if its files cannot be saved.
    let folder = arguments.artifacts.as_deref().zip(artifacts.as_ref());
    let saved = folder.map_or(Ok(()), |(folder, into)| {
        save(finished.artifacts, folder, into)?;
        displays::save(&finished.outcome, folder, into)
    });
    conclude(&finished.outcome, arguments)?;
    saved?;
    Ok(exit::code(&finished.outcome))
}

/// Waits for Ctrl-C, `SIGTERM` or `SIGHUP`.
pub(super) async fn until_stopped() {
    let mut terminated =
        tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let mut hung_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
    let received = |signal: &mut Option<tokio::signal::unix::Signal>| {
        let signal = signal.take();
        async move {
            match signal {
                Some(mut signal) => drop(signal.recv().await),
                None => std::future::pending().await,
            }
        }
    };
    tokio::select! {
        _ = tokio::signal::ctrl_c() => {}
        () = received(&mut terminated) => {}
        () = received(&mut hung_up) => {}
    }
}

/// Shows an event that is not printed as JSON: progress, and displayed text.
pub(super) fn show_event(
    kind: &EventKind,
    arguments: &RunArguments,
    progress: &mut show::ProgressDisplay,
) -> io::Result<()> {
    match kind {
        EventKind::Progress { message } => {
            progress.show(message);
            return Ok(());
        }
        _ => progress.clear(),
    }
    match kind {
        EventKind::Result { result } if !arguments.json => displays::print(result),
        _ => Ok(()),
    }
}

fn pass_through(stream: Stream, bytes: &[u8]) -> io::Result<()> {
    match stream {
        Stream::Stdout => {
            let mut stdout = io::stdout().lock();
            stdout.write_all(bytes)?;
            stdout.flush()
        }
        Stream::Stderr => io::stderr().lock().write_all(bytes),
    }
}

pub(super) fn print_line(line: &str) -> io::Result<()> {
    let mut stdout = io::stdout().lock();
    writeln!(stdout, "{line}")?;
    stdout.flush()
}

/// Prints the outcome: the value on standard output, everything else on standard error.
pub(super) fn conclude(outcome: &Outcome, arguments: &RunArguments) -> anyhow::Result<()> {
    if arguments.events {
        return Ok(());
    }
    if arguments.json {
        return ignore_closed(print_line(&table::json(outcome)?));
    }
    show::outcome(outcome);
    if arguments.verbose {
        show::usage(outcome);
    }
    for name in arguments
        .outputs
        .iter()
        .filter(|name| !outcome.artifacts.iter().any(|artifact| artifact.name == **name))
    {
        show::note(&format!("the program left no file `{name}` to return"));
    }
    if arguments.artifacts.is_none() {
        displays::note(&outcome.results);
        for artifact in &outcome.artifacts {
            show::note(&format!(
                "artifact: {} ({}), which --artifacts FOLDER saves",
                artifact.name,
                Bytes(artifact.size_bytes)
            ));
        }
    }
    if !outcome.left_behind.is_empty() {
        let names: Vec<&str> = outcome.left_behind.iter().map(|file| file.name.as_str()).collect();
        show::note(&format!(
            "left behind and not kept: {} (write to outputs/, or name it with --output)",
            names.join(", ")
        ));
    }
    match &outcome.value {
        Some(value) if value.get() != "null" => {
            let json = plain::json(value.get());
            ignore_closed(if io::stdout().is_terminal() {
                let width = table::terminal_width().unwrap_or(USUAL_COLUMNS);
                print_line(&pretty::format(&json, width))
            } else {
                print_line(&json)
            })
        }
        _ => Ok(()),
    }
}

pub(super) fn ignore_closed(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(error).context("cannot write the result")
        }
        _ => Ok(()),
    }
}

/// Saves the artifacts in a folder that was opened before the run. No link in it is followed,
/// because the program may have been granted the folder.
fn save(artifacts: Vec<ArtifactFile>, folder: &Path, into: &OutputFolder) -> anyhow::Result<()> {
    for mut found in artifacts {
        let path = folder.join(&found.artifact.name);
        found.save(into.as_fd()).map_err(|error| {
            let shown = path.display().to_string();
            hinted(
                format!("cannot save the artifact `{}`: {error}", plain::line(&shown)),
                "free some space, or name another folder with --artifacts",
            )
        })?;
        show::note(&format!("saved {}", path.display()));
    }
    Ok(())
}
