//! Programs in a fenced block of Markdown, as models write them. The fences and the prose around
//! them are removed before a program is sent to a sandbox, for every language and both tasks. The
//! code keeps its line numbers: removed lines become blank.

use std::ops::Range;

use belljar_protocol::Language;

/// The maximum length of a text that can be the answer of a model, in bytes.
const MAX_BYTES: usize = 1 << 20;

/// A program without its fences, and a note about it for the author.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Unfenced {
    pub(crate) code: String,
    pub(crate) note: String,
}

/// A fence that opens a block.
struct Fence<'t> {
    character: char,
    length: usize,
    /// The first word after the fence.
    tag: &'t str,
}

/// Removes the fences from a program that is one fenced block, alone or with prose around it.
/// Returns `None` for any other program. A fence in a string, a template or a comment does not
/// count.
pub(crate) fn unfenced(code: &[u8], language: Language) -> Option<Unfenced> {
    if code.len() > MAX_BYTES || !(contains(code, b"```") || contains(code, b"~~~")) {
        return None;
    }
    let text = std::str::from_utf8(code).ok()?;
    let lines: Vec<&str> = text.split_inclusive('\n').collect();
    let blocks = blocks(&lines, language)?;
    let mut own =
        blocks.iter().filter(|(fence, _)| fence.tag.is_empty() || is_of(fence.tag, language));
    // With several blocks, the first may be an example of how to call the second. Do not guess.
    let block = match (blocks.as_slice(), own.next(), own.next()) {
        ([(_, only)], ..) | (_, Some((_, only)), None) => only.clone(),
        _ => return None,
    };
    // An empty block is the end of a block whose beginning was cut off: the program is before it.
    if lines[block.clone()].iter().all(|line| line.trim().is_empty()) {
        return None;
    }
    let is_prose = |(index, line): (usize, &&str)| {
        !block.contains(&index) && opening(line).is_none() && !line.trim().is_empty()
    };
    let what = if lines.iter().enumerate().any(is_prose) {
        "its fence and the text around it were"
    } else {
        "its fence was"
    };
    let mut plain = String::with_capacity(text.len());
    for (index, line) in lines.iter().enumerate() {
        // A hashbang is valid only on the first line.
        if block.contains(&index) && !(index == block.start && line.starts_with("#!")) {
            plain.push_str(line);
        } else {
            plain.push_str(&line[line.trim_end_matches(['\r', '\n']).len()..]);
        }
    }
    Some(Unfenced {
        code: plain,
        note: format!("the program is a fenced block of Markdown: {what} removed"),
    })
}

/// Returns the fenced blocks of a text with the range of their lines. Returns `None` if there are
/// none, or if a fence may be part of the program.
fn blocks<'t>(lines: &[&'t str], language: Language) -> Option<Vec<(Fence<'t>, Range<usize>)>> {
    let mut found = Vec::new();
    let mut index = 0;
    // The literals of the text outside of the blocks, as far as it has been read.
    let mut outside = Literals::default();
    let mut has_guessed = false;
    while index < lines.len() {
        let Some(fence) = opening(lines[index]).filter(|_| outside.are_closed(language)) else {
            outside.read(lines[index]);
            index += 1;
            continue;
        };
        if found.is_empty() && outside.code > 0 {
            return None;
        }
        let start = index + 1;
        let mut within = Literals::default();
        index = start;
        while index < lines.len() && !(closes(lines[index], &fence) && within.are_closed(language))
        {
            within.read(lines[index]);
            index += 1;
        }
        if index == lines.len() && !within.are_closed(language) {
            // A second block without an end means that this is not the answer of a model. Searching
            // the rest of the text for each of many would take minutes.
            if has_guessed {
                return None;
            }
            has_guessed = true;
            // The end is missing, or a quote in the block is not a quote: take the last fence as
            // the end.
            index = (start..lines.len())
                .rev()
                .find(|index| closes(lines[*index], &fence))
                .unwrap_or(lines.len());
        }
        found.push((fence, start..index));
        index += 1;
    }
    (!found.is_empty()).then_some(found)
}

