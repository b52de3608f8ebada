//! Takes a program's value: passes each expression statement to `__belljar_value` that may be V8's
//! completion value.
//!
//! The rules are those of ECMAScript's completion values as V8's parser implements them: statements
//! are walked from the last to the first, and an expression statement counts as long as no later
//! statement is certain to set the value. Where V8 would set `undefined` before a statement, a call
//! without arguments does so. It is left out if no earlier value can have been set. There are two
//! differences from V8: a value in a `finally` block just before a `break` out of it is not taken,
//! and a function declared in a block is not a value, although V8 treats its hoisting as one in
//! sloppy code.

use oxc_ast::ast::{
    Expression, ExpressionStatement, IfStatement, Program, Statement, TryStatement,
};
use oxc_span::{GetSpan, Span};

use crate::edits::Edits;

/// Adds the edits that take the value of `program`.
pub(crate) fn take_value(program: &Program<'_>, edits: &mut Edits) {
    let mut taker = Taker {
        source: program.source_text,
        edits,
        is_set: false,
        breakable: false,
        may_have_value: false,
    };
    taker.statements(&program.body);
    if !taker.is_set {
        take_directive(program, edits);
    }
}

/// Takes the value of a program that consists of string literals, which is the last of them. It
/// must stay a directive, so the value is repeated after it.
fn take_directive(program: &Program<'_>, edits: &mut Edits) {
    let Some(directive) = program.directives.last() else { return };
    if directive.directive == "use strict" && !program.body.is_empty() {
        // For V8, this is the value of `'use strict'; function f() {}`, but its author does not
        // expect one.
        return;
    }
    let literal = directive.expression.span.source_text(program.source_text).to_owned();
    edits.insert_after(directive.span.end, format!(";__belljar_value({literal});"));
}

struct Taker<'s, 'e> {
    source: &'s str,
    edits: &'e mut Edits,
    /// Whether every path from here to the end sets the value.
    is_set: bool,
    /// Whether a `break` or `continue` may leave the current statement, so that no single statement
    /// is the last.
    breakable: bool,
    /// Whether a value may have been set before the current statement.
    may_have_value: bool,
}

impl Taker<'_, '_> {
    fn statements(&mut self, statements: &[Statement<'_>]) {
        for statement in statements.iter().rev() {
            if self.is_set && !self.breakable {
                return;
            }
            self.statement(statement, statement.span());
        }
    }

    /// Walks a statement. `labelled` is its span with its labels, which cannot be separated from
    /// it.
    fn statement(&mut self, statement: &Statement<'_>, labelled: Span) {
        match statement {
            Statement::ExpressionStatement(it) => self.expression(it),
            Statement::BlockStatement(it) => self.statements(&it.body),
            Statement::IfStatement(it) => self.if_statement(it, labelled),
            Statement::LabeledStatement(it) => {
                let breakable = std::mem::replace(&mut self.breakable, true);
                let may_have_value = std::mem::replace(&mut self.may_have_value, true);
                self.statement(&it.body, labelled);
                (self.breakable, self.may_have_value) = (breakable, may_have_value);
            }
            Statement::ForStatement(it) => self.iteration(&it.body, labelled),
            Statement::ForInStatement(it) => self.iteration(&it.body, labelled),
            Statement::ForOfStatement(it) => self.iteration(&it.body, labelled),
            Statement::WhileStatement(it) => self.iteration(&it.body, labelled),
            Statement::DoWhileStatement(it) => self.iteration(&it.body, labelled),
            Statement::SwitchStatement(it) => {
                let breakable = std::mem::replace(&mut self.breakable, true);
                let may_have_value = std::mem::replace(&mut self.may_have_value, true);
                for case in it.cases.iter().rev() {
                    self.statements(&case.consequent);
                }
                (self.breakable, self.may_have_value) = (breakable, may_have_value);
                self.reset_before(labelled);
            }
            Statement::TryStatement(it) => self.try_statement(it, labelled),
            Statement::WithStatement(it) => {
                self.statement(&it.body, it.body.span());
                if !self.is_set {
                    self.reset_before(labelled);
                }
            }
            Statement::BreakStatement(_) | Statement::ContinueStatement(_) => self.is_set = false,
            Statement::ReturnStatement(_) | Statement::ThrowStatement(_) => self.is_set = true,
            // Declarations and the empty statement have no value and keep the previous one.
            _ => {}
        }
    }

    fn expression(&mut self, it: &ExpressionStatement<'_>) {
        if std::mem::replace(&mut self.is_set, true) {
            return;
        }
        let span = it.expression.span();
        let parenthesize = matches!(it.expression, Expression::SequenceExpression(_));
        // `else(a)` and `do[a]` need no space, but a name in place of the bracket does.
        let glued = span.start > 0 && is_name_byte(self.source.as_bytes()[span.start as usize - 1]);
        self.edits.insert_before(
            span.start,
            match (glued, parenthesize) {
                (false, false) => "__belljar_value(",
                (false, true) => "__belljar_value((",
                (true, false) => " __belljar_value(",
                (true, true) => " __belljar_value((",
            },
        );
        // The parser has ended the statement here. The next line must not continue it, so a
        // statement without a semicolon gets one.
        let ended = self.source.as_bytes()[..it.span.end as usize].last() == Some(&b';')
            && it.span.end > span.end;
        self.edits.insert_after(
            span.end,
            match (parenthesize, ended) {
                (false, true) => ")",
                (false, false) => ");",
                (true, true) => "))",
                (true, false) => "));",
            },
        );
    }

    fn if_statement(&mut self, it: &IfStatement<'_>, labelled: Span) {
        let set_after = self.is_set;
        self.statement(&it.consequent, it.consequent.span());
        let set_in_consequent = std::mem::replace(&mut self.is_set, set_after);
        if let Some(alternate) = &it.alternate {
            self.statement(alternate, alternate.span());
        }
        if !(set_in_consequent && self.is_set) {
            self.reset_before(labelled);
        }
        self.is_set = true;
    }

    fn iteration(&mut self, body: &Statement<'_>, labelled: Span) {
        let breakable = std::mem::replace(&mut self.breakable, true);
        let may_have_value = std::mem::replace(&mut self.may_have_value, true);
        self.statement(body, body.span());
        (self.breakable, self.may_have_value) = (breakable, may_have_value);
        self.reset_before(labelled);
    }

    fn try_statement(&mut self, it: &TryStatement<'_>, labelled: Span) {
        let may_have_value = std::mem::replace(&mut self.may_have_value, true);
        if let Some(finalizer) = &it.finalizer
            && self.breakable
        {
            let before = self.edits.len();
            self.is_set = true;
            self.statements(&finalizer.body);
            self.edits.truncate(before);
            if !self.is_set {
                // It is left by a `break` that follows no value.
                self.edits.insert_before(finalizer.span.start + 1, "__belljar_value();");
            }
            self.is_set = false;
        }
        let set_after = self.is_set;
        self.statements(&it.block.body);
        if let Some(handler) = &it.handler {
            let set_in_block = std::mem::replace(&mut self.is_set, set_after);
            self.statements(&handler.body.body);
            self.is_set &= set_in_block;
        }
        self.may_have_value = may_have_value;
        if !self.is_set {
            self.reset_before(labelled);
        }
        self.is_set = true;
    }

    /// Resets the value before a statement that may end without one.
    fn reset_before(&mut self, statement: Span) {
        self.is_set = true;
        if self.may_have_value {
            self.edits.insert_before(statement.start, "{__belljar_value();");
            self.edits.insert_after(statement.end, "}");
        }
    }
}

fn is_name_byte(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$') || byte >= 0x80
}
