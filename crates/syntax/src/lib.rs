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
mod starts;
mod transform;

use std::borrow::Cow;

use oxc_allocator::Allocator;

pub use crate::found_imports::{FoundImport, FoundImports, find_imports};

use crate::edits::Edits;
use crate::program::{Parsed, Syntax};
use crate::starts::Branch;

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
    /// The program starts its `main` itself, now or later: the one that it exports under that name, else the one that it defines. Where a guard such as
    /// `if (require.main === module)` decides, the code sets `__belljar_value.started` instead.
    pub starts_main: bool,
    /// The same for what it exports in place of everything else: `module.exports`, or a default export.
    pub starts_exported: bool,
    /// The program is nothing but a function expression.
    pub is_function: bool,
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
    let unchanged = |kind, error| Prepared { kind, error, ..Prepared::plain(kind, Cow::Borrowed(source)) };
    if let Some(line) = depth::too_deep(source, syntax) {
        return unchanged(syntax.guessed_kind(source), Some(PrepareError::TooDeep { line }));
    }
    let allocator = Allocator::default();
    let parsed = match program::parse(&allocator, source, syntax) {
        Ok(parsed) => parsed,
        Err(error) => {
            return anonymous_function(source, file_name, language).unwrap_or_else(|| unchanged(syntax.guessed_kind(source), Some(error)));
        }
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

/// A program that is one anonymous function, which only an expression can be: `async function (parameters) { ... }`.
fn anonymous_function<'s>(source: &str, file_name: &str, language: Language) -> Option<Prepared<'s>> {
    let function = source.trim_end().trim_end_matches(';');
    let keyword = function.trim_start();
    let after = keyword.strip_prefix("async").map_or(keyword, str::trim_start).strip_prefix("function")?;
    after.trim_start().trim_start_matches('*').trim_start().starts_with('(').then_some(())?;
    // A comment may end it. On a line of its own the bracket moves nothing.
    let expression = format!("({function}\n)");
    let Prepared { kind, code, map, is_async, has_main, starts_main, starts_exported, is_function, error } =
        prepare(&expression, file_name, language);
    let code = Cow::Owned(code.into_owned());
    (error.is_none() && is_function).then_some(Prepared {
        kind,
        code,
        map,
        is_async,
        has_main,
        starts_main,
        starts_exported,
        is_function,
        error,
    })
}

fn plain<'s>(source: &'s str, parsed: &Parsed<'_>) -> Prepared<'s> {
    let mut edits = Edits::default();
    completion::take_value(&parsed.program, &mut edits);
    edited(source, parsed, edits)
}

/// Finishes a program whose value is taken by `edits` already.
fn edited<'s>(source: &'s str, parsed: &Parsed<'_>, mut edits: Edits) -> Prepared<'s> {
    let entry = Entry::of(parsed, &mut edits);
    if let (ModuleKind::CommonJs, Some(hashbang)) = (parsed.kind, &parsed.program.hashbang) {
        // A hashbang is one only at the very start of a file, and this code becomes the body of a function.
        edits.replace(hashbang.span.start, hashbang.span.start + 2, "//");
    }
    entry.prepared(parsed.kind, edits.apply(source), parsed.is_async)
}

impl<'s> Prepared<'s> {
    fn plain(kind: ModuleKind, code: Cow<'s, str>) -> Self {
        Entry { has_main: false, starts_main: false, starts_exported: false, is_function: false }.prepared(kind, code, false)
    }
}

/// What of a program may be called once it has run.
pub(crate) struct Entry {
    has_main: bool,
    starts_main: bool,
    starts_exported: bool,
    is_function: bool,
}

impl Entry {
    /// Finds it, and hands a top-level `main` over after the last statement, which is before any comment that ends the file.
    pub(crate) fn of(parsed: &Parsed<'_>, edits: &mut Edits) -> Self {
        let end = bindings::end_if_main_is_defined(&parsed.program);
        let starts = starts::find(&parsed.program, parsed.kind, end.is_some());
        for branch in starts.guarded {
            mark(branch, edits);
        }
        if let Some(end) = end {
            edits.insert_after(end, ";__belljar_value.main = main;");
        }
        let is_function = bindings::is_one_function(&parsed.program);
        Self { has_main: end.is_some(), starts_main: starts.main, starts_exported: starts.exported, is_function }
    }

    pub(crate) fn prepared(self, kind: ModuleKind, code: Cow<'_, str>, is_async: bool) -> Prepared<'_> {
        let Self { has_main, starts_main, starts_exported, is_function } = self;
        Prepared { kind, code, map: None, is_async, has_main, starts_main, starts_exported, is_function, error: None }
    }
}

/// Has a guarded branch say that it was taken.
fn mark(branch: Branch, edits: &mut Edits) {
    match branch {
        Branch::Block(span) => edits.insert_after(span.start + 1, "__belljar_value.started=true;"),
        Branch::Statement(span) => {
            edits.insert_before(span.start, "{__belljar_value.started=true;");
            edits.insert_after(span.end, "}");
        }
        Branch::Expression(span) => {
            edits.insert_before(span.start, "(__belljar_value.started=true,");
            edits.insert_innermost(span.end, ")");
        }
    }
}
