//! `belljar env`: the environments that programs on this machine find their packages in.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use belljar_engine::{Engine, EngineConfig};
use belljar_environments::{
    EnvironmentError, EnvironmentRecord, Environments, Prepared, Requirement, RunPackages, Tell, Wanted, common_packages,
};
use belljar_protocol::{Bytes, Ecosystem, Language, PackageOptions, PackagePolicy, ProgramFile, ProgramName, StartMode};

use super::run::{MOST_INPUT_BYTES, ignore_closed, read};
use crate::arguments::{EnvCommand, EnvGcArguments, EnvListArguments, EnvLockArguments, EnvShowArguments, EnvWarmArguments};
use crate::environment_settings::EnvironmentSettings;
use crate::{exit, packages, show, table};

/// What was not used for so long goes, where nothing else is said.
const UNUSED_FOR: Duration = Duration::from_hours(30 * 24);

/// Does one thing with environments.
pub fn run(command: EnvCommand) -> anyhow::Result<ExitCode> {
    match command {
        EnvCommand::Lock(arguments) => with_environments(async |environments| lock(environments, &arguments).await),
        EnvCommand::List(arguments) => with_environments(async |environments| list(&environments, &arguments)),
        EnvCommand::Show(arguments) => with_environments(async |environments| show_one(&environments, &arguments)),
        EnvCommand::Warm(arguments) => with_environments(async |environments| warm(environments, &arguments).await),
        EnvCommand::Gc(arguments) => with_environments(async |environments| collect(&environments, &arguments)),
    }
}

fn with_environments(act: impl AsyncFnOnce(Environments) -> anyhow::Result<()>) -> anyhow::Result<ExitCode> {
    let config = EngineConfig::from_env().map_err(|error| anyhow::anyhow!("{error}; {}", error.hint()))?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")?;
    runtime.block_on(async {
        let engine = Engine::new(config.clone())?;
        let environments = packages::environments(&engine, &config, &EnvironmentSettings::default())?;
        let acted = tokio::select! {
            acted = act(environments) => acted.map(|()| ExitCode::SUCCESS),
            () = super::run::until_told_to_stop() => {
                show::note("stopped; nothing half made stays behind");
                Ok(ExitCode::from(exit::CANCELLED))
            }
        };
        engine.shutdown().await;
        // Not a matter of how it was called.
        acted.or_else(|error| match error.downcast_ref::<EnvironmentError>() {
            Some(_) => {
                show::error(&error);
                Ok(ExitCode::FAILURE)
            }
            None => Err(error),
        })
    })
}

/// Shows what goes on, and that it does.
struct Shown {
    progress: Arc<Mutex<Told>>,
    still: tokio::task::JoinHandle<()>,
}

struct Told {
    progress: show::Progress,
    last: String,
    since: Instant,
}

impl Shown {
    fn new() -> Self {
        let told = Told { progress: show::Progress::new(), last: "resolving packages".to_owned(), since: Instant::now() };
        let progress = Arc::new(Mutex::new(told));
        let shown = Arc::clone(&progress);
        let still = tokio::spawn(async move {
            let mut ticks = tokio::time::interval(Duration::from_secs(1));
            loop {
                ticks.tick().await;
                let mut told = shown.lock().unwrap_or_else(PoisonError::into_inner);
                let seconds = told.since.elapsed().as_secs();
                if seconds >= 2 {
                    let message = format!("{} ({seconds} s)", told.last);
                    told.progress.show(&message);
                }
            }
        });
        Self { progress, still }
    }

    fn tell(&self) -> Tell {
        let shown = Arc::clone(&self.progress);
        Arc::new(move |message| {
            let mut told = shown.lock().unwrap_or_else(PoisonError::into_inner);
            told.progress.show(&message);
            (told.last, told.since) = (message, Instant::now());
        })
    }
}

impl Drop for Shown {
    fn drop(&mut self) {
        self.still.abort();
        self.progress.lock().unwrap_or_else(PoisonError::into_inner).progress.clear();
    }
}

