//! Functions of the module that analyse and prepare JavaScript and TypeScript.

use super::api::{CallbackInfo, Env, Value};
use super::call::{Call, call};

/// Returns the first three arguments: a source, its file name and its dialect.
fn source_argument(call: &Call) -> Option<(String, String, belljar_syntax::Dialect)> {
    let is_typescript = call.text(2)? == "typescript";
    let dialect = if is_typescript {
        belljar_syntax::Dialect::TypeScript
    } else {
        belljar_syntax::Dialect::JavaScript
    };
    Some((call.text(0)?, call.text(1)?, dialect))
}

/// Returns the options of a preparation, the fourth argument, or the defaults if it is missing.
fn options_argument(call: &Call) -> belljar_syntax::Options {
    call.text(3)
        .map_or_else(belljar_syntax::Options::default, |text| belljar_syntax::Options::parse(&text))
}

pub(super) unsafe extern "C" fn prepare(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let Some((source, name, dialect)) = source_argument(call) else {
                return call.throw("prepare() takes source, file name and language");
            };
            let prepared =
                belljar_syntax::prepare_with(&source, &name, dialect, &options_argument(call));
            let object = call.object();
            let kind = if prepared.kind == belljar_syntax::ModuleKind::Module {
                "module"
            } else {
                "commonjs"
            };
            call.set(object, c"kind", call.string(kind.as_bytes()));
            call.set(object, c"code", call.string(prepared.code.as_bytes()));
            if let Some(map) = &prepared.map {
                call.set(object, c"map", call.string(map.as_bytes()));
            }
            call.set(object, c"isAsync", call.boolean(prepared.is_async));
            call.set(object, c"hasMain", call.boolean(prepared.has_main));
            call.set(object, c"needsCommonjs", call.boolean(prepared.needs_commonjs));
            if !prepared.uses.is_empty() {
                call.set(object, c"uses", call.string(prepared.uses_json().as_bytes()));
            }
            call.set(object, c"startsMain", call.boolean(prepared.starts_main));
            call.set(object, c"startsExported", call.boolean(prepared.starts_exported));
            call.set(object, c"isFunction", call.boolean(prepared.is_function));
            if let Some(error) = &prepared.error {
                call.set(object, c"error", call.string(error.to_string().as_bytes()));
            }
            object
        })
    }
}

pub(super) unsafe extern "C" fn find_imports(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let Some((source, name, dialect)) = source_argument(call) else {
                return call.throw("findImports() takes source, file name and language");
            };
            let found =
                belljar_syntax::find_imports_with(&source, &name, dialect, &options_argument(call));
            let Ok(found) = found else { return call.undefined() };
            let imports = found.imports.iter().map(|import| {
                let object = call.object();
                call.set(object, c"name", call.string(import.name.as_bytes()));
                call.set(object, c"isOptional", call.boolean(import.is_optional));
                object
            });
            let object = call.object();
            call.set(object, c"imports", call.array(imports));
            call.set(
                object,
                c"additions",
                call.array(found.additions.iter().map(|addition| call.string(addition.as_bytes()))),
            );
            object
        })
    }
}

pub(super) unsafe extern "C" fn find_mistake(env: Env, info: CallbackInfo) -> Value {
    // SAFETY: Node's own call.
    unsafe {
        call(env, info, |call| {
            let Some((source, name, dialect)) = source_argument(call) else {
                return call.throw("findMistake() takes source, file name and language");
            };
            let Some(mistake) = belljar_syntax::find_mistake(&source, &name, dialect) else {
                return call.undefined();
            };
            let object = call.object();
            call.set(object, c"message", call.string(mistake.message.as_bytes()));
            call.set(object, c"line", call.unsigned(mistake.line));
            call.set(object, c"column", call.unsigned(mistake.column));
            if let Some(language) = mistake.language {
                call.set(object, c"language", call.string(language.as_bytes()));
            }
            object
        })
    }
}
