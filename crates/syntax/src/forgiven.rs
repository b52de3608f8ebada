//! Errors of TypeScript that do not matter after the types are removed. TypeScript emits such files
//! too, because it never refuses to emit for errors about types.

use oxc_ast::ast::{
    Class, Declaration, Program, Statement, TSInterfaceDeclaration, TSType, TSTypeAliasDeclaration,
    TSTypeAnnotation, TSTypeParameterDeclaration,
};
use oxc_ast_visit::{Visit, walk};
use oxc_diagnostics::{Diagnostics, OxcDiagnostic};
use oxc_span::{GetSpan, Span};

use crate::bindings::is_type_only;
use crate::depth;

/// The numbers of TypeScript's errors about syntax that is removed as a whole, or that means the
/// same without it.
const FORGIVEN: [&str; 11] = [
    "1015",  // a parameter with a question mark and a default
    "1016",  // a required parameter after an optional one
    "1090",  // `function f(public a) {}`
    "2206",  // `import type { type A }`
    "2207",  // `export type { type A }`
    "2368",  // a type parameter with the name of a type: `any`, `string`
    "2414",  // a class
    "2427",  // an interface
    "2457",  // a type alias
    "2499",  // `interface A extends B?.C {}`
    "18007", // `<a b={1, 2} />`, which is the last of the values
];

/// Returns whether no diagnostic concerns code that exists at run time.
pub(crate) fn are_about_types(program: &Program<'_>, diagnostics: &Diagnostics) -> bool {
    if diagnostics.errors().all(is_forgiven) {
        return true;
    }
    if depth::tree_too_deep(program).is_some() {
        return false;
    }
    let mut types = Types::default();
    types.visit_program(program);
    diagnostics.errors().all(|diagnostic| {
        let within = |span: &Span| {
            diagnostic
                .labels
                .iter()
                .all(|label| span.start <= label.offset() && label.offset() < span.end)
        };
        is_forgiven(diagnostic) || (!diagnostic.labels.is_empty() && types.spans.iter().any(within))
    })
}

fn is_forgiven(diagnostic: &OxcDiagnostic) -> bool {
    let code = &diagnostic.code;
    code.scope.as_deref() == Some("TS")
        && code.number.as_deref().is_some_and(|number| FORGIVEN.contains(&number))
}

/// The spans of types and of declarations that do not exist at run time.
#[derive(Default)]
struct Types {
    spans: Vec<Span>,
}

impl<'a> Visit<'a> for Types {
    fn visit_statement(&mut self, it: &Statement<'a>) {
        let declaration = match it {
            Statement::ExportDeclaration(export) => Some(&export.declaration),
            statement => statement.as_declaration(),
        };
        match declaration {
            // The error may be the missing body of an overload.
            Some(Declaration::FunctionDeclaration(function)) if !function.declare => {
                walk::walk_statement(self, it);
            }
            Some(declaration) if is_type_only(declaration) => self.spans.push(it.span()),
            _ => walk::walk_statement(self, it),
        }
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        if it.declare {
            self.spans.push(it.span);
        } else {
            walk::walk_class(self, it);
        }
    }

    fn visit_ts_type(&mut self, it: &TSType<'a>) {
        self.spans.push(it.span());
    }

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.spans.push(it.span);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.spans.push(it.span);
    }

    fn visit_ts_interface_declaration(&mut self, it: &TSInterfaceDeclaration<'a>) {
        self.spans.push(it.span);
    }

    fn visit_ts_type_alias_declaration(&mut self, it: &TSTypeAliasDeclaration<'a>) {
        self.spans.push(it.span);
    }
}