/// A number of things, in words.
fn count(number: u64, what: &str) -> String {
    if number == 1 { format!("1 {what}") } else { format!("{number} {what}s") }
}

/// A program and the files beside it, as `belljar run` would take them.
fn program(path: &Path, language: Option<Language>, beside: &[String]) -> anyhow::Result<(Language, Vec<ProgramFile>)> {
    let language = language
        .or_else(|| Language::of_path(path))
        .context("the language is not known; name it with --language javascript, typescript or python")?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(language.default_entry());
    let mut files = vec![ProgramFile { path: ProgramName::try_from(name)?, content: read(path, "the program", MOST_INPUT_BYTES)? }];
    for file in beside {
        let (name, path) = file.split_once('=').unwrap_or((file.strip_prefix("./").unwrap_or(file), file));
        files.push(ProgramFile { path: ProgramName::try_from(name)?, content: read(Path::new(path), "the file", MOST_INPUT_BYTES)? });
    }
    Ok((language, files))
}

async fn lock(environments: Environments, arguments: &EnvLockArguments) -> anyhow::Result<()> {
    let (language, files) = program(&arguments.file, arguments.language, &arguments.files)?;
    let options = PackageOptions { only: arguments.only_packages, ..packages::installed_by(&arguments.install) };
    let policy = packages::policy(arguments.policy.as_deref())?;
    let packages = RunPackages::new(environments.clone(), arguments.packages.clone(), options, policy.clone(), None);
    let Some(mut wanted) = packages.wanted(language, arguments.runtime.clone(), StartMode::Exec, &files).await? else {
        bail!("{} needs no packages: it imports nothing but the standard library and its own files", arguments.file.display());
    };
    wanted.upgrade = arguments.upgrade;
    let shown = Shown::new();
    let lock = environments.lock(&wanted, &policy, &shown.tell()).await;
    drop(shown);
    let lock = lock?;
    let Some(output) = &arguments.output else { return table::write_document(&lock.text) };
    std::fs::write(output, &lock.text).with_context(|| format!("cannot write the lock to {}", output.display()))?;
    show::note(&format!("locked {} in {}", count(lock.packages.len() as u64, "package"), output.display()));
    Ok(())
}

fn list(environments: &Environments, arguments: &EnvListArguments) -> anyhow::Result<()> {
    let all = environments.list();
    if arguments.json {
        let all: Vec<_> = all.iter().map(|(record, used)| serde_json::json!({"environment": record, "used_at": used})).collect();
        return table::print_json(&serde_json::json!({"environments": all}));
    }
    let rows = all.iter().map(|(record, used)| {
        let asked = if record.requirements.is_empty() { "by a lock".to_owned() } else { record.requirements.join(", ") };
        [record.key.clone(), record.runtime.clone(), Bytes(record.size_bytes).to_string(), table::age(*used), asked]
    });
    table::print(["KEY", "RUNTIME", "SIZE", "USED", "PACKAGES"], &rows.collect::<Vec<_>>())
}

fn show_one(environments: &Environments, arguments: &EnvShowArguments) -> anyhow::Result<()> {
    let keys: Vec<String> =
        environments.list().into_iter().map(|(record, _)| record.key).filter(|key| key.starts_with(&arguments.key)).collect();
    let key = match &keys[..] {
        [key] => key,
        [] => bail!("there is no environment {}; `belljar env list` lists them", arguments.key),
        _ => bail!("{} is the beginning of {}; give more of it", arguments.key, keys.join(", ")),
    };
    let Some((record, lock)) = environments.find(key)? else {
        bail!("the environment {key} has just been removed; make it anew with `belljar env warm`")
    };
    if arguments.lock {
        return table::write_document(&lock);
    }
    if arguments.json {
        return table::print_json(&record);
    }
    print_record(&record)
}

