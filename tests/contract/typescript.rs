//! The contract of a TypeScript program: types go, lines stay.

use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn typescript_runs_as_javascript_does() {
    check_all(
        "typescript",
        &[
            case("types", "interface P { n: number }\nconst p: P = { n: 41 };\n(p.n as number) + 1").gives(json!(42)),
            case(
                "an enum",
                "enum Colour { Red = 1, Green }\nconst enum Size { S = 'small' }\n({ g: Colour.Green, name: Colour[1], s: Size.S })",
            )
            .gives(json!({"g": 2, "name": "Red", "s": "small"})),
            case("a namespace", "namespace Units { export const km = 1000; }\nUnits.km").gives(json!(1000)),
            case(
                "parameter properties",
                "class P { constructor(public readonly x: number, private y = 2) {} sum() { return this.x + this.y } }\nnew P(40).sum()",
            )
            .gives(json!(42)),
            case(
                "generics, satisfies, non-null",
                "const f = <T,>(x: T): T => x;\nconst o = { a: f<number>(1) } satisfies Record<string, number>;\no!.a",
            )
            .gives(json!(1)),
            case("main", "export async function main({ n }: { n: number }): Promise<number> { return n * 2 }")
                .flags(&["--param", "n=21"])
                .gives(json!(42)),
            case(
                "imports of types and values",
                "import type { Stats } from 'node:fs';\nimport { sep } from 'node:path';\nlet s: Stats | null = null;\nexport default sep;",
            )
            .gives(json!("/")),
            case("other files", "import { double } from './lib.ts';\nexport default double(21);")
                .file("lib.ts", "export const double = (n: number): number => n * 2;")
                .gives(json!(42)),
            case("a bare return", "const x: number = 4;\nreturn x;").gives(json!(4)),
            case("top-level await", "const n: number = await Promise.resolve(3);\nn").gives(json!(3)),
            case("logs", "console.warn('w' as string); 0").gives(json!(0)).logs(&[("warn", "w")]),
        ],
    );
}

#[test]
fn typescript_errors_have_the_users_own_lines() {
    check_all(
        "typescript",
        &[
            case("after an interface", "interface A {\n  a: number;\n}\nfunction f(): never {\n  throw new TypeError('bad');\n}\nf();")
                .fails("TypeError", &["main.ts:5:9", "main.ts:7:1"]),
            case(
                "after an enum",
                "enum C {\n  A = 1,\n  B,\n}\nnamespace N { export const x = 1 }\n\nthrow new Error('here ' + C.B + N.x);",
            )
            .fails("Error", &["here 21", "main.ts:7:7"]),
            case("in an ES module with an enum", "import 'node:fs';\nenum E { A }\nexport const x: number = E.A;\nnull!.foo;")
                .fails("TypeError", &["main.ts:4"]),
            case("in another file", "import { f } from './lib.ts';\nf();")
                .file("lib.ts", "type T = string;\n\nexport function f(): T {\n  throw new RangeError('x');\n}")
                .fails("RangeError", &["lib.ts:4:9", "main.ts:2:1"]),
            case("a syntax error", "const a: number = 1;\nconst b: = 2;").fails("SyntaxError", &["main.ts:2"]),
            case("in a timer", "let n: number = 1;\nsetTimeout((): void => {\n  throw new Error('late');\n}, 1);")
                .fails("Error", &["main.ts:3"]),
        ],
    );
}

