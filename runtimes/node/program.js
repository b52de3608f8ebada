'use strict';
// Runs the program and finds its result.
//
// What is the result? The first that applies:
//  1. What a top-level `return` returned.
//  2. What `main` returned, called with the parameters: an exported one. CommonJS:
//    module.exports.main; module.exports itself if it is a function (`module.exports = async
//    (parameters) => ...`), or its `default`, as compiled TypeScript has it. ES modules: the export
//    named `main`, else a default export that is a function. Then a `main` that is defined at the
//    top level and not exported. Then the program itself, where it is nothing but one function
//    expression. Classes are not called, nor are functions that take a request. When the program
//    starts its `main` itself, now or later (`main()`, `setTimeout(main)`, `if (require.main ===
//    module) main()`), it is not called again: agents often write that line, and a program must not
//    run twice. The parser finds the references (starts.rs).
//  3. module.exports, if it was assigned and is not empty, or the default export of an ES module.
//    Exports with a function or class among them are an interface and not a result.
//  4. The value of the last expression. Nobody has handed it over, so that it never fails the run.
// A promise (or thenable) in any of these places is awaited.
//
// Nothing of the program is called from a function of this file: what runs beneath a program shows
// in its stacks.

const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const process = require('node:process');
const { pathToFileURL } = require('node:url');
const vm = require('node:vm');
const {
  FunctionPrototypeBind, FunctionPrototypeToString, Number, ObjectDefineProperty, ObjectGetOwnPropertyDescriptor, ObjectGetPrototypeOf,
  ObjectKeys, ObjectPrototypeHasOwnProperty, ObjectSetPrototypeOf, Promise, PromisePrototypeThen, ReflectApply,
  RegExpPrototypeExec, StringPrototypeIncludes, StringPrototypeSlice, StringPrototypeStartsWith, SyntaxError, isPromise, isProxy,
} = require('./intrinsics.js');
const { EXPORTED, RETURNED, SHOWN } = require('./origins.js');
const { isLive } = require('./live.js');
const { inlineMap, installHooks, kindOf, mapPositions, needsHooks, prepareMain } = require('./loader.js');
const { hasRun } = require('./calls.js');
const { reportedSyntaxError } = require('./syntax.js');

const globals = globalThis;
const ObjectPrototype = Object.prototype;
const parameterNames = ['exports', 'require', 'module', '__filename', '__dirname', '__belljar_value'];

/**
 * Runs the program of an activation.
 * @param {object} native
 * @param {object} activation
 * @param {string} home
 * @param {import('./ending.js').Ending} ending gets the result or the failure, once
 */
function runProgram(native, activation, home, ending) {
  const file = path.resolve(home, activation.entry);
  const { language, parameters } = activation;
  process.argv = [process.execPath, file, ...activation.arguments];
  try {
    const source = fs.readFileSync(file, 'utf8');
    ending.about(activation.entry, source);
    const prepared = prepareMain(native, source, file, language, home);
    if (prepared.error && language === 'typescript') throw reportedSyntaxError(prepared.error, file, source);
    if (kindOf(file, prepared) === 'module') return runModule(native, file, prepared, parameters, ending);
    if (needsHooks(source, language, prepared)) installHooks(native, null);
    return runCommonJS(native, file, source, prepared, parameters, ending);
  } catch (error) {
    return ending.fail(error);
  }
}

function runCommonJS(native, file, source, prepared, parameters, ending) {
  const { main, require } = mainModule(file);
  const value = valueRecorder();
  if (prepared.map) mapPositions(file, prepared.map);
  if (StringPrototypeIncludes(source, 'import(')) allowImports();
  const body = compile(file, prepared);
  const initialExports = main.exports;
  const conclude = (returned) => {
    main.loaded = true;
    endCycleWarnings(main.exports, initialExports);
    return commonJSResult(main.exports, initialExports, value, returned, prepared, parameters, ending);
  };

  forgetMatches();
  const bound = FunctionPrototypeBind(body, main.exports, main.exports, require, main, file, path.dirname(file), value);
  native.runFromLoop(bound, stepsOf(native, prepared.isAsync, conclude, ending));
}

