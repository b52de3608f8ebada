'use strict';
// Lists what keeps a run in progress after its result is available, because a caller would
// otherwise only see that the run used its whole time. Node is asked once or twice in a run that
// waits, and never in one that ends by itself.

const process = require('node:process');
const v8 = require('node:v8');
const {
  FunctionPrototypeBind, JSONStringify, ObjectGetPrototypeOf, RegExpPrototypeExec, StringPrototypeIncludes, StringPrototypeIndexOf,
  StringPrototypeSlice, clearTimeout, setTimeout,
} = require('./intrinsics.js');

const { openedStreams } = require('./output.js');

const activeResources = FunctionPrototypeBind(process.getActiveResourcesInfo, process);
const heapStatistics = v8.getHeapStatistics;
const queryObjects = v8.queryObjects;

/**
 * Maximum size of a heap that is searched for timers: the search stops the program, in a larger
 * heap for too long.
 */
const MAX_SEARCHED_BYTES = 64 * 1024 * 1024;
/** Maximum number of characters of the program that are searched for the place of creation. */
const MAX_SOURCE = 1_000_000;

/** Node's names of active resources, with the kind of each. */
const kinds = {
  __proto__: null,
  Timeout: 'timer',
  TCPServerWrap: 'server', PipeServerWrap: 'server',
  TCPSocketWrap: 'socket', TCPWrap: 'socket', PipeWrap: 'socket', UDPWrap: 'socket', TLSWrap: 'socket', TTYWrap: 'socket',
  ProcessWrap: 'child_process', Process: 'child_process',
  Worker: 'worker', MessagePort: 'worker',
  FSEventWrap: 'watcher', StatWatcher: 'watcher',
};

