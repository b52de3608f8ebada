//! Signs of CommonJS and of ECMAScript modules in a program: the names that Node declares around a
//! CommonJS program, and exports of either kind.

use oxc_ast::ast::{Declaration, Program, Statement};
use oxc_semantic::{Scoping, SemanticBuilder};

use crate::bindings::is_type_only;
use crate::depth;

/// The names that Node declares around a CommonJS program.
pub(crate) const COMMONJS_NAMES: [&str; 5] =
    ["require", "module", "exports", "__filename", "__dirname"];

/// Returns the names of CommonJS that a program reads without declaring them. A name whose type
/// alone is read stays undefined, as in Node's modules.
pub(crate) fn free_names(program: &Program<'_>, scoping: &Scoping) -> Vec<&'static str> {
    let is_ambient = |name: &str| {
        program.body.iter().any(|statement| match statement {
            Statement::VariableDeclaration(it) if it.declare => it
                .declarations
                .iter()
                .any(|it| it.id.get_identifier_name().is_some_and(|id| id == name)),
            Statement::FunctionDeclaration(it) if it.declare => {
                it.id.as_ref().is_some_and(|id| id.name == name)
            }
            Statement::TSNamespaceDeclaration(it) if it.declare => it.id.name == name,
            _ => false,
        })
    };
    COMMONJS_NAMES
        .into_iter()
        .filter(|name| {
            let references = match scoping.get_root_binding((*name).into()) {
                Some(symbol) if is_ambient(name) => scoping.get_resolved_reference_ids(symbol),
                Some(_) => return false,
                None => match scoping.root_unresolved_references().get(*name) {
                    Some(references) => &references[..],
                    None => return false,
                },
            };
            let values =
                references.iter().filter(|id| !scoping.get_reference(**id).is_type()).count();
            values > 0 && values > typeof_count(program.source_text, name)
        })
        .collect()
}

/// Returns the number of occurrences of `typeof name`.
fn typeof_count(source: &str, name: &str) -> usize {
    source
        .match_indices("typeof")
        .filter(|(at, word)| {
            let rest = source[at + word.len()..].trim_start_matches([' ', '(']);
            rest.strip_prefix(name).is_some_and(|rest| {
                !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '$')
            })
        })
        .count()
}

/// Returns whether `require` and similar names are used without being declared. In a tree that is
/// too deep to be walked, they are assumed not to be.
pub(crate) fn uses_commonjs_names(program: &Program<'_>) -> bool {
    if depth::tree_too_deep(program).is_some() {
        return false;
    }
    let semantic = SemanticBuilder::new().build(program).semantic;
    semantic
        .scoping()
        .root_unresolved_references()
        .keys()
        .any(|name| COMMONJS_NAMES.contains(&name.as_str()))
}

/// Returns whether a program exports values with the syntax of ECMAScript.
pub(crate) fn exports_values(program: &Program<'_>) -> bool {
    program.body.iter().any(|statement| match statement {
        Statement::ExportDeclaration(it) => match &it.declaration {
            Declaration::TSImportEqualsDeclaration(it) => it.import_kind.is_value(),
            declaration => !is_type_only(declaration),
        },
        Statement::ExportNamedDeclaration(it) => {
            it.export_kind.is_value() && !it.specifiers.is_empty()
        }
        Statement::ExportFromDeclaration(it) => it.export_kind.is_value(),
        Statement::ExportAllDeclaration(it) => it.export_kind.is_value(),
        Statement::ExportDefaultDeclaration(_) => true,
        _ => false,
    })
}

/// Returns whether a program assigns to the exports of CommonJS.
pub(crate) fn assigns_exports(program: &Program<'_>) -> bool {
    let source = program.source_text;
    if !source.contains("exports") || depth::tree_too_deep(program).is_some() {
        return false;
    }
    let written = source.match_indices("exports").any(|(at, word)| {
        let rest = source[at + word.len()..].trim_start();
        let is_own = !source[..at]
            .ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$');
        is_own
            && (rest.starts_with(['.', '['])
                || (rest.starts_with('=')
                    && !rest.starts_with("==")
                    && source[..at].trim_end().ends_with('.')))
    });
    if !written {
        return false;
    }
    let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
    free_names(program, &scoping).iter().any(|name| matches!(*name, "exports" | "module"))
}
