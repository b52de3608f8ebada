'use strict';
// Loads files of the run that Node's own loader cannot: the prepared source of a main ES module,
// TypeScript, JSX, and the module named `belljar`. Uses module.registerHooks, Node's own interface
// for this, and only in runs that need it: a CommonJS program without imports uses the unmodified
// loader.

const { Buffer } = require('node:buffer');
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const process = require('node:process');
const { fileURLToPath, pathToFileURL } = require('node:url');
const {
  JSONParse, RegExpPrototypeExec, StringPrototypeEndsWith, StringPrototypeIncludes, StringPrototypeSlice, StringPrototypeStartsWith,
} = require('./intrinsics.js');
const { withoutDriverFrames } = require('./errors.js');
const { fallbackFile, fileOfURL, isOwnFile, mappedFile, noteUnresolved, specifierOf } = require('./resolution.js');
const { forgetFiles, noteFile, reportedSyntaxError } = require('./syntax.js');
const { settingsFor } = require('./tsconfig.js');

const typescript = /\.[mc]?tsx?(?:\?|$)/;
const javascript = /\.[mc]?jsx?(?:\?|$)/;
const belljarModule = 'belljar:module';
const belljarSource = `const { belljar } = globalThis;
export default belljar;
export const { parameters, env, secrets, run, display } = belljar;`;

/** The uses of the imports of each file, by URL. */
const usesByFile = { __proto__: null };

/** The outermost folder whose settings count. */
let home = '/';

/**
 * Returns whether a program needs the hooks. The check is cheap, and errs only by installing them
 * needlessly.
 */
function needsHooks(source, language, prepared) {
  return language === 'typescript' || prepared.uses !== undefined || StringPrototypeIncludes(source, 'import(') ||
    StringPrototypeIncludes(source, '.ts') || StringPrototypeIncludes(source, 'npm:');
}

/**
 * Prepares the program itself.
 * @param {object} native
 * @param {string} source
 * @param {string} file
 * @param {string} language
 * @param {string} top the folder of the run
 */
function prepareMain(native, source, file, language, top) {
  home = top;
  if (StringPrototypeIncludes(source, 'worker_threads')) require('./workers.js').hookWorkers();
  const prepared = native.prepare(source, file, language, optionsFor(file, source, language, ''));
  note(pathToFileURL(file).href, file, source, language, prepared);
  return prepared;
}

/** Treats the files in `folder` as parts of the program. */
function useFolder(folder) {
  home = folder;
}

// Few programs have settings, and plain JavaScript does not need them here.
function optionsFor(file, source, language, role) {
  const isPlain = language !== 'typescript' && !StringPrototypeIncludes(source, '@') && !StringPrototypeIncludes(source, '<');
  const kind = packageKind(file) === 'module' ? 'kind=module\n' : '';
  return `${role}${kind}${isPlain ? '' : settingsFor(file, home).options}`;
}

function note(url, file, source, language, prepared) {
  if (prepared.uses !== undefined) usesByFile[url] = JSONParse(prepared.uses);
  noteFile(file, language, source);
}

/**
 * @param {object} native
 * @param {{url: string, source: string} | null} main the main ES module, with the source to use for
 *   it
 */
function installHooks(native, main) {
  hooks = Module.registerHooks(withoutFrames({
    __proto__: null,
    resolve(specifier, context, next) {
      const byImport = isImport(context);
      if (specifier === 'belljar' && byImport) {
        return { __proto__: null, url: belljarModule, format: 'module', shortCircuit: true };
      }
      if (specifier === 'worker_threads' || specifier === 'node:worker_threads') require('./workers.js').hookWorkers();
      const parent = fileOfURL(context.parentURL);
      const isOwn = isOwnFile(parent);
      const resolved = resolve(specifier, context, next, byImport, parent, isOwn);
      const uses = isOwn ? usesOf(native, context.parentURL, parent)?.[specifier] : undefined;
      if (uses === undefined) return resolved;
      const isModule = isESModule(resolved);
      if (isModule === null || isModule === byImport) return resolved; // of the system that asks
      const url = require('./interop.js').moduleBetween(resolved.url, byImport, isModule, uses);
      return url === null ? resolved : { __proto__: null, url, format: byImport ? 'module' : 'commonjs', shortCircuit: true };
    },
    load(url, context, next) {
      if (main !== null && url === main.url) return { __proto__: null, format: 'module', source: main.source, shortCircuit: true };
      if (StringPrototypeStartsWith(url, 'belljar:')) {
        if (url === belljarModule) return { __proto__: null, format: 'module', source: belljarSource, shortCircuit: true };
        const between = require('./interop.js').loadBetween(url, fileURLToPath);
        if (between !== null) return between;
      }
      const file = fileOfURL(url);
      if (file === null) {
        noteUnresolved(url); // refused, where it is a URL
        return next(url, context);
      }
      if (RegExpPrototypeExec(typescript, url) !== null) return loadTypeScript(native, url, file);
      if (StringPrototypeEndsWith(file, '.json')) return loadJSON(file, context) ?? next(url, context);
      if (RegExpPrototypeExec(javascript, url) !== null && isOwnFile(file)) {
        const loaded = loadJavaScript(native, url, file, isImport(context));
        if (loaded !== null) return loaded;
      } else {
        noteFile(file, 'javascript', null);
      }
      return next(url, context);
    },
  }));
}

