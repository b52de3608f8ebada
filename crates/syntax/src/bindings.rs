//! The declarations at the top level of a program.

use oxc_ast::ast::{
    BindingPattern, Declaration, Expression, Program, Statement, VariableDeclarationKind,
};
use oxc_semantic::SymbolId;
use oxc_span::GetSpan;

/// Returns the end of the last statement, if there is a top-level `main` that is not exported. A
/// module's exported `main` is found in its namespace.
pub(crate) fn end_if_main_is_defined(program: &Program<'_>) -> Option<u32> {
    let defined = program.body.iter().filter_map(Statement::as_declaration).any(declares_main);
    defined.then(|| program.body.last().map_or(0, |statement| statement.span().end))
}

/// Returns whether a declaration has the name `main`.
pub(crate) fn declares_main(declaration: &Declaration<'_>) -> bool {
    declares(declaration, &|name| name == "main")
}

/// Returns whether a program is a single function expression, which is then called. Imports may
/// precede it.
pub(crate) fn is_one_function(program: &Program<'_>) -> bool {
    let mut statements = program.body.iter().filter(|statement| {
        !matches!(statement, Statement::ImportDeclaration(_) | Statement::EmptyStatement(_))
    });
    let (Some(Statement::ExpressionStatement(only)), None) = (statements.next(), statements.next())
    else {
        return false;
    };
    matches!(
        only.expression.get_inner_expression(),
        Expression::ArrowFunctionExpression(_) | Expression::FunctionExpression(_)
    )
}

/// Returns whether a top-level `let`, `const`, `using` or class has one of these names.
pub(crate) fn declares_lexically(program: &Program<'_>, names: &[&str]) -> bool {
    let is_wanted = |name: &str| names.contains(&name);
    program.body.iter().filter_map(Statement::as_declaration).any(|declaration| match declaration {
        Declaration::VariableDeclaration(variables) => {
            variables.kind != VariableDeclarationKind::Var && declares(declaration, &is_wanted)
        }
        Declaration::ClassDeclaration(_) => declares(declaration, &is_wanted),
        _ => false,
    })
}

/// Returns whether a declaration does not exist at run time.
pub(crate) fn is_type_only(declaration: &Declaration<'_>) -> bool {
    match declaration {
        Declaration::TSTypeAliasDeclaration(_)
        | Declaration::TSInterfaceDeclaration(_)
        | Declaration::TSExternalModuleDeclaration(_)
        | Declaration::TSGlobalDeclaration(_) => true,
        Declaration::VariableDeclaration(it) => it.declare,
        Declaration::FunctionDeclaration(it) => it.declare || it.body.is_none(),
        Declaration::ClassDeclaration(it) => it.declare,
        Declaration::TSEnumDeclaration(it) => it.declare,
        Declaration::TSNamespaceDeclaration(it) => it.declare,
        Declaration::TSImportEqualsDeclaration(it) => it.import_kind.is_type(),
    }
}

pub(crate) fn declares(declaration: &Declaration<'_>, is_wanted: &impl Fn(&str) -> bool) -> bool {
    if is_type_only(declaration) {
        return false;
    }
    match declaration {
        Declaration::FunctionDeclaration(function) => {
            function.id.as_ref().is_some_and(|id| is_wanted(&id.name))
        }
        Declaration::ClassDeclaration(class) => {
            class.id.as_ref().is_some_and(|id| is_wanted(&id.name))
        }
        Declaration::VariableDeclaration(variables) => {
            variables.declarations.iter().any(|declarator| binds(&declarator.id, is_wanted))
        }
        _ => false,
    }
}

fn binds(pattern: &BindingPattern<'_>, is_wanted: &impl Fn(&str) -> bool) -> bool {
    match pattern {
        BindingPattern::BindingIdentifier(id) => is_wanted(&id.name),
        BindingPattern::AssignmentPattern(it) => binds(&it.left, is_wanted),
        BindingPattern::ObjectPattern(it) => {
            it.properties.iter().any(|property| binds(&property.value, is_wanted))
                || it.rest.as_ref().is_some_and(|rest| binds(&rest.argument, is_wanted))
        }
        BindingPattern::ArrayPattern(it) => {
            it.elements.iter().flatten().any(|element| binds(element, is_wanted))
                || it.rest.as_ref().is_some_and(|rest| binds(&rest.argument, is_wanted))
        }
    }
}

/// Calls `found` with each name that a pattern binds.
pub(crate) fn bound_names(
    pattern: &BindingPattern<'_>,
    found: &mut impl FnMut(&str, Option<SymbolId>),
) {
    match pattern {
        BindingPattern::BindingIdentifier(id) => found(&id.name, id.symbol_id.get()),
        BindingPattern::AssignmentPattern(it) => bound_names(&it.left, found),
        BindingPattern::ObjectPattern(it) => {
            for property in &it.properties {
                bound_names(&property.value, found);
            }
            if let Some(rest) = &it.rest {
                bound_names(&rest.argument, found);
            }
        }
        BindingPattern::ArrayPattern(it) => {
            for element in it.elements.iter().flatten() {
                bound_names(element, found);
            }
            if let Some(rest) = &it.rest {
                bound_names(&rest.argument, found);
            }
        }
    }
}
