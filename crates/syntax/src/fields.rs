//! Class fields that are assigned in the constructor of a printed program: TypeScript without
//! `useDefineForClassFields`, which is its default for targets before ES2022. Setters of a base
//! class are called, and fields without a value do not exist.
//!
//! Each field becomes a private method at its place, and the constructor calls these methods in
//! order.

use std::collections::BTreeSet;

use oxc_ast::ast::{
    AssignmentTarget, CallExpression, Class, ClassElement, Expression, Function, MethodDefinition,
    MethodDefinitionKind, Program, PropertyDefinition, PropertyKey, Statement,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::ScopeFlags;
use oxc_span::{GetSpan, Span};

use crate::edits::Edits;

/// Adds the edits that make fields assignments.
pub(crate) fn assign(program: &Program<'_>, edits: &mut Edits) {
    Assigner { edits, count: 0 }.visit_program(program);
}

struct Assigner<'e> {
    edits: &'e mut Edits,
    count: usize,
}

impl Assigner<'_> {
    fn class(&mut self, it: &Class<'_>) {
        let mut calls = Vec::new();
        let mut assigned = BTreeSet::new();
        for element in &it.body.body {
            if let ClassElement::PropertyDefinition(property) = element {
                calls.extend(self.property(property));
                if property.value.is_some()
                    && let PropertyKey::StaticIdentifier(id) = &property.key
                {
                    assigned.insert(id.name.to_string());
                }
            }
        }
        if calls.is_empty() {
            return;
        }
        let calls = calls.join(", ");
        let constructor = it.body.body.iter().find_map(|element| match element {
            ClassElement::MethodDefinition(method)
                if method.kind == MethodDefinitionKind::Constructor =>
            {
                Some(method)
            }
            _ => None,
        });
        match constructor {
            Some(method) => self.fill_constructor(method, it.heritage.is_some(), &assigned, &calls),
            None if it.heritage.is_some() => {
                let code =
                    format!(" constructor(...__belljar_a) {{ super(...__belljar_a); {calls}; }}");
                self.edits.insert_after(it.body.span.start + 1, code);
            }
            None => self
                .edits
                .insert_after(it.body.span.start + 1, format!(" constructor() {{ {calls}; }}")),
        }
    }

    /// Rewrites a field. Returns the call that assigns it, if it is one of an instance.
    fn property(&mut self, it: &PropertyDefinition<'_>) -> Option<String> {
        let Some(value) = &it.value else {
            if !matches!(it.key, PropertyKey::PrivateIdentifier(_)) {
                self.edits.blank_to_semicolon(it.span.start, it.span.end);
            }
            return None;
        };
        let key = it.key.span();
        // The bracket of a computed name is before it.
        let start = if it.computed { it.span.start } else { key.start };
        let access = match &it.key {
            _ if it.computed => "this",
            PropertyKey::StaticIdentifier(_) | PropertyKey::PrivateIdentifier(_) => "this.",
            _ => {
                self.edits.insert_after(key.end, "]");
                "this["
            }
        };
        self.edits.insert_after(value.span().end, "; }");
        if it.r#static {
            // `static x = 1` becomes `static { this.x = 1; }`.
            if let PropertyKey::PrivateIdentifier(id) = &it.key {
                self.edits.insert_before(start, format!("#{}; static {{ {access}", id.name));
            } else if it.computed {
                self.edits.insert_before(start, "static { this");
                self.edits.blank(start, start + "static".len() as u32);
            } else {
                self.edits.insert_before(start, format!("{{ {access}"));
            }
            return None;
        }
        self.count += 1;
        let name = format!("#__belljar_f{}", self.count);
        let before = match &it.key {
            PropertyKey::PrivateIdentifier(id) => format!("#{}; ", id.name),
            _ => String::new(),
        };
        self.edits.insert_before(start, format!("{before}{name}() {{ {access}"));
        Some(format!("this.{name}()"))
    }

    fn fill_constructor(
        &mut self,
        it: &MethodDefinition<'_>,
        is_derived: bool,
        assigned: &BTreeSet<String>,
        calls: &str,
    ) {
        let Some(body) = &it.value.body else { return };
        let parameters: BTreeSet<String> = it
            .value
            .params
            .items
            .iter()
            .filter_map(|item| item.pattern.get_identifier_name())
            .map(|name| name.to_string())
            .collect();
        let is_property = |statement: &Statement<'_>| {
            assigned_parameter(statement)
                .is_some_and(|name| parameters.contains(name) && !assigned.contains(name))
        };
        let first = if is_derived {
            let Some(index) = body.statements.iter().position(is_super_call) else {
                let mut supers = Supers::default();
                supers.visit_function(&it.value, ScopeFlags::Function);
                for span in supers.calls {
                    self.edits.insert_before(span.start, "(");
                    self.edits.insert_after(span.end, format!(", {calls}, this)"));
                }
                return;
            };
            index + 1
        } else {
            0
        };
        let after = first
            + body.statements[first..]
                .iter()
                .take_while(|statement| is_property(statement))
                .count();
        let at = match after.checked_sub(1) {
            Some(last) => body.statements[last].span().end,
            None => {
                body.directives.last().map_or(body.span.start + 1, |directive| directive.span.end)
            }
        };
        self.edits.insert_after(at, format!(" {calls};"));
    }
}

/// Returns the name in an assignment such as `this.a = a`.
fn assigned_parameter<'s>(statement: &'s Statement<'_>) -> Option<&'s str> {
    let Statement::ExpressionStatement(it) = statement else { return None };
    let Expression::AssignmentExpression(assignment) = &it.expression else { return None };
    let (AssignmentTarget::StaticMemberExpression(member), Expression::Identifier(value)) =
        (&assignment.left, &assignment.right)
    else {
        return None;
    };
    (matches!(member.object, Expression::ThisExpression(_)) && member.property.name == value.name)
        .then_some(value.name.as_str())
}

fn is_super_call(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ExpressionStatement(it) => match &it.expression {
            Expression::CallExpression(call) => matches!(call.callee, Expression::Super(_)),
            _ => false,
        },
        _ => false,
    }
}

#[derive(Default)]
struct Supers {
    calls: Vec<Span>,
    functions: usize,
}

impl<'a> Visit<'a> for Supers {
    fn visit_call_expression(&mut self, it: &CallExpression<'a>) {
        if matches!(it.callee, Expression::Super(_)) {
            self.calls.push(it.span);
        }
        walk::walk_call_expression(self, it);
    }

    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        if self.functions == 0 {
            self.functions += 1;
            walk::walk_function(self, it, flags);
        }
    }

    fn visit_class(&mut self, _: &Class<'a>) {}
}

impl<'a> Visit<'a> for Assigner<'_> {
    fn visit_class(&mut self, it: &Class<'a>) {
        self.class(it);
        walk::walk_class(self, it);
    }
}
