//! Detects whether a program starts its own `main`, or its only export, now or later, by calling it
//! or passing it on. Every reference is followed through the program's own functions and names. The
//! analysis is static: it covers a call that happens after the program's last statement, too.

use std::collections::HashSet;

use oxc_ast::AstKind;
use oxc_ast::ast::{
    AssignmentTarget, BindingPattern, ExportDefaultDeclarationKind, Expression,
    IdentifierReference, LogicalOperator, ModuleExportName, ObjectPropertyKind, Program,
    PropertyKey, Statement,
};
use oxc_semantic::{AstNodes, NodeId, Scoping, SemanticBuilder, SymbolId};
use oxc_span::{GetSpan, Span};

use crate::bindings;
use crate::depth;

/// The number of bytes of a guard's declaration that are searched for a function.
const MAX_GUARD_BYTES: u32 = 500;
/// Expressions that test whether a file is the program itself, without white space.
const GUARDS: [&str; 10] = [
    "require.main",
    "module.parent",
    "process.mainModule",
    "import.meta",
    "argv[1]",
    "__filename",
    "typeofrequire",
    "typeofmodule",
    "typeofexports",
    "typeofwindow",
];

/// The functions that a program starts by itself.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Starts {
    /// Whether it starts the `main` that it defines or exports under that name.
    pub(crate) main: bool,
    /// Whether it starts its only export: `module.exports`, or the default export of a module.
    pub(crate) exported: bool,
    /// Branches of guards such as `if (require.main === module)` that start one of them if they are
    /// taken: statements and expressions.
    pub(crate) guarded: Vec<Branch>,
}

/// A branch behind a guard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Branch {
    Block(Span),
    Statement(Span),
    Expression(Span),
}

/// Finds the functions that `program` starts. Usually only a declaration and an export have the
/// name, so the text alone is enough.
pub(crate) fn find(program: &Program<'_>, has_main: bool) -> Starts {
    let exports = exports(program);
    let named = exports.iter().any(|export| export.role == ExportRole::Main);
    if !has_main && !named && exports.is_empty() && !program.source_text.contains("exports.main") {
        return Starts::default();
    }
    let is_mentioned_again = |name: &str| {
        let own = exports
            .iter()
            .filter(|export| export.name == name)
            .map(|export| export.mentions)
            .sum::<usize>();
        words(program.source_text, name) > own + 1
    };
    if !is_mentioned_again("main") && !exports.iter().any(|export| is_mentioned_again(export.name))
    {
        return Starts::default();
    }
    if depth::tree_too_deep(program).is_some() {
        return Starts::default();
    }
    let semantic = SemanticBuilder::new().with_build_nodes(true).build(program).semantic;
    let analysis = Analysis {
        nodes: semantic.nodes(),
        scoping: semantic.scoping(),
        source: program.source_text,
    };
    let root = |name: &str| analysis.scoping.get_root_binding(name.into());
    let role = |role: ExportRole| {
        exports
            .iter()
            .filter(move |export| export.role == role)
            .filter_map(|export| root(export.name))
    };
    let mut mains: Vec<SymbolId> = role(ExportRole::Main).collect();
    if mains.is_empty() {
        mains.extend(root("main"));
    }
    let mut guarded = Vec::new();
    let main = analysis.is_started(mains, &["exports.main", "module.exports.main"], &mut guarded);
    let exported = analysis.is_started(
        role(ExportRole::Alone).collect(),
        &["module.exports", "module.exports.default"],
        &mut guarded,
    );
    Starts { main, exported, guarded }
}

/// The role of an exported name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum ExportRole {
    /// The name is exported as `main`.
    Main,
    /// The name is the only export.
    Alone,
}

#[derive(Debug)]
struct Export<'a> {
    name: &'a str,
    role: ExportRole,
    /// The number of times that the export mentions the name.
    mentions: usize,
}

