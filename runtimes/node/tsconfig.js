'use strict';
// Reads the tsconfig.json or jsconfig.json that applies to a file of the program: the compiler
// options that change what the program does, and the paths of its own modules.

const { existsSync, readFileSync } = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');
const {
  ArrayIsArray, JSONParse, ObjectKeys, RegExpPrototypeExec, StringPrototypeEndsWith, StringPrototypeIndexOf, StringPrototypeSlice,
  StringPrototypeStartsWith, StringPrototypeToLowerCase,
} = require('./intrinsics.js');

/** Maximum length of a chain of `extends`. */
const MAX_EXTENDED = 20;

const nothing = { __proto__: null, file: null, options: '', baseUrl: null, paths: null };
const names = ['tsconfig.json', 'jsconfig.json'];
/** The settings by folder. */
const found = { __proto__: null };

/**
 * Returns the settings for a file.
 * @param {string} file an absolute path
 * @param {string} top the last folder that is looked into
 * @returns {{file: string | null, options: string, baseUrl: string | null, paths: {prefix: string,
 *   suffix: string | null, targets: string[]}[] | null}} `options` are those of `native.prepare`,
 *   one a line
 */
function settingsFor(file, top) {
  return settingsIn(path.dirname(file), top);
}

function settingsIn(folder, top) {
  if (found[folder] !== undefined) return found[folder];
  let settings;
  for (let index = 0; index < names.length && settings === undefined; index++) {
    const file = `${folder === '/' ? '' : folder}/${names[index]}`;
    if (existsSync(file)) settings = read(file);
  }
  if (settings === undefined) settings = folder === top || folder === '/' ? nothing : settingsIn(path.dirname(folder), top);
  found[folder] = settings;
  return settings;
}

function read(file) {
  const raw = extended(file, 0);
  if (raw === null) return nothing;
  return { __proto__: null, file, options: optionsOf(raw), baseUrl: raw.baseUrl ?? null, paths: pathsOf(raw) };
}

/**
 * Returns the compiler options of a settings file, merged over those that it extends, with absolute
 * folders. Null if the file cannot be read.
 */
function extended(file, depth) {
  const config = parse(file);
  if (config === null) return null;
  const options = { __proto__: null };
  const bases = typeof config.extends === 'string' ? [config.extends] : ArrayIsArray(config.extends) ? config.extends : [];
  for (let index = 0; index < bases.length && depth < MAX_EXTENDED; index++) {
    const base = typeof bases[index] === 'string' ? fileOfBase(bases[index], file) : null;
    const inherited = base === null ? null : extended(base, depth + 1);
    if (inherited !== null) assign(options, inherited);
  }
  const own = config.compilerOptions;
  if (own === null || typeof own !== 'object') return options;
  assign(options, own);
  const folder = path.dirname(file);
  if (typeof own.baseUrl === 'string') options.baseUrl = path.resolve(folder, own.baseUrl);
  if (own.paths !== null && typeof own.paths === 'object') options.pathsFolder = folder;
  return options;
}

function assign(target, source) {
  const keys = ObjectKeys(source);
  for (let index = 0; index < keys.length; index++) target[keys[index]] = source[keys[index]];
}

// Resolved as in TypeScript: a path, with or without `.json`, or a file of a package.
function fileOfBase(name, file) {
  const isPath = StringPrototypeStartsWith(name, './') || StringPrototypeStartsWith(name, '../') || StringPrototypeStartsWith(name, '/') ||
    name === '.' || name === '..';
  if (isPath) {
    const whole = path.resolve(path.dirname(file), name);
    const candidates = [whole, `${whole}.json`, `${whole}/tsconfig.json`];
    for (let index = 0; index < candidates.length; index++) {
      if (StringPrototypeEndsWith(candidates[index], '.json') && existsSync(candidates[index])) return candidates[index];
    }
    return null;
  }
  const require = createRequire(file);
  const candidates = [name, `${name}.json`, `${name}/tsconfig.json`];
  for (let index = 0; index < candidates.length; index++) {
    try {
      const resolved = require.resolve(candidates[index]);
      if (StringPrototypeEndsWith(resolved, '.json')) return resolved;
    } catch {
      // There is no file of this name.
    }
  }
  return null;
}

function parse(file) {
  try {
    const config = JSONParse(plainJSON(readFileSync(file, 'utf8')));
    return config !== null && typeof config === 'object' ? config : null;
  } catch {
    return null;
  }
}

/** Returns JSON without the comments and trailing commas that TypeScript accepts. */
function plainJSON(text) {
  let plain = '';
  let at = text[0] === '\ufeff' ? 1 : 0;
  while (at < text.length) {
    const next = text[at];
    if (next === '"') {
      const end = endOfString(text, at);
      plain += StringPrototypeSlice(text, at, end);
      at = end;
    } else if (next === '/' && (text[at + 1] === '/' || text[at + 1] === '*')) {
      at = afterSpace(text, at);
    } else if (next === ',') {
      const after = text[afterSpace(text, at + 1)];
      if (after !== '}' && after !== ']') plain += next;
      at++;
    } else {
      plain += next;
      at++;
    }
  }
  return plain;
}