/** The hooks, whose errors show no frame of theirs. */
function withoutFrames({ resolve, load }) {
  const hidden = (hook) => (subject, context, next) => {
    try {
      return hook(subject, context, next);
    } catch (error) {
      throw withoutDriverFrames(error);
    }
  };
  return { __proto__: null, resolve: hidden(resolve), load: hidden(load) };
}

function resolve(specifier, context, next, byImport, parent, isOwn) {
  if (StringPrototypeStartsWith(specifier, 'npm:')) return next(withoutVersion(StringPrototypeSlice(specifier, 4)), context);
  if (isOwn) {
    const mapped = mappedFile(specifier, parent, home);
    if (mapped !== null) return next(specifierOf(mapped, byImport), context);
  }
  try {
    return next(specifier, context);
  } catch (error) {
    const file = parent === null ? null : fallbackFile(specifier, parent, isOwn);
    if (file === null) {
      noteUnresolved(specifier);
      throw error;
    }
    return next(specifierOf(file, byImport), context);
  }
}

// A file that `require` loaded before there were hooks, or that needed no change, is analysed when
// it requires something.
function usesOf(native, url, file) {
  if (usesByFile[url] === undefined) {
    usesByFile[url] = null;
    if (RegExpPrototypeExec(javascript, file) !== null) {
      try {
        const source = fs.readFileSync(file, 'utf8');
        const prepared = native.prepare(source, file, 'javascript', 'role=imported\n');
        if (prepared.uses !== undefined) usesByFile[url] = JSONParse(prepared.uses);
      } catch {
        // The file has been loaded from elsewhere.
      }
    }
  }
  return usesByFile[url];
}

