'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { run } = require('./run.js');

// The column of the expression that gives the value is off by the length of `__belljar_value(`;
// lines never are.
const failed = async (program, changes) => {
  const outcome = await run(program, changes);
  assert.equal(outcome.finished.length, 1, outcome.stderr);
  assert.equal(outcome.value, null);
  assert.notEqual(outcome.error, null, 'the run did not fail');
  assert.equal(outcome.stderr, '', 'an error is reported, not printed');
  const stack = outcome.error.stack
    .replaceAll(`file://${outcome.home}/`, '')
    .replaceAll(`${outcome.home}/`, '');
  return { ...outcome, error: { ...outcome.error, stack } };
};

test("a stack has the user's frames and no others", async () => {
  const { error, exit_code } = await failed(
    'function inner() {\n  throw new TypeError("bad");\n}\n\ninner();',
  );
  assert.equal(
    error.stack,
    'TypeError: bad\n    at inner (main.js:2:9)\n    at Object.<anonymous> (main.js:5:17)',
  );
  assert.deepEqual([error.name, error.message, exit_code], ['TypeError', 'bad', null]);
});

test('line numbers hold where the program awaits at the top level', async () => {
  const { error } = await failed('const a = await 1;\nnull.x;\nrequire;');
  assert.match(error.stack, /^TypeError: Cannot read properties of null.*\n {4}at main\.js:2:6$/);
});

test('line numbers hold in a module, and in main', async () => {
  const { error } = await failed({
    'main.mjs': 'import "node:fs";\n\nexport function main() {\n  throw new Error("in main");\n}',
  });
  assert.equal(error.stack, 'Error: in main\n    at main (main.mjs:4:9)');
});

test('line numbers of transformed TypeScript are those of its author', async () => {
  const commonjs =
    '// @shift\nfunction f(n: number): never {\n  throw new Error("ts " + n);\n}\nf(1);';
  assert.equal(
    (await failed(commonjs, { language: 'typescript' })).error.stack
      .split('\n')[1]
      .replace(/:\d+\)$/, ')'),
    '    at f (main.ts:3)',
  );
  const files = {
    'main.ts': 'import { f } from "./f";\nf(2);',
    'f.ts': '// @shift\nexport function f(n: number): never {\n  throw new Error("ts " + n);\n}',
  };
  const { stack } = (await failed(files)).error;
  assert.match(stack, /at (Module\.)?f \(f\.ts:3:\d+\)\n {4}at main\.ts:2:\d+/);
});

test('the program itself sees mapped positions too', async () => {
  const { stdout } = await run(
    '// @shift\nconst e: Error = new Error("x");\nconsole.log(e.stack);',
    { language: 'typescript' },
  );
  assert.match(stdout, /main\.ts:2:/);
});

const syntaxErrors = [
  [
    'main.js',
    'let a = 1;\nlet b = ;',
    "main.js:2\nlet b = ;\n        ^\n\nSyntaxError: Unexpected token ';'",
  ],
];
for (const [name, source, expected] of syntaxErrors) {
  test(`a syntax error shows its place: ${expected.split('\n')[1]} in ${name}`, async () => {
    const { error } = await failed({ [name]: source });
    assert.equal(error.stack, expected);
    assert.equal(error.name, 'SyntaxError');
  });
}

test('a syntax error in TypeScript is reported by the parser that knows TypeScript', async () => {
  const { error } = await failed({ 'main.ts': 'const a: number = 1;\nconst b: = ;' });
  assert.equal(error.name, 'SyntaxError');
  assert.match(error.stack, /^main\.ts:2\nconst b: = ;\n *\^\n\nSyntaxError: /);
});

test('a syntax error of a required file shows that file', async () => {
  const { error } = await failed({ 'main.js': 'require("./lib.js")', 'lib.js': '\nlet = = 1' });
  assert.match(error.stack, /^lib\.js:2\nlet = = 1\n/);
});

test('an import that does not exist shows where', async () => {
  const { error } = await failed({ 'main.mjs': 'import { nope } from "node:fs";\nnope()' });
  assert.match(error.stack, /^main\.mjs:1\nimport \{ nope \} from "node:fs";\n +\^/);
});