function endOfString(text, start) {
  let at = start + 1;
  while (at < text.length && text[at] !== '"') at += text[at] === '\\' ? 2 : 1;
  return at + 1;
}

// Skips white space and comments.
function afterSpace(text, start) {
  let at = start;
  while (at < text.length) {
    if (text[at] === '/' && text[at + 1] === '/') {
      const end = StringPrototypeIndexOf(text, '\n', at);
      at = end < 0 ? text.length : end;
    } else if (text[at] === '/' && text[at + 1] === '*') {
      const end = StringPrototypeIndexOf(text, '*/', at + 2);
      at = end < 0 ? text.length : end + 2;
    } else if (text[at] === ' ' || text[at] === '\n' || text[at] === '\r' || text[at] === '\t') {
      at++;
    } else {
      break;
    }
  }
  return at;
}

const runtimes = { __proto__: null, react: 'classic', 'react-jsx': 'automatic', 'react-jsxdev': 'automatic' };
const olderThan2022 = /^es(?:3|5|6|20(?:15|16|17|18|19|20|21))$/;
const jsxNames = ['jsxImportSource', 'jsxFactory', 'jsxFragmentFactory'];
const oneWord = /^[\w$.@/-]+$/;

function optionsOf(raw) {
  let options = '';
  if (raw.experimentalDecorators === true) options += `decorators=${raw.emitDecoratorMetadata === true ? 'metadata' : 'legacy'}\n`;
  const jsx = typeof raw.jsx === 'string' ? runtimes[StringPrototypeToLowerCase(raw.jsx)] : undefined;
  if (jsx !== undefined) options += `jsx=${jsx}\n`;
  for (let index = 0; index < jsxNames.length; index++) {
    const name = jsxNames[index];
    if (typeof raw[name] === 'string' && RegExpPrototypeExec(oneWord, raw[name]) !== null) options += `${name}=${raw[name]}\n`;
  }
  const isOld = typeof raw.target === 'string' && RegExpPrototypeExec(olderThan2022, StringPrototypeToLowerCase(raw.target)) !== null;
  if (raw.useDefineForClassFields === false || (raw.useDefineForClassFields === undefined && isOld)) options += 'fields=assign\n';
  const keepsImports = raw.verbatimModuleSyntax === true || raw.preserveValueImports === true;
  if (keepsImports) options += 'unusedImports=keep\n';
  return options;
}

function pathsOf(raw) {
  if (raw.pathsFolder === undefined) return null;
  const base = raw.baseUrl ?? raw.pathsFolder;
  const paths = [];
  const patterns = ObjectKeys(raw.paths);
  for (let index = 0; index < patterns.length; index++) {
    const pattern = patterns[index];
    if (!ArrayIsArray(raw.paths[pattern])) continue;
    const star = StringPrototypeIndexOf(pattern, '*');
    const targets = [];
    for (let target = 0; target < raw.paths[pattern].length; target++) {
      if (typeof raw.paths[pattern][target] === 'string') targets[targets.length] = path.resolve(base, raw.paths[pattern][target]);
    }
    paths[paths.length] = {
      __proto__: null,
      prefix: star < 0 ? pattern : StringPrototypeSlice(pattern, 0, star),
      suffix: star < 0 ? null : StringPrototypeSlice(pattern, star + 1),
      targets,
    };
  }
  return paths;
}

/**
 * Returns the files that a specifier may mean by the settings, the most likely first.
 * @param {string} specifier neither relative nor absolute
 */
function mappedFiles(settings, specifier) {
  const files = [];
  const best = bestPattern(settings.paths, specifier);
  if (best !== null) {
    const middle = best.suffix === null
      ? ''
      : StringPrototypeSlice(specifier, best.prefix.length, specifier.length - best.suffix.length);
    for (let index = 0; index < best.targets.length; index++) {
      const target = best.targets[index];
      const star = StringPrototypeIndexOf(target, '*');
      files[files.length] = star < 0 ? target : `${StringPrototypeSlice(target, 0, star)}${middle}${StringPrototypeSlice(target, star + 1)}`;
    }
  }
  if (settings.baseUrl !== null) files[files.length] = path.resolve(settings.baseUrl, specifier);
  return files;
}

// An exact name, otherwise the pattern with the longest prefix.
function bestPattern(paths, specifier) {
  let best = null;
  for (let index = 0; paths !== null && index < paths.length; index++) {
    const { prefix, suffix } = paths[index];
    if (suffix === null) {
      if (prefix === specifier) return paths[index];
      continue;
    }
    const matches = specifier.length >= prefix.length + suffix.length && StringPrototypeStartsWith(specifier, prefix) &&
      StringPrototypeEndsWith(specifier, suffix);
    if (matches && (best === null || prefix.length > best.prefix.length)) best = paths[index];
  }
  return best;
}

module.exports = { mappedFiles, plainJSON, settingsFor };
