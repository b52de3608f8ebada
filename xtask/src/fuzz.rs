//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/`, one after the other, and tells what each reached.
//!
//! libFuzzer through cargo-fuzz, on the stable compiler: coverage instrumentation is a matter of `-C` flags. Only its sanitizers need a nightly one, and
//! what is fuzzed forbids unsafe code, so that there is nothing for them to find.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::programs::is_on_path;
use crate::repository;

/// An input that takes longer than this, in seconds, is a finding.
const MOST_SECONDS_PER_INPUT: u32 = 10;
/// So is one that needs more memory, in megabytes.
const MOST_MEGABYTES: u32 = 2048;

/// Fuzz the readers of what sandboxes and zygotes say, starting from the corpus that is kept in fuzz/corpus
///
/// Needs cargo-fuzz (cargo install cargo-fuzz). What is found on the way is kept in fuzz/target/corpus and goes on from there the next time; an input
/// that breaks something is in fuzz/artifacts.
#[derive(Args)]
pub struct Arguments {
    /// How long each target runs
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,

    /// Add to fuzz/corpus what reaches code that it does not reach yet
    #[arg(long)]
    keep: bool,

    /// Which targets [default: all]
    targets: Vec<String>,
}

/// What one target reached.
struct Reached {
    target: String,
    executions: String,
    per_second: String,
    coverage: String,
    corpus: String,
    found: bool,
}

/// Builds and runs the targets. Fails if one of them found something.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    if !is_on_path("cargo-fuzz") {
        bail!("cargo-fuzz is not installed\n  hint: cargo install cargo-fuzz");
    }
    let folder = repository().join("fuzz");
    let all = targets(&folder)?;
    if let Some(unknown) = arguments.targets.iter().find(|target| !all.contains(target)) {
        bail!("there is no target {unknown}; there are {}", all.join(", "));
    }
    let chosen = if arguments.targets.is_empty() { &all } else { &arguments.targets };
    let mut reached = Vec::new();
    for target in chosen {
        reached.push(fuzz(&folder, target, arguments)?);
    }
    println!("{:<14} {:>12} {:>10} {:>9} {:>8}  result", "target", "executions", "a second", "coverage", "corpus");
    for Reached { target, executions, per_second, coverage, corpus, found } in &reached {
        let result = if *found { "FOUND SOMETHING, see fuzz/artifacts" } else { "nothing found" };
        println!("{target:<14} {executions:>12} {per_second:>10} {coverage:>9} {corpus:>8}  {result}");
    }
    Ok(if reached.iter().any(|reached| reached.found) { ExitCode::FAILURE } else { ExitCode::SUCCESS })
}

/// The names of the targets, in alphabetical order.
fn targets(folder: &Path) -> Result<Vec<String>> {
    let sources = folder.join("fuzz_targets");
    let mut names: Vec<String> = fs::read_dir(&sources)
        .with_context(|| format!("cannot read {}", sources.display()))?
        .flatten()
        .filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".rs").map(str::to_owned))
        .collect();
    names.sort();
    Ok(names)
}

fn fuzz(folder: &Path, target: &str, arguments: &Arguments) -> Result<Reached> {
    let kept = folder.join("corpus").join(target);
    let working = folder.join("target/corpus").join(target);
    for corpus in [&kept, &working] {
        fs::create_dir_all(corpus).with_context(|| format!("cannot make {}", corpus.display()))?;
    }
    eprintln!("xtask: {target}, {} minutes", arguments.minutes);
    let seconds = (arguments.minutes * 60.0).max(1.0) as u64;
    // New inputs go to the first corpus.
    let mut child = cargo_fuzz(target, &[&working, &kept])
        .arg(format!("-max_total_time={seconds}"))
        .arg(format!("-timeout={MOST_SECONDS_PER_INPUT}"))
        .arg(format!("-rss_limit_mb={MOST_MEGABYTES}"))
        .arg("-print_final_stats=1")
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo fuzz")?;
    let mut said = Said::default();
    for line in BufReader::new(child.stderr.take().context("it has a standard error")?).lines() {
        said.hear(&line.context("cannot read what the fuzzer says")?);
    }
    let status = child.wait().context("cannot wait for the fuzzer")?;
    if !status.success() && said.executions.is_none() {
        bail!("{target} could not be run; what cargo fuzz said is above");
    }
    if arguments.keep && status.success() {
        // One input for each place in the code, not for each number of times that it is passed: this is kept in the repository.
        let mut merge = cargo_fuzz(target, &[&kept, &working]);
        merge.args(["-set_cover_merge=1", "-use_counters=0"]).stderr(Stdio::null());
        let merged = merge.status().context("cannot run cargo fuzz")?;
        if !merged.success() {
            bail!("the corpus of {target} could not be merged");
        }
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
    Ok(Reached {
        target: target.to_owned(),
        executions: text(said.executions),
        per_second: text(said.per_second),
        coverage: text(said.coverage),
        corpus: text(said.corpus),
        found: !status.success(),
    })
}

fn cargo_fuzz(target: &str, corpora: &[&PathBuf]) -> Command {
    let mut command = Command::new("cargo");
    command.args(["fuzz", "run", "--sanitizer", "none", target]).args(corpora).arg("--").current_dir(repository());
    command
}

/// What libFuzzer said, as far as it is of use.
#[derive(Default)]
struct Said {
    executions: Option<String>,
    per_second: Option<String>,
    coverage: Option<String>,
    corpus: Option<String>,
}

impl Said {
    /// Takes what is in a line, and shows the line unless it is about one more input for the corpus: there are thousands of those.
    fn hear(&mut self, line: &str) {
        let behind = |key: &str| line.split_once(key).and_then(|(_, rest)| rest.split_whitespace().next()).map(str::to_owned);
        if let Some(executions) = behind("stat::number_of_executed_units:") {
            self.executions = Some(executions);
        } else if let Some(per_second) = behind("stat::average_exec_per_sec:") {
            self.per_second = Some(per_second);
        } else if line.starts_with('#') {
            self.coverage = behind(" cov: ").or(self.coverage.take());
            self.corpus = behind(" corp: ").or(self.corpus.take());
            if line.contains("\tNEW ") || line.contains("\tREDUCE ") {
                return;
            }
        }
        eprintln!("{line}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_fuzzer_says_is_understood() {
        let mut said = Said::default();
        for line in [
            "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 35Mb",
            "#7\tNEW    cov: 145 ft: 195 corp: 3/319b lim: 4 exec/s: 0 rss: 35Mb L: 4/4 MS: 1 InsertByte-",
            "stat::number_of_executed_units: 1680",
            "stat::average_exec_per_sec:     186",
        ] {
            said.hear(line);
        }
        let words = [said.executions, said.per_second, said.coverage, said.corpus].map(Option::unwrap);
        assert_eq!(words, ["1680", "186", "145", "3/319b"]);
    }
}
