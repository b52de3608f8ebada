//! Help that fits a terminal of 80 columns.

use super::Finding;
use super::sources::Sources;

const MAX_COLUMNS: usize = 80;
/// Columns by which clap indents a summary beneath its flag.
const INDENTATION: usize = 10;
/// The reference of the commands. A test compares it with the output of `--help`.
const PAGE: &str = "docs/reference/cli.md";

/// Finds summaries of flags and commands that do not fit one line of 80 columns: the first
/// paragraph beneath a flag, and the first paragraph of a command's help.
pub(crate) fn check(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.with_extension(&["md"]).filter(|source| source.path == PAGE) {
        for (line, columns) in long_summaries(&source.text) {
            let message = format!("a summary of {columns} columns, of {MAX_COLUMNS}");
            findings.push(Finding::new(&source.path, line, message));
        }
    }
    findings
}

/// Line number and width of each summary that is too wide when written on one line.
fn long_summaries(page: &str) -> Vec<(usize, usize)> {
    let lines: Vec<&str> = page.lines().collect();
    let mut long = Vec::new();
    for at in 1..lines.len() {
        let before = lines[at - 1];
        let is_head = before == "```text";
        let is_flag = before.starts_with("  ") && before.trim_start().starts_with(['-', '[', '<']);
        if !(is_head || is_flag) || lines[at].trim().is_empty() {
            continue;
        }
        let paragraph = lines[at..].iter().take_while(|line| !line.trim().is_empty());
        let words: Vec<&str> = paragraph.map(|line| line.trim()).collect();
        let indentation = if is_head { 0 } else { INDENTATION };
        let columns = indentation + words.join(" ").chars().count();
        if columns > MAX_COLUMNS {
            long.push((at + 1, columns));
        }
    }
    long
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_is_the_first_paragraph_beneath_its_flag() {
        let long = "word ".repeat(16);
        let page =
            format!("```text\nRun it\n\n  -x, --exact <N>\n          Short\n\n          {long}\n");
        assert_eq!(long_summaries(&page), []);
        let page =
            format!("```text\nRun it\n\n  -x, --exact <N>\n          {long}\n          {long}\n");
        assert_eq!(long_summaries(&page), [(5, 169)]);
    }
}
