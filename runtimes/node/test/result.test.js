'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { run } = require('./run.js');

const parameters = { x: 20 };
/** name, program, value, changes */
const programs = [
  ['the last expression', '1 + 1', 2],
  ['nothing', 'const a = 1;', null],
  ['a promise as the last expression', 'Promise.resolve({ a: 1 })', { a: 1 }],
  ['a thenable as the last expression', '({ then(resolve) { setTimeout(resolve, 1, 7) } })', 7],
  ['a top-level return', 'if (true) return { early: true };\nthrow 1', { early: true }],
  ['a top-level return of a promise', 'return new Promise((r) => setTimeout(r, 5, 3))', 3],
  ['top-level await', 'const a = await Promise.resolve(4);\na * 2', 8],
  ['top-level await and return', 'return await Promise.resolve(4)', 4],
  ['exports.main', 'exports.main = ({ x }) => x + 1', 21],
  ['an async module.exports.main', 'module.exports = { main: async ({ x }) => x + 2 }', 22],
  ['module.exports as a function', 'module.exports = async ({ x }) => x + 3', 23],
  ['compiled TypeScript', 'exports.__esModule = true; exports.default = ({ x }) => x + 4', 24],
  ['a defined main', 'function main({ x }) { return x + 5 }', 25],
  ['a main in a const', 'const main = async ({ x }) => x + 6', 26],
  ['main over the last expression', 'function main() { return "main" }\n"last"', 'main'],
  ['main over other exports', 'exports.value = 1; exports.main = () => "main"', 'main'],
  ['assigned module.exports', 'module.exports = { total: 3 }; 5', { total: 3 }],
  ['filled exports', 'exports.total = 3; 5', { total: 3 }],
  ['module.exports that is an empty array', 'module.exports = []; 5', []],
  ['module.exports that is a promise', 'module.exports = Promise.resolve(9)', 9],
  [
    'module.exports of functions only',
    'module.exports = { add(a, b) { return a + b } };\nmodule.exports.add(1, 2)',
    3,
  ],
  ['an empty module.exports', 'module.exports = {}; 5', 5],
  ['exports that are only functions and no value', 'module.exports = { add() {} }', null],
  ['a class named main is not called', 'class main {}\n5', 5],
  ['what arrives after the program', 'const out = []; setTimeout(() => out.push(1), 5); out', [1]],
  ['the parameters as given', 'belljar.parameters', parameters],
];
for (const [name, program, value] of programs) {
  test(`the result is ${name}`, async () => {
    const { finished, stderr } = await run(program, { parameters });
    assert.equal(stderr, '');
    assert.deepEqual(finished, [{ value, error: null, exit_code: null }]);
  });
}

const modules = [
  ['an export named main', 'export async function main({ x }) { return x + 1 }', 21],
  ['a default export that is a function', 'export default ({ x }) => x + 2', 22],
  [
    'a main that is not exported',
    'import "node:fs";\nasync function main({ x }) { return x + 3 }',
    23,
  ],
  ['a default export that is a value', 'export default { a: [1] }', { a: [1] }],
  ['a default export that is a promise', 'export default Promise.resolve(5)', 5],
  [
    'the last expression of a module',
    'import fs from "node:fs";\ntypeof fs.readFileSync',
    'function',
  ],
  ['the last expression after an await', 'import "node:fs";\nawait null;\n40 + 2', 42],
];
for (const [name, program, value] of modules) {
  test(`the result is ${name}`, async () => {
    const { finished, stderr } = await run({ 'main.mjs': program }, { parameters });
    assert.equal(stderr, '');
    assert.deepEqual(finished, [{ value, error: null, exit_code: null }]);
  });
}

