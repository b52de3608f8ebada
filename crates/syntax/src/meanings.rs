//! The meanings of names at the top level of a file: only a type, or a value. TypeScript decides by
//! them which import aliases and exports exist at run time. They are replaced in place by the
//! statements that TypeScript generates, and the result is still TypeScript.

use std::collections::BTreeSet;

use oxc_ast::ast::{
    Declaration, ExportDefaultDeclarationKind, Expression, ImportDeclarationSpecifier, Program,
    Statement, TSImportEqualsDeclaration, TSModuleReference, TSNamespaceDeclaration,
    TSNamespaceDeclarationBody, TSTypeName,
};
use oxc_semantic::{Scoping, SemanticBuilder};
use oxc_span::{GetSpan, Span};

use crate::bindings::{bound_names, is_type_only};
use crate::edits::Edits;
use crate::jsx;
use crate::options::{Options, UnusedImports};

/// The maximum number of aliases that are followed, because they may be circular.
const MAX_ALIASES: usize = 16;

/// Returns the text with its aliases and exports replaced, or `None` if there are none. The tree is
/// known to be shallow enough to be walked.
pub(crate) fn written_out(program: &Program<'_>, options: &Options) -> Option<String> {
    let is_wanted = program.body.iter().any(|statement| {
        matches!(statement, Statement::TSImportEqualsDeclaration(_))
            || alias_of(statement).is_some()
            || matches!(
                statement,
                Statement::TSExportAssignment(_)
                    | Statement::ExportNamedDeclaration(_)
                    | Statement::ExportDefaultDeclaration(_)
            )
    });
    if !is_wanted {
        return None;
    }
    let mut edits = Edits::default();
    export_assignments(program, &mut edits);
    ambient_exports(program, &mut edits);
    let elements = jsx::names_in_elements(program, options);
    requires(program, &elements, &mut edits);
    aliases(program, &elements, options.unused_imports, &mut edits);
    (edits.len() > 0).then(|| edits.apply(program.source_text).into_owned())
}

/// The meaning of a name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Meaning {
    /// The name does not exist at run time.
    Type,
    /// A value, including one that is only declared to exist.
    Value,
    /// This file does not determine the meaning.
    Unknown,
}

impl Meaning {
    /// Returns the meaning of a name that is declared twice.
    fn or(self, other: Self) -> Self {
        match (self, other) {
            (Self::Value, _) | (_, Self::Value) => Self::Value,
            (Self::Type, _) | (_, Self::Type) => Self::Type,
            (Self::Unknown, Self::Unknown) => Self::Unknown,
        }
    }
}

/// The context of a lookup.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The remaining number of aliases that are followed.
    aliases: usize,
    /// Whether the lookup is in a namespace that is only declared, which exports everything.
    is_ambient: bool,
}

impl Place {
    const TOP: Self = Self { aliases: MAX_ALIASES, is_ambient: false };
}

/// The whole file, in which names are looked up.
struct File<'p, 'a> {
    body: &'p [Statement<'a>],
}

impl File<'_, '_> {
    /// Returns the meaning of `path` at the top level.
    fn meaning(&self, path: &[&str]) -> Meaning {
        self.in_statements(self.body, path, Place::TOP)
    }

