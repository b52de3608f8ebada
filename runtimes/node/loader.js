'use strict';
// Files of the run that are not plain JavaScript for Node's own loader: the prepared source of a main ES module, TypeScript, and the
// module named `belljar`. Uses module.registerHooks, Node's own seam for this, and only in runs that need it: a CommonJS program
// without imports sees the untouched loader.

const { Buffer } = require('node:buffer');
const fs = require('node:fs');
const Module = require('node:module');
const path = require('node:path');
const process = require('node:process');
const { fileURLToPath } = require('node:url');
const {
  JSONParse, RegExpPrototypeExec, StringPrototypeEndsWith, StringPrototypeIncludes, StringPrototypeSlice, StringPrototypeStartsWith,
} = require('./intrinsics.js');
const { withoutDriverFrames } = require('./errors.js');

const typescript = /\.[mc]?tsx?(?:\?|$)/;
const belljarModule = 'belljar:module';
const belljarSource = `const { belljar } = globalThis;
export default belljar;
export const { parameters, env, secrets, run, display } = belljar;`;

/** Whether a program can only run with the hooks: cheap, and wrong only on the side of installing them for nothing. */
function needsHooks(source, isModule, language) {
  return isModule || language === 'typescript' || StringPrototypeIncludes(source, 'import(') || StringPrototypeIncludes(source, '.ts') ||
    StringPrototypeIncludes(source, 'npm:');
}

/**
 * @param {object} native
 * @param {{url: string, source: string} | null} main the main ES module, with the source to use for it
 */
function installHooks(native, main) {
  hooks = Module.registerHooks(withoutFrames({
    __proto__: null,
    resolve(specifier, context, next) {
      if (specifier === 'belljar' && isImport(context)) {
        return { __proto__: null, url: belljarModule, format: 'module', shortCircuit: true };
      }
      if (StringPrototypeStartsWith(specifier, 'npm:')) return next(withoutVersion(StringPrototypeSlice(specifier, 4)), context);
      try {
        return next(specifier, context);
      } catch (error) {
        const resolved = resolveTypeScript(specifier, context, next);
        if (resolved === null) throw error;
        return resolved;
      }
    },
    load(url, context, next) {
      if (main !== null && url === main.url) return { __proto__: null, format: 'module', source: main.source, shortCircuit: true };
      if (url === belljarModule) return { __proto__: null, format: 'module', source: belljarSource, shortCircuit: true };
      if (StringPrototypeStartsWith(url, 'file:') && RegExpPrototypeExec(typescript, url) !== null) return loadTypeScript(native, url);
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

/** Takes the hooks away again: those of a rehearsal. */
function removeHooks() {
  hooks?.deregister();
  hooks = undefined;
}

let hooks;

// `npm:name@version/path`, as Deno has it: which version it is, its environment has decided.
function withoutVersion(specifier) {
  const parts = RegExpPrototypeExec(packageParts, specifier);
  return parts === null ? specifier : `${parts[1]}${parts[2] ?? ''}`;
}

const packageParts = /^((?:@[^/@]+\/)?[^/@]+)(?:@[^/]*)?(\/.*)?$/;

// `import`, and not `require`, which finds the package of that name in this folder.
function isImport(context) {
  const { conditions } = context;
  for (let index = 0; conditions && index < conditions.length; index++) {
    if (conditions[index] === 'import') return true;
  }
  return false;
}

// What TypeScript programs write and Node alone would not find: './util' and './util.js' for ./util.ts.
function resolveTypeScript(specifier, context, next) {
  const relative = StringPrototypeStartsWith(specifier, './') || StringPrototypeStartsWith(specifier, '../');
  if (!relative || typeof context.parentURL !== 'string' || RegExpPrototypeExec(typescript, context.parentURL) === null) return null;
  if (StringPrototypeEndsWith(specifier, 'js')) return attempt(`${StringPrototypeSlice(specifier, 0, -2)}ts`, context, next);
  return attempt(`${specifier}.ts`, context, next) ?? attempt(`${specifier}/index.ts`, context, next);
}

function attempt(specifier, context, next) {
  try {
    return next(specifier, context);
  } catch {
    return null;
  }
}

function loadTypeScript(native, url) {
  const file = fileURLToPath(url);
  const source = fs.readFileSync(file, 'utf8');
  const prepared = native.prepare(source, file, 'typescript');
  const format = moduleType(file) ?? prepared.kind;
  let { code } = prepared;
  // An imported file has no result. Declared at its end, which moves nothing and leaves a 'use strict' at its start.
  if (StringPrototypeIncludes(code, '__belljar_value')) code = `${code}\nfunction __belljar_value(value) { return value; }`;
  if (prepared.map) code = `${code}\n${inlineMap(prepared.map)}`;
  return { __proto__: null, format, source: code, shortCircuit: true };
}

/** The comment that carries a source map (its JSON text) in the code it belongs to. */
function inlineMap(map) {
  process.setSourceMapsEnabled(true);
  return `//# sourceMappingURL=data:application/json;base64,${Buffer.from(map).toString('base64')}`;
}

/**
 * Makes Node map the positions of `file` in every stack from here on. Node reads a source map off a module that it compiles; the
 * main program is not compiled by Node's loader, so an empty module of the same name carries the map.
 */
function mapPositions(file, map) {
  const carrier = new Module(file);
  carrier.paths = [];
  carrier._compile(inlineMap(map), file);
  carriers.push(carrier); // the map lives as long as its module does
}

const carriers = [];

/**
 * How Node tells what kind of module a file is, before it looks at the source.
 * @param {string} top the last folder whose package.json counts
 * @returns {'module' | 'commonjs' | null} null where the source decides
 */
function moduleType(file, top = '/') {
  const extension = path.extname(file);
  if (extension === '.mjs' || extension === '.mts') return 'module';
  if (extension === '.cjs' || extension === '.cts') return 'commonjs';
  for (let folder = path.dirname(file); ; folder = path.dirname(folder)) {
    const type = packageType(`${folder}/package.json`);
    if (type !== undefined) return type;
    if (folder === top || folder === '/' || StringPrototypeEndsWith(folder, '/node_modules')) return null;
  }
}

// undefined: no package.json here, look further up.
function packageType(file) {
  let text;
  try {
    // Far cheaper than a failed read, which makes an exception.
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

/** Lets `require('belljar')` find the package beside this file, and nothing else in this folder. */
function addGlobalPackages() {
  const before = process.env.NODE_PATH;
  process.env.NODE_PATH = before ? `${before}:${__dirname}/packages` : `${__dirname}/packages`;
  Module._initPaths();
  if (before === undefined) delete process.env.NODE_PATH;
  else process.env.NODE_PATH = before;
}

module.exports = { addGlobalPackages, inlineMap, installHooks, mapPositions, moduleType, needsHooks, removeHooks };
