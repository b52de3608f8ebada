//! Parsing a program, and deciding as Node does whether it is CommonJS or a module.

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    ArrowFunctionExpression, AwaitExpression, ExportDefaultDeclarationKind, Expression, ForOfStatement, Function, ImportDeclaration,
    ImportMeta, ImportOrExportKind, JSXElementName, Program, ReturnStatement, Statement, TSModuleReference, TSType, TSTypeName,
    VariableDeclaration, VariableDeclarationKind, WithClause, WithClauseKeyword,
};
use oxc_ast_visit::{Visit, walk};
use oxc_diagnostics::Diagnostics;
use oxc_parser::{ParseOptions, Parser};
use oxc_semantic::{ScopeFlags, SemanticBuilder};
use oxc_span::SourceType;

use crate::bindings;
use crate::depth::{self, MAX_TREE_DEPTH};
use crate::forgiven;
use crate::imports;
use crate::interop;
use crate::meanings;
use crate::namespaces;
use crate::options::{Options, Role};
use crate::{Language, ModuleKind, PrepareError};

/// What Node declares around a CommonJS program.
pub(crate) const COMMONJS_NAMES: [&str; 5] = ["require", "module", "exports", "__filename", "__dirname"];

/// What the language and the file's name say before the program is read.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Syntax {
    pub(crate) language: Language,
    pub(crate) jsx: bool,
    role: Role,
    declared: Option<ModuleKind>,
}

impl Syntax {
    pub(crate) fn new(file_name: &str, language: Language, options: &Options) -> Self {
        let extension = file_name.rsplit_once('.').map_or("", |(_, extension)| extension);
        let declared = match extension {
            "mjs" | "mts" => Some(ModuleKind::Module),
            "cjs" | "cts" => Some(ModuleKind::CommonJs),
            _ => options.kind,
        };
        Self { language, jsx: matches!(extension, "jsx" | "tsx"), role: options.role, declared }
    }

    /// Output of our own: plain JavaScript whose kind is known.
    pub(crate) fn printed(kind: ModuleKind) -> Self {
        Self { language: Language::JavaScript, jsx: false, role: Role::Main, declared: Some(kind) }
    }

    /// The same with elements: what `code` is called says nothing of them.
    pub(crate) fn with_jsx(self) -> Self {
        Self { jsx: true, ..self }
    }

    /// The other language.
    pub(crate) fn in_language(self, language: Language) -> Self {
        Self { language, ..self }
    }

    /// JavaScript that V8 can read as it stands.
    pub(crate) fn is_plain(self) -> bool {
        self.language == Language::JavaScript && !self.jsx
    }

    /// For a program that cannot be parsed: V8 reports the mistake, so that only its message depends on this.
    pub(crate) fn guessed_kind(self, source: &str) -> ModuleKind {
        match self.declared {
            Some(kind) => kind,
            None if source.lines().any(is_module_line) => ModuleKind::Module,
            None => ModuleKind::CommonJs,
        }
    }

    fn source_type(self, kind: ModuleKind) -> SourceType {
        let base = match self.language {
            Language::JavaScript => SourceType::cjs(),
            Language::TypeScript => SourceType::ts(),
        };
        let base = base.with_jsx(self.jsx);
        match kind {
            ModuleKind::CommonJs => base.with_commonjs(true),
            ModuleKind::Module => base.with_module(true),
        }
    }
}

/// A program that parsed.
#[expect(clippy::struct_excessive_bools, reason = "independent facts about a program, as in `Prepared`")]
pub(crate) struct Parsed<'a> {
    pub(crate) program: Program<'a>,
    pub(crate) kind: ModuleKind,
    /// CommonJS with a top-level `await`.
    pub(crate) is_async: bool,
    /// A bare `return`, looked for in modules only.
    pub(crate) returns: bool,
    /// CommonJS that imports as modules do.
    pub(crate) requires_imports: bool,
    /// CommonJS in TypeScript's words, which is strict code.
    pub(crate) is_strict: bool,
}

