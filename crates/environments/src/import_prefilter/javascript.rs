//! The filter for JavaScript and TypeScript. The answer is "yes" unless every word `require`,
//! `import` and `from` is part of a form that names a known module.

use super::is_identifier_byte;
use crate::imports::specifier_package;
use crate::own_files::OwnFiles;
use crate::requirement::Ecosystem;
use crate::standard_library::is_standard;

/// The maximum length of a specifier that is examined, in bytes. The longest name of npm has 214.
const MAX_SPECIFIER_BYTES: usize = 256;

pub(super) fn may_need_packages(source: &str, own: &OwnFiles) -> bool {
    if has_escaped_letter(source) || source.contains("createRequire") {
        return true;
    }
    let source = without_plain_comments(source);
    let bytes = source.as_bytes();
    let mut at = 0;
    while at < bytes.len() {
        let length = bytes[at..].iter().take_while(|byte| is_word_byte(**byte)).count();
        if length == 0 {
            at += 1;
            continue;
        }
        let end = at + length;
        let harmless = match &bytes[at..end] {
            b"require" => is_harmless_require(&bytes[end..], own),
            b"import" => is_harmless_import(&bytes[end..], own),
            b"from" => is_harmless_from(&bytes[end..], own),
            _ => true,
        };
        if !harmless {
            return true;
        }
        at = end;
    }
    false
}

fn is_word_byte(byte: u8) -> bool {
    is_identifier_byte(byte) || byte == b'$'
}

/// Returns whether the text contains an escape such as `\u0065`, with which `require` can be
/// spelled differently.
fn has_escaped_letter(source: &str) -> bool {
    source.match_indices("\\u").any(|(at, escape)| {
        let rest = &source[at + escape.len()..];
        let digits = match rest.strip_prefix('{') {
            // Any number of zeros may precede the two digits of an ASCII letter.
            Some(braced) => {
                let digits = braced.trim_start_matches('0');
                let length = digits.bytes().take(3).take_while(u8::is_ascii_hexdigit).count();
                &digits[..length]
            }
            None => rest.get(..4).unwrap_or_default(),
        };
        u32::from_str_radix(digits, 16).is_ok_and(|code| u8::try_from(code).is_ok_and(is_word_byte))
    })
}

/// Returns the text with empty lines in place of those that contain only a comment, because prose
/// often contains the words of imports. A line that could end a string, a template, a block comment
/// or JSX around it, or that contains a line end, does not count as a comment.
fn without_plain_comments(source: &str) -> String {
    let is_plain_comment = |line: &str| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let open = ['\'', '"', '`', '{', '<', '\r', '\u{2028}', '\u{2029}'];
        line.trim_ascii_start().starts_with("//") && !line.contains(open) && !line.contains("*/")
    };
    let lines: Vec<&str> =
        source.split('\n').map(|line| if is_plain_comment(line) { "" } else { line }).collect();
    lines.join("\n")
}

/// Returns whether the text after `require` is harmless: `("node:fs")`, or `.main` as in
/// `require.main === module`.
fn is_harmless_require(rest: &[u8], own: &OwnFiles) -> bool {
    if let Some(after) = rest.strip_prefix(b".main") {
        return !after.first().is_some_and(|byte| is_word_byte(*byte));
    }
    let Some(argument) = rest.trim_ascii_start().strip_prefix(b"(") else { return false };
    known_specifier(argument.trim_ascii_start(), own)
        .is_some_and(|after| after.trim_ascii_start().starts_with(b")"))
}

/// Returns whether the text after `import` is harmless: `"node:fs"`, `("node:fs")`, `.meta.url` and
/// similar, or names and `from "node:fs"`.
fn is_harmless_import(rest: &[u8], own: &OwnFiles) -> bool {
    if let Some(property) = rest.strip_prefix(b".meta.") {
        let length = property.iter().take_while(|byte| is_word_byte(**byte)).count();
        return [&b"url"[..], b"dirname", b"filename", b"main"].contains(&&property[..length]);
    }
    let rest = rest.trim_ascii_start();
    if let Some(argument) = rest.strip_prefix(b"(") {
        let after = known_specifier(argument.trim_ascii_start(), own);
        return after.is_some_and(|after| after.trim_ascii_start().starts_with(b")"));
    }
    let is_clause_byte =
        |byte: &u8| is_word_byte(*byte) || byte.is_ascii_whitespace() || b"{},*".contains(byte);
    let (clause, specifier) =
        rest.split_at(rest.iter().take_while(|byte| is_clause_byte(byte)).count());
    // Another `import` within makes the text unusual, and the scan longer than the text.
    if clause.windows(b"import".len()).any(|word| word == b"import") {
        return false;
    }
    let has_from = clause
        .trim_ascii_end()
        .strip_suffix(b"from")
        .is_some_and(|before| !before.last().is_some_and(|byte| is_word_byte(*byte)));
    (clause.is_empty() || has_from) && known_specifier(specifier, own).is_some()
}

/// Returns whether the text after `from` is harmless: anything that cannot be the end of `export
/// ... from "x"`, or a known specifier.
fn is_harmless_from(rest: &[u8], own: &OwnFiles) -> bool {
    let rest = rest.trim_ascii_start();
    match rest.first() {
        Some(b'"' | b'\'') => known_specifier(rest, own).is_some(),
        // A comment may precede the specifier, and so may white space that is not ASCII.
        Some(byte) => *byte != b'/' && *byte != 0x0b && byte.is_ascii(),
        None => true,
    }
}

/// Returns the text after a plain string that names a module of Node.js, a file, or a package of
/// the run.
fn known_specifier<'a>(text: &'a [u8], own: &OwnFiles) -> Option<&'a [u8]> {
    let quote = text.first().filter(|byte| matches!(byte, b'"' | b'\''))?;
    let length = text[1..].iter().take(MAX_SPECIFIER_BYTES).position(|byte| byte == quote)?;
    let specifier = str::from_utf8(&text[1..=length])
        .ok()
        .filter(|text| text.bytes().all(|b| (b' '..=b'~').contains(&b) && b != b'\\'))?;
    let is_path = matches!(specifier, "." | "..")
        || ["./", "../", "/"].iter().any(|start| specifier.starts_with(start));
    let is_own =
        || specifier_package(specifier).is_some_and(|package| own.provide(Ecosystem::Npm, package));
    (is_path || is_standard(Ecosystem::Npm, specifier) || is_own()).then(|| &text[length + 2..])
}
