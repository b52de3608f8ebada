//! Mistakes in a program that does not compile: their position, and the language that the program
//! may be written in.
//!
//! For a module, V8 reports a mistake without its position. Its message is kept, and this module
//! finds the position.

use oxc_allocator::Allocator;
use oxc_diagnostics::Diagnostics;
use oxc_semantic::SemanticBuilder;

use crate::depth;
use crate::dialect::{Dialect, ModuleKind};
use crate::error::{DUPLICATE, PrepareError, line_and_column};
use crate::options::{FileRole, Options};
use crate::program::parse_shallow;
use crate::syntax::Syntax;

/// A mistake in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// Message of the parser.
    pub message: String,
    /// Number of the line, starting at 1.
    pub line: u32,
    /// Number of the column in UTF-16 code units, starting at 1.
    pub column: u32,
    /// Dialect that the file is actually written in, if it is another one.
    pub language: Option<&'static str>,
}

/// Finds the first mistake of a file that V8 rejects. Returns `None` if the parser finds none.
pub fn find_mistake(source: &str, file_name: &str, dialect: Dialect) -> Option<Mistake> {
    let syntax = Syntax::new(
        file_name,
        dialect,
        &Options { role: FileRole::Imported, ..Options::default() },
    );
    let allocator = Allocator::default();
    let (error, language) = match parse_shallow(&allocator, source, syntax) {
        Ok((parsed, _)) => {
            if depth::tree_too_deep(&parsed.program).is_some() {
                return None;
            }
            let mut program = parsed.program;
            program.source_type = match parsed.kind {
                ModuleKind::Module => program.source_type.with_module(true),
                ModuleKind::CommonJs => program.source_type.with_commonjs(true),
            };
            let diagnostics = SemanticBuilder::new_compiler().build(&program).diagnostics;
            (last_label(&diagnostics, source)?, None)
        }
        // A duplicate export is not syntax of another language, although TypeScript's parser
        // accepts it.
        Err(error @ PrepareError::Syntax { .. }) if error.to_string().starts_with(DUPLICATE) => {
            (error, None)
        }
        Err(error) => (error, other_language(source, syntax)),
    };
    let PrepareError::Syntax { message, line, column } = error else { return None };
    Some(Mistake { message, line, column, language })
}

/// Returns the first error at the last of its positions: the second declaration of a name, not the
/// first.
fn last_label(diagnostics: &Diagnostics, source: &str) -> Option<PrepareError> {
    let diagnostic = diagnostics.errors().next()?;
    let offset = diagnostic.labels.iter().map(|label| label.offset() as usize).max().unwrap_or(0);
    let (line, column) = line_and_column(source, offset);
    Some(PrepareError::Syntax { message: diagnostic.message.to_string(), line, column })
}

/// Returns the language of a file that does not parse in its own.
fn other_language(source: &str, syntax: Syntax) -> Option<&'static str> {
    if syntax.dialect == Dialect::JavaScript
        && parse_shallow(&Allocator::default(), source, syntax.in_dialect(Dialect::TypeScript))
            .is_ok()
    {
        return Some("typescript");
    }
    looks_like_python(source).then_some("python")
}

/// Returns whether lines of a file are Python and cannot be JavaScript.
fn looks_like_python(source: &str) -> bool {
    source.lines().any(|line| {
        let line = line.trim();
        let ends_block = line.ends_with(':');
        let begins = |words: &[&str]| words.iter().any(|word| line.starts_with(word));
        (ends_block
            && begins(&[
                "def ",
                "class ",
                "if ",
                "elif ",
                "else:",
                "for ",
                "while ",
                "try:",
                "except",
                "with ",
                "async def ",
                "finally:",
                "match ",
            ])
            && !line.contains('{'))
            || is_python_import(line)
    })
}

/// Returns whether a line is a Python import such as `import a.b as c`, `import a, b` or `from a
/// import b`.
fn is_python_import(line: &str) -> bool {
    let is_dotted = |name: &str| {
        !name.is_empty()
            && name.chars().all(|next| next.is_alphanumeric() || matches!(next, '_' | '.'))
    };
    if let Some((module, names)) =
        line.strip_prefix("from ").and_then(|rest| rest.split_once(" import "))
    {
        return is_dotted(module.trim()) && !names.is_empty();
    }
    let Some(names) = line.strip_prefix("import ") else { return false };
    let names = names.split('#').next().unwrap_or_default();
    names.split(',').all(|name| {
        let mut words = name.split_whitespace();
        let is_name = words.next().is_some_and(is_dotted);
        is_name
            && matches!(
                (words.next(), words.next(), words.next()),
                (None, None, None) | (Some("as"), Some(_), None)
            )
    })
}
