//! The imports of a file from outside of its program, and the packages that its comments add. They
//! are found in the syntax tree, and no code is run.

use oxc_allocator::Allocator;
use oxc_ast::ast::{
    ArrowFunctionExpression, BlockStatement, CallExpression, ExportAllDeclaration,
    ExportFromDeclaration, Expression, Function, ImportDeclaration, ImportExpression,
    JSXElementName, JSXOpeningFragment, Program, StringLiteral, TSClassImplements,
    TSExternalModuleDeclaration, TSImportEqualsDeclaration, TSModuleReference, TSType, TSTypeName,
    TryStatement,
};
use oxc_ast_visit::{Visit, walk};
use oxc_semantic::{ScopeFlags, Scoping, SemanticBuilder};

use crate::depth::{self, MAX_TREE_DEPTH};
use crate::dialect::Dialect;
use crate::elision;
use crate::error::PrepareError;
use crate::jsx::jsx_runtime;
use crate::options::{Options, UnusedImports};
use crate::program::parse_shallow;
use crate::syntax::Syntax;

/// The first word of an addition in a line of a comment.
const ADDITION: &str = "@add-package";

/// The beginnings of URLs that can be imported.
const URLS: [&str; 5] = ["https:", "http:", "file:", "data:", "blob:"];

/// The imports and additions of a file.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct FileImports {
    /// Imports in the order of the file.
    pub imports: Vec<FileImport>,
    /// Texts after `@add-package` in comments.
    pub additions: Vec<String>,
}

/// An import of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileImport {
    /// Specifier as written, or `npm:name@version` if a version is given separately.
    pub name: String,
    /// Whether the file catches the failure of this import.
    pub is_optional: bool,
}

/// Finds the imports of the program `source`: `import` and `export … from` except those of types,
/// and `import()`, `require()`, `require.resolve()` and `yepcode.import()` of a literal name.
/// Relative and absolute paths, URLs, and names that a package gives to its own files (`#name`) are
/// left out.
///
/// ```
/// use belljar_syntax::{Dialect, find_imports};
///
/// let source = "// @add-package zod@3\nconst { parse } = require('csv-parse/sync');";
/// let found = find_imports(source, "main.js", Dialect::JavaScript).unwrap();
/// assert_eq!(found.imports[0].name, "csv-parse/sync");
/// assert_eq!(found.additions, ["zod@3"]);
/// ```
pub fn find_imports(
    source: &str,
    file_name: &str,
    dialect: Dialect,
) -> Result<FileImports, PrepareError> {
    find_imports_with(source, file_name, dialect, &Options::default())
}

/// Finds imports like [`find_imports`], with options.
pub fn find_imports_with(
    source: &str,
    file_name: &str,
    dialect: Dialect,
    options: &Options,
) -> Result<FileImports, PrepareError> {
    let syntax = Syntax::new(file_name, dialect, options);
    let allocator = Allocator::default();
    let (parsed, syntax) = parse_shallow(&allocator, source, syntax)?;
    let program = parsed.program;
    let drops = dialect == Dialect::TypeScript && options.unused_imports == UnusedImports::Drop;
    let elision = drops.then(|| Elision::new(&program, syntax)).flatten();
    let mut finder =
        Finder { elision, found: Vec::new(), is_caught: false, depth: 0, has_elements: false };
    finder.visit_program(&program);
    if finder.has_elements
        && let Some(runtime) = jsx_runtime(&program, options)
    {
        finder.import(&runtime, false);
    }
    Ok(FileImports { imports: finder.found, additions: additions(&program) })
}

/// Removes the imports that TypeScript drops because no value refers to them.
struct Elision {
    scoping: Scoping,
    jsx: bool,
}

impl Elision {
    /// Returns `None` if the tree is too deep to be analyzed.
    fn new(program: &Program<'_>, syntax: Syntax) -> Option<Self> {
        let is_shallow = depth::tree_too_deep(program).is_none();
        is_shallow.then(|| Self {
            scoping: SemanticBuilder::new().build(program).semantic.into_scoping(),
            jsx: syntax.jsx,
        })
    }

    fn drops(&self, import: &ImportDeclaration<'_>) -> bool {
        // JSX elements refer to `React` implicitly.
        let is_for_elements =
            self.jsx && elision::locals(import).any(|local| local.name == "React");
        !is_for_elements && elision::is_elided(import, &self.scoping)
    }
}