/** The kinds in the order of the report, each with the pattern of program text that creates one. */
const order = ['interval', 'timer', 'server', 'socket', 'child_process', 'worker', 'watcher', 'other'];
const makers = {
  __proto__: null,
  interval: /(?<![\w$.'"`])(?:globalThis\.|timers\.)?setInterval\s*\(/,
  timer: /(?<![\w$.'"`])(?:globalThis\.|timers\.)?setTimeout\s*\(/,
  server: /(?<=\.)listen\s*\(|(?<![\w$])(?:Deno|Bun)\.serve\s*\(/,
  socket: /(?<![\w$'"`])(?:(?:net|tls)\.)?(?:createConnection|connect)\s*\(|(?<![\w$])new\s+WebSocket\s*\(|(?<![\w$])process\.stdin\b/,
  child_process: /(?<![\w$'"`])(?:\w+\.)?(?:spawn|execFile|exec|fork)\s*\(/,
  worker: /(?<![\w$])new\s+(?:[\w$]+\.)?(?:Worker|BroadcastChannel|MessageChannel)\s*\(/,
  watcher: /(?<![\w$'"`])(?:\w+\.)?(?:watch|watchFile)\s*\(/,
};

/**
 * Returns what is pending, as JSON: `[{"kind", "count", "at"?}]`.
 * @param {{name: string, source: string}} program its file's name and text, to report where it
 *   created something that it creates in one place only
 * @param {boolean} isThorough whether to search the heap where nothing else distinguishes timers
 *   from intervals, which takes time
 */
function describePending(program, isThorough) {
  try {
    return describe(program, isThorough);
  } catch {
    return '[]'; // what the program has done to Node says nothing that could be reported
  }
}

function describe({ name, source }, isThorough) {
  const counts = countKinds(activeResources());
  if (counts.timer !== undefined) splitTimers(counts, source, isThorough);
  // Node does not list the threads that it waits for.
  if (isEmpty(counts)) counts[StringPrototypeIncludes(source, 'Worker') ? 'worker' : 'other'] = 1;
  let text = '';
  for (let index = 0; index < order.length; index++) {
    const kind = order[index];
    if (counts[kind] === undefined) continue;
    const at = placeOf(makers[kind], source);
    const place = at === null ? '' : `,"at":${JSONStringify(`${name}:${at.line}:${at.column}`)}`;
    text += `${text === '' ? '' : ','}{"kind":"${kind}","count":${counts[kind]}${place}}`;
  }
  return `[${text}]`;
}

function countKinds(names) {
  const counts = { __proto__: null };
  for (let index = 0; index < names.length; index++) {
    const kind = kinds[names[index]] ?? 'other';
    counts[kind] = (counts[kind] ?? 0) + 1;
  }
  // The pipes of a child process and the ports of a worker are not listed separately. The streams
  // of the process itself keep nothing alive.
  const pipes = count(names, 'PipeWrap');
  counts.socket = without(counts.socket, counts.child_process === undefined ? lesser(pipes, openedStreams()) : pipes);
  const workers = count(names, 'Worker');
  if (workers > 0) counts.worker = workers;
  return counts;
}

function isEmpty(counts) {
  for (let index = 0; index < order.length; index++) {
    if (counts[order[index]] !== undefined) return false;
  }
  return true;
}

function lesser(one, other) {
  return one < other ? one : other;
}

function without(total, some) {
  return total === undefined || total <= some ? undefined : total - some;
}

function count(names, name) {
  let found = 0;
  for (let index = 0; index < names.length; index++) {
    if (names[index] === name) found++;
  }
  return found;
}

// Only the objects themselves distinguish timers from intervals. Where the program's text leaves no
// doubt, the heap is not searched for them.
function splitTimers(counts, source, isThorough) {
  const hasTimers = StringPrototypeIncludes(source, 'setTimeout');
  const hasIntervals = StringPrototypeIncludes(source, 'setInterval');
  let intervals = 0;
  if (hasIntervals && !hasTimers) intervals = counts.timer;
  else if ((hasIntervals || !hasTimers) && isThorough) intervals = countIntervals();
  if (intervals > counts.timer) intervals = counts.timer;
  if (intervals > 0) counts.interval = intervals;
  counts.timer = without(counts.timer, intervals);
}

function countIntervals() {
  if (queryObjects === undefined || heapStatistics().used_heap_size > MAX_SEARCHED_BYTES) return 0;
  const timer = setTimeout(nothing, 1);
  clearTimeout(timer);
  const summaries = unheard(() => queryObjects(ObjectGetPrototypeOf(timer).constructor, { __proto__: null, format: 'summary' }));
  let intervals = 0;
  for (let index = 0; index < summaries.length; index++) {
    const summary = summaries[index];
    const isRunning = StringPrototypeIncludes(summary, '_destroyed: false') && StringPrototypeIncludes(summary, 'refed): true');
    if (isRunning && RegExpPrototypeExec(repeating, summary) !== null) intervals++;
  }
  return intervals;
}

const repeating = /_repeat: \d/;

// Node would warn of an experimental feature, as if the program had used it.
function unheard(action) {
  const { emitWarning } = process;
  process.emitWarning = nothing;
  try {
    return action();
  } finally {
    process.emitWarning = emitWarning;
  }
}

function nothing() {}

/**
 * Returns the line and column of the only match of a pattern in `source`, without comment lines.
 * Null if there are none or several.
 */
function placeOf(pattern, source) {
  if (pattern === undefined || source.length > MAX_SOURCE) return null;
  let place = null;
  let line = 1;
  let start = 0;
  while (start <= source.length) {
    let end = StringPrototypeIndexOf(source, '\n', start);
    if (end < 0) end = source.length;
    const text = StringPrototypeSlice(source, start, end);
    const match = RegExpPrototypeExec(comment, text) === null ? RegExpPrototypeExec(pattern, text) : null;
    if (match !== null) {
      const rest = StringPrototypeSlice(text, match.index + match[0].length);
      if (place !== null || RegExpPrototypeExec(pattern, rest) !== null) return null;
      place = { __proto__: null, line, column: match.index + 1 };
    }
    line++;
    start = end + 1;
  }
  return place;
}

const comment = /^\s*(?:\/\/|\/?\*)/;

module.exports = { describePending };
