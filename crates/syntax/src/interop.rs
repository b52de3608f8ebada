//! Combines the two module systems in one program, like TypeScript, Bun and bundlers: `require`,
//! `module` and similar names in a module, a bare `return` next to `import`, imports in a file that
//! exports like CommonJS.

use std::fmt::Write;

use oxc_ast::ast::{
    ExportDefaultDeclarationKind, ImportDeclaration, ImportDeclarationSpecifier, ModuleExportName,
    Program, Statement,
};
use oxc_semantic::{Scoping, SemanticBuilder};
use oxc_span::GetSpan;

use crate::commonjs::{COMMONJS_NAMES, free_names};
use crate::depth;
use crate::dialect::ModuleKind;
use crate::edits::Edits;
use crate::elision;
use crate::options::{FileRole, Options, UnusedImports};
use crate::program::Parsed;
use crate::uses::{self, AllUses, quote};

/// The properties of a program with combined module systems that the driver needs.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// Whether the main module reads `require` and similar names from `__belljar_value.commonjs`.
    pub(crate) needs_commonjs: bool,
    pub(crate) uses: AllUses,
}

/// Adds the code that combines the module systems. It comes after the edits that take the value,
/// and before the edits of the ends.
pub(crate) fn join(parsed: &Parsed<'_>, options: &Options, edits: &mut Edits) -> Joined {
    let role = options.role;
    let program = &parsed.program;
    let source = program.source_text;
    let is_module = parsed.kind == ModuleKind::Module;
    let names_commonjs = is_module && COMMONJS_NAMES.iter().any(|name| source.contains(name));
    let imports = imports_others(program)
        || asks_for_others(source, "require")
        || asks_for_others(source, "import");
    let wraps = parsed.returns && is_module && role == FileRole::Main;
    if !(names_commonjs || imports || parsed.requires_imports || wraps)
        || depth::tree_too_deep(program).is_some()
    {
        return Joined::default();
    }
    let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
    let uses =
        if parsed.requires_imports { AllUses::new() } else { uses::find(program, &scoping, edits) };
    if parsed.requires_imports {
        require_imports(program, &scoping, options.unused_imports, edits);
    }
    let free = if names_commonjs { free_names(program, &scoping) } else { Vec::new() };
    if wraps {
        wrap_body(program, edits);
    }
    if !free.is_empty()
        && let Some(first) = program.body.first()
    {
        let definitions = match role {
            FileRole::Main => {
                format!("const {{ {} }} = __belljar_value.commonjs; ", free.join(", "))
            }
            FileRole::Imported => definitions(&free),
        };
        edits.insert_before(first.span().start, definitions);
    }
    Joined { needs_commonjs: !free.is_empty() && role == FileRole::Main, uses }
}

/// Returns whether a program imports a module that is not Node's own.
fn imports_others(program: &Program<'_>) -> bool {
    program.body.iter().any(|statement| match statement {
        Statement::ImportDeclaration(it) => !uses::is_built_in(&it.source.value),
        Statement::ExportFromDeclaration(it) => !uses::is_built_in(&it.source.value),
        Statement::ExportAllDeclaration(it) => !uses::is_built_in(&it.source.value),
        Statement::TSImportEqualsDeclaration(_) => true,
        _ => false,
    })
}

/// Returns whether `word("…")` may load a module that is not Node's own. The check is cheap, and
/// errs only by searching in vain.
fn asks_for_others(source: &str, word: &str) -> bool {
    source.match_indices(word).any(|(at, _)| {
        let rest = source[at + word.len()..].trim_start();
        let Some(argument) = rest.strip_prefix('(').map(str::trim_start) else { return false };
        let Some(quote) = argument.chars().next().filter(|next| matches!(next, '"' | '\'')) else {
            return false;
        };
        argument[1..].split(quote).next().is_some_and(|specifier| !uses::is_built_in(specifier))
    })
}

/// Defines names of CommonJS in a module that is imported.
fn definitions(free: &[&str]) -> String {
    let mut code = String::new();
    let has = |name: &str| free.contains(&name);
    if has("require") || has("module") {
        code.push_str("import { createRequire as __belljar_require } from 'node:module'; ");
    }
    if has("__filename") {
        code.push_str("const __filename = import.meta.filename; ");
    }
    if has("__dirname") {
        code.push_str("const __dirname = import.meta.dirname; ");
    }
    if has("require") {
        code.push_str("const require = __belljar_require(import.meta.url); ");
    }
    if has("module") {
        code.push_str(
            "const module = { id: import.meta.filename, filename: import.meta.filename, path: import.meta.dirname, exports: {}, \
             loaded: false, children: [], paths: [], require: __belljar_require(import.meta.url) }; ",
        );
    }
    if has("exports") {
        code.push_str(if has("module") {
            "const { exports } = module; "
        } else {
            "const exports = {}; "
        });
    }
    code
}

