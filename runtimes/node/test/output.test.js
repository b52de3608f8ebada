'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { run } = require('./run.js');

const DEBUG = 0;
const INFO = 1;
const WARN = 2;
const ERROR = 3;

/** name, program, stdout, stderr, annotations */
const outputs = [
  ['one line of log', 'console.log("a")', 'a\n', '', []],
  ['one line of error', 'console.error("a")', '', 'a\n', []],
  ['several lines of log', 'console.log("a\\nb")', 'a\nb\n', '', [[1, INFO, 4]]],
  ['bytes, not characters', 'console.info("é\\né")', 'é\né\n', '', [[1, INFO, 6]]],
  ['several lines of error', 'console.error("a\\nb")', '', 'a\nb\n', [[2, ERROR, 4]]],
  ['debug', 'console.debug("a")', 'a\n', '', [[1, DEBUG, 2]]],
  ['warn', 'console.warn("a")', '', 'a\n', [[2, WARN, 2]]],
  [
    'assert, which warns',
    'console.assert(false, "a")',
    '',
    'Assertion failed: a\n',
    [[2, WARN, 20]],
  ],
  ['a table, which logs', 'console.table([1])', null, '', [[1, INFO, null]]],
  [
    'raw writes, whose lines are entries',
    'process.stdout.write("a\\nb\\n"); process.stderr.write("c\\nd\\n")',
    'a\nb\n',
    'c\nd\n',
    [],
  ],
  ['a format', 'console.log("%s=%d", "a", 1, { b: 2 })', 'a=1 { b: 2 }\n', '', []],
  [
    'a group',
    'console.group("a"); console.log("b"); console.groupEnd(); console.warn("c")',
    'a\n  b\n',
    'c\n',
    [[2, WARN, 2]],
  ],
  [
    'corked writes',
    'process.stdout.cork(); console.log("a\\nb"); console.log("c"); process.stdout.uncork()',
    'a\nb\nc\n',
    '',
    [],
  ],
  [
    'a Buffer',
    'process.stdout.write(Buffer.from("a\\n")); process.stdout.write("YQo=", "base64")',
    'a\na\n',
    '',
    [],
  ],
  [
    "a console of the program's own",
    'new console.Console(process.stdout).warn("a\\nb")',
    'a\nb\n',
    '',
    [],
  ],
];
for (const [name, program, stdout, stderr, annotations] of outputs) {
  test(`logs ${name}`, async () => {
    const outcome = await run(`${program}; undefined`);
    assert.equal(outcome.error, null);
    if (stdout !== null) assert.equal(outcome.stdout, stdout);
    assert.equal(outcome.stderr, stderr);
    const known = annotations.map(([stream, level, length]) => [
      stream,
      level,
      length ?? Buffer.byteLength(outcome.stdout),
    ]);
    assert.deepEqual(outcome.annotations, known);
    assert.deepEqual(
      outcome.counted,
      [Buffer.byteLength(outcome.stdout), Buffer.byteLength(outcome.stderr)],
      'every byte is counted',
    );
  });
}

test('a program may capture what its console writes', async () => {
  const { value, stdout } = await run(`const seen = [];
    const { write } = process.stdout;
    process.stdout.write = function (text, ...rest) { seen.push(text); return write.call(this, text.toUpperCase(), ...rest); };
    console.log('a'); console.debug('b');
    process.stdout.write = write;
    console.log('c');
    seen`);
  assert.deepEqual(value, ['a\n', 'b\n']);
  assert.equal(stdout, 'A\nB\nc\n');
});

test('console methods look as they do in plain node', async () => {
  const { value } = await run(
    '["log", "info", "debug", "warn", "error", "trace", "dir"].map((m) => [console[m].name, console[m].length, "prototype" in console[m], Object.keys(console).includes(m)])',
  );
  const plain = ['log', 'info', 'debug', 'warn', 'error', 'trace', 'dir'].map((m) => [
    console[m].name,
    console[m].length,
    'prototype' in console[m],
    true,
  ]);
  assert.deepEqual(value, plain);
});

test('output of a worker and of the stack is one entry each where it can be', async () => {
  const { stdout, stderr, annotations } = await run(
    'const { Worker } = require("worker_threads"); new Worker("console.log(1)", { eval: true }).on("exit", () => console.trace("here")); undefined',
  );
  assert.equal(stdout, '1\n');
  assert.match(stderr, /^Trace: here\n {4}at /);
  assert.deepEqual(annotations, [[2, DEBUG, Buffer.byteLength(stderr)]]);
});

const png = Buffer.from('89504e470d0a1a0a00', 'hex');
const displays = [
  [
    'a PNG',
    `Buffer.from('${png.toString('hex')}', 'hex')`,
    'image/png',
    png.toString('base64'),
    'base64',
  ],
  [
    'a JPEG in a Uint8Array',
    'new Uint8Array([0xff, 0xd8, 0xff, 1])',
    'image/jpeg',
    '/9j/AQ==',
    'base64',
  ],
  [
    'a WebP',
    'Buffer.from("RIFF0000WEBP")',
    'image/webp',
    Buffer.from('RIFF0000WEBP').toString('base64'),
    'base64',
  ],
  [
    'a GIF in an ArrayBuffer',
    'new TextEncoder().encode("GIF89a").buffer',
    'image/gif',
    Buffer.from('GIF89a').toString('base64'),
    'base64',
  ],
  ['SVG', '"\\n<svg xmlns=\\"a\\"></svg>"', 'image/svg+xml', '\n<svg xmlns="a"></svg>', 'utf8'],
  [
    'SVG with a prologue',
    '"<?xml version=\\"1.0\\"?><svg/ >".replace("/ ", " ")',
    'image/svg+xml',
    '<?xml version="1.0"?><svg >',
    'utf8',
  ],
  ['text', '"hi"', 'text/plain', 'hi', 'utf8'],
  ['HTML', '({ html: "<b>" })', 'text/html', '<b>', 'utf8'],
  ['Markdown', '({ markdown: "# a" })', 'text/markdown', '# a', 'utf8'],
  ['something with toHTML', '({ toHTML() { return "<i>" } })', 'text/html', '<i>', 'utf8'],
  ['JSON', '({ json: [1n] })', 'application/json', '[1]', 'utf8'],
  ['plain data', '({ a: new Set([1]) })', 'application/json', '{"a":[1]}', 'utf8'],
  ['a type of its own', '"a,b", { type: "text/csv" }', 'text/csv', 'a,b', 'utf8'],
];
for (const [name, argument, type, data, encoding] of displays) {
  test(`display shows ${name}`, async () => {
    const { results, error } = await run(`belljar.display(${argument}); undefined`);
    assert.equal(error, null);
    assert.deepEqual(results, [{ type, data, encoding }]);
  });
}

test('display refuses what it cannot show', async () => {
  const { value } =
    await run(`const refused = (...a) => { try { belljar.display(...a); return 'shown' } catch (error) { return error.message } };
    [refused('a', { type: 'nonsense' }), refused(Buffer.alloc(9e6)), refused({ f() {} })]`);
  assert.match(value[0], /media type/);
  assert.match(value[1], /outputs\//);
  assert.match(value[2], /\$\.f is a function/);
});
