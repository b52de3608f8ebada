//! Replaces namespaces of TypeScript in place by the functions that TypeScript generates for them,
//! so that lines stay and merged blocks see each other's exports. The result is TypeScript without
//! namespaces.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;

use oxc_ast::ast::{
    AssignmentTargetPropertyIdentifier, BindingPattern, Declaration, IdentifierReference,
    JSXElementName, JSXMemberExpressionObject, ObjectProperty, Program, Statement,
    TSImportEqualsDeclaration, TSModuleReference, TSNamespaceDeclaration,
    TSNamespaceDeclarationBody, TSType, TSTypeName, VariableDeclaration,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::{ScopeId, Scoping, SemanticBuilder, SymbolId};
use oxc_span::{GetSpan, Span};

use crate::bindings::{bound_names, is_type_only};
use crate::edits::Edits;
use crate::trivia::skip_trivia;

/// Returns the text without namespaces, or `None` if there are none. The tree is known to be
/// shallow enough to be walked.
pub(crate) fn written_out(program: &Program<'_>) -> Option<String> {
    let source = program.source_text;
    if !(source.contains("namespace") || source.contains("module")) {
        return None;
    }
    let has_namespace = program.body.iter().any(|statement| namespace_of(statement).is_some());
    if !has_namespace {
        return None;
    }
    let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
    let mut writer = Writer {
        source,
        scoping: &scoping,
        edits: Edits::default(),
        exports: BTreeMap::new(),
        variables: BTreeMap::new(),
        blocks: Vec::new(),
    };
    writer.collect(&program.body, "");
    writer.statements(&program.body, None);
    writer.exports_of_types(&program.body);
    let Writer { mut edits, variables, blocks, .. } = writer;
    let mut prefixer =
        Prefixer { scoping: &scoping, variables: &variables, blocks: &blocks, edits: &mut edits };
    prefixer.visit_program(program);
    Some(edits.apply(source).into_owned())
}

/// Returns the namespace that a statement declares, and the start of the declaration after any
/// `export`.
fn namespace_of<'p, 'a>(statement: &'p Statement<'a>) -> Option<&'p TSNamespaceDeclaration<'a>> {
    match statement {
        Statement::TSNamespaceDeclaration(it) if !it.declare => Some(it),
        Statement::ExportDeclaration(export) => match &export.declaration {
            Declaration::TSNamespaceDeclaration(it) if !it.declare => Some(it),
            _ => None,
        },
        _ => None,
    }
}

/// Returns whether a namespace exists at run time.
fn is_instantiated(namespace: &TSNamespaceDeclaration<'_>) -> bool {
    match &namespace.body {
        TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => is_instantiated(inner),
        TSNamespaceDeclarationBody::TSModuleBlock(block) => {
            block.body.iter().any(|statement| match statement {
                Statement::ExportDeclaration(export) => match &export.declaration {
                    Declaration::TSNamespaceDeclaration(it) => !it.declare && is_instantiated(it),
                    declaration => !is_type_only(declaration),
                },
                Statement::TSNamespaceDeclaration(it) => !it.declare && is_instantiated(it),
                Statement::TSImportEqualsDeclaration(_) | Statement::EmptyStatement(_) => false,
                statement => !statement.as_declaration().is_some_and(is_type_only),
            })
        }
    }
}

/// A block of a namespace.
struct Block {
    scope: ScopeId,
    parameter: String,
    /// Names that other blocks of the same namespace export.
    others: BTreeSet<String>,
}

struct Writer<'s> {
    source: &'s str,
    scoping: &'s Scoping,
    edits: Edits,
    /// The exports of each namespace's blocks, by its dotted path.
    exports: BTreeMap<String, BTreeSet<String>>,
    /// Exported variables, with the parameter that they are properties of.
    variables: BTreeMap<SymbolId, String>,
    blocks: Vec<Block>,
}

/// The namespace around statements.
#[derive(Clone, Copy)]
struct Around<'w> {
    path: &'w str,
    parameter: &'w str,
}

fn joined(path: &str, name: &str) -> String {
    format!("{path}.{name}")
}