/// Returns the names that a program exports in one of the two roles, in statements of its top
/// level.
fn exports<'a>(program: &'a Program<'a>) -> Vec<Export<'a>> {
    let mut found = Vec::new();
    for statement in &program.body {
        match statement {
            Statement::ExpressionStatement(it) => {
                assigned_exports(&it.expression, program.source_text, &mut found);
            }
            Statement::ExportDefaultDeclaration(it) => match &it.declaration {
                ExportDefaultDeclarationKind::FunctionDeclaration(function) => {
                    found.extend(function.id.as_ref().map(|id| Export {
                        name: id.name.as_str(),
                        role: ExportRole::Alone,
                        mentions: 0,
                    }));
                }
                declaration => {
                    if let Some(name) = declaration.as_expression().and_then(identifier) {
                        found.push(Export { name, role: ExportRole::Alone, mentions: 1 });
                    }
                }
            },
            Statement::ExportNamedDeclaration(it) => {
                for specifier in &it.specifiers {
                    let role = match specifier.exported.name().as_str() {
                        "main" => ExportRole::Main,
                        "default" => ExportRole::Alone,
                        _ => continue,
                    };
                    if let ModuleExportName::IdentifierReference(local) = &specifier.local {
                        // `main as main` mentions the name twice.
                        let is_repeated = local.name == specifier.exported.name()
                            && local.span() != specifier.exported.span();
                        let mentions = 1 + usize::from(is_repeated);
                        found.push(Export { name: local.name.as_str(), role, mentions });
                    }
                }
            }
            Statement::ExportDeclaration(it) if bindings::declares_main(&it.declaration) => {
                found.push(Export { name: "main", role: ExportRole::Main, mentions: 0 });
            }
            Statement::TSExportAssignment(it) => {
                found.extend(identifier(&it.expression).map(|name| Export {
                    name,
                    role: ExportRole::Alone,
                    mentions: 1,
                }));
            }
            _ => {}
        }
    }
    found
}

/// Finds exports by assignment: `exports.main = a`, `module.exports = a`, `module.exports = { main:
/// a }` and chains of them.
fn assigned_exports<'a>(expression: &'a Expression<'a>, source: &str, found: &mut Vec<Export<'a>>) {
    let Expression::AssignmentExpression(it) = expression.get_inner_expression() else { return };
    let role = match path_of(it.left.span(), source).as_str() {
        "exports.main" | "module.exports.main" => ExportRole::Main,
        "module.exports" | "exports.default" | "module.exports.default" => ExportRole::Alone,
        "exports" => return assigned_exports(&it.right, source, found),
        _ => return,
    };
    // The text of the target mentions the name too.
    let in_target = usize::from(role == ExportRole::Main);
    match it.right.get_inner_expression() {
        Expression::Identifier(id) => {
            let own = 1 + if id.name == "main" { in_target } else { 0 };
            found.push(Export { name: id.name.as_str(), role, mentions: own });
        }
        Expression::ObjectExpression(object) if role == ExportRole::Alone => {
            for property in &object.properties {
                let ObjectPropertyKind::ObjectProperty(property) = property else { continue };
                if let (PropertyKey::StaticIdentifier(key), Some(name)) =
                    (&property.key, identifier(&property.value))
                    && key.name == "main"
                {
                    let mentions = 1 + usize::from(!property.shorthand && name == "main");
                    found.push(Export { name, role: ExportRole::Main, mentions });
                }
            }
        }
        Expression::AssignmentExpression(_) => assigned_exports(&it.right, source, found),
        _ => {}
    }
}

fn identifier<'a>(expression: &'a Expression<'a>) -> Option<&'a str> {
    match expression.get_inner_expression() {
        Expression::Identifier(id) => Some(id.name.as_str()),
        _ => None,
    }
}

/// Returns a path such as `module.exports.main` without white space, cut if it is too long.
fn path_of(span: Span, source: &str) -> String {
    span.source_text(source)
        .chars()
        .filter(|character| !character.is_whitespace())
        .take(40)
        .collect()
}