impl<'a> Parsed<'a> {
    fn new(program: Program<'a>, kind: ModuleKind) -> Self {
        let is_strict = kind == ModuleKind::CommonJs && program.body.iter().any(is_commonjs_statement);
        Self { program, kind, is_async: false, returns: false, requires_imports: false, is_strict }
    }
}

/// Parses a program that nests no deeper than is safe, as the language and syntax that it turns out to be: with elements where it parses
/// only so.
pub(crate) fn parse_shallow<'a>(allocator: &'a Allocator, source: &'a str, syntax: Syntax) -> Result<(Parsed<'a>, Syntax), PrepareError> {
    let parse_as = |syntax| match depth::too_deep(source, syntax) {
        Some(line) => Err(PrepareError::TooDeep { line }),
        None => parse(allocator, source, syntax).map(|parsed| (parsed, syntax)),
    };
    let plain = parse_as(syntax);
    match plain {
        Err(PrepareError::Syntax { .. }) if !syntax.jsx && source.contains('<') => parse_as(syntax.with_jsx()).or(plain),
        _ => plain,
    }
}

/// The program with its aliases, exports and namespaces written out, and its text where there were some.
pub(crate) fn written_out<'a>(
    allocator: &'a Allocator,
    mut parsed: Parsed<'a>,
    syntax: Syntax,
    options: &Options,
) -> Result<(Parsed<'a>, Option<&'a str>), PrepareError> {
    let mut written = None;
    for pass in [meanings::written_out, |program: &Program<'_>, _: &Options| namespaces::written_out(program)] {
        if let Some(text) = pass(&parsed.program, options) {
            let text: &'a str = allocator.alloc_str(&text);
            parsed = Parsed { program: parse_as(allocator, text, syntax, parsed.kind)?, ..parsed };
            written = Some(text);
        }
    }
    Ok((parsed, written))
}

/// Parses a program as what it turns out to be.
pub(crate) fn parse<'a>(allocator: &'a Allocator, source: &'a str, syntax: Syntax) -> Result<Parsed<'a>, PrepareError> {
    // `await (x)` is a call in CommonJS, so that whatever may be a module or await is tried as a module first.
    let module_first = syntax.declared == Some(ModuleKind::Module) || source.contains("await") || may_be_module(source);
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
    let told = failures.into_iter().next().map(|(_, error)| error);
    Err(told.unwrap_or_else(|| PrepareError::Syntax { message: "neither CommonJS nor a module".to_owned(), line: 1, column: 1 }))
}

/// The program as a module, or as CommonJS that awaits. `None` where it parses as a module and has no need to be one.
fn parse_as_module<'a>(allocator: &'a Allocator, source: &'a str, syntax: Syntax) -> Result<Option<Parsed<'a>>, PrepareError> {
    let program = parse_as(allocator, source, syntax, ModuleKind::Module)?;
    let mut top_level = TopLevel::default();
    top_level.visit_program(&program);
    let returns = top_level.returns_at.is_some();
    let module = |program| Some(Parsed { returns, ..Parsed::new(program, ModuleKind::Module) });
    let has_module_syntax = top_level.import_meta || program.body.iter().any(is_module_statement);
    if let (Some(at), Role::Imported, true) = (top_level.returns_at, syntax.role, has_module_syntax) {
        let (line, column) = line_and_column(source, at as usize);
        return Err(PrepareError::Syntax { message: "Illegal return statement".to_owned(), line, column });
    }
    if syntax.declared == Some(ModuleKind::Module) {
        return Ok(module(program));
    }
    if has_module_syntax {
        if syntax.declared.is_some() {
            // TypeScript makes CommonJS of a `.cts` file whatever its words are. Where it exports, it is required as a module.
            let is_module = syntax.language == Language::TypeScript && interop::exports_values(&program);
            return Ok(if is_module { module(program) } else { None });
        }
        let exports_as_commonjs = program.body.iter().any(|statement| matches!(statement, Statement::TSExportAssignment(_)))
            || (syntax.role == Role::Imported && interop::assigns_exports(&program));
        return Ok(if exports_as_commonjs && !top_level.import_meta && !top_level.awaits && !interop::exports_values(&program) {
            Some(requiring_imports(program, syntax))
        } else {
            module(program)
        });
    }
    if !top_level.awaits {
        return Ok(None);
    }
    let is_commonjs =
        syntax.declared.is_some() || returns || program.body.iter().any(is_commonjs_statement) || uses_commonjs_names(&program);
    Ok(if is_commonjs { Some(Parsed { is_async: true, ..Parsed::new(program, ModuleKind::CommonJs) }) } else { module(program) })
}

