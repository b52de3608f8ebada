//! `belljar env`: manages the package environments on this machine.

use std::path::Path;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use belljar_engine::{Engine, EngineConfig};
use belljar_environments::{
    EnvironmentError, EnvironmentRecord, Environments, PreparedEnvironment, Requirement,
    RunPackages, Tell, Wanted, common_packages,
};
use belljar_protocol::{
    Bytes, Ecosystem, Language, Limits, PackageOptions, PackagePolicy, ProgramFile, ProgramName,
    StartMode,
};

use super::run::ignore_closed;
use crate::arguments::{
    EnvCommand, EnvGcArguments, EnvListArguments, EnvLockArguments, EnvShowArguments,
    EnvWarmArguments,
};
use crate::environment_settings::EnvironmentSettings;
use crate::hint::{WithHint, hinted};
use crate::input::{MAX_INPUT_BYTES, StdinUse, check_standard_input, read};
use crate::run_files::RunFiles;
use crate::{exit, packages, show, table};

/// The default age at which `belljar env gc` removes an unused environment.
const UNUSED_FOR: Duration = Duration::from_hours(30 * 24);

/// Runs a subcommand of `belljar env`.
pub fn run(command: EnvCommand) -> anyhow::Result<ExitCode> {
    match command {
        EnvCommand::Lock(arguments) => {
            with_environments(async |environments| lock(environments, &arguments).await)
        }
        EnvCommand::List(arguments) => {
            with_environments(async |environments| list(&environments, &arguments))
        }
        EnvCommand::Show(arguments) => {
            with_environments(async |environments| show_one(&environments, &arguments))
        }
        EnvCommand::Warm(arguments) => {
            with_environments(async |environments| warm(environments, &arguments).await)
        }
        EnvCommand::Gc(arguments) => {
            with_environments(async |environments| collect(&environments, &arguments))
        }
    }
}

fn with_environments(
    act: impl AsyncFnOnce(Environments) -> anyhow::Result<()>,
) -> anyhow::Result<ExitCode> {
    let config = EngineConfig::from_env()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    runtime.block_on(async {
        let engine = Engine::new(config.clone())?;
        let environments =
            packages::environments(&engine, &config, &EnvironmentSettings::default())?;
        let acted = tokio::select! {
            acted = act(environments) => acted.map(|()| ExitCode::SUCCESS),
            () = super::run::until_stopped() => {
                show::note("stopped without leaving a partial environment");
                Ok(ExitCode::from(exit::CANCELLED))
            }
        };
        engine.shutdown().await;
        // Exit code 1, because this is not wrong usage.
        acted.or_else(|error| match error.downcast_ref::<EnvironmentError>() {
            Some(_) => {
                show::error(&error);
                Ok(ExitCode::FAILURE)
            }
            None => Err(error),
        })
    })
}

/// Shows the progress of an installation, and every second how long its last step has taken.
struct ProgressTicker {
    state: Arc<Mutex<ProgressState>>,
    ticks: tokio::task::JoinHandle<()>,
}

struct ProgressState {
    progress: show::ProgressDisplay,
    message: String,
    since: Instant,
}

impl ProgressTicker {
    fn new() -> Self {
        let state = Arc::new(Mutex::new(ProgressState {
            progress: show::ProgressDisplay::new(),
            message: "resolving packages".to_owned(),
            since: Instant::now(),
        }));
        let shared = Arc::clone(&state);
        let ticks = tokio::spawn(async move {
            let mut interval = tokio::time::interval(Duration::from_secs(1));
            loop {
                interval.tick().await;
                let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
                let seconds = state.since.elapsed().as_secs();
                if seconds >= 2 {
                    let message = format!("{} ({seconds} s)", state.message);
                    state.progress.show(&message);
                }
            }
        });
        Self { state, ticks }
    }

    fn tell(&self) -> Tell {
        let shared = Arc::clone(&self.state);
        Arc::new(move |message| {
            let mut state = shared.lock().unwrap_or_else(PoisonError::into_inner);
            state.progress.show(&message);
            (state.message, state.since) = (message, Instant::now());
        })
    }
}

impl Drop for ProgressTicker {
    fn drop(&mut self) {
        self.ticks.abort();
        self.state.lock().unwrap_or_else(PoisonError::into_inner).progress.clear();
    }
}

/// Returns a number with a noun, such as `2 packages`.
fn count(number: u64, noun: &str) -> String {
    if number == 1 { format!("1 {noun}") } else { format!("{number} {noun}s") }
}

