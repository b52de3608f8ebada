//! JSX: the pragmas in a file's comments, the runtime that its elements use, and the names that
//! they refer to implicitly.

use oxc_ast::ast::{ImportDeclaration, JSXElement, JSXFragment, Program, Statement};
use oxc_ast_visit::Visit;
use oxc_span::GetSpan;
use oxc_transformer::JsxRuntime;

use crate::bindings;
use crate::elision;
use crate::options::{JsxMode, Options};

/// Returns the runtime of JSX: the one in a comment, otherwise the one in the options, otherwise
/// classic if the file imports or declares `React`, like code that was written for it.
pub(crate) fn jsx_runtime_of(
    program: &Program<'_>,
    pragmas: &Pragmas<'_>,
    options: &Options,
) -> JsxRuntime {
    match (pragmas.runtime, options.jsx) {
        (Some("classic"), _) => JsxRuntime::Classic,
        (Some("automatic"), _) => JsxRuntime::Automatic,
        _ if pragmas.import_source.is_some() => JsxRuntime::Automatic,
        _ if pragmas.factory.is_some() => JsxRuntime::Classic,
        (_, JsxMode::Classic) => JsxRuntime::Classic,
        (_, JsxMode::Unset) if options.jsx_factory.is_some() || has_react(program) => {
            JsxRuntime::Classic
        }
        (_, JsxMode::Automatic | JsxMode::Unset) => JsxRuntime::Automatic,
    }
}

/// Returns the names that a file's elements refer to implicitly, which are the beginnings of its
/// factories.
pub(crate) fn names_in_elements(program: &Program<'_>, options: &Options) -> Vec<String> {
    let pragmas = Pragmas::of(program);
    if jsx_runtime_of(program, &pragmas, options) == JsxRuntime::Automatic
        || !Elements::are_in(program)
    {
        return Vec::new();
    }
    let factory = pragmas.factory.or(options.jsx_factory.as_deref()).unwrap_or("React");
    let fragment = pragmas.fragment.or(options.jsx_fragment_factory.as_deref()).unwrap_or("React");
    [factory, fragment]
        .iter()
        .map(|name| name.split('.').next().unwrap_or(name).to_owned())
        .collect()
}

/// Returns the specifier that a file with elements imports implicitly, if it does.
pub(crate) fn jsx_runtime(program: &Program<'_>, options: &Options) -> Option<String> {
    let pragmas = Pragmas::of(program);
    let is_classic = jsx_runtime_of(program, &pragmas, options) == JsxRuntime::Classic;
    let package = pragmas.import_source.or(options.jsx_import_source.as_deref()).unwrap_or("react");
    (!is_classic).then(|| format!("{package}/jsx-runtime"))
}

/// The pragmas for JSX in comments before the first statement. Like in TypeScript, their case does
/// not matter.
#[derive(Debug, Default)]
pub(crate) struct Pragmas<'p> {
    pub(crate) factory: Option<&'p str>,
    pub(crate) fragment: Option<&'p str>,
    pub(crate) runtime: Option<&'p str>,
    pub(crate) import_source: Option<&'p str>,
}

impl<'p> Pragmas<'p> {
    const NAMES: [&'static str; 4] = ["@jsx", "@jsxfrag", "@jsxruntime", "@jsximportsource"];

    pub(crate) fn of(program: &'p Program<'_>) -> Self {
        let first = program.body.first().map_or(u32::MAX, |statement| statement.span().start);
        let mut pragmas = Self::default();
        for comment in program.comments.iter().filter(|comment| comment.span.start < first) {
            let text = comment.content_span().source_text(program.source_text);
            let mut words = text.split_whitespace().map(|word| word.trim_start_matches('*'));
            while let Some(word) = words.next() {
                let Some(index) =
                    Self::NAMES.iter().position(|name| word.eq_ignore_ascii_case(name))
                else {
                    continue;
                };
                let place = match index {
                    0 => &mut pragmas.factory,
                    1 => &mut pragmas.fragment,
                    2 => &mut pragmas.runtime,
                    _ => &mut pragmas.import_source,
                };
                *place = words.next();
            }
        }
        pragmas
    }

    /// Returns whether a comment contains a pragma.
    pub(crate) fn are_in(comment: &str) -> bool {
        comment.split_whitespace().any(|word| {
            Self::NAMES.iter().any(|name| word.trim_start_matches('*').eq_ignore_ascii_case(name))
        })
    }
}

/// Returns whether a file imports or declares `React`.
fn has_react(program: &Program<'_>) -> bool {
    let imports =
        |import: &ImportDeclaration<'_>| elision::locals(import).any(|local| local.name == "React");
    program.body.iter().any(|statement| match statement {
        Statement::ImportDeclaration(import) => import.import_kind.is_value() && imports(import),
        Statement::TSImportEqualsDeclaration(import) => {
            import.import_kind.is_value() && import.id.name == "React"
        }
        statement => statement
            .as_declaration()
            .is_some_and(|declaration| bindings::declares(declaration, &|name| name == "React")),
    })
}

/// Finds elements of JSX.
#[derive(Default)]
struct Elements {
    found: bool,
}

impl Elements {
    fn are_in(program: &Program<'_>) -> bool {
        if !program.source_type.is_jsx() {
            return false;
        }
        let mut finder = Self::default();
        finder.visit_program(program);
        finder.found
    }
}

impl<'a> Visit<'a> for Elements {
    fn visit_jsx_element(&mut self, _: &JSXElement<'a>) {
        self.found = true;
    }

    fn visit_jsx_fragment(&mut self, _: &JSXFragment<'a>) {
        self.found = true;
    }
}
