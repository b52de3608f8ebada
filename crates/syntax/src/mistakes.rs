//! Mistakes in a program that does not compile: their place, and the language that it may be written in.
//!
//! V8 says of a module only what is wrong, and not where. Its words stand; this finds the place.

use oxc_allocator::Allocator;
use oxc_diagnostics::Diagnostics;
use oxc_semantic::SemanticBuilder;

use crate::depth;
use crate::options::{Options, Role};
use crate::program::{DUPLICATE, Syntax, line_and_column, parse_shallow};
use crate::{Language, ModuleKind, PrepareError};

/// A mistake.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mistake {
    /// The parser's words.
    pub message: String,
    /// The line, from 1.
    pub line: u32,
    /// The column in UTF-16 code units, from 1.
    pub column: u32,
    /// The language that the file is written in, where that is another.
    pub language: Option<&'static str>,
}

/// Finds the first mistake of a file that V8 refuses. None where the parser sees none.
pub fn find_mistake(source: &str, file_name: &str, language: Language) -> Option<Mistake> {
    let syntax = Syntax::new(file_name, language, &Options { role: Role::Imported, ..Options::default() });
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
        // What is exported twice is no syntax of another language, though TypeScript's parser lets it pass.
        Err(error @ PrepareError::Syntax { .. }) if error.to_string().starts_with(DUPLICATE) => (error, None),
        Err(error) => (error, other_language(source, syntax)),
    };
    let PrepareError::Syntax { message, line, column } = error else { return None };
    Some(Mistake { message, line, column, language })
}

/// The first error, at the last of its places: the second declaration of a name, and not the first.
fn last_label(diagnostics: &Diagnostics, source: &str) -> Option<PrepareError> {
    let diagnostic = diagnostics.errors().next()?;
    let offset = diagnostic.labels.iter().map(|label| label.offset() as usize).max().unwrap_or(0);
    let (line, column) = line_and_column(source, offset);
    Some(PrepareError::Syntax { message: diagnostic.message.to_string(), line, column })
}

/// The language of a file that does not parse in its own.
fn other_language(source: &str, syntax: Syntax) -> Option<&'static str> {
    if syntax.language == Language::JavaScript
        && parse_shallow(&Allocator::default(), source, syntax.in_language(Language::TypeScript)).is_ok()
    {
        return Some("typescript");
    }
    looks_like_python(source).then_some("python")
}

/// Whether lines of a file are Python's and could not be JavaScript's.
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

/// `import a.b as c`, `import a, b`, `from a import b`
fn is_python_import(line: &str) -> bool {
    let is_dotted = |name: &str| !name.is_empty() && name.chars().all(|next| next.is_alphanumeric() || matches!(next, '_' | '.'));
    if let Some((module, names)) = line.strip_prefix("from ").and_then(|rest| rest.split_once(" import ")) {
        return is_dotted(module.trim()) && !names.is_empty();
    }
    let Some(names) = line.strip_prefix("import ") else { return false };
    let names = names.split('#').next().unwrap_or_default();
    names.split(',').all(|name| {
        let mut words = name.split_whitespace();
        let is_name = words.next().is_some_and(is_dotted);
        is_name && matches!((words.next(), words.next(), words.next()), (None, None, None) | (Some("as"), Some(_), None))
    })
}
