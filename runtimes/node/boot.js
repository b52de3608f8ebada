'use strict';
// What the zygote does once so that no sandbox has to: loads the core modules that programs use, and runs the paths of a trivial
// program until they are compiled. Leaves no trace that a program could find, draws no random number, and touches no stream of the
// process; a test holds it to that.

const Module = require('node:module');
const process = require('node:process');
const util = require('node:util');
const v8 = require('node:v8');
const vm = require('node:vm');
const { toJSONText } = require('./convert.js');
const { describeError } = require('./errors.js');

const preloaded = ['assert', 'async_hooks', 'buffer', 'child_process', 'crypto', 'diagnostics_channel', 'dns', 'events', 'fs',
  'fs/promises', 'http', 'http2', 'https', 'module', 'net', 'os', 'path', 'perf_hooks', 'process', 'querystring', 'readline',
  'readline/promises', 'stream', 'stream/promises', 'stream/web', 'string_decoder', 'timers', 'timers/promises', 'tls', 'tty', 'url',
  'util', 'v8', 'vm', 'worker_threads', 'zlib'];

// Globals that Node defines lazily: reading one loads what is behind it.
const lazyGlobals = ['fetch', 'Headers', 'Request', 'Response', 'FormData', 'Blob', 'File', 'AbortController', 'AbortSignal', 'Event',
  'EventTarget', 'MessageChannel', 'TextEncoder', 'TextDecoder', 'ReadableStream', 'URL', 'URLSearchParams', 'structuredClone',
  'crypto', 'performance', 'queueMicrotask', 'CompressionStream', 'WebAssembly'];

const rounds = 3;

/** Loads and warms. `native` is used for `prepare` only. */
function warmUp(native) {
  // Bytecode that has not run for a few collections would be thrown away, and compiled again in every sandbox.
  v8.setFlagsFromString('--no-flush-bytecode');
  withoutStreams(() => {
    for (const name of preloaded) require(`node:${name}`);
    for (const name of lazyGlobals) void globalThis[name];
    loadFetch();
  });
  require('./warm.mjs');

  for (let round = 0; round < rounds; round++) {
    const prepared = native.prepare('1 + 1', '/home/user/main.js', 'javascript');
    vm.compileFunction(prepared.code, ['exports', '__belljar_value'], {
      __proto__: null, filename: '/home/user/main.js', importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    })({}, () => {});
    toJSONText({ a: [1, 'b', true, null, new Date(0), new Map([['k', 1n]]), new Set([1])] }, 1000);
    describeError(new TypeError('warm', { cause: new Error('cause') }));
    new console.Console(new SilentStream()).log('%s %d', 'warm', round, { nested: { list: [1, 'two'] } });
    util.inspect(new Map([[1, new Error('warm')]]));
  }
  warmImport();
  forgetModules();
}

// Dynamic import in a main program goes through vm, which warns of that once in the life of a process. That is our doing and not the
// program's, so it happens here, unheard. `_tickCallback` runs what is queued: an import without a file needs no turn of the loop.
function warmImport() {
  const { emitWarning } = process;
  process.emitWarning = () => {};
  vm.compileFunction("import('data:text/javascript,export default 1')", [], {
    __proto__: null, filename: '/home/user/main.js', importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
  })();
  process._tickCallback();
  process.emitWarning = emitWarning;
}

// `assert` asks, as it loads, whether process.stderr has colours. The answer is no; the pipe must not be opened to find out.
function withoutStreams(load) {
  const names = ['stdin', 'stdout', 'stderr'];
  const descriptors = names.map((name) => Object.getOwnPropertyDescriptor(process, name));
  for (const name of names) Object.defineProperty(process, name, { value: { isTTY: false }, configurable: true, enumerable: true });
  load();
  names.forEach((name, index) => Object.defineProperty(process, name, descriptors[index]));
}

// The implementation of fetch is loaded by the first request. Making its classes gets that far and no further.
function loadFetch() {
  void globalThis.WebSocket;
  void new Response('').headers;
  void new Request('http://localhost/');
}

/** The least that a Console writes to: warms the formatting without opening a stream. */
class SilentStream {
  write() { return true; }
  on() { return this; }
  once() { return this; }
  removeListener() { return this; }
  listenerCount() { return 0; }
}

/** Takes the driver's own files out of what a program can see of the module system. */
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
