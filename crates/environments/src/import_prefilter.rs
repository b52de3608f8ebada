//! A cheap filter before the actual parser: most programs import nothing but the modules of their
//! language, and need no sandbox to find that out. The filter answers "no" only if that is certain.
//! Everything unusual, or that merely looks like an import, is left to the parser.
//!
//! It scans the text in time proportional to its length, and is not a parser: it ignores strings
//! and comments, so that no confusion about where one ends can hide an import. A word that could
//! begin an import must be part of a form that is harmless wherever it is.

use belljar_protocol::Language;

use crate::own_files::OwnFiles;

mod javascript;
mod python;

#[cfg(test)]
mod tests;

/// Returns whether the parser has to read a file to find out if it needs packages. It returns false
/// only if the text of the file imports nothing but standard modules and the run's own, and
/// mentions no packages in a comment.
///
/// Imports that the text does not show, such as `exec` of a computed string, concern neither this
/// filter nor the parser.
pub fn may_need_packages(language: Language, source: &str, own: &OwnFiles) -> bool {
    if source.contains("@add-package") || language == Language::Python && may_install(source) {
        return true;
    }
    match language {
        Language::Python => python::may_need_packages(source, own),
        Language::JavaScript | Language::TypeScript => javascript::may_need_packages(source, own),
    }
}

/// Returns whether a text may contain a command that installs packages: `pip install` as a line, in
/// a list of words or in a string.
fn may_install(source: &str) -> bool {
    let has = |words: &[&str]| words.iter().any(|word| source.contains(word));
    has(&["pip", "conda", "mamba", "easy_install", "uv "]) && has(&["install", "add "])
}

fn is_identifier_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_'
}
