'use strict';
// Logs. The program has Node's real console and the real process.stdout and process.stderr on two
// pipes; the supervisor splits their output into lines. This module only adds the facts that a line
// does not contain: its level, if that is not the default of its stream, and that several lines are
// one entry.

const process = require('node:process');
const {
  BufferByteLength, FunctionPrototypeBind, ObjectDefineProperty, ObjectGetOwnPropertyDescriptor, ReflectApply, StringPrototypeIndexOf,
  TypedArrayPrototypeGetByteLength,
} = require('./intrinsics.js');

const DEBUG = 0;
const INFO = 1;
const WARN = 2;
const ERROR = 3;
/** The write did not come from the console: its lines are entries of the stream's default level. */
const RAW = -1;

/**
 * Methods that write by themselves. The rest (table, count, assert, group, timeEnd) call one of
 * these, or write a single line.
 */
const levels = { __proto__: null, debug: DEBUG, trace: DEBUG, log: INFO, info: INFO, dir: INFO, dirxml: INFO, warn: WARN, error: ERROR };

/**
 * Wraps the console and, when the program first asks for them, the two streams. Called at boot: it
 * touches neither stream.
 */
function annotateOutput(native) {
  const current = { __proto__: null, level: RAW };
  for (const method of Object.keys(levels)) levelled(console, method, levels[method], current, native);
  onFirstUse('stdout', (stream) => annotated(stream, 1, INFO, current, native));
  onFirstUse('stderr', (stream) => annotated(stream, 2, ERROR, current, native));
}

// Wrapped by the native library: a JavaScript function would appear in every stack that is captured
// while a value is formatted, and in the output of console.trace.
function levelled(console, method, level, current, native) {
  const original = console[method];
  const before = () => {
    const outer = current.level;
    current.level = outer === DEBUG ? outer : level; // console.trace writes through console.error
    return outer;
  };
  const after = (outer) => { current.level = outer; };
  // Bound, as the methods of Node's console are: such a function has no prototype.
  const wrapped = FunctionPrototypeBind(native.wrap(original, before, after, method), console);
  ObjectDefineProperty(wrapped, 'name', { __proto__: null, value: method, configurable: true });
  ObjectDefineProperty(wrapped, 'length', { __proto__: null, value: original.length, configurable: true });
  console[method] = wrapped;
}

let opened = 0;

/** Number of the streams process.stdout and process.stderr that the program has used. */
function openedStreams() {
  return opened;
}

// process.stdout and process.stderr are created when they are first read. Reading them at boot
// would open the pipes in the zygote.
function onFirstUse(name, prepare) {
  const descriptor = ObjectGetOwnPropertyDescriptor(process, name);
  let stream;
  const get = {
    [name]() {
      if (stream === undefined) {
        stream = ReflectApply(descriptor.get, process, []);
        prepare(stream);
        opened++;
      }
      return stream;
    },
  }[name];
  ObjectDefineProperty(process, name, { __proto__: null, get, set: descriptor.set, enumerable: true, configurable: true });
}

// Hooks in below `write`, so that a program that replaces or captures process.stdout.write sees the
// same calls as without the driver.
function annotated(stream, descriptor, defaultLevel, current, native) {
  // libuv would queue the rest of a write that does not fit into the pipe, and the queue would be
  // lost when the process ends.
  const handle = stream._handle;
  if (handle && typeof handle.setBlocking === 'function') handle.setBlocking(true);
  const write = stream._write;
  const annotatedWrite = function _write(chunk, encoding, callback) {
    const { level } = current;
    const entry = level !== RAW && (level !== defaultLevel || hasSeveralLines(chunk));
    const length = typeof chunk === 'string' ? BufferByteLength(chunk, encoding) : TypedArrayPrototypeGetByteLength(chunk);
    native.annotate(descriptor, entry ? level : defaultLevel, length, entry);
    return ReflectApply(write, stream, [chunk, encoding, callback]);
  };
  ObjectDefineProperty(stream, '_write', { __proto__: null, value: annotatedWrite, writable: true, configurable: true });
  // Corked data is written chunk by chunk, so that every byte is counted in one place.
  ObjectDefineProperty(stream, '_writev', { __proto__: null, value: null, writable: true, configurable: true });
}

function hasSeveralLines(chunk) {
  // Bytes are not searched, because a needless annotation does no harm.
  if (typeof chunk !== 'string') return true;
  const newline = StringPrototypeIndexOf(chunk, '\n');
  return newline >= 0 && newline < chunk.length - 1;
}

module.exports = { annotateOutput, openedStreams };