/// Returns the number of times that `name` occurs in `text` as a word.
fn words(text: &str, name: &str) -> usize {
    let is_part = |byte: Option<&u8>| {
        byte.is_some_and(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$'))
    };
    let bytes = text.as_bytes();
    let is_word = |(at, _): &(usize, &str)| {
        !is_part(at.checked_sub(1).and_then(|at| bytes.get(at)))
            && !is_part(bytes.get(at + name.len()))
    };
    text.match_indices(name).filter(is_word).count()
}

/// The use of a function at one place.
enum Flow {
    /// The function is not called from there.
    Inert,
    /// The function is called, or passed to something that may call it.
    Started,
    /// The function is started if a guard allows it.
    Guarded(Branch),
    /// The function is started if the function with this name is.
    Through(SymbolId),
}

struct Analysis<'s, 'a> {
    nodes: &'s AstNodes<'a>,
    scoping: &'s Scoping,
    source: &'s str,
}

impl<'a> Analysis<'_, 'a> {
    /// Returns whether one of `functions`, or the function at one of `paths`, is started.
    fn is_started(
        &self,
        functions: Vec<SymbolId>,
        paths: &[&str],
        guarded: &mut Vec<Branch>,
    ) -> bool {
        let mut pending = Vec::new();
        let mut seen: HashSet<SymbolId> = HashSet::new();
        let mut branches = Vec::new();
        let mut take = |flow: Flow, pending: &mut Vec<(SymbolId, bool)>| match flow {
            Flow::Inert => false,
            Flow::Started => true,
            Flow::Guarded(branch) => {
                branches.push(branch);
                false
            }
            Flow::Through(symbol) => {
                pending.push((symbol, false));
                false
            }
        };
        for symbol in functions {
            pending.push((symbol, true));
        }
        for node in self.nodes.iter() {
            if matches!(node.kind(), AstKind::StaticMemberExpression(_))
                && paths.contains(&&*path_of(node.kind().span(), self.source))
            {
                // `module.exports.a` is not a use of the only export, and neither is an assignment
                // to it.
                let is_part =
                    matches!(self.nodes.parent_kind(node.id()), AstKind::StaticMemberExpression(_));
                if !is_part && take(self.value(node.id(), true), &mut pending) {
                    return true;
                }
                if is_part && take(self.method(node.id()), &mut pending) {
                    return true;
                }
            }
        }
        while let Some((symbol, is_function)) = pending.pop() {
            if !seen.insert(symbol) {
                continue;
            }
            for reference in self.scoping.get_resolved_references(symbol) {
                let node = reference.node_id();
                if !reference.is_read() || reference.is_type() || self.is_in_own_body(node, symbol)
                {
                    continue;
                }
                if take(self.value(node, is_function), &mut pending) {
                    return true;
                }
            }
        }
        guarded.append(&mut branches);
        false
    }

    fn span(&self, node: NodeId) -> Span {
        self.nodes.kind(node).span()
    }

    /// Returns whether a reference is in the declaration of its own symbol: a function that calls
    /// itself starts nothing.
    fn is_in_own_body(&self, node: NodeId, symbol: SymbolId) -> bool {
        let at = self.span(node);
        self.scoping.symbol_declarations(symbol).any(|declaration| {
            let within = match self.nodes.kind(declaration) {
                AstKind::Function(it) => it.span,
                AstKind::Class(it) => it.span,
                AstKind::VariableDeclarator(it) => it.span,
                _ => return false,
            };
            within.start <= at.start && at.end <= within.end
        })
    }

    /// Returns the use of a function through a method such as `exports.main.call(...)`.
    fn method(&self, node: NodeId) -> Flow {
        match self.nodes.parent_kind(node) {
            AstKind::StaticMemberExpression(it)
                if ["call", "apply", "bind"].contains(&it.property.name.as_str()) =>
            {
                self.value(node, true)
            }
            _ => Flow::Inert,
        }
    }

    /// Returns the use of the function that is the value of an expression. `is_function` is false
    /// for an object that contains it.
    fn value(&self, node: NodeId, is_function: bool) -> Flow {
        let (mut node, mut is_function) = (node, is_function);
        loop {
            let (here, above) = (self.span(node), self.nodes.parent_id(node));
            match self.nodes.kind(above) {
                AstKind::ArrayExpression(_)
                | AstKind::SpreadElement(_)
                | AstKind::ObjectExpression(_) => is_function = false,
                AstKind::ParenthesizedExpression(_)
                | AstKind::ChainExpression(_)
                | AstKind::AwaitExpression(_)
                | AstKind::TSAsExpression(_)
                | AstKind::TSSatisfiesExpression(_)
                | AstKind::TSNonNullExpression(_)
                | AstKind::TSTypeAssertion(_)
                | AstKind::TSInstantiationExpression(_) => {}
                AstKind::ObjectProperty(it) if it.value.span() == here => {}
                AstKind::ConditionalExpression(it) if it.test.span() != here => {}
                AstKind::LogicalExpression(it)
                    if it.right.span() == here || it.operator != LogicalOperator::And => {}
                AstKind::SequenceExpression(it)
                    if it.expressions.last().is_some_and(|last| last.span() == here) => {}
                AstKind::AssignmentExpression(it) if it.right.span() == here => {
                    if let Some(flow) = self.assigned(&it.left) {
                        return flow;
                    }
                }
                AstKind::VariableDeclarator(it) => match &it.id {
                    BindingPattern::BindingIdentifier(id) => return Flow::Through(id.symbol_id()),
                    _ => return self.execution(above),
                },
                AstKind::StaticMemberExpression(it) => match it.property.name.as_str() {
                    "call" | "apply" => {}
                    // The result is the function again.
                    "bind"
                        if is_function
                            && matches!(
                                self.nodes.parent_kind(above),
                                AstKind::CallExpression(_)
                            ) =>
                    {
                        node = self.nodes.parent_id(above);
                        continue;
                    }
                    // A property of the function is read or set.
                    _ if is_function => return Flow::Inert,
                    _ => {}
                },
                AstKind::ComputedMemberExpression(it) if it.object.span() == here => {}
                AstKind::CallExpression(it)
                    if it.callee.span() != here && is_console(&it.callee) =>
                {
                    return Flow::Inert;
                }
                AstKind::CallExpression(_)
                | AstKind::NewExpression(_)
                | AstKind::TaggedTemplateExpression(_) => {
                    return self.execution(above);
                }
                // The function is named, tested or shown, but not called.
                AstKind::ObjectProperty(_)
                | AstKind::ConditionalExpression(_)
                | AstKind::LogicalExpression(_)
                | AstKind::SequenceExpression(_)
                | AstKind::AssignmentExpression(_)
                | AstKind::ComputedMemberExpression(_)
                | AstKind::UnaryExpression(_)
                | AstKind::UpdateExpression(_)
                | AstKind::BinaryExpression(_)
                | AstKind::TemplateLiteral(_)
                | AstKind::ImportExpression(_)
                | AstKind::ExpressionStatement(_)
                | AstKind::IfStatement(_)
                | AstKind::WhileStatement(_)
                | AstKind::DoWhileStatement(_)
                | AstKind::SwitchStatement(_)
                | AstKind::ExportDefaultDeclaration(_)
                | AstKind::ExportSpecifier(_)
                | AstKind::TSExportAssignment(_)
                | AstKind::TSTypeQuery(_) => return Flow::Inert,
                AstKind::ReturnStatement(_) if self.is_at_top_level(above) => return Flow::Inert,
                AstKind::PropertyDefinition(it) if !it.r#static => return self.class(above),
                AstKind::Function(_) => return self.function(above),
                _ => return self.execution(above),
            }
            node = above;
        }
    }

    /// Returns the use of a function that is assigned, or `None` if the assignment itself does not
    /// use it.
    fn assigned(&self, target: &AssignmentTarget<'a>) -> Option<Flow> {
        let (mut object, property) = match target {
            AssignmentTarget::AssignmentTargetIdentifier(id) => return self.named(id),
            AssignmentTarget::StaticMemberExpression(it) => (&it.object, it.property.name.as_str()),
            AssignmentTarget::ComputedMemberExpression(it) => (&it.object, ""),
            _ => return Some(Flow::Started),
        };
        loop {
            match object.get_inner_expression() {
                Expression::StaticMemberExpression(it) => object = &it.object,
                Expression::ComputedMemberExpression(it) => object = &it.object,
                Expression::ThisExpression(_) => return None,
                Expression::Identifier(id) => {
                    return match id.name.as_str() {
                        "module" | "exports" => None,
                        "globalThis" | "global" | "window" | "self" => self.global(property),
                        _ => self.named(id),
                    };
                }
                _ => return Some(Flow::Started),
            }
        }
    }

    fn named(&self, id: &IdentifierReference<'a>) -> Option<Flow> {
        match self.scoping.get_reference(id.reference_id()).symbol_id() {
            Some(symbol) => Some(Flow::Through(symbol)),
            None => self.global(&id.name),
        }
    }

    /// Returns the use of a global that is created by assignment: any other mention of its name is
    /// a use.
    fn global(&self, name: &str) -> Option<Flow> {
        let is_declared = self.scoping.get_root_binding(name.into()).is_some();
        (!is_declared && (name.is_empty() || words(self.source, name) > 1)).then_some(Flow::Started)
    }

    fn is_at_top_level(&self, node: NodeId) -> bool {
        !self
            .nodes
            .ancestor_kinds(node)
            .any(|kind| matches!(kind, AstKind::Function(_) | AstKind::ArrowFunctionExpression(_)))
    }

    /// Returns when the code at `node` runs: with the program, or with the function or class that
    /// contains it.
    fn execution(&self, node: NodeId) -> Flow {
        let (mut node, mut guard) = (node, None);
        loop {
            let (here, above) = (self.span(node), self.nodes.parent_id(node));
            match self.nodes.kind(above) {
                AstKind::Program(_) => return guard.map_or(Flow::Started, Flow::Guarded),
                AstKind::IfStatement(it)
                    if it.test.span() != here && guard.is_none() && self.is_guard(&it.test, 0) =>
                {
                    let is_block = matches!(self.nodes.kind(node), AstKind::BlockStatement(_));
                    guard =
                        Some(if is_block { Branch::Block(here) } else { Branch::Statement(here) });
                }
                AstKind::ConditionalExpression(it)
                    if it.test.span() != here && guard.is_none() && self.is_guard(&it.test, 0) =>
                {
                    guard = Some(Branch::Expression(here));
                }
                AstKind::LogicalExpression(it)
                    if it.right.span() == here && guard.is_none() && self.is_guard(&it.left, 0) =>
                {
                    guard = Some(Branch::Expression(here));
                }
                // A guard inside a function decides when that function runs, which may be later.
                AstKind::Function(_) | AstKind::ArrowFunctionExpression(_) => {
                    return self.function(above);
                }
                AstKind::PropertyDefinition(it) if !it.r#static => return self.class(above),
                _ => {}
            }
            node = above;
        }
    }

    /// Returns the use of one of the program's functions.
    fn function(&self, node: NodeId) -> Flow {
        if let AstKind::Function(it) = self.nodes.kind(node) {
            if it.is_declaration() {
                // A declaration without a name is a default export.
                return it.id.as_ref().map_or(Flow::Inert, |id| Flow::Through(id.symbol_id()));
            }
            if matches!(self.nodes.parent_kind(node), AstKind::MethodDefinition(_)) {
                return self.class(node);
            }
        }
        self.value(node, true)
    }

    /// Returns the use of the class around `node`. Its members are assumed to run if anything
    /// refers to it.
    fn class(&self, node: NodeId) -> Flow {
        let Some((id, class)) =
            self.nodes.ancestors_enumerated(node).find_map(|(id, node)| match node.kind() {
                AstKind::Class(class) => Some((id, class)),
                _ => None,
            })
        else {
            return Flow::Started;
        };
        match &class.id {
            Some(name) if class.is_declaration() => Flow::Through(name.symbol_id()),
            None if class.is_declaration() => Flow::Inert,
            _ => self.value(id, false),
        }
    }

    /// Returns whether an expression tests if the file is the program, directly or by a name for
    /// that test.
    fn is_guard(&self, test: &Expression<'a>, depth: u32) -> bool {
        if asks_for_main(test.span(), self.source) {
            return true;
        }
        match test.get_inner_expression() {
            Expression::UnaryExpression(it) if depth < 8 => self.is_guard(&it.argument, depth + 1),
            Expression::AwaitExpression(it) if depth < 8 => self.is_guard(&it.argument, depth + 1),
            Expression::CallExpression(it) if depth < 8 => self.is_guard(&it.callee, depth + 1),
            Expression::LogicalExpression(it) if depth < 8 => {
                self.is_guard(&it.left, depth + 1) || self.is_guard(&it.right, depth + 1)
            }
            Expression::Identifier(id) => {
                let Some(symbol) = self.scoping.get_reference(id.reference_id()).symbol_id() else {
                    return false;
                };
                let declaration = self.span(self.scoping.symbol_declaration(symbol));
                declaration.size() <= MAX_GUARD_BYTES && asks_for_main(declaration, self.source)
            }
            _ => false,
        }
    }
}

fn asks_for_main(span: Span, source: &str) -> bool {
    let text: String =
        span.source_text(source).chars().filter(|character| !character.is_whitespace()).collect();
    GUARDS.iter().any(|guard| text.contains(guard))
}

/// Returns whether a callee is `console.log` or similar, which shows a function and does not call
/// it.
fn is_console(callee: &Expression<'_>) -> bool {
    match callee.get_inner_expression() {
        Expression::StaticMemberExpression(it) => {
            matches!(it.object.get_inner_expression(), Expression::Identifier(id) if id.name == "console")
        }
        _ => false,
    }
}
