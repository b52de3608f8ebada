//! Escaping of untrusted text. Text from a program, a package or a server passes through this
//! module before a terminal, a log or a model sees it.
//!
//! Every character that is invisible, or that changes how the text around it is shown, becomes an
//! escape such as `\u{202e}`. No character is dropped, so that two different texts never look the
//! same, and no control sequence takes effect.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};

/// The maximum length of a line that [`line()`] returns, in bytes. The longest name of an object or
/// a file fits, even if every character is escaped.
pub const MAX_LINE_BYTES: usize = 8 << 10;
/// The maximum length of a text that [`block`] returns, in bytes, without the notice that it was
/// cut.
pub const MAX_BLOCK_BYTES: usize = 64 << 10;
/// The maximum number of combining marks on one character. No script needs as many, and more of
/// them would paint over the lines above and below.
const MAX_MARKS: usize = 8;
/// The words that Belljar's own lines begin with.
const OWN_WORDS: [&str; 6] = ["belljar", "degraded", "error", "hint", "note", "warning"];

/// Escapes a text as one line of at most [`MAX_LINE_BYTES`]. Line ends and tabs are escaped, too.
///
/// ```
/// let escaped = belljar_protocol::plain::line("a\x1b[2J\nhint: b\u{202e}");
/// assert_eq!(escaped, r"a\u{1b}[2J\nhint: b\u{202e}");
/// ```
pub fn line(text: &str) -> Cow<'_, str> {
    cut(text, escaped(text, is_hidden, MAX_LINE_BYTES), MAX_LINE_BYTES)
}

/// Escapes a text of several lines and at most [`MAX_BLOCK_BYTES`]. No line can be mistaken for one
/// of Belljar's own: a line that begins like a hint or an error is prefixed with a bar.
///
/// ```
/// let escaped = belljar_protocol::plain::block("no such file\nhint: run me");
/// assert_eq!(escaped, "no such file\n| hint: run me");
/// ```
pub fn block(text: &str) -> Cow<'_, str> {
    let shown = cut(text, escaped(text, is_hidden_in_text, MAX_BLOCK_BYTES), MAX_BLOCK_BYTES);
    if !shown.split('\n').any(looks_like_ours) {
        return shown;
    }
    let lines = shown
        .split('\n')
        .map(|line| if looks_like_ours(line) { format!("| {line}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n").into()
}

/// Escapes a text of several lines and any length. Use it for text that is clearly marked as the
/// program's, such as its logs.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden_in_text, usize::MAX)
}

/// Escapes a text of several lines and prefixes each with a bar, so that none can be mistaken for a
/// line of the document around it. If the text with its bars would exceed `max_bytes`, only its
/// beginning and its end are shown, with the line `gap` between them. The gap comes from the caller
/// and has no bar.
///
/// ```
/// use belljar_protocol::plain::quoted;
///
/// assert_eq!(quoted("1\n\nlogs:\n2", 100, "..."), "| 1\n| \n| logs:\n| 2");
/// assert_eq!(quoted("1\n2\n3\n4\n5\n6", 20, "..."), "| 1\n| 2\n...\n| 5\n| 6");
/// ```
pub fn quoted(text: &str, max_bytes: usize, gap: &str) -> String {
    let shown = escaped(text, is_hidden_in_text, max_bytes);
    if quoted_bytes(&shown) <= max_bytes {
        return behind_bars(&shown);
    }
    let half = max_bytes / 2;
    let end = &text[text.ceil_char_boundary(text.len().saturating_sub(half))..];
    let end = escaped(end, is_hidden_in_text, usize::MAX);
    format!(
        "{}\n{gap}\n{}",
        behind_bars(beginning_within(&shown, half)),
        behind_bars(end_within(&end, half))
    )
}

fn behind_bars(text: &str) -> String {
    text.split('\n').map(|line| format!("| {line}")).collect::<Vec<_>>().join("\n")
}

/// Returns the bytes that a line takes with its bar and its line end.
fn quoted_line_bytes(line: &str) -> usize {
    "| ".len() + line.len() + 1
}