/// Reads a program and its other files as `belljar run` does.
fn program(
    path: &Path,
    language: Option<Language>,
    other_files: &[String],
) -> anyhow::Result<(Language, Vec<ProgramFile>)> {
    let language = language
        .or_else(|| Language::of_path(path))
        .context("the language is unknown")
        .hint("set it with --language javascript, typescript or python")?;
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or(language.default_entry());
    let mut files = vec![ProgramFile {
        path: ProgramName::try_from(name)?,
        content: read(path, "the program", MAX_INPUT_BYTES)?,
    }];
    let found = RunFiles::find(other_files, Some(&files[0].path), Limits::MAX.files)?;
    found.report_skipped();
    files.extend(found.read(&Limits::MAX)?);
    Ok((language, files))
}

async fn lock(environments: Environments, arguments: &EnvLockArguments) -> anyhow::Result<()> {
    let uses = [StdinUse::new("the program", &arguments.file)]
        .into_iter()
        .chain(StdinUse::of_flag("--policy", arguments.policy.as_deref()))
        .chain(StdinUse::of_files(&arguments.files));
    check_standard_input(uses)?;
    let (language, files) = program(&arguments.file, arguments.language, &arguments.files)?;
    let options = PackageOptions {
        only: arguments.only_packages,
        ..packages::install_options(&arguments.install)
    };
    let policy = packages::policy_of_file(arguments.policy.as_deref())?;
    let packages = RunPackages::new(
        environments.clone(),
        arguments.packages.clone(),
        options,
        policy.clone(),
        None,
    );
    let Some(mut wanted) =
        packages.wanted(language, arguments.runtime.clone(), StartMode::Exec, &files).await?
    else {
        bail!(
            "`{}` needs no packages: it imports only the standard library and its own files",
            arguments.file.display()
        );
    };
    wanted.upgrade = arguments.upgrade;
    let ticker = ProgressTicker::new();
    let lock = environments.lock(&wanted, &policy, &ticker.tell()).await;
    drop(ticker);
    let lock = lock?;
    let Some(output) = &arguments.output else { return table::write_document(&lock.text) };
    std::fs::write(output, &lock.text)
        .with_context(|| format!("cannot write the lock file `{}`", output.display()))?;
    show::note(&format!(
        "locked {} in {}",
        count(lock.packages.len() as u64, "package"),
        output.display()
    ));
    Ok(())
}

fn list(environments: &Environments, arguments: &EnvListArguments) -> anyhow::Result<()> {
    let all = environments.list();
    if arguments.json {
        let all: Vec<_> = all
            .iter()
            .map(|(record, used)| serde_json::json!({"environment": record, "used_at": used}))
            .collect();
        return table::print_json(&serde_json::json!({"environments": all}));
    }
    let rows = all.iter().map(|(record, used)| {
        let requested = if record.requirements.is_empty() {
            "(lock file)".to_owned()
        } else {
            record.requirements.join(", ")
        };
        [
            record.key.clone(),
            record.runtime.clone(),
            Bytes(record.size_bytes).to_string(),
            table::age(*used),
            requested,
        ]
    });
    table::print(["KEY", "RUNTIME", "SIZE", "USED", "PACKAGES"], &rows.collect::<Vec<_>>())
}

fn show_one(environments: &Environments, arguments: &EnvShowArguments) -> anyhow::Result<()> {
    let keys: Vec<String> = environments
        .list()
        .into_iter()
        .map(|(record, _)| record.key)
        .filter(|key| key.starts_with(&arguments.key))
        .collect();
    let key = match &keys[..] {
        [key] => key,
        [] => {
            return Err(hinted(
                format!("environment `{}` not found", arguments.key),
                "list the environments with `belljar env list`",
            ));
        }
        _ => {
            return Err(hinted(
                format!("`{}` matches several environments: {}", arguments.key, keys.join(", ")),
                "give more characters of the key",
            ));
        }
    };
    let Some((record, lock)) = environments.find(key)? else {
        return Err(hinted(
            format!("environment `{key}` has just been removed"),
            "build it again with `belljar env warm`",
        ));
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
        ("requested", record.requirements.join(", ")),
        ("preloaded", record.modules.join(" ")),
        ("files", record.files.to_string()),
        ("size", Bytes(record.size_bytes).to_string()),
        ("content", record.content_sha256.clone()),
        ("lock", record.lock_sha256.clone()),
        ("created", record.created_at.to_string()),
    ])?;
    let rows =
        record.packages.iter().map(|package| [package.name.clone(), package.version.clone()]);
    table::write("\n")?;
    table::print(["PACKAGE", "VERSION"], &rows.collect::<Vec<_>>())
}

