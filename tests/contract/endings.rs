//! A JavaScript program that did its work has succeeded, whatever its last line is.

use serde_json::json;

use crate::case::{Case, case, check_all};

/// A program whose last expression has no JSON form: null, and a note with these words.
fn shown(name: &'static str, code: &'static str, words: &'static str) -> Case {
    case(name, code).notes(&[words])
}

#[test]
fn a_last_expression_without_a_json_form_is_null_and_a_note() {
    check_all(
        "javascript",
        &[
            shown(
                "a timer",
                "console.log('sent');\nsetTimeout(() => {}, 10);",
                "a Timeout, has no JSON form",
            )
            .logs(&[("info", "sent")]),
            shown("an immediate", "setImmediate(() => {})", "an Immediate, has no"),
            shown(
                "an interval that ends",
                "const i = setInterval(() => clearInterval(i), 1); i",
                "a Timeout",
            ),
            shown("listeners of the process", "process.on('exit', () => {})", "a process"),
            shown(
                "an emitter",
                "const E = require('events'); new E().on('x', () => {})",
                "an EventEmitter",
            ),
            shown(
                "an emitter of its own",
                "class Bus extends require('events') {}\nnew Bus()",
                "a Bus",
            ),
            shown(
                "a line reader",
                "const rl = require('readline').createInterface({ input: process.stdin });\nrl.on('line', () => {});",
                "an Interface",
            ),
            shown("standard input", "process.stdin.on('end', () => {})", "has no JSON form"),
            shown(
                "a pipe",
                "require('stream').Readable.from(['a']).pipe(process.stdout)",
                "has no JSON form",
            )
            .logs(&[("info", "a")]),
            shown(
                "a stream",
                "const { PassThrough } = require('stream'); new PassThrough().end('x')",
                "a PassThrough",
            ),
            shown(
                "a file stream",
                "require('fs').createWriteStream('a.txt').end('x')",
                "a WriteStream",
            ),
            shown("a server", "require('http').createServer().close()", "a Server"),
            shown("an abort controller's signal handler", "new EventTarget()", "an EventTarget"),
            shown(
                "a message channel",
                "const { port1 } = new MessageChannel(); port1.close(); port1",
                "a MessagePort",
            ),
            shown("a function", "function f() {}\nf", "a function, has no"),
            shown(
                "an assigned method",
                "class Foo {}\nFoo.prototype.bar = function () {};",
                "a function, has no",
            ),
            shown(
                "an extension of a builtin",
                "Array.prototype.last = function () { return this.at(-1) };",
                "a function",
            ),
            shown("a global function", "globalThis.helper = () => 1;", "a function"),
            shown("a class", "(class A {})", "a class, has no"),
            shown("a symbol", "Symbol('x')", "a symbol, has no"),
            shown("a weak map", "new WeakMap()", "a WeakMap, has no"),
            shown("a weak reference", "new WeakRef({})", "a WeakRef"),
            shown(
                "a fluent object",
                "class B { constructor() { this.fs = [] } on(f) { this.fs.push(f); return this } }\nnew B().on(() => 1)",
                "$.fs[0] is a function",
            ),
            shown("a map of functions", "new Map().set('f', () => 1)", "$.f is a function"),
            shown(
                "a tree with parent links",
                "const a = { kids: [] }; a.kids.push({ parent: a }); a",
                "$.kids[0].parent refers back",
            ),
            shown(
                "a getter that throws",
                "({ get x() { throw new Error('no') } })",
                "$.x could not be read",
            ),
            shown(
                "a proxy that was revoked",
                "const { proxy, revoke } = Proxy.revocable({}, {}); revoke(); proxy",
                "has no JSON form",
            ),
            shown("a proxy of functions", "new Proxy(() => {}, {})", "a function"),
            shown(
                "a proxy that answers everything",
                "const p = new Proxy(() => {}, { get: () => p, apply: () => p }); p",
                "the last expression",
            ),
            shown(
                "a method toJSON that throws",
                "({ toJSON() { throw new TypeError('bad') } })",
                "has no JSON form",
            ),
            shown("more than a result may have", "'x'.repeat(2000)", "more than 1024 bytes")
                .flags(&["--result-limit", "1K"]),
            shown("a promise of a timer", "Promise.resolve(setTimeout(() => {}, 1))", "a Timeout"),
            shown(
                "a promise of nothing ever",
                "new Promise(() => {})",
                "a promise that nothing is left to settle",
            ),
            shown(
                "a thenable that fails",
                "({ then(_, reject) { reject(new Error('no query')) } })",
                "a method then, which failed",
            ),
            shown("a module with functions", "import('./lib.mjs')", "is a function")
                .file("lib.mjs", "export const f = () => 1"),
            shown("what a package exports", "require('./setup')", "$.f is a function")
                .file("setup.js", "exports.f = () => 1; exports.n = 1"),
            shown(
                "a response",
                "new Response('{}')",
                "a Response, has no JSON form; its value is null; read it first: await response.json()",
            ),
            shown(
                "an endless iterator",
                "(function* () { for (;;) yield 'abc' })()",
                "more than 1024 bytes",
            )
            .flags(&["--result-limit", "1K"]),
        ],
    );
    check_all(
        "typescript",
        &[
            shown(
                "an assigned method",
                "class Foo { bar?: () => void }\nFoo.prototype.bar = function (): void {};",
                "a function",
            ),
            shown(
                "a class",
                "class Model { private fit = (): this => this }\nnew Model()",
                "$.fit is a function",
            ),
        ],
    );
}

