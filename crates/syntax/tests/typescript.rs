//! TypeScript whose output depends on what a name means: aliases, exports, errors that are about
//! types alone, decorators, elements.

mod node;

use belljar_syntax::ModuleKind::{CommonJs, Module};
use belljar_syntax::{
    Decorators, Dialect, FileRole, JsxMode, Options, PrepareError, UnusedImports, prepare_with,
};
use node::{prepare_named, run, run_with};

/// The value of each program is the last of its triple.
fn give(programs: &[(&str, &str, &str)], options: &Options) {
    let sources: Vec<(&str, &str)> =
        programs.iter().map(|(name, source, _)| (*name, *source)).collect();
    for ((name, source, value), answer) in programs.iter().zip(run_with(&sources, options)) {
        assert_eq!(answer.prepared["value"], *value, "{name}: {source}\n{}", answer.prepared);
    }
}

#[test]
fn an_alias_of_a_value_is_a_variable() {
    let shapes = "namespace Shapes {\n  export const sides = 4;\n  export interface Named { name: string }\n  export namespace Deep { export const pi = 3 }\n}\n";
    let with_shapes = |rest: &str| format!("{shapes}{rest}");
    let programs = [
        (with_shapes("import sides = Shapes.sides;\nsides + 1"), "5"),
        (with_shapes("import Deep = Shapes.Deep;\nimport pi = Deep.pi;\npi"), "3"),
        (with_shapes("import Named = Shapes.Named;\nconst one: Named = { name: 'x' };\none.name"), "'x'"),
        (with_shapes("export import sides = Shapes.sides;\nimport Named = Shapes.Named;\nsides"), "4"),
        ("class Dog { legs = 4 }\nimport Hound = Dog;\nnew Hound().legs".to_owned(), "4"),
        ("enum Level { low = 2 }\nimport Other = Level;\nOther.low".to_owned(), "2"),
        ("declare namespace Lib { interface Box { a: 1 } const made: Box }\nimport Box = Lib.Box;\n6".to_owned(), "6"),
        ("declare namespace A.B { interface Box { a: 1 } }\nimport Box = A.B.Box;\n7".to_owned(), "7"),
        ("interface Plan { a: 1 }\ndeclare namespace Plan { type Step = 1 }\nimport Step = Plan.Step;\n8".to_owned(), "8"),
        ("export const a = 1;\nimport unused = Missing.part;\n9".to_owned(), "9"),
        ("declare namespace Math { const PI: number }\nimport PI = Math.PI;\nMath.floor(PI)".to_owned(), "3"),
    ];
    let programs: Vec<(&str, &str, &str)> =
        programs.iter().map(|(source, value)| ("main.ts", &**source, *value)).collect();
    give(&programs, &Options::default());
    let [answer] = &run(&[("main.ts", "import part = Missing.part;\n1")])[..] else { panic!() };
    assert_eq!(answer.prepared["error"], "ReferenceError: Missing is not defined");
    assert_eq!(answer.prepared["place"]["line"], 1);
}

#[test]
fn aliases_in_a_circle_end() {
    let prepared = prepare_named("main.ts", "import a = b.c;\nimport b = a.d;\nexport { a };");
    assert_eq!(prepared.error, None);
}

#[test]
fn an_alias_is_kept_where_imports_are() {
    let options = Options { unused_imports: UnusedImports::Keep, ..Options::default() };
    let source = "export {};\nnamespace N { export const a = 1 }\nimport a = N.a;";
    assert!(
        prepare_with(source, "main.ts", Dialect::TypeScript, &options).code.contains("a = N.a")
    );
    assert!(!prepare_named("main.ts", source).code.contains("a = N.a"));
}

