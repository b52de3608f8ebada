'use strict';
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { run } = require('./run.js');

const value = async (program, changes) => {
  const outcome = await run(program, changes);
  assert.equal(outcome.error, null, outcome.error?.stack);
  assert.equal(outcome.stderr, '');
  return outcome.value;
};

test('the main program is a real CommonJS main module', async () => {
  const files = {
    'main.js': `const child = require('./lib/child');
      return { main: require.main === module, process: process.mainModule === module, id: module.id, cached: require.cache[__filename] === module,
        childMain: child.main === module, children: module.children.length, resolved: require.resolve('./lib/child') === __dirname + '/lib/child.js',
        paths: module.paths[0] === __dirname + '/node_modules', self: this === module.exports, driver: Object.keys(require.cache).length,
        argv: process.argv.slice(1), execArgv: process.execArgv, cwd: process.cwd() === __dirname, loaded: module.loaded, parent: module.parent ?? null }`,
    'lib/child.js': 'exports.main = require.main;',
  };
  const found = await value(files, { arguments: ['a', 'b'] });
  assert.match(found.argv[0], /main\.js$/);
  assert.deepEqual(
    { ...found, argv: found.argv.slice(1) },
    {
      main: true,
      process: true,
      id: '.',
      cached: true,
      childMain: true,
      children: 1,
      resolved: true,
      paths: true,
      self: true,
      driver: 2,
      argv: ['a', 'b'],
      execArgv: [],
      cwd: true,
      loaded: false,
      parent: null,
    },
  );
});

test('a module that is required by the main program may require it back', async () => {
  assert.equal(
    await value({
      'main.js': 'exports.early = 1;\nreturn require("./b").seen',
      'b.js': 'exports.seen = require("./main").early',
    }),
    1,
  );
});

test('a CommonJS program imports node: modules and files of the run', async () => {
  const files = {
    'main.js':
      'const { basename } = await import("node:path");\nconst { n } = await import("./n.mjs");\nreturn [basename("/a/b"), n, require("./n.mjs").n]',
    'n.mjs': 'export const n = 5;',
  };
  assert.deepEqual(await value(files), ['b', 5, 5]);
});

test('the type of the nearest package.json decides', async () => {
  assert.equal(
    await value({ 'main.js': 'typeof require', 'package.json': '{"type": "module"}' }),
    'undefined',
  );
  assert.equal(
    await value({
      'src/main.js': 'typeof require',
      'src/package.json': '{}',
      'package.json': '{"type": "module"}',
    }),
    'function',
  );
  assert.equal(
    await value({ 'main.cjs': 'typeof require', 'package.json': '{"type": "module"}' }),
    'function',
  );
});

test('a main ES module has its import.meta, its imports and its cycles', async () => {
  const files = {
    'main.mjs': `#!/usr/bin/env node
import { up } from './lib.mjs';
import fs from 'node:fs';
export const base = 20;
const { main, filename, dirname, url } = import.meta;
export default { up: up(), main, filename: filename === process.argv[1], dirname: dirname === process.cwd(), url: url === 'file://' + filename, resolve: import.meta.resolve('./x') === 'file://' + dirname + '/x', real: fs.existsSync(filename), mainModule: process.mainModule === undefined, leaks: Object.keys(globalThis).includes('__belljar_value') };`,
    'lib.mjs':
      "import * as main from './main.mjs';\nexport const up = () => { try { return main.base } catch (error) { return error.name } };",
  };
  assert.deepEqual(await value(files), {
    up: 20,
    main: true,
    filename: true,
    dirname: true,
    url: true,
    resolve: true,
    real: true,
    mainModule: true,
    leaks: false,
  });
});

test('TypeScript runs as CommonJS and as a module', async () => {
  assert.equal(
    await value('interface A { n: number }\nconst a: A = { n: 4 };\na.n', {
      language: 'typescript',
    }),
    4,
  );
  assert.equal(
    await value(
      {
        'main.ts':
          'import path from "node:path";\nexport async function main(p: { x: string }): Promise<string> { return path.basename(p.x) }',
      },
      { parameters: { x: '/a/b' } },
    ),
    'b',
  );
});