#[test]
fn what_was_handed_over_and_has_no_json_form_still_fails() {
    check_all(
        "javascript",
        &[
            case("from a return", "return { items: [1, { callback() {} }] }")
                .fails("ResultNotSerializable", &["$.items[1].callback"]),
            case("from main", "exports.main = () => new Map([['f', () => 1]])")
                .fails("ResultNotSerializable", &["$.f is a function"]),
            case("from a defined main", "async function main() { return setTimeout(() => {}, 1) }")
                .fails("ResultNotSerializable", &["$ is a Timeout of Node's"]),
            case("from exported data", "const a = { n: 1 }; a.self = a; module.exports = a")
                .fails("ResultNotSerializable", &["$.self refers back"]),
            case("too large", "return 'x'.repeat(2000)")
                .flags(&["--result-limit", "1K"])
                .fails("ResultTooLarge", &["result_bytes"]),
            case("a main that nothing settles", "exports.main = () => new Promise(() => {})")
                .fails("NeverSettled", &["never resolved"]),
            case(
                "what axios gives",
                "return { status: 200, data: 1, headers: {}, config: { transform: [() => 1] } }",
            )
            .fails("ResultNotSerializable", &["return response.data instead"]),
        ],
    );
}

#[test]
fn exports_with_functions_among_them_are_an_interface_and_no_result() {
    let with_data = "the exports have functions in them";
    check_all(
        "javascript",
        &[
            case(
                "a class and data",
                "const MAX = 3; class Cart {}; console.log(MAX); module.exports = { Cart, MAX };",
            )
            .logs(&[("info", "3")])
            .notes(&[with_data]),
            case("a function", "exports.add = (a, b) => a + b"),
            case("a class alone", "module.exports = class {}"),
            case("functions alone", "module.exports = { add(a, b) { return a + b } }"),
            case(
                "and then a value",
                "module.exports = { add(a, b) { return a + b }, n: 1 };\nmodule.exports.add(1, 2)",
            )
            .gives(json!(3)),
            case(
                "functions further down",
                "module.exports = { handlers: { get() {} }, version: 1 }",
            )
            .notes(&["taken for an interface"]),
            case("an emitter", "module.exports = new (require('events'))()"),
            case("data", "module.exports = { total: 3, list: [1] }")
                .gives(json!({"total": 3, "list": [1]})),
        ],
    );
    let module: &[&str] = &["--entry", "main.mjs"];
    check_all(
        "javascript",
        &[
            case("a class as the default", "export default class A {}").flags(module),
            case("a fetch handler", "export default { fetch() { return new Response('x') } }")
                .flags(module),
            case("data next to a method", "export default { name: 'x', run() {} }")
                .flags(module)
                .notes(&[with_data]),
            case(
                "a server's settings",
                "const app = { fetch() {} };\nexport default { port: 3000, fetch: app.fetch }",
            )
            .flags(module)
            .notes(&[with_data]),
            case("data as the default", "export default { name: 'x' }")
                .flags(module)
                .gives(json!({"name": "x"})),
            case("an empty object", "export default {}; 5").flags(module).gives(json!({})),
        ],
    );
}