/// Returns the bytes that a text takes with its bars.
fn quoted_bytes(text: &str) -> usize {
    text.split('\n').map(quoted_line_bytes).sum()
}

/// Returns the first lines of a text that fit with their bars, and a part of the next line if that
/// one is long.
fn beginning_within(text: &str, max_bytes: usize) -> &str {
    let (mut used, mut length) = (0, 0);
    for line in text.split('\n') {
        if used + quoted_line_bytes(line) > max_bytes {
            let room = max_bytes.saturating_sub(used + quoted_line_bytes(""));
            let is_part_shown = room * 4 > max_bytes || length == 0;
            return if is_part_shown {
                &text[..length + line.floor_char_boundary(room)]
            } else {
                &text[..length - 1]
            };
        }
        used += quoted_line_bytes(line);
        length += line.len() + 1;
    }
    text
}

/// Returns the last lines of a text that fit with their bars, and a part of the line before if that
/// one is long.
fn end_within(text: &str, max_bytes: usize) -> &str {
    let (mut used, mut start) = (0, text.len() + 1);
    for line in text.rsplit('\n') {
        if used + quoted_line_bytes(line) > max_bytes {
            let room = max_bytes.saturating_sub(used + quoted_line_bytes(""));
            let is_part_shown = room * 4 > max_bytes || start > text.len();
            let left_out = line.ceil_char_boundary(line.len().saturating_sub(room));
            return if is_part_shown {
                &text[start - 1 - line.len() + left_out..]
            } else {
                &text[start..]
            };
        }
        used += quoted_line_bytes(line);
        start -= line.len() + 1;
    }
    text
}

/// Escapes JSON for a terminal. Hidden characters in its strings become JSON escapes such as
/// `\u202e`, so that the value stays the same.
///
/// ```
/// assert_eq!(belljar_protocol::plain::json("\"a\u{202e}\""), r#""a\u202e""#);
/// ```
pub fn json(json: &str) -> Cow<'_, str> {
    // JSON requires escapes for the characters below U+0020 in strings, and allows some of them as
    // white space between tokens.
    let is_hidden_in_json = |character: char| character > '\u{1f}' && is_hidden(character);
    let Some(first) = first_hidden(json, is_hidden_in_json) else { return json.into() };
    let mut shown = String::with_capacity(json.len() + 64);
    shown.push_str(&json[..first]);
    each(json, first, is_hidden_in_json, |character, is_hidden| {
        if is_hidden {
            for unit in character.encode_utf16(&mut [0; 2]) {
                let _ = write!(shown, "\\u{unit:04x}");
            }
        } else {
            shown.push(character);
        }
        true
    });
    shown.into()
}

/// Returns whether a character is invisible, or changes how other characters are shown.
fn is_hidden(character: char) -> bool {
    use GeneralCategory as Category;
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // Default ignorable characters of other categories (Unicode, `DerivedCoreProperties.txt`):
    // fillers, joiners and variation selectors.
    let is_ignorable = matches!(
        character,
        '\u{034f}'
            | '\u{115f}'..='\u{1160}'
            | '\u{17b4}'..='\u{17b5}'
            | '\u{180b}'..='\u{180f}'
            | '\u{3164}'
            | '\u{fe00}'..='\u{fe0f}'
            | '\u{ffa0}'
            | '\u{e0000}'..='\u{e0fff}'
    );
    is_ignorable
        || matches!(
            character.general_category(),
            // Control characters; directional marks and other invisible format characters; line and
            // paragraph separators; characters without a standard meaning.
            Category::Control
                | Category::Format
                | Category::LineSeparator
                | Category::ParagraphSeparator
                | Category::PrivateUse
                | Category::Surrogate
                | Category::Unassigned
        )
}

fn is_hidden_in_text(character: char) -> bool {
    !matches!(character, '\n' | '\t') && is_hidden(character)
}