/// CommonJS that imports as modules do.
fn requiring_imports(program: Program<'_>, syntax: Syntax) -> Parsed<'_> {
    let is_strict = syntax.language == Language::TypeScript;
    Parsed { requires_imports: true, is_strict, ..Parsed::new(program, ModuleKind::CommonJs) }
}

/// The program as CommonJS, or `None` where it cannot be that.
fn parse_as_commonjs<'a>(allocator: &'a Allocator, source: &'a str, syntax: Syntax) -> Result<Option<Parsed<'a>>, PrepareError> {
    if syntax.declared == Some(ModuleKind::Module) {
        return Ok(None);
    }
    let program = parse_as(allocator, source, syntax, ModuleKind::CommonJs)?;
    if syntax.declared.is_none() && program.body.iter().any(is_module_statement) {
        // The parser lets them pass. In a file that says it is CommonJS, V8 does not.
        return Ok(None);
    }
    let is_declared = syntax.declared == Some(ModuleKind::CommonJs) && syntax.language == Language::TypeScript;
    if is_declared && program.body.iter().any(is_module_statement) {
        if interop::exports_values(&program) {
            return Ok(None);
        }
        return Ok(Some(requiring_imports(program, syntax)));
    }
    Ok(Some(with_redeclarations(allocator, source, syntax, program)))
}

/// A program that parses as CommonJS, but declares anew what Node declares around it, is a module to Node.
fn with_redeclarations<'a>(allocator: &'a Allocator, source: &'a str, syntax: Syntax, program: Program<'a>) -> Parsed<'a> {
    if syntax.declared.is_none()
        && bindings::declares_lexically(&program, &COMMONJS_NAMES)
        && let Ok(program) = parse_as(allocator, source, syntax, ModuleKind::Module)
    {
        return Parsed::new(program, ModuleKind::Module);
    }
    Parsed::new(program, ModuleKind::CommonJs)
}

fn parse_as<'a>(allocator: &'a Allocator, source: &'a str, syntax: Syntax, kind: ModuleKind) -> Result<Program<'a>, PrepareError> {
    let options = ParseOptions { allow_return_outside_function: true, ..ParseOptions::default() };
    let parsed = Parser::new(allocator, source, syntax.source_type(kind)).with_options(options).parse();
    let is_forgiven = syntax.language == Language::TypeScript
        && !parsed.panicked
        && parsed.diagnostics.has_errors()
        && forgiven::are_about_types(&parsed.program, &parsed.diagnostics);
    let error = if is_forgiven { None } else { first_error(&parsed.diagnostics, source) };
    match error.or_else(|| old_assertion(&parsed.program)) {
        Some(error) => Err(error),
        None => Ok(parsed.program),
    }
}

