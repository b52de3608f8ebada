//! Prepares a program: parses it, removes its types or prints it again, and takes its value.

use std::borrow::Cow;

use oxc_allocator::Allocator;

use crate::completion;
use crate::decorators;
use crate::depth;
use crate::dialect::Dialect;
use crate::edits::Edits;
use crate::erase::{self, Erasure};
use crate::error::PrepareError;
use crate::options::{FileRole, Options};
use crate::prepared::{PreparedProgram, finish, make_strict};
use crate::program::{self, Parsed};
use crate::syntax::Syntax;
use crate::transform;

/// Prepares the program `source`. The extension of `file_name` decides between CommonJS and a
/// module (`.cjs`, `.mjs` and their TypeScript forms), and about JSX.
///
/// ```
/// use belljar_syntax::{Dialect, ModuleKind, prepare};
///
/// let prepared = prepare("const n = 20;\nn + 1", "main.js", Dialect::JavaScript);
/// assert_eq!(prepared.kind, ModuleKind::CommonJs);
/// assert_eq!(prepared.code, "const n = 20;\n__belljar_value(n + 1);");
/// ```
pub fn prepare<'s>(source: &'s str, file_name: &str, dialect: Dialect) -> PreparedProgram<'s> {
    prepare_with(source, file_name, dialect, &Options::default())
}

/// Prepares a program like [`prepare`], with options.
pub fn prepare_with<'s>(
    source: &'s str,
    file_name: &str,
    dialect: Dialect,
    options: &Options,
) -> PreparedProgram<'s> {
    let syntax = Syntax::new(file_name, dialect, options);
    let allocator = Allocator::default();
    let (parsed, syntax) = match program::parse_shallow(&allocator, source, syntax) {
        Ok(parsed) => parsed,
        Err(error) => {
            let function = if options.role == FileRole::Main {
                anonymous_function(source, file_name, dialect, options)
            } else {
                None
            };
            return function.unwrap_or_else(|| {
                PreparedProgram::unchanged(source, syntax.guessed_kind(source), Some(error))
            });
        }
    };
    if syntax.is_plain() && !decorators::may_be_in(source) {
        return plain(source, &parsed, options);
    }
    if let Some(line) = depth::tree_too_deep(&parsed.program) {
        return PreparedProgram::unchanged(
            source,
            parsed.kind,
            Some(PrepareError::TooDeep { line }),
        );
    }
    let (parsed, text) = if syntax.dialect == Dialect::TypeScript {
        match program::written_out(&allocator, parsed, syntax, options) {
            Ok(written) => written,
            Err(error) => {
                return PreparedProgram::unchanged(
                    source,
                    syntax.guessed_kind(source),
                    Some(error),
                );
            }
        }
    } else {
        (parsed, None)
    };
    match erase::erase(&parsed, syntax, options) {
        Erasure::Erased(edits) => match text {
            Some(text) => {
                let mut edits = edits;
                let finished = finish(&parsed, options, &mut edits);
                make_strict(&parsed, &mut edits);
                PreparedProgram { code: Cow::Owned(edits.apply(text).into_owned()), ..finished }
            }
            None => edited(source, &parsed, edits, options),
        },
        Erasure::NeedsCode => match transform::transform(&allocator, parsed, file_name, options) {
            Ok(prepared) => prepared,
            Err((kind, error)) => PreparedProgram::unchanged(source, kind, Some(error)),
        },
    }
}

/// Prepares a program that is a single anonymous function, which is only valid as an expression:
/// `async function (parameters) { ... }`.
fn anonymous_function<'s>(
    source: &str,
    file_name: &str,
    dialect: Dialect,
    options: &Options,
) -> Option<PreparedProgram<'s>> {
    let function = source.trim_end().trim_end_matches(';');
    let keyword = function.trim_start();
    let after =
        keyword.strip_prefix("async").map_or(keyword, str::trim_start).strip_prefix("function")?;
    after.trim_start().trim_start_matches('*').trim_start().starts_with('(').then_some(())?;
    // The function may end with a comment, so the bracket is on a line of its own, which moves
    // nothing.
    let expression = format!("({function}\n)");
    let prepared = prepare_with(&expression, file_name, dialect, options);
    let is_one = prepared.error.is_none() && prepared.is_function;
    let PreparedProgram {
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
    } = prepared;
    let code = Cow::Owned(code.into_owned());
    is_one.then_some(PreparedProgram {
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

fn plain<'s>(source: &'s str, parsed: &Parsed<'_>, options: &Options) -> PreparedProgram<'s> {
    let mut edits = Edits::default();
    if options.role == FileRole::Main {
        completion::take_value(&parsed.program, &mut edits);
    }
    edited(source, parsed, edits, options)
}

/// Finishes a program whose value is already taken by `edits`.
fn edited<'s>(
    source: &'s str,
    parsed: &Parsed<'_>,
    mut edits: Edits,
    options: &Options,
) -> PreparedProgram<'s> {
    let finished = finish(parsed, options, &mut edits);
    make_strict(parsed, &mut edits);
    PreparedProgram { code: edits.apply(source), ..finished }
}
