//! Tells what a JavaScript or TypeScript program is, CommonJS or module, and prepares it to be run so that its value can be had. Tells what it imports,
//! too.
//! Runs inside the sandbox only: a parser of hostile input has no place in the supervisor.
//!
//! A program stays the text its author wrote wherever that is possible: edits are made by position, line numbers never move, and
//! columns move only where a value is taken. Only TypeScript that needs code of its own (enums, namespaces, decorators, JSX) is
//! printed anew, with a source map.
#![forbid(unsafe_code)]

mod bindings;
mod completion;
mod depth;
mod edits;
mod erase;
mod found_imports;
mod imports;
mod program;
mod transform;

use std::borrow::Cow;

use oxc_allocator::Allocator;

pub use crate::found_imports::{FoundImport, FoundImports, find_imports};

use crate::edits::Edits;
use crate::program::{Parsed, Syntax};

/// The language a program was said to be written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Language {
    /// JavaScript; JSX too where the file's name ends in `.jsx`.
    JavaScript,
    /// TypeScript, whose types are removed and never checked; JSX too where the file's name ends in `.tsx`.
    TypeScript,
}

/// How a program is to be loaded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ModuleKind {
    /// The body of a function with the parameters `exports, require, module, __filename, __dirname, __belljar_value`.
    CommonJs,
    /// An ECMAScript module.
    Module,
}

/// Why a program could not be looked into. Its code is then left as it was, without a value.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PrepareError {
    /// It does not parse. For JavaScript, V8 has the last word and the better message.
    #[error("{message} (line {line}, column {column})")]
    Syntax {
        /// What the parser says.
        message: String,
        /// The line, from 1.
        line: u32,
        /// The column in UTF-16 code units, from 1.
        column: u32,
    },
    /// It nests deeper than the parser's stack allows.
    #[error("the program nests too deep to be analysed, at line {line}: flatten it, or move the data into a JSON file and read that")]
    TooDeep {
        /// The line, from 1.
        line: u32,
    },
}

/// A program, ready to be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Prepared<'s> {
    /// How to load it.
    pub kind: ModuleKind,
    /// The code. Each expression whose value may be the program's is passed to `__belljar_value`; the last call counts, and one
    /// without arguments takes an earlier value back.
    pub code: Cow<'s, str>,
    /// A source map (version 3, JSON), where positions changed by more than what `code` says.
    pub map: Option<String>,
    /// A CommonJS program that awaits at its top level: the function has to be async.
    pub is_async: bool,
    /// The code sets `__belljar_value.main` to its top-level binding `main`. A module's exports are not looked at.
    pub has_main: bool,
    /// Why the program was left as it was.
    pub error: Option<PrepareError>,
}

impl Prepared<'_> {
    /// Whether the program was understood.
    pub fn parsed(&self) -> bool {
        self.error.is_none()
    }
}

/// Prepares `source`, known to the program as `file_name`, whose extension decides what the language leaves open.
///
/// ```
/// use belljar_syntax::{Language, ModuleKind, prepare};
///
/// let prepared = prepare("const n = 20;\nn + 1", "main.js", Language::JavaScript);
/// assert_eq!(prepared.kind, ModuleKind::CommonJs);
/// assert_eq!(prepared.code, "const n = 20;\n__belljar_value(n + 1);");
/// ```
pub fn prepare<'s>(source: &'s str, file_name: &str, language: Language) -> Prepared<'s> {
    let syntax = Syntax::new(file_name, language);
    let unchanged = |kind, error| Prepared { kind, code: Cow::Borrowed(source), map: None, is_async: false, has_main: false, error };
    if let Some(line) = depth::too_deep(source, syntax) {
        return unchanged(syntax.guessed_kind(source), Some(PrepareError::TooDeep { line }));
    }
    let allocator = Allocator::default();
    let parsed = match program::parse(&allocator, source, syntax) {
        Ok(parsed) => parsed,
        Err(error) => return unchanged(syntax.guessed_kind(source), Some(error)),
    };
    if syntax.is_plain() {
        return plain(source, &parsed);
    }
    if let Some(line) = depth::tree_too_deep(&parsed.program) {
        return unchanged(parsed.kind, Some(PrepareError::TooDeep { line }));
    }
    match erase::erase(&parsed, syntax) {
        erase::Erasure::Erased(edits) => edited(source, &parsed, edits),
        erase::Erasure::NeedsCode => match transform::transform(&allocator, parsed, file_name) {
            Ok(prepared) => prepared,
            Err((kind, error)) => unchanged(kind, Some(error)),
        },
    }
}

fn plain<'s>(source: &'s str, parsed: &Parsed<'_>) -> Prepared<'s> {
    let mut edits = Edits::default();
    completion::take_value(&parsed.program, &mut edits);
    edited(source, parsed, edits)
}

/// Finishes a program whose value is taken by `edits` already.
fn edited<'s>(source: &'s str, parsed: &Parsed<'_>, mut edits: Edits) -> Prepared<'s> {
    let has_main = add_main(parsed, &mut edits);
    if let (ModuleKind::CommonJs, Some(hashbang)) = (parsed.kind, &parsed.program.hashbang) {
        // A hashbang is one only at the very start of a file, and this code becomes the body of a function.
        edits.replace(hashbang.span.start, hashbang.span.start + 2, "//");
    }
    Prepared { kind: parsed.kind, code: edits.apply(source), map: None, is_async: parsed.is_async, has_main, error: None }
}

/// Hands a top-level `main` over after the last statement, which is before any comment that ends the file.
fn add_main(parsed: &Parsed<'_>, edits: &mut Edits) -> bool {
    let Some(end) = bindings::end_if_main_is_defined(&parsed.program) else { return false };
    edits.insert_after(end, ";__belljar_value.main = main;");
    true
}
