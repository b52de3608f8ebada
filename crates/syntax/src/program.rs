//! Parses a program, and decides like Node whether it is CommonJS or a module.

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    ArrowFunctionExpression, AwaitExpression, ExportDefaultDeclarationKind, Expression,
    ForOfStatement, Function, ImportDeclaration, ImportMeta, ImportOrExportKind, JSXElementName,
    Program, ReturnStatement, Statement, TSModuleReference, TSType, TSTypeName,
    VariableDeclaration, VariableDeclarationKind, WithClause, WithClauseKeyword,
};
use oxc_ast_visit::{Visit, walk};
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::{ScopeFlags, SemanticBuilder};

use crate::bindings;
use crate::commonjs::{self, COMMONJS_NAMES};
use crate::depth::{self, MAX_TREE_DEPTH};
use crate::dialect::{Dialect, ModuleKind};
use crate::elision;
use crate::error::{PrepareError, first_error, line_and_column};
use crate::forgiven;
use crate::meanings;
use crate::namespaces;
use crate::options::{FileRole, Options};
use crate::syntax::{Syntax, is_module_line};

/// A parsed program.
#[expect(
    clippy::struct_excessive_bools,
    reason = "independent facts about a program, as in `PreparedProgram`"
)]
pub(crate) struct Parsed<'a> {
    pub(crate) program: Program<'a>,
    pub(crate) kind: ModuleKind,
    /// Whether the program is CommonJS with a top-level `await`.
    pub(crate) is_async: bool,
    /// Whether the program has a bare `return`. Only set for modules.
    pub(crate) returns: bool,
    /// Whether the program is CommonJS that imports like a module.
    pub(crate) requires_imports: bool,
    /// Whether the program is CommonJS in TypeScript's syntax, which is strict code.
    pub(crate) is_strict: bool,
}

impl<'a> Parsed<'a> {
    fn new(program: Program<'a>, kind: ModuleKind) -> Self {
        let is_strict =
            kind == ModuleKind::CommonJs && program.body.iter().any(is_commonjs_statement);
        Self { program, kind, is_async: false, returns: false, requires_imports: false, is_strict }
    }
}

/// Parses a program of a safe depth as the dialect and syntax that it is written in: with JSX only
/// if it does not parse without.
pub(crate) fn parse_shallow<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    syntax: Syntax,
) -> Result<(Parsed<'a>, Syntax), PrepareError> {
    let parse_as = |syntax| match depth::too_deep(source, syntax) {
        Some(line) => Err(PrepareError::TooDeep { line }),
        None => parse(allocator, source, syntax).map(|parsed| (parsed, syntax)),
    };
    let plain = parse_as(syntax);
    match plain {
        Err(PrepareError::Syntax { .. }) if !syntax.jsx && source.contains('<') => {
            parse_as(syntax.with_jsx()).or(plain)
        }
        _ => plain,
    }
}

/// Returns the program with its aliases, exports and namespaces replaced, and its text if there
/// were any.
pub(crate) fn written_out<'a>(
    allocator: &'a Allocator,
    mut parsed: Parsed<'a>,
    syntax: Syntax,
    options: &Options,
) -> Result<(Parsed<'a>, Option<&'a str>), PrepareError> {
    let mut written = None;
    for pass in [meanings::written_out, |program: &Program<'_>, _: &Options| {
        namespaces::written_out(program)
    }] {
        if let Some(text) = pass(&parsed.program, options) {
            let text: &'a str = allocator.alloc_str(&text);
            parsed = Parsed { program: parse_as(allocator, text, syntax, parsed.kind)?, ..parsed };
            written = Some(text);
        }
    }
    Ok((parsed, written))
}

/// Parses a program as the kind that it is.
pub(crate) fn parse<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    syntax: Syntax,
) -> Result<Parsed<'a>, PrepareError> {
    // `await (x)` is a call in CommonJS, so a program that may be a module or contain `await` is
    // tried as a module first.
    let module_first = syntax.declared == Some(ModuleKind::Module)
        || source.contains("await")
        || may_be_module(source);
    let mut order = [ModuleKind::CommonJs, ModuleKind::Module];
    if module_first {
        order.reverse();
    }
    let mut failures = Vec::new();
    for kind in order {
        let attempt = match kind {
            ModuleKind::Module => parse_as_module(allocator, source, syntax),
            ModuleKind::CommonJs => parse_as_commonjs(allocator, source, syntax),
        };
        match attempt {
            Ok(Some(parsed)) => return Ok(parsed),
            Ok(None) => {}
            Err(error) => failures.push((kind, error)),
        }
    }
    let guessed = syntax.guessed_kind(source);
    failures.sort_by_key(|(kind, _)| *kind != guessed);
    let error = failures.into_iter().next().map(|(_, error)| error);
    Err(error.unwrap_or_else(|| PrepareError::Syntax {
        message: "neither CommonJS nor a module".to_owned(),
        line: 1,
        column: 1,
    }))
}

