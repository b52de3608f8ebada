//! `belljar run` on a server: the same flags, the same output and exit codes; only where it runs is another.

use std::io::{self, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::pin::pin;
use std::process::ExitCode;

use anyhow::{Context, bail};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use belljar_client::{Client, ClientError};
use belljar_protocol::{
    Event, EventKind, Finish, LogLevel, Outcome, ProgramName, Retry, RunId, RunSubmission, StartMode, Status, SubmittedFile,
};
use futures::StreamExt;

use super::run::{self, MOST_INPUT_BYTES, read};
use super::{logs, runs};
use crate::arguments::{RunArguments, StartChoice};
use crate::beneath::Folder;
use crate::{exit, packages, policy, remote, show, table};

/// What neither standard usage nor the program explains: the server cannot be reached, or failed.
const UNAVAILABLE: u8 = exit::INTERNAL;
/// The server does not let this caller run this.
const REFUSED: u8 = 125;

/// Whether the run is for a server.
pub fn is_asked(arguments: &RunArguments) -> anyhow::Result<bool> {
    let of = &arguments.remote;
    if of.remote || of.server.server.is_some() || of.server.profile.is_some() || of.server.project.is_some() {
        if arguments.allow_degraded {
            bail!("--allow-degraded is not the caller's to say on a server; its operator starts it with that flag");
        }
        return Ok(true);
    }
    let alone = [
        (of.detach, "--detach"),
        (!of.labels.is_empty(), "--label"),
        (of.comment.is_some(), "--comment"),
        (!of.objects.is_empty(), "--object"),
        (!of.storage_read.is_empty(), "--storage-read"),
        (!of.storage_write.is_empty(), "--storage-write"),
        (of.attempts.is_some(), "--attempts"),
    ];
    match alone.iter().find(|(is_given, _)| *is_given) {
        Some((_, flag)) => bail!("{flag} is for a run on a server; add --remote, or name the server with --server URL"),
        None => Ok(false),
    }
}

/// Runs one program on a server.
pub fn run(arguments: &RunArguments) -> anyhow::Result<ExitCode> {
    let submission = submission(arguments)?;
    // Before the run, so that what it makes is not lost to a folder that cannot be; and a program of a server on this machine, which may write around it,
    // cannot put a link in its place.
    let open =
        |folder: &PathBuf| Folder::open(folder).with_context(|| format!("cannot create the folder for artifacts {}", folder.display()));
    let artifacts = arguments.artifacts.as_ref().map(open).transpose()?;
    let done = remote::client(&arguments.remote.server)
        .and_then(|client| remote::runtime()?.block_on(supervise(&client, &submission, arguments, artifacts.as_ref())));
    match done {
        Err(error) => {
            let Some(code) = error.downcast_ref::<ClientError>().map(code_of) else { return Err(error) };
            show::error(&error);
            Ok(ExitCode::from(code))
        }
        done => done.map(ExitCode::from),
    }
}

fn code_of(error: &ClientError) -> u8 {
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
    artifacts: Option<&Folder>,
) -> anyhow::Result<u8> {
    let mut stopping = pin!(run::until_told_to_stop());
    let mut is_stopping = false;
    let mut started = pin!(client.start_run(submission));
    let record = loop {
        tokio::select! {
            record = started.as_mut() => break record?,
            // The answer is still waited for, or the run would go on unknown; a second signal ends even that.
            () = stopping.as_mut() => {
                if std::mem::replace(&mut is_stopping, true) {
                    return Ok(exit::CANCELLED);
                }
                stopping.set(run::until_told_to_stop());
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
    let mut progress = show::Progress::new();
    let (mut ended, mut is_unread) = (None, false);
    loop {
        let event = tokio::select! {
            event = events.next() => event,
            () = stopping.as_mut() => {
                if std::mem::replace(&mut is_stopping, true) {
                    return Ok(exit::CANCELLED);
                }
                stopping.set(run::until_told_to_stop());
                cancel(client, id);
                continue;
            }
        };
        let Some(event) = event else { break };
        let event = event.inspect_err(|_| show::note(&format!("the run goes on without being watched: belljar logs -f {id}")))?;
        let shown = tell(&event, arguments, &mut progress);
        if let EventKind::Finished { outcome } = event.kind {
            ended = Some(*outcome);
        }
        if let Err(error) = shown {
            if error.kind() != io::ErrorKind::BrokenPipe {
                client.cancel_run(id).await?;
                return Err(error).context("cannot write the program's output");
            }
            // Nobody reads any more: the run is of no use.
            if !std::mem::replace(&mut is_unread, true) {
                cancel(client, id);
            }
        }
    }
    progress.clear();
    if is_unread {
        return Ok(exit::UNREAD);
    }
    conclude(client, &ended.context("the events ended without an outcome")?, arguments, artifacts).await
}

/// Cancels the run on the server. Its end comes as its last event.
fn cancel(client: &Client, id: &RunId) {
    let (client, id) = (client.clone(), id.clone());
    tokio::spawn(async move {
        if let Err(error) = client.cancel_run(&id).await {
            show::error(&error.into());
        }
    });
}

async fn conclude(client: &Client, outcome: &Outcome, arguments: &RunArguments, artifacts: Option<&Folder>) -> anyhow::Result<u8> {
    // The outcome is told even where its files cannot be saved.
    let saved = match arguments.artifacts.as_deref().zip(artifacts) {
        Some((folder, into)) => runs::save(client, &outcome.id, &outcome.artifacts, folder, into).await,
        None => Ok(()),
    };
    run::conclude(outcome, arguments)?;
    if let Err(error) = saved {
        show::error(&error);
        return Ok(exit::INTERNAL);
    }
    if outcome.status == Status::Interrupted && !arguments.json && !arguments.events {
        show::note(&format!("run it again with belljar runs rerun {}", outcome.id));
    }
    Ok(exit::of(outcome))
}

fn tell(event: &Event, arguments: &RunArguments, progress: &mut show::Progress) -> io::Result<()> {
    if arguments.events {
        return run::print_line(&table::json(event)?);
    }
    match &event.kind {
        EventKind::Progress { message } => progress.show(message),
        _ => progress.clear(),
    }
    let EventKind::Log { level, message } = &event.kind else { return Ok(()) };
    if arguments.json {
        return Ok(());
    }
    match level {
        LogLevel::Debug | LogLevel::Info => run::print_line(&logs::shown(message, io::stdout().is_terminal())),
        LogLevel::Warn | LogLevel::Error => writeln!(io::stderr().lock(), "{}", logs::shown(message, io::stderr().is_terminal())),
    }
}

fn submission(arguments: &RunArguments) -> anyhow::Result<RunSubmission> {
    run::standard_input_is_used_once(arguments)?;
    let code = run::program(arguments)?;
    let language = run::language(arguments, &code)?;
    let entry = ProgramName::try_from(run::entry_name(arguments, language))?;
    let mut submission = RunSubmission::new(language, String::new());
    match String::from_utf8(code) {
        Ok(code) => submission.code = Some(code),
        // Python in another encoding, which it declares by itself.
        Err(error) => {
            submission.code = None;
            submission.files.push(file(entry.clone(), error.into_bytes()));
        }
    }
    submission.entry = Some(entry);
    for given in &arguments.files {
        // A relative path is its own name.
        let (name, path) = given.split_once('=').unwrap_or((given.strip_prefix("./").unwrap_or(given), given));
        let content = read(Path::new(path), "the file", MOST_INPUT_BYTES)?;
        submission.files.push(file(ProgramName::try_from(name)?, content));
    }
    for given in &arguments.remote.objects {
        let (name, object) = given.split_once('=').unwrap_or((given, given));
        let object = super::storage::plain(object).to_owned();
        let path = ProgramName::try_from(super::storage::plain(name))?;
        submission.files.push(SubmittedFile { path, content: None, content_base64: None, object: Some(object) });
    }
    submission.parameters = Some(run::parameters(arguments)?);
    submission.arguments.clone_from(&arguments.arguments);
    submission.runtime.clone_from(&arguments.runtime);
    submission.packages.clone_from(&arguments.packages.packages);
    submission.package_options = packages::options(&arguments.packages)?;
    submission.outputs = arguments.outputs.iter().map(|name| ProgramName::try_from(name.as_str())).collect::<Result<_, _>>()?;
    if let Some(stdin) = &arguments.stdin {
        let text = String::from_utf8(read(stdin, "standard input", MOST_INPUT_BYTES)?);
        submission.stdin =
            Some(text.ok().context("standard input is not UTF-8, and a server takes text; give the bytes as a file, with --file")?);
    }
    let policy::PolicyFile { mut policy, limits, packages: allowed } = policy::asked(&arguments.policy, &arguments.limits)?;
    if allowed.is_some() {
        bail!("what a policy file says of packages is for the operator of the server; leave `packages` out of it");
    }
    let of = &arguments.remote;
    if !of.storage_read.is_empty() || !of.storage_write.is_empty() {
        let storage = &mut policy.get_or_insert_default().storage;
        let prefixes = |given: &[String]| given.iter().map(|prefix| super::storage::plain(prefix).to_owned()).collect::<Vec<_>>();
        storage.read.extend(prefixes(&of.storage_read));
        storage.write.extend(prefixes(&of.storage_write));
    }
    (submission.policy, submission.limits) = (policy, limits);
    submission.finish = if arguments.settled { Finish::Settled } else { Finish::Idle };
    submission.seed = arguments.seed;
    submission.start = match arguments.start {
        StartChoice::Auto => StartMode::Auto,
        StartChoice::Exec => StartMode::Exec,
        StartChoice::Fork => StartMode::Fork,
    };
    submission.labels = of.labels.iter().map(|text| runs::label(text)).collect::<Result<_, _>>()?;
    submission.comment.clone_from(&of.comment);
    submission.retry = of.attempts.map(|attempts| Retry { attempts, on: vec![Status::Interrupted, Status::Crashed], backoff_ms: 1000 });
    submission.check()?;
    Ok(submission)
}

fn file(path: ProgramName, content: Vec<u8>) -> SubmittedFile {
    let (content, content_base64) = match String::from_utf8(content) {
        Ok(text) => (Some(text), None),
        Err(error) => (None, Some(BASE64.encode(error.as_bytes()))),
    };
    SubmittedFile { path, content, content_base64, object: None }
}
