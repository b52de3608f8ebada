//! Runs the programs of `tests/packages` in the packages' environments, each in three ways, and
//! writes `docs/packages.md`:
//!
//! ```sh
//! # All programs, and the page.
//! cargo run --release -p belljar-environments --example packages
//! # Some programs; the results are printed.
//! cargo run --release -p belljar-environments --example packages -- pandas
//! ```
//!
//! `--measure RUNS NAME...` prints the figures of `bench/packages`. `--once NAME` runs a program
//! once, as `belljar run` does.
//!
//! `BELLJAR_CACHE` selects another folder for environments. No installation time is reported for
//! those that already exist in it.

mod leftovers;
mod measure;
mod page;
mod table;
mod trial;

use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;

use belljar_engine::{Engine, EngineConfig};
use belljar_environments::{Environments, EnvironmentsConfig, Tell};

use crate::table::Row;
use crate::trial::Trial;

type AnyError = Box<dyn std::error::Error + Send + Sync>;

#[tokio::main]
async fn main() -> Result<ExitCode, AnyError> {
    let mut only: Vec<String> = std::env::args().skip(1).collect();
    let measured =
        only.iter().position(|argument| argument == "--measure").map(|at| only.split_off(at));
    let repository = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..").canonicalize()?;
    let folder = repository.join("tests/packages");
    let rows = table::read(&folder)?;
    let config = EngineConfig::from_env()?;
    let provision = config.provision.clone();
    let engine = Engine::new(config)?;
    let environments = Environments::new(engine.clone(), EnvironmentsConfig::new(provision))?;
    if let Some([_, runs, names @ ..]) = measured.as_deref() {
        let tell: Tell = Arc::new(|line| eprintln!("    {line}"));
        for row in rows.iter().filter(|row| names.contains(&row.name)) {
            Box::pin(measure::measure(row, &folder, runs.parse()?, &environments, &tell)).await?;
        }
        drop(environments);
        engine.shutdown().await;
        return Ok(ExitCode::SUCCESS);
    }
    if let [once, name] = &only[..]
        && once == "--once"
    {
        let row = rows.iter().find(|row| row.name == *name).ok_or("no such package")?;
        let outcome = trial::run_as_the_command_does(row, &folder, &environments).await?;
        drop(environments);
        engine.shutdown().await;
        println!("{}", outcome.value.as_ref().map_or("nothing", |value| value.get()));
        return Ok(if outcome.status == belljar_protocol::Status::Succeeded {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        });
    }
    let trials = try_all(rows, &only, &folder, &environments).await;
    drop(environments);
    engine.shutdown().await;
    let left = leftovers::left_after_shutdown();
    let failed = trials.iter().filter(|trial| !trial.passed()).count();
    println!(
        "{} of {} pass in every way; left over after the shutdown: {left:?}",
        trials.len() - failed,
        trials.len()
    );
    if only.is_empty() {
        let path = repository.join("docs/packages.md");
        std::fs::write(&path, page::page(&trials))?;
        println!("wrote {}", path.display());
    }
    Ok(if failed == 0 && left.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

async fn try_all(
    rows: Vec<Row>,
    only: &[String],
    folder: &Path,
    environments: &Environments,
) -> Vec<Trial> {
    let tell: Tell = Arc::new(|line| eprintln!("    {line}"));
    let mut trials = Vec::new();
    for row in rows.into_iter().filter(|row| {
        only.is_empty()
            || only.iter().any(|name| *name == row.name || *name == row.ecosystem.name())
    }) {
        eprintln!("{}", row.name);
        let trial = Trial::run(row, folder, environments, &tell).await;
        println!("{}", page::line(&trial));
        for failure in &trial.failures {
            println!("    {failure}");
        }
        trials.push(trial);
    }
    trials
}
