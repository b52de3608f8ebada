//! The contract of a JavaScript program.

use belljar_test_support::{STARTS, outcome, run, said};
use serde_json::json;

use crate::case::{case, check_all};

#[test]
fn the_result_of_javascript_is_the_first_that_applies() {
    check_all(
        "javascript",
        &[
            case("the last expression", "const a = 20;\na * 2 + 2").gives(json!(42)),
            case(
                "what WebAssembly compiles aside",
                "const bytes = new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0]);\nexports.main = async () => { await WebAssembly.compile(bytes); \
                 await WebAssembly.compile(bytes); return 'done' }",
            )
            .gives(json!("done")),
            case("what the last match of a RegExp was", "[RegExp.$1, RegExp.lastMatch]").gives(json!(["", ""])),
            case("the last expression of a branch", "let x = 1; if (x) { 'yes' } else { 'no' }").gives(json!("yes")),
            case("an exported main", "exports.main = async ({ n }) => n + 1; 5").flags(&["--param", "n=41"]).gives(json!(42)),
            case("a defined main", "async function main(p) { return p.list.length }").flags(&["--param", "list=[1,2,3]"]).gives(json!(3)),
            case("a main that the program called itself", "let calls = 0; function main() { calls++; return 'x' }\nmain(); calls")
                .gives(json!(1)),
            case("module.exports", "module.exports = { total: 41 }; 7").gives(json!({"total": 41})),
            case("a bare return", "if (true) return { early: true };\n9").gives(json!({"early": true})),
            case("a promise", "new Promise(resolve => setTimeout(resolve, 5, 'later'))").gives(json!("later")),
            case("nothing", "const x = 1;"),
            case("an ES module's default export", "export default { a: 1 };").flags(&["--entry", "main.mjs"]).gives(json!({"a": 1})),
            case("an ES module's default function", "export default async p => p.n * 2;").flags(&["--param", "n=4"]).gives(json!(8)),
            case("an ES module's main", "import os from 'node:os';\nexport function main() { return os.EOL }").gives(json!("\n")),
            case("an ES module's last expression", "import { basename } from 'node:path';\nbasename('/a/b.txt')").gives(json!("b.txt")),
            case(
                "top-level await in a script",
                "const fs = require('node:fs/promises'); const s = await fs.readFile(__filename, 'utf8'); s.length > 10",
            )
            .gives(json!(true)),
            case("parameters as a global", "belljar.parameters.city").flags(&["--param", "city=Oslo"]).gives(json!("Oslo")),
        ],
    );
}

#[test]
fn javascript_values_have_one_json_each() {
    check_all("javascript", &[
        case(
            "each in the table",
            "({ s: 'a\\ud800', n: -0, nan: NaN, inf: 1/0, u: undefined, big: 2n**64n, small: 7n, d: new Date(0), bad: new Date(NaN),\n\
             m: new Map([['a', 1]]), mm: new Map([[1, 2]]), set: new Set([1, 'x']), t: new Uint8Array([1, 255]), f: new Float64Array([0.5, NaN]),\n\
             b: Buffer.from('hi'), re: /a+/g, url: new URL('https://e.example/x'), o: Object(3), holes: [1,,3], nul: null })",
        )
        .gives(json!({
            "s": "a\u{fffd}", "n": 0, "nan": null, "inf": null, "big": "18446744073709551616", "small": 7, "d": "1970-01-01T00:00:00.000Z", "bad": null,
            "m": {"a": 1}, "mm": [[1, 2]], "set": [1, "x"], "t": [1, 255], "f": [0.5, null],
            "b": "aGk=", "re": "/a+/g", "url": "https://e.example/x", "o": 3, "holes": [1, null, 3], "nul": null
        })),
        case("a function", "return ({ items: [1, { callback() {} }] })").fails("ResultNotSerializable", &["$.items[1].callback"]),
        case("a cycle", "const a = { b: {} }; a.b.c = a; return a").fails("ResultNotSerializable", &["$.b.c"]),
        case("a result nested 100,000 deep", "let a = {}; let b = a; for (let i = 0; i < 100000; i++) { b.x = {}; b = b.x } return a")
            .fails("ResultNotSerializable", &["100"]),
        case("too large a result", "return 'x'.repeat(2000)").flags(&["--result-limit", "1K"]).fails("ResultTooLarge", &["result_bytes"]),
        case("a result of 500 MB", "return 'x'.repeat(500 * 1024 * 1024)").flags(&["--memory", "2G"]).fails("ResultTooLarge", &["outputs/"]),
    ]);
}

