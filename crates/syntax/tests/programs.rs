//! Tests of preparation: the kind of a program, its `main`, the positions of errors, and
//! TypeScript. The prepared programs run in a real Node.

mod node;

use belljar_syntax::ModuleKind::{CommonJs, Module};
use belljar_syntax::{Dialect, PrepareError, prepare};
use node::{prepare_named, run};

#[test]
fn the_kind_of_a_program_is_detected_as_node_does() {
    for (name, source, kind, is_async) in [
        ("a.js", "1", CommonJs, false),
        ("a.js", "", CommonJs, false),
        ("a.mjs", "1", Module, false),
        ("a.cjs", "1", CommonJs, false),
        ("a.js", "import fs from 'fs'", Module, false),
        ("a.js", "/**/ import{a}from'b'", Module, false),
        ("a.js", "export const a = 1", Module, false),
        ("a.js", "console.log(import.meta.url)", Module, false),
        ("a.js", "import('fs')", CommonJs, false),
        ("a.js", "const s = 'import a from b'", CommonJs, false),
        ("a.js", "`\nimport a from 'b'\n`", CommonJs, false),
        ("a.js", "await 1", Module, false),
        ("a.js", "await (1)", Module, false),
        ("a.js", "await [1]", Module, false),
        ("a.js", "for await (const a of []) {}", Module, false),
        ("a.js", "async function f() { await 1 }", CommonJs, false),
        ("a.js", "async () => { await 1 }", CommonJs, false),
        ("a.js", "var await = 1; await (1)", CommonJs, false),
        ("a.js", "const fs = require('fs'); await 1", CommonJs, true),
        ("a.js", "module.exports = await 1", CommonJs, true),
        ("a.js", "await __dirname", CommonJs, true),
        ("a.js", "await ((require) => require)(1)", Module, false),
        ("a.js", "return 1", CommonJs, false),
        ("a.js", "if (a) return await 1", CommonJs, true),
        ("a.cjs", "await 1", CommonJs, true),
        ("a.js", "const require = 1", Module, false),
        ("a.js", "var require = 1", CommonJs, false),
        ("a.js", "function f() { const require = 1 }", CommonJs, false),
        ("a.ts", "import type { A } from 'b'; require('fs')", CommonJs, false),
        ("a.ts", "export type A = 1; require('fs')", CommonJs, false),
        ("a.ts", "import { A } from 'b'", Module, false),
        ("a.ts", "import fs = require('fs')", CommonJs, false),
        ("a.ts", "export = 1", CommonJs, false),
        ("a.ts", "import type { A } from 'b'; enum B { C }", CommonJs, false),
        ("a.ts", "enum B { C }; await 1", Module, false),
        ("a.cts", "1", CommonJs, false),
        ("a.mts", "1", Module, false),
    ] {
        let prepared = prepare_named(name, source);
        assert_eq!(
            (prepared.kind, prepared.is_async, &prepared.error),
            (kind, is_async, &None),
            "{name}: {source}"
        );
    }
}

#[test]
fn what_does_not_parse_is_left_to_v8() {
    for (name, source, kind) in [
        ("a.js", "1 +", CommonJs),
        ("a.js", "import a from 'b'\n1 +", Module),
        ("a.mjs", "1 +", Module),
        ("a.ts", "let a: = 1", CommonJs),
    ] {
        let prepared = prepare_named(name, source);
        assert!(matches!(prepared.error, Some(PrepareError::Syntax { .. })), "{source}");
        assert_eq!((prepared.kind, &*prepared.code), (kind, source));
    }
    let Some(PrepareError::Syntax { line, column, .. }) =
        prepare_named("a.ts", "const é = 1;\nlet b: = 2").error
    else {
        panic!()
    };
    assert_eq!((line, column), (2, 8));
}

