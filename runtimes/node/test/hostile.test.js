'use strict';
// A program that breaks the builtins breaks only itself, and not its report. Each test first proves
// that the attack worked on the program.
const assert = require('node:assert/strict');
const { test } = require('node:test');
const { run } = require('./run.js');

const attacks = {
  'Object.prototype is polluted': {
    code: `for (const name of ['toJSON', 'get', 'set', 'then2', 'cause', 'main', 'length', 'parent', 'key', 'level', 'hint'])
      Object.defineProperty(Object.prototype, name, { get() { throw new Error('polluted') }, set() { throw new Error('polluted') }, configurable: true });`,
    proof: '(() => { try { return ({}).toJSON } catch { return "hit" } })()',
  },
  'Object.prototype.value is set': {
    code: 'Object.prototype.value = 666; Object.prototype.get = undefined;',
    proof: '({}).value === 666 && "hit"',
  },
  'Object.prototype.then is a function': {
    code: 'Object.prototype.then = undefined; Object.defineProperty(Object.prototype, "then", { value: undefined });',
    proof: '"then" in {} && "hit"',
  },
  'JSON is replaced': {
    code: 'JSON.stringify = () => "666"; JSON.parse = null;',
    proof: 'JSON.stringify(1) === "666" && "hit"',
  },
  'Array.prototype is emptied': {
    code: 'for (const name of Object.getOwnPropertyNames(Array.prototype)) if (name !== "length" && name !== "constructor") delete Array.prototype[name]; Array.prototype[Symbol.iterator] = () => { throw new Error("iterated") };',
    proof: '[].push === undefined && "hit"',
  },
  'Array.prototype has setters': {
    code: 'for (const index of [0, 1, 2]) Object.defineProperty(Array.prototype, index, { set() { throw new Error("set") }, configurable: true });',
    proof: '(() => { try { const a = []; a[0] = 1 } catch { return "hit" } })()',
  },
  'String.prototype is emptied': {
    code: 'for (const name of Object.getOwnPropertyNames(String.prototype)) if (name !== "length" && name !== "constructor") delete String.prototype[name];',
    proof: '"".slice === undefined && "hit"',
  },
  'RegExp.prototype.exec throws': {
    code: 'RegExp.prototype.exec = () => { throw new Error("exec") };',
    proof: '(() => { try { /a/.test("a") } catch { return "hit" } })()',
  },
  'Function.prototype is emptied': {
    code: 'Function.prototype.call = Function.prototype.apply = Function.prototype.bind = () => { throw new Error("called") }; Reflect.apply = null;',
    proof: '(() => { try { (() => {}).call() } catch { return "hit" } })()',
  },
  'Promise is replaced': {
    code: 'Promise.prototype.then = () => { throw new Error("then") }; globalThis.Promise = null;',
    proof: 'Promise === null && "hit"',
  },
  'Map, Set and WeakMap are broken': {
    code: 'for (const C of [Map, Set, WeakMap]) for (const name of ["get", "set", "has", "add", "forEach"]) C.prototype[name] = () => { throw new Error("broken") };',
    proof: '(() => { try { new Map().get() } catch { return "hit" } })()',
  },
  'the console is gone': { code: 'globalThis.console = null;', proof: 'console === null && "hit"' },
  'process.exit and process.emit are replaced': {
    code: 'process.exit = process.emit = () => {};',
    proof: 'process.exit() === undefined && "hit"',
  },
  'process is gone': {
    code: 'globalThis.process = undefined;',
    proof: 'process === undefined && "hit"',
  },
  'Error.prepareStackTrace throws': {
    code: 'Error.prepareStackTrace = () => { throw new Error("prepared") };',
    proof: '(() => { try { return void new Error().stack } catch { return "hit" } })()',
  },
  'globals are replaced': {
    code: 'for (const name of ["Object", "Array", "String", "Number", "Error", "Reflect", "Buffer", "setImmediate", "Uint8Array"]) globalThis[name] = null;',
    proof: 'Object === null && "hit"',
  },
};

for (const [name, { code, proof }] of Object.entries(attacks)) {
  // A program that does not need the broken builtins still returns its result.
  test(`a result is reported although ${name}`, async () => {
    const { finished, stderr } = await run(
      `${code}\nreturn ({ __proto__: null, proof: ${proof}, list: [1, null, 'é'] })`,
    );
    assert.equal(stderr, '');
    assert.equal(finished.length, 1);
    const { value, error, exit_code } = finished[0];
    if (name === 'Object.prototype is polluted') {
      // The driver reads `toJSON` of the list, as JSON.stringify would.
      assert.match(error.message, /\$\.list could not be read \(Error: polluted\)/);
    } else {
      assert.deepEqual(
        [value, error, exit_code],
        [{ proof: 'hit', list: [1, null, 'é'] }, null, null],
      );
    }
  });

  test(`an error is reported although ${name}`, async () => {
    const { finished, stderr } = await run(
      `${code}\nconst hit = ${proof};\nthrow hit === 'hit' ? null.missing : hit`,
    );
    assert.equal(stderr, '');
    assert.equal(finished.length, 1);
    assert.match(finished[0].error.message, /Cannot read properties of null/);
    assert.equal(finished[0].value, null);
  });
}

test('a main that is awaited settles although Promise.prototype.then is replaced', async () => {
  const { finished } = await run(
    'Promise.prototype.then = () => { throw new Error("then") };\nexports.main = async () => { await null; return 5 }',
  );
  assert.deepEqual(finished, [{ value: 5, error: null, exit_code: null }]);
});

test("a polluted toJSON changes the program's own result and nothing of the report", async () => {
  const { finished } = await run(
    'Object.prototype.toJSON = function () { return "polluted" };\nthrow new Error("kept")',
  );
  assert.equal(finished[0].error.message, 'kept');
});

test("frames after EXECUTED are the native library's to drop: the driver sends one", async () => {
  const { finished } = await run('process.on("exit", () => process.exit(4)); process.exit(3)');
  assert.deepEqual(finished, [{ value: null, error: null, exit_code: 4 }]);
});