struct Finder {
    elision: Option<Elision>,
    found: Vec<FileImport>,
    /// Whether the program catches errors at this place.
    is_caught: bool,
    /// Depth of nested expressions, up to a safe limit. The parser refuses deeply nested brackets,
    /// but not long chains.
    depth: usize,
    has_elements: bool,
}

impl Finder {
    fn import(&mut self, specifier: &str, is_optional: bool) {
        if is_foreign(specifier) {
            self.found.push(FileImport { name: specifier.to_owned(), is_optional });
        }
    }

    fn import_version(
        &mut self,
        specifier: Option<&Expression<'_>>,
        version: Option<&Expression<'_>>,
    ) {
        let Some(specifier) = specifier.and_then(literal) else { return };
        match version.and_then(literal).and_then(|version| with_version(specifier, version)) {
            Some(name) => self.import(&name, self.is_caught),
            None => self.import(specifier, self.is_caught),
        }
    }

    fn within(&mut self, is_caught: bool, visit: impl FnOnce(&mut Self)) {
        let around = std::mem::replace(&mut self.is_caught, is_caught);
        visit(self);
        self.is_caught = around;
    }
}

impl<'a> Visit<'a> for Finder {
    fn visit_import_declaration(&mut self, it: &ImportDeclaration<'a>) {
        if it.import_kind.is_value()
            && !self.elision.as_ref().is_some_and(|elision| elision.drops(it))
        {
            self.import(&it.source.value, false);
        }
    }

    fn visit_export_from_declaration(&mut self, it: &ExportFromDeclaration<'a>) {
        let is_of_types = !it.specifiers.is_empty()
            && it.specifiers.iter().all(|specifier| specifier.export_kind.is_type());
        if it.export_kind.is_value() && !is_of_types {
            self.import(&it.source.value, false);
        }
    }

    fn visit_export_all_declaration(&mut self, it: &ExportAllDeclaration<'a>) {
        if it.export_kind.is_value() {
            self.import(&it.source.value, false);
        }
    }

    fn visit_ts_import_equals_declaration(&mut self, it: &TSImportEqualsDeclaration<'a>) {
        if let TSModuleReference::ExternalModuleReference(reference) = &it.module_reference
            && it.import_kind.is_value()
        {
            let StringLiteral { value, .. } = &reference.expression;
            self.import(value, false);
        }
    }

    fn visit_import_expression(&mut self, it: &ImportExpression<'a>) {
        self.import_version(Some(&it.source), it.options.as_ref());
        walk::walk_import_expression(self, it);
    }

    fn visit_call_expression(&mut self, it: &CallExpression<'a>) {
        let argument =
            |index: usize| it.arguments.get(index).and_then(|argument| argument.as_expression());
        if imports_with_version(&it.callee) {
            self.import_version(argument(0), argument(1));
        } else if imports_by_call(&it.callee) {
            self.import_version(argument(0), None);
        }
        if is_catch_of_import(&it.callee) {
            self.within(true, |finder| finder.visit_expression(&it.callee));
            self.visit_arguments(&it.arguments);
        } else {
            walk::walk_call_expression(self, it);
        }
    }

    fn visit_try_statement(&mut self, it: &TryStatement<'a>) {
        let block =
            |finder: &mut Self, block: &BlockStatement<'a>| finder.visit_block_statement(block);
        self.within(self.is_caught || it.handler.is_some(), |finder| block(finder, &it.block));
        if let Some(handler) = &it.handler {
            self.visit_catch_clause(handler);
        }
        if let Some(finalizer) = &it.finalizer {
            block(self, finalizer);
        }
    }

    // A function that is defined inside of `try` is usually called outside of it.
    fn visit_function(&mut self, it: &Function<'a>, flags: ScopeFlags) {
        self.within(false, |finder| walk::walk_function(finder, it, flags));
    }

    fn visit_arrow_function_expression(&mut self, it: &ArrowFunctionExpression<'a>) {
        self.within(false, |finder| walk::walk_arrow_function_expression(finder, it));
    }

    fn visit_expression(&mut self, it: &Expression<'a>) {
        if self.depth < MAX_TREE_DEPTH {
            self.depth += 1;
            walk::walk_expression(self, it);
            self.depth -= 1;
        }
    }

