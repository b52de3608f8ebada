//! Errors of the program's code: each has its file, line and column and shows the line, whatever
//! module it is in, and says what to do.

use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn syntax_errors_of_modules_have_their_place() {
    check_all(
        "javascript",
        &[
            case("a template that does not end", "import fs from 'node:fs';\nconst s = `abc")
                .flags(&["--entry", "main.mjs"])
                .fails("SyntaxError", &["main.mjs:2"]),
            case("a brace that is missing", "export function f() {\n  return 1;\n")
                .fails("SyntaxError", &["main.js:3"]),
            case("words in a row", "import 'node:fs';\n\nfoo bar;")
                .fails("SyntaxError", &["main.js:3", "foo bar;"]),
            case("in an imported file", "import './libm.mjs';")
                .file("libm.mjs", "export const a = 1;\nfoo bar;")
                .fails("SyntaxError", &["libm.mjs:2", "foo bar;", "Unexpected identifier 'bar'"]),
            case("in a file that an imported file imports", "import './a.js';")
                .file("a.js", "import './deep/b.js';")
                .file("deep/b.js", "export const b = 1;\n\nlet = = 2;")
                .fails("SyntaxError", &["deep/b.js:3"]),
            case("in a file that is imported later", "await import('./late.mjs');")
                .file("late.mjs", "export const a = 1;\nconst b = {;")
                .fails("SyntaxError", &["late.mjs:2", "const b = {;"]),
            case("in a package", "import broken from 'broken';")
                .file("node_modules/broken/index.mjs", "export default 1;\nif (;")
                .file(
                    "node_modules/broken/package.json",
                    r#"{"name": "broken", "exports": "./index.mjs"}"#,
                )
                .fails("SyntaxError", &["broken/index.mjs:2"]),
            case(
                "a name that is declared twice",
                "import fs from 'node:fs';\nconst a = 1;\nconst fs = 1",
            )
            .fails("SyntaxError", &["main.js:3", "has already been declared"]),
            case("an export of nothing", "const a = 1;\nexport { nope };")
                .fails("SyntaxError", &["main.js:2", "nope"]),
            case("two exports of one name", "export const a = 1;\nexport { a };")
                .fails("SyntaxError", &["main.js:2"]),
            case("an import that is not there", "import { nope } from './a.mjs';")
                .file("a.mjs", "export const a = 1;")
                .fails("SyntaxError", &["main.js:1", "nope"]),
            case(
                "assert",
                "import 'node:fs';\nimport d from './d.json' assert { type: 'json' };\nd",
            )
            .file("d.json", "{}")
            .fails("SyntaxError", &["main.js:2", "assert", "write `with`"]),
            case("in a file that is required", "require('./a.cjs')")
                .file("a.cjs", "\nlet a = ;")
                .fails("SyntaxError", &["a.cjs:2", "let a = ;"]),
            case("in CommonJS", "const a = 1;\nconst b = ;")
                .fails("SyntaxError", &["main.js:2", "const b = ;"]),
            case("in CommonJS that awaits", "const fs = require('fs');\nawait 1;\nconst b = ;")
                .fails("SyntaxError", &["main.js:3"]),
            case(
                "one that is caught is no error",
                "const e = await import('./late.mjs').catch((e) => e);\nexport default e.name;",
            )
            .file("late.mjs", "const b = {;")
            .gives(json!("SyntaxError")),
        ],
    );
}