/// Returns the program as a module, or as CommonJS that awaits. Returns `None` if it parses as a
/// module but need not be one.
fn parse_as_module<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    syntax: Syntax,
) -> Result<Option<Parsed<'a>>, PrepareError> {
    let program = parse_as(allocator, source, syntax, ModuleKind::Module)?;
    let mut top_level = TopLevel::default();
    top_level.visit_program(&program);
    let returns = top_level.returns_at.is_some();
    let module = |program| Some(Parsed { returns, ..Parsed::new(program, ModuleKind::Module) });
    let has_module_syntax = top_level.import_meta || program.body.iter().any(is_module_statement);
    if let (Some(at), FileRole::Imported, true) =
        (top_level.returns_at, syntax.role, has_module_syntax)
    {
        let (line, column) = line_and_column(source, at as usize);
        return Err(PrepareError::Syntax {
            message: "Illegal return statement".to_owned(),
            line,
            column,
        });
    }
    if syntax.declared == Some(ModuleKind::Module) {
        return Ok(module(program));
    }
    if has_module_syntax {
        if syntax.declared.is_some() {
            // TypeScript compiles a `.cts` file to CommonJS regardless of its syntax. If it
            // exports, it is required as a module.
            let is_module =
                syntax.dialect == Dialect::TypeScript && commonjs::exports_values(&program);
            return Ok(if is_module { module(program) } else { None });
        }
        let exports_as_commonjs = program
            .body
            .iter()
            .any(|statement| matches!(statement, Statement::TSExportAssignment(_)))
            || (syntax.role == FileRole::Imported && commonjs::assigns_exports(&program));
        return Ok(
            if exports_as_commonjs
                && !top_level.import_meta
                && !top_level.awaits
                && !commonjs::exports_values(&program)
            {
                Some(requiring_imports(program, syntax))
            } else {
                module(program)
            },
        );
    }
    if !top_level.awaits {
        return Ok(None);
    }
    let is_commonjs = syntax.declared.is_some()
        || returns
        || program.body.iter().any(is_commonjs_statement)
        || commonjs::uses_commonjs_names(&program);
    Ok(if is_commonjs {
        Some(Parsed { is_async: true, ..Parsed::new(program, ModuleKind::CommonJs) })
    } else {
        module(program)
    })
}

/// Returns the program as CommonJS that imports like a module.
fn requiring_imports(program: Program<'_>, syntax: Syntax) -> Parsed<'_> {
    let is_strict = syntax.dialect == Dialect::TypeScript;
    Parsed { requires_imports: true, is_strict, ..Parsed::new(program, ModuleKind::CommonJs) }
}

/// Returns the program as CommonJS, or `None` if it cannot be that.
fn parse_as_commonjs<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    syntax: Syntax,
) -> Result<Option<Parsed<'a>>, PrepareError> {
    if syntax.declared == Some(ModuleKind::Module) {
        return Ok(None);
    }
    let program = parse_as(allocator, source, syntax, ModuleKind::CommonJs)?;
    if syntax.declared.is_none() && program.body.iter().any(is_module_statement) {
        // The parser accepts them, but V8 does not in a file that is declared as CommonJS.
        return Ok(None);
    }
    let is_declared =
        syntax.declared == Some(ModuleKind::CommonJs) && syntax.dialect == Dialect::TypeScript;
    if is_declared && program.body.iter().any(is_module_statement) {
        if commonjs::exports_values(&program) {
            return Ok(None);
        }
        return Ok(Some(requiring_imports(program, syntax)));
    }
    Ok(Some(with_redeclarations(allocator, source, syntax, program)))
}

/// Handles a program that parses as CommonJS, but declares the names that Node declares around it.
/// For Node, it is a module.
fn with_redeclarations<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    syntax: Syntax,
    program: Program<'a>,
) -> Parsed<'a> {
    if syntax.declared.is_none()
        && bindings::declares_lexically(&program, &COMMONJS_NAMES)
        && let Ok(program) = parse_as(allocator, source, syntax, ModuleKind::Module)
    {
        return Parsed::new(program, ModuleKind::Module);
    }
    Parsed::new(program, ModuleKind::CommonJs)
}

fn parse_as<'a>(
    allocator: &'a Allocator,
    source: &'a str,
    syntax: Syntax,
    kind: ModuleKind,
) -> Result<Program<'a>, PrepareError> {
    let options = ParseOptions { allow_return_outside_function: true, ..ParseOptions::default() };
    let parsed =
        Parser::new(allocator, source, syntax.source_type(kind)).with_options(options).parse();
    let is_forgiven = syntax.dialect == Dialect::TypeScript
        && !parsed.panicked
        && parsed.diagnostics.has_errors()
        && forgiven::are_about_types(&parsed.program, &parsed.diagnostics);
    let error = if is_forgiven { None } else { first_error(&parsed.diagnostics, source) };
    match error.or_else(|| old_assertion(&parsed.program)) {
        Some(error) => Err(error),
        None => Ok(parsed.program),
    }
}

