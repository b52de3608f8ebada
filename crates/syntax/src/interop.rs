//! Joins the two module systems in one program, as TypeScript, Bun and bundlers do: `require`, `module` and their like in a module, a
//! bare `return` beside `import`, imports in a file that exports as CommonJS does.

use std::fmt::Write;

use oxc_ast::ast::{
    Declaration, ExportDefaultDeclarationKind, ImportDeclaration, ImportDeclarationSpecifier, ModuleExportName, Program, Statement,
};
use oxc_semantic::{Scoping, SemanticBuilder};
use oxc_span::GetSpan;

use crate::ModuleKind;
use crate::bindings::is_type_only;
use crate::depth;
use crate::edits::Edits;
use crate::options::{Options, Role, UnusedImports};
use crate::program::{COMMONJS_NAMES, Parsed};
use crate::uses::{self, AllUses, quote};

/// What the driver has to know of a program whose module systems were joined.
#[derive(Debug, Default)]
pub(crate) struct Joined {
    /// The main module takes `require` and its like from `__belljar_value.commonjs`.
    pub(crate) needs_commonjs: bool,
    pub(crate) uses: AllUses,
}

/// Adds what joins the module systems. After the edits that take the value, and before none but those of the ends.
pub(crate) fn join(parsed: &Parsed<'_>, options: &Options, edits: &mut Edits) -> Joined {
    let role = options.role;
    let program = &parsed.program;
    let source = program.source_text;
    let is_module = parsed.kind == ModuleKind::Module;
    let names_commonjs = is_module && COMMONJS_NAMES.iter().any(|name| source.contains(name));
    let imports = imports_others(program) || asks_for_others(source, "require") || asks_for_others(source, "import");
    let wraps = parsed.returns && is_module && role == Role::Main;
    if !(names_commonjs || imports || parsed.requires_imports || wraps) || depth::tree_too_deep(program).is_some() {
        return Joined::default();
    }
    let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
    let uses = if parsed.requires_imports { AllUses::new() } else { uses::find(program, &scoping, edits) };
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
            Role::Main => format!("const {{ {} }} = __belljar_value.commonjs; ", free.join(", ")),
            Role::Imported => definitions(&free),
        };
        edits.insert_before(first.span().start, definitions);
    }
    Joined { needs_commonjs: !free.is_empty() && role == Role::Main, uses }
}

/// Whether a program imports what is not Node's own.
fn imports_others(program: &Program<'_>) -> bool {
    program.body.iter().any(|statement| match statement {
        Statement::ImportDeclaration(it) => !uses::is_built_in(&it.source.value),
        Statement::ExportFromDeclaration(it) => !uses::is_built_in(&it.source.value),
        Statement::ExportAllDeclaration(it) => !uses::is_built_in(&it.source.value),
        Statement::TSImportEqualsDeclaration(_) => true,
        _ => false,
    })
}

/// Whether `word("…")` asks for what is not Node's own: cheap, and wrong only on the side of looking for nothing.
fn asks_for_others(source: &str, word: &str) -> bool {
    source.match_indices(word).any(|(at, _)| {
        let rest = source[at + word.len()..].trim_start();
        let Some(argument) = rest.strip_prefix('(').map(str::trim_start) else { return false };
        let Some(quote) = argument.chars().next().filter(|next| matches!(next, '"' | '\'')) else { return false };
        argument[1..].split(quote).next().is_some_and(|specifier| !uses::is_built_in(specifier))
    })
}

/// The names of CommonJS that a program reads without having declared them. A name that is only asked for its type is left undefined, as
/// it is in a module of Node's.
pub(crate) fn free_names(program: &Program<'_>, scoping: &Scoping) -> Vec<&'static str> {
    let is_ambient = |name: &str| {
        program.body.iter().any(|statement| match statement {
            Statement::VariableDeclaration(it) if it.declare => {
                it.declarations.iter().any(|it| it.id.get_identifier_name().is_some_and(|id| id == name))
            }
            Statement::FunctionDeclaration(it) if it.declare => it.id.as_ref().is_some_and(|id| id.name == name),
            Statement::TSNamespaceDeclaration(it) if it.declare => it.id.name == name,
            _ => false,
        })
    };
    COMMONJS_NAMES
        .into_iter()
        .filter(|name| {
            let references = match scoping.get_root_binding((*name).into()) {
                Some(symbol) if is_ambient(name) => scoping.get_resolved_reference_ids(symbol),
                Some(_) => return false,
                None => match scoping.root_unresolved_references().get(*name) {
                    Some(references) => &references[..],
                    None => return false,
                },
            };
            let values = references.iter().filter(|id| !scoping.get_reference(**id).is_type()).count();
            values > 0 && values > typeof_count(program.source_text, name)
        })
        .collect()
}

/// How often `typeof name` is written.
fn typeof_count(source: &str, name: &str) -> usize {
    source
        .match_indices("typeof")
        .filter(|(at, word)| {
            let rest = source[at + word.len()..].trim_start_matches([' ', '(']);
            rest.strip_prefix(name).is_some_and(|rest| !rest.starts_with(|next: char| next.is_alphanumeric() || next == '_' || next == '$'))
        })
        .count()
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
        code.push_str(if has("module") { "const { exports } = module; " } else { "const exports = {}; " });
    }
    code
}

