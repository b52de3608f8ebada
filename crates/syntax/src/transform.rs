//! Prints a program again if its syntax needs code: enums, namespaces, parameter properties,
//! decorators, `import x = require()` and JSX. Positions change, so the result has a source map.

use std::borrow::Cow;
use std::path::Path;

use oxc_allocator::Allocator;
use oxc_ast::ast::{FormalParameter, Program, Statement};
use oxc_ast_visit::{Visit, walk};
use oxc_codegen::{Codegen, CodegenOptions};
use oxc_semantic::SemanticBuilder;
use oxc_sourcemap::{SourceMap, Token};
use oxc_span::GetSpan;
use oxc_transformer::{
    DecoratorOptions, HelperLoaderMode, HelperLoaderOptions, JsxOptions, JsxRuntime,
    TransformOptions, Transformer,
};

use crate::completion;
use crate::decorators;
use crate::dialect::ModuleKind;
use crate::edits::Edits;
use crate::error::{PrepareError, first_error};
use crate::fields;
use crate::jsx::{Pragmas, jsx_runtime_of};
use crate::legacy_privates;
use crate::options::{Decorators, Fields, FileRole, Options, UnusedImports};
use crate::prepared::{self, PreparedProgram};
use crate::program::{Parsed, parse};
use crate::syntax::Syntax;

/// The helpers for decorators in printed code: TypeScript's own, under the name that the
/// transformer uses.
const DECORATOR_HELPERS: &str = "var babelHelpers={\
decorate(d,t,k,c){let n=arguments.length,r=n<3?t:c===null?c=Object.getOwnPropertyDescriptor(t,k):c;\
for(let i=d.length-1;i>=0;i--)if(d[i])r=(n<3?d[i](r):n>3?d[i](t,k,r):d[i](t,k))||r;\
if(n>3&&r)Object.defineProperty(t,k,r);return r},\
decorateParam(i,d){return(t,k)=>{d(t,k,i)}},\
decorateMetadata(k,v){if(typeof Reflect.metadata==='function')return Reflect.metadata(k,v)}};";

/// The name in place of the fragment if `@jsxFrag null` removes it, because the transformer only
/// accepts names.
const NULL_FRAGMENT: &str = "__belljar_fragment";

/// Returns the program as plain JavaScript with a source map.
pub(crate) fn transform<'a, 's>(
    allocator: &'a Allocator,
    parsed: Parsed<'a>,
    file_name: &str,
    options: &Options,
) -> Result<PreparedProgram<'s>, (ModuleKind, PrepareError)> {
    let Parsed { mut program, kind, is_async, returns, requires_imports, is_strict } = parsed;
    program.source_type = match kind {
        ModuleKind::CommonJs => program.source_type.with_commonjs(true),
        ModuleKind::Module => program.source_type.with_module(true),
    };
    let pragmas = Pragmas::of(&program);
    let how = transform_options(&program, &pragmas, options);
    // The transformer would read these comments again, and only in their exact spelling.
    program.comments.retain(|comment| {
        !Pragmas::are_in(comment.content_span().source_text(program.source_text))
    });
    let scoping = SemanticBuilder::new()
        .with_excess_capacity(1.0)
        .with_enum_eval(true)
        .build(&program)
        .semantic
        .into_scoping();
    let transformed = Transformer::new(allocator, Path::new(file_name), &how)
        .build_with_scoping(scoping, &mut program);
    if let Some(error) = first_error(&transformed.diagnostics, program.source_text) {
        return Err((kind, error));
    }
    if kind == ModuleKind::CommonJs {
        // This is left if all imports were of types, to keep the file a module. This file is not
        // one.
        let is_empty_export = |statement: &Statement<'_>| match statement {
            Statement::ExportNamedDeclaration(export) => export.specifiers.is_empty(),
            _ => false,
        };
        program.body.retain(|statement| !is_empty_export(statement));
    }
    let printed = Codegen::new()
        .with_options(CodegenOptions {
            source_map_path: Some(file_name.into()),
            ..CodegenOptions::default()
        })
        .build(&program);
    #[expect(deprecated, reason = "no other way tells whether a helper is needed")]
    let needs_helpers = !transformed.helpers_used.is_empty();
    let allocator = Allocator::default();
    let parsed =
        parse(&allocator, &printed.code, Syntax::printed(kind)).map_err(|error| (kind, error))?;
    let parsed = Parsed { kind, is_async, returns, requires_imports, is_strict, ..parsed };
    Ok(finish(&parsed, printed.map, needs_helpers, options))
}

