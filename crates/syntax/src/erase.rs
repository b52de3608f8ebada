//! Removes the types of TypeScript by replacing them with spaces, so that every line and column
//! stays the same.
//!
//! This works for what TypeScript calls erasable syntax. If syntax needs code in its place (enums,
//! namespaces, parameter properties, decorators, `import x = require()`, JSX), or if a blank would
//! change the meaning of the rest, the program is printed again instead.

use oxc_ast::ast::{
    AccessorProperty, AccessorPropertyType, ArrowFunctionExpression, Class, ClassElement,
    Decorator, ExportDefaultDeclarationKind, FormalParameter, Function, ImportDeclaration,
    JSXElement, JSXFragment, MethodDefinition, MethodDefinitionType, PropertyDefinition,
    PropertyDefinitionType, Statement, TSAsExpression, TSEnumDeclaration,
    TSImportEqualsDeclaration, TSNamespaceDeclaration, TSNonNullExpression, TSSatisfiesExpression,
    TSTypeAnnotation, TSTypeAssertion, TSTypeParameterDeclaration, TSTypeParameterInstantiation,
    VariableDeclarator,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::ScopeFlags;
use oxc_span::{GetSpan, Span};

use crate::bindings::is_type_only;
use crate::completion;
use crate::dialect::Dialect;
use crate::edits::Edits;
use crate::elision;
use crate::options::{Decorators, Fields, FileRole, Options};
use crate::program::Parsed;
use crate::syntax::Syntax;
use crate::trivia::{find_punctuator, skip_trivia};

/// The result of removing a program's types.
pub(crate) enum Erasure {
    /// These edits remove the types and take the program's value.
    Erased(Edits),
    /// The program contains syntax that needs code.
    NeedsCode,
}

/// Removes the types of a program and takes its value, if that is enough to make it JavaScript. The
/// tree is known to be shallow enough to be walked.
pub(crate) fn erase(parsed: &Parsed<'_>, syntax: Syntax, options: &Options) -> Erasure {
    let program = &parsed.program;
    let source = program.source_text;
    let mut edits = Edits::default();
    // The value comes first, because a statement that is ended for it needs no other end.
    if options.role == FileRole::Main {
        completion::take_value(program, &mut edits);
    }
    let mut eraser = Eraser {
        source,
        edits,
        needs_code: false,
        fields: options.fields,
        decorators: options.decorators,
    };
    eraser.visit_program(program);
    if eraser.needs_code {
        return Erasure::NeedsCode;
    }
    let mut edits = eraser.edits;
    if syntax.dialect == Dialect::TypeScript {
        elision::elide(program, options.unused_imports, &mut edits);
    }
    Erasure::Erased(edits)
}

struct Eraser<'s> {
    source: &'s str,
    edits: Edits,
    needs_code: bool,
    fields: Fields,
    decorators: Decorators,
}

impl Eraser<'_> {
    fn text(&self, start: u32, end: u32) -> &str {
        &self.source[start as usize..end as usize]
    }

    fn has_line_break(&self, span: Span) -> bool {
        self.text(span.start, span.end).contains(['\n', '\r', '\u{2028}', '\u{2029}'])
    }

    /// Removes a single punctuator that is known to follow, except for white space and comments.
    fn blank_next(&mut self, from: u32, punctuator: u8) {
        match find_punctuator(self.source, from, punctuator) {
            Some(at) => self.edits.blank(at, at + 1),
            None => self.needs_code = true,
        }
    }

    /// Removes words such as `private` and `readonly` before the name of a class member.
    fn blank_modifiers(&mut self, member: Span, key: Span) {
        let mut at = member.start;
        while at < key.start {
            at = skip_trivia(self.source, at);
            let rest = self.text(at, key.start.max(at));
            let length = rest.bytes().take_while(u8::is_ascii_alphabetic).count() as u32;
            if length == 0 {
                break;
            }
            if matches!(
                &rest[..length as usize],
                "public" | "private" | "protected" | "readonly" | "override"
            ) {
                // The member before may lack a semicolon, and the name of this one may be
                // `[computed]`.
                if at == member.start {
                    self.edits.blank_to_semicolon(at, at + length);
                } else {
                    self.edits.blank(at, at + length);
                }
            }
            at += length;
        }
    }

    /// Returns the position after a member's name, and after the bracket of a computed one.
    fn after_key(&self, key: Span, computed: bool) -> u32 {
        if computed {
            find_punctuator(self.source, key.end, b']').map_or(key.end, |at| at + 1)
        } else {
            key.end
        }
    }

    fn method(&mut self, it: &MethodDefinition<'_>) {
        if it.accessibility.is_some() || it.r#override {
            self.blank_modifiers(it.span, it.key.span());
        }
        if it.optional {
            self.blank_next(self.after_key(it.key.span(), it.computed), b'?');
        }
    }

    fn property(&mut self, it: &PropertyDefinition<'_>) {
        if it.accessibility.is_some() || it.r#override || it.readonly {
            self.blank_modifiers(it.span, it.key.span());
        }
        let mark = if it.optional { b'?' } else { b'!' };
        if it.optional || it.definite {
            self.blank_next(self.after_key(it.key.span(), it.computed), mark);
        }
    }

    fn accessor(&mut self, it: &AccessorProperty<'_>) {
        if it.accessibility.is_some() || it.r#override {
            self.blank_modifiers(it.span, it.key.span());
        }
        if it.definite {
            self.blank_next(self.after_key(it.key.span(), it.computed), b'!');
        }
    }
}