/// Turns the body of a module into an async function, so that it can return. Imports stay outside,
/// and exports have no meaning next to a `return`.
fn wrap_body(program: &Program<'_>, edits: &mut Edits) {
    let leading = program
        .body
        .iter()
        .take_while(|statement| matches!(statement, Statement::ImportDeclaration(_)))
        .count();
    let (Some(first), Some(last)) = (program.body.get(leading), program.body.last()) else {
        return;
    };
    let mut hoisted = String::new();
    for statement in &program.body[leading..] {
        let span = statement.span();
        match statement {
            Statement::ImportDeclaration(import) => {
                if import.import_kind.is_value() {
                    hoisted.push_str(&printed(import));
                }
                edits.blank_to_semicolon(span.start, span.end);
            }
            Statement::ExportNamedDeclaration(_)
            | Statement::ExportFromDeclaration(_)
            | Statement::ExportAllDeclaration(_) => {
                edits.blank_to_semicolon(span.start, span.end);
            }
            Statement::ExportDeclaration(export) => {
                edits.blank(span.start, export.declaration.span().start);
            }
            Statement::ExportDefaultDeclaration(export) => {
                let start = export.declaration.span().start;
                let is_named = match &export.declaration {
                    ExportDefaultDeclarationKind::FunctionDeclaration(it) => it.id.is_some(),
                    ExportDefaultDeclarationKind::ClassDeclaration(it) => it.id.is_some(),
                    _ => false,
                };
                edits.blank(span.start, start);
                if !is_named {
                    edits.insert_before(start, "__belljar_value(");
                    edits.insert_after(export.declaration.span().end, ")");
                }
            }
            _ => {}
        }
    }
    // Columns move only in the line of the first statement.
    edits.insert_before(
        first.span().start,
        format!("{hoisted}__belljar_value.returned = await (async () => {{ "),
    );
    edits.insert_after(last.span().end, ";})();");
}

/// An import on one line.
fn printed(import: &ImportDeclaration<'_>) -> String {
    let mut code = String::from("import ");
    if let Some(specifiers) = &import.specifiers {
        let mut named = Vec::new();
        let mut before = Vec::new();
        for specifier in specifiers {
            match specifier {
                ImportDeclarationSpecifier::ImportDefaultSpecifier(it) => {
                    before.insert(0, it.local.name.to_string());
                }
                ImportDeclarationSpecifier::ImportNamespaceSpecifier(it) => {
                    before.push(format!("* as {}", it.local.name));
                }
                ImportDeclarationSpecifier::ImportSpecifier(it) if it.import_kind.is_value() => {
                    named.push(format!("{} as {}", key(&it.imported), it.local.name));
                }
                ImportDeclarationSpecifier::ImportSpecifier(_) => {}
            }
        }
        if !named.is_empty() || before.is_empty() {
            before.push(format!("{{ {} }}", named.join(", ")));
        }
        let _ = write!(code, "{} from ", before.join(", "));
    }
    quote(&import.source.value, &mut code);
    if let Some(with) = &import.with_clause {
        code.push_str(" with { ");
        for (index, entry) in with.with_entries.iter().enumerate() {
            code.push_str(if index == 0 { "" } else { ", " });
            quote(&entry.key.as_arena_str(), &mut code);
            code.push_str(": ");
            quote(&entry.value.value, &mut code);
        }
        code.push_str(" }");
    }
    code.push_str("; ");
    code
}

/// Returns a name as a property key.
fn key(name: &ModuleExportName<'_>) -> String {
    match name {
        ModuleExportName::StringLiteral(it) => {
            let mut text = String::new();
            quote(&it.value, &mut text);
            text
        }
        other => other.name().to_string(),
    }
}

/// Replaces imports by calls of `require`, like TypeScript for CommonJS.
fn require_imports(
    program: &Program<'_>,
    scoping: &Scoping,
    unused: UnusedImports,
    edits: &mut Edits,
) {
    for (index, statement) in program.body.iter().enumerate() {
        if let Statement::ExportNamedDeclaration(export) = statement {
            // This is `export {}`. Such a file contains no other exports of this kind.
            edits.blank_to_semicolon(export.span.start, export.span.end);
        }
        let Statement::ImportDeclaration(import) = statement else { continue };
        let is_elided = unused == UnusedImports::Drop && elision::is_elided(import, scoping);
        if import.import_kind.is_type() || is_elided {
            continue;
        }
        let mut request = String::from("require(");
        quote(&import.source.value, &mut request);
        request.push(')');
        let mut code = String::new();
        match &import.specifiers {
            Some(specifiers) if !specifiers.is_empty() => {
                let module = format!("__belljar_import_{index}");
                let _ = write!(code, "const {module} = {request}");
                for specifier in specifiers {
                    let _ = match specifier {
                        ImportDeclarationSpecifier::ImportDefaultSpecifier(it) => {
                            write!(
                                code,
                                ", {} = {module} != null && {module}.__esModule ? {module}.default : {module}",
                                it.local.name
                            )
                        }
                        ImportDeclarationSpecifier::ImportNamespaceSpecifier(it) => {
                            write!(code, ", {} = {module}", it.local.name)
                        }
                        ImportDeclarationSpecifier::ImportSpecifier(it)
                            if it.import_kind.is_type() =>
                        {
                            Ok(())
                        }
                        ImportDeclarationSpecifier::ImportSpecifier(it)
                            if it.imported.name() == "default" =>
                        {
                            write!(
                                code,
                                ", {} = {module} != null && {module}.__esModule ? {module}.default : {module}",
                                it.local.name
                            )
                        }
                        ImportDeclarationSpecifier::ImportSpecifier(it) => {
                            write!(
                                code,
                                ", {{ {}: {} }} = {module}",
                                key(&it.imported),
                                it.local.name
                            )
                        }
                    };
                }
            }
            _ => code = request,
        }
        edits.insert_before(import.span.start, code);
        edits.blank_to_semicolon(import.span.start, import.span.end);
    }
}
