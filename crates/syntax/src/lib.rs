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
mod decorators;
mod depth;
mod edits;
mod erase;
mod fields;
mod forgiven;
mod found_imports;
mod imports;
mod interop;
mod legacy_privates;
mod meanings;
mod mistakes;
mod namespaces;
mod options;
mod program;
mod starts;
mod transform;
mod uses;

use std::borrow::Cow;

use oxc_allocator::Allocator;
use oxc_span::GetSpan;

pub use crate::found_imports::{FoundImport, FoundImports, find_imports, find_imports_with};
pub use crate::mistakes::{Mistake, find_mistake};
pub use crate::options::{Decorators, Fields, JsxMode, Options, Role, UnusedImports};
pub use crate::uses::{AllUses, Uses, ValueUse};

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
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a program, each with a name that the driver reads")]
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
    /// The code takes `require`, `module` and their like from `__belljar_value.commonjs`: a module that uses them without having
    /// declared them.
    pub needs_commonjs: bool,
    /// What the program does with what it imports and requires, by specifier. Node's own modules are left out.
    pub uses: AllUses,
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

impl<'s> Prepared<'s> {
    fn unchanged(source: &'s str, kind: ModuleKind, error: Option<PrepareError>) -> Self {
        Self { error, ..Entry::default().prepared(kind, Cow::Borrowed(source), false) }
    }

    /// [`Prepared::uses`] as JSON, an object by specifier.
    pub fn uses_json(&self) -> String {
        uses::to_json(&self.uses)
    }

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
    prepare_with(source, file_name, language, &Options::default())
}

/// [`prepare`] with options.
pub fn prepare_with<'s>(source: &'s str, file_name: &str, language: Language, options: &Options) -> Prepared<'s> {
    let syntax = Syntax::new(file_name, language, options);
    let allocator = Allocator::default();
    let (parsed, syntax) = match program::parse_shallow(&allocator, source, syntax) {
        Ok(parsed) => parsed,
        Err(error) => {
            let function = if options.role == Role::Main { anonymous_function(source, file_name, language, options) } else { None };
            return function.unwrap_or_else(|| Prepared::unchanged(source, syntax.guessed_kind(source), Some(error)));
        }
    };
    if syntax.is_plain() && !decorators::may_be_in(source) {
        return plain(source, &parsed, options);
    }
    if let Some(line) = depth::tree_too_deep(&parsed.program) {
        return Prepared::unchanged(source, parsed.kind, Some(PrepareError::TooDeep { line }));
    }
    let (parsed, text) = if syntax.language == Language::TypeScript {
        match program::written_out(&allocator, parsed, syntax, options) {
            Ok(written) => written,
            Err(error) => return Prepared::unchanged(source, syntax.guessed_kind(source), Some(error)),
        }
    } else {
        (parsed, None)
    };
    match erase::erase(&parsed, syntax, options) {
        erase::Erasure::Erased(edits) => match text {
            Some(text) => {
                let mut edits = edits;
                let finished = finish(&parsed, options, &mut edits);
                make_strict(&parsed, &mut edits);
                Prepared { code: Cow::Owned(edits.apply(text).into_owned()), ..finished }
            }
            None => edited(source, &parsed, edits, options),
        },
        erase::Erasure::NeedsCode => match transform::transform(&allocator, parsed, file_name, options) {
            Ok(prepared) => prepared,
            Err((kind, error)) => Prepared::unchanged(source, kind, Some(error)),
        },
    }
}

/// A program that is one anonymous function, which only an expression can be: `async function (parameters) { ... }`.
fn anonymous_function<'s>(source: &str, file_name: &str, language: Language, options: &Options) -> Option<Prepared<'s>> {
    let function = source.trim_end().trim_end_matches(';');
    let keyword = function.trim_start();
    let after = keyword.strip_prefix("async").map_or(keyword, str::trim_start).strip_prefix("function")?;
    after.trim_start().trim_start_matches('*').trim_start().starts_with('(').then_some(())?;
    // A comment may end it. On a line of its own the bracket moves nothing.
    let expression = format!("({function}\n)");
    let prepared = prepare_with(&expression, file_name, language, options);
    let is_one = prepared.error.is_none() && prepared.is_function;
    let Prepared { kind, code, map, is_async, has_main, needs_commonjs, uses, starts_main, starts_exported, is_function, error } = prepared;
    let code = Cow::Owned(code.into_owned());
    is_one.then_some(Prepared {
        kind,
        code,
        map,
        is_async,
        has_main,
        needs_commonjs,
        uses,
        starts_main,
        starts_exported,
        is_function,
        error,
    })
}

fn plain<'s>(source: &'s str, parsed: &Parsed<'_>, options: &Options) -> Prepared<'s> {
    let mut edits = Edits::default();
    if options.role == Role::Main {
        completion::take_value(&parsed.program, &mut edits);
    }
    edited(source, parsed, edits, options)
}

/// Finishes a program whose value is taken by `edits` already.
fn edited<'s>(source: &'s str, parsed: &Parsed<'_>, mut edits: Edits, options: &Options) -> Prepared<'s> {
    let finished = finish(parsed, options, &mut edits);
    make_strict(parsed, &mut edits);
    Prepared { code: edits.apply(source), ..finished }
}

/// Says that CommonJS in TypeScript's words is strict code. After all other edits, so that it comes first of what is put in its place.
pub(crate) fn make_strict(parsed: &Parsed<'_>, edits: &mut Edits) {
    if let (true, Some(first)) = (parsed.is_strict, parsed.program.body.first()) {
        edits.insert_before(first.span().start, "\"use strict\";");
    }
}

/// The last edits, and all of the result but its code.
fn finish<'s>(parsed: &Parsed<'_>, options: &Options, edits: &mut Edits) -> Prepared<'s> {
    let entry = if options.role == Role::Main { Entry::of(parsed, edits) } else { Entry::default() };
    let joined = interop::join(parsed, options, edits);
    if let (ModuleKind::CommonJs, Role::Main, Some(hashbang)) = (parsed.kind, options.role, &parsed.program.hashbang) {
        // A hashbang is one only at the very start of a file, and this code becomes the body of a function.
        edits.replace(hashbang.span.start, hashbang.span.start + 2, "//");
    }
    let prepared = entry.prepared(parsed.kind, Cow::Borrowed(""), parsed.is_async);
    Prepared { needs_commonjs: joined.needs_commonjs, uses: joined.uses, ..prepared }
}

/// What of a program may be called once it has run.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "as in `Prepared`")]
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
        let starts = starts::find(&parsed.program, end.is_some());
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
        Prepared {
            kind,
            code,
            map: None,
            is_async,
            has_main,
            starts_main,
            starts_exported,
            is_function,
            needs_commonjs: false,
            uses: AllUses::new(),
            error: None,
        }
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
