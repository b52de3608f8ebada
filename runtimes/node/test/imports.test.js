'use strict';
// Imports are found in all files of a program without running any of it. The tests of the parser
// decide what an import is.

const assert = require('node:assert');
const { test } = require('node:test');
const { run } = require('./run.js');

async function find(program, changes) {
  const { value, error, finished } = await run(program, {
    task: 'find_imports',
    finish: 'settled',
    ...changes,
  });
  assert.equal(error, null);
  assert.equal(finished.length, 1);
  return value;
}

test('the imports of all files are one list, optional where every file says so', async () => {
  const files = {
    'main.js': "require('a')\ntry { require('b') } catch {}\ntry { require('c') } catch {}",
    'deep/er/b.mjs': "import { b } from 'b'\n// @add-package x@1",
    'c.cjs': "try { require('c') } catch {}\n// @add-package x@1\n// @add-package y",
  };
  const { imports, additions } = await find(files);
  assert.deepEqual(imports, { a: false, b: false, c: true });
  assert.deepEqual(additions.sort(), ['x@1', 'y']);
});

test('a name of an object’s own is a name like others', async () => {
  const { imports } = await find(
    "require('__proto__')\nrequire('constructor')\ntry { require('toString') } catch {}",
  );
  assert.deepEqual(Object.entries(imports).sort(), [
    ['__proto__', false],
    ['constructor', false],
    ['toString', true],
  ]);
});

test('each file is in the language of its name, and the entry in that of the run', async () => {
  const files = (entry) => ({
    [entry]: "import type { A } from 'types'\nimport 'a'",
    'b.ts': "import type { B } from 'types'\nimport 'b'",
    'c.js': "import 'c'",
  });
  assert.deepEqual(Object.keys((await find(files('main.js'))).imports).sort(), ['b', 'c']);
  assert.deepEqual(
    Object.keys((await find(files('main.js'), { language: 'typescript' })).imports).sort(),
    ['a', 'b', 'c'],
  );
});

test('a file that does not parse contributes nothing', async () => {
  assert.deepEqual(await find({ 'main.js': "require('a')", 'broken.js': "require('b')\n(((" }), {
    imports: { a: false },
    additions: [],
  });
  assert.deepEqual(await find({ 'main.js': "require('b')\n(((" }), { imports: {}, additions: [] });
});

test('nothing of the program is run', async () => {
  const attack = "require('fs').writeSync(1, 'ran')\nconsole.log('ran'); process.exit(7)";
  const ran = await run(attack);
  assert.equal(ran.stdout, 'ranran\n');
  assert.equal(ran.exit_code, 7);
  const files = {
    'main.js': attack,
    'fs.js': attack,
    'package.json': '{"type": "module"}',
    'node_modules/fs/index.js': attack,
  };
  const found = await run(files, {
    task: 'find_imports',
    finish: 'settled',
    env: { NODE_PATH: '/home/user' },
  });
  assert.deepEqual(found.value, { imports: { fs: false }, additions: [] });
  assert.equal(found.stdout + found.stderr, '');
  assert.equal(found.exit_code, null);
});
