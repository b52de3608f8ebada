//! `docs/packages.md`.

use std::fmt::Write as _;

use belljar_environments::Ecosystem;

use crate::trial::{Result, Trial};

const HEAD: &str = "\
# Packages that were tried

The packages that programs written by agents reach for most, each used by a small program with a result that is known: [tests/packages](../tests/packages).
Generated; make it anew with

    cargo run --release -p belljar-environments --example packages

";

const METHOD: &str = "\
- **Install**: seconds until the environment is there, resolved, downloaded and compiled, in an empty cache; what an earlier row has downloaded is not downloaded again.
  **Size**: what its files hold; files that environments have in common are kept once.
- **Cold**: `exec` start, a runtime process for the run, which imports the modules. One run.
- **Imported in the sandbox**: the default. The sandbox was forked from a zygote without packages, has imported them for itself in its jail, and is parked.
  The median of three runs.
- **Imported in the zygote**: the operator trusts all of these packages. The sandbox is forked when the run comes, and has the modules from its zygote. The median of three runs.
- Times are milliseconds from the request to the outcome, the program's own work included. Every run is held to the value in the table, to random numbers that no other run drew
  (those of the language, of the operating system and of the package), and to leaving no process and no control group behind. *failed* is a run that was not.
- Limits are the default ones, but for what the last column says.

";

/// The whole page.
pub fn page(trials: &[Trial]) -> String {
    let passed = trials.iter().filter(|trial| trial.passed()).count();
    let mut text = format!("{HEAD}{passed} of {} pass in all three ways.\n\n{METHOD}", trials.len());
    for (ecosystem, title) in [(Ecosystem::PyPi, "PyPI"), (Ecosystem::Npm, "npm")] {
        let _ = write!(
            text,
            "## {title}\n\n| package | version | why | install, s | size, MB | cold | imported in the sandbox | in the zygote | |\n\
             | --- | --- | --- | ---: | ---: | ---: | ---: | ---: | --- |\n"
        );
        for trial in trials.iter().filter(|trial| trial.row.ecosystem == ecosystem) {
            let _ = writeln!(text, "{}", line(trial));
        }
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// One row.
pub fn line(trial: &Trial) -> String {
    let install = trial.install.map_or_else(String::new, |time| format!("{:.1}", time.as_secs_f64()));
    format!(
        "| {} | {} | {} | {install} | {:.1} | {} | {} | {} | {} |",
        trial.row.name,
        trial.version,
        trial.row.reason,
        trial.size_bytes as f64 / f64::from(1 << 20),
        figure(&trial.cold),
        figure(&trial.sandbox),
        figure(&trial.zygote),
        notes(trial),
    )
}

fn figure(result: &Result) -> String {
    match result.p50_ms() {
        Some(time) if result.passed && time < 100.0 => format!("{time:.1}"),
        Some(time) if result.passed => format!("{time:.0}"),
        _ => "*failed*".into(),
    }
}

fn notes(trial: &Trial) -> String {
    let mut notes = Vec::new();
    if let Some(megabytes) = trial.row.memory_mb {
        notes.push(format!("{megabytes} MB"));
    }
    if let Some(processes) = trial.row.processes {
        notes.push(format!("{processes} threads"));
    }
    if trial.row.loopback {
        notes.push("`loopback`".into());
    }
    if let Some(why) = &trial.why_not_ahead {
        notes.push(format!("{why}: imported in the sandbox in both ways"));
    }
    if !trial.row.note.is_empty() {
        notes.push(trial.row.note.clone());
    }
    notes.join("; ")
}