#[test]
fn taking_types_out_changes_no_meaning() {
    check_all(
        "typescript",
        &[
            case("type parameters after return", "function make() {\n  return <T>\n  (x: T) => x;\n}\nmake()!(8)").gives(json!(8)),
            case("type parameters after async", "const id = async <T>\n(v: T) => v;\nawait id(4)").gives(json!(4)),
            case("type parameters after throw and yield", "function* g() { const f = yield <T>\n(x: T) => x; return f; }\nfunction t() { throw <T>\n(x: T) => x; }\nlet thrown: any; try { t() } catch (e) { thrown = e }\n[typeof g().next().value, typeof thrown]")
                .gives(json!(["function", "function"])),
            case("a return type over lines", "const f = (a: number): {\n  n: number\n} => ({ n: a });\nconst g = (a: number):\n  number => a;\nf(1).n + g(2)").gives(json!(3)),
            case("a cast before a bracket", "let a = 1 as any\n[2, 3].length\nconst c = a satisfies number\n`x`;\n[a, c]").gives(json!([1, 1])),
            case("fields before a computed name", "class A {\n  x: number\n  ['y'] = 2\n  z?: string\n  ['w']() { return 1 }\n  private\n  *gen() {}\n}\nObject.keys(new A())").gives(json!(["x", "y", "z", "private"])),
            case("merged namespaces", "namespace N { export const a = 1 }\nnamespace N { export const b = a + 1; export const c = { a } }\n[N.b, N.c.a]").gives(json!([2, 1])),
            case("variables of a namespace", "namespace N { export let n = 0; export function up() { n++; return n } export var [p, { q }] = [1, { q: 2 }] }\nN.up(); N.n += 10;\n[N.up(), N.n, N.p, N.q]")
                .gives(json!([12, 12, 1, 2])),
            case("nested and dotted namespaces", "namespace A.B { export const x = 1; export namespace C { export const y = x + 1 } }\nnamespace A.B.C { export const z = y + 1 }\n[A.B.x, A.B.C.y, A.B.C.z]").gives(json!([1, 2, 3])),
            case("namespaces over classes, functions and enums", "class K { static s = K.t }\nnamespace K { export const t = 1 }\nfunction f() { return f.n }\nnamespace f { export const n = 2 }\nenum E { A = 3 }\nnamespace E { export function twice() { return A * 2 } }\n[K.t, f(), E.twice()]")
                .gives(json!([1, 2, 6])),
            case("a namespace with a class of its name", "namespace Foo { export class Foo { n = 1 } }\nnew Foo.Foo().n").gives(json!(1)),
            case("a namespace of types is nothing", "namespace T { export interface A { a: 1 } export type B = A }\nconst a: T.A = { a: 1 };\n[a.a, typeof (globalThis as any).T]").gives(json!([1, "undefined"])),
            case("aliases", "namespace N { export const x = { y: 5 }; export namespace M { export const z = 6 } }\nimport M = N.M;\nimport x = N.x;\n[M.z, x.y]").gives(json!([6, 5])),
            case("an exported namespace", "import { N } from './lib';\nexport default N.f() + N.g();")
                .file("lib.ts", "export namespace N { export const f = () => 1 }\nexport namespace N { export const g = () => f() + 1 }")
                .gives(json!(3)),
            case("a default export of an abstract class, imported", "import Base from './base';\nclass A extends Base { get n() { return 4 } }\nexport default new A().twice();")
                .file("base.ts", "export default abstract class Base {\n  abstract get n(): number;\n  twice() { return this.n * 2 }\n}")
                .gives(json!(8)),
            case("merged enums", "enum E { A = 1 }\nenum E { B = A + 1, C = 'x'.length }\n[E.B, E.C, E[2]]").gives(json!([2, 1, "B"])),
            case("lines stay over namespaces", "namespace N {\n  export const a = 1;\n}\n\nthrow new Error('here');").fails("Error", &["main.ts:5:7"]),
        ],
    );
}

#[test]
fn workers_take_typescript() {
    const ASK: &str = "import { Worker } from 'node:worker_threads';\nconst ask = (file: string) => new Promise((resolve, reject) => {\n  const worker = new Worker(new URL(file, import.meta.url));\n  worker.on('message', resolve); worker.on('error', reject);\n});\n";
    let asking =
        |code: &str| -> &'static str { Box::leak(format!("{ASK}{code}").into_boxed_str()) };
    check_all(
        "typescript",
        &[
            case("an enum", asking("export default await ask('./job.ts');"))
                .file("job.ts", "import { parentPort } from 'node:worker_threads';\nenum E { A = 6 }\nparentPort!.postMessage(E.A * 7);")
                .gives(json!(42)),
            case("imports without extensions", asking("export default await ask('./job.ts');"))
                .file("job.ts", "import { parentPort } from 'node:worker_threads';\nimport { n } from './lib';\nparentPort!.postMessage(n);")
                .file("lib.ts", "namespace N { export const n = 3 }\nexport const n: number = N.n;")
                .gives(json!(3)),
            case("CommonJS", asking("export default await ask('./job.cts');"))
                .file("job.cts", "const { parentPort } = require('node:worker_threads');\nclass P { constructor(public n: number) {} }\nparentPort.postMessage(new P(5).n);")
                .gives(json!(5)),
        ],
    );
    check_all(
        "javascript",
        &[
            case("from JavaScript", "const { Worker, isMainThread } = require('worker_threads');\nmodule.exports = new Promise((resolve) => new Worker('./job.ts').on('message', resolve));")
                .file("job.ts", "import { parentPort, workerData } from 'node:worker_threads';\nenum E { A = 9 }\nparentPort!.postMessage(E.A);")
                .gives(json!(9)),
            case("plain workers are what they were", "const { Worker } = require('node:worker_threads');\nnew Promise((resolve) => new Worker('require(\"node:worker_threads\").parentPort.postMessage([process.execArgv.length, __filename])', { eval: true, execArgv: [] }).on('message', resolve))")
                .gives(json!([0, "[worker eval]"])),
        ],
    );
}