/// Returns whether a statement does not exist at run time.
fn is_erased(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ExportDeclaration(it) => is_type_only(&it.declaration),
        Statement::ExportNamedDeclaration(it) => it.export_kind.is_type(),
        Statement::ExportFromDeclaration(it) => it.export_kind.is_type(),
        Statement::ExportAllDeclaration(it) => it.export_kind.is_type(),
        Statement::ExportDefaultDeclaration(it) => match &it.declaration {
            ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => true,
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.body.is_none(),
            _ => false,
        },
        Statement::TSNamespaceExportDeclaration(_) => true,
        _ => statement.as_declaration().is_some_and(is_type_only),
    }
}

impl<'a> Visit<'a> for Eraser<'_> {
    fn visit_statement(&mut self, it: &Statement<'a>) {
        let span = it.span();
        if is_erased(it) {
            self.edits.blank_to_semicolon(span.start, span.end);
            return;
        }
        match it {
            // The transformer finds out whether a name is a type or a value.
            Statement::ExportNamedDeclaration(export) if !export.specifiers.is_empty() => {
                self.needs_code = true;
            }
            Statement::ExportFromDeclaration(export)
                if export.specifiers.iter().any(|specifier| specifier.export_kind.is_type()) =>
            {
                self.needs_code = true;
            }
            Statement::ExportDefaultDeclaration(export)
                if matches!(export.declaration, ExportDefaultDeclarationKind::Identifier(_)) =>
            {
                self.needs_code = true;
            }
            Statement::TSExportAssignment(_) => self.needs_code = true,
            _ => walk::walk_statement(self, it),
        }
        self.edits.end_statement(span.end);
    }

    // Syntax for types only.

    fn visit_ts_type_annotation(&mut self, it: &TSTypeAnnotation<'a>) {
        self.needs_code |= !self.text(it.span.start, it.span.end).starts_with(':');
        self.edits.blank(it.span.start, it.span.end);
    }

    fn visit_ts_type_parameter_declaration(&mut self, it: &TSTypeParameterDeclaration<'a>) {
        self.edits.blank(it.span.start, it.span.end);
    }

    fn visit_ts_type_parameter_instantiation(&mut self, it: &TSTypeParameterInstantiation<'a>) {
        self.edits.blank(it.span.start, it.span.end);
    }

    fn visit_ts_as_expression(&mut self, it: &TSAsExpression<'a>) {
        self.visit_expression(&it.expression);
        self.edits.blank(it.expression.span().end, it.span.end);
    }

    fn visit_ts_satisfies_expression(&mut self, it: &TSSatisfiesExpression<'a>) {
        self.visit_expression(&it.expression);
        self.edits.blank(it.expression.span().end, it.span.end);
    }

    fn visit_ts_non_null_expression(&mut self, it: &TSNonNullExpression<'a>) {
        self.visit_expression(&it.expression);
        self.edits.blank(it.expression.span().end, it.span.end);
    }

    fn visit_import_declaration(&mut self, _: &ImportDeclaration<'a>) {
        // Imports are handled in `elision`.
    }

    fn visit_variable_declarator(&mut self, it: &VariableDeclarator<'a>) {
        if it.definite {
            self.blank_next(it.id.span().end, b'!');
        }
        walk::walk_variable_declarator(self, it);
    }

    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        if let Some(this) = &it.this_param {
            // `this: T` and the comma after it.
            let next = it.params.items.first().map(|item| item.span.start);
            let next = next.or_else(|| it.params.rest.as_ref().map(|rest| rest.span.start));
            let end = next
                .or_else(|| {
                    find_punctuator(self.source, this.span.end, b',').map(|comma| comma + 1)
                })
                .unwrap_or(this.span.end);
            self.edits.blank(this.span.start, end);
        }
        walk::walk_function(self, it, flags);
    }

    fn visit_ts_this_parameter(&mut self, _: &oxc_ast::ast::TSThisParameter<'a>) {}

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        // A blank must not leave a line break at some places: after `return` in `return <T>\n(x) =>
        // x`, after `async` in `async <T>\n(x) => x`, before the arrow in `(x):\nT => x`.
        if it.type_parameters.is_some() {
            self.needs_code |= self.has_line_break(Span::new(it.span.start, it.params.span.start));
        }
        if let Some(return_type) = &it.return_type {
            let arrow = skip_trivia(self.source, return_type.span.end);
            self.needs_code |= self.has_line_break(Span::new(it.params.span.end, arrow));
        }
        walk::walk_arrow_function_expression(self, it);
    }

    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        // A parameter property makes a field.
        self.needs_code |= it.accessibility.is_some() || it.readonly || it.r#override;
        if it.optional {
            self.blank_next(it.pattern.span().end, b'?');
        }
        walk::walk_formal_parameter(self, it);
    }

    fn visit_class(&mut self, it: &Class<'a>) {
        if it.r#abstract {
            if self.text(it.span.start, it.span.end).starts_with("abstract") {
                self.edits.blank(it.span.start, it.span.start + "abstract".len() as u32);
            } else {
                self.needs_code = true;
            }
        }
        if !it.implements.is_empty() {
            let heritage = it.heritage.as_ref().map(|heritage| {
                heritage
                    .type_arguments
                    .as_ref()
                    .map_or(heritage.expression.span().end, |arguments| arguments.span.end)
            });
            let before = heritage
                .or_else(|| it.type_parameters.as_ref().map(|parameters| parameters.span.end))
                .or_else(|| it.id.as_ref().map(|id| id.span.end));
            match before {
                Some(before) => self.edits.blank(before, it.body.span.start),
                None => self.needs_code = true,
            }
        }
        walk::walk_class(self, it);
    }

    fn visit_ts_class_implements(&mut self, _: &oxc_ast::ast::TSClassImplements<'a>) {}

    fn visit_class_element(&mut self, it: &ClassElement<'a>) {
        let span = it.span();
        let is_erased = match it {
            ClassElement::MethodDefinition(it) => {
                self.method(it);
                it.r#type == MethodDefinitionType::TSAbstractMethodDefinition
                    || it.value.body.is_none()
            }
            ClassElement::PropertyDefinition(it) => {
                // The decorators of a `declare` field exist at run time.
                let is_legacy = self.decorators != Decorators::Standard;
                self.needs_code |=
                    self.fields == Fields::Assign || (is_legacy && !it.decorators.is_empty());
                self.property(it);
                it.r#type == PropertyDefinitionType::TSAbstractPropertyDefinition || it.declare
            }
            ClassElement::AccessorProperty(it) => {
                // V8 does not support it.
                self.needs_code |= it.r#type == AccessorPropertyType::AccessorProperty;
                self.accessor(it);
                it.r#type == AccessorPropertyType::TSAbstractAccessorProperty
            }
            ClassElement::TSIndexSignature(_) => true,
            ClassElement::StaticBlock(_) => false,
        };
        if is_erased {
            self.edits.blank_to_semicolon(span.start, span.end);
            return;
        }
        walk::walk_class_element(self, it);
        if matches!(it, ClassElement::PropertyDefinition(_) | ClassElement::AccessorProperty(_)) {
            self.edits.end_statement(span.end);
        }
    }

    // Syntax that needs code in its place.

    fn visit_ts_type_assertion(&mut self, _: &TSTypeAssertion<'a>) {
        // `<any>{ a: 1 }` without its type would be a block where a statement or an arrow's body
        // begins.
        self.needs_code = true;
    }

    fn visit_ts_enum_declaration(&mut self, _: &TSEnumDeclaration<'a>) {
        self.needs_code = true;
    }

    fn visit_ts_namespace_declaration(&mut self, _: &TSNamespaceDeclaration<'a>) {
        self.needs_code = true;
    }

    fn visit_ts_import_equals_declaration(&mut self, _: &TSImportEqualsDeclaration<'a>) {
        self.needs_code = true;
    }

    fn visit_decorator(&mut self, _: &Decorator<'a>) {
        self.needs_code = true;
    }

    fn visit_jsx_element(&mut self, it: &JSXElement<'a>) {
        self.needs_code = true;
        walk::walk_jsx_element(self, it);
    }

    fn visit_jsx_fragment(&mut self, it: &JSXFragment<'a>) {
        self.needs_code = true;
        walk::walk_jsx_fragment(self, it);
    }
}
