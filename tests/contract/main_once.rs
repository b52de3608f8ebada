//! `main` runs exactly once, no matter what starts it.

use serde_json::json;

use crate::case::{Case, case, check_all};

/// A program that prints how often its main has run, and starts it itself.
fn once(name: &'static str, code: &'static str) -> Case {
    case(name, code).logs(&[("info", "paid 1")])
}

/// The same, whose last expression is something that runs.
fn once_noted(name: &'static str, code: &'static str) -> Case {
    once(name, code).notes(&["has no JSON form"])
}

#[test]
fn a_main_that_the_program_starts_later_runs_once() {
    check_all(
        "javascript",
        &[
            once_noted(
                "setTimeout",
                "let n = 0; function main() { console.log('paid', ++n) }\nsetTimeout(main, 5)",
            ),
            once_noted(
                "setImmediate",
                "let n = 0;\nfunction main() { console.log('paid', ++n); }\nsetImmediate(main);",
            ),
            once(
                "nextTick",
                "let n = 0; function main() { console.log('paid', ++n) }\nprocess.nextTick(main)",
            ),
            once(
                "a microtask",
                "let n = 0; const main = async () => { console.log('paid', ++n) }\nqueueMicrotask(main)",
            ),
            once(
                "then",
                "let n = 0; function main() { console.log('paid', ++n) }\nPromise.resolve().then(main)",
            ),
            once(
                "after something else",
                "let n = 0; async function main() { console.log('paid', ++n) }\nconst init = async () => {};\ninit().then(() => main()).catch(console.error)",
            ),
            once(
                "an async function",
                "let n = 0; function main() { console.log('paid', ++n) }\n(async () => { await 1; main(); })();",
            ),
            once(
                "a callback",
                "let n = 0; function main() { console.log('paid', ++n) }\nrequire('fs').readFile(__filename, () => main())",
            ),
            once_noted(
                "an event",
                "let n = 0; function main() { console.log('paid', ++n) }\nconst e = new (require('events'))(); e.once('go', main);\nsetImmediate(() => e.emit('go'))",
            ),
            once_noted(
                "beforeExit",
                "let n = 0; function main() { console.log('paid', ++n) }\nprocess.once('beforeExit', main)",
            ),
            once_noted(
                "exit",
                "let n = 0; function main() { console.log('paid', ++n) }\nprocess.on('exit', () => main())",
            ),
            once_noted(
                "an interval that ends itself",
                "let n = 0; function main() { console.log('paid', ++n); clearInterval(t) }\nvar t = setInterval(main, 1); t",
            ),
            once(
                "another function",
                "let n = 0; function main() { console.log('paid', ++n) }\nfunction start() { setTimeout(main, 1) }\nstart()",
            ),
            once(
                "a method",
                "let n = 0; function main() { console.log('paid', ++n) }\nclass App { run() { main() } }\nnew App().run()",
            ),
            once(
                "a table of commands",
                "let n = 0; const main = () => { console.log('paid', ++n) };\nconst commands = { main };\nconst name = 'main'; commands[name]()",
            ),
            once(
                "an array",
                "let n = 0; const main = () => { console.log('paid', ++n) };\n[main].forEach((f) => f())",
            ),
            once(
                "call",
                "let n = 0; function main() { console.log('paid', ++n) }\nmain.call(null)",
            ),
            once(
                "bind",
                "let n = 0; function main() { console.log('paid', ++n) }\nprocess.nextTick(main.bind(null, 1))",
            ),
            once(
                "its export",
                "let n = 0; exports.main = async () => { console.log('paid', ++n) };\nprocess.nextTick(exports.main)",
            ),
            once(
                "a guard",
                "let n = 0; function main() { console.log('paid', ++n) }\nif (require.main === module) main()",
            ),
            once(
                "a guard and a timer",
                "let n = 0; function main() { console.log('paid', ++n) }\nmodule.exports = { main };\nif (require.main === module) { setTimeout(main) }\nvoid 0",
            ),
            once(
                "a short guard",
                "let n = 0; function main() { console.log('paid', ++n) }\nrequire.main === module && main()",
            ),
            once(
                "a guard by parent",
                "let n = 0; function main() { console.log('paid', ++n) }\nif (!module.parent) { main() }",
            ),
            once(
                "what is exported alone",
                "let n = 0; function sync() { console.log('paid', ++n); } sync(); module.exports = sync;",
            ),
        ],
    );
    let module: &[&str] = &["--entry", "main.mjs"];
    check_all(
        "javascript",
        &[
            once("in a module", "let n = 0; export function main() { console.log('paid', ++n) }\nawait 1; main()").flags(module),
            once("a default export", "let n = 0; export default function run() { console.log('paid', ++n) }\nqueueMicrotask(run)").flags(module),
            once("a guard of modules", "let n = 0; async function main() { console.log('paid', ++n) }\nif (import.meta.main) await main()").flags(module),
            once(
                "a guard by path",
                "import { fileURLToPath } from 'node:url';\nlet n = 0; function main() { console.log('paid', ++n) }\nif (process.argv[1] === fileURLToPath(import.meta.url)) { main() }",
            )
            .flags(module),
        ],
    );
    check_all(
        "typescript",
        &[
            once(
                "in TypeScript",
                "let n: number = 0;\nasync function main(): Promise<void> { console.log('paid', ++n) }\nvoid main();",
            ),
            once(
                "with an enum",
                "enum E { A = 1 }\nlet n = 0;\nconst main = async (): Promise<void> => { console.log('paid', n + E.A) };\nqueueMicrotask(main as () => void);",
            ),
        ],
    );
}