/**
 * Returns the continuation of the program's body, as `native.runFromLoop` expects it: a function
 * that receives the outcome of the last call and returns the next function to call.
 * @param {object} native
 * @param {boolean} isAsync whether the body returns a promise
 * @param {(returned: unknown) => Result} conclude
 * @param {import('./ending.js').Ending} ending
 */
function stepsOf(native, isAsync, conclude, ending) {
  let isConcluded = false;
  let hasFailed = false;
  return function next(threw, value) {
    if (hasFailed) return undefined;
    try {
      if (threw) throw value;
      if (isConcluded) return handOver({ __proto__: null, value, origin: RETURNED }, ending);
      isConcluded = true;
      if (isAsync) return concludeLater(native, value, conclude, ending, ending.reject);
      const result = conclude(value);
      return result.call ?? handOver(result, ending);
    } catch (error) {
      hasFailed = true;
      return ending.failure(error);
    }
  };
}

/**
 * Concludes when `promise` is settled. If a function has to be called then, the event loop calls
 * it.
 */
function concludeLater(native, promise, conclude, ending, reject) {
  ending.await(RETURNED);
  const settled = (returned) => {
    const result = conclude(returned);
    if (result.call === undefined) return handOver(result, ending);
    return native.runFromLoop(result.call, stepsOf(native, false, (value) => ({ __proto__: null, value, origin: RETURNED }), ending));
  };
  whenSettled(promise, settled, { __proto__: null, fail: ending.fail, reject });
}

// If a file that the program required has required the program back, Node has made the unfinished
// exports warn of missing properties.
function endCycleWarnings(exports, initialExports) {
  if (exports === initialExports && isProxy(ObjectGetPrototypeOf(exports))) ObjectSetPrototypeOf(exports, ObjectPrototype);
}

/**
 * Returns the module record of the main program, and its `require`. Both are Node's own, so that
 * `require.main === module`, process.mainModule, require.cache and module.children are the same as
 * in plain node, and no function of the driver appears in the stack of a required file.
 */
function mainModule(file) {
  // Node creates a separate `require` for each module: the module is the receiver of its first
  // call.
  const { require: original } = Module.prototype;
  let main;
  Module.prototype.require = function capture() { main = this; };
  process.mainModule = undefined;
  const require = Module.createRequire(file);
  require('module');
  Module.prototype.require = original;
  main.id = '.';
  main.parent = null;
  process.mainModule = main;
  require.main = main;
  Module._cache[file] = main;
  return { __proto__: null, main, require };
}

// RegExp.$1 and similar properties describe the last match, which was the driver's.
function forgetMatches() {
  RegExpPrototypeExec(empty, '');
}

const empty = /^/;

let areImportsAllowed = false;

/**
 * Suppresses a warning: the first import() of a function that was compiled through vm warns once in
 * the life of a process. The driver causes that import, not the program, so it happens here,
 * silently.
 */
function allowImports() {
  if (areImportsAllowed) return;
  areImportsAllowed = true;
  const { emitWarning } = process;
  process.emitWarning = () => {};
  try {
    const options = { __proto__: null, filename: '/home/user/main.js', importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER };
    ReflectApply(vm.compileFunction("import('data:text/javascript,export default 1')", [], options), undefined, []);
  } finally {
    process.emitWarning = emitWarning;
  }
}

function compile(file, { code, isAsync, error }) {
  const options = { __proto__: null, filename: file, importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER };
  if (!isAsync) {
    try {
      return vm.compileFunction(code, parameterNames, options);
    } catch (refused) {
      // It is unknown whether a program with a syntax error awaits. If V8's message is about
      // `await`, the program is compiled again as an asynchronous function, which finds the actual
      // error.
      if (error === undefined || !StringPrototypeIncludes(refused.message, 'await')) throw refused;
    }
  }
  // Top-level await. The wrapper is on a line of its own, numbered 0, so that the user's lines keep
  // their numbers and columns.
  const inner = StringPrototypeStartsWith(code, '#!') ? `//${code}` : code;
  options.lineOffset = -1;
  return vm.compileFunction(`return (async () => {\n${inner}\n})()`, parameterNames, options);
}