fn transform_options(
    program: &Program<'_>,
    pragmas: &Pragmas<'_>,
    options: &Options,
) -> TransformOptions {
    let is_legacy =
        options.decorators != Decorators::Standard || ParameterDecorators::are_in(program);
    let runtime = jsx_runtime_of(program, pragmas, options);
    let mut how = TransformOptions {
        decorator: DecoratorOptions {
            legacy: is_legacy,
            emit_decorator_metadata: options.decorators == Decorators::LegacyWithMetadata,
            ..DecoratorOptions::default()
        },
        jsx: JsxOptions { runtime, ..JsxOptions::default() },
        helper_loader: HelperLoaderOptions {
            mode: HelperLoaderMode::External,
            ..HelperLoaderOptions::default()
        },
        ..TransformOptions::default()
    };
    how.typescript.only_remove_type_imports = options.unused_imports == UnusedImports::Keep;
    if runtime == JsxRuntime::Automatic {
        how.jsx.import_source =
            pragmas.import_source.map(str::to_owned).or_else(|| options.jsx_import_source.clone());
    } else {
        let factory = pragmas.factory.or(options.jsx_factory.as_deref());
        let fragment = pragmas.fragment.or(options.jsx_fragment_factory.as_deref());
        let fragment =
            fragment.map(|fragment| if fragment == "null" { NULL_FRAGMENT } else { fragment });
        if let Some(factory) = factory {
            how.typescript.jsx_pragma = Cow::Owned(factory.to_owned());
        }
        if let Some(fragment) = fragment {
            how.typescript.jsx_pragma_frag = Cow::Owned(fragment.to_owned());
        }
        how.jsx.pragma = factory.map(str::to_owned);
        how.jsx.pragma_frag = fragment.map(str::to_owned);
    }
    how
}

/// Finds decorators of parameters, which only `experimentalDecorators` has.
#[derive(Default)]
struct ParameterDecorators {
    found: bool,
}

impl ParameterDecorators {
    fn are_in(program: &Program<'_>) -> bool {
        if !program.source_text.contains('@') {
            return false;
        }
        let mut finder = Self::default();
        finder.visit_program(program);
        finder.found
    }
}

impl<'a> Visit<'a> for ParameterDecorators {
    fn visit_formal_parameter(&mut self, it: &FormalParameter<'a>) {
        self.found |= !it.decorators.is_empty();
        walk::walk_formal_parameter(self, it);
    }
}

/// Lowers what the transformer leaves, takes the value, and updates the source map.
fn finish<'s>(
    parsed: &Parsed<'_>,
    map: Option<SourceMap<'_>>,
    needs_helpers: bool,
    options: &Options,
) -> PreparedProgram<'s> {
    let printed = parsed.program.source_text;
    let mut edits = Edits::default();
    // This comes before the value is taken, because a class is the innermost of what ends at its
    // end.
    let has_decorators =
        decorators::may_be_in(printed) && decorators::lower(&parsed.program, &mut edits);
    if options.fields == Fields::Assign {
        fields::assign(&parsed.program, &mut edits);
    }
    if options.role == FileRole::Main {
        completion::take_value(&parsed.program, &mut edits);
    }
    if needs_helpers {
        legacy_privates::enclose(&parsed.program, &mut edits);
    }
    let finished = prepared::finish(parsed, options, &mut edits);
    if let Some(first) = parsed.program.body.first() {
        let start = first.span().start;
        if needs_helpers {
            edits.insert_before(start, DECORATOR_HELPERS);
        }
        if has_decorators {
            edits.insert_before(start, decorators::HELPER);
        }
        if printed.contains(NULL_FRAGMENT) {
            edits.insert_before(start, format!("const {NULL_FRAGMENT}=null;"));
        }
    }
    prepared::make_strict(parsed, &mut edits);
    let map = map.map(|map| moved(map, printed, &edits.insertions()).to_json_string());
    PreparedProgram { map, code: Cow::Owned(edits.apply(printed).into_owned()), ..finished }
}

/// Returns the map of a text after `insertions` (offset, length), none of which contains a line
/// break.
fn moved<'m>(map: SourceMap<'m>, text: &str, insertions: &[(u32, u32)]) -> SourceMap<'m> {
    let mut places = Vec::with_capacity(insertions.len());
    let (mut line, mut line_start, mut at) = (0_u32, 0_usize, 0_usize);
    for &(offset, length) in insertions {
        let offset = offset as usize;
        for newline in text[at..offset]
            .bytes()
            .enumerate()
            .filter(|(_, byte)| *byte == b'\n')
            .map(|(index, _)| at + index)
        {
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
        while let Some((at_line, _, length)) =
            pending.next_if(|(at_line, at_column, _)| (*at_line, *at_column) <= (line, column))
        {
            shift += if at_line == line { length } else { 0 };
        }
        Token::new(
            line,
            column + shift,
            token.get_src_line(),
            token.get_src_col(),
            token.get_source_id(),
            token.get_name_id(),
        )
    });
    parts.tokens = tokens.collect();
    SourceMap::from_parts(parts)
}
