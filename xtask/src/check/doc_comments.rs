//! Doc comments have at least three words and do not begin with a pronoun.

use super::Finding;
use super::sources::Sources;

const MIN_WORDS: usize = 3;
/// First words that leave a comment without a subject.
const NOT_A_SUBJECT: [&str; 8] = ["What", "How", "Which", "Whether", "Where", "Of", "Who", "Them"];

/// Finds doc comments that are too short to help, or that begin without a subject. `Whether` is
/// allowed on a bool, where it is the usual beginning.
pub(crate) fn check(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.with_extension(&["rs"]) {
        let lines: Vec<&str> = source.text.lines().collect();
        for (start, text) in blocks(&lines) {
            let first = text.split([' ', ',', '.', ':']).next().unwrap_or_default();
            if text.split_whitespace().count() < MIN_WORDS {
                let message = format!("a doc comment of one or two words: `{text}`");
                findings.push(Finding::new(&source.path, start + 1, message));
            } else if NOT_A_SUBJECT.contains(&first) && !is_about_a_bool(first, &lines[start..]) {
                let message = format!("a doc comment that begins with `{first}`");
                findings.push(Finding::new(&source.path, start + 1, message));
            }
        }
    }
    findings
}

/// The blocks of `///` or `//!` lines, each with the index of its first line and its text.
fn blocks<'a>(lines: &[&'a str]) -> Vec<(usize, String)> {
    let mut blocks: Vec<(usize, String)> = Vec::new();
    let mut last = None;
    for (at, line) in lines.iter().enumerate() {
        let line: &'a str = line.trim_start();
        let Some(text) = line.strip_prefix("///").or_else(|| line.strip_prefix("//!")) else {
            continue;
        };
        if text.starts_with('/') {
            continue;
        }
        match blocks.last_mut() {
            Some((_, block)) if last.is_some_and(|last| last + 1 == at) => {
                block.push(' ');
                block.push_str(text.trim());
            }
            _ => blocks.push((at, text.trim().to_owned())),
        }
        last = Some(at);
    }
    blocks
}

/// Whether a comment begins with `Whether` and its item is a bool or returns one.
fn is_about_a_bool(first: &str, lines: &[&str]) -> bool {
    let is_comment = |line: &&&str| {
        let line = line.trim_start();
        line.starts_with("//") || line.starts_with("#[") || line.starts_with(')')
    };
    let item: String = lines.iter().skip_while(is_comment).take(8).copied().collect();
    first == "Whether" && item.contains("bool")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_is_one_comment() {
        let lines = ["/// The size,", "/// in bytes.", "a: u64,", "    /// It.", "b: u64,"];
        let expected = [(0, "The size, in bytes.".to_owned()), (3, "It.".to_owned())];
        assert_eq!(blocks(&lines), expected);
    }

    #[test]
    fn whether_begins_what_is_true_or_false() {
        assert!(is_about_a_bool("Whether", &["/// Whether it is open.", "pub is_open: bool,"]));
        assert!(!is_about_a_bool("Whether", &["/// Whether it is open.", "pub open: Open,"]));
        assert!(!is_about_a_bool("What", &["/// What is open.", "pub is_open: bool,"]));
    }
}