test('TypeScript files are imported and required, also without their extension and as .js', async () => {
  const files = {
    'main.ts':
      'import { a } from "./a";\nimport { b } from "./b.js";\nimport { c } from "./c.ts";\nexport default [a, b, c] as number[];',
    'a.ts': 'export const a: number = 1;\na;',
    'b.ts': 'export const b: number = 2;',
    'c.ts':
      'export const c: number = 3;\nfunction main(): void { throw new Error("only the main file has a main") }',
  };
  assert.deepEqual(await value(files), [1, 2, 3]);
  assert.equal(
    await value({
      'main.ts': 'const { a } = require("./a.ts");\na as number',
      'a.ts':
        "'use strict';\nexports.a = 1 as number;\n(function () { if (this !== undefined) throw new Error('sloppy') })();",
    }),
    1,
  );
});

test('belljar is a global, and a module for require and import', async () => {
  const found = await value(
    `const required = require('belljar');
    return import('belljar').then(({ default: imported, parameters }) => ({ same: required === belljar && imported === belljar,
      parameters, env: belljar.env, secrets: belljar.secrets, run: belljar.run, frozen: Object.isFrozen(belljar), enumerable: Object.keys(globalThis).includes('belljar'),
      storage: (() => { try { belljar.storage } catch (error) { return error.message } })(), storageGuard: typeof belljar.display }))`,
    { parameters: [1], env: { TOKEN: 't' } },
  );
  assert.deepEqual(found, {
    same: true,
    parameters: [1],
    env: { TOKEN: 't' },
    secrets: {},
    run: { id: 'run_test', deadline: '2026-01-02T03:04:35.678Z', timeoutMs: 30000 },
    frozen: true,
    enumerable: false,
    storage:
      'belljar.storage is not granted; grant it with storage: {"read": ["..."], "write": ["..."]}',
    storageGuard: 'function',
  });
  assert.deepEqual(
    await value(
      {
        'main.mjs':
          'import belljar, { parameters } from "belljar";\nexport default [belljar.parameters, parameters]',
      },
      { parameters: 3 },
    ),
    [3, 3],
  );
});

test('yepcode is an alias with the names of that system', async () => {
  assert.deepEqual(
    await value(
      'const { context, env, execution } = yepcode; return [context.parameters, env.A, execution.id, context.request.headers]',
      { parameters: { a: 1 }, env: { A: 'x' } },
    ),
    [{ a: 1 }, 'x', 'run_test', {}],
  );
});

test('the environment is the base and what was granted', async () => {
  const { HOME, TOKEN, ...rest } = await value('process.env', { env: { TOKEN: 't' } });
  assert.match(HOME, /home$/);
  assert.equal(TOKEN, 't');
  assert.deepEqual(rest, {
    PATH: '/usr/local/bin:/usr/bin:/bin',
    USER: 'user',
    LANG: 'C.UTF-8',
    TMPDIR: '/tmp',
  });
});

test('stdin is data for the program', async () => {
  assert.equal(
    await value('return require("node:fs").readFileSync(0, "utf8")', { stdin: 'a,b\n' }),
    'a,b\n',
  );
  assert.equal(
    await value(
      'let text = ""; for await (const part of process.stdin) text += part; return text',
      { stdin: 'a,b\n' },
    ),
    'a,b\n',
  );
});

test('worker threads, WebAssembly and fetch exist and work', async () => {
  assert.equal(
    await value(
      'const { Worker } = require("node:worker_threads");\nreturn new Promise((ok, no) => new Worker("require(\\"worker_threads\\").parentPort.postMessage(7); process.exit(3)", { eval: true }).on("message", ok).on("error", no))',
    ),
    7,
  );
  assert.equal(
    await value(
      'const { instance } = await WebAssembly.instantiate(new Uint8Array([0,97,115,109,1,0,0,0,1,5,1,96,0,1,127,3,2,1,0,7,5,1,1,102,0,0,10,6,1,4,0,65,42,11]));\nreturn instance.exports.f()',
    ),
    42,
  );
  assert.equal(await value('return (await fetch("data:text/plain,hi")).text()'), 'hi');
});