#[test]
fn handlers_are_not_called_with_parameters() {
    check_all(
        "javascript",
        &[
            case("a request and a response", "module.exports = (req, res) => { res.end('x') }"),
            case("a request alone", "module.exports = async (req) => req.headers.host"),
            case(
                "an app that is a function",
                "const app = function (req, res, next) { res.end() }; app.use = () => app; module.exports = app;",
            ),
            case("an event and its context", "export default async function handler(event, context) { return context.id.x }"),
            case("a request of the platform's", "export default async (request) => request.headers.get('x')"),
            case("parameters by that name", "module.exports = async (request) => request.n + 1").flags(&["--param", "n=1"]).gives(json!(2)),
            case("main, whatever it takes", "function main(req, res) { return [typeof req, typeof res] }\nmodule.exports = main")
                .gives(json!(["object", "undefined"])),
            case("a function of the parameters", "module.exports = async ({ n }) => n * 2").flags(&["--param", "n=4"]).gives(json!(8)),
        ],
    );
}

#[test]
fn a_program_that_is_one_function_is_called() {
    check_all(
        "javascript",
        &[
            case("an arrow function", "async () => 6 * 7").gives(json!(42)),
            case("with a semicolon and comments", "// the tool\n(() => { return 'x' });\n// end")
                .gives(json!("x")),
            case(
                "with parameters",
                "async ({ n }) => {\n  const m = await Promise.resolve(n);\n  return m + 1;\n}",
            )
            .flags(&["--param", "n=1"])
            .gives(json!(2)),
            case("a function expression", "(function () { return 3 })").gives(json!(3)),
            case("an anonymous function", "async function (input) {\n  return input.n\n}")
                .flags(&["--param", "n=5"])
                .gives(json!(5)),
            case("after imports", "import path from 'node:path';\nasync () => path.sep")
                .gives(json!("/")),
            case("an exported one", "export default async () => 9").gives(json!(9)),
            case("that fails", "async () => {\n  throw new TypeError('inside')\n}")
                .fails("TypeError", &["inside", "main.js:2:9"]),
            case("but not the last of several", "const a = 1;\n() => 5")
                .notes(&["a function, has no JSON form"]),
        ],
    );
    check_all(
        "typescript",
        &[case("with types", "async (p: { n: number }): Promise<number> => p.n")
            .flags(&["--param", "n=7"])
            .gives(json!(7))],
    );
}

#[test]
fn markdown_fences_are_taken_off() {
    let fenced = "a fenced block of Markdown";
    check_all(
        "javascript",
        &[
            case("backticks", "```js\nconst a = 20;\na * 2 + 2\n```").gives(json!(42)).notes(&[fenced]),
            case("tildes without a tag", "~~~\n6 * 7\n~~~\n").gives(json!(42)).notes(&[fenced]),
            case("prose around it", "Here is the code:\n\n```javascript\nfunction main() { return 5 }\n```\n\nIt returns `5`.")
                .gives(json!(5))
                .notes(&[fenced]),
            case("a module", "```js\nimport { sep } from 'node:path';\nexport default sep;\n```").gives(json!("/")).notes(&[fenced]),
            case("lines stay", "```js\nconst a = 1;\nnull.x;\n```").fails("TypeError", &["main.js:3"]).notes(&[fenced]),
            case("fences in a template", "const s = `\n```js\n1\n```\n`;\ns.length").fails("SyntaxError", &["main.js:2"]),
            case("fences in a string of the program's", "const s = '\\n```js\\n1\\n```';\ns.length").gives(json!(12)),
        ],
    );
    check_all(
        "typescript",
        &[case("types", "```ts\nconst a: number = 3;\na\n```").gives(json!(3)).notes(&[fenced])],
    );
    check_all(
        "python",
        &[
            case("backticks", "```python\na = 20\na * 2 + 2\n```")
                .gives(json!(42))
                .notes(&[fenced]),
            case(
                "prose around it",
                "Sure! Run this:\n\n```py\nprint('hi')\n7\n```\nThat prints hi.",
            )
            .gives(json!(7))
            .notes(&[fenced]),
            case("lines stay", "```\na = 1\n1 / 0\n```")
                .fails("ZeroDivisionError", &["line 3"])
                .notes(&[fenced]),
            case("fences in a text", "s = '''\n```python\nx\n```\n'''\nlen(s.split())")
                .gives(json!(3)),
        ],
    );
}