const count = 'let calls = 0;\n';
const body = '{ calls++; console.log("main " + calls); await null; return "value"; }';
const ownCalls = [
  ['main()', `${count}async function main() ${body}\nmain()`],
  ['main().catch(...)', `${count}async function main() ${body}\nmain().catch(console.error);`],
  [
    '(async () => await main())()',
    `${count}async function main() ${body}\n(async () => { return await main(); })();`,
  ],
  [
    'an exported main that is called',
    `${count}const main = async () => ${body};\nmodule.exports = { main };\nmain();`,
  ],
  [
    'if (require.main === module) main()',
    `${count}async function main() ${body}\nmodule.exports = { main };\nif (require.main === module) { main(); }`,
  ],
  ['return main()', `${count}async function main() ${body}\nreturn main();`],
];
for (const [name, program] of ownCalls) {
  test(`a program that calls its own main is not run twice: ${name}`, async () => {
    const { value, error, stdout } = await run(program);
    assert.equal(error, null);
    assert.equal(stdout, 'main 1\n');
    assert.equal(value, 'value');
  });
}

test('a program that calls its own main in a roundabout way is not run twice', async () => {
  for (const call of [
    'Promise.all([main])[0]; const run = (f) => f();\nrun(main)',
    'const all = [main]; all[0]()',
    '[main].map((f) => f())[0]',
  ]) {
    const { value, stdout } = await run(`${count}const main = async () => ${body};\n${call}`);
    assert.deepEqual([value, stdout], ['value', 'main 1\n']);
  }
});

test('the text of a call is not taken for a call', async () => {
  const { value, stdout } = await run(
    `${count}async function main() ${body}\nconst script = \`def main():\n  pass\n\nmain()\n\`;\n// main()\nscript`,
  );
  assert.deepEqual([value, stdout], ['value', 'main 1\n']);
});

test('a main that a wrapper made is called', async () => {
  const { value } = await run(
    'const wrap = (f) => (...a) => f(...a);\nconst other = wrap(() => 1); other();\nconst main = wrap(() => "value");',
  );
  assert.equal(value, 'value');
});

test('a main that a module calls itself is not run twice', async () => {
  const program = `${count}export async function main() ${body}\nconst result = await main();\nconsole.log(result)`;
  const { error, stdout } = await run({ 'main.mjs': program });
  assert.equal(error, null);
  assert.equal(stdout, 'main 1\nvalue\n');
});

test('a guard that was not taken leaves main to the driver', async () => {
  const { value, stdout } = await run(
    `${count}async function main() ${body}\nif (require.main !== module) { main(); }`,
  );
  assert.equal(stdout, 'main 1\n');
  assert.equal(value, 'value');
});

test('a result without a JSON form fails the run', async () => {
  const { value, error, exit_code } = await run('return { items: [{ callback() {} }] }');
  assert.deepEqual([value, exit_code, error.name], [null, null, 'ResultNotSerializable']);
  assert.match(error.message, /\$\.items\[0\]\.callback is a function/);
});

test('a result over its limit fails the run', async () => {
  const { error } = await run('return "x".repeat(2000)', { limits: { result_bytes: 1000 } });
  assert.equal(error.name, 'ResultTooLarge');
});

test('a last expression without a JSON form is null and a note', async () => {
  for (const [program, words] of [
    ['setTimeout(() => {}, 1)', /the last expression, a Timeout, has no JSON form/],
    ['({ items: [{ callback() {} }] })', /\$\.items\[0\]\.callback is a function/],
    ['"x".repeat(2000)', /more than 1000 bytes/],
    ['new Promise(() => {})', /a promise that nothing is left to settle/],
  ]) {
    const { finished, notes } = await run(program, { limits: { result_bytes: 1000 } });
    assert.deepEqual(finished, [{ value: null, error: null, exit_code: null }], program);
    assert.equal(notes.length, 1);
    assert.match(notes[0], words);
  }
});

test('a result that is there while something is open is sent, with what that is', async () => {
  const { settled, value } = await run('setTimeout(() => {}, 300);\n({ rows: 3 })', {
    limits: { timeout_ms: 30000 },
  });
  assert.deepEqual(settled, [
    { value: { rows: 3 }, pending: [{ kind: 'timer', count: 1, at: 'main.js:1:1' }] },
  ]);
  assert.deepEqual(value, { rows: 3 });
});