#[test]
fn javascript_errors_have_the_users_own_lines() {
    check_all(
        "javascript",
        &[
            case("a thrown error", "function f() {\n  throw new TypeError('bad thing');\n}\nf();")
                .fails("TypeError", &["bad thing", "main.js:2:9", "main.js:4:1"]),
            case("in an ES module", "import 'node:fs';\n\nnull.x;").flags(&["--entry", "job.mjs"]).fails("TypeError", &["job.mjs:3"]),
            case("its cause", "throw new Error('outer', { cause: new RangeError('inner') })")
                .fails("Error", &["outer", "RangeError", "inner"]),
            case("a syntax error", "const a = 1;\nconst b = ;\n").fails("SyntaxError", &["main.js:2"]),
            case("something that is not an error", "throw 'a string'").fails("Error", &["a string"]),
            case("an unhandled rejection", "Promise.reject(new RangeError('unheard')); 1").fails("RangeError", &["unheard", "main.js:1"]),
            case("a rejected main", "async function main() {\n  await null;\n  throw new Error('late');\n}")
                .fails("Error", &["late", "main.js:3"]),
            case("an error in a timer", "setTimeout(() => {\n  throw new Error('timer');\n}, 1); 1")
                .fails("Error", &["timer", "main.js:2"]),
            case(
                "its async callers",
                "async function query() { await null; throw new Error('down') }\nasync function load() { await query() }\n\
                 async function main() { await load() }",
            )
            .fails("Error", &["main.js:1:", "async load (/home/user/main.js:2:", "main (/home/user/main.js:3:"]),
            case(
                "an error in a beforeExit listener",
                "process.on('beforeExit', () => { throw new Error('late') }); setImmediate(() => {}); 1",
            )
            .fails("Error", &["late"]),
            case("a promise that nothing can settle", "await new Promise(() => {})").fails("NeverSettled", &["nothing is left"]),
            case("the same in an ES module", "export default await new Promise(() => {})")
                .flags(&["--entry", "m.mjs"])
                .fails("NeverSettled", &["nothing is left"]),
            case("a missing module", "require('left-pad')").flags(&["--no-packages"]).fails("Error", &["left-pad"]),
            case("a missing file", "require('./left-pad')").fails("Error", &["./left-pad"]),
        ],
    );
}

#[test]
fn javascript_ends_as_node_does() {
    check_all(
        "javascript",
        &[
            case("process.exit", "process.exit(7)").exits(7),
            case("process.exit(0) before the end", "process.exit(0); throw 1").exits(0),
            case("process.exitCode", "process.exitCode = 3; 'x'").exits(3),
            case(
                "timers are waited for",
                "let n = 0; const t = setInterval(() => { if (++n === 3) { clearInterval(t); console.log('done') } }, 1); 'ok'",
            )
            .gives(json!("ok"))
            .logs(&[("info", "done")]),
            case("settled is at once", "setInterval(() => {}, 1000); 5").flags(&["--settled"]).gives(json!(5)),
            case(
                "with domains and a global of that name",
                "globalThis.domain = require('node:domain'); domain.create().run(() => setTimeout(() => {}, 1)); 'ended'",
            )
            .gives(json!("ended")),
            case("an exit handler", "process.on('exit', code => console.log('bye', code)); 1").gives(json!(1)).logs(&[("info", "bye 0")]),
            case(
                "a handled uncaught exception",
                "process.on('uncaughtException', e => console.log('caught', e.message)); setTimeout(() => { throw new Error('x') }, 1); 1",
            )
            .gives(json!(1))
            .logs(&[("info", "caught x")]),
        ],
    );
}

#[test]
fn javascript_logs_and_displays() {
    check_all("javascript", &[
        case(
            "levels",
            "console.debug('d'); console.log('i', { a: 1 }); console.info('two\\nlines'); console.warn('w'); console.error('e');\n\
             process.stdout.write('raw\\n'); process.stderr.write('bad\\n')",
        )
        .gives(json!(true))
        .logs(&[("debug", "d"), ("info", "i { a: 1 }"), ("info", "two\nlines"), ("warn", "w"), ("error", "e"), ("info", "raw"), ("error", "bad")]),
        case("invalid UTF-8", "process.stdout.write(Buffer.from([0x61, 0xff, 0x0a])); 0").gives(json!(0)).logs(&[("info", "a\u{fffd}")]),
        case("rich results", "belljar.display('<svg/>'); belljar.display({ a: 1 }); belljar.display({ html: '<b>x</b>' }); belljar.display('a,b', { type: 'text/csv' }); 0")
            .gives(json!(0))
            .displays(json!([
                {"type": "image/svg+xml", "data": "<svg/>"}, {"type": "application/json", "data": "{\"a\":1}"},
                {"type": "text/html", "data": "<b>x</b>"}, {"type": "text/csv", "data": "a,b"}
            ])),
        case("a PNG", "belljar.display(Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])); 0")
            .gives(json!(0))
            .displays(json!([{"type": "image/png", "data": "iVBORw0KGgo="}])),
    ]);
}

