//! Modules as tsc, tsx, Bun and bundlers have taught people to write them.

use serde_json::json;

use crate::case::{Case, case, check_all};

#[test]
fn a_module_may_use_the_names_of_commonjs() {
    let cases = || {
        vec![
            case("require", "import path from 'node:path';\nconst os = require('node:os');\npath.basename('/a/b.txt') + ':' + typeof os.cpus")
                .gives(json!("b.txt:function")),
            case("__dirname and __filename", "import fs from 'node:fs';\n[__dirname, __filename.replace(/.ts$/, '.js'), fs.existsSync(__filename)]")
                .gives(json!(["/home/user", "/home/user/main.js", true])),
            case("module.exports", "import { sep } from 'node:path';\nmodule.exports = { sep };").gives(json!({"sep": "/"})),
            case("exports", "import { sep } from 'node:path';\nexports.sep = sep; exports.n = 2;").gives(json!({"sep": "/", "n": 2})),
            case("an exported main", "import { sep } from 'node:path';\nmodule.exports.main = async ({ n }) => sep + n;")
                .flags(&["--param", "n=4"])
                .gives(json!("/4")),
            case("a guard", "import 'node:fs';\nasync function main() { console.log('once'); }\nif (require.main === module) main();")
                .logs(&[("info", "once")]),
            case("require of a file", "import 'node:fs';\nconst { n } = require('./lib.cjs');\nn * 2")
                .file("lib.cjs", "exports.n = 21;")
                .gives(json!(42)),
            case("require.resolve, require.cache", "import 'node:fs';\n[require.resolve('fs'), typeof require.cache]").gives(json!(["fs", "object"])),
            case("in a function", "import 'node:fs';\nexport function main() { return require('node:path').sep + __dirname; }")
                .gives(json!("//home/user")),
            case("next to an export", "export const a = 1;\nexport default require('node:path').sep;").gives(json!("/")),
            case("names of its own stay", "import { createRequire } from 'node:module';\nconst require = createRequire(import.meta.url);\nconst __dirname = 'mine';\n[__dirname, require('node:path').sep]")
                .gives(json!(["mine", "/"])),
            case("a type that is asked for stays undefined", "import 'node:fs';\n[typeof require, typeof module, typeof __dirname]")
                .gives(json!(["undefined", "undefined", "undefined"])),
        ]
    };
    check_all("javascript", &cases());
    check_all("typescript", &cases());
}

#[test]
fn a_module_may_return() {
    let cases = || {
        vec![
            case("a value", "import { sep } from 'node:path';\nconst n = [sep, sep, sep].length;\nreturn n;").gives(json!(3)),
            case("in a branch", "import { sep } from 'node:path';\nif (sep === '/') {\n  return 'unix';\n}\n'other'").gives(json!("unix")),
            case(
                "after an await",
                "import { readFile } from 'node:fs/promises';\nconst text = await readFile(__filename, 'utf8');\nreturn text.length > 10;",
            )
            .gives(json!(true)),
            case("before an import", "const early = sep;\nimport { sep } from 'node:path';\nreturn early;").gives(json!("/")),
            case(
                "next to an export",
                "import { sep } from 'node:path';\nexport const a = 1;\nexport function f() { return sep; }\nreturn f() + a;",
            )
            .gives(json!("/1")),
            case("next to a main", "import 'node:fs';\nfunction main() { return 'main'; }\nif (false) return 1;").gives(json!("main")),
            case("a promise", "import 'node:fs';\nreturn Promise.resolve({ a: 1 });").gives(json!({"a": 1})),
            case("nothing", "import 'node:fs';\nconsole.log('a');\nreturn;\nconsole.log('b');").logs(&[("info", "a")]),
        ]
    };
    check_all("javascript", &cases());
    check_all("typescript", &cases());
    check_all(
        "typescript",
        &[
            case("types", "import type { Stats } from 'node:fs';\nimport { sep } from 'node:path';\ninterface A { s: string }\nconst a: A = { s: sep };\nreturn a;")
                .gives(json!({"s": "/"})),
            case("an enum", "import { sep } from 'node:path';\nenum E { A = 2 }\nreturn sep + E.A;").gives(json!("/2")),
            case("errors keep their lines", "import 'node:fs';\nconst a: number = 1;\nif (a) {\n  throw new Error('bad');\n}\nreturn 1;")
                .fails("Error", &["main.ts:4:9"]),
        ],
    );
}