test('causes are nested, and end', async () => {
  const { error } = await failed(
    'let error = new Error("0");\nfor (let i = 1; i < 20; i++) error = new Error(String(i), { cause: error });\nthrow error',
  );
  const messages = [];
  for (let link = error; link; link = link.cause) messages.push(link.message);
  assert.deepEqual(messages, ['19', '18', '17', '16', '15', '14']);
  const cyclic = await failed('const e = new Error("round"); e.cause = e; throw e');
  assert.equal(cyclic.error.cause.message, 'round');
});

test('the members of an AggregateError are reported', async () => {
  const { error } = await failed(
    'await Promise.any([Promise.reject(new Error("a")), Promise.reject("b")])',
  );
  assert.equal(error.name, 'AggregateError');
  assert.deepEqual(
    error.errors.map(({ message }) => message),
    ['a', 'b'],
  );
});

test('aggregates of aggregates stay small', async () => {
  const { finished } = await failed(
    'let e = new Error("x"); for (let i = 0; i < 8; i++) e = new AggregateError(Array(20).fill(e), "m", { cause: e }); throw e',
  );
  assert.ok(JSON.stringify(finished).length < 200_000);
});

const thrown = [
  ['a string', '"just text"', 'just text'],
  ['null', 'null', 'null'],
  ['undefined', 'undefined', 'undefined'],
  ['an object', '{ code: 5, nested: { a: [1] } }', '{ code: 5, nested: { a: [ 1 ] } }'],
  ['a symbol', 'Symbol("s")', 'Symbol(s)'],
];
for (const [name, expression, message] of thrown) {
  test(`${name} that is thrown, or rejected with, is reported`, async () => {
    assert.equal((await failed(`throw ${expression}`)).error.message, message);
    assert.equal(
      (await failed(`exports.main = async () => { throw ${expression} }`)).error.message,
      message,
    );
  });
}

const hostile = [
  [
    'getters that throw',
    'throw Object.defineProperties(new Error("m"), Object.fromEntries(["name", "message", "stack", "cause", "errors", "code", "syscall"].map((k) => [k, { get() { throw 1 } }])))',
    /.*/,
  ],
  [
    'a proxy of nothing but traps',
    'throw new Proxy({}, new Proxy({}, { get() { throw 1 } }))',
    /.*/,
  ],
  [
    'a revoked proxy',
    'const { proxy, revoke } = Proxy.revocable(new Error("x"), {}); revoke(); throw proxy',
    /.*/,
  ],
  [
    'a stack that is an object',
    'const e = new Error("kept"); e.stack = { toString() { throw 1 } }; throw e',
    /kept/,
  ],
  ['a message that is an object', 'const e = new Error(); e.message = {}; throw e', /.*/],
  [
    'prepareStackTrace that throws',
    'Error.prepareStackTrace = () => { throw 1 }; throw new Error("kept")',
    /kept/,
  ],
  [
    'prepareStackTrace that returns an object',
    'Error.prepareStackTrace = () => ({}); throw new Error("kept")',
    /kept/,
  ],
  [
    'prepareStackTrace that cannot be redefined',
    'Object.defineProperty(Error, "prepareStackTrace", { value() { throw 1 } }); throw new Error("kept")',
    /kept/,
  ],
  [
    'a message of 10 MB',
    'throw new Error("m".repeat(1e7))',
    /^m{65536}\.\.\. \(10000000 characters\)$/,
  ],
  [
    'an inspection that throws',
    'throw { [Symbol.for("nodejs.util.inspect.custom")]() { throw 1 }, get a() { throw 1 } }',
    /a: \[Getter\]/,
  ],
  [
    'an endless array of errors',
    'throw Object.assign(new Error("kept"), { errors: new Proxy([], { get: (t, k) => k === "length" ? Infinity : 1 }) })',
    /kept/,
  ],
  ['a stack overflow', 'function f() { f() } f()', /Maximum call stack/],
];
for (const [name, program, message] of hostile) {
  test(`a hostile error is reported: ${name}`, async () => {
    const { error, finished } = await failed(program);
    assert.match(error.message, message);
    assert.equal(typeof error.stack, 'string');
    assert.ok(JSON.stringify(finished).length < 200_000);
  });
}
