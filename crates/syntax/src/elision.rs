//! Removal of imports that are used only as types, as TypeScript does.

use oxc_ast::ast::{
    BindingIdentifier, ImportDeclaration, ImportDeclarationSpecifier, Program, Statement,
};
use oxc_semantic::{Reference, Scoping, SemanticBuilder};
use oxc_span::{GetSpan, Span};

use crate::edits::Edits;
use crate::options::UnusedImports;
use crate::trivia::find_punctuator;

/// Blanks every import that no value refers to. The depth of the tree must have been checked.
pub(crate) fn elide(program: &Program<'_>, unused: UnusedImports, edits: &mut Edits) {
    let imports: Vec<&ImportDeclaration<'_>> = program
        .body
        .iter()
        .filter_map(|statement| match statement {
            Statement::ImportDeclaration(import)
                if import.specifiers.as_ref().is_some_and(|specifiers| !specifiers.is_empty()) =>
            {
                Some(&**import)
            }
            _ => None,
        })
        .collect();
    if imports.is_empty() {
        return;
    }
    let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
    for import in imports {
        elide_unused(import, &scoping, unused, program.source_text, edits);
    }
}

/// Returns whether an import is for types only: it is marked so, or no value refers to its names.
pub(crate) fn is_elided(import: &ImportDeclaration<'_>, scoping: &Scoping) -> bool {
    let is_unused = |specifiers: &[ImportDeclarationSpecifier<'_>]| {
        !specifiers.iter().any(|specifier| is_kept(specifier, scoping))
    };
    import.import_kind.is_type()
        || import
            .specifiers
            .as_ref()
            .is_some_and(|specifiers| !specifiers.is_empty() && is_unused(specifiers))
}

/// Returns the local names of an import.
pub(crate) fn locals<'i, 'a>(
    import: &'i ImportDeclaration<'a>,
) -> impl Iterator<Item = &'i BindingIdentifier<'a>> {
    import.specifiers.iter().flatten().map(local_of)
}

fn local_of<'i, 'a>(specifier: &'i ImportDeclarationSpecifier<'a>) -> &'i BindingIdentifier<'a> {
    match specifier {
        ImportDeclarationSpecifier::ImportSpecifier(it) => &it.local,
        ImportDeclarationSpecifier::ImportDefaultSpecifier(it) => &it.local,
        ImportDeclarationSpecifier::ImportNamespaceSpecifier(it) => &it.local,
    }
}

fn elide_unused(
    import: &ImportDeclaration<'_>,
    scoping: &Scoping,
    unused: UnusedImports,
    source: &str,
    edits: &mut Edits,
) {
    let specifiers = import.specifiers.as_ref().map_or(&[][..], |specifiers| &specifiers[..]);
    let keeps_all = unused == UnusedImports::Keep;
    let kept: Vec<bool> = specifiers
        .iter()
        .map(
            |specifier| {
                if keeps_all { !is_of_type(specifier) } else { is_kept(specifier, scoping) }
            },
        )
        .collect();
    if import.import_kind.is_type() || (!keeps_all && is_elided(import, scoping)) {
        edits.blank_to_semicolon(import.span.start, import.span.end);
        return;
    }
    for (index, specifier) in specifiers.iter().enumerate() {
        if kept[index] {
            continue;
        }
        let span = specifier.span();
        let Span { start, end, .. } = match specifier {
            // `import T, { a }` and `import T, * as n`
            ImportDeclarationSpecifier::ImportDefaultSpecifier(_) => {
                Span::new(span.start, comma_after(source, span.end))
            }
            // `import a, * as T`: the comma is before the name
            ImportDeclarationSpecifier::ImportNamespaceSpecifier(_) => {
                Span::new(specifiers[index - 1].span().end, span.end)
            }
            ImportDeclarationSpecifier::ImportSpecifier(_) => Span::new(
                span.start,
                specifiers.get(index + 1).map_or(span.end, |next| next.span().start),
            ),
        };
        edits.blank(start, end);
    }
}

fn is_kept(specifier: &ImportDeclarationSpecifier<'_>, scoping: &Scoping) -> bool {
    if is_of_type(specifier) {
        return false;
    }
    let Some(symbol) = local_of(specifier).symbol_id.get() else { return true };
    !scoping.get_resolved_references(symbol).all(Reference::is_type)
}

/// Returns whether a name is marked `type`.
fn is_of_type(specifier: &ImportDeclarationSpecifier<'_>) -> bool {
    matches!(specifier, ImportDeclarationSpecifier::ImportSpecifier(it) if it.import_kind.is_type())
}

/// Returns the end of the comma after `end`, which only white space and comments precede.
fn comma_after(source: &str, end: u32) -> u32 {
    find_punctuator(source, end, b',').map_or(end, |comma| comma + 1)
}