    fn in_statements(&self, statements: &[Statement<'_>], path: &[&str], place: Place) -> Meaning {
        statements.iter().fold(Meaning::Unknown, |meaning, statement| match meaning {
            Meaning::Value => meaning,
            _ => meaning.or(self.in_statement(statement, path, place)),
        })
    }

    fn in_statement(&self, statement: &Statement<'_>, path: &[&str], place: Place) -> Meaning {
        match statement {
            Statement::ExportDeclaration(export) => {
                self.in_declaration(&export.declaration, path, place)
            }
            Statement::ExportDefaultDeclaration(export) => match &export.declaration {
                ExportDefaultDeclarationKind::FunctionDeclaration(it) => {
                    named(it.id.as_ref().map(|id| id.name.as_str()), path)
                }
                ExportDefaultDeclarationKind::ClassDeclaration(it) => {
                    named(it.id.as_ref().map(|id| id.name.as_str()), path)
                }
                ExportDefaultDeclarationKind::TSInterfaceDeclaration(it) => {
                    type_named(&it.id.name, path)
                }
                _ => Meaning::Unknown,
            },
            Statement::ImportDeclaration(import) => {
                let found = import
                    .specifiers
                    .iter()
                    .flatten()
                    .find(|specifier| specifier.local().name == path[0]);
                found.map_or(Meaning::Unknown, |specifier| {
                    let is_type = match specifier {
                        ImportDeclarationSpecifier::ImportSpecifier(it) => it.import_kind.is_type(),
                        _ => false,
                    };
                    let is_type = is_type || import.import_kind.is_type();
                    if is_type { Meaning::Type } else { Meaning::Value }
                })
            }
            statement => statement.as_declaration().map_or(Meaning::Unknown, |declaration| {
                self.in_declaration(declaration, path, place)
            }),
        }
    }

    fn in_declaration(
        &self,
        declaration: &Declaration<'_>,
        path: &[&str],
        place: Place,
    ) -> Meaning {
        match declaration {
            Declaration::FunctionDeclaration(it) => {
                named(it.id.as_ref().map(|id| id.name.as_str()), path)
            }
            Declaration::ClassDeclaration(it) => {
                named(it.id.as_ref().map(|id| id.name.as_str()), path)
            }
            Declaration::TSEnumDeclaration(it) => named(Some(&it.id.name), path),
            Declaration::VariableDeclaration(it) => {
                let mut meaning = Meaning::Unknown;
                for declarator in &it.declarations {
                    bound_names(&declarator.id, &mut |name, _| {
                        meaning = meaning.or(named(Some(name), path));
                    });
                }
                meaning
            }
            Declaration::TSInterfaceDeclaration(it) => type_named(&it.id.name, path),
            Declaration::TSTypeAliasDeclaration(it) => type_named(&it.id.name, path),
            Declaration::TSNamespaceDeclaration(it) => self.in_namespace(it, path, place),
            Declaration::TSImportEqualsDeclaration(it) if it.id.name == path[0] => {
                self.of_alias(it, &path[1..], place)
            }
            _ => Meaning::Unknown,
        }
    }

    fn in_namespace(
        &self,
        it: &TSNamespaceDeclaration<'_>,
        path: &[&str],
        place: Place,
    ) -> Meaning {
        if it.id.name != path[0] {
            return Meaning::Unknown;
        }
        let rest = &path[1..];
        let place = Place { is_ambient: place.is_ambient || it.declare, ..place };
        match &it.body {
            TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) if rest.is_empty() => {
                self.in_namespace(inner, &[&inner.id.name], place)
            }
            TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => {
                self.in_namespace(inner, rest, place)
            }
            TSNamespaceDeclarationBody::TSModuleBlock(block) if rest.is_empty() => {
                if block.body.iter().any(is_value_statement) {
                    Meaning::Value
                } else {
                    Meaning::Type
                }
            }
            TSNamespaceDeclarationBody::TSModuleBlock(block) => {
                let exported = block.body.iter().filter(|statement| {
                    place.is_ambient || matches!(statement, Statement::ExportDeclaration(_))
                });
                exported.fold(Meaning::Unknown, |meaning, statement| {
                    meaning.or(self.in_statement(statement, rest, place))
                })
            }
        }
    }

    fn of_alias(&self, it: &TSImportEqualsDeclaration<'_>, rest: &[&str], place: Place) -> Meaning {
        if it.import_kind.is_type() {
            return Meaning::Type;
        }
        match (path_of(&it.module_reference), place.aliases.checked_sub(1)) {
            (Some(mut path), Some(aliases)) => {
                path.extend(rest);
                self.in_statements(self.body, &path, Place { aliases, ..Place::TOP })
            }
            (Some(_), None) => Meaning::Unknown,
            (None, _) => Meaning::Value,
        }
    }
}