#[test]
fn an_exported_type_is_nothing() {
    for source in [
        "interface Plan { steps: number }\nexport = Plan;",
        "interface Plan { steps: number }\ninterface Plan { name: string }\nexport = Plan;",
        "type Plan = { steps: number };\nexport = Plan;",
        "import type Plan from './plan';\nexport = Plan;",
        "import { type Plan } from './plan';\nexport = Plan;",
    ] {
        let prepared = prepare_named("main.ts", source);
        assert_eq!((prepared.kind, &prepared.error), (CommonJs, &None), "{source}");
        assert!(!prepared.code.contains("exports"), "{source}: {}", prepared.code);
    }
    let two = "const first = 1, second = 2;\nexport = first;\nexport = second;";
    let code = prepare_named("main.ts", two).code.into_owned();
    assert!(
        code.contains("module.exports = first") && !code.contains("exports = second"),
        "{code}"
    );
}

#[test]
fn a_declared_value_is_exported() {
    let exported = [
        "declare const process: any;\nexport default process;",
        "interface Process { a: 1 }\ndeclare const process: Process;\nexport default process;",
        "declare function parseInt(text: string): number;\nexport default parseInt;",
        "declare class Map {}\nexport default Map;",
    ];
    for source in exported {
        let prepared = prepare_named("main.ts", source);
        let name = source.rsplit(' ').next().expect("a name").trim_end_matches(';');
        assert_eq!((prepared.kind, &prepared.error), (Module, &None), "{source}");
        assert!(
            prepared.code.contains(&format!("export default {name}")),
            "{source}: {}",
            prepared.code
        );
    }
    let [of_nothing, of_type, both] = &run(&[
        ("main.ts", "declare const nowhere: number;\nexport { nowhere };\n1"),
        ("main.ts", "interface Plan { a: 1 }\nexport { Plan };\n2"),
        (
            "main.ts",
            "declare function twice(a: number): number;\nfunction twice(a: any) { return a * 2 }\nexport { twice };\ntwice(2)",
        ),
    ])[..] else {
        panic!()
    };
    // Exporting a name that nothing declares is an error of the module, and it is not hidden.
    assert_eq!(
        of_nothing.prepared["error"],
        "SyntaxError: Export 'nowhere' is not defined in module"
    );
    assert_eq!(of_type.prepared["value"], "2");
    assert_eq!(both.prepared["value"], "4");
}

#[test]
fn errors_about_types_do_not_keep_a_program_from_running() {
    let programs = [
        (
            "main.ts",
            "function sum(a?: number, b: number) { return (a ?? 1) + b }\nsum(undefined, 2)",
            "3",
        ),
        ("main.ts", "function inc(a?: number = 4) { return a + 1 }\ninc()", "5"),
        (
            "main.ts",
            "function show(public a: number, private readonly b = 2) { return a + b }\nshow(1)",
            "3",
        ),
        ("main.ts", "const f = (protected a: number) => a * 2;\nf(4)", "8"),
        (
            "main.ts",
            "class A { m(private a: number) { return Object.keys(this).length + a } }\nnew A().m(3)",
            "3",
        ),
        (
            "main.ts",
            "class A { constructor(private a: number) {} }\nObject.keys(new A(1))",
            "[ 'a' ]",
        ),
        ("main.ts", "class string { size = 6 }\nnew string().size", "6"),
        (
            "main.ts",
            "interface number { a: 1 }\ntype Pair = [first: string?, ...rest: number[]?];\n7",
            "7",
        ),
        (
            "main.ts",
            "interface Hidden { #secret: string; #run(): void }\nlet x: { #b: 1 };\n8",
            "8",
        ),
        ("main.ts", "import type { type Stats } from 'node:fs';\n9", "9"),
        ("main.ts", "import type { Stats } from 'node:fs' assert { type: 'json' };\n10", "10"),
        (
            "main.ts",
            "import data from './data.json' assert { type: 'json' };\nlet a: typeof data;\n10.5",
            "10.5",
        ),
        ("main.ts", "declare namespace N { let a = 1; function f() { return 1 } }\n11", "11"),
        ("main.ts", "type Rows = readonly Array<string>;\n12", "12"),
    ];
    give(&programs, &Options::default());
}

