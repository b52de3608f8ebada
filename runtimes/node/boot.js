'use strict';
// The work that a zygote does once so that no sandbox has to: it loads the core modules that
// programs use, and runs the code paths of a trivial program until they are compiled. It leaves no
// trace that a program could find, draws no random number, and touches no stream of the process; a
// test checks this.

const Module = require('node:module');
const net = require('node:net');
const process = require('node:process');
const util = require('node:util');
const v8 = require('node:v8');
const vm = require('node:vm');
const { toJSONText } = require('./convert.js');
const { describeError } = require('./errors.js');
const { removeHooks } = require('./loader.js');
const { allowImports } = require('./program.js');

const preloaded = ['assert', 'async_hooks', 'buffer', 'child_process', 'crypto', 'diagnostics_channel', 'dns', 'events', 'fs',
  'fs/promises', 'http', 'http2', 'https', 'module', 'net', 'os', 'path', 'perf_hooks', 'process', 'querystring', 'readline',
  'readline/promises', 'stream', 'stream/promises', 'stream/web', 'string_decoder', 'timers', 'timers/promises', 'tls', 'tty', 'url',
  'util', 'v8', 'vm', 'worker_threads', 'zlib'];

// Globals that Node defines lazily: reading one loads its implementation.
const lazyGlobals = ['fetch', 'Headers', 'Request', 'Response', 'FormData', 'Blob', 'File', 'AbortController', 'AbortSignal', 'Event',
  'EventTarget', 'MessageChannel', 'TextEncoder', 'TextDecoder', 'ReadableStream', 'URL', 'URLSearchParams', 'structuredClone',
  'crypto', 'performance', 'queueMicrotask', 'CompressionStream', 'WebAssembly'];

/**
 * V8 compiles a function when it is first called, and collects type feedback from the second call
 * on.
 */
const ROUNDS = 3;

/**
 * Loads the modules and warms up the code paths.
 * @param {object} native of which only `prepare` is used
 * @param {string} rehearsal an activation
 * @param {(native: object, activation: string, home: string) => void} rehearse a whole run that
 *   ends nowhere
 */
function warmUp(native, rehearsal, rehearse) {
  // Bytecode that has not run for a few collections would be discarded, and compiled again in every
  // sandbox.
  v8.setFlagsFromString('--no-flush-bytecode');
  // A young generation that grows is memory that a small sandbox lacks. `fitHeap` lets it grow in
  // large ones.
  v8.setFlagsFromString('--semi-space-growth-factor=1');
  withoutStreams(() => {
    for (const name of preloaded) require(`node:${name}`);
    for (const name of lazyGlobals) void globalThis[name];
    loadFetch();
  });
  // For the programs that need them: loading the first one in each sandbox took 3 ms.
  require('./storage.js');
  require('./imports.js');
  allowImports();
  // Runs the queued tasks: an import without a file needs no turn of the loop.
  process._tickCallback();
  rehearsed = JSON.parse(rehearsal);
  collectGarbage();
  const folder = process.cwd();
  for (let round = 0; round < ROUNDS; round++) {
    for (const entry of ['value.js', 'main.js', 'module.mjs']) {
      rehearse(native, activationOf(entry), rehearsals);
      forgetRun();
    }
    warmConversions();
    warmOutput();
  }
  process.chdir(folder);
  forgetModules();
}

// Garbage from loading is collected or promoted before the fork, so that no sandbox copies pages to
// collect it. This happens before the rehearsals, because a collection discards the feedback that
// they provide (a trivial run was 0.2 ms slower with a collection after them).
function collectGarbage() {
  v8.setFlagsFromString('--expose-gc');
  const collect = vm.runInNewContext('gc');
  v8.setFlagsFromString('--no-expose-gc');
  collect();
  collect();
}

/** Programs to rehearse with: a last expression, a function `main`, a module. */
const rehearsals = `${__dirname}/rehearsal`;

/**
 * The rehearsal's activation, kept for as long as the process lives: V8 remembers the shape of an
 * object only while such an object exists, and learning an activation's shape again cost each
 * sandbox 0.1 ms.
 */
let rehearsed = null;

/** An activation of one of the rehearsals. */
function activationOf(entry) {
  return JSON.stringify({ ...rehearsed, entry, arguments: ['a'], parameters: { list: [1, 'two'] } });
}

function warmConversions() {
  toJSONText({ a: [1, 'b', true, null, new Date(0), new Map([['k', 1n]]), new Set([1])] }, 1000);
  const formatter = Object.getOwnPropertyDescriptor(Error, 'prepareStackTrace');
  // This call removes a formatter of stacks.
  describeError(new TypeError('warm', { cause: new Error('cause') }));
  if (formatter !== undefined) Object.defineProperty(Error, 'prepareStackTrace', formatter);
  util.inspect(new Map([[1, new Error('warm')]]));
}

// Creates an object like process.stdout in a sandbox, over a handle that writes nowhere. Otherwise
// the first log of a run would compile all of this.
function warmOutput() {
  const handle = {
    getAsyncId: () => 0, getProviderType: () => 0, setBlocking: () => 0, writeUtf8String: () => 0, writeLatin1String: () => 0,
    writeBuffer: () => 0, readStop: () => 0, ref() {}, unref() {}, close() {},
  };
  const stream = new net.Socket({ handle, readable: false, writable: true });
  new console.Console(stream).log('%s %d', 'warm', 1, { nested: { list: [1, 'two'] } });
  process._tickCallback();
}

// `assert` checks, when it is loaded, whether process.stderr has colours. The answer is no; the
// pipe must not be opened to find out.
function withoutStreams(load) {
  const names = ['stdin', 'stdout', 'stderr'];
  const descriptors = names.map((name) => Object.getOwnPropertyDescriptor(process, name));
  for (const name of names) Object.defineProperty(process, name, { value: { isTTY: false }, configurable: true, enumerable: true });
  load();
  names.forEach((name, index) => Object.defineProperty(process, name, descriptors[index]));
}

// The implementation of fetch is loaded by the first request. Creating its classes loads it without
// a request.
function loadFetch() {
  void globalThis.WebSocket;
  void new Response('').headers;
  void new Request('http://localhost/');
}

/** Undoes the effects of a run on its process. */
function forgetRun() {
  removeHooks();
  delete globalThis.belljar;
  delete globalThis.yepcode;
  process._exiting = false;
  process.argv = process.argv.slice(0, 1);
  forgetModules();
}

/** Removes the driver's own files from the parts of the module system that a program can see. */
function forgetModules() {
  for (const file of Object.keys(Module._cache)) {
    if (file.startsWith(`${__dirname}/`)) delete Module._cache[file];
  }
  for (const key of Object.keys(Module._pathCache)) {
    if (key.includes(__dirname)) delete Module._pathCache[key];
  }
  process.mainModule = undefined;
  process.execArgv = [];
}

module.exports = { warmUp };