/// Returns the meaning of a path if `name` is a value, whose properties are values too.
fn named(name: Option<&str>, path: &[&str]) -> Meaning {
    if name == Some(path[0]) { Meaning::Value } else { Meaning::Unknown }
}

fn type_named(name: &str, path: &[&str]) -> Meaning {
    if path == [name] { Meaning::Type } else { Meaning::Unknown }
}

/// Returns whether a statement makes its namespace a value, even one that is only declared.
fn is_value_statement(statement: &Statement<'_>) -> bool {
    let declaration = match statement {
        Statement::ExportDeclaration(export) => Some(&export.declaration),
        statement => statement.as_declaration(),
    };
    match declaration {
        Some(Declaration::TSInterfaceDeclaration(_) | Declaration::TSTypeAliasDeclaration(_)) => {
            false
        }
        Some(Declaration::TSImportEqualsDeclaration(_)) => {
            matches!(statement, Statement::ExportDeclaration(_))
        }
        Some(Declaration::TSNamespaceDeclaration(it)) => match &it.body {
            TSNamespaceDeclarationBody::TSModuleBlock(block) => {
                block.body.iter().any(is_value_statement)
            }
            TSNamespaceDeclarationBody::TSNamespaceDeclaration(_) => true,
        },
        Some(_) => true,
        None => !matches!(
            statement,
            Statement::EmptyStatement(_) | Statement::ExportNamedDeclaration(_)
        ),
    }
}

/// Returns the parts of `A.b.c`, or `None` for `require()`.
fn path_of<'p>(reference: &'p TSModuleReference<'_>) -> Option<Vec<&'p str>> {
    fn of_name<'p>(name: &'p TSTypeName<'_>, path: &mut Vec<&'p str>) {
        match name {
            TSTypeName::IdentifierReference(it) => path.push(&it.name),
            TSTypeName::QualifiedName(it) => {
                of_name(&it.left, path);
                path.push(&it.right.name);
            }
            TSTypeName::ThisExpression(_) => path.push("this"),
        }
    }
    let mut path = Vec::new();
    match reference {
        TSModuleReference::IdentifierReference(it) => path.push(it.name.as_str()),
        TSModuleReference::QualifiedName(it) => {
            of_name(&it.left, &mut path);
            path.push(&it.right.name);
        }
        TSModuleReference::ExternalModuleReference(_) => return None,
    }
    Some(path)
}

/// Returns the alias that a statement declares, and whether it is exported.
fn alias_of<'p, 'a>(
    statement: &'p Statement<'a>,
) -> Option<(&'p TSImportEqualsDeclaration<'a>, bool)> {
    let (alias, is_exported) = match statement {
        Statement::TSImportEqualsDeclaration(it) => (&**it, false),
        Statement::ExportDeclaration(export) => match &export.declaration {
            Declaration::TSImportEqualsDeclaration(it) => (&**it, true),
            _ => return None,
        },
        _ => return None,
    };
    let is_of_name =
        !matches!(alias.module_reference, TSModuleReference::ExternalModuleReference(_));
    is_of_name.then_some((alias, is_exported))
}

/// Replaces `import React = require('react')` by a constant if elements refer to it implicitly,
/// because the transformer would drop it.
fn requires(program: &Program<'_>, elements: &[String], edits: &mut Edits) {
    for statement in &program.body {
        let Statement::TSImportEqualsDeclaration(it) = statement else { continue };
        let is_required =
            matches!(it.module_reference, TSModuleReference::ExternalModuleReference(_))
                && it.import_kind.is_value();
        if is_required && elements.iter().any(|name| it.id.name == name.as_str()) {
            edits.blank(it.span.start, it.id.span.start);
            edits.insert_before(it.span.start, "const");
        }
    }
}

