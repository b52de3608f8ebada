//! Lines of at most 100 columns.

use std::ops::RangeInclusive;

use proc_macro2::{TokenStream, TokenTree};

use super::Finding;
use super::sources::{Source, Sources};

use std::path::Path;

const MAX_COLUMNS: usize = 100;
/// Pages that are written by a program.
const GENERATED: [&str; 3] = ["docs/packages.md", "docs/reference/cli.md", "docs/conformance/"];

/// Finds lines of Rust and Markdown that are too wide. Text that cannot be broken may be wider:
/// strings, table rows, links, and the programs shown in a page.
pub(crate) fn check(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.with_extension(&["rs", "md"]) {
        if GENERATED.iter().any(|page| source.path.starts_with(page)) {
            continue;
        }
        for (number, line) in wide_lines(source) {
            let columns = line.chars().count();
            let message = format!("{columns} columns, of {MAX_COLUMNS}");
            findings.push(Finding::new(&source.path, number, message));
        }
    }
    findings
}

fn wide_lines(source: &Source) -> Vec<(usize, &str)> {
    let is_page = Path::new(&source.path).extension().is_some_and(|extension| extension == "md");
    let strings = if is_page { Vec::new() } else { strings(source) };
    let mut is_program = false;
    let mut wide = Vec::new();
    for (number, line) in source.text.lines().enumerate() {
        let start = line.trim_start();
        if is_page && start.starts_with("```") {
            is_program = !is_program;
        }
        if line.chars().count() <= MAX_COLUMNS {
            continue;
        }
        let may_be_wide = if is_page {
            is_program || start.starts_with('|')
        } else {
            !start.starts_with("//") && strings.iter().any(|lines| lines.contains(&(number + 1)))
        };
        if !may_be_wide && start.contains(' ') && !is_link(start) {
            wide.push((number + 1, line));
        }
    }
    wide
}

/// The range of lines that each string literal covers.
fn strings(source: &Source) -> Vec<RangeInclusive<usize>> {
    let mut strings = Vec::new();
    let mut waiting: Vec<TokenStream> = source.text.parse().into_iter().collect();
    while let Some(tokens) = waiting.pop() {
        for token in tokens {
            match token {
                TokenTree::Group(group) => waiting.push(group.stream()),
                TokenTree::Literal(literal) => {
                    let span = literal.span();
                    strings.push(span.start().line..=span.end().line);
                }
                TokenTree::Ident(_) | TokenTree::Punct(_) => {}
            }
        }
    }
    strings
}

fn is_link(line: &str) -> bool {
    line.split(' ').any(|word| word.len() > MAX_COLUMNS / 2 && word.contains("://"))
}
