'use strict';
// Runs the program and finds its result.
//
// What is the result? The first that applies:
//  1. What a top-level `return` returned.
//  2. An exported `main`, called with the parameters. CommonJS: module.exports.main; module.exports itself if it is a function
//     (`module.exports = async (parameters) => ...`), or its `default`, as compiled TypeScript has it. ES modules: the export named
//     `main`, else a default export that is a function. Then a `main` that is defined at the top level and not exported. Classes are
//     not called.
//     When the program has called its `main` itself (`main()`, `await main()`, `main().catch(...)`, inside `if (require.main ===
//     module)`), it is not called again: agents often write that line, and a program must not run twice. The result is then the value
//     of the last expression, which mostly is that call.
//  3. module.exports, if it was assigned and is not empty, or the default export of an ES module. An exports object of nothing but
//     functions is an interface and not a result: it counts as empty.
//  4. The value of the last expression.
// A promise (or thenable) in any of these places is awaited.

const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const process = require('node:process');
const { pathToFileURL } = require('node:url');
const vm = require('node:vm');
const {
  FunctionPrototypeToString, Number, ObjectDefineProperty, ObjectGetPrototypeOf, ObjectKeys, ObjectPrototypeHasOwnProperty,
  ObjectSetPrototypeOf, Promise, PromisePrototypeThen, ReflectApply, RegExpPrototypeExec, StringPrototypeIncludes,
  StringPrototypeSlice, StringPrototypeStartsWith, SyntaxError, isPromise, isProxy,
} = require('./intrinsics.js');
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
 * @param {{settle: (value: unknown) => void, fail: (error: unknown) => void, reject: (error: unknown) => void}} ending
 *   told once what became of it: `fail` where something was thrown, `reject` where a promise was rejected
 */
function runProgram(native, activation, home, ending) {
  const file = path.resolve(home, activation.entry);
  const { language, parameters } = activation;
  process.argv = [process.execPath, file, ...activation.arguments];
  try {
    const source = fs.readFileSync(file, 'utf8');
    const prepared = prepareMain(native, source, file, language, home);
    if (prepared.error && language === 'typescript') throw reportedSyntaxError(prepared.error, file, source);
    if (kindOf(file, prepared) === 'module') return runModule(native, file, prepared, parameters, ending);
    if (needsHooks(source, language, prepared)) installHooks(native, null);
    return runCommonJS(file, prepared, parameters, ending);
  } catch (error) {
    return ending.fail(error);
  }
}

function runCommonJS(file, prepared, parameters, ending) {
  const main = mainModule(file);
  const value = valueRecorder();
  if (prepared.map) mapPositions(file, prepared.map);
  const body = compile(file, prepared);
  const initialExports = main.exports;
  forgetMatches();
  const returned = ReflectApply(body, main.exports,
    [main.exports, requireOf(main), main, file, path.dirname(file), value]);

  const conclude = (returnedValue) => {
    main.loaded = true;
    endCycleWarnings(main.exports, initialExports);
    finish(commonJSResult(main.exports, initialExports, value, returnedValue, prepared, parameters), ending);
  };
  if (prepared.isAsync) whenSettled(returned, conclude, ending);
  else conclude(returned);
}

// Where a file that the program required has required it back, Node has made unfinished exports warn of missing properties.
function endCycleWarnings(exports, initialExports) {
  if (exports === initialExports && isProxy(ObjectGetPrototypeOf(exports))) ObjectSetPrototypeOf(exports, ObjectPrototype);
}

// The same module record that Node makes for its own main module, so that require.main === module, process.mainModule,
// require.cache and module.children are what they are in plain node.
function mainModule(file) {
  const main = new Module(file, null);
  main.id = '.';
  main.filename = file;
  main.paths = Module._nodeModulePaths(path.dirname(file));
  process.mainModule = main;
  Module._cache[file] = main;
  return main;
}

// RegExp.$1 and its kin tell of the last match, which was the driver's.
function forgetMatches() {
  RegExpPrototypeExec(empty, '');
}

const empty = /^/;

function requireOf(main) {
  const require = function require(request) {
    return main.require(request);
  };
  require.resolve = function resolve(request, options) {
    return Module._resolveFilename(request, main, false, options);
  };
  require.resolve.paths = function paths(request) {
    return Module._resolveLookupPaths(request, main);
  };
  require.main = main;
  require.extensions = Module._extensions;
  require.cache = Module._cache;
  return require;
}

function compile(file, { code, isAsync, error }) {
  const options = { __proto__: null, filename: file, importModuleDynamically: vm.constants.USE_MAIN_CONTEXT_DEFAULT_LOADER };
  if (!isAsync) {
    try {
      return vm.compileFunction(code, parameterNames, options);
    } catch (refused) {
      // Of a program with a mistake nobody knows whether it awaits. Where V8 minds that it does, the mistake is another.
      if (error === undefined || !StringPrototypeIncludes(refused.message, 'await')) throw refused;
    }
  }
  // Top-level await. On a line of its own, numbered 0, so that the user's lines keep their numbers and columns.
  const inner = StringPrototypeStartsWith(code, '#!') ? `//${code}` : code;
  options.lineOffset = -1;
  return vm.compileFunction(`return (async () => {\n${inner}\n})()`, parameterNames, options);
}