async fn warm(environments: Environments, arguments: &EnvWarmArguments) -> anyhow::Result<()> {
    let programs = arguments.files.iter().map(|path| StdinUse::new("a program", path));
    let uses = programs
        .chain(StdinUse::of_flag("--policy", arguments.policy.as_deref()))
        .chain(StdinUse::of_flag("--lock", arguments.lock.as_deref()));
    check_standard_input(uses)?;
    let policy = packages::policy_of_file(arguments.policy.as_deref())?;
    let options = PackageOptions {
        lock: arguments.lock.as_deref().map(packages::lock).transpose()?,
        ..packages::install_options(&arguments.install)
    };
    let packages = |named: &[String]| {
        RunPackages::new(
            environments.clone(),
            named.to_vec(),
            options.clone(),
            policy.clone(),
            None,
        )
    };
    let mut built = Vec::new();
    if arguments.common {
        for language in common_languages(arguments.language) {
            let runtime = arguments
                .runtime
                .clone()
                .filter(|runtime| runtime.runs(language))
                .unwrap_or_else(|| language.default_runtime());
            let ecosystem = Ecosystem::of(language);
            let allowed = |package: &Requirement| {
                policy.allows(ecosystem, package.name()) && !policy.blocks(package.name())
            };
            let requirements = common_packages(ecosystem).into_iter().filter(allowed).collect();
            let wanted = Wanted {
                offline: options.offline,
                allow_build: options.allow_build,
                minimum_release_age_days: options.minimum_release_age_days,
                ..Wanted::new(runtime, ecosystem, requirements)
            };
            built.extend(warm_one(&environments, Some(wanted), &policy).await?);
        }
    } else if !arguments.packages.is_empty() || arguments.files.is_empty() {
        let language = arguments
            .language
            .context("the language of the packages is unknown")
            .hint("set it with --language python or javascript")?;
        let wanted = packages(&arguments.packages)
            .wanted(language, arguments.runtime.clone(), StartMode::Exec, &[])
            .await?;
        built.extend(warm_one(&environments, wanted, &policy).await?);
    }
    for file in &arguments.files {
        let (language, files) = program(file, arguments.language, &[])?;
        let wanted = packages(&[])
            .wanted(language, arguments.runtime.clone(), StartMode::Exec, &files)
            .await?;
        match warm_one(&environments, wanted, &policy).await? {
            Some(prepared) => built.push(prepared),
            None => show::note(&format!("`{}` needs no packages", file.display())),
        }
    }
    if arguments.json {
        let built: Vec<_> = built.iter().map(|prepared| &prepared.record).collect();
        return table::print_json(&serde_json::json!({"environments": built}));
    }
    for prepared in &built {
        ignore_closed(super::run::print_line(&prepared.record.key))?;
    }
    Ok(())
}

/// Returns the languages whose common packages are installed: the given one, or one for each
/// registry.
fn common_languages(named: Option<Language>) -> Vec<Language> {
    named.map_or_else(|| vec![Language::Python, Language::JavaScript], |language| vec![language])
}

async fn warm_one(
    environments: &Environments,
    wanted: Option<Wanted>,
    policy: &PackagePolicy,
) -> anyhow::Result<Option<PreparedEnvironment>> {
    let Some(wanted) = wanted else { return Ok(None) };
    let ticker = ProgressTicker::new();
    let prepared = environments.prepare(&wanted, policy, &ticker.tell()).await;
    drop(ticker);
    Ok(Some(prepared?))
}

fn collect(environments: &Environments, arguments: &EnvGcArguments) -> anyhow::Result<()> {
    let unused_for = arguments.unused_for.map_or(UNUSED_FOR, |age| Duration::from_millis(age.0));
    let collected = environments.collect(Some(unused_for))?;
    if arguments.json {
        return table::print_json(&collected);
    }
    let in_use = if collected.in_use > 0 {
        format!(", kept {} in use", count(collected.in_use, "environment"))
    } else {
        String::new()
    };
    show::note(&format!(
        "removed {}, freed {}{in_use}",
        count(collected.environments, "environment"),
        Bytes(collected.freed_bytes)
    ));
    Ok(())
}
