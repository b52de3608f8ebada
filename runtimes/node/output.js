'use strict';
// Logs. The program has Node's real console and real process.stdout and process.stderr on two pipes; the supervisor makes lines of
// what comes out of them. All that is added here is what a line cannot say of itself: its level, where that is not the default of
// its stream, and that several lines are one entry.

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

/** Methods that write by themselves. The rest (table, count, assert, group, timeEnd) call one of these, or write a single line. */
const levels = { __proto__: null, debug: DEBUG, trace: DEBUG, log: INFO, info: INFO, dir: INFO, dirxml: INFO, warn: WARN, error: ERROR };

/** Wraps the console and, when the program first asks for them, the two streams. Called at boot: it touches neither stream. */
function annotateOutput(native) {
  const current = { __proto__: null, level: RAW };
  for (const method of Object.keys(levels)) levelled(console, method, levels[method], current, native);
  onFirstUse('stdout', (stream) => annotated(stream, 1, INFO, current, native));
  onFirstUse('stderr', (stream) => annotated(stream, 2, ERROR, current, native));
}

// Wrapped by the native library: a function of ours would show in every stack that is taken while a value is formatted, and first of all
// in what console.trace prints.
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

/** How many of process.stdout and process.stderr the program has used. */
function openedStreams() {
  return opened;
}

// process.stdout and process.stderr are made when first read. Reading them at boot would open the pipes in the zygote.
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

// At the very bottom, below `write`: a program that replaces or captures process.stdout.write sees what it would see without us.
function annotated(stream, descriptor, defaultLevel, current, native) {
  // libuv would queue what does not fit into the pipe, and a process that ends loses its queue.
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
  // What was corked comes out chunk by chunk, so that every byte is counted in one place.
  ObjectDefineProperty(stream, '_writev', { __proto__: null, value: null, writable: true, configurable: true });
}

function hasSeveralLines(chunk) {
  if (typeof chunk !== 'string') return true; // bytes are not searched: an annotation that was not needed changes nothing
  const newline = StringPrototypeIndexOf(chunk, '\n');
  return newline >= 0 && newline < chunk.length - 1;
}

module.exports = { annotateOutput, openedStreams };