/// Makes the body of a module one async function, so that it can return. What it imports stays outside; what it exports has no meaning
/// beside a `return`.
fn wrap_body(program: &Program<'_>, edits: &mut Edits) {
    let leading = program.body.iter().take_while(|statement| matches!(statement, Statement::ImportDeclaration(_))).count();
    let (Some(first), Some(last)) = (program.body.get(leading), program.body.last()) else { return };
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
            Statement::ExportNamedDeclaration(_) | Statement::ExportFromDeclaration(_) | Statement::ExportAllDeclaration(_) => {
                edits.blank_to_semicolon(span.start, span.end);
            }
            Statement::ExportDeclaration(export) => edits.blank(span.start, export.declaration.span().start),
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
    // The line of the first statement is the only one whose columns move.
    edits.insert_before(first.span().start, format!("{hoisted}__belljar_value.returned = await (async () => {{ "));
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
                ImportDeclarationSpecifier::ImportDefaultSpecifier(it) => before.insert(0, it.local.name.to_string()),
                ImportDeclarationSpecifier::ImportNamespaceSpecifier(it) => before.push(format!("* as {}", it.local.name)),
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

/// A name as a key.
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

/// Replaces imports by calls of `require`, as TypeScript does for CommonJS.
fn require_imports(program: &Program<'_>, scoping: &Scoping, unused: UnusedImports, edits: &mut Edits) {
    for (index, statement) in program.body.iter().enumerate() {
        if let Statement::ExportNamedDeclaration(export) = statement {
            // `export {}`: nothing else of its kind is in such a file.
            edits.blank_to_semicolon(export.span.start, export.span.end);
        }
        let Statement::ImportDeclaration(import) = statement else { continue };
        let is_elided = unused == UnusedImports::Drop && crate::imports::is_elided(import, scoping);
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
                            write!(code, ", {} = {module} != null && {module}.__esModule ? {module}.default : {module}", it.local.name)
                        }
                        ImportDeclarationSpecifier::ImportNamespaceSpecifier(it) => write!(code, ", {} = {module}", it.local.name),
                        ImportDeclarationSpecifier::ImportSpecifier(it) if it.import_kind.is_type() => Ok(()),
                        ImportDeclarationSpecifier::ImportSpecifier(it) if it.imported.name() == "default" => {
                            write!(code, ", {} = {module} != null && {module}.__esModule ? {module}.default : {module}", it.local.name)
                        }
                        ImportDeclarationSpecifier::ImportSpecifier(it) => {
                            write!(code, ", {{ {}: {} }} = {module}", key(&it.imported), it.local.name)
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

/// Whether a program exports by words of ECMAScript, and not types alone.
pub(crate) fn exports_values(program: &Program<'_>) -> bool {
    program.body.iter().any(|statement| match statement {
        Statement::ExportDeclaration(it) => match &it.declaration {
            Declaration::TSImportEqualsDeclaration(it) => it.import_kind.is_value(),
            declaration => !is_type_only(declaration),
        },
        Statement::ExportNamedDeclaration(it) => it.export_kind.is_value() && !it.specifiers.is_empty(),
        Statement::ExportFromDeclaration(it) => it.export_kind.is_value(),
        Statement::ExportAllDeclaration(it) => it.export_kind.is_value(),
        Statement::ExportDefaultDeclaration(_) => true,
        _ => false,
    })
}

/// Whether a program assigns to what CommonJS exports.
pub(crate) fn assigns_exports(program: &Program<'_>) -> bool {
    let source = program.source_text;
    if !source.contains("exports") || depth::tree_too_deep(program).is_some() {
        return false;
    }
    let written = source.match_indices("exports").any(|(at, word)| {
        let rest = source[at + word.len()..].trim_start();
        let is_own = !source[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == '$');
        is_own
            && (rest.starts_with(['.', '['])
                || (rest.starts_with('=') && !rest.starts_with("==") && source[..at].trim_end().ends_with('.')))
    });
    if !written {
        return false;
    }
    let scoping = SemanticBuilder::new().build(program).semantic.into_scoping();
    free_names(program, &scoping).iter().any(|name| matches!(*name, "exports" | "module"))
}