/// Returns an error for `import … assert { type: 'json' }`, which the parser supports but V8 no
/// longer does. One that TypeScript drops does no harm.
fn old_assertion(program: &Program<'_>) -> Option<PrepareError> {
    let is_old = |clause: &WithClause<'_>| clause.keyword == WithClauseKeyword::Assert;
    let mut clauses = program.body.iter().filter_map(|statement| match statement {
        Statement::ImportDeclaration(it) if it.import_kind.is_value() => it
            .with_clause
            .as_deref()
            .filter(|clause| is_old(clause))
            .map(|clause| (clause, Some(&**it))),
        Statement::ExportFromDeclaration(it) if it.export_kind.is_value() => {
            it.with_clause.as_deref().filter(|clause| is_old(clause)).map(|clause| (clause, None))
        }
        Statement::ExportAllDeclaration(it) => {
            it.with_clause.as_deref().filter(|clause| is_old(clause)).map(|clause| (clause, None))
        }
        _ => None,
    });
    let (first, import) = clauses.next()?;
    let may_be_dropped =
        program.source_type.is_typescript() && depth::tree_too_deep(program).is_none();
    let clause = if may_be_dropped {
        let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
        let is_kept = |import: Option<&ImportDeclaration<'_>>| {
            import.is_none_or(|import| !elision::is_elided(import, &scoping))
        };
        let mut all = std::iter::once((first, import)).chain(clauses);
        all.find(|(_, import)| is_kept(*import))?.0
    } else {
        first
    };
    let (line, column) = line_and_column(program.source_text, clause.span.start as usize);
    Some(PrepareError::Syntax {
        message: "Unexpected identifier 'assert': write `with` in place of `assert`".to_owned(),
        line,
        column,
    })
}

/// Returns whether a program may be a module. The check is cheap, and what it misses is found when
/// CommonJS does not parse.
fn may_be_module(source: &str) -> bool {
    source.contains("import.meta") || source.lines().any(is_module_line)
}

/// Returns whether a statement makes a program a module. Statements for types only do not, because
/// they do not exist at run time.
fn is_module_statement(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ImportDeclaration(import) => import.import_kind == ImportOrExportKind::Value,
        Statement::ExportAllDeclaration(export) => export.export_kind == ImportOrExportKind::Value,
        Statement::ExportNamedDeclaration(export) => {
            export.export_kind == ImportOrExportKind::Value
        }
        Statement::ExportFromDeclaration(export) => export.export_kind == ImportOrExportKind::Value,
        Statement::ExportDeclaration(export) => !bindings::is_type_only(&export.declaration),
        Statement::ExportDefaultDeclaration(export) => match &export.declaration {
            ExportDefaultDeclarationKind::TSInterfaceDeclaration(_) => false,
            ExportDefaultDeclarationKind::FunctionDeclaration(function) => function.body.is_some(),
            _ => true,
        },
        _ => false,
    }
}

/// Returns whether a statement is TypeScript's syntax for CommonJS: `export =` or `import x =
/// require()`.
fn is_commonjs_statement(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::TSExportAssignment(_) => true,
        Statement::TSImportEqualsDeclaration(import) => {
            matches!(import.module_reference, TSModuleReference::ExternalModuleReference(_))
        }
        _ => false,
    }
}

/// Finds what happens outside of any function, as deep as a tree is safe to walk.
#[derive(Default)]
struct TopLevel {
    awaits: bool,
    returns_at: Option<u32>,
    import_meta: bool,
    functions: usize,
    depth: usize,
}

impl<'a> Visit<'a> for TopLevel {
    fn visit_expression(&mut self, it: &Expression<'a>) {
        if self.depth < MAX_TREE_DEPTH {
            self.depth += 1;
            walk::walk_expression(self, it);
            self.depth -= 1;
        }
    }

    // Names of types and elements can be chains of any length.
    fn visit_ts_type(&mut self, _: &TSType<'a>) {}
    fn visit_ts_type_name(&mut self, _: &TSTypeName<'a>) {}
    fn visit_jsx_element_name(&mut self, _: &JSXElementName<'a>) {}

    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        self.functions += 1;
        walk::walk_function(self, it, flags);
        self.functions -= 1;
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        self.functions += 1;
        walk::walk_arrow_function_expression(self, it);
        self.functions -= 1;
    }

    fn visit_await_expression(&mut self, it: &AwaitExpression<'a>) {
        self.awaits |= self.functions == 0;
        walk::walk_await_expression(self, it);
    }

    fn visit_for_of_statement(&mut self, it: &ForOfStatement<'a>) {
        self.awaits |= self.functions == 0 && it.r#await;
        walk::walk_for_of_statement(self, it);
    }

    fn visit_variable_declaration(&mut self, it: &VariableDeclaration<'a>) {
        self.awaits |= self.functions == 0 && it.kind == VariableDeclarationKind::AwaitUsing;
        walk::walk_variable_declaration(self, it);
    }

    fn visit_return_statement(&mut self, it: &ReturnStatement<'a>) {
        if self.functions == 0 {
            self.returns_at.get_or_insert(it.span.start);
        }
        walk::walk_return_statement(self, it);
    }

    fn visit_import_meta(&mut self, _: &ImportMeta) {
        self.import_meta = true;
    }
}
