//! The one place that cleans text which a program, a package or a server wrote before a terminal, a log or a model sees it.
//!
//! Every character that a reader cannot see, or that changes what is around it, is shown as an escape such as `\u{202e}`: nothing is dropped, so that
//! two different texts never look the same, and nothing is obeyed.

use std::borrow::Cow;
use std::fmt::Write as _;

use unicode_properties::{GeneralCategory, UnicodeEmoji, UnicodeGeneralCategory};

/// The longest line that [`line()`] returns, bytes. The longest name of an object or a file fits, even when all of it is escaped.
pub const MAX_LINE_BYTES: usize = 8 << 10;
/// The longest text that [`block`] returns, bytes, but for what says that it was cut.
pub const MAX_BLOCK_BYTES: usize = 64 << 10;
/// Combining marks on one character. No script needs as many, and more paint over the lines above and below.
const MAX_MARKS: usize = 8;
/// Words that Belljar begins its own lines with.
const OWN_WORDS: [&str; 6] = ["belljar", "degraded", "error", "hint", "note", "warning"];

/// A text as one line of at most [`MAX_LINE_BYTES`]: line ends and tabs are escaped as well.
///
/// ```
/// assert_eq!(belljar_protocol::plain::line("a\x1b[2J\nhint: b\u{202e}"), r"a\u{1b}[2J\nhint: b\u{202e}");
/// ```
pub fn line(text: &str) -> Cow<'_, str> {
    cut(text, escaped(text, is_hidden, MAX_LINE_BYTES), MAX_LINE_BYTES)
}

/// A text of several lines and at most [`MAX_BLOCK_BYTES`], none of which can be taken for a line of Belljar's own: one that begins like a hint or an
/// error is set behind a bar.
///
/// ```
/// assert_eq!(belljar_protocol::plain::block("no such file\nhint: run me"), "no such file\n| hint: run me");
/// ```
pub fn block(text: &str) -> Cow<'_, str> {
    let shown = cut(text, escaped(text, is_hidden_in_text, MAX_BLOCK_BYTES), MAX_BLOCK_BYTES);
    if !shown.split('\n').any(looks_like_ours) {
        return shown;
    }
    let lines = shown.split('\n').map(|line| if looks_like_ours(line) { format!("| {line}") } else { line.to_owned() });
    lines.collect::<Vec<_>>().join("\n").into()
}

/// A text of several lines and any length, for what a program wrote in its own name, such as its logs.
pub fn text(text: &str) -> Cow<'_, str> {
    escaped(text, is_hidden_in_text, usize::MAX)
}

/// A text of several lines, each behind a bar, so that none can be taken for a line of the document around it. Of a text
/// that would take more than `max_bytes`, bars included, its beginning and its end are shown, with the line `gap` between
/// them. The gap is the caller's own words, and not behind a bar.
///
/// ```
/// assert_eq!(belljar_protocol::plain::quoted("1\n\nlogs:\n2", 100, "..."), "| 1\n| \n| logs:\n| 2");
/// assert_eq!(belljar_protocol::plain::quoted("1\n2\n3\n4\n5\n6", 20, "..."), "| 1\n| 2\n...\n| 5\n| 6");
/// ```
pub fn quoted(text: &str, max_bytes: usize, gap: &str) -> String {
    let shown = escaped(text, is_hidden_in_text, max_bytes);
    if quoted_bytes(&shown) <= max_bytes {
        return behind_bars(&shown);
    }
    let half = max_bytes / 2;
    let end = &text[text.ceil_char_boundary(text.len().saturating_sub(half))..];
    let end = escaped(end, is_hidden_in_text, usize::MAX);
    format!("{}\n{gap}\n{}", behind_bars(beginning_within(&shown, half)), behind_bars(end_within(&end, half)))
}

fn behind_bars(text: &str) -> String {
    text.split('\n').map(|line| format!("| {line}")).collect::<Vec<_>>().join("\n")
}

/// The bytes of a line behind its bar, with its line end.
fn quoted_line_bytes(line: &str) -> usize {
    "| ".len() + line.len() + 1
}

/// The bytes that a text takes behind bars.
fn quoted_bytes(text: &str) -> usize {
    text.split('\n').map(quoted_line_bytes).sum()
}

/// The first lines of a text that fit behind bars, and of a long one that does not a part.
fn beginning_within(text: &str, max_bytes: usize) -> &str {
    let (mut used, mut length) = (0, 0);
    for line in text.split('\n') {
        if used + quoted_line_bytes(line) > max_bytes {
            let room = max_bytes.saturating_sub(used + quoted_line_bytes(""));
            let is_part_shown = room * 4 > max_bytes || length == 0;
            return if is_part_shown { &text[..length + line.floor_char_boundary(room)] } else { &text[..length - 1] };
        }
        used += quoted_line_bytes(line);
        length += line.len() + 1;
    }
    text
}