/// Counts literals and comments in the lines of a text, to find out which are open. This is an
/// estimate, because prose contains quotes of its own.
#[derive(Default)]
struct Literals {
    double: usize,
    single: usize,
    backticks: usize,
    comments: usize,
    comment_ends: usize,
    /// The number of lines that are more likely code than prose.
    code: usize,
}

impl Literals {
    fn read(&mut self, line: &str) {
        self.double += line.matches("\"\"\"").count();
        self.single += line.matches("'''").count();
        self.backticks += line.replace("\\`", "").matches('`').count();
        self.comments += line.matches("/*").count();
        self.comment_ends += line.matches("*/").count();
        self.code += usize::from(is_code(line));
    }

    fn are_closed(&self, language: Language) -> bool {
        match language {
            Language::Python => self.double.is_multiple_of(2) && self.single.is_multiple_of(2),
            Language::JavaScript | Language::TypeScript => {
                self.backticks.is_multiple_of(2) && self.comments <= self.comment_ends
            }
        }
    }
}

/// Returns whether a line before the first fence is code. In that case the fence does not open a
/// block.
fn is_code(line: &str) -> bool {
    const STARTS: [&str; 20] = [
        "import ",
        "from ",
        "const ",
        "let ",
        "var ",
        "function ",
        "async ",
        "class ",
        "def ",
        "return ",
        "export ",
        "print(",
        "console.",
        "require(",
        "@",
        "#!",
        "//",
        "/*",
        "module.",
        "exports.",
    ];
    let line = line.trim();
    // `import numpy and do this:` is prose, but rare.
    let ends_as_code = line.ends_with([';', '{', '}', '(', '[', '=', '\\'])
        || line.ends_with("\"\"\"")
        || line.ends_with("'''");
    ends_as_code
        || (STARTS.iter().any(|start| line.starts_with(start))
            && !line.ends_with(['.', ':', '!', '?']))
}

/// Parses a line that opens a block: three or more equal characters and at most one word, the tag.
fn opening(line: &str) -> Option<Fence<'_>> {
    let line = line.trim_start_matches('\u{feff}').trim();
    let character = line.chars().next().filter(|character| matches!(character, '`' | '~'))?;
    let rest = line.trim_start_matches(character);
    let length = line.len() - rest.len();
    let tag = rest.split_whitespace().next().unwrap_or_default();
    (length >= 3 && !rest.contains('`')).then_some(Fence { character, length, tag })
}

fn closes(line: &str, open: &Fence<'_>) -> bool {
    opening(line).is_some_and(|fence| {
        fence.character == open.character && fence.length >= open.length && fence.tag.is_empty()
    })
}

/// Returns whether a tag names the language of the run.
fn is_of(tag: &str, language: Language) -> bool {
    let tag = tag.trim_matches(['{', '}', '.']).to_ascii_lowercase();
    let tags: &[&str] = match language {
        Language::Python => &["python", "py", "python3", "py3", "ipython", "ipython3", "pycon"],
        Language::JavaScript | Language::TypeScript => &[
            "javascript",
            "js",
            "node",
            "nodejs",
            "mjs",
            "cjs",
            "ecmascript",
            "jsx",
            "typescript",
            "ts",
            "tsx",
            "mts",
            "cts",
        ],
    };
    tags.contains(&tag.as_str())
}