const moduleStatement = /^[ \t]*(?:import\b(?!\s*[(.])|export\b(?!\s*=))/m;

// Returns whether the target of a specifier is an ES module. Null if it is neither that nor
// CommonJS.
function isESModule({ url, format }) {
  if (format === 'module' || format === 'module-typescript') return true;
  const file = fileOfURL(url);
  if (file === null || format === 'json' || format === 'addon' || format === 'wasm' || format === 'builtin') return null;
  if (RegExpPrototypeExec(typescript, file) === null && RegExpPrototypeExec(javascript, file) === null) return format === 'commonjs' ? false : null;
  const type = moduleType(file);
  if (type !== null || (format === 'commonjs' && !isOwnFile(file))) return type === 'module';
  try {
    return RegExpPrototypeExec(moduleStatement, fs.readFileSync(file, 'utf8')) !== null;
  } catch {
    return null;
  }
}

/** Removes the hooks, after a rehearsal. */
function removeHooks() {
  hooks?.deregister();
  hooks = undefined;
  forgetFiles();
}

let hooks;

// Handles `npm:name@version/path`, the notation of Deno. The environment has already decided the
// version.
function withoutVersion(specifier) {
  const parts = RegExpPrototypeExec(packageParts, specifier);
  return parts === null ? specifier : `${parts[1]}${parts[2] ?? ''}`;
}

const packageParts = /^((?:@[^/@]+\/)?[^/@]+)(?:@[^/]*)?(\/.*)?$/;

// For `import` only, because `require` finds the package of that name in this folder.
function isImport(context) {
  const { conditions } = context;
  for (let index = 0; conditions && index < conditions.length; index++) {
    if (conditions[index] === 'import') return true;
  }
  return false;
}

function loadTypeScript(native, url, file) {
  const source = fs.readFileSync(file, 'utf8');
  const prepared = native.prepare(source, file, 'typescript', optionsFor(file, source, 'typescript', 'role=imported\n'));
  note(url, file, source, 'typescript', prepared);
  if (prepared.error !== undefined) throw reportedSyntaxError(prepared.error, file, source);
  return loaded(file, prepared);
}

// Plain JavaScript is left to Node: returns null for it if possible.
function loadJavaScript(native, url, file, byImport) {
  const source = fs.readFileSync(file, 'utf8');
  const mayNeedCode = StringPrototypeEndsWith(file, 'x') || StringPrototypeIncludes(source, '<') || StringPrototypeIncludes(source, '@') ||
    StringPrototypeIncludes(source, 'accessor') || StringPrototypeIncludes(source, 'assert');
  const isModule = RegExpPrototypeExec(moduleStatement, source) !== null;
  if (!byImport && !mayNeedCode && !isModule) return null;
  const prepared = native.prepare(source, file, 'javascript', optionsFor(file, source, 'javascript', 'role=imported\n'));
  note(url, file, source, 'javascript', prepared);
  // V8 has the better message.
  if (prepared.error !== undefined) return null;
  if (prepared.code === source && !StringPrototypeEndsWith(file, 'x')) return null;
  return loaded(file, prepared);
}

function loaded(file, prepared) {
  const { code, map } = prepared;
  const source = map === undefined ? code : `${code}\n${inlineMap(map)}`;
  return { __proto__: null, format: kindOf(file, prepared), source, shortCircuit: true };
}

// JSON may be imported without `with { type: 'json' }`, as in compilers and bundlers.
function loadJSON(file, context) {
  if (!isImport(context) || context.importAttributes?.type !== undefined) return null;
  const text = fs.readFileSync(file, 'utf8');
  let parsed;
  try {
    parsed = JSONParse(text);
  } catch {
    return null; // Node reports it
  }
  return { __proto__: null, format: 'module', source: require('./interop.js').moduleOfJSON(text, parsed), shortCircuit: true };
}

/**
 * Returns the way in which a prepared file is loaded: by its name, otherwise as a module if its
 * package or its own syntax makes it one.
 * @returns {'module' | 'commonjs'}
 */
function kindOf(file, prepared) {
  if (StringPrototypeEndsWith(file, '.cts')) return prepared.kind;
  return kindByExtension(file) ?? (packageKind(file) === 'module' ? 'module' : prepared.kind);
}

/** Returns the comment that carries a source map (its JSON text) in its code. */
function inlineMap(map) {
  process.setSourceMapsEnabled(true);
  return `//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString('base64')}`;
}

/**
 * Makes Node map the positions of `file` in every stack from here on. Node reads a source map off a
 * module that it compiles; the main program is not compiled by Node's loader, so an empty module of
 * the same name carries the map.
 */
function mapPositions(file, map) {
  const carrier = new Module(file);
  carrier.paths = [];
  carrier._compile(inlineMap(map), file);
  carriers.push(carrier); // the map lives as long as its module does
}

const carriers = [];

/**
 * Returns the kind of module that a file is by its name and package, as Node determines it before
 * it looks at the source.
 * @returns {'module' | 'commonjs' | null} null where the source decides
 */
function moduleType(file) {
  return kindByExtension(file) ?? packageKind(file);
}

function kindByExtension(file) {
  const extension = path.extname(file);
  if (extension === '.mjs' || extension === '.mts') return 'module';
  return extension === '.cjs' || extension === '.cts' ? 'commonjs' : null;
}

// Determined by the nearest package.json, up to the folder of the run for the program's own files.
function packageKind(file) {
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const type = packageType(`${folder}/package.json`);
    if (type !== undefined) return type;
    if (folder === home || folder === '/' || StringPrototypeEndsWith(folder, '/node_modules')) return null;
  }
}

// undefined: no package.json here, look further up.
function packageType(file) {
  let text;
  try {
    // Much cheaper than a failed read, which creates an exception.
    if (!fs.existsSync(file)) return undefined;
    text = fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
  let type;
  try {
    type = JSONParse(text)?.type;
  } catch {
    return null; // Node's loader reports it when it reads it
  }
  return type === 'module' || type === 'commonjs' ? type : null;
}

/**
 * Makes `require('belljar')` find the package next to this file, and nothing else in this folder.
 */
function addGlobalPackages() {
  const before = process.env.NODE_PATH;
  process.env.NODE_PATH = before ? `${before}:${__dirname}/packages` : `${__dirname}/packages`;
  Module._initPaths();
  if (before === undefined) delete process.env.NODE_PATH;
  else process.env.NODE_PATH = before;
}

module.exports = {
  addGlobalPackages, inlineMap, installHooks, kindOf, mapPositions, needsHooks, prepareMain, removeHooks, useFolder,
};
