//! Prints a program anew where its syntax needs code: enums, namespaces, parameter properties, decorators, `import x = require()`
//! and JSX. Positions change, so a source map comes with it.

use std::borrow::Cow;
use std::path::Path;

use oxc_allocator::Allocator;
use oxc_ast::ast::Statement;
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_semantic::SemanticBuilder;
use oxc_sourcemap::{SourceMap, Token};
use oxc_span::GetSpan;
use oxc_transformer::{DecoratorOptions, HelperLoaderMode, HelperLoaderOptions, JsxOptions, JsxRuntime, TransformOptions, Transformer};

use crate::edits::Edits;
use crate::program::{Parsed, Syntax, first_error, parse};
use crate::{Entry, ModuleKind, PrepareError, Prepared, completion};

/// What the printed code calls for decorators: TypeScript's own helpers, under the name the transformer gives them.
const DECORATOR_HELPERS: &str = "var babelHelpers={\
decorate(d,t,k,c){let n=arguments.length,r=n<3?t:c===null?c=Object.getOwnPropertyDescriptor(t,k):c;\
for(let i=d.length-1;i>=0;i--)if(d[i])r=(n<3?d[i](r):n>3?d[i](t,k,r):d[i](t,k))||r;\
if(n>3&&r)Object.defineProperty(t,k,r);return r},\
decorateParam(i,d){return(t,k)=>d(t,k,i)},\
decorateMetadata(k,v){if(typeof Reflect.metadata==='function')return Reflect.metadata(k,v)}};";

/// The program as plain JavaScript, with a source map.
pub(crate) fn transform<'a, 's>(
    allocator: &'a Allocator,
    parsed: Parsed<'a>,
    file_name: &str,
) -> Result<Prepared<'s>, (ModuleKind, PrepareError)> {
    let Parsed { mut program, kind, is_async } = parsed;
    program.source_type = match kind {
        ModuleKind::CommonJs => program.source_type.with_commonjs(true),
        ModuleKind::Module => program.source_type.with_module(true),
    };
    let scoping = SemanticBuilder::new().with_excess_capacity(1.0).with_enum_eval(true).build(&program).semantic.into_scoping();
    let transformed = Transformer::new(allocator, Path::new(file_name), &options()).build_with_scoping(scoping, &mut program);
    if let Some(error) = first_error(&transformed.diagnostics, program.source_text) {
        return Err((kind, error));
    }
    if kind == ModuleKind::CommonJs {
        // Left behind where all imports were of types, to keep a module one. This is none.
        program.body.retain(|statement| !matches!(statement, Statement::ExportNamedDeclaration(export) if export.specifiers.is_empty()));
    }
    let printed = Codegen::new()
        .with_options(CodegenOptions { source_map_path: Some(file_name.into()), ..CodegenOptions::default() })
        .build(&program);
    #[expect(deprecated, reason = "no other way tells whether a helper is needed")]
    let needs_helpers = !transformed.helpers_used.is_empty();
    finish(&printed.code, printed.map, kind, is_async, needs_helpers).map_err(|error| (kind, error))
}

fn options() -> TransformOptions {
    TransformOptions {
        decorator: DecoratorOptions { legacy: true, ..DecoratorOptions::default() },
        // As TypeScript does by default: `React.createElement`, and nothing imported.
        jsx: JsxOptions { runtime: JsxRuntime::Classic, ..JsxOptions::default() },
        helper_loader: HelperLoaderOptions { mode: HelperLoaderMode::External, ..HelperLoaderOptions::default() },
        ..TransformOptions::default()
    }
}

/// Takes the value of the printed program, and moves what the map says of the lines that this changes.
fn finish<'s>(
    printed: &str,
    map: Option<SourceMap<'_>>,
    kind: ModuleKind,
    is_async: bool,
    needs_helpers: bool,
) -> Result<Prepared<'s>, PrepareError> {
    let allocator = Allocator::default();
    let parsed = Parsed { kind, is_async, ..parse(&allocator, printed, Syntax::printed(kind))? };
    let mut edits = Edits::default();
    completion::take_value(&parsed.program, &mut edits);
    if needs_helpers && let Some(first) = parsed.program.body.first() {
        edits.insert_before(first.span().start, DECORATOR_HELPERS);
    }
    let entry = Entry::of(&parsed, &mut edits);
    if let (ModuleKind::CommonJs, Some(hashbang)) = (kind, &parsed.program.hashbang) {
        edits.replace(hashbang.span.start, hashbang.span.start + 2, "//");
    }
    let map = map.map(|map| moved(map, printed, &edits.insertions()).to_json_string());
    let code = Cow::Owned(edits.apply(printed).into_owned());
    Ok(Prepared { map, ..entry.prepared(kind, code, is_async) })
}

/// The map of a text into which `insertions` (offset, length) are made, none of which spans lines.
fn moved<'m>(map: SourceMap<'m>, text: &str, insertions: &[(u32, u32)]) -> SourceMap<'m> {
    let mut places = Vec::with_capacity(insertions.len());
    let (mut line, mut line_start, mut at) = (0_u32, 0_usize, 0_usize);
    for &(offset, length) in insertions {
        let offset = offset as usize;
        for newline in text[at..offset].bytes().enumerate().filter(|(_, byte)| *byte == b'\n').map(|(index, _)| at + index) {
            line += 1;
            line_start = newline + 1;
        }
        at = offset;
        places.push((line, text[line_start..offset].encode_utf16().count() as u32, length));
    }
    let mut parts = map.into_parts();
    let mut pending = places.into_iter().peekable();
    let (mut on_line, mut shift) = (0, 0);
    let tokens = parts.tokens.iter().map(|token| {
        let (line, column) = (token.get_dst_line(), token.get_dst_col());
        if line != on_line {
            (on_line, shift) = (line, 0);
        }
        while let Some((at_line, _, length)) = pending.next_if(|(at_line, at_column, _)| (*at_line, *at_column) <= (line, column)) {
            shift += if at_line == line { length } else { 0 };
        }
        Token::new(line, column + shift, token.get_src_line(), token.get_src_col(), token.get_source_id(), token.get_name_id())
    });
    parts.tokens = tokens.collect();
    SourceMap::from_parts(parts)
}
