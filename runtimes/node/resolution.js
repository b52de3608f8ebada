'use strict';
// Resolves modules that Node alone would not find, but that TypeScript, bundlers or the settings of
// a program allow.

const { existsSync, readFileSync, statSync } = require('node:fs');
const { createRequire } = require('node:module');
const path = require('node:path');
const { fileURLToPath, pathToFileURL } = require('node:url');
const {
  JSONParse, RegExpPrototypeExec, StringPrototypeIncludes, StringPrototypeSlice, StringPrototypeStartsWith,
} = require('./intrinsics.js');
const { FOLDER } = require('./library.js');
const { mappedFiles, settingsFor } = require('./tsconfig.js');

const extensions = ['.ts', '.tsx', '.mts', '.cts', '.js', '.jsx', '.mjs', '.cjs', '.json'];
/** The extensions of source files that a name with the extension of a compiled file may mean. */
const sources = { __proto__: null, '.js': ['.ts', '.tsx', '.jsx'], '.jsx': ['.tsx'], '.mjs': ['.mts'], '.cjs': ['.cts'] };

const relative = /^\.{1,2}(?:\/|$)/;
// Matches a URL, a module of Node, or an absolute path.
const elsewhere = /^(?:[a-z][a-z0-9+.-]*:|\/)/i;

/**
 * Returns the file that the settings of the importing file assign to a specifier, or null.
 * @param {string} parent the importing file
 */
function mappedFile(specifier, parent, top) {
  if (RegExpPrototypeExec(relative, specifier) !== null || RegExpPrototypeExec(elsewhere, specifier) !== null) return null;
  const settings = settingsFor(parent, top);
  if (settings.paths === null && settings.baseUrl === null) return null;
  const files = mappedFiles(settings, specifier);
  for (let index = 0; index < files.length; index++) {
    const file = fileOrFolder(files[index]);
    if (file !== null) return file;
  }
  return null;
}

/**
 * Returns the file of a specifier that Node has not found, or null.
 * @param {string} parent the importing file
 * @param {boolean} isOwn whether that is a file of the program's
 */
function fallbackFile(specifier, parent, isOwn) {
  if (RegExpPrototypeExec(relative, specifier) !== null) {
    if (!isOwn) return null;
    const bare = withoutQuery(specifier);
    return fileOrFolder(path.resolve(path.dirname(parent), bare));
  }
  if (RegExpPrototypeExec(elsewhere, specifier) !== null || specifier[0] === '#') return null;
  // A file of a package without its extension, or a folder, such as `dayjs/plugin/utc`. `require`
  // finds these.
  try {
    const file = createRequire(parent).resolve(specifier);
    return file[0] === '/' ? file : null;
  } catch {
    return null;
  }
}

function withoutQuery(specifier) {
  const parts = RegExpPrototypeExec(/^([^?#]*)/, specifier);
  return parts[1];
}

/** Returns the file that a path without its extension means, or the main file of a folder. */
function fileOrFolder(name) {
  const file = fileNamed(name);
  if (file !== null) return file;
  if (!isFolder(name)) return null;
  const main = mainOf(`${name}/package.json`);
  return (main === null ? null : fileNamed(path.resolve(name, main)) ?? fileNamed(path.resolve(name, main, 'index'))) ??
    fileNamed(`${name}/index`);
}

function fileNamed(name) {
  if (isFile(name)) return name;
  const extension = path.extname(name);
  const compiled = sources[extension];
  for (let index = 0; compiled !== undefined && index < compiled.length; index++) {
    const file = `${StringPrototypeSlice(name, 0, -extension.length)}${compiled[index]}`;
    if (isFile(file)) return file;
  }
  for (let index = 0; index < extensions.length; index++) {
    if (isFile(`${name}${extensions[index]}`)) return `${name}${extensions[index]}`;
  }
  return null;
}

const quietly = { __proto__: null, throwIfNoEntry: false };
const KIND = 0o170000;

function isFile(name) {
  return kindOf(name) === 0o100000;
}

function isFolder(name) {
  return kindOf(name) === 0o040000;
}

function kindOf(name) {
  try {
    const stats = statSync(name, quietly);
    return stats === undefined ? 0 : stats.mode & KIND;
  } catch {
    return 0;
  }
}

function mainOf(file) {
  try {
    if (!existsSync(file)) return null;
    const { main } = JSONParse(readFileSync(file, 'utf8'));
    return typeof main === 'string' ? main : null;
  } catch {
    return null;
  }
}

/** Returns the file of a URL, or null. */
function fileOfURL(url) {
  if (typeof url !== 'string' || !StringPrototypeStartsWith(url, 'file:')) return null;
  try {
    return fileURLToPath(url);
  } catch {
    return null;
  }
}

/** Returns whether a file belongs to no package. */
function isOwnFile(file) {
  return file !== null && !StringPrototypeIncludes(file, '/node_modules/') && !StringPrototypeStartsWith(file, `${FOLDER}/`);
}

/** The last specifier that was not found. */
let unresolved = null;

function noteUnresolved(specifier) {
  unresolved = specifier;
}

function lastUnresolved() {
  return unresolved;
}

/** Returns the argument for `next` of a hook for a file: `require` takes paths. */
function specifierOf(file, isImport) {
  return isImport ? pathToFileURL(file).href : file;
}

module.exports = { fallbackFile, fileOfURL, isOwnFile, lastUnresolved, mappedFile, noteUnresolved, specifierOf };