/// The last lines of a text that fit behind bars, likewise.
fn end_within(text: &str, max_bytes: usize) -> &str {
    let (mut used, mut start) = (0, text.len() + 1);
    for line in text.rsplit('\n') {
        if used + quoted_line_bytes(line) > max_bytes {
            let room = max_bytes.saturating_sub(used + quoted_line_bytes(""));
            let is_part_shown = room * 4 > max_bytes || start > text.len();
            let left_out = line.ceil_char_boundary(line.len().saturating_sub(room));
            return if is_part_shown { &text[start - 1 - line.len() + left_out..] } else { &text[start..] };
        }
        used += quoted_line_bytes(line);
        start -= line.len() + 1;
    }
    text
}

/// The same JSON, in which a terminal finds nothing to obey: hidden characters in its strings are written as `\u202e`, which means the same.
///
/// ```
/// assert_eq!(belljar_protocol::plain::json("\"a\u{202e}\""), r#""a\u202e""#);
/// ```
pub fn json(json: &str) -> Cow<'_, str> {
    // JSON escapes the characters below U+0020 itself, and has white space of them between its tokens.
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

/// Whether a character cannot be seen, or changes how others are shown.
fn is_hidden(character: char) -> bool {
    use GeneralCategory as Category;
    if character.is_ascii() {
        return character.is_ascii_control();
    }
    // Default ignorable characters of other categories (Unicode, `DerivedCoreProperties.txt`): fillers, joiners and variation selectors.
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
            // Controls; marks of direction and other invisible format characters; line and paragraph separators; what has no meaning that is agreed on.
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

/// Whether an invisible character only does what its neighbours need to be written: it joins the parts of an emoji or the letters of a script that
/// joins them, or says that an emoji is one.
fn is_needed(before: Option<char>, character: char, after: Option<char>) -> bool {
    let is_emoji = |character: Option<char>| character.is_some_and(|character| !character.is_ascii() && character.is_emoji_char());
    // The Arabic, Indic, Khmer and Mongolian blocks, where U+200C and U+200D are part of how words are spelled.
    let joins =
        |character: Option<char>| character.is_some_and(|character| matches!(character, '\u{600}'..='\u{18af}') && !is_hidden(character));
    match character {
        '\u{200d}' => (is_emoji(before) || before == Some('\u{fe0f}')) && is_emoji(after) || joins(before) && joins(after),
        '\u{200c}' => joins(before) && joins(after),
        '\u{fe0f}' => is_emoji(before) || after == Some('\u{20e3}'),
        _ => false,
    }
}

fn is_mark(character: char) -> bool {
    !character.is_ascii() && matches!(character.general_category(), GeneralCategory::NonspacingMark | GeneralCategory::EnclosingMark)
}

/// Where the first character is that might have to be escaped.
fn first_hidden(text: &str, is_hidden: impl Fn(char) -> bool) -> Option<usize> {
    text.char_indices().find(|&(_, character)| is_hidden(character) || is_mark(character)).map(|(at, _)| at)
}

/// Hands over the characters from `start` on, each with whether it has to be escaped, for as long as `take` returns true.
fn each(text: &str, start: usize, is_hidden: impl Fn(char) -> bool, mut take: impl FnMut(char, bool) -> bool) {
    let (mut before, mut marks) = (text[..start].chars().next_back(), 0);
    let mut characters = text[start..].chars().peekable();
    while let Some(character) = characters.next() {
        marks = if is_mark(character) { marks + 1 } else { 0 };
        // Only what is shown as itself is a neighbour: nothing is joined to an escape.
        let after = characters.peek().copied().filter(|&after| marks < MAX_MARKS || !is_mark(after));
        let escapes = marks > MAX_MARKS || is_hidden(character) && !is_needed(before, character, after);
        if !take(character, escapes) {
            return;
        }
        before = (!escapes).then_some(character);
    }
}

/// The text with its hidden characters escaped. Ends soon after `max_bytes`: what is cut off later need not be made.
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

/// The beginning of what is shown of a text, and how much there is, where it is too long.
fn cut<'text>(text: &str, shown: Cow<'text, str>, max_bytes: usize) -> Cow<'text, str> {
    if shown.len() <= max_bytes {
        return shown;
    }
    let end = shown.floor_char_boundary(max_bytes);
    format!("{}… (cut: the text has {} bytes)", &shown[..end], text.len()).into()
}

/// Whether a line begins as one of Belljar's own does, or with a word in letters that may only look like one of these.
/// Belljar's own are in lower case: `Error: ...` is how JavaScript begins, and is shown as it is.
fn looks_like_ours(line: &str) -> bool {
    let line = line.trim_start();
    let end = line.find(|character: char| !character.is_alphanumeric()).unwrap_or(line.len());
    let (word, rest) = line.split_at(end);
    let is_head = rest.trim_start().starts_with([':', '\u{ff1a}', '\u{a789}', '\u{2236}']);
    is_head && !word.is_empty() && (!word.is_ascii() || OWN_WORDS.contains(&word))
}

#[cfg(test)]
mod tests;