#[test]
fn programs_run_and_give_their_value() {
    let programs = [
        ("main.js", "await Promise.resolve(4)", "4"),
        ("main.js", "import { basename } from 'node:path'\nbasename('/a/b')", "'b'"),
        (
            "main.js",
            "const path = require('node:path');\nconst a = await 2;\npath.basename('/a/b') + a",
            "'b2'",
        ),
        ("main.js", "const a = 3; if (a) return a * 2; 5", "6"),
        ("main.js", "return await 7", "7"),
        ("main.js", "#!/usr/bin/env node\n'x' + 1", "'x1'"),
        ("main.mjs", "#!/usr/bin/env node\n'x' + 1", "'x1'"),
        ("main.js", "const require = 5; require", "5"),
        ("main.js", "module.exports = { a: 1 }", "{ a: 1 }"),
        (
            "main.ts",
            "const a: number = 1\nconst b = <T,>(x: T): T => x\nb<number>(a)! as number",
            "1",
        ),
        ("main.ts", "let a = 1 as any\n(2 as any)", "2"),
        ("main.ts", "let f: any = 1 as number\n[3].length", "1"),
        (
            "main.ts",
            "enum Color { Red, Green = 'g' }\n[Color.Red, Color.Green, Color[0]]",
            "[ 0, 'g', 'Red' ]",
        ),
        ("main.ts", "const enum E { A = 1 << 3 }\nE.A", "8"),
        (
            "main.ts",
            "namespace N { export const a = 1; export namespace M { export const b = 2 } }\nN.a + N.M.b",
            "3",
        ),
        (
            "main.ts",
            "class P { constructor(private readonly a: number) {} get v() { return this.a } }\nnew P(4).v",
            "4",
        ),
        ("main.ts", "import path = require('node:path')\npath.basename('/a/b')", "'b'"),
        (
            "main.ts",
            "import { basename, type ParsedPath } from 'node:path'\nconst p = {} as ParsedPath\nbasename('/a/b')",
            "'b'",
        ),
        ("main.ts", "import { Nothing } from 'no-such-package'\nlet a: Nothing\n1", "1"),
        (
            "main.ts",
            "import D, { basename } from 'node:path'\nlet a: typeof D\nbasename('/q')",
            "'q'",
        ),
        (
            "main.ts",
            "import type { A } from 'no-such'; enum B { C = 3 }\nconst os = require('node:os'); B.C",
            "3",
        ),
        ("main.ts", "import { B } from 'no-such'; enum C { D = 3 }\nlet x: B = C.D; x", "3"),
        (
            "main.ts",
            "function d(f: any, c: any) { c.addInitializer(function (this: any) { this.seen = c.name }) }\nclass A { @d m() {} }\n(new A() as any).seen",
            "'m'",
        ),
        (
            "main.ts",
            "const seen: any[] = []\nfunction p(t: any, k: any, i: number) { seen.push(k, i) }\nclass A { m(a: any, @p b: any) {} }\nseen",
            "[ 'm', 1 ]",
        ),
        (
            "main.js",
            "class A { accessor n = 1; static accessor s = 2 }\nconst a = new A(); a.n++; A.s++\n[a.n, A.s, Object.keys(a).length]",
            "[ 2, 3, 0 ]",
        ),
        (
            "main.ts",
            "namespace N { export let n = 1 }\nnamespace N { export function up() { return ++n } }\n[N.up(), N.n]",
            "[ 2, 2 ]",
        ),
        ("main.ts", "function f() {\n  return <T>\n  (x: T) => x\n}\nf()!(8)", "8"),
        ("main.ts", "function d(t: any) { t.seen = 1 }\n@d class A { }\n(A as any).seen", "1"),
        (
            "main.ts",
            "abstract class A { abstract f(): void; private x? = 1; declare y: number; static readonly z: number = 2\npublic ['a']() { return 5 } }\nclass B extends A implements Object { f() {} }\n(new B() as any).a() + A.z",
            "7",
        ),
        (
            "main.ts",
            "function f(this: any, a?: number, b: string = 'q'): a is 1 { return (a + b) as any }\nf(1)",
            "'1q'",
        ),
        (
            "main.ts",
            "function o(a: string): void\nfunction o(a: any) { return a }\no(3 as any)",
            "3",
        ),
        ("main.ts", "const o = { a: 1 } satisfies object\no.a", "1"),
        ("main.ts", "const s = <any>{ a: 1 }\ns.a", "1"),
        ("main.ts", "let t!: string\nt ??= 'é' as string; t", "'é'"),
        ("main.ts", "const e = await 3; enum A { B = 4 }\nexport {}\ne + A.B", "7"),
        ("main.ts", "async function f<T>(x: T): Promise<T> { return x }\nawait f<number>(6)", "6"),
        (
            "main.jsx",
            "const React = { createElement: (...a) => a };\n<a b='c'>{1}</a>",
            "[ 'a', { b: 'c' }, 1 ]",
        ),
        (
            "main.tsx",
            "const React = { createElement: (...a: any[]) => a, Fragment: 0 };\nlet x: number = 1;\n<>{x}</>",
            "[ 0, null, 1 ]",
        ),
    ];
    let answers = run(&programs.map(|(name, source, _)| (name, source)));
    for ((name, source, value), answer) in programs.iter().zip(answers) {
        assert_eq!(
            answer.prepared["value"],
            *value,
            "{name}: {source}\n{}\n{}",
            prepare_named(name, source).code,
            answer.prepared
        );
    }
}

