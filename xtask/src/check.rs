//! `cargo xtask check`: the project's style rules that neither rustfmt nor clippy enforces.
//!
//! Each rule is a file of its own and returns findings; this file collects and prints them.

mod circles;
mod doc_comments;
mod help;
mod names;
mod sources;
mod width;
mod words;

use std::process::ExitCode;

use anyhow::Result;
use clap::Args;

use crate::repository;
use sources::Sources;

/// Check the English, the line width and the structure of the source files
///
/// Looks for words that the project does not use, doc comments of one or two words, lines over 100
/// columns, help over 80 columns, circles of files within a crate, and public types that share a
/// name.
#[derive(Args)]
pub struct Arguments {
    /// Print only the number of findings of each rule
    #[arg(long)]
    summary: bool,
}

/// One violation of a rule.
pub(crate) struct Finding {
    /// File and line, `path:line`, relative to the repository root.
    place: String,
    message: String,
}

impl Finding {
    fn new(file: &str, line: usize, message: impl Into<String>) -> Self {
        Self { place: format!("{file}:{line}"), message: message.into() }
    }
}

type Rule = fn(&Sources) -> Result<Vec<Finding>>;

const RULES: [(&str, Rule); 6] = [
    ("words", |sources| Ok(words::check(sources))),
    ("doc comments", |sources| Ok(doc_comments::check(sources))),
    ("width", |sources| Ok(width::check(sources))),
    ("help", |sources| Ok(help::check(sources))),
    ("circles of files", circles::check),
    ("names of types", names::check),
];

/// Runs every rule. Exits with a failure if any rule has findings.
pub fn run(arguments: &Arguments) -> Result<ExitCode> {
    let holds = holds(arguments.summary)?;
    Ok(if holds { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Runs every rule, and prints the findings or, with `summary`, only their numbers. Returns whether
/// there are none.
pub fn holds(summary: bool) -> Result<bool> {
    let sources = Sources::read(repository())?;
    let mut total = 0;
    for (name, rule) in RULES {
        let findings = rule(&sources)?;
        total += findings.len();
        if !summary {
            for finding in &findings {
                println!("{}: {}", finding.place, finding.message);
            }
        }
        println!(
            "{name}: {}",
            if findings.is_empty() { "ok".into() } else { findings.len().to_string() }
        );
    }
    Ok(total == 0)
}
