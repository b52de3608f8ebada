//! Legacy decorators that name private members, in a printed program. The transformer applies
//! decorators after the class, where private names are not available. TypeScript applies them in a
//! static block at the end of the class, and so does this.

use oxc_allocator::ArenaVec;
use oxc_ast::ast::{
    Class, Declaration, Expression, PrivateFieldExpression, PrivateInExpression, Program, Statement,
};
use oxc_ast_visit::{Visit, walk};
use oxc_span::{GetSpan, Span};

use crate::edits::Edits;

/// Moves calls that decorate members into their class, if one of them names a private member.
pub(crate) fn enclose(program: &Program<'_>, edits: &mut Edits) {
    Encloser { edits }.visit_program(program);
}

struct Encloser<'e> {
    edits: &'e mut Edits,
}

impl Encloser<'_> {
    fn statements(&mut self, statements: &[Statement<'_>]) {
        for (index, statement) in statements.iter().enumerate() {
            let Some(class) = class_of(statement) else { continue };
            let calls =
                statements[index + 1..].iter().take_while(|statement| decorates_member(statement));
            let (mut last, mut names_privates) = (None, false);
            for call in calls {
                last = Some(call.span());
                names_privates |= Privates::are_in(call);
            }
            if let (Some(last), true) = (last, names_privates) {
                self.enclose(class, statement.span(), last);
            }
        }
    }

    /// Moves the end of the class after the last call.
    fn enclose(&mut self, class: &Class<'_>, statement: Span, last: Span) {
        let end = class.span.end;
        self.edits.replace(end - 1, end, "static {");
        self.edits.blank(end, statement.end);
        self.edits.insert_after(last.end, "}};");
    }
}

/// Returns the class that a statement declares: `class A {}`, `export class A {}`, or `let A =
/// class A {};` if it has decorators itself.
fn class_of<'p, 'a>(statement: &'p Statement<'a>) -> Option<&'p Class<'a>> {
    let declaration = match statement {
        Statement::ExportDeclaration(export) => &export.declaration,
        Statement::ClassDeclaration(it) => return Some(it),
        Statement::VariableDeclaration(it) => {
            return match it.declarations.last()?.init.as_ref()? {
                Expression::ClassExpression(class) => Some(class),
                _ => None,
            };
        }
        _ => return None,
    };
    match declaration {
        Declaration::ClassDeclaration(it) => Some(it),
        _ => None,
    }
}

/// Returns whether a statement is `babelHelpers.decorate([…], A.prototype, "member", …);`.
fn decorates_member(statement: &Statement<'_>) -> bool {
    let Statement::ExpressionStatement(it) = statement else { return false };
    let Expression::CallExpression(call) = &it.expression else { return false };
    let Expression::StaticMemberExpression(callee) = &call.callee else { return false };
    call.arguments.len() > 2
        && callee.property.name == "decorate"
        && matches!(&callee.object, Expression::Identifier(object) if object.name == "babelHelpers")
}

#[derive(Default)]
struct Privates {
    found: bool,
}

impl Privates {
    fn are_in(statement: &Statement<'_>) -> bool {
        let mut finder = Self::default();
        finder.visit_statement(statement);
        finder.found
    }
}

impl<'a> Visit<'a> for Privates {
    fn visit_private_field_expression(&mut self, it: &PrivateFieldExpression<'a>) {
        self.found = true;
        walk::walk_private_field_expression(self, it);
    }

    fn visit_private_in_expression(&mut self, it: &PrivateInExpression<'a>) {
        self.found = true;
        walk::walk_private_in_expression(self, it);
    }
}

impl<'a> Visit<'a> for Encloser<'_> {
    fn visit_statements(&mut self, it: &ArenaVec<'a, Statement<'a>>) {
        self.statements(it);
        walk::walk_statements(self, it);
    }
}