/**
 * The `__belljar_value` of a program: notes the value of its last expression, and its `main`. A call without arguments takes an
 * earlier value back.
 */
function valueRecorder() {
  const record = { __proto__: null, value: undefined };
  const note = (value) => {
    record.value = value;
    return value;
  };
  // Own properties, so that the assignment at the end of a prepared source meets no setter on a polluted prototype.
  ObjectDefineProperty(note, 'main', { __proto__: null, value: undefined, writable: true });
  ObjectDefineProperty(note, 'returned', { __proto__: null, value: undefined, writable: true });
  ObjectDefineProperty(note, 'record', { __proto__: null, value: record });
  return note;
}

function commonJSResult(exports, initialExports, value, returned, prepared, parameters) {
  const { record } = value;
  if (returned !== undefined) return returned;
  const main = functionIn(exports, 'main') ?? asCallable(exports) ?? asCallable(defaultOf(exports)) ?? asCallable(value.main);
  if (main !== undefined) {
    if (callsMain(main, prepared.code)) return record.value;
    return ReflectApply(main, exports === main ? undefined : exports, [parameters]);
  }
  if (isResult(exports, initialExports)) return defaultOf(exports) ?? exports;
  return record.value === exports ? undefined : record.value;
}

function isResult(exports, initialExports) {
  if (exports === undefined || exports === null) return false;
  if (typeof exports !== 'object') return typeof exports !== 'function';
  if (defaultOf(exports) !== undefined) return true;
  const keys = ObjectKeys(exports);
  // An array, a Map, a Date or a promise that was assigned is a result although it has no keys.
  if (keys.length === 0) return exports !== initialExports && ObjectGetPrototypeOf(exports) !== ObjectPrototype;
  for (let index = 0; index < keys.length; index++) {
    if (typeof exports[keys[index]] !== 'function') return true;
  }
  return false;
}

function runModule(native, file, prepared, parameters, ending) {
  const value = valueRecorder();
  const main = prepared.needsCommonjs ? mainModule(file) : undefined;
  const url = pathToFileURL(file).href;
  let code = StringPrototypeStartsWith(prepared.code, '#!') ? `//${prepared.code}` : prepared.code;
  // Node sets import.meta.main for the file it was started with, which is the driver.
  const asksForMain = StringPrototypeIncludes(code, 'import.meta') && StringPrototypeIncludes(code, 'main');
  if (asksForMain) code = `import.meta.main = true; ${code}`;
  if (prepared.map) code = `${code}\n${inlineMap(prepared.map)}`;
  installHooks(native, { __proto__: null, url, source: code });
  // Modules have no parameters: the name is a global for as long as the program is evaluated.
  ObjectDefineProperty(globals, '__belljar_value', { __proto__: null, value, enumerable: false, configurable: true });
  if (main === undefined) {
    process.mainModule = undefined;
  } else {
    const commonjs = {
      __proto__: null, require: requireOf(main), module: main, exports: main.exports, __filename: file, __dirname: path.dirname(file),
    };
    ObjectDefineProperty(value, 'commonjs', { __proto__: null, value: commonjs });
  }
  const initialExports = main?.exports;

  forgetMatches();
  whenSettled(import(url), (namespace) => {
    delete globals.__belljar_value;
    const exports = main !== undefined && ObjectKeys(namespace).length === 0 ? main.exports : undefined;
    finish(exports === undefined || value.returned !== undefined
      ? moduleResult(namespace, value, prepared, parameters)
      : commonJSResult(exports, initialExports, value, undefined, prepared, parameters), ending);
  }, ending);
}

function moduleResult(namespace, value, prepared, parameters) {
  const { record } = value;
  if (value.returned !== undefined) return value.returned;
  const main = functionIn(namespace, 'main') ?? functionIn(namespace, 'default') ?? asCallable(value.main);
  if (main !== undefined) {
    return callsMain(main, prepared.code) ? record.value : ReflectApply(main, undefined, [parameters]);
  }
  if (namespace.default !== undefined) return namespace.default;
  return record.value;
}

// Whether the program has called its own main, in whatever way. A function that was never called has never been compiled, which is
// proof that it was not. One that has been compiled was called, if this program is the only place where its code is; a main that some
// wrapper returned may share its code, and there the text decides.
function callsMain(main, code) {
  if (!hasRun(main)) return false;
  const text = FunctionPrototypeToString(main);
  if (RegExpPrototypeExec(namedMain, text) !== null || StringPrototypeIncludes(code, `main = ${text}`)) return true;
  return RegExpPrototypeExec(callOfMain, code) !== null;
}

const namedMain = /^(?:async\s+)?function\s*\*?\s*main\b/;
// At the start of a line, or in an expression that may give the program's value.
const callOfMain = /^(?:(?:const|let|var)\s+[\w$\s{},:[\]]+=\s*)?(?:await\s+|void\s+|return\s+)*main\s*\(|__belljar_value\([\s(]*(?:await\s+|void\s+)?main\s*\(/m;

function functionIn(container, name) {
  return asCallable(property(container, name));
}

// What Object.prototype has been given is not exported by anyone.
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

function finish(value, ending) {
  if (isThenable(value)) whenSettled(value, ending.settle, ending);
  else ending.settle(value);
}

// Promises are observed through the original `then`: a program may have replaced Promise.prototype.then.
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

module.exports = { runProgram };