#[test]
fn a_main_is_handed_over() {
    let programs = [
        ("main.js", "function main() { return 1 }", Some("1")),
        ("main.js", "const main = () => 2 // the end", Some("2")),
        ("main.js", "async function main() { return 3 }\n/* the end */", Some("3")),
        ("main.js", "const { main } = { main: () => 4 }", Some("4")),
        ("main.mjs", "function main() { return 5 }", Some("5")),
        ("main.ts", "async function main(a?: number): Promise<number> { return 6 }", Some("6")),
        ("main.ts", "enum E { A = 7 }\nfunction main(): E { return E.A }", Some("7")),
        // The driver finds what is exported.
        ("main.mjs", "export function main() { return 8 }", None),
        ("main.js", "{ function main2() {} } var x = { main() {} }", None),
        ("main.ts", "declare function main(): void;\n1", None),
    ];
    let answers = run(&programs.map(|(name, source, _)| (name, source)));
    for ((name, source, value), answer) in programs.iter().zip(answers) {
        assert_eq!(
            answer.prepared["main"].as_str(),
            *value,
            "{name}: {source}\n{}",
            answer.prepared
        );
        assert_eq!(prepare_named(name, source).has_main, value.is_some());
    }
}

#[test]
fn every_reference_that_starts_a_main_is_found() {
    const DEFINED: &str = "function main() {}\n";
    // Whether it starts its `main`, and whether a guard decides.
    for (source, starts, is_guarded) in [
        ("", false, false),
        ("main()", true, false),
        ("await main()", true, false),
        ("setTimeout(main, 5)", true, false),
        ("init().then(() => main())", true, false),
        ("(async () => { await 1; main() })()", true, false),
        ("const start = () => main(); on('x', start)", true, false),
        ("const start = () => main();", false, false),
        ("function a() { b() } function b() { main() } a()", true, false),
        ("function a() { b() } function b() { main(); a() }", false, false),
        ("class A { static run() { main() } } A.run()", true, false),
        ("class A { run = () => main() } new A().run()", true, false),
        ("class A { run() { main() } }", false, false),
        ("const all = { main, x: 1 }; all[name]()", true, false),
        ("const all = { main, x: 1 }; module.exports = all", false, false),
        ("const again = main; again()", true, false),
        ("const again = main; exports.again = again", false, false),
        ("const app = {}; app.start = main; app.start()", true, false),
        ("let f; f = main; f()", true, false),
        ("handler = () => main(); handler()", true, false),
        ("globalThis.helper = () => main()", false, false),
        ("globalThis.helper = () => main(); helper()", true, false),
        ("globalThis.main = main", false, false),
        ("class A { run = () => main() }", false, false),
        ("main.call(null)", true, false),
        ("run(main.bind(null, 1))", true, false),
        ("const bound = main.bind(null, 1)", false, false),
        ("main.length; typeof main; main.x = 1; main.name", false, false),
        ("console.log(main)", false, false),
        ("const { f = main } = {}; f()", true, false),
        ("for (const f of [main]) f()", true, false),
        ("new Promise(main)", true, false),
        ("main`x`", true, false),
        ("main ? 1 : 2; if (main) {}", false, false),
        ("x && main()", true, false),
        ("(main || other)()", true, false),
        ("exports.main = main", false, false),
        ("module.exports = { main, other: 1 }", false, false),
        ("module.exports = main; module.exports.x = 1", false, false),
        ("module.exports = { run: () => main() }", false, false),
        ("exports.main = main; exports.main()", true, false),
        ("// main()\n'main()'; `main()`", false, false),
        ("{ const main = 1; main.toFixed() }", false, false),
        ("((main) => main())(f)", false, false),
        ("if (require.main === module) main()", false, true),
        ("if (require.main === module) { setTimeout(main) } else { other() }", false, true),
        ("require.main === module && main()", false, true),
        ("const isMain = require.main === module; if (isMain) main()", false, true),
        ("if (!module.parent) { main() }", false, true),
        ("require.main === module ? main() : null", false, true),
        ("if (process.env.RUN) main()", true, false),
        ("if (require.main === module) main(); setTimeout(main)", true, false),
    ] {
        let source = format!("{DEFINED}{source}");
        let prepared = prepare_named("main.js", &source);
        assert_eq!(prepared.error, None, "{source}");
        assert_eq!(
            (prepared.starts_main, prepared.code.contains(".started=")),
            (starts, is_guarded),
            "{source}"
        );
    }
    for (name, source, starts, exported) in [
        ("main.mjs", "export function main() {}", false, false),
        ("main.mjs", "export const main = () => {}; setTimeout(main)", true, false),
        ("main.mjs", "export default function run() {}", false, false),
        ("main.mjs", "export default function run() {}\nrun()", false, true),
        ("main.mjs", "function run() {}\nexport default run;\nrun()", false, true),
        ("main.mjs", "const run = () => {}; export { run as main }; run()", true, false),
        ("main.mjs", "const run = () => {}; export { run as default }", false, false),
        ("main.js", "function sync() {} sync(); module.exports = sync;", false, true),
        ("main.js", "function sync() {} module.exports = sync;", false, false),
        ("main.js", "exports.main = async () => {};", false, false),
        ("main.js", "exports.main = async () => {}; exports.main()", true, false),
        (
            "main.js",
            "module.exports.main = async () => {}; module.exports.main().then(f)",
            true,
            false,
        ),
        ("main.js", "exports.main = async () => {}; exports.main.timeout = 5", false, false),
        ("main.ts", "async function main(): Promise<void> {}\nvoid main() as unknown", true, false),
        (
            "main.ts",
            "enum E { A }\nfunction main(): E { return E.A }\n(main as any)()",
            true,
            false,
        ),
        ("main.ts", "function main() {}\ntype M = typeof main;\nlet m: typeof main", false, false),
        ("main.ts", "function run() {}\nexport = run", false, false),
        ("main.tsx", "function main() {}\nconst x = <a b={main} />", true, false),
    ] {
        let prepared = prepare_named(name, source);
        assert_eq!(prepared.error, None, "{source}");
        assert_eq!(
            (prepared.starts_main, prepared.starts_exported),
            (starts, exported),
            "{name}: {source}"
        );
    }
}