/// Replaces `import a = B.c` by `var a = B.c` if it is a value. An unused alias is only kept in a
/// script, whose names other scripts can use.
fn aliases(program: &Program<'_>, elements: &[String], unused: UnusedImports, edits: &mut Edits) {
    let mut found = program
        .body
        .iter()
        .filter_map(|statement| Some((statement.span(), alias_of(statement)?)))
        .peekable();
    if found.peek().is_none() {
        return;
    }
    let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
    let is_script = !program.body.iter().any(is_of_module);
    let file = File { body: &program.body };
    for (span, (alias, is_exported)) in found {
        let is_used = is_exported
            || is_script
            || has_values(alias, &scoping)
            || elements.iter().any(|name| alias.id.name == name.as_str());
        let is_kept = match unused {
            _ if alias.import_kind.is_type() => false,
            UnusedImports::Keep => true,
            UnusedImports::Drop => {
                is_used
                    && path_of(&alias.module_reference)
                        .is_some_and(|path| file.meaning(&path) != Meaning::Type)
            }
        };
        if is_kept {
            write_alias(span, alias, is_exported, edits);
        } else {
            edits.blank_to_semicolon(span.start, span.end);
        }
    }
}

fn write_alias(
    span: Span,
    alias: &TSImportEqualsDeclaration<'_>,
    is_exported: bool,
    edits: &mut Edits,
) {
    edits.blank(span.start, alias.id.span.start);
    edits.insert_before(span.start, if is_exported { "export var" } else { "var" });
}

fn has_values(alias: &TSImportEqualsDeclaration<'_>, scoping: &Scoping) -> bool {
    alias.id.symbol_id.get().is_some_and(|symbol| {
        scoping.get_resolved_references(symbol).any(|reference| !reference.is_type())
    })
}

/// Returns whether a statement makes a file a module for TypeScript.
fn is_of_module(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::TSImportEqualsDeclaration(it) => {
            matches!(it.module_reference, TSModuleReference::ExternalModuleReference(_))
        }
        Statement::TSExportAssignment(_) | Statement::TSNamespaceExportDeclaration(_) => true,
        statement => statement.is_module_declaration(),
    }
}

/// Removes `export = T` if T is a type, and all after the first, which is the one that TypeScript
/// keeps.
fn export_assignments(program: &Program<'_>, edits: &mut Edits) {
    let file = File { body: &program.body };
    let mut is_first = true;
    for statement in &program.body {
        let Statement::TSExportAssignment(it) = statement else { continue };
        let is_type = match &it.expression {
            Expression::Identifier(id) => file.meaning(&[&id.name]) == Meaning::Type,
            _ => false,
        };
        if is_type || !is_first {
            edits.blank_to_semicolon(it.span.start, it.span.end);
        }
        is_first &= is_type;
    }
}

/// Removes declarations of values that are elsewhere (`declare const process: any`) and that the
/// file exports by name. The transformer considers such a name a type, and would leave out its
/// export.
fn ambient_exports(program: &Program<'_>, edits: &mut Edits) {
    let mut exported: BTreeSet<&str> = BTreeSet::new();
    for statement in &program.body {
        match statement {
            Statement::ExportNamedDeclaration(it) if it.export_kind.is_value() => {
                exported.extend(
                    it.specifiers
                        .iter()
                        .filter(|one| one.export_kind.is_value())
                        .map(|one| one.local.name().as_str()),
                );
            }
            Statement::ExportDefaultDeclaration(it) => {
                if let ExportDefaultDeclarationKind::Identifier(id) = &it.declaration {
                    exported.insert(&id.name);
                }
            }
            _ => {}
        }
    }
    let file = File { body: &program.body };
    exported.retain(|name| {
        let is_here = program.body.iter().any(|statement| {
            let is_erased = statement.as_declaration().is_some_and(is_type_only);
            !is_erased && file.in_statement(statement, &[name], Place::TOP) == Meaning::Value
        });
        !is_here && file.meaning(&[name]) == Meaning::Value
    });
    for statement in &program.body {
        let is_erased = statement.as_declaration().is_some_and(is_type_only);
        if is_erased
            && exported
                .iter()
                .any(|name| file.in_statement(statement, &[name], Place::TOP) != Meaning::Unknown)
        {
            let span = statement.span();
            edits.blank_to_semicolon(span.start, span.end);
        }
    }
}