#[test]
fn syntax_errors_of_typescript_are_in_its_own_words() {
    check_all(
        "typescript",
        &[
            case("in the program", "const a: number = 1;\nlet b: = 3;")
                .fails("SyntaxError", &["main.ts:2", "let b: = 3;", "       ^"]),
            case("in an imported file", "import { a } from './libt';\na")
                .file("libt.ts", "export const a: number = 1;\nlet b: = 3;")
                .fails("SyntaxError", &["libt.ts:2", "let b: = 3;", "       ^"]),
            case("in a file that is required", "require('./libt')")
                .file("libt.ts", "interface A {\n  a: ;\n}")
                .fails("SyntaxError", &["libt.ts:2"]),
            case("in a file that is imported later", "await import('./libt');")
                .file("libt.ts", "type A = ;")
                .fails("SyntaxError", &["libt.ts:1", "type A = ;"]),
            case("in elements", "export default <b>1</c>;")
                .flags(&["--entry", "main.tsx"])
                .fails("SyntaxError", &["main.tsx:1"]),
            case("a name that is declared twice", "const a: number = 1;\nconst a: string = '';")
                .fails("SyntaxError", &["main.ts:2"]),
            case("assert", "import d from './d.json' assert { type: 'json' };\nd")
                .file("d.json", "{}")
                .fails("SyntaxError", &["main.ts:1", "write `with`"]),
        ],
    );
}

#[test]
fn a_program_in_another_language_is_recognised() {
    check_all(
        "javascript",
        &[
            case("TypeScript: a type", "const n: number = 1;\nn")
                .fails("SyntaxError", &["TypeScript", "`typescript`"]),
            case("TypeScript: an interface", "interface A { a: string }\nconst a = {} as A;")
                .fails("SyntaxError", &["TypeScript"]),
            case("TypeScript: an enum in a module", "import 'node:fs';\nenum E { A }")
                .fails("SyntaxError", &["TypeScript", "main.js:2"]),
            case("TypeScript: a generic", "function f<T>(x: T): T { return x; }")
                .fails("SyntaxError", &["TypeScript"]),
            case("TypeScript in an imported file", "import './a.js';")
                .file("a.js", "export type A = string;\nexport const a: A = '';")
                .fails("SyntaxError", &["a.js:1", "TypeScript"]),
            case("Python: a function", "def main():\n    return 1\n")
                .fails("SyntaxError", &["Python", "`python`"]),
            case("Python: imports", "import os, sys\nprint(os.getcwd())")
                .fails("SyntaxError", &["Python"]),
            case("Python: from", "from math import sqrt\nx = sqrt(4)")
                .fails("SyntaxError", &["Python"]),
            case("Python: a loop", "x = [1, 2]\nfor n in x:\n    print(n)")
                .fails("SyntaxError", &["Python"]),
            case("Python: print", "print('hello')").fails("ReferenceError", &["Python"]),
            case("JavaScript with a mistake is JavaScript", "const a = ;")
                .fails("SyntaxError", &["main.js:1"]),
        ],
    );
    check_all(
        "typescript",
        &[case("Python", "def f(x: int) -> int:\n    return x").fails("SyntaxError", &["Python"])],
    );
}

#[test]
fn imports_that_other_tools_know_are_answered_with_the_way_to_write_them() {
    check_all(
        "javascript",
        &[
            case("a version", "import _ from 'lodash@4.17.20';\n_")
                .flags(&["--no-packages"])
                .fails("Error", &["npm:lodash@4.17.20"]),
            case("a version of a scope, with a path", "import _ from '@scope/a@1/b.js';\n_")
                .flags(&["--no-packages"])
                .fails("Error", &["npm:@scope/a@1/b.js"]),
            case("a version, required", "require('left-pad@1.3.0')")
                .flags(&["--no-packages"])
                .fails("Error", &["npm:left-pad@1.3.0"]),
            case("esm.sh", "import _ from 'https://esm.sh/lodash-es@4.17.21';\n_")
                .flags(&["--no-packages"])
                .fails("Error", &["npm:lodash-es@4.17.21"]),
            case(
                "unpkg",
                "const m = await import('https://unpkg.com/@scope/a@2.0.0/dist/x.js');\nm",
            )
            .flags(&["--no-packages"])
            .fails("Error", &["npm:@scope/a@2.0.0"]),
            case("another URL", "import x from 'https://example.com/x.js';\nx")
                .flags(&["--no-packages"])
                .fails("Error", &["npm:NAME@VERSION"]),
            case("jsr:", "import { join } from 'jsr:@std/path@1';\njoin('a')")
                .flags(&["--no-packages"])
                .fails("Error", &["npm:", "JSR"]),
        ],
    );
}