fn print_record(record: &EnvironmentRecord) -> anyhow::Result<()> {
    table::print_fields(&[
        ("key", record.key.clone()),
        ("runtime", record.runtime.clone()),
        ("asked for", record.requirements.join(", ")),
        ("imported ahead", record.modules.join(" ")),
        ("files", record.files.to_string()),
        ("size", Bytes(record.size_bytes).to_string()),
        ("content", record.content_sha256.clone()),
        ("lock", record.lock_sha256.clone()),
        ("made", record.created_at.to_string()),
    ])?;
    let rows = record.packages.iter().map(|package| [package.name.clone(), package.version.clone()]);
    table::write("\n")?;
    table::print(["PACKAGE", "VERSION"], &rows.collect::<Vec<_>>())
}

async fn warm(environments: Environments, arguments: &EnvWarmArguments) -> anyhow::Result<()> {
    let policy = packages::policy(arguments.policy.as_deref())?;
    let options =
        PackageOptions { lock: arguments.lock.as_deref().map(packages::lock).transpose()?, ..packages::installed_by(&arguments.install) };
    let packages = |named: &[String]| RunPackages::new(environments.clone(), named.to_vec(), options.clone(), policy.clone(), None);
    let mut made = Vec::new();
    if arguments.common {
        for language in common_languages(arguments.language) {
            let runtime = arguments.runtime.clone().filter(|runtime| runtime.runs(language)).unwrap_or_else(|| language.default_runtime());
            let ecosystem = Ecosystem::of(language);
            let allowed = |package: &Requirement| policy.allows(ecosystem, package.name()) && !policy.blocks(package.name());
            let requirements = common_packages(ecosystem).into_iter().filter(allowed).collect();
            let wanted = Wanted {
                offline: options.offline,
                allow_build: options.allow_build,
                minimum_release_age_days: options.minimum_release_age_days,
                ..Wanted::new(runtime, ecosystem, requirements)
            };
            made.extend(warm_one(&environments, Some(wanted), &policy).await?);
        }
    } else if !arguments.packages.is_empty() || arguments.files.is_empty() {
        let language = arguments.language.context("name the language of the packages; --language python or javascript")?;
        let wanted = packages(&arguments.packages).wanted(language, arguments.runtime.clone(), StartMode::Exec, &[]).await?;
        made.extend(warm_one(&environments, wanted, &policy).await?);
    }
    for file in &arguments.files {
        let (language, files) = program(file, arguments.language, &[])?;
        let wanted = packages(&[]).wanted(language, arguments.runtime.clone(), StartMode::Exec, &files).await?;
        match warm_one(&environments, wanted, &policy).await? {
            Some(prepared) => made.push(prepared),
            None => show::note(&format!("{} needs no packages", file.display())),
        }
    }
    if arguments.json {
        let made: Vec<_> = made.iter().map(|prepared| &prepared.record).collect();
        return table::print_json(&serde_json::json!({"environments": made}));
    }
    for prepared in &made {
        ignore_closed(super::run::print_line(&prepared.record.key))?;
    }
    Ok(())
}

/// The languages whose common packages are installed: the one that is named, or one for each registry.
fn common_languages(named: Option<Language>) -> Vec<Language> {
    named.map_or_else(|| vec![Language::Python, Language::JavaScript], |language| vec![language])
}

async fn warm_one(environments: &Environments, wanted: Option<Wanted>, policy: &PackagePolicy) -> anyhow::Result<Option<Prepared>> {
    let Some(wanted) = wanted else { return Ok(None) };
    let shown = Shown::new();
    let prepared = environments.prepare(&wanted, policy, &shown.tell()).await;
    drop(shown);
    Ok(Some(prepared?))
}

fn collect(environments: &Environments, arguments: &EnvGcArguments) -> anyhow::Result<()> {
    let unused_for = arguments.unused_for.map_or(UNUSED_FOR, |age| Duration::from_millis(age.0));
    let collected = environments.collect(Some(unused_for))?;
    if arguments.json {
        return table::print_json(&collected);
    }
    let in_use = if collected.in_use > 0 { format!("; {} in use and left", count(collected.in_use, "environment")) } else { String::new() };
    show::note(&format!("removed {}, freed {}{in_use}", count(collected.environments, "environment"), Bytes(collected.freed_bytes)));
    Ok(())
}
