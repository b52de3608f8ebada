'use strict';
// A stand-in for the native library, for this suite alone: the functions of
// docs/concepts/drivers.md over a plain node process. The activation comes from a file, frames go
// to descriptor 3 as lines of JSON, and the end of the loop is Node's own 'beforeExit'.

const fs = require('node:fs');

const NOTE = 9;
const EXECUTED = 5;
/** The id of the only execution. */
const EXECUTION = 1;
const { stringify } = JSON;
const { writeSync, readFileSync } = fs;
const { pid, ppid, reallyExit } = process;
const { apply } = Reflect;
const { defineProperty } = Object;
const self = process;
const activeResources = process.getActiveResourcesInfo.bind(process);
const randomFill = require('node:crypto').randomFillSync;

let running = 0;
let busy = Number(process.env.DOUBLE_BUSY ?? 0);
const calls = Array.from(
  { length: Number(process.env.DOUBLE_CALLS ?? 0) },
  (_, index) => 4 + index,
);

// The real parser where BELLJAR_LIBRARY names the built library, else the stand-in.
function loadParser() {
  const file = process.env.BELLJAR_LIBRARY;
  if (file === undefined) return { ...require('./prepare.js'), ...require('./imports.js') };
  const library = { exports: {} };
  process.dlopen(library, file);
  return library.exports;
}

const { prepare, findImports, findMistake = () => undefined } = loadParser();

// The call stack below a microtask has no frames that a report would show, and nothing that needs
// builtins, which the program may have broken.
const later = queueMicrotask;
const after = setTimeout;

// The way in which the library calls a function.
function callSteps(first, next) {
  for (let step = first; ;) {
    let threw = false;
    let value;
    try {
      if (step !== undefined) value = step();
    } catch (error) {
      threw = true;
      value = error;
    }
    step = next(threw, value);
    if (typeof step !== 'function') return;
  }
}

function line(value) {
  writeSync(3, `${stringify(value)}\n`);
}

exports.createNative = (activationFile) => ({
  start() {
    line({ step: 'start', marks: globalThis.__marks });
  },
  receive() {
    line({
      step: 'receive',
      lazyStreams: ['stdin', 'stdout', 'stderr'].map((name) =>
        /native code|getStd|std/.test(String(Object.getOwnPropertyDescriptor(process, name).get)),
      ),
    });
    const text = readFileSync(activationFile, 'utf8');
    globalThis.__received?.();
    running = EXECUTION;
    return text;
  },
  execution: () => running,
  send(execution, kind, data) {
    if (typeof data !== 'string') throw new Error('the double takes text');
    if (execution !== running) return;
    globalThis.__sent?.(kind);
    writeSync(3, `{"kind":${kind},"data":${kind === NOTE ? stringify(data) : data}}\n`);
  },
  end(execution, data) {
    this.send(execution, EXECUTED, data);
    running = 0;
  },
  // The sockets whose other ends the test holds, and no others.
  openCall: () => (busy-- > 0 ? undefined : calls.shift()),
  annotate(stream, level, length, entry) {
    line({ annotate: [stream, level, length, entry] });
  },
  exit(code) {
    globalThis.__exiting?.();
    apply(reallyExit, process, [code]);
  },
  pid: () => pid,
  parentPid: () => ppid,
  beginImports() {},
  neverFork() {},
  fitHeap() {},
  constrainedMemory: () => 256 * 1024 * 1024,
  randomSeed: () => randomFill(Buffer.alloc(4)).readUInt32LE() & 0x7fffffff || 1,
  onIdle(callback) {
    // Node asks process.emit, by name, for 'beforeExit' when its loop is empty.
    let { emit } = self;
    let inCallback = false;
    defineProperty(self, 'emit', {
      __proto__: null,
      configurable: true,
      get: () =>
        function (...args) {
          if (args[0] !== 'beforeExit' || inCallback) return apply(emit, this, args);
          inCallback = true;
          try {
            callSteps(undefined, callback);
          } finally {
            inCallback = false;
          }
          return true;
        },
      set: (replacement) => {
        emit = replacement;
      },
    });
  },
  runFromLoop(first, next) {
    later(() => callSteps(first, next));
  },
  wakeLater(ms, callback) {
    after(callback, ms).unref();
  },
  wrap(original, before, after, name) {
    function wrapped() {
      const token = apply(before, undefined, arguments);
      try {
        const value = apply(original, this, arguments);
        after(token, false, value);
        return value;
      } catch (error) {
        after(token, true, error);
        throw error;
      }
    }
    return defineProperty(wrapped, 'name', { __proto__: null, value: name });
  },
  // A stream on a pipe is listed while it is open, and keeps nothing alive.
  alive() {
    const resources = activeResources();
    for (let index = 0; index < resources.length; index++) {
      if (resources[index] !== 'PipeWrap') return true;
    }
    return false;
  },
  prepare,
  findImports,
  findMistake,
});
