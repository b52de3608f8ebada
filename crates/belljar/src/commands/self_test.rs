//! `belljar self-test`: are forks of the runtimes safe here?

use std::process::ExitCode;

use anyhow::Context;
use belljar_engine::{Engine, EngineConfig, SelfTest};
use belljar_protocol::RuntimeName;

use crate::arguments::SelfTestArguments;
use crate::show;

/// Tests and prints. Exit status 1 when anything failed.
pub fn run(arguments: SelfTestArguments) -> anyhow::Result<ExitCode> {
    let mut config = EngineConfig::from_env().map_err(|error| anyhow::anyhow!("{error}; {}", error.hint()))?;
    // What is tested here does not depend on control groups.
    config.allow_degraded = true;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("starting the async runtime")?;
    let names = if arguments.runtimes.is_empty() { vec![RuntimeName::Node(None), RuntimeName::Python(None)] } else { arguments.runtimes };
    let results = runtime.block_on(async {
        let engine = Engine::new(config)?;
        let mut results = Vec::new();
        for name in &names {
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
        if result.passed() { "forks are safe: `fork` start can be used" } else { "forks are not safe: `exec` start will be used" }
    ));
}