#[test]
fn a_main_that_the_program_never_starts_is_called_once() {
    check_all(
        "javascript",
        &[
            case("mentioned in a comment", "// main() is called by the host\nfunction main() { return 'x' }").gives(json!("x")),
            case("mentioned in a text", "function main() { return 'x' }\nconst usage = 'main()';").gives(json!("x")),
            case("that calls itself", "function main(p, depth = 0) { return depth < 2 ? main(p, depth + 1) : depth }").gives(json!(2)),
            case(
                "another of that name",
                "function main() { return 'outer' }\nfunction other() { const main = () => 'inner'; return main() }\nother()",
            )
            .gives(json!("outer")),
            case("exported by name", "async function main() { return 'x' }\nexports.main = main").gives(json!("x")),
            case("exported with others", "async function main() { return 'x' }\nfunction help() {}\nmodule.exports = { main, help }")
                .gives(json!("x")),
            case("exported alone", "async function main() { return 'x' }\nmodule.exports = main").gives(json!("x")),
            case("asked for its length and type", "function main() { return 'x' }\nif (typeof main === 'function') main.length;")
                .gives(json!("x")),
            case("shown", "function main() { return 'x' }\nconsole.log(main.name)").gives(json!("x")).logs(&[("info", "main")]),
            case("called by a function that is never called", "function main() { return 'x' }\nfunction run() { return main() }")
                .gives(json!("x")),
            case("called by an exported function", "function main() { return 'x' }\nexports.handler = async () => main();")
                .gives(json!("x")),
            case("guarded against", "function main() { return 'x' }\nif (require.main !== module) { main(); }").gives(json!("x")),
            case("behind a guard for another file", "function main() { return 'x' }\nif (process.argv[1].endsWith('server.js')) main();")
                .gives(json!("x")),
            case("given a property", "function main() { return main.label }\nmain.label = 'x';").gives(json!("x")),
            case("assigned", "let main;\nmain = async () => 'x';").gives(json!("x")).notes(&[]),
        ],
    );
    let module: &[&str] = &["--entry", "main.mjs"];
    check_all(
        "javascript",
        &[
            case(
                "exported as the default",
                "async function main() { return 'x' }\nexport { main as default }",
            )
            .flags(module)
            .gives(json!("x")),
            case("exported", "export const main = async () => 'x';")
                .flags(module)
                .gives(json!("x")),
            case("another as main", "const run = () => 'x';\nexport { run as main }")
                .flags(module)
                .gives(json!("x")),
            case(
                "exported by name as the default",
                "const main = () => 'x';\nexport default main;",
            )
            .flags(module)
            .gives(json!("x")),
        ],
    );
    check_all(
        "typescript",
        &[case(
            "typed after it",
            "function main(): string { return 'x' }\ntype M = typeof main;\nlet m: M | undefined;",
        )
        .gives(json!("x"))],
    );
}

#[test]
fn the_stdin_templates_of_contest_sites_work() {
    check_all(
        "javascript",
        &[
            case(
                "HackerRank's",
                "'use strict';\nprocess.stdin.resume();\nprocess.stdin.setEncoding('utf-8');\nlet input = '', at = 0;\n\
                 process.stdin.on('data', (s) => { input += s; });\n\
                 process.stdin.on('end', () => { input = input.trim().split('\\n'); main(); });\n\
                 function readLine() { return input[at++]; }\n\
                 function main() { const [a, b] = readLine().split(' ').map(Number); console.log(a + b); }",
            )
            .stdin("2 3\n")
            .logs(&[("info", "5")])
            .notes(&["has no JSON form"]),
            case(
                "a reader of lines",
                "const rl = require('readline').createInterface({ input: process.stdin, terminal: false });\nconst lines = [];\n\
                 rl.on('line', (line) => lines.push(line)).on('close', main);\nfunction main() { console.log(lines.map(Number).reduce((a, b) => a + b, 0)); }",
            )
            .stdin("1\n2\n3")
            .logs(&[("info", "6")])
            .notes(&["has no JSON form"]),
            case("the whole input at once", "function main(input) { console.log(input.trim().split(' ').length); }\nmain(require('fs').readFileSync(0, 'utf8'));")
                .stdin("a b c\n")
                .logs(&[("info", "3")]),
            case(
                "an asynchronous loop",
                "async function main() { let n = 0; for await (const line of require('readline').createInterface({ input: process.stdin })) n += +line; console.log(n); }\n\
                 main().then(() => process.exit(0));",
            )
            .stdin("4\n5\n")
            .logs(&[("info", "9")]),
        ],
    );
}