/// `import … assert { type: 'json' }`, which the parser knows and V8 no longer does. One that TypeScript drops does no harm.
fn old_assertion(program: &Program<'_>) -> Option<PrepareError> {
    let is_old = |clause: &WithClause<'_>| clause.keyword == WithClauseKeyword::Assert;
    let mut clauses = program.body.iter().filter_map(|statement| match statement {
        Statement::ImportDeclaration(it) if it.import_kind.is_value() => {
            it.with_clause.as_deref().filter(|clause| is_old(clause)).map(|clause| (clause, Some(&**it)))
        }
        Statement::ExportFromDeclaration(it) if it.export_kind.is_value() => {
            it.with_clause.as_deref().filter(|clause| is_old(clause)).map(|clause| (clause, None))
        }
        Statement::ExportAllDeclaration(it) => it.with_clause.as_deref().filter(|clause| is_old(clause)).map(|clause| (clause, None)),
        _ => None,
    });
    let (first, import) = clauses.next()?;
    let may_be_dropped = program.source_type.is_typescript() && depth::tree_too_deep(program).is_none();
    let clause = if may_be_dropped {
        let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
        let is_kept = |import: Option<&ImportDeclaration<'_>>| import.is_none_or(|import| !imports::is_elided(import, &scoping));
        let mut all = std::iter::once((first, import)).chain(clauses);
        all.find(|(_, import)| is_kept(*import))?.0
    } else {
        first
    };
    let (line, column) = line_and_column(program.source_text, clause.span.start as usize);
    Some(PrepareError::Syntax { message: "Unexpected identifier 'assert': write `with` in place of `assert`".to_owned(), line, column })
}

/// The first words of what the parser says of a name that is exported twice, at two places.
pub(crate) const DUPLICATE: &str = "Duplicate";

/// The first error among diagnostics, with its place.
pub(crate) fn first_error(diagnostics: &Diagnostics, source: &str) -> Option<PrepareError> {
    let diagnostic = diagnostics.errors().next()?;
    let label = if diagnostic.message.starts_with(DUPLICATE) { diagnostic.labels.last() } else { diagnostic.labels.first() };
    let offset = label.map_or(0, |label| label.offset() as usize);
    let (line, column) = line_and_column(source, offset);
    Some(PrepareError::Syntax { message: diagnostic.message.to_string(), line, column })
}

/// The line and UTF-16 column of an offset, both from 1.
pub(crate) fn line_and_column(source: &str, offset: usize) -> (u32, u32) {
    let before = source.get(..offset).unwrap_or(source);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let line = before.bytes().filter(|byte| *byte == b'\n').count() + 1;
    (line as u32, before[line_start..].encode_utf16().count() as u32 + 1)
}

/// Cheap and never wrong the dangerous way: what it misses is found when CommonJS does not parse.
fn may_be_module(source: &str) -> bool {
    source.contains("import.meta") || source.lines().any(is_module_line)
}

fn is_module_line(line: &str) -> bool {
    let line = line.trim_start();
    let after = line.strip_prefix("import").or_else(|| line.strip_prefix("export"));
    after.is_some_and(|after| after.starts_with([' ', '\t', '{', '*', '"', '\'']))
}

/// Whether a statement makes a program a module. Those that exist for types alone do not, as they are gone at run time.
fn is_module_statement(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::ImportDeclaration(import) => import.import_kind == ImportOrExportKind::Value,
        Statement::ExportAllDeclaration(export) => export.export_kind == ImportOrExportKind::Value,
        Statement::ExportNamedDeclaration(export) => export.export_kind == ImportOrExportKind::Value,
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

/// `export =` and `import x = require()`: TypeScript's words for CommonJS.
fn is_commonjs_statement(statement: &Statement<'_>) -> bool {
    match statement {
        Statement::TSExportAssignment(_) => true,
        Statement::TSImportEqualsDeclaration(import) => matches!(import.module_reference, TSModuleReference::ExternalModuleReference(_)),
        _ => false,
    }
}

/// Whether `require` and the like are used without being declared. In a tree too deep to be walked, they are taken not to be.
fn uses_commonjs_names(program: &Program<'_>) -> bool {
    if depth::tree_too_deep(program).is_some() {
        return false;
    }
    let semantic = SemanticBuilder::new().build(program).semantic;
    semantic.scoping().root_unresolved_references().keys().any(|name| COMMONJS_NAMES.contains(&name.as_str()))
}

/// What happens outside of any function, as far down as a tree is safe to walk.
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

    // Names, of types or of elements, can be chains of any length.
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