#[test]
fn imported_files_may_use_the_names_of_commonjs() {
    check_all(
        "typescript",
        &[
            case("require and __dirname", "import { where } from './lib';\nexport default where;")
                .file(
                    "lib.ts",
                    "import { sep } from 'node:path';\nexport const where: string = __dirname + sep + require('node:os').EOL.length;",
                )
                .gives(json!("/home/user/1")),
            case("module.exports", "import lib from './lib';\nexport default lib.a + lib.b();")
                .file("lib.ts", "import { sep } from 'node:path';\nconst a: string = sep;\nmodule.exports = { a, b: () => 'b' };")
                .gives(json!("/b")),
            case("exports, by name", "import { a, b } from './lib';\nexport default a + b;")
                .file(
                    "lib.ts",
                    "import path, { sep as separator } from 'node:path';\nexports.a = separator; exports.b = path.basename('/x/y');",
                )
                .gives(json!("/y")),
            case("export =", "import lib = require('./lib');\nexport default lib(20);")
                .file("lib.ts", "import { sep } from 'node:path';\nfunction twice(n: number) { return n * 2 + sep; }\nexport = twice;")
                .gives(json!("40/")),
            case("a guard that is not taken", "import { n } from './lib';\nexport default n;")
                .file("lib.ts", "export const n = 3;\nif (require.main === module) console.log('run by itself');")
                .gives(json!(3))
                .logs(&[]),
        ],
    );
    check_all(
        "javascript",
        &[case("JavaScript too", "import { where } from './lib.js';\nexport default where;")
            .file(
                "lib.js",
                "import { sep } from 'node:path';\nexport const where = __dirname + sep;",
            )
            .gives(json!("/home/user/"))],
    );
}

/// A package whose names Node's lexer does not find.
const DYNAMIC: &str = "const api = {};\nfor (const name of ['chunk', 'sum']) api[name] = (...a) => name + a.length;\nmodule.exports = api;";
/// A package that is a function.
const CALLABLE: &str = "function moment(x) { return 'moment ' + x; }\nmoment.utc = () => 'utc';\nmodule.exports = moment;";
/// A package that was compiled from a module.
const COMPILED: &str = "Object.defineProperty(exports, '__esModule', { value: true });\nexports.default = (x) => 'default ' + x;\nexports.named = 'named';";
/// An ES module whose default is what people want.
const CHALK: &str = "const chalk = (x) => 'chalk ' + x;\nchalk.blue = (x) => `blue ${x}`;\nexport default chalk;\nexport const modifiers = ['bold'];";

fn with_packages(case: Case) -> Case {
    case.file("node_modules/dynamic/index.js", DYNAMIC)
        .file("node_modules/callable/index.js", CALLABLE)
        .file("node_modules/compiled/index.js", COMPILED)
        .file(
            "node_modules/chalky/package.json",
            r#"{"name": "chalky", "type": "module", "main": "index.js"}"#,
        )
        .file("node_modules/chalky/index.js", CHALK)
        .file("node_modules/plugins/index.js", "module.exports = 'plugins';")
        .file("node_modules/plugins/plugin/utc.js", "module.exports = () => 'utc';")
        .file("node_modules/plugins/folder/index.js", "module.exports = 'folder';")
}

#[test]
fn packages_of_commonjs_are_imported_as_compilers_do() {
    let cases = || {
        [
            case("by name", "import { chunk, sum as total } from 'dynamic';\nexport default chunk(1, 2) + total();").gives(json!("chunk2sum0")),
            case("as a namespace", "import * as _ from 'dynamic';\nexport default _.chunk(1) + typeof _.nothing;").gives(json!("chunk1undefined")),
            case("as a namespace that is called", "import * as moment from 'callable';\nexport default moment(1) + moment.utc();")
                .gives(json!("moment 1utc")),
            case("by default", "import _, { sum } from 'dynamic';\nexport default _.chunk() + sum();").gives(json!("chunk0sum0")),
            case("a compiled default that is called", "import hello from 'compiled';\nexport default hello(1);").gives(json!("default 1")),
            case("a compiled default as Node has it", "import hello from 'compiled';\nexport default hello.default(1) + hello.named;")
                .gives(json!("default 1named")),
            case("re-exported", "import { chunk } from './again.mjs';\nexport default chunk();")
                .file("again.mjs", "export { chunk } from 'dynamic';")
                .gives(json!("chunk0")),
            case("dynamically", "const { chunk } = await import('dynamic');\nconst all = await import('dynamic');\nexport default chunk() + all.sum(1);")
                .gives(json!("chunk0sum1")),
            case("a name that is not there", "import { nope } from 'dynamic';\nexport default nope;").fails("SyntaxError", &["nope"]),
            case("in the order of the imports", "import './first.mjs';\nimport { chunk } from 'dynamic';\nimport { order } from 'ordered';\nexport default chunk() + order;")
                .file("first.mjs", "globalThis.before = 'first';")
                .file("node_modules/ordered/index.js", "module.exports = Object.fromEntries([['order', globalThis.before]]);")
                .gives(json!("chunk0first")),
        ]
        .map(with_packages)
    };
    check_all("javascript", &cases());
    check_all("typescript", &cases());
}