/**
 * Creates the `__belljar_value` of a program. It records the value of the last expression, its
 * `main`, and whether the program has started `main` behind a guard. A call without arguments
 * withdraws an earlier value.
 */
function valueRecorder() {
  const record = { __proto__: null, value: undefined };
  const note = (value) => {
    record.value = value;
    return value;
  };
  // Own properties, so that the assignment at the end of a prepared source does not call a setter
  // on a polluted prototype.
  ObjectDefineProperty(note, 'main', { __proto__: null, value: undefined, writable: true });
  ObjectDefineProperty(note, 'returned', { __proto__: null, value: undefined, writable: true });
  ObjectDefineProperty(note, 'started', { __proto__: null, value: false, writable: true });
  ObjectDefineProperty(note, 'record', { __proto__: null, value: record });
  return note;
}

/**
 * @typedef {{value: unknown, origin: string} | {call: () => unknown}} Result what a program has as
 *   its value, or what is to be called for it
 */

/** @returns {Result} */
function commonJSResult(exports, initialExports, value, returned, prepared, parameters, ending) {
  const { record } = value;
  if (returned !== undefined) return { __proto__: null, value: returned, origin: RETURNED };
  const named = functionIn(exports, 'main');
  const alone = asCallable(exports) ?? asCallable(defaultOf(exports));
  const entry = entryOf(named, alone, value, prepared, parameters);
  if (entry !== undefined) return callOf(entry, entry === named ? exports : undefined, parameters);
  const kind = kindOfExports(exports, initialExports);
  if (kind === DATA) return { __proto__: null, value: defaultOf(exports) ?? exports, origin: EXPORTED };
  // The last expression of the program may be the assignment of its exports.
  const isExport = record.value === exports || (typeof record.value === 'function' && isMember(exports, record.value));
  return shown(isExport ? undefined : record.value, kind, ending);
}

/**
 * Settles the run with the value of the last expression. If there is none and the program exported
 * data along with an interface, a note explains what happened to the data.
 */
function shown(value, kind, ending) {
  if (value === undefined && kind === MIXED) {
    ending.note('the exports have functions in them, so they are taken for an interface and not for the result; return the data from main');
  }
  return { __proto__: null, value, origin: SHOWN };
}

/** Returns the function that is to be called, or none if the program has started it, or will. */
function entryOf(named, alone, value, prepared, parameters) {
  const { code, startsMain, startsExported, isFunction } = prepared;
  if (named !== undefined) return isStarted(named, startsMain, value, code) ? undefined : named;
  const own = asCallable(value.main);
  if (alone !== undefined && alone !== own && !isHandler(alone, parameters) && !isStarted(alone, startsExported, value, code)) return alone;
  if (own !== undefined) return isStarted(own, startsMain || (alone === own && startsExported), value, code) ? undefined : own;
  const only = isFunction ? asCallable(value.record.value) : undefined;
  return only !== undefined && !isHandler(only, parameters) ? only : undefined;
}

function isStarted(entry, isReferredTo, value, code) {
  return isReferredTo === true || value.started === true || callsMain(entry, code);
}

function callOf(entry, receiver, parameters) {
  return { __proto__: null, call: FunctionPrototypeBind(entry, receiver, parameters) };
}

/**
 * Returns whether a function is a handler of requests: an Express app, `(request, response) =>
 * ...`, `(event, context) => ...`. A function that is meant to be the program's entry takes the
 * run's parameters and nothing else.
 */
function isHandler(entry, parameters) {
  const text = FunctionPrototypeToString(entry);
  if (RegExpPrototypeExec(namedMain, text) !== null) return false;
  const length = ObjectGetOwnPropertyDescriptor(entry, 'length')?.value;
  if (typeof length === 'number' && length >= 2) return true;
  if (RegExpPrototypeExec(takesRequest, text) !== null) return true;
  // Parameters of the run may have these names as well; then the run has parameters.
  return RegExpPrototypeExec(mayTakeRequest, text) !== null && !hasMembers(parameters);
}