    // Names of types and elements import nothing and can be long chains. A declared module contains
    // only types.
    fn visit_ts_type(&mut self, _: &TSType<'a>) {}
    fn visit_ts_type_name(&mut self, _: &TSTypeName<'a>) {}
    fn visit_ts_class_implements(&mut self, _: &TSClassImplements<'a>) {}
    fn visit_jsx_element_name(&mut self, _: &JSXElementName<'a>) {
        self.has_elements = true;
    }
    fn visit_jsx_opening_fragment(&mut self, _: &JSXOpeningFragment) {
        self.has_elements = true;
    }
    fn visit_ts_external_module_declaration(&mut self, _: &TSExternalModuleDeclaration<'a>) {}
}

/// Returns whether a call imports: `require(…)`, `require.resolve(…)` or `module.require(…)`.
fn imports_by_call(callee: &Expression<'_>) -> bool {
    callee.is_specific_id("require")
        || is_member(callee, "require", "resolve")
        || is_member(callee, "module", "require")
}

/// Returns whether a call is `yepcode.import(…)`, which takes a version.
fn imports_with_version(callee: &Expression<'_>) -> bool {
    is_member(callee, "yepcode", "import")
}

fn is_member(expression: &Expression<'_>, object: &str, property: &str) -> bool {
    match expression.get_inner_expression() {
        Expression::StaticMemberExpression(member) => {
            member.property.name == property && member.object.is_specific_id(object)
        }
        _ => false,
    }
}

/// Returns whether a call is `import(…).catch(…)`, possibly with other methods in between.
fn is_catch_of_import(callee: &Expression<'_>) -> bool {
    let Expression::StaticMemberExpression(member) = callee else { return false };
    if member.property.name != "catch" {
        return false;
    }
    let mut object = member.object.without_parentheses();
    while let Expression::CallExpression(call) = object
        && let Expression::StaticMemberExpression(method) = &call.callee
    {
        if imports_with_version(&call.callee) {
            return true;
        }
        object = method.object.without_parentheses();
    }
    matches!(object, Expression::ImportExpression(_))
}

/// Returns the text of a string or of a template without expressions.
fn literal<'e>(expression: &'e Expression<'_>) -> Option<&'e str> {
    match expression.get_inner_expression() {
        Expression::StringLiteral(string) => Some(string.value.as_str()),
        Expression::TemplateLiteral(template) if template.is_no_substitution_template() => {
            template.quasis.first()?.value.cooked.as_deref()
        }
        _ => None,
    }
}

/// Returns whether a specifier refers to something outside of the program.
fn is_foreign(specifier: &str) -> bool {
    !specifier.is_empty()
        && !specifier.starts_with(['.', '/', '#'])
        && !URLS.iter().any(|url| specifier.starts_with(url))
}

/// Adds a version to a specifier: `npm:name@version/sub` for `name/sub`. Returns `None` if it is
/// not a name of npm or has a version.
fn with_version(specifier: &str, version: &str) -> Option<String> {
    let name = specifier.strip_prefix("npm:").unwrap_or(specifier);
    let (scope, rest) = match name.split_once('/') {
        Some((scope, rest)) if name.starts_with('@') => (Some(scope), rest),
        _ => (None, name),
    };
    let (name, sub) = rest.split_once('/').map_or((rest, None), |(name, sub)| (name, Some(sub)));
    if version.is_empty() || name.is_empty() || name.contains(['@', ':']) || !is_foreign(specifier)
    {
        return None;
    }
    let scope = scope.map_or(String::new(), |scope| format!("{scope}/"));
    let sub = sub.map_or(String::new(), |sub| format!("/{sub}"));
    Some(format!("npm:{scope}{name}@{version}{sub}"))
}

fn additions(program: &Program<'_>) -> Vec<String> {
    let lines = program
        .comments
        .iter()
        .flat_map(|comment| comment.content_span().source_text(program.source_text).lines());
    let added = lines.filter_map(|line| {
        let added = line
            .trim_start_matches(|character: char| {
                character.is_whitespace() || "*/!".contains(character)
            })
            .strip_prefix(ADDITION)?;
        (added.starts_with(char::is_whitespace) && !added.trim().is_empty())
            .then(|| added.trim().to_owned())
    });
    added.collect()
}
