//! The filter for Python. The answer is "yes" unless every line with the word `import` is an import
//! of known modules or a comment.

use super::is_identifier_byte;
use crate::own_files::OwnFiles;
use crate::requirement::Ecosystem;
use crate::standard_library::is_standard;

pub(super) fn may_need_packages(source: &str, own: &OwnFiles) -> bool {
    let source = source.strip_prefix('\u{feff}').unwrap_or(source);
    if source.contains("# /// script")
        || source.contains(is_lookalike)
        || has_other_encoding(source)
        || has_bare_carriage_return(source)
    {
        return true;
    }
    let mut continues = false;
    for line in source.split('\n') {
        let line = line.strip_suffix('\r').unwrap_or(line);
        // After a backslash, `import os` can be the end of `from numpy \`.
        let harmless = !mentions_import(line)
            || (!continues
                && (is_plain_comment(line) || line.split(';').all(|part| is_harmless(part, own))));
        if !harmless {
            return true;
        }
        continues = line.ends_with('\\');
    }
    false
}

/// Characters that Python's NFKC normalization of identifiers turns into one of `import_`, so that
/// `__import__` can be written with them. Ranges around them all, from Unicode 15.1; a character
/// too many costs a look by the parser.
fn is_lookalike(character: char) -> bool {
    matches!(character,
        '\u{aa}' | '\u{ba}' | '\u{133}' | '\u{2b0}'..='\u{2ff}' | '\u{1d2c}'..='\u{1d6a}' | '\u{2071}'..='\u{209c}' | '\u{2134}'..='\u{217f}'
        | '\u{fb00}'..='\u{fb06}' | '\u{fe33}'..='\u{fe4f}' | '\u{ff3f}'..='\u{ff5a}' | '\u{10780}'..='\u{107bf}' | '\u{1d400}'..='\u{1d7ff}'
        | '\u{1df00}'..='\u{1dfff}' | '\u{1e030}'..='\u{1e08f}')
}

/// Returns whether the text declares another encoding than UTF-8 or a part of it (PEP 263), so that
/// it may mean something else than it shows.
fn has_other_encoding(source: &str) -> bool {
    let mut heads = source.split('\n').take(2).filter(|line| line.contains('#'));
    heads.any(|line| {
        let declared = line
            .match_indices("coding")
            .map(|(at, word)| &line[at + word.len()..])
            .find_map(|rest| rest.strip_prefix([':', '=']));
        declared.is_some_and(|name| {
            !["utf-8", "utf8", "ascii", "us-ascii"].contains(
                &name.trim().trim_end_matches("-*-").trim_end().to_ascii_lowercase().as_str(),
            )
        })
    })
}

/// Returns whether the text has a carriage return without a line feed, which ends a line for
/// Python.
fn has_bare_carriage_return(source: &str) -> bool {
    source
        .bytes()
        .zip(source.bytes().skip(1).chain([0]))
        .any(|(byte, next)| byte == b'\r' && next != b'\n')
}

/// Returns whether a text contains the word `import`, or a function that imports by a text.
fn mentions_import(text: &str) -> bool {
    let bytes = text.as_bytes();
    text.match_indices("import").any(|(at, word)| {
        let before = at.checked_sub(1).is_some_and(|before| is_identifier_byte(bytes[before]));
        let rest = &text[at + word.len()..];
        let after = rest.bytes().next().is_some_and(is_identifier_byte);
        (!before && !after)
            || rest.starts_with("__")
            || rest.starts_with("_module")
            || rest.starts_with("lib")
    })
}

/// Returns whether a line is a comment. It may also be text in a string that it does not end and,
/// in an f-string, does not leave for an expression.
fn is_plain_comment(line: &str) -> bool {
    line.trim_start_matches([' ', '\t']).starts_with('#') && !line.contains(['\'', '"', '{'])
}

/// Modules whose purpose is to import others by a text.
const IMPORTERS: [&str; 5] = ["importlib", "imp", "runpy", "pkgutil", "zipimport"];

/// Returns whether a part of a line between semicolons cannot import a package: it contains no
/// import, or only one of known modules.
fn is_harmless(part: &str, own: &OwnFiles) -> bool {
    if !mentions_import(part) {
        return true;
    }
    let statement = match part.split_once('#') {
        Some((_, comment)) if comment.contains(['\'', '"', '{']) || mentions_import(comment) => {
            return false;
        }
        Some((statement, _)) => statement,
        None => part,
    };
    if !statement.bytes().all(|b| is_identifier_byte(b) || b" \t.,*()".contains(&b)) {
        return false;
    }
    let is_known = |module: &str| {
        let top_level = module.split('.').next().unwrap_or(module);
        !IMPORTERS.contains(&top_level)
            && (is_standard(Ecosystem::PyPi, module) || own.provide(Ecosystem::PyPi, module))
    };
    let mut words = statement.split_ascii_whitespace();
    match words.next() {
        Some("import") => {
            let list = statement
                .trim_start_matches([' ', '\t'])
                .strip_prefix("import")
                .unwrap_or_default();
            list.split(',').all(|one| match one.split_ascii_whitespace().collect::<Vec<_>>()[..] {
                [module] | [module, "as", _] => is_known(module),
                _ => false,
            })
        }
        Some("from") => {
            let (Some(module), Some("import")) = (words.next(), words.next()) else { return false };
            // With a dot it is relative, so it belongs to the run.
            (module.starts_with('.') || is_known(module))
                && words.all(|name| !name.contains("import"))
        }
        _ => false,
    }
}