const takesRequest = /^(?:async\s*)?(?:function\s*\*?\s*[\w$]*\s*)?\(?\s*_?req\b/;
const mayTakeRequest = /^(?:async\s*)?(?:function\s*\*?\s*[\w$]*\s*)?\(?\s*_?(?:request|ctx|context|c)\s*(?:[,):=]|=>)/;

function hasMembers(parameters) {
  return parameters !== null && typeof parameters === 'object' && ObjectKeys(parameters).length > 0;
}

/** The kinds of exports: none, a result, or an interface, either alone or together with data. */
const NOTHING = 'nothing';
const DATA = 'data';
const INTERFACE = 'interface';
const MIXED = 'mixed';

function kindOfExports(exports, initialExports) {
  if (exports === undefined || exports === null) return NOTHING;
  if (typeof exports === 'function') return INTERFACE;
  if (typeof exports !== 'object') return DATA;
  const defaultExport = defaultOf(exports);
  if (defaultExport !== undefined) return kindOfExports(defaultExport, undefined);
  if (isLive(exports)) return INTERFACE;
  const keys = ObjectKeys(exports);
  // An array, a Map, a Date or a promise that was assigned is a result although it has no keys.
  if (keys.length === 0) return exports !== initialExports && ObjectGetPrototypeOf(exports) !== ObjectPrototype ? DATA : NOTHING;
  let functions = 0;
  for (let index = 0; index < keys.length; index++) {
    if (typeof memberOf(exports, keys[index]) === 'function') functions++;
  }
  if (functions === 0) return DATA;
  return functions === keys.length ? INTERFACE : MIXED;
}

function isMember(exports, value) {
  if (exports === null || typeof exports !== 'object') return false;
  const keys = ObjectKeys(exports);
  for (let index = 0; index < keys.length; index++) {
    if (memberOf(exports, keys[index]) === value) return true;
  }
  return false;
}

// Exports may be getters that throw. A value that cannot be read is reported when it is converted.
function memberOf(exports, key) {
  try {
    return exports[key];
  } catch {
    return undefined;
  }
}

function runModule(native, file, prepared, parameters, ending) {
  const value = valueRecorder();
  const commonjs = prepared.needsCommonjs ? mainModule(file) : undefined;
  const url = pathToFileURL(file).href;
  let code = StringPrototypeStartsWith(prepared.code, '#!') ? `//${prepared.code}` : prepared.code;
  // Node sets import.meta.main for the file that it was started with, which is the driver.
  const asksForMain = StringPrototypeIncludes(code, 'import.meta') && StringPrototypeIncludes(code, 'main');
  if (asksForMain) code = `import.meta.main = true; ${code}`;
  if (prepared.map) code = `${code}\n${inlineMap(prepared.map)}`;
  installHooks(native, { __proto__: null, url, source: code });
  // Modules have no parameters, so the name is a global while the program is evaluated.
  ObjectDefineProperty(globals, '__belljar_value', { __proto__: null, value, enumerable: false, configurable: true });
  if (commonjs === undefined) {
    process.mainModule = undefined;
  } else {
    const { main, require } = commonjs;
    ObjectDefineProperty(value, 'commonjs', { __proto__: null, value: {
      __proto__: null, require, module: main, exports: main.exports, __filename: file, __dirname: path.dirname(file),
    } });
  }
  const initialExports = commonjs?.main.exports;

  forgetMatches();
  const conclude = (namespace) => {
    delete globals.__belljar_value;
    const exports = commonjs !== undefined && ObjectKeys(namespace).length === 0 ? commonjs.main.exports : undefined;
    if (value.returned === undefined && exports !== undefined) {
      return commonJSResult(exports, initialExports, value, undefined, prepared, parameters, ending);
    }
    return moduleResult(namespace, value, prepared, parameters, ending);
  };
  concludeLater(native, import(url), conclude, ending, ending.reject);
}

/** @returns {Result} */
function moduleResult(namespace, value, prepared, parameters, ending) {
  if (value.returned !== undefined) return { __proto__: null, value: value.returned, origin: RETURNED };
  const exported = namespace.default;
  const entry = entryOf(functionIn(namespace, 'main'), functionIn(namespace, 'default'), value, prepared, parameters);
  if (entry !== undefined) return callOf(entry, undefined, parameters);
  const kind = exported === undefined ? NOTHING : kindOfExports(exported, undefined);
  // An empty object that a module exports is a result.
  if (exported !== undefined && kind !== INTERFACE && kind !== MIXED) return { __proto__: null, value: exported, origin: EXPORTED };
  return shown(value.record.value, kind, ending);
}

// Returns whether the program has called its own main in any way. A function that was never called
// has never been compiled, which proves that it was not called. A compiled function was called if
// this program is the only place with its code. A main that a wrapper returned may share its code
// with other functions, so the text decides.
function callsMain(main, code) {
  if (!hasRun(main)) return false;
  const text = FunctionPrototypeToString(main);
  if (RegExpPrototypeExec(namedMain, text) !== null || StringPrototypeIncludes(code, `main = ${text}`)) return true;
  return RegExpPrototypeExec(callOfMain, code) !== null;
}

const namedMain = /^(?:async\s+)?function\s*\*?\s*main\b/;
// Matches at the start of a line, or in an expression that may give the program's value.
const callOfMain = /^(?:(?:const|let|var)\s+[\w$\s{},:[\]]+=\s*)?(?:await\s+|void\s+|return\s+)*main\s*\(|__belljar_value\([\s(]*(?:await\s+|void\s+)?main\s*\(/m;

function functionIn(container, name) {
  return asCallable(property(container, name));
}

// Properties that were added to Object.prototype are not exports.
function property(container, name) {
  if (container === null || (typeof container !== 'object' && typeof container !== 'function')) return undefined;
  if (ObjectGetPrototypeOf(container) === ObjectPrototype && !ObjectPrototypeHasOwnProperty(container, name)) return undefined;
  return container[name];
}

// A module compiled from `export default`.
function defaultOf(exports) {
  return property(exports, '__esModule') ? property(exports, 'default') : undefined;
}

function asCallable(value) {
  if (typeof value !== 'function') return undefined;
  return StringPrototypeStartsWith(FunctionPrototypeToString(value), 'class') ? undefined : value;
}

function isThenable(value) {
  if (value === null || (typeof value !== 'object' && typeof value !== 'function')) return false;
  return isPromise(value) || typeof value.then === 'function';
}

/** Passes a result to the ending when it is settled. */
function handOver({ value, origin }, ending) {
  if (!isAwaited(value, origin)) return ending.settle(value, origin);
  ending.await(origin);
  return whenSettled(value, (settled) => ending.settle(settled, origin), origin === SHOWN && !isPromise(value) ? indifferent(ending) : ending);
}

// A returned value whose `then` throws when it is read fails the run; this is reported when the
// value is converted.
function isAwaited(value, origin) {
  try {
    return isThenable(value);
  } catch (error) {
    if (origin !== SHOWN) throw error;
    return false;
  }
}

// The last expression may be, for example, a query builder: its `then` was called only in case it
// has a value.
function indifferent(ending) {
  const settle = () => {
    ending.note('the last expression is an object with a method then, which failed; its value is null');
    ending.settle(undefined, SHOWN);
  };
  return { __proto__: null, fail: settle, reject: settle };
}

// Promises are observed through the original `then`: a program may have replaced
// Promise.prototype.then.
function whenSettled(value, onValue, { fail, reject }) {
  const settled = (result) => {
    try {
      onValue(result);
    } catch (error) {
      fail(error);
    }
  };
  if (isPromise(value)) PromisePrototypeThen(value, settled, reject);
  else if (!isThenable(value)) settled(value);
  else PromisePrototypeThen(new Promise((resolve) => resolve(value)), settled, reject);
}

module.exports = { allowImports, runProgram };
