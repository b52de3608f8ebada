//! `cargo run --example prepare -- python pandas==2.2.3`: makes an environment, runs a program in it, tells the times.
#![allow(missing_docs)]
use std::sync::Arc;
use std::time::Instant;

use belljar_engine::{Engine, EngineConfig, RunOptions};
use belljar_environments::{Ecosystem, Environments, EnvironmentsConfig, Requirement, RunPackages, Wanted};
use belljar_protocol::{Language, PackageOptions, PackagePolicy, RunRequest};

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let language: Language = arguments.next().unwrap_or_default().parse()?;
    let code = arguments.next().unwrap_or_default();
    let ecosystem = Ecosystem::of(language);
    let packages: Vec<String> = arguments.collect();
    let requirements = packages.iter().map(|text| Requirement::parse(ecosystem, text)).collect::<Result<Vec<_>, _>>()?;
    let mut config = EngineConfig::from_env()?;
    config.parked = 1;
    let provision = config.provision.clone();
    let engine = Engine::new(config)?;
    let environments = Environments::new(engine.clone(), EnvironmentsConfig::new(provision))?;
    let tell: belljar_environments::Tell = Arc::new(|line| eprintln!("  {line}"));
    let wanted = Wanted::new(language.default_runtime(), ecosystem, requirements);
    let mut policy = PackagePolicy::default();
    if std::env::var_os("TRUST").is_some() {
        policy.trusted.push("*".into());
    }
    for _ in 0..2 {
        let start = Instant::now();
        let prepared = environments.prepare(&wanted, &policy, &tell).await?;
        eprintln!(
            "prepared in {:?}: {} {:?} {} files {} MB {}",
            start.elapsed(),
            prepared.record.key,
            prepared.record.modules,
            prepared.record.files,
            prepared.record.size_bytes >> 20,
            prepared.record.content_sha256
        );
        for _ in 0..4 {
            let start = Instant::now();
            let source = RunPackages::new(environments.clone(), packages.clone(), PackageOptions::default(), policy.clone(), None);
            let options = RunOptions { environments: Some(Arc::new(source)), ..RunOptions::default() };
            let outcome = engine.run_with(RunRequest::new(language, code.as_str()), options).finished().await.outcome;
            println!(
                "{:?} {:?} {:?} {:?} {:?}",
                start.elapsed(),
                outcome.status,
                outcome.value,
                outcome.error,
                outcome.logs.iter().map(|log| &log.message).collect::<Vec<_>>()
            );
            tokio::time::sleep(std::time::Duration::from_millis(1500)).await;
        }
    }
    Ok(())
}