#[test]
fn a_guard_that_is_taken_says_so() {
    for (source, code) in [
        (
            "function main() {} if (require.main === module) main()",
            "if (require.main === module) {__belljar_value.started=true;__belljar_value(main());}",
        ),
        (
            "function main() {} if (module.parent) { main() }",
            "if (module.parent) {__belljar_value.started=true; __belljar_value(main()); }",
        ),
        (
            "function main() {} module.parent || main()",
            "module.parent || (__belljar_value.started=true,main())",
        ),
    ] {
        let prepared = prepare_named("main.js", source);
        assert!(prepared.code.contains(code), "{}", prepared.code);
    }
}

#[test]
fn a_program_that_is_one_function_is_known() {
    for (name, source, is_function) in [
        ("main.js", "async () => 1", true),
        ("main.js", "// a\n(function () {});", true),
        ("main.js", "async function () { return 1 }", true),
        ("main.js", "function (a) { return a }; // b", false),
        ("main.js", "function (a) { return a }\n// b", true),
        ("main.js", "'use strict';\n(a) => a", true),
        ("main.js", "import a from 'a';\n() => a", true),
        ("main.ts", "(async (a: number): Promise<number> => a) as any", true),
        ("main.js", "function f() {}", false),
        ("main.js", "const f = () => 1", false),
        ("main.js", "1; () => 1", false),
        ("main.js", "(() => 1)()", false),
        ("main.js", "(class {})", false),
    ] {
        let prepared = prepare_named(name, source);
        assert_eq!(prepared.is_function, is_function, "{source}: {:?}", prepared.error);
    }
}

#[test]
fn errors_keep_the_place_where_they_were_thrown() {
    let programs = [
        ("main.js", "\n\n  throw new Error('x')", (3, 9)),
        ("main.js", "const a = 1\nnull.f\na", (2, 6)),
        ("main.mjs", "\nif (1) {\n  undefined.f\n}\n", (3, 29)),
        (
            "main.ts",
            "interface A {\n a: 1\n}\nlet é: A = null as any as A;  throw new Error('x')",
            (4, 37),
        ),
        (
            "main.ts",
            "enum A {\n B,\n}\n\n\nfunction f(a: A): void {\n  throw new Error('x')\n}\nf(A.B)",
            (7, 9),
        ),
        ("main.ts", "/* a\n*/ import x = require('node:os')\n\n\nx.nothing.f", (5, 11)),
        ("main.ts", "function d(t: any) {}\n@d class A {}\n\nnull!.f", (4, 7)),
    ];
    let answers = run(&programs.map(|(name, source, _)| (name, source)));
    for ((name, source, (line, column)), answer) in programs.iter().zip(answers) {
        let place = &answer.prepared["place"];
        assert_eq!(
            place["line"],
            *line,
            "{name}: {source}\n{}\n{}",
            prepare_named(name, source).code,
            answer.prepared
        );
        // On the line of the value, columns move by what was put around it.
        assert!(
            prepare_named(name, source).map.is_some() || place["column"] == *column,
            "{name}: {source}\n{place}"
        );
    }
}

#[test]
fn types_alone_leave_every_position_as_it_was() {
    let source = "interface A { é: 1 }\nlet a: A | undefined, b = a as A\n\tfunction f<T>(x?: T): x is T { return !x! }";
    let prepared = prepare(source, "main.ts", Dialect::TypeScript);
    assert_eq!(prepared.map, None);
    assert_eq!(prepared.code.encode_utf16().count(), source.encode_utf16().count());
    let blanked = source
        .chars()
        .zip(prepared.code.chars())
        .all(|(was, is)| was == is || matches!(is, ' ' | ';'));
    assert!(blanked, "{}", prepared.code);
}
