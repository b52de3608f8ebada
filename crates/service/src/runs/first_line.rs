//! The line of a program that tells it from others in a list.

use belljar_protocol::{Language, RunSubmission};

/// The maximum number of characters of the line.
const MAX_CHARS: usize = 80;
/// The number of lines of a program that are examined.
const MAX_LINES: usize = 500;

/// Returns the first line of the program that is neither blank nor a comment nor an import. If
/// there is none, it is the first line that is not blank. A program that is not text has none.
pub(super) fn first_line(submission: &RunSubmission) -> Option<String> {
    let entry = submission.entry_name();
    let of_file = || {
        submission
            .files
            .iter()
            .find(|file| file.path == entry)
            .and_then(|file| file.content.as_ref())
    };
    line_of(submission.code.as_ref().or_else(of_file)?, submission.language)
}

/// The part of a program that a line is in.
enum In {
    Code,
    /// A comment or docstring that ends with this text.
    Comment(&'static str),
    /// An import that ends with a closing bracket.
    Import,
}

fn line_of(code: &str, language: Language) -> Option<String> {
    let lines = || code.lines().map(str::trim).filter(|line| !line.is_empty()).take(MAX_LINES);
    let mut at = In::Code;
    for line in lines() {
        match at {
            In::Comment(end) => {
                if line.contains(end) {
                    at = In::Code;
                }
                continue;
            }
            In::Import => {
                if line.contains([')', '}']) {
                    at = In::Code;
                }
                continue;
            }
            In::Code => {}
        }
        if is_line_comment(line, language) {
            continue;
        }
        if let Some((start, end)) = long_comment(line, language) {
            if !line[start.len()..].contains(end) {
                at = In::Comment(end);
            }
            continue;
        }
        if is_import(line, language) {
            let is_open = |open: char, close: char| line.contains(open) && !line.contains(close);
            if is_open('(', ')') || is_open('{', '}') {
                at = In::Import;
            }
            continue;
        }
        return Some(line.chars().take(MAX_CHARS).collect());
    }
    lines().next().map(|line| line.chars().take(MAX_CHARS).collect())
}

fn is_line_comment(line: &str, language: Language) -> bool {
    let is_fence = line.starts_with("```");
    let is_comment = match language {
        Language::Python => line.starts_with('#'),
        Language::JavaScript | Language::TypeScript => {
            line.starts_with("//") || line.starts_with("#!")
        }
    };
    is_fence || is_comment
}

/// Returns the start and the end of a comment of several lines that begins with this line.
fn long_comment(line: &str, language: Language) -> Option<(&'static str, &'static str)> {
    let marks: &[(&str, &str)] = match language {
        Language::Python => &[("\"\"\"", "\"\"\""), ("'''", "'''")],
        Language::JavaScript | Language::TypeScript => &[("/*", "*/")],
    };
    marks.iter().copied().find(|(start, _)| line.starts_with(start))
}

fn is_import(line: &str, language: Language) -> bool {
    let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
    match language {
        Language::Python => {
            begins(&["import ", "import\t"])
                || (line.starts_with("from ") && line.contains("import"))
        }
        Language::JavaScript | Language::TypeScript => {
            begins(&["import ", "import{", "import\"", "import'", "'use strict'", "\"use strict\""])
                || (begins(&["const ", "let ", "var ", "import("]) && line.contains("require("))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_shown_by_its_first_line_that_does_something() {
        use Language::{JavaScript, Python, TypeScript};
        for (language, code, expected) in [
            (
                Python,
                "#!/usr/bin/env python3\n\"\"\"Doc.\n\nMore.\"\"\"\nimport os\n\ntotal = 1\n",
                "total = 1",
            ),
            (Python, "from a import (\n    b,\n    c,\n)\n  x = b()", "x = b()"),
            (Python, "\"\"\"One line.\"\"\"\nprint(1)", "print(1)"),
            (Python, "```python\nprint(2)\n```", "print(2)"),
            (Python, "from_date = 1", "from_date = 1"),
            (Python, "import os", "import os"),
            (JavaScript, "// c\n/* a\n b */\nconst fs = require('fs')\nfs.x()", "fs.x()"),
            (JavaScript, "'use strict';\nconst n = 1", "const n = 1"),
            (JavaScript, "importantThing()", "importantThing()"),
            (TypeScript, "import {\n  a,\n} from 'a'\nexport const b = a", "export const b = a"),
        ] {
            assert_eq!(line_of(code, language).as_deref(), Some(expected), "{code}");
        }
        assert_eq!(line_of(" \n\n", Python), None);
        assert_eq!(line_of(&"x".repeat(500), Python).unwrap().len(), MAX_CHARS);
    }
}
