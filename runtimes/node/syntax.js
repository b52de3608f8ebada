'use strict';
// Where a syntax error is. Node says it in the stack of a CommonJS file, and for an ES module only on the way out of the process.

const vm = require('node:vm');
const {
  Number, ObjectDefineProperty, ObjectPrototypeIsPrototypeOf, RegExpPrototypeExec, StringPrototypeIncludes, SyntaxError,
} = require('./intrinsics.js');
const { stackWithPlace } = require('./errors.js');

/**
 * Gives a syntax error of the main file its `file:line`, source line and caret.
 * @param {unknown} error returned unchanged when it is no syntax error or has its place already
 * @param {{line: number, column: number}} [place] where it is known
 */
function placeSyntaxError(error, file, source, place) {
  try {
    if (!ObjectPrototypeIsPrototypeOf(SyntaxError.prototype, error)) return error;
    if (StringPrototypeIncludes(error.stack, `${file}:`)) return error;
    const found = place ?? findPlace(error.message, file, source);
    if (found === null) return error;
    const stack = stackWithPlace(error.stack, { __proto__: null, file, line: found.line, column: found.column, source });
    ObjectDefineProperty(error, 'stack', { __proto__: null, value: stack, writable: true, configurable: true });
  } catch {
    // A hostile error: reported as it is.
  }
  return error;
}

// A module cannot be compiled as a function, but the same text without its import and export words can, and then fails at the same
// place with the same message. Plain methods are safe here: a program that does not compile has not run.
function findPlace(message, file, source) {
  const body = source
    .replace(/^(\s*)#!/, '$1//')
    .replace(/^([ \t]*)(import\b(?!\s*[.(])[^;'"`]*(?:from\s*)?(?:'[^'\n]*'|"[^"\n]*")(?:\s*with\s*\{[^}]*\})?)/gm, (_, indent, words) => indent + blank(words))
    .replace(/^([ \t]*)(export\s+default\b)/gm, '$1_default_____=')
    .replace(/^([ \t]*)(export\s*\{[^}]*\}(?:\s*from\s*(?:'[^'\n]*'|"[^"\n]*"))?|export\s*\*[^\n;]*)/gm, (_, indent, words) => indent + blank(words))
    .replace(/^([ \t]*)(export)\b/gm, (_, indent, words) => indent + blank(words))
    .replace(/\bimport\.meta\b/g, 'import_meta');
  try {
    vm.compileFunction(`'use strict'; return (async () => {\n${body}\n})()`, [], { __proto__: null, filename: file, lineOffset: -1 });
    return null;
  } catch (error) {
    if (error.message !== message) return null;
    return placeInStack(error.stack, file);
  }
}

const blank = (words) => words.replace(/[^\n]/g, ' ');

// The stack starts with "file:line", the source line, and a line of spaces that ends in carets.
function placeInStack(stack, file) {
  const lines = stack.split('\n');
  if (!lines[0].startsWith(`${file}:`)) return null;
  const caret = RegExpPrototypeExec(/\^/, lines[2]);
  return caret === null ? null : { __proto__: null, line: Number(lines[0].slice(file.length + 1)), column: caret.index + 1 };
}

module.exports = { placeSyntaxError };
