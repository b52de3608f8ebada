//! Words and phrases that the project avoids, each with its replacement.

use super::Finding;
use super::sources::Sources;

/// Phrases in lower case; each matches whole words only.
const PHRASES: [(&str, &str); 24] = [
    ("mend", "fix or hint"),
    ("mends", "fixes"),
    ("mended", "fixed"),
    ("mending", "fixing"),
    ("whoever", "the client, the caller"),
    ("somebody", "a noun, or someone"),
    ("so many", "N, the number"),
    ("be had", "be available, be installed"),
    ("is had", "is available"),
    ("are had", "are available"),
    ("at one time", "at once, concurrently"),
    ("goes on", "continues"),
    ("cannot be meant", "is invalid"),
    ("under way", "running, in progress"),
    ("anew", "again"),
    ("told", "reported, shown, returned"),
    ("ahead", "in advance, pre-"),
    ("beside", "next to, alongside"),
    ("lies beside", "next to"),
    ("a word for people", "a comment"),
    ("giving up new privileges", "setting no_new_privs"),
    ("makes no difference whether", "a plain sentence"),
    ("does not matter who", "a plain sentence"),
    ("way out", "fix"),
];

/// Prefixes of names, each with the usual form.
const PREFIXES: [(&str, &str); 2] = [("MOST_", "MAX_"), ("LEAST_", "MIN_")];

/// Files that may contain the words: this one, and the changelog, which lists names of the past.
const EXEMPT: [&str; 2] = ["xtask/src/check/words.rs", "CHANGELOG.md"];

/// Finds every use of a phrase in source files, scripts and pages.
pub(crate) fn check(sources: &Sources) -> Vec<Finding> {
    let mut findings = Vec::new();
    for source in sources.with_extension(&["rs", "md", "py", "js", "cjs", "mjs", "ts", "c", "toml"])
    {
        if EXEMPT.contains(&source.path.as_str()) || source.path.contains("/fixtures/") {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let lower = line.to_lowercase();
            for (phrase, better) in PHRASES {
                if has_phrase(&lower, phrase) {
                    let message = format!("`{phrase}`: write {better}");
                    findings.push(Finding::new(&source.path, number + 1, message));
                }
            }
            for (prefix, better) in PREFIXES {
                if has_prefix(line, prefix) {
                    let message = format!("`{prefix}`: name it `{better}`");
                    findings.push(Finding::new(&source.path, number + 1, message));
                }
            }
        }
    }
    findings
}

/// Whether a line contains the phrase as whole words. An underscore separates words too, so that
/// names count; a hyphen does not (`look-ahead` is one word).
fn has_phrase(line: &str, phrase: &str) -> bool {
    line.match_indices(phrase).any(|(at, _)| {
        let is_part = |character: char| character.is_alphanumeric() || character == '-';
        let before = line[..at].chars().next_back();
        let after = line[at + phrase.len()..].chars().next();
        !before.is_some_and(is_part) && !after.is_some_and(is_part)
    })
}

fn has_prefix(line: &str, prefix: &str) -> bool {
    line.match_indices(prefix).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + prefix.len()..].chars().next();
        !before.is_some_and(|character| character.is_alphanumeric() || character == '_')
            && after.is_some_and(|character| character.is_ascii_uppercase())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whole_words_count_and_parts_of_words_do_not() {
        assert!(has_phrase("how to mend it", "mend"));
        assert!(has_phrase("fn is_told()", "told"));
        assert!(!has_phrase("we recommend it", "mend"));
        assert!(!has_phrase("besides that", "beside"));
        assert!(!has_phrase("a look-ahead", "ahead"));
        assert!(has_prefix("const MOST_BYTES: usize", "MOST_"));
        assert!(!has_prefix("ALMOST_ALL", "MOST_"));
    }
}