#[test]
fn errors_about_values_still_do() {
    for source in [
        "let a: = 1",
        "const o = { #a: 1 }",
        "function f(a?: number, b: number) { return { #a: 1 } }",
        "class A { constructor(public { a }: any) {} }",
        "import data from './data.json' assert { type: 'json' };\ndata",
        "declare const a: number;\nlet b = class { const c = 1 };",
    ] {
        assert!(
            matches!(prepare_named("main.ts", source).error, Some(PrepareError::Syntax { .. })),
            "{source}"
        );
    }
}

/// Errors of JavaScript's syntax are errors of TypeScript, too.
#[test]
fn javascript_has_no_types_to_be_wrong() {
    for source in ["function f(public a) {}", "class A { m(private a) {} }"] {
        assert!(prepare_named("main.js", source).error.is_some(), "{source}");
    }
}

#[test]
fn commonjs_in_the_syntax_of_typescript_is_strict() {
    let this = "(function (this: unknown) { return this === undefined })()";
    let programs = [
        format!("import path = require('node:path');\npath.basename('/a/b') + {this}"),
        format!("import path = require('node:path');\nenum A {{ b }}\n'b' + {this}"),
        format!(
            "import {{ basename }} from 'node:path';\nconst name = basename('/a/b') + {this};\nexport = name;\nname"
        ),
    ];
    let programs: Vec<(&str, &str, &str)> =
        programs.iter().map(|source| ("main.ts", &**source, "'btrue'")).collect();
    give(&programs, &Options::default());
    let sloppy = [(
        "main.ts",
        "const n: number = 1;\n(function (this: unknown) { return this === undefined })()",
        "false",
    )];
    give(&sloppy, &Options::default());
}

#[test]
fn a_file_that_says_it_is_commonjs_has_no_words_of_modules_left() {
    let sources = [
        ("main.cts", "export {};\n1", "1"),
        ("main.cts", "import { basename } from 'node:path';\nexport {};\nbasename('/a/b')", "'b'"),
        ("main.cts", "import { basename } from 'node:path';\n3", "3"),
    ];
    for unused_imports in [UnusedImports::Drop, UnusedImports::Keep] {
        let options = Options { unused_imports, ..Options::default() };
        assert_eq!(
            prepare_with("export {};\n1", "main.cts", Dialect::TypeScript, &options).kind,
            CommonJs
        );
        give(&sources, &options);
    }
    let kept = Options { unused_imports: UnusedImports::Keep, ..Options::default() };
    let code = prepare_with(sources[2].1, "main.cts", Dialect::TypeScript, &kept).code.into_owned();
    assert!(code.contains("require(\"node:path\")"), "{code}");
}

const RECORD: &str = "const seen: string[] = [];\nfunction note(...args: any[]) { return (_: any, key: any) => { seen.push(String(key)) } }\n";

#[test]
fn legacy_decorators_see_declared_fields() {
    let source = format!(
        "{RECORD}class Row {{ @note() declare id: number; @note() declare name: string; plain = 1 }}\n[seen, Object.keys(new Row())]"
    );
    let options = Options { decorators: Decorators::Legacy, ..Options::default() };
    give(&[("main.ts", &source, "[ [ 'id', 'name' ], [ 'plain' ] ]")], &options);
}

