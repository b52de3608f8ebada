//! The result of a preparation, and the edits that finish every program: the entry, the combination
//! of module systems, and strictness.

use std::borrow::Cow;

use oxc_span::GetSpan;

use crate::bindings;
use crate::dialect::ModuleKind;
use crate::edits::Edits;
use crate::error::PrepareError;
use crate::interop;
use crate::options::{FileRole, Options};
use crate::program::Parsed;
use crate::starts::{self, Branch};
use crate::uses::{self, AllUses};

/// A program that is ready to be compiled.
#[derive(Debug, Clone, PartialEq, Eq)]
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a program, each with a name that the driver reads"
)]
pub struct PreparedProgram<'s> {
    /// The way in which the program is loaded.
    pub kind: ModuleKind,
    /// Code of the program. Each expression whose value may be the program's is passed to
    /// `__belljar_value`. The last call counts, and a call without arguments withdraws an earlier
    /// value.
    pub code: Cow<'s, str>,
    /// Source map (version 3, JSON), if positions have changed in more ways than `code` shows.
    pub map: Option<String>,
    /// Whether the program is CommonJS with `await` at its top level, so that the function has to
    /// be async.
    pub is_async: bool,
    /// Whether the code sets `__belljar_value.main` to its top-level binding `main`. The exports of
    /// a module are not examined.
    pub has_main: bool,
    /// Whether the code reads `require`, `module` and similar names from
    /// `__belljar_value.commonjs`, because it is a module that uses them without declaring them.
    pub needs_commonjs: bool,
    /// The program's uses of its imports, by specifier. Node's own modules are left out.
    pub uses: AllUses,
    /// Whether the program starts its `main` itself, now or later: the one that it exports under
    /// that name, otherwise the one that it defines. If a guard such as `if (require.main ===
    /// module)` decides, the code sets `__belljar_value.started` instead.
    pub starts_main: bool,
    /// Whether the program starts its only export itself: `module.exports`, or a default export.
    pub starts_exported: bool,
    /// Whether the program is a single function expression.
    pub is_function: bool,
    /// The error because of which the program was left unchanged.
    pub error: Option<PrepareError>,
}

impl<'s> PreparedProgram<'s> {
    /// Returns a program that is left as it is, because of `error` if there is one.
    pub(crate) fn unchanged(
        source: &'s str,
        kind: ModuleKind,
        error: Option<PrepareError>,
    ) -> Self {
        Self { error, ..Entry::default().prepared(kind, Cow::Borrowed(source), false) }
    }

    /// Returns [`PreparedProgram::uses`] as JSON, an object by specifier.
    pub fn uses_json(&self) -> String {
        uses::to_json(&self.uses)
    }

    /// Returns whether the program was analysed.
    pub fn parsed(&self) -> bool {
        self.error.is_none()
    }
}

/// Makes CommonJS in TypeScript's syntax strict code. This comes after all other edits, so that it
/// is first at its place.
pub(crate) fn make_strict(parsed: &Parsed<'_>, edits: &mut Edits) {
    if let (true, Some(first)) = (parsed.is_strict, parsed.program.body.first()) {
        edits.insert_before(first.span().start, "\"use strict\";");
    }
}

/// Makes the last edits, and returns the result without its code.
pub(crate) fn finish<'s>(
    parsed: &Parsed<'_>,
    options: &Options,
    edits: &mut Edits,
) -> PreparedProgram<'s> {
    let entry =
        if options.role == FileRole::Main { Entry::of(parsed, edits) } else { Entry::default() };
    let joined = interop::join(parsed, options, edits);
    if let (ModuleKind::CommonJs, FileRole::Main, Some(hashbang)) =
        (parsed.kind, options.role, &parsed.program.hashbang)
    {
        // A hashbang is only valid at the very start of a file, and this code becomes the body of a
        // function.
        edits.replace(hashbang.span.start, hashbang.span.start + 2, "//");
    }
    let prepared = entry.prepared(parsed.kind, Cow::Borrowed(""), parsed.is_async);
    PreparedProgram { needs_commonjs: joined.needs_commonjs, uses: joined.uses, ..prepared }
}

/// The parts of a program that may be called after it has run.
#[derive(Default)]
#[expect(clippy::struct_excessive_bools, reason = "as in `PreparedProgram`")]
pub(crate) struct Entry {
    has_main: bool,
    starts_main: bool,
    starts_exported: bool,
    is_function: bool,
}

impl Entry {
    /// Finds the entry, and passes on a top-level `main` after the last statement, which is before
    /// any comment that ends the file.
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
        Self {
            has_main: end.is_some(),
            starts_main: starts.main,
            starts_exported: starts.exported,
            is_function,
        }
    }

    pub(crate) fn prepared(
        self,
        kind: ModuleKind,
        code: Cow<'_, str>,
        is_async: bool,
    ) -> PreparedProgram<'_> {
        let Self { has_main, starts_main, starts_exported, is_function } = self;
        PreparedProgram {
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

/// Marks a guarded branch as taken when it runs.
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