/// Programs that print a stack, each of which is the program's own and nothing else.
#[test]
fn no_frame_or_warning_of_the_sandbox_appears_in_what_a_program_prints() {
    // What a program says of its stack: whether a frame is the sandbox's, and how many lines there
    // are at all.
    check_all(
        "javascript",
        &[
            case("import() in a script", "import('node:path').then((p) => console.log(p.sep));\n0").gives(json!(0)).logs(&[("info", "/")]),
            case("import() behind a constructor", "const load = new Function('s', 'return import(s)');\nload('node:os').then((os) => console.log(typeof os.cpus));\n0")
                .gives(json!(0))
                .logs(&[("info", "function")]),
            case("warnings are the program's", "process.on('warning', (w) => console.log('heard', w.message));\nimport('node:path').then(() => process.emitWarning('mine'));\n0")
                .gives(json!(0))
                .logs(&[("info", "heard mine"), ("error", "(node:1) Warning: mine\n(Use `node --trace-warnings ...` to show where the warning was created)")]),
            case("an error that is shown", "async function main() { throw new Error('bad'); }\nmain().catch((e) => console.log(e.stack));")
                .logs(&[("info", "Error: bad\n    at main (/home/user/main.js:1:31)\n    at Object.<anonymous> (/home/user/main.js:2:17)")]),
            case("the top level", "console.log(new Error('x').stack);")
                .logs(&[("info", "Error: x\n    at Object.<anonymous> (/home/user/main.js:1:29)")]),
            case("a main that Belljar calls", "exports.main = () => { console.log(new Error('x').stack) }")
                .logs(&[("info", "Error: x\n    at exports.main (/home/user/main.js:1:52)")]),
            case("console.trace", "function f() { console.trace('here') }\nf();")
                .logs(&[("debug", "Trace: here\n    at f (/home/user/main.js:1:24)\n    at Object.<anonymous> (/home/user/main.js:2:17)")]),
            case(
                "while a value is formatted",
                "const spy = { [require('util').inspect.custom]: () => new Error('x').stack.includes('/opt/') };\nconsole.log(spy); console.debug(spy); console.error(spy);",
            )
            .logs(&[("info", "false"), ("debug", "false"), ("error", "false")]),
            case(
                "call sites",
                "Error.prepareStackTrace = (_, sites) => sites.map((site) => site.getFileName());\nconst files = () => new Error().stack;\nconst seen = files();\n\
                 exports.main = () => [seen, files()].map((list) => list.every((file) => file === __filename))",
            )
            .gives(json!([true, true])),
            case(
                "at the end of a process",
                "const spy = (event) => process.on(event, () => console.log(event, new Error().stack.includes('/opt/')));\nspy('beforeExit'); spy('exit');\n0",
            )
            .gives(json!(0))
            .logs(&[("info", "beforeExit false"), ("info", "exit false")]),
            case(
                "in a handler of uncaught errors",
                "process.on('uncaughtException', () => console.log(new Error().stack.includes('/opt/')));\nsetTimeout(() => { throw new Error('x') });\n0",
            )
            .gives(json!(0))
            .logs(&[("info", "false")]),
            case("thrown by the program", "process.on('uncaughtException', () => console.log(new Error().stack.includes('/opt/')));\nthrow new Error('x')")
                .logs(&[("info", "false")]),
            case("in what is required", "require('./lib.js');\n0")
                .file("lib.js", "console.log(new Error().stack.includes('/opt/'))")
                .gives(json!(0))
                .logs(&[("info", "false")]),
            case("an error of require", "try { require('./nope') } catch (e) { console.log(e.stack.includes('/opt/')) }\n0").gives(json!(0)).logs(&[("info", "false")]),
            case("an error of import()", "import('./nope.mjs').catch((e) => console.log(e.stack.includes('/opt/')));\n0").gives(json!(0)).logs(&[("info", "false")]),
            case("an error of resolve", "try { require.resolve('nope') } catch (e) { console.log(e.stack.includes('/opt/')) }\n0")
                .gives(json!(0))
                .logs(&[("info", "false")]),
            case("an error of display", "try { belljar.display(1, { type: 5 }) } catch (e) { console.log(e.stack.includes('/opt/')) }\n0")
                .gives(json!(0))
                .logs(&[("info", "false")]),
            case("order of what is queued", "process.nextTick(() => console.log('tick')); Promise.resolve().then(() => console.log('micro'));\nsetImmediate(() => console.log('immediate')); console.log(require('async_hooks').executionAsyncId()); 0")
                .gives(json!(0))
                .logs(&[("info", "1"), ("info", "tick"), ("info", "micro"), ("info", "immediate")]),
        ],
    );
    let module: &[&str] = &["--entry", "main.mjs"];
    check_all(
        "javascript",
        &[
            case(
                "a module's main",
                "export const main = () => { console.log(new Error('x').stack) }",
            )
            .flags(module)
            .logs(&[("info", "Error: x\n    at main (file:///home/user/main.mjs:1:41)")]),
            case(
                "the top level of a module",
                "console.log(new Error('x').stack.includes('/opt/'))",
            )
            .flags(module)
            .logs(&[("info", "false")]),
        ],
    );
}
