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
