//! A cheap look at a program before its real parser: most programs import nothing but what their language has, and need no sandbox to find
//! that out. The answer "no" is given only where it is certain; whatever is odd, or only looks like an import, is left to the parser.
//!
//! It is a scan of the text that takes time in proportion to its length, and no parser: it knows neither strings nor comments, so that no
//! confusion about where one ends can hide an import from it. A word that could begin an import must be part of a form that is harmless
//! wherever it stands.

use belljar_protocol::Language;

use crate::own_files::OwnFiles;

mod javascript;
mod python;

#[cfg(test)]
mod tests;

/// Whether the parser has to read this file to know if it needs packages. False only where it imports nothing, by its text, but standard
/// modules and the run's own, and says nothing of packages in a comment.
///
/// What text alone does not show, as `exec` of a computed string, is no concern of this or of the parser.
pub fn may_need_packages(language: Language, source: &str, own: &OwnFiles) -> bool {
    if source.contains("@add-package") || language == Language::Python && may_install(source) {
        return true;
    }
    match language {
        Language::Python => python::may_need_packages(source, own),
        Language::JavaScript | Language::TypeScript => javascript::may_need_packages(source, own),
    }
}

/// Whether a command that installs packages may be in a text: `pip install`, as a line, in a list of words or in a string.
fn may_install(source: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| source.contains(word));
    has(&["pip", "conda", "mamba", "easy_install", "uv "]) && has(&["install", "add "])
}

fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