impl Writer<'_> {
    fn collect(&mut self, statements: &[Statement<'_>], path: &str) {
        for statement in statements {
            if let Some(namespace) = namespace_of(statement) {
                self.collect_namespace(namespace, path);
            }
            let declaration = match statement {
                Statement::ExportDeclaration(export) => Some(&export.declaration),
                statement => statement.as_declaration(),
            };
            // Members of an enum are names in a namespace that it is merged with.
            if let Some(Declaration::TSEnumDeclaration(it)) = declaration {
                let members =
                    it.body.members.iter().map(|member| member.id.static_name().to_string());
                self.exports.entry(joined(path, &it.id.name)).or_default().extend(members);
            }
        }
    }

    fn collect_namespace(&mut self, namespace: &TSNamespaceDeclaration<'_>, path: &str) {
        let path = joined(path, &namespace.id.name);
        match &namespace.body {
            TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => {
                self.exports.entry(path.clone()).or_default().insert(inner.id.name.to_string());
                self.collect_namespace(inner, &path);
            }
            TSNamespaceDeclarationBody::TSModuleBlock(block) => {
                let mut names = BTreeSet::new();
                for statement in &block.body {
                    let Statement::ExportDeclaration(export) = statement else { continue };
                    match &export.declaration {
                        Declaration::VariableDeclaration(it) => {
                            for declarator in &it.declarations {
                                bound_names(&declarator.id, &mut |name, _| {
                                    names.insert(name.to_owned());
                                });
                            }
                        }
                        Declaration::FunctionDeclaration(it) => {
                            names.extend(it.id.iter().map(|id| id.name.to_string()));
                        }
                        Declaration::ClassDeclaration(it) => {
                            names.extend(it.id.iter().map(|id| id.name.to_string()));
                        }
                        Declaration::TSEnumDeclaration(it) => {
                            names.insert(it.id.name.to_string());
                        }
                        Declaration::TSNamespaceDeclaration(it) => {
                            names.insert(it.id.name.to_string());
                        }
                        Declaration::TSImportEqualsDeclaration(it) => {
                            names.insert(it.id.name.to_string());
                        }
                        _ => {}
                    }
                }
                self.exports.entry(path.clone()).or_default().extend(names);
                self.collect(&block.body, &path);
            }
        }
    }

    fn statements(&mut self, statements: &[Statement<'_>], around: Option<Around<'_>>) {
        let mut declared: BTreeSet<String> = BTreeSet::new();
        for statement in statements {
            declared.extend(other_declaration(statement));
        }
        for statement in statements {
            let is_exported = matches!(statement, Statement::ExportDeclaration(_));
            if let Some(namespace) = namespace_of(statement) {
                let is_first =
                    is_instantiated(namespace) && declared.insert(namespace.id.name.to_string());
                self.statement_of_namespace(
                    statement.span(),
                    namespace,
                    is_exported,
                    is_first,
                    around,
                );
            } else if let Some(around) = around {
                self.member(statement, around);
            }
        }
    }

    /// Removes exports of namespaces that contain only types.
    fn exports_of_types(&mut self, statements: &[Statement<'_>]) {
        let is_value = |name: &str| {
            statements.iter().any(|statement| match namespace_of(statement) {
                Some(namespace) => namespace.id.name == name && is_instantiated(namespace),
                None => declared_names(statement).iter().any(|declared| declared == name),
            })
        };
        let is_of_types = |name: &str| {
            let is_namespace = statements
                .iter()
                .filter_map(namespace_of)
                .any(|namespace| namespace.id.name == name);
            is_namespace && !is_value(name)
        };
        for statement in statements {
            let span = statement.span();
            match statement {
                Statement::TSExportAssignment(it) => {
                    if let oxc_ast::ast::Expression::Identifier(id) = &it.expression
                        && is_of_types(&id.name)
                    {
                        self.edits.blank_to_semicolon(span.start, span.end);
                    }
                }
                Statement::ExportDefaultDeclaration(it) => {
                    if let oxc_ast::ast::ExportDefaultDeclarationKind::Identifier(id) =
                        &it.declaration
                        && is_of_types(&id.name)
                    {
                        self.edits.blank_to_semicolon(span.start, span.end);
                    }
                }
                Statement::ExportNamedDeclaration(it) => {
                    for (index, specifier) in it.specifiers.iter().enumerate() {
                        if is_of_types(&specifier.local.name()) {
                            let end = it
                                .specifiers
                                .get(index + 1)
                                .map_or(specifier.span.end, |next| next.span.start);
                            self.edits.blank(specifier.span.start, end);
                        }
                    }
                }
                _ => {}
            }
        }
    }

    fn statement_of_namespace(
        &mut self,
        span: Span,
        namespace: &TSNamespaceDeclaration<'_>,
        is_exported: bool,
        is_first: bool,
        around: Option<Around<'_>>,
    ) {
        if !is_instantiated(namespace) {
            self.edits.blank_to_semicolon(span.start, span.end);
            return;
        }
        let name = &namespace.id.name;
        let word = match (around, is_exported) {
            (None, true) => "export var",
            (None, false) => "var",
            (Some(_), _) => "let",
        };
        let declaration = if is_first { format!("{word} {name}; ") } else { String::new() };
        let container = around.filter(|_| is_exported).map(|around| around.parameter);
        // A statement before it may lack its semicolon.
        self.namespace(
            span.start,
            namespace,
            &format!(";{declaration}"),
            container,
            around.map_or("", |around| around.path),
        );
    }

    /// Writes `(function (N) { … })(N || (N = {}));` from `start` on.
    fn namespace(
        &mut self,
        start: u32,
        namespace: &TSNamespaceDeclaration<'_>,
        before: &str,
        container: Option<&str>,
        path: &str,
    ) {
        let name = namespace.id.name.as_str();
        let path = joined(path, name);
        let scope = namespace.scope_id.get();
        let parameter = self.parameter_for(name, scope);
        let mut open = format!("{before}(function ({parameter}) {{");
        let close = match container {
            Some(container) => {
                format!("}})({name} = {container}.{name} || ({container}.{name} = {{}}));")
            }
            None => format!("}})({name} || ({name} = {{}}));"),
        };
        match &namespace.body {
            TSNamespaceDeclarationBody::TSNamespaceDeclaration(inner) => {
                let _ = write!(open, " let {}; ", inner.id.name);
                let others = self.exports.get(&path).cloned().unwrap_or_default();
                if let Some(scope) = scope {
                    self.blocks.push(Block { scope, parameter: parameter.clone(), others });
                }
                self.namespace(start, inner, &open, Some(&parameter), &path);
                self.edits.insert_after(namespace.span.end, close);
            }
            TSNamespaceDeclarationBody::TSModuleBlock(block) => {
                self.edits.insert_before(start, open);
                self.edits.blank(start, block.span.start + 1);
                let mut others = self.exports.get(&path).cloned().unwrap_or_default();
                for statement in &block.body {
                    for name in declared_names(statement) {
                        others.remove(&name);
                    }
                }
                if let Some(scope) = scope {
                    self.blocks.push(Block { scope, parameter: parameter.clone(), others });
                }
                self.statements(&block.body, Some(Around { path: &path, parameter: &parameter }));
                self.edits.replace(block.span.end - 1, block.span.end, "");
                self.edits.insert_after(block.span.end, close);
            }
        }
    }

    /// Returns the name of the namespace within its block, which differs if something in it has
    /// that name.
    fn parameter_for(&self, name: &str, scope: Option<ScopeId>) -> String {
        let Some(scope) = scope else { return name.to_owned() };
        let is_taken = |name: &str| {
            self.scoping.symbol_ids().any(|symbol| {
                self.scoping.symbol_name(symbol) == name
                    && is_within(self.scoping, self.scoping.symbol_scope_id(symbol), scope)
            })
        };
        if !is_taken(name) {
            return name.to_owned();
        }
        // A text contains fewer names than bytes.
        (1..=self.source.len() + 1)
            .map(|number| format!("{name}_{number}"))
            .find(|name| !self.source.contains(name.as_str()))
            .unwrap_or_default()
    }

    /// Handles a statement of a namespace that is not a namespace itself.
    fn member(&mut self, statement: &Statement<'_>, around: Around<'_>) {
        let span = statement.span();
        match statement {
            Statement::ExportDeclaration(export) => {
                if let Declaration::VariableDeclaration(it) = &export.declaration {
                    self.note_variables(it, around.parameter);
                    if !it.declare {
                        self.exported_variables(span, it, around.parameter);
                        return;
                    }
                }
                if is_type_only(&export.declaration) {
                    // A function's signature is removed too, because its body is another statement.
                    self.edits.blank_to_semicolon(span.start, span.end);
                    return;
                }
                match &export.declaration {
                    Declaration::TSImportEqualsDeclaration(it) => {
                        self.alias(span, it, Some(around.parameter));
                    }
                    declaration => {
                        let name = match declaration {
                            Declaration::FunctionDeclaration(it) => {
                                it.id.as_ref().map(|id| &id.name)
                            }
                            Declaration::ClassDeclaration(it) => it.id.as_ref().map(|id| &id.name),
                            Declaration::TSEnumDeclaration(it) => Some(&it.id.name),
                            _ => None,
                        };
                        let from = match declaration {
                            Declaration::ClassDeclaration(it) => {
                                it.decorators.last().map_or(span.start, |last| last.span.end)
                            }
                            _ => span.start,
                        };
                        let word = skip_trivia(self.source, from);
                        if self.source[word as usize..].starts_with("export") {
                            self.edits.blank(word, word + "export".len() as u32);
                        } else {
                            self.edits.blank(span.start, span.start + "export".len() as u32);
                        }
                        if let Some(name) = name {
                            self.edits.insert_after(
                                span.end,
                                format!(" {}.{name} = {name};", around.parameter),
                            );
                        }
                    }
                }
            }
            Statement::TSImportEqualsDeclaration(it) => self.alias(span, it, None),
            _ => {}
        }
    }

    fn note_variables(&mut self, it: &VariableDeclaration<'_>, parameter: &str) {
        let mut symbols = Vec::new();
        for declarator in &it.declarations {
            bound_names(&declarator.id, &mut |_, symbol| symbols.extend(symbol));
        }
        self.variables.extend(symbols.into_iter().map(|symbol| (symbol, parameter.to_owned())));
    }

    /// Replaces `export const a = 1, b;` by `;(N.a = 1);`.
    fn exported_variables(&mut self, span: Span, it: &VariableDeclaration<'_>, parameter: &str) {
        let mut at = span.start;
        let mut is_first = true;
        for declarator in &it.declarations {
            let Some(init) = &declarator.init else {
                self.edits.blank(at, declarator.span.end);
                at = declarator.span.end;
                continue;
            };
            self.edits.blank(at, declarator.span.start);
            // Of several insertions at one place, the last one comes first.
            self.target(&declarator.id, parameter);
            self.edits.insert_before(declarator.span.start, if is_first { ";(" } else { ", (" });
            is_first = false;
            if let Some(annotation) = &declarator.type_annotation {
                self.edits.blank(declarator.id.span().end, annotation.span.end);
            }
            let end = init.span().end;
            self.edits.insert_after(end, ")");
            at = declarator.span.end;
        }
        self.edits.blank(at, span.end);
        self.edits.insert_after(span.end, ";");
    }

    /// Turns the names of a pattern into properties.
    fn target(&mut self, pattern: &BindingPattern<'_>, parameter: &str) {
        match pattern {
            BindingPattern::BindingIdentifier(id) => {
                self.edits.insert_before(id.span.start, format!("{parameter}."));
            }
            BindingPattern::AssignmentPattern(it) => self.target(&it.left, parameter),
            BindingPattern::ObjectPattern(it) => {
                for property in &it.properties {
                    if property.shorthand {
                        let name = property
                            .value
                            .get_identifier_name()
                            .map(|name| name.to_string())
                            .unwrap_or_default();
                        self.edits
                            .insert_before(property.span.start, format!("{name}: {parameter}."));
                    } else {
                        self.target(&property.value, parameter);
                    }
                }
                if let Some(rest) = &it.rest {
                    self.target(&rest.argument, parameter);
                }
            }
            BindingPattern::ArrayPattern(it) => {
                for element in it.elements.iter().flatten() {
                    self.target(element, parameter);
                }
                if let Some(rest) = &it.rest {
                    self.target(&rest.argument, parameter);
                }
            }
        }
    }

    /// Handles `import a = B.c`, which is removed if it means only types.
    fn alias(&mut self, span: Span, it: &TSImportEqualsDeclaration<'_>, exported: Option<&str>) {
        let symbol = it.id.symbol_id.get();
        let is_used = symbol.is_some_and(|symbol| {
            self.scoping.get_resolved_references(symbol).any(|reference| !reference.is_type())
        });
        let is_value = it.import_kind.is_value()
            && match &it.module_reference {
                TSModuleReference::IdentifierReference(reference) => self.is_value(reference),
                TSModuleReference::QualifiedName(name) => {
                    root_of(&name.left).is_none_or(|reference| self.is_value(reference))
                }
                TSModuleReference::ExternalModuleReference(_) => true,
            };
        let name = it.id.span;
        match exported {
            Some(parameter) if is_value => {
                self.variables.extend(symbol.map(|symbol| (symbol, parameter.to_owned())));
                self.edits.blank(span.start, name.start);
                self.edits.insert_before(name.start, format!(";{parameter}."));
            }
            None if is_value && is_used => {
                self.edits.blank(span.start, name.start);
                self.edits.insert_before(name.start, ";var ");
            }
            _ => self.edits.blank_to_semicolon(span.start, span.end),
        }
    }

    fn is_value(&self, reference: &IdentifierReference<'_>) -> bool {
        let symbol =
            reference.reference_id.get().and_then(|id| self.scoping.get_reference(id).symbol_id());
        symbol.is_none_or(|symbol| self.scoping.symbol_flags(symbol).is_value())
    }
}

fn root_of<'n, 'a>(name: &'n TSTypeName<'a>) -> Option<&'n IdentifierReference<'a>> {
    match name {
        TSTypeName::IdentifierReference(it) => Some(it),
        TSTypeName::QualifiedName(it) => root_of(&it.left),
        TSTypeName::ThisExpression(_) => None,
    }
}

/// Returns the name of a declaration that a namespace of the same name extends.
fn other_declaration(statement: &Statement<'_>) -> Option<String> {
    let declaration = match statement {
        Statement::ExportDeclaration(export) => &export.declaration,
        Statement::ExportDefaultDeclaration(export) => {
            return match &export.declaration {
                oxc_ast::ast::ExportDefaultDeclarationKind::FunctionDeclaration(it) => {
                    it.id.as_ref().map(|id| id.name.to_string())
                }
                oxc_ast::ast::ExportDefaultDeclarationKind::ClassDeclaration(it) => {
                    it.id.as_ref().map(|id| id.name.to_string())
                }
                _ => None,
            };
        }
        statement => statement.as_declaration()?,
    };
    match declaration {
        Declaration::FunctionDeclaration(it) => it.id.as_ref().map(|id| id.name.to_string()),
        Declaration::ClassDeclaration(it) => it.id.as_ref().map(|id| id.name.to_string()),
        Declaration::TSEnumDeclaration(it) => Some(it.id.name.to_string()),
        _ => None,
    }
}

/// Returns the names that a statement declares at its place.
fn declared_names(statement: &Statement<'_>) -> Vec<String> {
    let mut names: Vec<String> = other_declaration(statement).into_iter().collect();
    let declaration = match statement {
        Statement::ExportDeclaration(export) => Some(&export.declaration),
        statement => statement.as_declaration(),
    };
    match declaration {
        Some(Declaration::VariableDeclaration(it)) => {
            for declarator in &it.declarations {
                bound_names(&declarator.id, &mut |name, _| names.push(name.to_owned()));
            }
        }
        Some(Declaration::TSImportEqualsDeclaration(it)) => names.push(it.id.name.to_string()),
        Some(Declaration::TSNamespaceDeclaration(it)) => names.push(it.id.name.to_string()),
        _ => {}
    }
    names
}

fn is_within(scoping: &Scoping, scope: ScopeId, around: ScopeId) -> bool {
    scoping.scope_ancestors(scope).any(|ancestor| ancestor == around)
}

/// Writes `N.` before the exports of a namespace.
struct Prefixer<'s, 'e> {
    scoping: &'s Scoping,
    variables: &'s BTreeMap<SymbolId, String>,
    blocks: &'s [Block],
    edits: &'e mut Edits,
}

impl Prefixer<'_, '_> {
    fn prefix_of(&self, it: &IdentifierReference<'_>) -> Option<&str> {
        let reference = self.scoping.get_reference(it.reference_id.get()?);
        let symbol = reference.symbol_id();
        if let Some(parameter) = symbol.and_then(|symbol| self.variables.get(&symbol)) {
            return Some(parameter);
        }
        let declared_in = symbol.map(|symbol| self.scoping.symbol_scope_id(symbol));
        // The innermost block is the one that was entered last.
        self.blocks
            .iter()
            .rev()
            .find(|block| {
                block.others.contains(it.name.as_str())
                    && is_within(self.scoping, reference.scope_id(), block.scope)
                    && !declared_in.is_some_and(|scope| is_within(self.scoping, scope, block.scope))
            })
            .map(|block| block.parameter.as_str())
    }

    fn prefix(&mut self, it: &IdentifierReference<'_>) {
        if let Some(parameter) = self.prefix_of(it) {
            let text = format!("{parameter}.");
            self.edits.insert_before(it.span.start, text);
        }
    }
}

impl<'a> Visit<'a> for Prefixer<'_, '_> {
    fn visit_identifier_reference(&mut self, it: &IdentifierReference<'a>) {
        self.prefix(it);
    }

    fn visit_object_property(&mut self, it: &ObjectProperty<'a>) {
        if it.shorthand
            && let oxc_ast::ast::Expression::Identifier(reference) = &it.value
        {
            if let Some(parameter) = self.prefix_of(reference) {
                let text = format!("{}: {parameter}.", reference.name);
                self.edits.insert_before(it.span.start, text);
            }
            return;
        }
        walk::walk_object_property(self, it);
    }

    fn visit_assignment_target_property_identifier(
        &mut self,
        it: &AssignmentTargetPropertyIdentifier<'a>,
    ) {
        if let Some(parameter) = self.prefix_of(&it.binding) {
            let text = format!("{}: {parameter}.", it.binding.name);
            self.edits.insert_before(it.span.start, text);
        }
        if let Some(init) = &it.init {
            self.visit_expression(init);
        }
    }

    fn visit_jsx_element_name(&mut self, it: &JSXElementName<'a>) {
        match it {
            JSXElementName::IdentifierReference(reference) => self.prefix(reference),
            JSXElementName::MemberExpression(member) => {
                if let JSXMemberExpressionObject::IdentifierReference(reference) = &member.object {
                    self.prefix(reference);
                }
            }
            _ => {}
        }
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &TSImportEqualsDeclaration<'a>) {
        let root = match &it.module_reference {
            TSModuleReference::IdentifierReference(reference) => Some(&**reference),
            TSModuleReference::QualifiedName(name) => root_of(&name.left),
            TSModuleReference::ExternalModuleReference(_) => None,
        };
        if let Some(reference) = root {
            self.prefix(reference);
        }
    }

    fn visit_ts_type(&mut self, _: &TSType<'a>) {}
    fn visit_ts_type_name(&mut self, _: &TSTypeName<'a>) {}
    fn visit_ts_class_implements(&mut self, _: &oxc_ast::ast::TSClassImplements<'a>) {}
    fn visit_ts_interface_declaration(&mut self, _: &oxc_ast::ast::TSInterfaceDeclaration<'a>) {}
}