/// Returns whether an invisible character is part of correct spelling: it joins the parts of an
/// emoji or the letters of a script that needs joiners, or selects the emoji form of a character.
fn is_needed(before: Option<char>, character: char, after: Option<char>) -> bool {
    let is_emoji = |character: Option<char>| {
        character.is_some_and(|character| !character.is_ascii() && character.is_emoji_char())
    };
    // The Arabic, Indic, Khmer and Mongolian blocks, where U+200C and U+200D are part of how words
    // are spelled.
    let joins = |character: Option<char>| {
        character.is_some_and(|character| {
            matches!(character, '\u{600}'..='\u{18af}') && !is_hidden(character)
        })
    };
    match character {
        '\u{200d}' => {
            (is_emoji(before) || before == Some('\u{fe0f}')) && is_emoji(after)
                || joins(before) && joins(after)
        }
        '\u{200c}' => joins(before) && joins(after),
        '\u{fe0f}' => is_emoji(before) || after == Some('\u{20e3}'),
        _ => false,
    }
}

fn is_mark(character: char) -> bool {
    !character.is_ascii()
        && matches!(
            character.general_category(),
            GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark
        )
}

/// Returns the position of the first character that may have to be escaped.
fn first_hidden(text: &str, is_hidden: impl Fn(char) -> bool) -> Option<usize> {
    text.char_indices()
        .find(|&(_, character)| is_hidden(character) || is_mark(character))
        .map(|(at, _)| at)
}

/// Passes the characters from `start` on to `take`, each with a flag that tells whether it has to
/// be escaped, as long as `take` returns true.
fn each(
    text: &str,
    start: usize,
    is_hidden: impl Fn(char) -> bool,
    mut take: impl FnMut(char, bool) -> bool,
) {
    let (mut before, mut marks) = (text[..start].chars().next_back(), 0);
    let mut characters = text[start..].chars().peekable();
    while let Some(character) = characters.next() {
        marks = if is_mark(character) { marks + 1 } else { 0 };
        // Only a character that is shown unescaped counts as a neighbour: nothing joins an escape.
        let after =
            characters.peek().copied().filter(|&after| marks < MAX_MARKS || !is_mark(after));
        let escapes =
            marks > MAX_MARKS || is_hidden(character) && !is_needed(before, character, after);
        if !take(character, escapes) {
            return;
        }
        before = (!escapes).then_some(character);
    }
}

/// Returns the text with its hidden characters escaped. Stops soon after `max_bytes`, because the
/// caller cuts off the rest.
fn escaped(text: &str, is_hidden: impl Fn(char) -> bool, max_bytes: usize) -> Cow<'_, str> {
    let Some(first) = first_hidden(text, &is_hidden) else { return text.into() };
    let mut shown = String::with_capacity(text.len().min(max_bytes).saturating_add(64));
    shown.push_str(&text[..first]);
    each(text, first, is_hidden, |character, escapes| {
        match character {
            character if !escapes => shown.push(character),
            '\n' => shown.push_str("\\n"),
            '\r' => shown.push_str("\\r"),
            '\t' => shown.push_str("\\t"),
            character => shown.extend(character.escape_unicode()),
        }
        shown.len() <= max_bytes
    });
    shown.into()
}

/// Cuts an escaped text that is too long, and adds the length of the original text.
fn cut<'text>(text: &str, shown: Cow<'text, str>, max_bytes: usize) -> Cow<'text, str> {
    if shown.len() <= max_bytes {
        return shown;
    }
    let end = shown.floor_char_boundary(max_bytes);
    format!("{}… (cut: the text has {} bytes)", &shown[..end], text.len()).into()
}

/// Returns whether a line begins like one of Belljar's own, or with a word in other letters, which
/// may look the same. Belljar's own words are in lower case; `Error: ...`, as JavaScript writes it,
/// is shown unchanged.
fn looks_like_ours(line: &str) -> bool {
    let line = line.trim_start();
    let end = line.find(|character: char| !character.is_alphanumeric()).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let is_head = rest.trim_start().starts_with([':', '\u{ff1a}', '\u{a789}', '\u{2236}']);
    is_head && !word.is_empty() && (!word.is_ascii() || OWN_WORDS.contains(&word))
}

#[cfg(test)]
mod tests;