fn contains(bytes: &[u8], what: &[u8]) -> bool {
    bytes.windows(what.len()).any(|window| window == what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code(text: &str, language: Language) -> Option<String> {
        unfenced(text.as_bytes(), language).map(|unfenced| unfenced.code)
    }

    #[test]
    fn fences_go_and_lines_stay() {
        for (text, plain) in [
            ("```js\n1 + 1\n```", "\n1 + 1\n"),
            ("```\n1 + 1\n```\n", "\n1 + 1\n\n"),
            ("~~~javascript\n1 + 1\n~~~", "\n1 + 1\n"),
            ("\n\n```js\r\n1\r\n```\r\n", "\n\n\r\n1\r\n\r\n"),
            ("````js\nconst s = '```';\n````", "\nconst s = '```';\n"),
            ("```js\n#!/usr/bin/env node\n1", "\n\n1"),
            ("```ts title=\"a.ts\"\nlet a = 1\n```", "\nlet a = 1\n"),
            ("Here is `the code`:\n\n```js\nf()\n```\n\nIt calls f.", "\n\n\nf()\n\n\n"),
            ("Run this first:\n```bash\nnpm i ms\n```\nThen:\n```js\n2\n```", "\n\n\n\n\n\n2\n"),
            (
                "~~~js\nconst s = `\n~~~\ninner\n~~~\n`;\n~~~",
                "\nconst s = `\n~~~\ninner\n~~~\n`;\n",
            ),
        ] {
            assert_eq!(code(text, Language::JavaScript).as_deref(), Some(plain), "{text:?}");
        }
        let python = "Sure! Here you go:\n```python\ns = '''\n```\nx\n```\n'''\nprint(s)\n```";
        assert_eq!(
            code(python, Language::Python).as_deref(),
            Some("\n\ns = '''\n```\nx\n```\n'''\nprint(s)\n")
        );
    }

    #[test]
    fn a_program_with_fences_in_it_stays_as_it_is() {
        for (text, language) in [
            ("const s = `\n```js\n1\n```\n`;", Language::JavaScript),
            ("/*\n```js\n1\n```\n*/\n2", Language::JavaScript),
            ("const a = 1;\n```js\n1\n```", Language::JavaScript),
            ("s = \"\"\"\n```python\nx\n```\n\"\"\"", Language::Python),
            ("def f():\n    '''\n    ```\n    f()\n    ```\n    '''\nf()", Language::Python),
            ("print('```')", Language::Python),
            ("One:\n```js\n1\n```\nTwo:\n```js\n2\n```", Language::JavaScript),
        ] {
            assert_eq!(code(text, language), None, "{text:?}");
        }
    }

    #[test]
    fn blocks_without_end_take_no_more_time_than_a_text_of_their_length() {
        // Each fence is shorter than the one before, so that none ends an earlier block, and each
        // block has an odd number of quotes up to the end of the text.
        let fences = |from: usize| {
            let blocks =
                (4..from).rev().map(|length| format!("{0}'''\n'''\n{0}\n", "~".repeat(length)));
            blocks.collect::<Vec<_>>().concat()
        };
        let lines = "\n".repeat(100_000);
        // The quickest of a few, for machines that are busy with other things.
        let took = |text: &str| {
            let times = (0..5).map(|_| {
                let began = std::time::Instant::now();
                let _ = unfenced(text.as_bytes(), Language::Python);
                began.elapsed()
            });
            times.min().unwrap()
        };
        let plain = took(&format!("~~~~\n'''\n~~~~\n{lines}"));
        let hostile = format!("{}{lines}", fences(700));
        assert_eq!(unfenced(hostile.as_bytes(), Language::Python), None);
        let attack = took(&hostile);
        // Without a bound it is 700 times as long.
        assert!(attack < plain * 20, "{attack:?}, {plain:?}");
    }

    #[test]
    fn one_block_whose_end_is_hidden_by_a_quote_ends_at_the_last_fence() {
        assert_eq!(
            code("```python\nx = \"'''\"\n```\n", Language::Python).as_deref(),
            Some("\nx = \"'''\"\n\n")
        );
    }

    #[test]
    fn the_note_says_what_went() {
        let note = |text: &str| unfenced(text.as_bytes(), Language::JavaScript).unwrap().note;
        assert_eq!(
            note("```js\n1\n```"),
            "the program is a fenced block of Markdown: its fence was removed"
        );
        assert_eq!(
            note("Look:\n```js\n1\n```"),
            "the program is a fenced block of Markdown: its fence and the text around it were removed"
        );
    }
}