#[test]
fn javascript_has_its_files_input_and_arguments() {
    check_all("javascript", &[
        case("several files", "const { double } = require('./lib/double'); double(require('./data.json').n)")
            .file("lib/double.js", "exports.double = n => n * 2;")
            .file("data.json", "{\"n\": 21}")
            .gives(json!(42)),
        case("ES modules", "import { triple } from './lib/triple.mjs';\nexport default triple(14);")
            .flags(&["--entry", "main.mjs"])
            .file("lib/triple.mjs", "export const triple = n => n * 3;")
            .gives(json!(42)),
        case("dynamic import", "const { join } = await import('node:path'); const m = await import('./m.mjs'); join(m.default, 'x')")
            .file("m.mjs", "export default 'a';")
            .gives(json!("a/x")),
        case("standard input", "require('fs').readFileSync(0, 'utf8').trim().split('\\n').length").stdin("a\nb\nc\n").gives(json!(3)),
        case("no standard input", "require('fs').readFileSync(0, 'utf8')").gives(json!("")),
        case("arguments and the program's own name", "[process.argv.slice(2), __filename, process.cwd()]")
            .flags(&["--", "a", "--b"])
            .gives(json!([["a", "--b"], "/home/user/main.js", "/home/user"])),
        case("artifacts", "const fs = require('fs'); fs.mkdirSync('outputs/deep'); fs.writeFileSync('outputs/deep/a.txt', 'A'); fs.writeFileSync('named.txt', 'N'); 0")
            .flags(&["--output", "named.txt"])
            .gives(json!(0))
            .leaves("deep/a.txt", "A")
            .leaves("named.txt", "N"),
    ]);
}

#[test]
fn javascript_has_workers_processes_and_a_loopback_network() {
    check_all("javascript", &[
        case(
            "a Worker",
            "const { Worker } = require('node:worker_threads');\n\
             await new Promise((resolve, reject) => new Worker('require(\"node:worker_threads\").parentPort.postMessage(6 * 7)', { eval: true }).on('message', resolve).on('error', reject))",
        )
        .gives(json!(42)),
        case("WebAssembly", "new WebAssembly.Module(new Uint8Array([0, 97, 115, 109, 1, 0, 0, 0])) instanceof WebAssembly.Module").gives(json!(true)),
        case("the thread pool", "(await require('node:util').promisify(require('node:crypto').pbkdf2)('p', 's', 10, 8, 'sha256')).length").gives(json!(8)),
        case("child processes", "const cp = require('child_process'); [cp.execSync('echo $((6 * 7))').toString(), cp.spawnSync('sh', ['-c', 'exit 3']).status]")
            .flags(&["--exec"])
            .gives(json!(["42\n", 3])),
        case("an asynchronous child", "const cp = require('child_process'); new Promise(r => cp.execFile('cat', ['/etc/hostname'], (e, out) => r(out.trim())))")
            .flags(&["--exec"])
            .gives(json!("sandbox")),
        case(
            "a server and fetch in one program",
            "const http = require('node:http');\n\
             const server = http.createServer((q, s) => s.end('hello ' + q.url)).listen(0);\n\
             await new Promise(r => server.once('listening', r));\n\
             const text = await (await fetch(`http://127.0.0.1:${server.address().port}/x`)).text();\n\
             server.close(); text",
        )
        .flags(&["--loopback"])
        .gives(json!("hello /x")),
        case("a server that is never closed", "require('node:http').createServer(() => {}).listen(0); 1").flags(&["--loopback", "--timeout", "1s"]).ends("timed_out", 124),
    ]);
}

#[test]
fn randomness_differs_between_runs_and_repeats_with_a_seed() {
    let code = "[Math.random(), Math.random()]";
    for start in STARTS {
        let draw = |flags: &[&str]| {
            outcome("javascript", code, &[&["--start", start], flags].concat())["value"].clone()
        };
        let seeded = draw(&["--seed", "7"]);
        assert_eq!(seeded, draw(&["--seed", "7"]));
        assert_ne!(seeded, draw(&["--seed", "8"]));
        assert_ne!(draw(&[]), draw(&[]));
    }
}

#[test]
fn the_language_of_a_script_without_an_extension_comes_from_its_first_line() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("script");
    std::fs::write(&path, "#!/usr/bin/env node\n6 * 7\n").unwrap();
    said(&mut run([&path])).prints("42\n");
    std::fs::write(&path, "#!/usr/bin/python3\n6 * 8\n").unwrap();
    said(&mut run([&path])).prints("48\n");
}
