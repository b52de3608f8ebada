//! `belljar self-test`: checks whether runtimes can be forked safely on this machine.

use std::process::ExitCode;

use anyhow::Context;
use belljar_engine::{Engine, EngineConfig, SelfTest};

use crate::arguments::SelfTestArguments;
use crate::show;

/// Runs `belljar self-test`. The exit code is 1 if any check failed.
pub fn run(arguments: SelfTestArguments) -> anyhow::Result<ExitCode> {
    let mut config = EngineConfig::from_env()?;
    // The checks do not depend on control groups.
    config.allow_degraded = true;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("cannot start the async runtime")?;
    let results = runtime.block_on(async {
        let engine = Engine::new(config)?;
        let mut results = Vec::new();
        for name in &arguments.runtimes {
            results.push(engine.self_test(&engine.runtime(name).await?).await?);
        }
        engine.shutdown().await;
        anyhow::Ok(results)
    })?;
    if arguments.json {
        show::say(&serde_json::to_string_pretty(&results)?);
    } else {
        results.iter().for_each(print);
    }
    Ok(if results.iter().all(SelfTest::passed) { ExitCode::SUCCESS } else { ExitCode::from(1) })
}

fn print(result: &SelfTest) {
    show::say(&result.runtime);
    for (check, wrong) in &result.checks {
        match wrong {
            None => show::say(&format!("  ok    {check}")),
            Some(wrong) => show::say(&format!("  FAIL  {check}: {wrong}")),
        }
    }
    show::say(&format!(
        "  {}",
        if result.passed() {
            "forks are safe: `fork` start is available"
        } else {
            "forks are not safe: runs use `exec` start"
        }
    ));
}