#[test]
fn a_module_whose_default_is_meant_is_required_so() {
    let cases = || {
        [
            case("a member of the default", "const chalk = require('chalky');\nmodule.exports = chalk.blue('x');").gives(json!("blue x")),
            case("called", "const chalk = require('chalky');\nmodule.exports = chalk('x');").gives(json!("chalk x")),
            case("at once", "module.exports = require('chalky').blue(1) + require('chalky')(2);").gives(json!("blue 1chalk 2")),
            case("taken apart", "const { blue } = require('chalky');\nmodule.exports = blue('y');").gives(json!("blue y")),
            case("Node's own meaning", "const chalk = require('chalky');\nmodule.exports = chalk.default.blue('z') + chalk.modifiers;")
                .gives(json!("blue zbold")),
            case("names of the module", "const { modifiers } = require('chalky');\nmodule.exports = modifiers;").gives(json!(["bold"])),
            case("from a file", "module.exports = require('./lib.cjs')('x');")
                .file("lib.cjs", "const chalk = require('chalky');\nmodule.exports = (x) => chalk.blue(x);")
                .gives(json!("blue x")),
        ]
        .map(with_packages)
    };
    check_all("javascript", &cases());
    check_all("typescript", &cases());
}

#[test]
fn files_are_found_without_their_extensions() {
    check_all(
        "javascript",
        &[
            case("a file of a package", "import utc from 'plugins/plugin/utc';\nexport default utc();").gives(json!("utc")),
            case("a folder of a package", "import folder from 'plugins/folder';\nexport default folder;").gives(json!("folder")),
            case("b.js", "import { b } from './b';\nexport default b;").file("b.js", "export const b = 1;").gives(json!(1)),
            case("lib/index.js", "import { b } from './lib';\nexport default b;")
                .file("lib/index.js", "export const b = 2;")
                .gives(json!(2)),
            case("b.mjs", "export { b as default } from './b';").file("b.mjs", "export const b = 3;").gives(json!(3)),
            case("a folder with a main", "import { b } from './lib';\nexport default b;")
                .file("lib/package.json", r#"{"main": "src/start.js"}"#)
                .file("lib/src/start.js", "export const b = 4;")
                .gives(json!(4)),
            case("dynamically", "const { b } = await import('./b');\nexport default b;").file("b.js", "exports.b = 5;").gives(json!(5)),
            case("TypeScript", "import { b } from './b';\nexport default b;").file("b.ts", "export const b: number = 6;").gives(json!(6)),
            case("TypeScript, required", "module.exports = require('./b').b;").file("b.ts", "export const b: number = 7;").gives(json!(7)),
            case("JSON", "import config from './config.json';\nimport { n } from './config.json';\nexport default config.n + n;")
                .file("config.json", r#"{"n": 4, "a-b": 1}"#)
                .gives(json!(8)),
            case("JSON, as Node has it", "import config from './config.json' with { type: 'json' };\nexport default config.n;")
                .file("config.json", r#"{"n": 9}"#)
                .gives(json!(9)),
            case("nothing of that name", "import { b } from './nothing';\nexport default b;").fails("Error", &["nothing"]),
        ]
        .map(with_packages),
    );
    check_all(
        "typescript",
        &[
            case("b.js", "import { b } from './b';\nexport default b;")
                .file("b.js", "export const b = 1;")
                .gives(json!(1)),
            case("b.tsx", "import { b } from './b';\nexport default b;")
                .file("b.tsx", "export const b: number = 2;")
                .gives(json!(2)),
            case("b.mts", "import { b } from './b';\nexport default b;")
                .file("b.mts", "export const b: number = 3;")
                .gives(json!(3)),
            case(
                "b.cts with exports",
                "import { b } from './b.cjs';\nexport default b + require('./b.cts').b;",
            )
            .file("b.cts", "import { sep } from 'node:path';\nexport const b: string = sep;")
            .gives(json!("//")),
            case("b.cts", "import { b } from './b';\nexport default b;")
                .file("b.cts", "exports.b = 4 as number;")
                .gives(json!(4)),
            case("./b.js for b.ts", "import { b } from './b.js';\nexport default b;")
                .file("b.ts", "export const b: number = 5;")
                .gives(json!(5)),
            case("./b.jsx for b.tsx", "import { b } from './b.jsx';\nexport default b;")
                .file("b.tsx", "export const b: number = 6;")
                .gives(json!(6)),
            case("./b.mjs for b.mts", "import { b } from './b.mjs';\nexport default b;")
                .file("b.mts", "export const b: number = 7;")
                .gives(json!(7)),
            case("a dot for index.ts", "import { a } from './lib/a';\nexport default a;")
                .file("lib/a.ts", "import { b } from '.';\nexport const a = b + 1;")
                .file("lib/index.ts", "export const b: number = 7;")
                .gives(json!(8)),
            case("two dots for index.ts", "import { a } from './lib/deep/a';\nexport default a;")
                .file("lib/deep/a.ts", "import { b } from '..';\nexport const a = b + 1;")
                .file("lib/index.ts", "export const b: number = 8;")
                .gives(json!(9)),
            case("JSON", "import config from './config.json';\nexport default config.list;")
                .file("config.json", r#"{"list": [1, {"a": null}]}"#)
                .gives(json!([1, {"a": null}])),
            case("JSON, required", "import config = require('./config.json');\nexport = config.n;")
                .file("config.json", r#"{"n": 3}"#)
                .gives(json!(3)),
        ],
    );
}

#[test]
fn settings_of_the_program_count() {
    check_all(
        "typescript",
        &[
            case("paths", "import { one } from '@/lib/one';\nimport { two } from '~two';\nexport default one + two;")
                .file("tsconfig.json", "{\n  // own modules\n  \"compilerOptions\": { \"paths\": { \"@/*\": [\"./src/*\"], \"~two\": [\"./src/two.ts\"], }, },\n}")
                .file("src/lib/one.ts", "export const one: number = 1;")
                .file("src/two.ts", "export const two: number = 2;")
                .gives(json!(3)),
            case("baseUrl", "import { n } from 'src/b';\nexport default n;")
                .file("tsconfig.json", r#"{"compilerOptions": {"baseUrl": "."}}"#)
                .file("src/b.ts", "export const n: number = 4;")
                .gives(json!(4)),
            case("baseUrl with paths", "import { n } from 'app/b';\nexport default n;")
                .file("tsconfig.json", r#"{"compilerOptions": {"baseUrl": "src", "paths": {"app/*": ["nothing/*", "application/*"]}}}"#)
                .file("src/application/b/index.ts", "export const n: number = 5;")
                .gives(json!(5)),
            case("extends", "import { n } from '#lib/b';\nexport default n;")
                .file("tsconfig.json", r#"{"extends": "./config/base", "compilerOptions": {"strict": true}}"#)
                .file("config/base.json", r##"/* base */ {"compilerOptions": {"paths": {"#lib/*": ["../lib/*"]}}}"##)
                .file("lib/b.ts", "export const n: number = 6;")
                .gives(json!(6)),
            case("jsxImportSource", "export default <b>x</b>;")
                .flags(&["--entry", "main.tsx"])
                .file("tsconfig.json", r#"{"compilerOptions": {"jsx": "react-jsx", "jsxImportSource": "tiny"}}"#)
                .file("node_modules/tiny/jsx-runtime.js", "exports.jsx = (type, props) => `tiny ${type} ${props.children}`;")
                .gives(json!("tiny b x")),
            case("jsx by a factory", "const h = (type: string, props: object, ...children: unknown[]) => [type, props, ...children];\nexport default <b>{1}</b>;")
                .flags(&["--entry", "main.tsx"])
                .file("tsconfig.json", r#"{"compilerOptions": {"jsx": "react", "jsxFactory": "h"}}"#)
                .gives(json!(["b", null, 1])),
            case("verbatimModuleSyntax", "import { type Kind, n } from './lib';\nimport { side } from './side';\nexport default n;")
                .file("tsconfig.json", r#"{"compilerOptions": {"verbatimModuleSyntax": true}}"#)
                .file("lib.ts", "export type Kind = string;\nexport const n = 1;")
                .file("side.ts", "console.log('side');\nexport const side = 1;")
                .gives(json!(1))
                .logs(&[("info", "side")]),
            case("fields are assigned below ES2022", "class A { set x(v: number) { console.log('set', v); } }\nclass B extends A { x = 1; y?: number; }\nexport default Object.keys(new B());")
                .file("tsconfig.json", r#"{"compilerOptions": {"target": "ES2020"}}"#)
                .gives(json!([]))
                .logs(&[("info", "set 1")]),
            case("fields are defined without settings", "class A { set x(v: number) { console.log('set', v); } }\nclass B extends A { x = 1; y?: number; }\nexport default Object.keys(new B());")
                .gives(json!(["x", "y"]))
                .logs(&[]),
            case("a broken tsconfig.json is left out", "import { n } from './b';\nexport default n;")
                .file("tsconfig.json", "{ not json")
                .file("b.ts", "export const n: number = 7;")
                .gives(json!(7)),
        ],
    );
    check_all(
        "javascript",
        &[
            case("jsconfig.json", "import { n } from '@/b';\nexport default n;")
                .file("jsconfig.json", r#"{"compilerOptions": {"paths": {"@/*": ["./src/*"]}}}"#)
                .file("src/b.js", "export const n = 8;")
                .gives(json!(8)),
            case("package.json", "import { up } from '#util';\nimport { self } from 'me/self';\nexport default up(self);")
                .file(
                    "package.json",
                    r##"{"name": "me", "type": "module", "imports": {"#util": "./src/util.js"}, "exports": {"./self": "./self.js"}}"##,
                )
                .file("src/util.js", "export const up = (s) => s + '!';")
                .file("self.js", "export const self = 'self';")
                .gives(json!("self!")),
            case("a package that says it is CommonJS", "import { sep } from 'node:path';\nexport default sep;")
                .file("package.json", r#"{"type": "commonjs"}"#)
                .gives(json!("/")),
        ],
    );
}

/// An approximation of React's JSX runtime.
const REACT: &str = "const element = (type, { children = [], ...props } = {}) => ({ type, props, children: [].concat(children) });\n\
    exports.jsx = exports.jsxs = element;\nexports.Fragment = 'fragment';";

#[test]
fn elements_use_the_automatic_runtime() {
    let react = |case: Case| {
        case.file("node_modules/react/jsx-runtime.js", REACT).file(
            "node_modules/react/index.js",
            "exports.createElement = (type, props, ...children) => ['classic', type, ...children];\nexports.Fragment = 'F';",
        )
    };
    check_all(
        "typescript",
        &[
            case("in main.tsx", "export default <h1 id=\"a\">Hi</h1>;")
                .flags(&["--entry", "main.tsx"])
                .gives(json!({"type": "h1", "props": {"id": "a"}, "children": ["Hi"]})),
            case("in a program without a name", "const n: number = 2;\nexport default <ul>{[1, n].map((i) => <li>{i}</li>)}</ul>;")
                .gives(json!({"type": "ul", "props": {}, "children": [{"type": "li", "props": {}, "children": [1]}, {"type": "li", "props": {}, "children": [2]}]})),
            case("a fragment", "export default <><b /></>;").gives(json!({"type": "fragment", "props": {}, "children": [{"type": "b", "props": {}, "children": []}]})),
            case("in CommonJS", "const f = () => <b>1</b>;\nmodule.exports = f().type;").gives(json!("b")),
            case("from a file", "import { View } from './view';\nexport default View({ n: 3 }).children;")
                .file("view.tsx", "export const View = ({ n }: { n: number }) => <p>{n}</p>;")
                .gives(json!([3])),
            case("classic where React is imported", "import React from 'react';\nexport default <b>1</b>;").gives(json!(["classic", "b", "1"])),
            case("classic where a comment says so", "/** @jsx h */\nconst h = (type: string) => 'h ' + type;\nexport default <b />;").gives(json!("h b")),
            case("of another package where a comment says so", "/** @jsxImportSource tiny */\nexport default <b />;")
                .file("node_modules/tiny/jsx-runtime.js", "exports.jsx = (type) => 'tiny ' + type;")
                .gives(json!("tiny b")),
            case("generics and casts stay what they are", "const f = <T,>(x: T) => x;\nconst g = <T>(x: T) => x;\nconst h = <number>f(1);\nexport default [h, g(2)];")
                .gives(json!([1, 2])),
        ]
        .map(react),
    );
    check_all(
        "javascript",
        &[
            case("in main.jsx", "export default <b>1</b>;")
                .flags(&["--entry", "main.jsx"])
                .gives(json!({"type": "b", "props": {}, "children": ["1"]})),
            case("in main.js", "export default <b {...{ a: 1 }} />;").gives(json!({"type": "b", "props": {"a": 1}, "children": []})),
            case("in an imported file", "import { b } from './b.jsx';\nimport { c } from './c.js';\nexport default [b.type, c.type];")
                .file("b.jsx", "export const b = <b />;")
                .file("c.js", "export const c = <c />;")
                .gives(json!(["b", "c"])),
        ]
        .map(react),
    );
}
