//! `belljar run`: from flags to a request, from events to the terminal.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read, Write};
use std::os::fd::AsFd;
use std::path::{Component, Path};
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::{Context, bail};
use belljar_engine::{ArtifactFile, Engine, EngineConfig, LeftFiles, Run, RunEvent, RunOptions};
use belljar_protocol::{Bytes, EventKind, Finish, Language, Outcome, ProgramFile, ProgramName, RunRequest, StartMode, Stream, plain};
use serde_json::value::RawValue;

use crate::arguments::{RunArguments, StartChoice};
use crate::environment_settings::EnvironmentSettings;
use crate::policy::policy_and_limits;
use crate::{exit, home, packages, show, table};

/// Largest program or input file: what is given on a command line is read into memory.
pub const MOST_INPUT_BYTES: u64 = 1 << 30;
/// Largest program. V8 and `CPython` take more, but nothing that a person or a model wrote has it.
const MOST_PROGRAM_BYTES: u64 = 64 << 20;

/// Runs one program.
pub fn run(arguments: RunArguments) -> anyhow::Result<ExitCode> {
    if super::run_remote::is_asked(&arguments)? {
        return super::run_remote::run(&arguments);
    }
    let mut config = EngineConfig::from_env().map_err(|error| anyhow::anyhow!("{error}; {}", error.hint()))?;
    config.allow_degraded = arguments.allow_degraded;
    config.protected = home::protected();
    let request = request(&arguments)?;
    let artifacts = arguments.artifacts.as_deref().map(open_for_artifacts).transpose()?;
    // One run needs no pool of threads, and starts sooner without.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")?;
    let code = runtime.block_on(async {
        let engine = Engine::new(config.clone())?;
        let packages = packages::of_run(packages::environments(&engine, &config, &EnvironmentSettings::default())?, &arguments)?;
        let left_files = if artifacts.is_some() { LeftFiles::HandedBack } else { LeftFiles::Named };
        let options = RunOptions { environments: Some(Arc::new(packages)), left_files, ..RunOptions::default() };
        let code = supervise(engine.run_with(request, options), &arguments, artifacts).await;
        engine.shutdown().await;
        // The program has run: what went wrong since is not the caller's doing.
        Ok(code.unwrap_or_else(|error| {
            show::error(&error);
            exit::INTERNAL
        }))
    });
    code.map(ExitCode::from)
}

/// Makes and opens the folder for artifacts. Before the run, so that what it makes is not lost to a folder that cannot be; and so that a program that may
/// write around it cannot put a link in its place.
fn open_for_artifacts(folder: &Path) -> anyhow::Result<fs::File> {
    fs::create_dir_all(folder).with_context(|| format!("cannot create the folder for artifacts {}", folder.display()))?;
    fs::File::open(folder).with_context(|| format!("cannot open the folder for artifacts {}", folder.display()))
}

async fn supervise(mut run: Run, arguments: &RunArguments, artifacts: Option<fs::File>) -> anyhow::Result<u8> {
    let canceller = run.canceller();
    tokio::spawn(async move {
        until_told_to_stop().await;
        canceller.cancel();
    });
    let mut progress = show::Progress::new();
    let mut unread = false;
    while let Some(event) = run.next_event().await {
        let shown = match event {
            RunEvent::Output { stream, bytes } if !arguments.json && !arguments.events => pass_through(stream, &bytes),
            RunEvent::Event(event) if arguments.events => print_line(&table::json(&event)?),
            RunEvent::Event(event) => {
                match event.kind {
                    EventKind::Progress { message } => progress.show(&message),
                    _ => progress.clear(),
                }
                Ok(())
            }
            RunEvent::Output { .. } => Ok(()),
        };
        if let Err(error) = shown {
            run.canceller().cancel();
            if error.kind() != io::ErrorKind::BrokenPipe {
                return Err(error).context("cannot write the program's output");
            }
            // Nobody reads any more: the run is of no use.
            unread = true;
        }
    }
    progress.clear();
    let finished = run.finished().await;
    if unread {
        return Ok(exit::UNREAD);
    }
    // The outcome is told even where its files cannot be saved.
    let folder = arguments.artifacts.as_deref().zip(artifacts.as_ref());
    let saved = folder.map_or(Ok(()), |(folder, into)| save(finished.artifacts, folder, into));
    conclude(&finished.outcome, arguments)?;
    saved?;
    Ok(exit::of(&finished.outcome))
}

