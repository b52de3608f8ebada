//! `belljar mcp`: a server of the Model Context Protocol over standard input and output.

use std::io::IsTerminal;
use std::process::ExitCode;

use anyhow::{Context, bail};
use belljar_engine::{Engine, EngineConfig};
use belljar_mcp::{Mcp, Packages, standard_streams};
use belljar_protocol::{Ceiling, PackagePolicy};
use tokio::signal::unix::{SignalKind, signal};

use crate::arguments::McpArguments;
use crate::environment_settings::EnvironmentSettings;
use crate::policy::policy_and_limits;
use crate::{home, packages, policy, show};

/// Serves one client until it goes away.
pub fn run(arguments: McpArguments) -> anyhow::Result<ExitCode> {
    let mut config = EngineConfig::from_env().map_err(|error| anyhow::anyhow!("{error}; {}", error.hint()))?;
    config.allow_degraded = arguments.allow_degraded;
    config.protected = home::protected();
    let ceiling = ceiling(&arguments)?;
    let policy = package_policy(&arguments)?;
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    let runs_at_a_time = arguments.runs_at_a_time.map_or(2 * processors, usize::from);
    if std::io::stdin().is_terminal() {
        show::note("this speaks the Model Context Protocol, and is for a client to start; Ctrl-C ends it");
    }
    let runtime = tokio::runtime::Runtime::new().context("starting the async runtime")?;
    let served = runtime.block_on(async {
        let engine = Engine::new(config.clone())?;
        let grants = engine.ceiling(&ceiling.policy.fs);
        grants.check()?;
        let packages = Packages { environments: packages::environments(&engine, &config, &EnvironmentSettings::default())?, policy };
        let (input, output) = standard_streams();
        let served = Mcp::new(engine.clone(), ceiling, grants, packages, runs_at_a_time).serve(input, output, told_to_stop()).await;
        engine.shutdown().await;
        anyhow::Ok(served?)
    });
    // Where standard input is no pipe, a thread may still wait for it.
    runtime.shutdown_background();
    served.map(|()| ExitCode::SUCCESS)
}

/// The ceiling that the flags set. What is wrong with it is said now, not at each call.
fn ceiling(arguments: &McpArguments) -> anyhow::Result<Ceiling> {
    let (policy, limits) = policy_and_limits(&arguments.policy, &arguments.limits)?;
    let ceiling = Ceiling { policy, limits };
    ceiling.validate()?;
    let storage = &ceiling.policy.storage;
    if !storage.read.is_empty() || !storage.write.is_empty() {
        bail!("policy.storage: belljar mcp has no storage; remove it");
    }
    Ok(ceiling)
}

/// What of packages programs may have: what the policy file says, and less by the flags.
fn package_policy(arguments: &McpArguments) -> anyhow::Result<PackagePolicy> {
    let flags = PackagePolicy {
        enabled: !arguments.no_packages,
        allowed: arguments.allow_packages.clone(),
        blocked: arguments.block_packages.clone(),
        ..PackagePolicy::widest()
    };
    Ok(policy::packages(&arguments.policy)?.within(&flags))
}

/// Ready when this process is asked to end.
async fn told_to_stop() {
    let by = |kind| async move {
        match signal(kind) {
            Ok(mut signal) => drop(signal.recv().await),
            Err(_) => std::future::pending().await,
        }
    };
    tokio::select! {
        () = by(SignalKind::interrupt()) => {}
        () = by(SignalKind::terminate()) => {}
        () = by(SignalKind::hangup()) => {}
    }
}
