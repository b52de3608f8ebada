//! `belljar mcp`: serves the Model Context Protocol over standard input and output.

use std::io::IsTerminal;
use std::path::Path;
use std::process::ExitCode;

use anyhow::Context;
use belljar_engine::{Engine, EngineConfig};
use belljar_mcp::{Executor, LocalExecutor, Mcp, standard_streams};
use belljar_protocol::{Ceiling, Limits, PackagePolicy};
use belljar_runner::Packages;
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::McpArguments;
use crate::environment_settings::EnvironmentSettings;
use crate::hint::hinted;
use crate::input::{StdinUse, check_standard_input};
use crate::policy::{PolicyFile, variables};
use crate::{home, packages, show};

/// Runs `belljar mcp`, until the client closes standard input.
pub fn run(arguments: McpArguments) -> anyhow::Result<ExitCode> {
    let mut config = EngineConfig::from_env()?;
    config.allow_degraded = arguments.allow_degraded;
    config.protected = home::protected();
    check_standard_input_of(&arguments)?;
    let mut requested = PolicyFile::requested(&arguments.policy, &arguments.limits)?;
    let variables = variables(&arguments.policy.env)?;
    requested.policy.get_or_insert_default().env.extend(variables);
    let package_rules = requested.packages.clone().unwrap_or_default();
    let package_flags = package_flags(&arguments);
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let runs_at_a_time = arguments.runs_at_a_time.map_or(2 * processors, usize::from);
    note_a_terminal();
    let runtime = tokio::runtime::Runtime::new().context("cannot start the async runtime")?;
    let served = runtime.block_on(async {
        let engine = Engine::new(config.clone())?;
        let ceiling = ceiling(requested, engine.machine().local_defaults())?;
        engine.check_isolation().await.context("every run would be refused on this machine")?;
        let grants = engine.ceiling(&ceiling.policy.fs);
        grants.check()?;
        let environments =
            packages::environments(&engine, &config, &EnvironmentSettings::default())?;
        let packages = Packages::new(environments, package_rules.over(PackagePolicy::default()))
            .within(&package_flags);
        let (input, output) = standard_streams();
        let executor = LocalExecutor::new(engine.clone(), ceiling, grants, packages);
        let served = Mcp::new(Executor::Local(Box::new(executor)), runs_at_a_time)
            .serve(input, output, until_stopped())
            .await;
        engine.shutdown().await;
        anyhow::Ok(served?)
    });
    // A thread may still be blocked on standard input if that is not a pipe.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// Checks that no argument names standard input, which the protocol uses.
pub fn check_standard_input_of(arguments: &McpArguments) -> anyhow::Result<()> {
    let policy = StdinUse::of_flag("--policy", arguments.policy.policy.as_deref());
    let protocol = StdinUse::new("the Model Context Protocol", Path::new("-"));
    check_standard_input(policy.into_iter().chain([protocol]))
}

/// Says what the command waits for, if a person started it.
pub fn note_a_terminal() {
    if std::io::stdin().is_terminal() {
        show::note(
            "waiting for a client of the Model Context Protocol on standard input (Ctrl-C to stop)",
        );
    }
}

/// Returns the ceiling that the flags set. It is checked now instead of at every call.
fn ceiling(requested: PolicyFile, defaults: Limits) -> anyhow::Result<Ceiling> {
    let ceiling = Ceiling {
        policy: requested.policy.unwrap_or_default(),
        limits: requested.limits.over(defaults),
    };
    ceiling.validate()?;
    let storage = &ceiling.policy.storage;
    if !storage.read.is_empty() || !storage.write.is_empty() {
        return Err(hinted("policy.storage: `belljar mcp` has no storage", "remove the field"));
    }
    Ok(ceiling)
}

/// Returns the package policy that the flags set.
fn package_flags(arguments: &McpArguments) -> PackagePolicy {
    PackagePolicy {
        enabled: !arguments.no_packages,
        allowed: arguments.allow_packages.clone(),
        blocked: arguments.block_packages.clone(),
        ..PackagePolicy::widest()
    }
}

/// Waits for Ctrl-C, `SIGTERM` or `SIGHUP`.
pub async fn until_stopped() {
    let received = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = received(SignalKind::interrupt()) => {}
        () = received(SignalKind::terminate()) => {}
        () = received(SignalKind::hangup()) => {}
    }
}