/// Waits for Ctrl-C, `SIGTERM` or `SIGHUP`.
pub(super) async fn until_told_to_stop() {
    let mut terminated = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate()).ok();
    let mut hung_up = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::hangup()).ok();
    let by = |signal: &mut Option<tokio::signal::unix::Signal>| {
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
        () = by(&mut terminated) => {}
        () = by(&mut hung_up) => {}
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

/// What is said at the end: the value on standard output, the rest on standard error.
pub(super) fn conclude(outcome: &Outcome, arguments: &RunArguments) -> anyhow::Result<()> {
    if arguments.events {
        return Ok(());
    }
    if arguments.json {
        return ignore_closed(print_line(&table::json(outcome)?));
    }
    show::outcome(outcome);
    for name in arguments.outputs.iter().filter(|name| !outcome.artifacts.iter().any(|artifact| artifact.name == **name)) {
        show::note(&format!("the program left no file {name} to hand back"));
    }
    if arguments.artifacts.is_none() {
        for artifact in &outcome.artifacts {
            show::note(&format!("artifact: {} ({}); keep it with --artifacts FOLDER", artifact.name, Bytes(artifact.size_bytes)));
        }
    }
    if !outcome.left_behind.is_empty() {
        let names: Vec<&str> = outcome.left_behind.iter().map(|file| file.name.as_str()).collect();
        show::note(&format!("left behind and not kept: {}; write to outputs/ or name it with --output", names.join(", ")));
    }
    match &outcome.value {
        Some(value) if value.get() != "null" => ignore_closed(print_line(&plain::json(value.get()))),
        _ => Ok(()),
    }
}

pub(super) fn ignore_closed(result: io::Result<()>) -> anyhow::Result<()> {
    match result {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(error).context("cannot write the result"),
        _ => Ok(()),
    }
}

/// Writes the artifacts into a folder that was opened before the run. The program may have been granted that folder: no link in it is followed.
fn save(artifacts: Vec<ArtifactFile>, folder: &Path, into: &fs::File) -> anyhow::Result<()> {
    for mut found in artifacts {
        let path = folder.join(&found.artifact.name);
        found.save(into.as_fd()).map_err(|error| {
            anyhow::anyhow!(
                "cannot save the artifact {}: {error}; make room there, or name another folder with --artifacts",
                table::printable(&path.display().to_string())
            )
        })?;
        show::note(&format!("saved {}", path.display()));
    }
    Ok(())
}

/// Standard input can be one thing only.
pub(super) fn standard_input_is_used_once(arguments: &RunArguments) -> anyhow::Result<()> {
    let stdin_uses = [arguments.file.as_deref(), arguments.params_file.as_deref(), arguments.stdin.as_deref()];
    if stdin_uses.iter().flatten().filter(|path| **path == Path::new("-")).count() > 1 {
        bail!("standard input was given twice; use `-` for one thing only");
    }
    Ok(())
}

fn request(arguments: &RunArguments) -> anyhow::Result<RunRequest> {
    standard_input_is_used_once(arguments)?;
    let code = program(arguments)?;
    let language = language(arguments, &code)?;
    let entry = ProgramName::try_from(entry_name(arguments, language))?;
    let mut request = RunRequest::new(language, code);
    request.files[0].path = entry.clone();
    request.entry = entry;
    for file in &arguments.files {
        // A relative path is its own name.
        let (name, path) = file.split_once('=').unwrap_or((file.strip_prefix("./").unwrap_or(file), file));
        request
            .files
            .push(ProgramFile { path: ProgramName::try_from(name)?, content: read(Path::new(path), "the file", MOST_INPUT_BYTES)? });
    }
    request.parameters = parameters(arguments)?;
    request.arguments.clone_from(&arguments.arguments);
    request.runtime.clone_from(&arguments.runtime);
    request.outputs = arguments.outputs.iter().map(|name| ProgramName::try_from(name.as_str())).collect::<Result<_, _>>()?;
    if let Some(stdin) = &arguments.stdin {
        request.stdin = read(stdin, "standard input", MOST_INPUT_BYTES)?;
    }
    (request.policy, request.limits) = policy_and_limits(&arguments.policy, &arguments.limits)?;
    request.finish = if arguments.settled { Finish::Settled } else { Finish::Idle };
    request.seed = arguments.seed;
    request.start = match arguments.start {
        // There is nothing for a single run to share a zygote with.
        StartChoice::Auto | StartChoice::Exec => StartMode::Exec,
        StartChoice::Fork => StartMode::Fork,
    };
    Ok(request)
}

/// Reads a file, or standard input.
pub fn read(path: &Path, what: &str, most: u64) -> anyhow::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    if path == Path::new("-") {
        io::stdin().lock().take(most + 1).read_to_end(&mut bytes).context("cannot read standard input")?;
    } else {
        let file = fs::File::open(path).map_err(|error| {
            let mend = match error.kind() {
                io::ErrorKind::PermissionDenied => "; make it readable for this user",
                _ => "; check the path",
            };
            anyhow::anyhow!("cannot open {what} {}: {error}{mend}", path.display())
        })?;
        if file.metadata().is_ok_and(|metadata| metadata.is_dir()) {
            bail!("{} is a folder; name a file", path.display());
        }
        file.take(most + 1).read_to_end(&mut bytes).with_context(|| format!("cannot read {what} {}", path.display()))?;
    }
    if bytes.len() as u64 > most {
        bail!("{what} {} is larger than {}; let it read large data in place, with --read", path.display(), Bytes(most));
    }
    Ok(bytes)
}

