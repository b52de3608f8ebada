//! `cargo xtask fuzz`: runs the fuzz targets of `fuzz/` one after the other and prints a summary.
//!
//! Uses libFuzzer through cargo-fuzz, on the stable compiler: coverage instrumentation only needs
//! `-C` flags. The sanitizers need a nightly compiler, but the fuzzed code forbids unsafe code, so
//! there is nothing for them to find.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

use anyhow::{Context, Result, bail};
use clap::Args;

use crate::programs::is_on_path;
use crate::repository;

/// Time limit for one input, in seconds. An input that takes longer is a finding.
const MAX_SECONDS_PER_INPUT: u32 = 10;
/// Memory limit for one input, in megabytes. An input that needs more is a finding.
const MAX_MEGABYTES: u32 = 2048;

/// Fuzz the parsers of data that comes from sandboxes and zygotes
///
/// Starts from the corpus in fuzz/corpus and needs cargo-fuzz (cargo install cargo-fuzz). New
/// inputs are stored in fuzz/target/corpus, from which the next invocation continues; inputs that
/// make a target fail are stored in fuzz/artifacts.
#[derive(Args)]
pub struct Arguments {
    /// Run each target for this many minutes
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,

    /// Add inputs that reach new code to fuzz/corpus
    #[arg(long)]
    keep: bool,

    /// Names of the targets to run [default: all]
    targets: Vec<String>,
}

/// Coverage and verdict of one target.
struct Reached {
    target: String,
    executions: String,
    per_second: String,
    coverage: String,
    corpus: String,
    found: bool,
}

/// Builds and runs the targets. Exits with a failure if any target has a finding.
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
    println!(
        "{:<14} {:>12} {:>10} {:>9} {:>8}  result",
        "target", "executions", "a second", "coverage", "corpus"
    );
    for Reached { target, executions, per_second, coverage, corpus, found } in &reached {
        let result = if *found { "FOUND SOMETHING, see fuzz/artifacts" } else { "nothing found" };
        println!(
            "{target:<14} {executions:>12} {per_second:>10} {coverage:>9} {corpus:>8}  {result}"
        );
    }
    Ok(if reached.iter().any(|reached| reached.found) {
        ExitCode::FAILURE
    } else {
        ExitCode::SUCCESS
    })
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
        .arg(format!("-timeout={MAX_SECONDS_PER_INPUT}"))
        .arg(format!("-rss_limit_mb={MAX_MEGABYTES}"))
        .arg("-print_final_stats=1")
        .stderr(Stdio::piped())
        .spawn()
        .context("cannot run cargo fuzz")?;
    let mut statistics = Statistics::default();
    let stderr = child.stderr.take().context("the fuzzer has no standard error")?;
    for line in BufReader::new(stderr).lines() {
        statistics.read(&line.context("cannot read the fuzzer's output")?);
    }
    let status = child.wait().context("cannot wait for the fuzzer")?;
    if !status.success() && statistics.executions.is_none() {
        bail!("cannot run {target}; the output of cargo fuzz is above");
    }
    if arguments.keep && status.success() {
        // One input per place in the code, not per number of times that the place is passed: this
        // corpus is committed to the repository.
        let mut merge = cargo_fuzz(target, &[&kept, &working]);
        merge.args(["-set_cover_merge=1", "-use_counters=0"]).stderr(Stdio::null());
        let merged = merge.status().context("cannot run cargo fuzz")?;
        if !merged.success() {
            bail!("cannot merge the corpus of {target}");
        }
    }
    let text = |value: Option<String>| value.unwrap_or_else(|| "?".to_owned());
    Ok(Reached {
        target: target.to_owned(),
        executions: text(statistics.executions),
        per_second: text(statistics.per_second),
        coverage: text(statistics.coverage),
        corpus: text(statistics.corpus),
        found: !status.success(),
    })
}

fn cargo_fuzz(target: &str, corpora: &[&PathBuf]) -> Command {
    let mut command = Command::new("cargo");
    command
        .args(["fuzz", "run", "--sanitizer", "none", target])
        .args(corpora)
        .arg("--")
        .current_dir(repository());
    command
}

/// Figures from libFuzzer's output, as text. `None`: not printed yet.
#[derive(Default)]
struct Statistics {
    executions: Option<String>,
    per_second: Option<String>,
    coverage: Option<String>,
    corpus: Option<String>,
}

impl Statistics {
    /// Reads the figures in a line, and prints the line unless it announces a new input for the
    /// corpus: there are thousands of those.
    fn read(&mut self, line: &str) {
        let after = |key: &str| {
            line.split_once(key)
                .and_then(|(_, rest)| rest.split_whitespace().next())
                .map(str::to_owned)
        };
        if let Some(executions) = after("stat::number_of_executed_units:") {
            self.executions = Some(executions);
        } else if let Some(per_second) = after("stat::average_exec_per_sec:") {
            self.per_second = Some(per_second);
        } else if line.starts_with('#') {
            self.coverage = after(" cov: ").or(self.coverage.take());
            self.corpus = after(" corp: ").or(self.corpus.take());
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
    fn statistics_are_read_from_the_fuzzers_output() {
        let mut statistics = Statistics::default();
        for line in [
            "#2\tINITED cov: 3 ft: 4 corp: 1/1b exec/s: 0 rss: 35Mb",
            "#7\tNEW    cov: 145 ft: 195 corp: 3/319b lim: 4 exec/s: 0 rss: 35Mb L: 4/4 MS: 1 InsertByte-",
            "stat::number_of_executed_units: 1680",
            "stat::average_exec_per_sec:     186",
        ] {
            statistics.read(line);
        }
        let Statistics { executions, per_second, coverage, corpus } = statistics;
        let figures = [executions, per_second, coverage, corpus].map(Option::unwrap);
        assert_eq!(figures, ["1680", "186", "145", "3/319b"]);
    }
}