#[test]
fn legacy_decorators_may_name_private_members() {
    let take = "let read: any;\nfunction keep(f: any) { return (..._: any[]) => { read = f } }\n";
    let programs = [
        format!(
            "{take}class Safe {{\n  #code = 42;\n  @keep((one: Safe) => one.#code)\n  open() {{}}\n}}\nread(new Safe())"
        ),
        format!(
            "{take}class Safe {{\n  #code = 42;\n  open(@keep((one: Safe) => one.#code) _a: number) {{}}\n}}\nread(new Safe())"
        ),
        format!(
            "{take}export class Safe {{\n  #code = 42;\n  @keep((one: Safe) => #code in one && one.#code)\n  open() {{}}\n}}\nread(new Safe())"
        ),
        format!(
            "{take}const mark = (c: any) => c;\n@mark\nclass Safe {{\n  #code = 42;\n  @keep((one: Safe) => one.#code)\n  open() {{}}\n}}\nread(new Safe())"
        ),
        format!(
            "{take}function make() {{\n  class Safe {{\n    #code = 42;\n    @keep((one: Safe) => one.#code)\n    open() {{}}\n  }}\n  return new Safe();\n}}\nconst made = make();\nread(made)"
        ),
    ];
    let programs: Vec<(&str, &str, &str)> =
        programs.iter().map(|source| ("main.ts", &**source, "42")).collect();
    give(&programs, &Options { decorators: Decorators::Legacy, ..Options::default() });
}

const ELEMENTS: &str =
    "const h = (type: any, props: any, ...children: any[]) => [type, ...children];\n";

#[test]
fn pragmas_are_read_in_capitals_and_small_letters() {
    let programs = [
        format!("/** @jsx h\n * @jsxfrag null */\n{ELEMENTS}<><b /></>"),
        format!("/* @jsx h */\n/* @JSXFrag null */\n{ELEMENTS}<><b /></>"),
        format!("/** @JSX h @jsxFrag null */\n{ELEMENTS}<><b /></>"),
    ];
    let programs: Vec<(&str, &str, &str)> =
        programs.iter().map(|source| ("main.tsx", &**source, "[ null, [ 'b' ] ]")).collect();
    for jsx in [JsxMode::Unset, JsxMode::Automatic, JsxMode::Classic] {
        give(&programs, &Options { jsx, ..Options::default() });
    }
}

#[test]
fn a_pragma_names_the_runtime() {
    let code = |source: &str, jsx| {
        let options = Options { jsx, role: FileRole::Imported, ..Options::default() };
        prepare_with(source, "a.tsx", Dialect::TypeScript, &options).code.into_owned()
    };
    assert!(
        code("/** @jsxImportSource preact */\nexport const a = <b />;", JsxMode::Classic)
            .contains("preact/jsx-runtime")
    );
    assert!(
        code("/** @jsxRuntime classic */\nexport const a = <b />;", JsxMode::Automatic)
            .contains("React.createElement")
    );
    assert!(
        code("/** @jsxRuntime automatic */\nexport const a = <b />;", JsxMode::Classic)
            .contains("react/jsx-runtime")
    );
    assert!(
        code("export const a = <b c={(1, 2)} />;", JsxMode::Classic)
            .contains("React.createElement")
    );
}

#[test]
fn the_last_of_the_values_in_an_attribute_counts() {
    let source = "/** @jsx h */\nconst h = (_: any, props: any) => props.a;\n<b a={1, 2} />";
    give(&[("main.tsx", source, "2")], &Options::default());
}

#[test]
fn what_only_elements_refer_to_is_required() {
    let options = |jsx| Options { jsx, role: FileRole::Imported, ..Options::default() };
    let code = |source: &str, jsx| {
        prepare_with(source, "a.tsx", Dialect::TypeScript, &options(jsx)).code.into_owned()
    };
    let react = "import React = require('react');\nmodule.exports = () => <b />;";
    for jsx in [JsxMode::Unset, JsxMode::Classic] {
        assert!(
            code(react, jsx).contains("const React = require(\"react\")"),
            "{}",
            code(react, jsx)
        );
    }
    assert!(!code(react, JsxMode::Automatic).contains("require(\"react\")"));
    let other = "/** @jsx dom.h */\nimport dom = require('dom');\nimport gone = require('gone');\nmodule.exports = () => <b />;";
    assert!(code(other, JsxMode::Unset).contains("const dom = require(\"dom\")"));
    assert!(!code(other, JsxMode::Unset).contains("gone"));
    let without = "import React = require('react');\nmodule.exports = (a: React.Node) => a;";
    assert!(!code(without, JsxMode::Classic).contains("require(\"react\")"));
}