pub(super) fn program(arguments: &RunArguments) -> anyhow::Result<Vec<u8>> {
    let Some(path) = &arguments.file else { return Ok(arguments.code.clone().unwrap_or_default().into_bytes()) };
    let code = read(path, "the program", MOST_PROGRAM_BYTES)?;
    if let Err(error) = std::str::from_utf8(&code) {
        // Python declares other encodings in its first two lines (PEP 263), and reads them itself.
        let declares = code.split(|byte| *byte == b'\n').take(2).any(|line| line.windows(6).any(|part| part == b"coding"));
        if !declares {
            bail!("{} is not UTF-8 (byte {}); save it as UTF-8", path.display(), error.valid_up_to());
        }
    }
    Ok(code)
}

pub(super) fn language(arguments: &RunArguments, code: &[u8]) -> anyhow::Result<Language> {
    if let Some(language) = arguments.language {
        return Ok(language);
    }
    let by_extension = arguments.file.as_deref().or(arguments.entry.as_deref().map(Path::new)).and_then(Language::of_path);
    by_extension.or_else(|| of_shebang(code)).context("the language is not known; name it with --language javascript, typescript or python")
}

/// The language that the first line tells, as in `#!/usr/bin/env python3`.
fn of_shebang(code: &[u8]) -> Option<Language> {
    let line = code.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    let mut words = std::str::from_utf8(line).ok()?.split_ascii_whitespace().filter_map(|word| word.rsplit('/').next());
    let program = words.find(|word| *word != "env" && !word.starts_with('-'))?;
    match program.trim_end_matches(|c: char| c.is_ascii_digit() || c == '.') {
        "node" | "nodejs" => Some(Language::JavaScript),
        "python" => Some(Language::Python),
        "ts-node" | "tsx" => Some(Language::TypeScript),
        _ => None,
    }
}

pub(super) fn entry_name(arguments: &RunArguments, language: Language) -> String {
    if let Some(entry) = &arguments.entry {
        return entry.clone();
    }
    let path = arguments.file.as_deref().filter(|path| Language::of_path(path) == Some(language));
    path.and_then(name_within).unwrap_or_else(|| language.default_entry().to_owned())
}

/// The name of a program in its working folder: its path, so that what it imports from next to it is found there; of one
/// that lies elsewhere, by an absolute path or one with `..`, the name of its file.
fn name_within(path: &Path) -> Option<String> {
    let mut parts = Vec::new();
    for component in path.components() {
        match component {
            Component::CurDir => {}
            Component::Normal(part) => parts.push(part.to_str()?),
            _ => return path.file_name()?.to_str().map(str::to_owned),
        }
    }
    Some(parts.join("/"))
}

pub(super) fn parameters(arguments: &RunArguments) -> anyhow::Result<Box<RawValue>> {
    let mut whole: Option<Box<RawValue>> = None;
    if let Some(path) = &arguments.params_file {
        let text = read(path, "the parameters", MOST_INPUT_BYTES)?;
        whole = Some(
            serde_json::from_slice(&text)
                .map_err(|error| anyhow::anyhow!("the parameters in {} are not JSON: {error}; give one JSON value", path.display()))?,
        );
    }
    if arguments.params.is_empty() {
        return Ok(match whole {
            Some(whole) => whole,
            None => RawValue::from_string("{}".into())?,
        });
    }
    let mut named: BTreeMap<String, Box<RawValue>> = match &whole {
        Some(whole) => serde_json::from_str(whole.get())
            .ok()
            .context("--param adds to an object, and --params is none; put the values into an object, or leave --param out")?,
        None => BTreeMap::new(),
    };
    for param in &arguments.params {
        let (name, value) = param.split_once('=').with_context(|| format!("`{param}` is not NAME=VALUE; write --param city=Oslo"))?;
        let value = match serde_json::from_str::<Box<RawValue>>(value) {
            Ok(json) => json,
            Err(_) => RawValue::from_string(serde_json::to_string(value)?)?,
        };
        named.insert(name.to_owned(), value);
    }
    Ok(serde_json::value::to_raw_value(&named)?)
}
